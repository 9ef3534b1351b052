//! What can be set about a producer, and which settings can stand together.

use std::{sync::Arc, time::Duration};

use super::{
    observer::{Observer, ProducerInterceptor},
    partitioner::Partitioner,
};
use crate::{
    config::{Config, Problems},
    engine::{
        backoff::Backoff,
        produce::config::{Linger, Partitioning, SenderConfig},
        txn,
    },
    error::Result,
    wire::{compress, str::Str},
};

/// Which replicas must have a record before it is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Acks {
    /// None: the broker does not answer, and nobody learns offsets or losses. Not idempotent.
    None,
    /// The leader. What it has not replicated yet is lost when it dies. Not idempotent.
    Leader,
    /// All replicas in sync.
    #[default]
    All,
}

/// What becomes of records on their way to a topic that is deleted, when another is created under its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecreatedTopics {
    /// They fail with [`ErrorKind::TopicRecreated`](crate::ErrorKind::TopicRecreated): they were meant for the topic that is
    /// gone. Records that are enqueued once the new one is known go there.
    #[default]
    Fail,
    /// They go to the new one, in order. Those that the old one took before it was deleted are gone with it.
    Follow,
}

/// How batches are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip.
    #[non_exhaustive]
    Gzip {
        /// From 1, fastest, to 9, smallest. Java's default is 6.
        level: u8,
    },
    /// Snappy, in the framing that Java uses.
    Snappy,
    /// LZ4.
    #[default]
    Lz4,
    /// Zstandard; needs the feature `zstd`.
    #[non_exhaustive]
    Zstd {
        /// From -7, fastest, to 22, smallest. Java's default is 3.
        level: i8,
    },
}

impl Compression {
    /// gzip at a level from 1 to 9.
    #[must_use]
    pub const fn gzip(level: u8) -> Self {
        Self::Gzip { level }
    }

    /// Zstandard at a level from -7 to 22.
    #[must_use]
    pub const fn zstd(level: i8) -> Self {
        Self::Zstd { level }
    }

    fn to_wire(self) -> compress::Compression {
        let (codec, level) = match self {
            Self::None => (compress::Codec::None, None),
            Self::Gzip { level } => (compress::Codec::Gzip, Some(i32::from(level))),
            Self::Snappy => (compress::Codec::Snappy, None),
            Self::Lz4 => (compress::Codec::Lz4, None),
            Self::Zstd { level } => (compress::Codec::Zstd, Some(i32::from(level))),
        };
        compress::Compression { codec, level }
    }
}

/// How long a batch waits while another one is under way, unless a linger is set.
const ADAPTIVE_LINGER: Duration = Duration::from_millis(5);
/// From this size on it takes longer to compress a batch (0.1 ms with lz4) than to hand it to another thread (0.01 ms).
const PACKED_ASIDE: usize = 32 << 10;

/// All settings of a producer; [`ProducerBuilder`](super::ProducerBuilder) documents each.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) acks: Acks,
    pub(super) idempotence: Option<bool>,
    pub(super) linger: Option<Duration>,
    pub(super) batch_size: usize,
    pub(super) buffer_memory: usize,
    pub(super) compression: Compression,
    pub(super) delivery_timeout: Duration,
    pub(super) max_block: Duration,
    pub(super) max_request_size: usize,
    pub(super) max_in_flight: usize,
    pub(super) partitioner: Option<Arc<dyn Partitioner>>,
    /// Records are written in transactions under this id.
    pub(super) transactional_id: Option<String>,
    pub(super) transaction_timeout: Duration,
    pub(super) adaptive_partitioning: bool,
    pub(super) partitioner_availability_timeout: Option<Duration>,
    pub(super) rack_aware: bool,
    pub(super) recreated_topics: RecreatedTopics,
    pub(super) create_topics: bool,
    pub(super) interceptor: Option<Arc<dyn ProducerInterceptor>>,
    pub(super) observer: Option<Observer>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            acks: Acks::All,
            idempotence: None,
            linger: None,
            batch_size: 256 << 10,
            buffer_memory: 64 << 20,
            compression: Compression::Lz4,
            delivery_timeout: Duration::from_secs(120),
            max_block: Duration::from_secs(60),
            max_request_size: 1 << 20,
            max_in_flight: 5,
            partitioner: None,
            transactional_id: None,
            transaction_timeout: Duration::from_secs(60),
            adaptive_partitioning: true,
            partitioner_availability_timeout: None,
            rack_aware: false,
            recreated_topics: RecreatedTopics::Fail,
            create_topics: false,
            interceptor: None,
            observer: None,
        }
    }
}

impl Settings {
    fn idempotent(&self) -> bool {
        self.idempotence.unwrap_or(self.acks == Acks::All)
    }

    pub(super) fn sender(&self, config: &Config) -> SenderConfig {
        SenderConfig {
            acks: match self.acks {
                Acks::None => 0,
                Acks::Leader => 1,
                Acks::All => -1,
            },
            idempotent: self.idempotent(),
            transactional_id: self.transactional_id.as_deref().map(Str::from),
            linger: self.linger.map_or(Linger::Adaptive(ADAPTIVE_LINGER), Linger::Fixed),
            partitioning: Partitioning {
                adaptive: self.adaptive_partitioning,
                availability_timeout: self.partitioner_availability_timeout,
                rack: config.client_rack.clone().filter(|_| self.rack_aware),
            },
            follow_recreated: self.recreated_topics == RecreatedTopics::Follow,
            compression: self.compression.to_wire(),
            packed_aside: PACKED_ASIDE,
            max_request_size: self.max_request_size,
            max_in_flight: self.max_in_flight,
            delivery_timeout: self.delivery_timeout,
            request_timeout: config.request_timeout,
            backoff: Backoff { first: config.retry_backoff, max: config.retry_backoff_max },
        }
    }

    /// How transactions are asked for, if there are any.
    pub(super) fn transactions(&self, config: &Config) -> Option<txn::Settings> {
        Some(txn::Settings {
            transactional_id: Str::from(self.transactional_id.as_deref()?),
            timeout: self.transaction_timeout,
            request_timeout: config.request_timeout,
            retry: Backoff { first: config.retry_backoff, max: config.retry_backoff_max },
        })
    }

    /// All problems at once.
    pub(super) fn check(&self, config: &Config) -> Result<()> {
        let mut problems = Problems::default();
        if self.idempotent() && self.acks != Acks::All {
            let value = format!("{:?}", self.acks);
            problems.add("acks", &value, "idempotence needs Acks::All; switch it off or raise acks");
        }
        if !(1..=5).contains(&self.max_in_flight) {
            let reason = "it must be 1 to 5: a broker remembers the newest 5 batches of a producer";
            problems.add("max_in_flight", &self.max_in_flight, reason);
        }
        if self.batch_size < 1 || self.batch_size > 1 << 30 {
            problems.add("batch_size", &self.batch_size, "it must be 1 byte to 1 GiB");
        }
        if self.max_request_size < 1 || self.max_request_size > 1 << 30 {
            problems.add("max_request_size", &self.max_request_size, "it must be 1 byte to 1 GiB");
        }
        if self.buffer_memory < self.max_request_size {
            let reason =
                format!("it must hold a record of max_request_size, {} bytes", self.max_request_size);
            problems.add("buffer_memory", &self.buffer_memory, reason);
        }
        let least = config.request_timeout.saturating_add(self.linger.unwrap_or_default());
        if self.delivery_timeout < least {
            let value = format!("{:?}", self.delivery_timeout);
            problems.add(
                "delivery_timeout",
                &value,
                format!("linger and request_timeout take {least:?} already"),
            );
        }
        self.check_transactions(&mut problems);
        if self.rack_aware && config.client_rack.is_none() {
            problems.add("rack_aware", &true, "it needs the rack of the client: set Config::client_rack");
        }
        self.check_compression(&mut problems);
        problems.into_result()
    }

    fn check_transactions(&self, problems: &mut Problems) {
        let Some(id) = &self.transactional_id else { return };
        if id.is_empty() || id.len() > usize::from(i16::MAX.unsigned_abs()) {
            problems.add("transactional_id", &id.len(), "it must have 1 to 32,767 bytes");
        }
        if !self.idempotent() {
            problems.add("idempotence", &false, "transactions need it, and with it Acks::All");
        }
        if self.transaction_timeout.as_millis() < 1 || self.transaction_timeout.as_millis() > i32::MAX as u128
        {
            let value = format!("{:?}", self.transaction_timeout);
            problems.add("transaction_timeout", &value, "it must be 1 ms to 2,147,483,647 ms");
        }
    }

    fn check_compression(&self, problems: &mut Problems) {
        let value = format!("{:?}", self.compression);
        match self.compression {
            Compression::Gzip { level } if !(1..=9).contains(&level) => {
                problems.add("compression", &value, "gzip has levels 1 to 9");
            }
            Compression::Zstd { .. } if cfg!(not(feature = "zstd")) => {
                problems.add("compression", &value, "this build lacks the feature `zstd`");
            }
            Compression::Zstd { level } if !(-7..=22).contains(&level) => {
                problems.add("compression", &value, "zstd has levels -7 to 22");
            }
            _ => {}
        }
    }
}
