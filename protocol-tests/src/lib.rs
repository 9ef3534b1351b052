//! What the tests against brokers share. Not published.
//!
//! [`broker`] starts a real Apache Kafka from its jars, without Docker; [`proxy`] stands between clients and brokers and
//! makes the network misbehave; [`verify`] drives verifiable clients and checks what they said.

pub mod broker;
pub mod proxy;
pub mod verify;
