//! The consumer without a runtime: its machines, and the order in which events pass between them.
//!
//! [`Core`](core::Core) holds two halves. [`reading`] takes partitions from "assigned" to records in the
//! [`Hand`](crate::engine::hand::Hand): where to start, what to fetch. [`membership`], which a reader without a group
//! lacks, decides which partitions those are, and commits. A driver, or a simulation, gives it time, answers, commands
//! and views of the cluster, and carries out what it puts into its outbox.

mod attendance;
mod auto;
pub(crate) mod core;
mod coverage;
pub(crate) mod lookout;
mod membership;
mod reading;
pub(crate) mod settings;

pub(crate) mod types;
