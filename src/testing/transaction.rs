//! What a test sees of a transaction.

use std::fmt;
use std::time::Duration;

use crate::types::TopicPartition;

/// How far the transaction of a transactional id is, with Kafka's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TransactionState {
    /// A producer has begun and has not written yet.
    Empty,
    /// Partitions or offsets belong to the transaction.
    Ongoing,
    /// The commit is decided and answered; not all markers are written.
    PrepareCommit,
    /// The abort is decided and answered; not all markers are written.
    PrepareAbort,
    /// The newest transaction was committed, and all its markers are written.
    CompleteCommit,
    /// The newest transaction was aborted, and all its markers are written.
    CompleteAbort,
}

impl fmt::Display for TransactionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A transactional id, as its coordinator knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TransactionDescription {
    /// Its name.
    pub transactional_id: String,
    /// The producer id that writes under it.
    pub producer_id: i64,
    /// The epoch that is not fenced.
    pub producer_epoch: i16,
    /// How far it is.
    pub state: TransactionState,
    /// After how long the coordinator aborts a transaction that is not ended.
    pub timeout: Duration,
    /// What belongs to the transaction and has no marker yet, in order. Offsets stand as a partition of
    /// `__consumer_offsets`.
    pub partitions: Vec<TopicPartition>,
}
