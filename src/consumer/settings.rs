//! The settings of a consumer, and what is wrong with them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::listener::RebalanceListener;
use crate::{
    config::{Config, FRAME_ROOM, MAX_NAME, Problems, shortened},
    engine::{
        assign::{Assignor, CooperativeStickyAssignor},
        backoff::Backoff,
        commit,
        consumer::lookout::{self, TopicPattern},
        consumer::settings::{self, CoreSettings, MembershipSettings, OutOfRange, Source, Truncated},
        coordinator, fetch,
        group::GroupSettings,
        position,
    },
    error::Result,
    types::{Isolation, Position, TopicName, TopicPartition},
    wire::str::Str,
};

/// When a member of a group commits how far it has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Commit {
    /// Only when it is told to.
    Manual,
    /// This often, and before partitions are given up or the consumer is closed. What is committed is what a later call
    /// of `next` or `next_batch` has superseded: never what is still being worked on. So a record is processed at least
    /// once.
    Every(Duration),
    /// This often, and before partitions are given up or the consumer is closed, of each partition the contiguous prefix of
    /// what was acknowledged ([`Message::ack`](crate::Message::ack), [`Batch::ack`](crate::Batch::ack)), in whatever order
    /// and by whatever task. For those who work on many records side by side: a call for records says nothing about those
    /// before it. Acknowledging keeps the member in its group as asking for records does (`max_poll_interval`).
    ///
    /// Partitions that are given up, and closing, wait [`drain_timeout`](crate::ConsumerBuilder::drain_timeout) for those
    /// who still hold messages to acknowledge them. Of a partition with 100,000 gaps between acknowledged records, nothing
    /// more is handed out until one closes.
    Acknowledged(Duration),
}

impl Default for Commit {
    fn default() -> Self {
        Self::Every(Duration::from_secs(5))
    }
}

/// By which of Kafka's protocols a consumer is a member of its group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum GroupProtocol {
    /// The consumer protocol where the group's coordinator speaks it, as Kafka does from 4.0 on unless its feature
    /// `group.version` is 0, or else the classic one. It is decided before the member joins for the first time.
    #[default]
    Auto,
    /// Members agree among themselves: one of them assigns, and in a rebalance each gives up all that it has first.
    Classic,
    /// The coordinator assigns, and members give up and take on only what changes (KIP-848).
    Consumer,
}

/// What to do when a partition's log does not hold the offset to be read next: the records were deleted before they were
/// read, or the log was truncated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnOutOfRange {
    /// Go on with the oldest record that is there.
    #[default]
    Earliest,
    /// Skip to the end.
    Latest,
    /// Return [`ErrorKind::OffsetOutOfRange`](crate::ErrorKind::OffsetOutOfRange) and wait for a seek.
    Fail,
}

/// What to do when a partition's log has lost records that were handed out already, because a replica that lagged behind
/// has become the leader (KIP-320). Brokers tell since Kafka 2.7.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnTruncation {
    /// Go back to where the log parts from what was read, and hand out what is there now. It is logged as a warning.
    #[default]
    Rewind,
    /// Return [`ErrorKind::LogTruncated`](crate::ErrorKind::LogTruncated) and wait for a seek.
    Fail,
}

/// What to do when a topic was deleted while it was read, and another created under its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnRecreated {
    /// Return [`ErrorKind::TopicRecreated`](crate::ErrorKind::TopicRecreated) for each partition, and wait for a seek.
    #[default]
    Fail,
    /// Read the new topic from its beginning. What the old one held and was not read is gone.
    Follow,
}

/// All settings of a consumer; [`ConsumerBuilder`](super::ConsumerBuilder) documents each.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) group: Option<String>,
    pub(super) topics: BTreeSet<TopicName>,
    /// A regular expression for names of topics.
    pub(super) pattern: Option<String>,
    pub(super) brokers_pattern: Option<String>,
    pub(super) partitions: Vec<(TopicPartition, Position)>,
    pub(super) start_at: Position,
    pub(super) on_out_of_range: OnOutOfRange,
    pub(super) on_truncation: OnTruncation,
    pub(super) on_recreated: OnRecreated,
    pub(super) isolation: Isolation,
    pub(super) commit: Option<Commit>,
    pub(super) protocol: GroupProtocol,
    pub(super) assignors: Vec<Arc<dyn Assignor>>,
    pub(super) server_assignor: Option<String>,
    pub(super) group_instance_id: Option<String>,
    pub(super) session_timeout: Duration,
    pub(super) heartbeat_interval: Duration,
    pub(super) max_poll_interval: Duration,
    /// `None` for the default.
    pub(super) drain_timeout: Option<Duration>,
    pub(super) topic_timeout: Duration,
    pub(super) fetch_min_bytes: i32,
    pub(super) fetch_max_wait: Duration,
    pub(super) fetch_max_bytes: usize,
    pub(super) partition_max_bytes: usize,
    pub(super) buffered_bytes: usize,
    pub(super) max_decompressed_batch_bytes: usize,
    pub(super) listener: Option<Arc<dyn RebalanceListener>>,
}

impl Settings {
    pub(super) fn new(group: Option<String>) -> Self {
        Self {
            group,
            topics: BTreeSet::new(),
            pattern: None,
            brokers_pattern: None,
            partitions: Vec::new(),
            start_at: Position::Earliest,
            on_out_of_range: OnOutOfRange::default(),
            on_truncation: OnTruncation::default(),
            on_recreated: OnRecreated::default(),
            isolation: Isolation::default(),
            commit: None,
            protocol: GroupProtocol::default(),
            assignors: vec![Arc::new(CooperativeStickyAssignor)],
            server_assignor: None,
            group_instance_id: None,
            session_timeout: Duration::from_secs(45),
            heartbeat_interval: Duration::from_secs(3),
            max_poll_interval: Duration::from_secs(300),
            drain_timeout: None,
            topic_timeout: Duration::from_secs(60),
            fetch_min_bytes: 1,
            fetch_max_wait: Duration::from_millis(500),
            fetch_max_bytes: 50 << 20,
            partition_max_bytes: 2 << 20,
            buffered_bytes: 64 << 20,
            max_decompressed_batch_bytes: 64 << 20,
            listener: None,
        }
    }

    pub(super) fn core(&self, config: &Config) -> CoreSettings {
        let retry = Backoff { first: config.retry_backoff, max: config.retry_backoff_max };
        let request_timeout = config.request_timeout;
        let read_committed = self.isolation == Isolation::ReadCommitted;
        CoreSettings {
            positions: position::Settings { read_committed, request_timeout, retry },
            fetch: fetch::Settings {
                read_committed,
                min_bytes: self.fetch_min_bytes,
                max_wait: self.fetch_max_wait,
                max_bytes: self.fetch_max_bytes,
                partition_max_bytes: self.partition_max_bytes,
                rack: config.client_rack.as_deref().map(Str::from).unwrap_or_default(),
                replica_max_age: config.metadata_max_age,
                batch_max_bytes: config.receive_message_max_bytes.saturating_sub(FRAME_ROOM),
                request_timeout,
                retry,
            },
            out_of_range: match self.on_out_of_range {
                OnOutOfRange::Earliest => OutOfRange::Earliest,
                OnOutOfRange::Latest => OutOfRange::Latest,
                OnOutOfRange::Fail => OutOfRange::Fail,
            },
            truncated: match self.on_truncation {
                OnTruncation::Rewind => Truncated::Rewind,
                OnTruncation::Fail => Truncated::Fail,
            },
            follows_recreated: self.on_recreated == OnRecreated::Follow,
            start_at: self.start_at,
            pattern: self.pattern.as_deref().and_then(|pattern| {
                let interval = config.metadata_max_age;
                Some((
                    TopicPattern::new(pattern).ok()?,
                    lookout::Settings { interval, request_timeout, retry },
                ))
            }),
            topic_timeout: self.topic_timeout,
            source: match &self.group {
                Some(group) => Source::Group(Box::new(self.membership(group, config, retry))),
                None => Source::Chosen { partitions: self.partitions.clone(), topics: self.topics.clone() },
            },
        }
    }

    fn membership(&self, group: &str, config: &Config, retry: Backoff) -> MembershipSettings {
        let request_timeout = config.request_timeout;
        MembershipSettings {
            group: GroupSettings {
                group: group.into(),
                instance_id: self.group_instance_id.as_deref().map(Into::into),
                topics: self.topics.clone(),
                regex: self.brokers_pattern.as_deref().map(Str::from),
                rack: config.client_rack.as_deref().map(Str::from),
                assignors: self.assignors.clone(),
                server_assignor: self.server_assignor.as_deref().map(Str::from),
                session_timeout: self.session_timeout,
                heartbeat_interval: self.heartbeat_interval,
                rebalance_timeout: self.max_poll_interval,
                request_timeout,
                retry,
            },
            protocol: match self.protocol {
                // Members by the classic protocol match by themselves.
                GroupProtocol::Auto if self.brokers_pattern.is_some() => settings::GroupProtocol::Consumer,
                GroupProtocol::Auto => settings::GroupProtocol::Auto,
                GroupProtocol::Classic => settings::GroupProtocol::Classic,
                GroupProtocol::Consumer => settings::GroupProtocol::Consumer,
            },
            coordinator: coordinator::Settings::new(request_timeout, config.connect_timeout, retry),
            commits: commit::Settings {
                group: group.into(),
                request_timeout,
                // One try may be lost on a coordinator that is gone.
                patience: request_timeout.saturating_mul(2),
                retry,
            },
            auto_commit: match self.commit.unwrap_or_default() {
                Commit::Manual => None,
                Commit::Every(interval) | Commit::Acknowledged(interval) => Some(interval),
            },
            max_poll_interval: self.max_poll_interval,
            drain_timeout: match self.commit {
                Some(Commit::Acknowledged(_)) => {
                    self.drain_timeout.unwrap_or_else(|| DRAIN_TIMEOUT.min(self.max_poll_interval / 2))
                }
                _ => Duration::ZERO,
            },
            close_timeout: request_timeout,
            has_listener: self.listener.is_some(),
        }
    }

    /// All problems at once.
    pub(super) fn check(&self, config: &Config) -> Result<()> {
        let mut problems = Problems::default();
        match &self.group {
            Some(group) => self.check_group(group, &mut problems),
            None => self.check_reader(&mut problems),
        }
        for topic in self.topics.iter().chain(self.partitions.iter().map(|(partition, _)| &partition.topic)) {
            if let Err(invalid) = TopicName::check(topic) {
                problems.add("topics", &invalid.topic, invalid.reason);
            }
        }
        if let Some(pattern) = &self.pattern
            && let Err(reason) = TopicPattern::new(pattern)
        {
            problems.add("topics_matching", pattern, reason);
        }
        self.check_fetch(config, &mut problems);
        problems.into_result()
    }

    fn check_group(&self, group: &str, problems: &mut Problems) {
        problems.check_group(group);
        if self.topics.is_empty() && self.pattern.is_none() && self.brokers_pattern.is_none() {
            problems.add("topics", "", "a member of a group subscribes to at least one topic");
        }
        self.check_brokers_pattern(problems);
        if let Some((partition, _)) = self.partitions.first() {
            let reason = "a group assigns the partitions; choose them with Client::reader";
            problems.add("partitions", partition, reason);
        }
        self.check_assignors(problems);
        // Brokers take for it what they take for a topic's name.
        if let Some(Err(invalid)) = self.group_instance_id.as_deref().map(TopicName::check) {
            problems.add("group_instance_id", &shortened(&invalid.topic), invalid.reason);
        }
        if self.heartbeat_interval.is_zero()
            || self.heartbeat_interval.saturating_mul(2) > self.session_timeout
        {
            let value = format!("{:?}", self.heartbeat_interval);
            let reason = format!(
                "it must be more than 0 and at most half of session_timeout, which is {:?}",
                self.session_timeout
            );
            problems.add("heartbeat_interval", &value, reason);
        }
        for (setting, value) in
            [("session_timeout", self.session_timeout), ("max_poll_interval", self.max_poll_interval)]
        {
            if value.is_zero() || value > MAX_TIME {
                problems.add(
                    setting,
                    &format!("{value:?}"),
                    format!("it must be more than 0 and at most {MAX_TIME:?}"),
                );
            }
        }
        if let Some(commit @ (Commit::Every(Duration::ZERO) | Commit::Acknowledged(Duration::ZERO))) =
            self.commit
        {
            problems.add("commit", &format!("{commit:?}"), "the interval must be more than 0");
        }
        if let Some(timeout) = self.drain_timeout.filter(|timeout| *timeout >= self.max_poll_interval) {
            let reason = format!(
                "it must be less than max_poll_interval, which is {:?}: after that others read the partitions",
                self.max_poll_interval
            );
            problems.add("drain_timeout", &format!("{timeout:?}"), reason);
        }
    }

    fn check_brokers_pattern(&self, problems: &mut Problems) {
        const SETTING: &str = "topics_matched_by_brokers";
        let Some(pattern) = &self.brokers_pattern else { return };
        if pattern.is_empty() {
            problems.add(SETTING, "", "it is empty, and matches no topic");
        }
        if pattern.len() > MAX_NAME {
            let reason = format!("it is {} bytes long; the protocol has room for {MAX_NAME}", pattern.len());
            problems.add(SETTING, &shortened(pattern), reason);
        }
        if self.pattern.is_some() {
            problems.add(SETTING, pattern, "topics_matching is set too; one of them says it all");
        }
        if self.protocol == GroupProtocol::Classic {
            problems.add(SETTING, pattern, "brokers match only for members by the consumer protocol");
        }
    }

    fn check_assignors(&self, problems: &mut Problems) {
        if self.assignors.is_empty() {
            problems.add("assignors", "", "members of a group agree on one: there must be at least one");
        }
        let mut names = BTreeSet::new();
        for name in self.assignors.iter().map(|assignor| assignor.name()) {
            if name.is_empty() || name.len() > MAX_NAME {
                let reason = format!("a name is 1 to {MAX_NAME} bytes long, this one {}", name.len());
                problems.add("assignors", &shortened(name), reason);
            }
            if !names.insert(name) {
                problems.add("assignors", &shortened(name), "it is given twice");
            }
        }
    }

    fn check_reader(&self, problems: &mut Problems) {
        if self.topics.is_empty() && self.partitions.is_empty() && self.pattern.is_none() {
            problems.add("topics", "", "a reader is given topics or partitions");
        }
        let needs_group = [
            ("commit", self.commit.is_some()),
            ("group_instance_id", self.group_instance_id.is_some()),
            ("on_rebalance", self.listener.is_some()),
            ("topics_matched_by_brokers", self.brokers_pattern.is_some()),
        ];
        for (setting, _) in needs_group.iter().filter(|(_, is_set)| *is_set) {
            problems.add(setting, "", "a reader is in no group; use Client::consumer");
        }
        let mut positions: BTreeMap<&TopicPartition, Position> = BTreeMap::new();
        for (partition, position) in &self.partitions {
            if positions.insert(partition, *position).is_some() {
                problems.add("partitions", partition, "it is given twice");
            }
            if self.topics.contains(&partition.topic) {
                problems.add("partitions", partition, "its whole topic is read already");
            }
        }
        let committed = positions.into_values().any(|position| position == Position::Committed);
        if committed || self.start_at == Position::Committed {
            problems.add("start_at", "Committed", "a reader is in no group that could have committed");
        }
    }

    fn check_fetch(&self, config: &Config, problems: &mut Problems) {
        problems.check_fetch(config, self.fetch_min_bytes, self.fetch_max_wait, self.fetch_max_bytes);
        if self.partition_max_bytes < 1 || self.partition_max_bytes > self.fetch_max_bytes {
            let reason = format!("it must be 1 to fetch_max_bytes, which is {}", self.fetch_max_bytes);
            problems.add("partition_max_bytes", &self.partition_max_bytes, reason);
        }
        if self.buffered_bytes < self.partition_max_bytes {
            let reason =
                format!("it must be partition_max_bytes or more, which is {}", self.partition_max_bytes);
            problems.add("buffered_bytes", &self.buffered_bytes, reason);
        }
        if self.max_decompressed_batch_bytes < 1 {
            problems.add("max_decompressed_batch_bytes", &0, "it must be 1 or more");
        }
    }
}

/// Below the half minute that orchestrators give a process to end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);
/// The protocol counts milliseconds in 31 bits.
const MAX_TIME: Duration = Duration::from_millis(i32::MAX as u64);
