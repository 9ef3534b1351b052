//! Services on the embedded cluster, over its wire protocol, in virtual time.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests"
)]

mod events;
mod failures;
mod handling;
mod lifecycle;
mod redriving;
mod support;
