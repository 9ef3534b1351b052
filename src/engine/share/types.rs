//! What goes into the machine and what comes out of it.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::verdicts::Verdict;
use crate::{
    engine::{backoff::Backoff, catalog::snapshot::LeaderHint},
    error::{Error, Result},
    types::{NodeId, TopicPartition},
    wire::{str::Str, uuid::Uuid},
};

/// A partition by its topic's id, as share sessions know it.
pub(crate) type Key = (Uuid, i32);

/// One stay of a partition in a session with a broker. What was got in it can be decided of in it alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Stay(pub(crate) u64);

/// How to read.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) group: Str,
    pub(crate) member_id: Str,
    pub(crate) min_bytes: i32,
    pub(crate) max_wait: Duration,
    pub(crate) max_bytes: usize,
    /// How many records to get at once, from each broker.
    pub(crate) max_records: i32,
    /// Whether never more than that; else whole batches (KIP-1206).
    pub(crate) is_strict: bool,
    pub(crate) request_timeout: Duration,
    pub(crate) retry: Backoff,
}

/// Offsets that the member has a lock on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Acquired {
    pub(crate) first: i64,
    pub(crate) last: i64,
    /// How often they were delivered, this time included.
    pub(crate) deliveries: u16,
}

/// Records of one partition.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) stay: Stay,
    pub(crate) partition: TopicPartition,
    /// Whole batches: more than what was acquired may be in them.
    pub(crate) records: Bytes,
    pub(crate) acquired: Vec<Acquired>,
    /// When the locks end.
    pub(crate) until: Instant,
}

/// What was decided of records from `first` to `last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) stay: Stay,
    pub(crate) first: i64,
    pub(crate) last: i64,
    pub(crate) verdict: Verdict,
}

/// What the machine tells.
#[derive(Debug)]
pub(crate) enum Event {
    Fetched(Fetched),
    /// The partition is not read in this stay any more: what nobody has seen yet of it must not be handed out. If
    /// `release`, it is to be decided to be for others.
    Ended {
        stay: Stay,
        release: bool,
    },
    /// Something cannot be read. It is tried again.
    Failed {
        partition: Option<TopicPartition>,
        error: Error,
    },
    /// What was decided of these records did not count.
    Unsettled {
        partition: TopicPartition,
        first: i64,
        last: i64,
        error: Error,
    },
    /// What was decided before is known to the brokers, or did not count.
    Committed {
        ticket: u64,
        result: Result<()>,
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
    /// All sessions have ended, as was asked.
    Closed,
}
