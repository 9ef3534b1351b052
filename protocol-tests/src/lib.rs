//! What the tests against brokers share. Not published.
//!
//! [`broker`] starts a real Apache Kafka from its jars, without Docker.

pub mod broker;
