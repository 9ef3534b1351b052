//! The consumer against the embedded cluster, in memory and on virtual time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "virtual time")]

#[path = "consumer/acknowledge.rs"]
mod acknowledge;
#[path = "consumer/bad_input.rs"]
mod bad_input;
#[path = "consumer/cancel.rs"]
mod cancel;
#[path = "consumer/companions.rs"]
mod companions;
#[path = "consumer/consumer_groups.rs"]
mod consumer_groups;
#[path = "consumer/events.rs"]
mod events;
#[path = "consumer/faults.rs"]
mod faults;
#[path = "consumer/groups.rs"]
mod groups;
#[path = "consumer/matching.rs"]
mod matching;
#[path = "consumer/offsets.rs"]
mod offsets;
#[path = "consumer/positions.rs"]
mod positions;
#[path = "consumer/reading.rs"]
mod reading;
#[path = "consumer/replicas.rs"]
mod replicas;
#[path = "consumer/streams.rs"]
mod streams;
#[path = "consumer/support.rs"]
mod support;
#[path = "support/watched.rs"]
mod watched;
#[path = "consumer/wire.rs"]
mod wire;
