//! What goes into the fetcher and what comes out of it.

use std::time::Duration;

use bytes::Bytes;

use super::buffered::Held;
use crate::{
    engine::{
        backoff::Backoff,
        catalog::snapshot::LeaderHint,
        partition::{Claim, Spot},
    },
    error::Error,
    types::{NodeId, TopicPartition},
    wire::str::Str,
};

/// How to fetch.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Whether records of open and aborted transactions are left out.
    pub(crate) read_committed: bool,
    /// A broker with fewer bytes than this waits for more, at most `max_wait`.
    pub(crate) min_bytes: i32,
    pub(crate) max_wait: Duration,
    /// The most bytes of one response.
    pub(crate) max_bytes: usize,
    /// The most bytes of one partition in a response.
    pub(crate) partition_max_bytes: usize,
    /// How far a batch that does not fit is gone after.
    pub(crate) batch_max_bytes: usize,
    /// Where the client stands, for leaders that know nearer replicas; empty where that is not told.
    pub(crate) rack: Str,
    /// How long another replica is asked in a leader's place.
    pub(crate) replica_max_age: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) retry: Backoff,
}

/// What the fetcher tells its core.
#[derive(Debug)]
pub(crate) enum Event {
    Fetched(Fetched),
    /// The records that may be read end in front of this offset.
    End {
        partition: TopicPartition,
        end: i64,
    },
    /// The log does not hold the offset. The partition waits for a new position.
    OutOfRange {
        partition: TopicPartition,
        claim: Claim,
        offset: i64,
    },
    /// The log parts from what was fetched at this place: what came behind it is not there any more. The partition waits
    /// for a new position.
    Truncated {
        partition: TopicPartition,
        claim: Claim,
        at: Spot,
    },
    /// A partition cannot be read. It is tried again, slowly.
    Failed {
        partition: TopicPartition,
        claim: Claim,
        error: Error,
    },
    /// A batch cannot be read, and fetching it again would not help. The partition waits for a new position.
    Stuck {
        partition: TopicPartition,
        claim: Claim,
        error: Error,
    },
    /// The topic was deleted and created again: the position belongs to records that are gone. The partition waits for
    /// a new position.
    Recreated {
        partition: TopicPartition,
        claim: Claim,
    },
    /// A broker cannot be fetched from at all, for a reason that does not pass by itself.
    BrokerRefused {
        node: NodeId,
        error: Error,
    },
    /// A broker lets the reader wait (KIP-219).
    Throttled {
        node: NodeId,
        delay: Duration,
    },
    /// A broker named the leader of a partition (KIP-951).
    LeaderHint(LeaderHint),
    /// The view of the cluster is stale.
    Refresh,
}

/// One partition's share of a response: a run of record batches, the last perhaps cut off.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) partition: TopicPartition,
    pub(crate) claim: Claim,
    /// The offset asked for. Records in front of it may come along, since batches come whole.
    pub(crate) offset: i64,
    pub(crate) records: Bytes,
    /// Producers with aborted records among these, and the first such offset; in the order of the offsets.
    pub(crate) aborted: Vec<(i64, i64)>,
    /// One behind the last record that is replicated.
    pub(crate) high_watermark: i64,
    pub(crate) held: Held,
}
