//! How a producer sends, in numbers.

use std::time::Duration;

use crate::{
    engine::backoff::Backoff,
    wire::{
        compress::{Codec, Compression},
        str::Str,
    },
};

/// How a producer sends.
#[derive(Clone, Debug)]
pub(crate) struct SenderConfig {
    pub(crate) acks: i16,
    pub(crate) idempotent: bool,
    /// The id under which records are written in transactions; implies idempotence.
    pub(crate) transactional_id: Option<Str>,
    pub(crate) linger: Linger,
    pub(crate) partitioning: Partitioning,
    /// Whether what was on its way to a topic that was deleted goes to the one that took its name.
    pub(crate) follow_recreated: bool,
    pub(crate) compression: Compression,
    /// Batches of at least so many bytes are compressed beside the sender.
    pub(crate) packed_aside: usize,
    pub(crate) max_request_size: usize,
    /// Requests in flight per broker, and batches in flight per partition.
    pub(crate) max_in_flight: usize,
    pub(crate) delivery_timeout: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) backoff: Backoff,
}

impl SenderConfig {
    /// The size from which on a batch is compressed beside the sender, if batches are.
    pub(crate) fn least_packed(&self) -> Option<usize> {
        (self.compression.codec != Codec::None).then_some(self.packed_aside)
    }

    /// The batches in flight per partition: without sequences a second one could overtake the first.
    pub(crate) fn per_partition(&self) -> usize {
        if self.idempotent { self.max_in_flight } else { 1 }
    }
}

/// How records without a key are spread over partitions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Partitioning {
    /// Whether partitions for which more waits get less.
    pub(crate) adaptive: bool,
    /// Partitions whose leader has taken nothing for longer get nothing.
    pub(crate) availability_timeout: Option<Duration>,
    /// Partitions whose leader is in this rack get all.
    pub(crate) rack: Option<String>,
}

/// How long a batch that is not full waits for more records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Linger {
    /// Not at all while nothing is in flight to its broker, and never longer than this.
    Adaptive(Duration),
    /// Always this long.
    Fixed(Duration),
}
