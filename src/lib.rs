//! A pure-Rust Apache Kafka client.
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "net")]
mod admin;
#[cfg(feature = "net")]
mod client;
mod config;
#[cfg(feature = "net")]
mod consumer;
mod engine;
mod error;
mod message;
#[cfg(feature = "net")]
mod metrics;
#[cfg(feature = "net")]
mod net;
#[cfg(feature = "net")]
mod producer;
mod record;
#[cfg(test)]
mod sim;
mod sync;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod types;
mod wire;

/// Ways into the crate's insides for its own benches and fuzz targets; not part of the public interface.
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod doors {
    pub use crate::wire::doors::*;
}

#[cfg(feature = "net")]
pub use admin::{
    Admin, BrokerDescription, ClusterDescription, NewTopic, PartitionDescription, TopicDescription,
    TopicListing,
};
#[cfg(feature = "net")]
pub use client::Client;
pub use config::Config;
#[cfg(feature = "net")]
pub use consumer::{
    Commit, Consumer, ConsumerBuilder, ConsumerHandle, Isolation, OnOutOfRange, RebalanceListener,
    RecordStream,
};
pub use error::{Attempt, Code, ConfigProblem, Error, ErrorKind, Resource, Result};
pub use message::{Batch, Headers, Message, RecordRef, Records};
#[cfg(feature = "net")]
pub use metrics::{
    BrokerMetrics, ConsumedMetrics, ConsumerMetrics, Histogram, MetricsSnapshot, ProducedMetrics,
    ProducerMetrics,
};
#[cfg(feature = "net")]
pub use net::transport;
#[cfg(feature = "net")]
pub use producer::{
    Acks, Compression, Delivered, Delivery, Partitioner, Producer, ProducerBuilder, TrySendError,
    partition_for_key,
};
pub use record::{Header, Record};
pub use types::{
    InvalidTopicName, NodeId, Offset, OffsetAndMetadata, Partition, Position, TopicName, TopicPartition,
};
