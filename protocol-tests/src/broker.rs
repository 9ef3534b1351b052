//! A real Apache Kafka for tests: Java processes of this machine, KRaft, own ports, gone when the test is gone.
//!
//! ```no_run
//! use protocol_tests::broker::{RealCluster, Version};
//!
//! let cluster = RealCluster::builder(Version::V4_4_0).nodes(3).with_property("min.insync.replicas", "2").start()?;
//! println!("bootstrap={}", cluster.bootstrap());
//! cluster.kill(2)?;
//! cluster.restart(2)?;
//! # Ok::<(), protocol_tests::broker::BrokerError>(())
//! ```
//!
//! Everything blocks; an async test calls it through `spawn_blocking`. Needs Java 17 or newer, and Maven until the
//! jars of a version lie in the target directory. Where they are missing, [`or_skip`] decides what that means.

mod cluster;
mod error;
mod guard;
mod jars;
mod listener;
mod once;
pub mod orders;
mod ports;
mod probe;
mod process;
mod properties;
mod version;

pub use cluster::{Builder, RealCluster, java_of};
pub use error::{BrokerError, or_skip};
pub use jars::tools;
pub use listener::{Certificates, Listener, PASSWORD, USER};
pub(crate) use once::made_once;
pub use probe::api_versions;
pub use process::java;
pub use version::Version;
