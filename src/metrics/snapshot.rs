//! What is told of all that was counted.

use std::{collections::BTreeMap, ops::AddAssign};

use super::{
    broker::BrokerMetrics,
    partition::{ConsumedMetrics, ProducedMetrics},
    producer::ProducerMetrics,
};
use crate::types::{NodeId, TopicName, TopicPartition};

/// What a client has counted, from its being made to now. [`Client::metrics`](crate::Client::metrics) takes one.
///
/// Counters only grow, but for those of a partition that is read again after it was given up: they start anew. Two
/// snapshots tell a rate by their difference. What belongs together may differ a little, since nothing stops while it is
/// read.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct MetricsSnapshot {
    /// By broker. Addresses of the bootstrap list stand under the ids -1, -2 and so on, in their order, until the
    /// brokers there have told theirs.
    pub brokers: BTreeMap<NodeId, BrokerMetrics>,
    /// All brokers beyond the first [`MAX_BROKERS`](Self::MAX_BROKERS), together.
    pub other_brokers: BrokerMetrics,
    /// What was sent, by partition.
    pub produced: BTreeMap<TopicPartition, ProducedMetrics>,
    /// What was sent to all partitions beyond the first [`MAX_PARTITIONS`](Self::MAX_PARTITIONS), together.
    pub produced_other: ProducedMetrics,
    /// What was read, by partition, as long as it is read.
    pub consumed: BTreeMap<TopicPartition, ConsumedMetrics>,
    /// What was read from partitions that were given up since, and from those beyond the first
    /// [`MAX_PARTITIONS`](Self::MAX_PARTITIONS), together.
    pub consumed_other: ConsumedMetrics,
    /// What all producers have in common.
    pub producers: ProducerMetrics,
    /// What all consumers have in common.
    pub consumers: ConsumerMetrics,
}

/// What all consumers of a client have in common.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumerMetrics {
    /// What was fetched and not handed out yet, in bytes, when each consumer's task last ran.
    pub buffered_bytes: u64,
}

impl MetricsSnapshot {
    /// For how many brokers there are numbers of their own, so that the memory is bounded: each takes 3 KiB.
    pub const MAX_BROKERS: usize = 1_000;

    /// For how many partitions there are numbers of their own, once of those that are written and once of those that
    /// are read, so that the memory is bounded: each takes a few hundred bytes.
    pub const MAX_PARTITIONS: usize = 10_000;

    /// What was sent, by topic. Partitions without numbers of their own are missing.
    #[must_use]
    pub fn produced_by_topic(&self) -> BTreeMap<TopicName, ProducedMetrics> {
        by_topic(&self.produced)
    }

    /// What was read, by topic. Partitions without numbers of their own are missing.
    #[must_use]
    pub fn consumed_by_topic(&self) -> BTreeMap<TopicName, ConsumedMetrics> {
        by_topic(&self.consumed)
    }

    /// What was sent in all.
    #[must_use]
    pub fn produced_total(&self) -> ProducedMetrics {
        total(&self.produced, self.produced_other)
    }

    /// What was read in all.
    #[must_use]
    pub fn consumed_total(&self) -> ConsumedMetrics {
        total(&self.consumed, self.consumed_other)
    }
}

fn by_topic<M: AddAssign + Copy + Default>(
    partitions: &BTreeMap<TopicPartition, M>,
) -> BTreeMap<TopicName, M> {
    let mut topics: BTreeMap<TopicName, M> = BTreeMap::new();
    for (partition, counted) in partitions {
        *topics.entry(partition.topic.clone()).or_default() += *counted;
    }
    topics
}

fn total<M: AddAssign + Copy>(partitions: &BTreeMap<TopicPartition, M>, other: M) -> M {
    partitions.values().fold(other, |mut sum, counted| {
        sum += *counted;
        sum
    })
}
