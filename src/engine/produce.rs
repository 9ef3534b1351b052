//! From records to Produce requests: the accumulator that callers append to, and the machine that empties it.
//!
//! Appenders touch only the open tail of a partition, under that partition's leaf lock. From the moment a batch is
//! closed it belongs to the [`Sender`](sender::Sender).

pub(crate) mod accumulator;
mod answers;
pub(crate) mod batch;
mod body;
pub(crate) mod config;
mod expansion;
mod full;
pub(crate) mod gate;
pub(crate) mod identity;
pub(crate) mod joining;
pub(crate) mod lane;
mod line;
pub(crate) mod outcome;
pub(crate) mod packing;
pub(crate) mod queue;
pub(crate) mod sender;
pub(crate) mod spares;
mod spread;
pub(crate) mod sticky;
pub(crate) mod topics;
pub(crate) mod verdict;
