//! Everything that decides, as state machines without socket, clock, runtime, callback or task.
//!
//! A machine is told the time and what happened, and fills an [`Outbox`](machine::Outbox) with calls to make and
//! events to pass on. The verbs are the same everywhere: `command`, `answer`, `tick`, `deadline`, and `check`,
//! which asserts every invariant in tests.

pub(crate) mod backoff;
pub(crate) mod catalog;
pub(crate) mod machine;
