//! What clusters, networks and users do to a client: it ends in a typed error or in nothing at all, never in a panic, a
//! hang or a wrong record. On virtual time, but for what needs real sockets or threads.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "tests have clocks and tasks")]

#[path = "robustness/cancel.rs"]
mod cancel;
#[path = "robustness/endings.rs"]
mod endings;
#[path = "robustness/garbage.rs"]
mod garbage;
#[path = "robustness/logs.rs"]
mod logs;
#[path = "robustness/peers.rs"]
mod peers;
#[path = "robustness/support.rs"]
mod support;
#[path = "support/watched.rs"]
mod watched;
