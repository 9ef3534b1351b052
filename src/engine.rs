//! Everything that decides, as state machines without socket, clock, runtime, callback or task.
//!
//! A machine is told the time and what happened, and fills an [`Outbox`](machine::Outbox) with calls to make and
//! events to pass on. The verbs are the same everywhere: `command`, `answer`, `tick`, `deadline`, and `check`,
//! which asserts every invariant in tests.

#![allow(dead_code, reason = "the drivers that call this come next")]

pub(crate) mod assign;
pub(crate) mod backoff;
pub(crate) mod catalog;
pub(crate) mod commit;
pub(crate) mod conn;
pub(crate) mod consumer;
pub(crate) mod coordinator;
pub(crate) mod fetch;
pub(crate) mod group;
pub(crate) mod hand;
pub(crate) mod machine;
pub(crate) mod partition;
pub(crate) mod position;
pub(crate) mod produce;
pub(crate) mod producer;
pub(crate) mod producer_id;
#[cfg(test)]
pub(crate) mod script;
pub(crate) mod share;
pub(crate) mod share_consumer;
pub(crate) mod share_hand;
pub(crate) mod topics;
pub(crate) mod txn;
