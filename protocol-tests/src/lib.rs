//! What the tests against brokers share. Not published.
//!
//! [`broker`] starts a real Apache Kafka from its jars, without Docker; [`proxy`] stands between clients and brokers and
//! makes the network misbehave; [`verify`] drives verifiable clients and checks what they said. [`suite`] lists what a
//! client must do, and [`target`] what it can be shown on: `tests/conformance.rs` runs the one on the other. [`raw`] talks
//! to any broker in bytes of its own making, and compares what two of them say. [`foreign`] drives clients of other makers.

pub mod broker;
pub mod foreign;
pub mod proxy;
pub mod raw;
#[cfg(test)]
mod rules;
mod scenarios;
pub mod suite;
pub mod target;
pub mod verify;
