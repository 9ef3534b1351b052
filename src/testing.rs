//! An embedded Kafka cluster for tests.
//!
//! [`Cluster`] runs any number of nodes in this process, over TCP on loopback or through memory. It needs the features
//! `testing` and `net`. A [`Rule`] makes it misbehave, and its journal tells what it was asked.

mod api;
pub(crate) mod broker;
#[cfg(feature = "net")]
mod cluster;
mod faults;
mod journal;
#[cfg(feature = "net")]
mod listener;
mod settings;
mod transaction;

pub use api::Api;
#[cfg(feature = "net")]
pub use cluster::{Cluster, ClusterBuilder, FaultHandle};
#[cfg(test)]
pub(crate) use faults::FaultId;
pub use faults::{Fault, Rule};
pub use journal::Entry;
pub use settings::{Limits, Settings};
pub use transaction::{TransactionDescription, TransactionState};
