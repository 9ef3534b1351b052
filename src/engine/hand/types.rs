//! What the two sides of a [`Hand`](super::Hand) tell each other.

use crate::{
    engine::partition::{Claim, Spot},
    types::TopicPartition,
};

/// What the user's side asks of the driver's side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// Fetch again from here: what came does not read.
    Refetch { partition: TopicPartition, claim: Claim, from: Spot },
    /// The partition cannot be read on; stop fetching it.
    Stop { partition: TopicPartition, claim: Claim },
    /// Whether to fetch the partition at all.
    Pause { partition: TopicPartition, paused: bool },
}

/// One stay of a partition with the consumer, and its place in the table of partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stay {
    pub(super) at: usize,
    pub(super) number: u64,
}

/// How far the user has got with a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) partition: TopicPartition,
    /// Behind what was handed out.
    pub(crate) position: Spot,
    /// Behind what is certainly done with: a later call has superseded it.
    pub(crate) done: Spot,
}
