//! Looking after a cluster: its topics, and what it consists of.

mod cluster;
mod describe;
mod fates;
mod handle;
mod new_topic;
mod offsets;
mod topics;

pub use cluster::{BrokerDescription, ClusterDescription};
pub use describe::{PartitionDescription, TopicDescription, TopicListing};
pub use handle::Admin;
pub use new_topic::NewTopic;
