//! An embedded Kafka cluster for tests.
//!
//! [`Cluster`] runs any number of nodes in this process, over TCP on loopback or through memory. It needs the features
//! `testing` and `net`.

pub(crate) mod broker;
#[cfg(feature = "net")]
mod cluster;
#[cfg(feature = "net")]
mod listener;
mod settings;

#[cfg(feature = "net")]
pub use cluster::{Cluster, ClusterBuilder};
pub use settings::{Limits, Settings};
