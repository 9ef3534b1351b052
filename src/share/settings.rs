//! The settings of a share consumer, and what is wrong with them.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    config::{Config, Problems},
    engine::{
        backoff::{Backoff, Random},
        coordinator,
        group::{ShareSettings, member_id},
        share,
        share_consumer::CoreSettings,
    },
    error::Result,
    types::TopicName,
    wire::str::Str,
};

/// Who says that a record is done with. Java: `share.acknowledgement.mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Acknowledge {
    /// The next call for a record accepts what was handed out before, unless it was released or rejected; and so does
    /// [`commit`](crate::ShareConsumer::commit). For a single task that works on one record after the other.
    #[default]
    Implicit,
    /// Each record is accepted, released or rejected by itself, in whatever order and by whatever task. One that is dropped
    /// without a word is released: another member gets it at once.
    Explicit,
}

/// How many records a broker locks for a member at once. Java: `share.acquire.mode` (KIP-1206).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum AcquireMode {
    /// Whole batches as they were written, until there are [`max_records`](crate::ShareConsumerBuilder::max_records) or more:
    /// the cheapest for brokers.
    #[default]
    BatchOptimized,
    /// No more than [`max_records`](crate::ShareConsumerBuilder::max_records): for records that take long to work on. Kafka 4.2
    /// and newer; older brokers lock whole batches all the same.
    RecordLimit,
}

/// All settings of a share consumer; [`ShareConsumerBuilder`](super::ShareConsumerBuilder) documents each.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) group: String,
    pub(super) topics: BTreeSet<TopicName>,
    pub(super) acknowledge: Acknowledge,
    pub(super) acquire_mode: AcquireMode,
    pub(super) max_records: usize,
    pub(super) fetch_min_bytes: i32,
    pub(super) fetch_max_wait: Duration,
    pub(super) fetch_max_bytes: usize,
    pub(super) max_decompressed_batch_bytes: usize,
    pub(super) session_timeout: Duration,
    pub(super) topic_timeout: Duration,
}

impl Settings {
    pub(super) fn new(group: String) -> Self {
        Self {
            group,
            topics: BTreeSet::new(),
            acknowledge: Acknowledge::default(),
            acquire_mode: AcquireMode::default(),
            max_records: 500,
            fetch_min_bytes: 1,
            fetch_max_wait: Duration::from_millis(500),
            fetch_max_bytes: 50 << 20,
            max_decompressed_batch_bytes: 64 << 20,
            session_timeout: Duration::from_secs(45),
            topic_timeout: Duration::from_secs(60),
        }
    }

    /// As the machines take them.
    pub(super) fn core(&self, config: &Config, random: &mut Random) -> CoreSettings {
        let request_timeout = config.request_timeout;
        let retry = Backoff { first: config.retry_backoff, max: config.retry_backoff_max };
        let group = Str::from(self.group.as_str());
        let member_id = member_id(random);
        CoreSettings {
            share: share::Settings {
                group: group.clone(),
                member_id: member_id.clone(),
                min_bytes: self.fetch_min_bytes,
                max_wait: self.fetch_max_wait,
                max_bytes: self.fetch_max_bytes,
                max_records: i32::try_from(self.max_records).unwrap_or(i32::MAX),
                is_strict: self.acquire_mode == AcquireMode::RecordLimit,
                request_timeout,
                retry,
            },
            group: ShareSettings {
                group,
                member_id,
                topics: self.topics.clone(),
                rack: config.client_rack.as_deref().map(Str::from),
                session_timeout: self.session_timeout,
                // Until the coordinator says how often.
                heartbeat_interval: self.session_timeout / 9,
                request_timeout,
                retry,
            },
            coordinator: coordinator::Settings::new(request_timeout, config.connect_timeout, retry),
            topic_timeout: self.topic_timeout,
            close_timeout: request_timeout,
        }
    }

    /// All problems at once.
    pub(super) fn check(&self, config: &Config) -> Result<()> {
        let mut problems = Problems::default();
        problems.check_group(&self.group);
        if self.topics.is_empty() {
            problems.add("topics", "", "a member of a share group subscribes to at least one topic");
        }
        for topic in &self.topics {
            if let Err(invalid) = TopicName::check(topic) {
                problems.add("topics", &invalid.topic, invalid.reason);
            }
        }
        if self.max_records < 1 || i32::try_from(self.max_records).is_err() {
            problems.add("max_records", &self.max_records, "it must be 1 to 2147483647");
        }
        problems.check_fetch(config, self.fetch_min_bytes, self.fetch_max_wait, self.fetch_max_bytes);
        if self.max_decompressed_batch_bytes < 1 {
            problems.add("max_decompressed_batch_bytes", &0, "it must be 1 or more");
        }
        if self.session_timeout.is_zero() {
            problems.add("session_timeout", "0", "it must be more than 0");
        }
        problems.into_result()
    }
}
