//! An Apache Kafka client in pure Rust, on tokio, with no C in its default build.
//!
//! [`Client::connect`] gives a handle to a cluster. From it come a [`Producer`], a [`Consumer`], alone or in a group, and
//! [`Admin`] calls.
//!
//! ```no_run
//! use milena::{Client, Config, Position, Record};
//!
//! # async fn example() -> milena::Result<()> {
//! let client = Client::connect(Config::new(["localhost:9092"])).await?;
//! client.producer().build()?.send(Record::new("orders", "created").key("order-1")).await?;
//!
//! let consumer = client.consumer("billing").topics(["orders"]).start_at(Position::Earliest).build()?;
//! while let Some(message) = consumer.next().await {
//!     println!("{:?}", message?.value());
//! }
//! # Ok(()) }
//! ```
//!
//! # Features
//! - `net` (default): the client itself, on tokio. Without it only the wire format and the machines are built.
//! - `zstd` (default): zstd by a pure-Rust codec. It doubles the time of a cold build.
//! - `testing`: an embedded cluster for tests.
//!
//! # Cancel safety
//! Every async function says what dropping its future means. In short: a record that was not enqueued is not sent, one
//! that was is; what a dropped `next` would have returned is returned by the one after it.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    not(feature = "net"),
    allow(
        dead_code,
        unused_imports,
        unreachable_pub,
        reason = "without the drivers nobody calls what the machines offer"
    )
)]

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

#[cfg(feature = "net")]
mod admin;
#[cfg(feature = "net")]
mod client;
mod config;
#[cfg(feature = "net")]
mod consumer;
mod engine;
mod error;
#[cfg(feature = "testing")]
mod fuzz;
mod message;
mod metrics;
#[cfg(feature = "net")]
mod net;
#[cfg(feature = "net")]
mod processor;
#[cfg(feature = "net")]
mod producer;
mod record;
#[cfg(feature = "net")]
mod share;
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
    pub use crate::{engine::assign::doors::*, wire::doors::*};

    /// What the fuzz targets do.
    pub mod fuzz {
        pub use crate::fuzz::*;
    }
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
    Commit, Consumer, ConsumerBuilder, ConsumerEvents, ConsumerHandle, GroupProtocol, OnOutOfRange,
    OnRecreated, OnTruncation, PartitionStream, RebalanceListener, RecordStream,
};
pub use engine::assign::{
    Assignor, CooperativeStickyAssignor, GroupMember, RangeAssignor, RoundRobinAssignor, StickyAssignor,
    SubscribedTopics,
};
#[cfg(feature = "net")]
pub use engine::hand::ConsumerEvent;
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
pub use processor::Processor;
#[cfg(feature = "net")]
pub use producer::{
    Acks, BatchDelivery, Compression, Delivered, Delivery, Partitioner, Producer, ProducerBuilder,
    ProducerInterceptor, RecreatedTopics, Transaction, TransactionHandle, TransactionalProducer,
    TrySendError, partition_for_key,
};
pub use record::{Header, Record};
#[cfg(feature = "net")]
pub use share::{Acknowledge, AcquireMode, ShareConsumer, ShareConsumerBuilder, ShareMessage, ShareStream};
pub use types::{
    GroupMetadata, InvalidTopicName, Isolation, NodeId, Offset, OffsetAndMetadata, OffsetAndTimestamp,
    OffsetSpec, Partition, Position, TopicName, TopicPartition,
};
