//! Making a consumer.

use std::{fmt, sync::Arc, time::Duration};

use super::{
    handle::Consumer,
    listener::RebalanceListener,
    settings::{Commit, GroupProtocol, OnOutOfRange, OnRecreated, OnTruncation, Settings},
};
use crate::{
    client::Client,
    engine::assign::Assignor,
    error::Result,
    types::{Isolation, Position, TopicName, TopicPartition},
};

/// Makes a [`Consumer`]. Every setting has a default, except for what is read; [`build`](Self::build) reports all
/// problems at once.
#[derive(Clone)]
#[must_use = "a builder does nothing until it is built"]
pub struct ConsumerBuilder {
    client: Client,
    settings: Settings,
}

impl Client {
    /// A member of a consumer group, with default settings to be changed before it is built. The group's members share
    /// the partitions of the topics, and the group remembers how far each was read.
    pub fn consumer(&self, group: impl Into<String>) -> ConsumerBuilder {
        ConsumerBuilder { client: self.clone(), settings: Settings::new(Some(group.into())) }
    }

    /// A consumer of chosen partitions, or of all partitions of chosen topics, in no group: nothing is committed.
    pub fn reader(&self) -> ConsumerBuilder {
        ConsumerBuilder { client: self.clone(), settings: Settings::new(None) }
    }
}

impl ConsumerBuilder {
    /// The topics to read.
    pub fn topics(mut self, topics: impl IntoIterator<Item = impl Into<TopicName>>) -> Self {
        self.settings.topics.extend(topics.into_iter().map(Into::into));
        self
    }

    /// Reads all topics whose whole name matches this regular expression, beside the [`topics`](Self::topics), and those
    /// that appear later: brokers are asked for all names every [`metadata_max_age`](crate::Config::metadata_max_age), and
    /// when a topic has gone. Kafka's own topics, such as `__consumer_offsets`, never match. Nothing is
    /// missed in a topic that appears later ([`start_at`](Self::start_at)).
    ///
    /// The syntax is that of the crate [`regex-lite`](https://docs.rs/regex-lite/latest/regex_lite/#syntax), which for
    /// the names of topics is Java's without look-around and back references. Given twice, the last one counts. Java:
    /// `subscribe(Pattern)`.
    ///
    /// ```
    /// # fn example(client: milena::Client) -> milena::ConsumerBuilder {
    /// client.consumer("billing").topics_matching(r"orders\..*|refunds")
    /// # }
    /// ```
    pub fn topics_matching(mut self, pattern: impl Into<String>) -> Self {
        self.settings.pattern = Some(pattern.into());
        self
    }

    /// As [`topics_matching`](Self::topics_matching), but the group's coordinator says which topics match, for all its
    /// members alike (KIP-848): the consumer asks for no topic by itself, learns of a new one with its next assignment,
    /// and gets those alone that it may describe. Only in groups, and only by the consumer protocol with heartbeats of
    /// version 1: Kafka 4.0 and newer. Java: `subscribe(SubscriptionPattern)`.
    ///
    /// The syntax is that of [RE2/J](https://github.com/google/re2j), and the whole name has to match. Brokers look for new
    /// topics some ten seconds after one was created, and otherwise as often as
    /// `group.consumer.regex.refresh.interval.ms` says. With [`Position::Latest`] they are read from where they end
    /// when they are assigned: which topics are new is not known here.
    ///
    /// An expression that the coordinator does not take is told by [`Consumer::next`], with
    /// [`Code::INVALID_REGULAR_EXPRESSION`](crate::Code::INVALID_REGULAR_EXPRESSION); a coordinator that matches none, with
    /// [`ErrorKind::UnsupportedVersion`](crate::ErrorKind::UnsupportedVersion).
    pub fn topics_matched_by_brokers(mut self, pattern: impl Into<String>) -> Self {
        self.settings.brokers_pattern = Some(pattern.into());
        self
    }

    /// Single partitions to read, and where to start in each. For readers without a group.
    pub fn partitions(mut self, partitions: impl IntoIterator<Item = (TopicPartition, Position)>) -> Self {
        self.settings.partitions.extend(partitions);
        self
    }

    /// Where to start in a partition: in a group, where it has committed nothing for it; without one, in all partitions
    /// of the [`topics`](Self::topics). Default [`Position::Earliest`]. Java: `auto.offset.reset`, whose default is the
    /// end.
    ///
    /// A partition that appears while its topic is read already, or a topic that appears later, is read from its beginning
    /// also with [`Position::Latest`], so that nothing is missed there.
    pub fn start_at(mut self, position: Position) -> Self {
        self.settings.start_at = position;
        self
    }

    /// What to do when the log no longer holds the offset to be read next. Default [`OnOutOfRange::Earliest`].
    pub fn on_out_of_range(mut self, policy: OnOutOfRange) -> Self {
        self.settings.on_out_of_range = policy;
        self
    }

    /// What to do when the log has lost records that were handed out already. Default [`OnTruncation::Rewind`]. Java goes
    /// back as well, unless `auto.offset.reset` is `none`.
    pub fn on_truncation(mut self, policy: OnTruncation) -> Self {
        self.settings.on_truncation = policy;
        self
    }

    /// What to do when a topic was deleted while it was read, and another created under its name. Default
    /// [`OnRecreated::Fail`]. Whatever is chosen, no offset of the old topic is committed to the new one. Where the group
    /// has committed offsets of the new topic, members that are assigned its partitions go on there.
    ///
    /// Brokers older than 2.8 do not tell one topic from another of the same name: there the position is
    /// [out of range](Self::on_out_of_range), or by chance is not.
    pub fn on_recreated(mut self, policy: OnRecreated) -> Self {
        self.settings.on_recreated = policy;
        self
    }

    /// By which protocol the consumer is a member of its group. Default [`GroupProtocol::Auto`]. Java:
    /// `group.protocol`, whose default is `classic`.
    ///
    /// Under the consumer protocol brokers say how often there are heartbeats, and after how long without one a member
    /// is taken for dead (`group.consumer.session.timeout.ms`, 45 s by default):
    /// [`heartbeat_interval`](Self::heartbeat_interval) does not count, and [`session_timeout`](Self::session_timeout)
    /// is after how long the member takes itself for dead, or three times the heartbeats' interval if that is more. It
    /// should not be more than the brokers'.
    pub fn protocol(mut self, protocol: GroupProtocol) -> Self {
        self.settings.protocol = protocol;
        self
    }

    /// Who may say who reads what under the classic protocol, the most wanted one first. All members of a group need one
    /// in common. Default: [`CooperativeStickyAssignor`](crate::CooperativeStickyAssignor) alone, with which members give
    /// up only what goes to others. Java: `partition.assignment.strategy`, whose default is
    /// [`RangeAssignor`](crate::RangeAssignor) first and the cooperative one second, so that both share a group. A group
    /// of librdkafka's defaults needs [`RangeAssignor`](crate::RangeAssignor) here; without it a member that joins fails
    /// with [`Code::INCONSISTENT_GROUP_PROTOCOL`](crate::Code::INCONSISTENT_GROUP_PROTOCOL).
    ///
    /// A member that offers an assignor that is not cooperative gives up all it has whenever the group rebalances,
    /// whichever is chosen: only so may the group choose either. To change a group's assignor with no member down, let
    /// all members offer both first, and then drop the old one. An empty list is an error when the consumer is built.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use milena::{Assignor, ConsumerBuilder, RangeAssignor, StickyAssignor};
    ///
    /// fn sticky(consumer: ConsumerBuilder) -> ConsumerBuilder {
    ///     let assignors: [Arc<dyn Assignor>; 2] = [Arc::new(StickyAssignor), Arc::new(RangeAssignor)];
    ///     consumer.assignors(assignors)
    /// }
    /// ```
    pub fn assignors(mut self, assignors: impl IntoIterator<Item = Arc<dyn Assignor>>) -> Self {
        self.settings.assignors = assignors.into_iter().collect();
        self
    }

    /// Which of the coordinator's assignors says who reads what, under the consumer protocol: `uniform` or `range`, and
    /// those that the brokers were given (`group.consumer.assignors`). Default: the coordinator's first. Java:
    /// `group.remote.assignor`.
    pub fn server_assignor(mut self, name: impl Into<String>) -> Self {
        self.settings.server_assignor = Some(name.into());
        self
    }

    /// Which records of transactions are read. Default [`Isolation::ReadCommitted`]. Java: `isolation.level`, whose
    /// default is the other.
    pub fn isolation(mut self, isolation: Isolation) -> Self {
        self.settings.isolation = isolation;
        self
    }

    /// When to commit. Default: every 5 s. Java: `enable.auto.commit`, `auto.commit.interval.ms`.
    pub fn commit(mut self, commit: Commit) -> Self {
        self.settings.commit = Some(commit);
        self
    }

    /// A name for this member that survives its restarts (KIP-345): back within the session timeout, it gets the same
    /// partitions and the group does not rebalance. No two members of a group may have the same. Up to 249 letters,
    /// digits, dots, underscores and dashes. Java:
    /// `group.instance.id`.
    pub fn group_instance_id(mut self, id: impl Into<String>) -> Self {
        self.settings.group_instance_id = Some(id.into());
        self
    }

    /// How long the group waits for a heartbeat before it gives the member's partitions to others. More than 0; brokers
    /// take 6 s to 30 min unless they were told otherwise. Default 45 s. Java: `session.timeout.ms`.
    pub fn session_timeout(mut self, timeout: Duration) -> Self {
        self.settings.session_timeout = timeout;
        self
    }

    /// The time between two heartbeats: more than 0, and half of [`session_timeout`](Self::session_timeout) at most.
    /// Default 3 s. Java: `heartbeat.interval.ms`.
    pub fn heartbeat_interval(mut self, interval: Duration) -> Self {
        self.settings.heartbeat_interval = interval;
        self
    }

    /// How long the user may take between two calls for records before the member leaves the group, and how long a
    /// rebalance waits for its members: more than 0, 24 days at most. Default 5 min. Java: `max.poll.interval.ms`.
    pub fn max_poll_interval(mut self, interval: Duration) -> Self {
        self.settings.max_poll_interval = interval;
        self
    }

    /// How long partitions that are given up wait for those who still hold their messages to acknowledge them, under
    /// [`Commit::Acknowledged`]; and so does [`close`](Consumer::close). What is not acknowledged then is read again by
    /// whoever owns the partition next. Less than [`max_poll_interval`](Self::max_poll_interval), 0 for not at all;
    /// default 20 s, or half of `max_poll_interval` if that is less.
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.settings.drain_timeout = Some(timeout);
        self
    }

    /// How long a topic may be missing before [`ErrorKind::UnknownTopic`](crate::ErrorKind::UnknownTopic) is returned,
    /// and again after as long. Default 60 s. The topic is read when it appears.
    pub fn topic_timeout(mut self, timeout: Duration) -> Self {
        self.settings.topic_timeout = timeout;
        self
    }

    /// A broker that has fewer bytes than this waits for more, for at most [`fetch_max_wait`](Self::fetch_max_wait).
    /// 1 or more; default 1. Java: `fetch.min.bytes`.
    pub fn fetch_min_bytes(mut self, bytes: i32) -> Self {
        self.settings.fetch_min_bytes = bytes;
        self
    }

    /// How long a broker without data waits before it answers, at most the client's `request_timeout`. Default 500 ms.
    /// Java: `fetch.max.wait.ms`.
    pub fn fetch_max_wait(mut self, wait: Duration) -> Self {
        self.settings.fetch_max_wait = wait;
        self
    }

    /// The most bytes of one answer: 1 or more, and 64 KiB less than the client's `receive_message_max_bytes` at most.
    /// Default 50 MiB. A single larger batch comes all the same. Java: `fetch.max.bytes`.
    pub fn fetch_max_bytes(mut self, bytes: usize) -> Self {
        self.settings.fetch_max_bytes = bytes;
        self
    }

    /// The most bytes of one partition in an answer, from 1 to [`fetch_max_bytes`](Self::fetch_max_bytes). Default 2 MiB.
    /// A single larger batch comes all the same. How fast a single partition is read is this divided by the round trip. Java:
    /// `max.partition.fetch.bytes`, whose default is 1 MiB.
    pub fn partition_max_bytes(mut self, bytes: usize) -> Self {
        self.settings.partition_max_bytes = bytes;
        self
    }

    /// The bytes that are fetched ahead of the user, over all partitions; at least
    /// [`partition_max_bytes`](Self::partition_max_bytes). Default 64 MiB. They are shared evenly by the
    /// brokers that are read from. Paused partitions keep what they have; where that leaves no room, each broker is still
    /// asked for [`partition_max_bytes`](Self::partition_max_bytes) of the others at a time, beyond the limit.
    pub fn buffered_bytes(mut self, bytes: usize) -> Self {
        self.settings.buffered_bytes = bytes;
        self
    }

    /// The most bytes that one batch may have when it is decompressed, 1 or more. Default 64 MiB. A larger one is reported as
    /// [`ErrorKind::CorruptBatch`](crate::ErrorKind::CorruptBatch), and its partition waits for a seek.
    pub fn max_decompressed_batch_bytes(mut self, bytes: usize) -> Self {
        self.settings.max_decompressed_batch_bytes = bytes;
        self
    }

    /// Who is told of partitions that come and go.
    pub fn on_rebalance(mut self, listener: impl RebalanceListener + 'static) -> Self {
        self.settings.listener = Some(Arc::new(listener));
        self
    }

    /// Makes the consumer and starts its task, which joins the group and fetches ahead.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) with every setting that cannot stand,
    /// [`ErrorKind::NoRuntime`](crate::ErrorKind::NoRuntime) outside a tokio runtime. What goes wrong later is returned
    /// by [`Consumer::next`].
    pub fn build(self) -> Result<Consumer> {
        self.settings.check(self.client.config())?;
        Consumer::start(self.client, &self.settings)
    }
}

impl fmt::Debug for ConsumerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Settings { group, topics, partitions, .. } = &self.settings;
        f.debug_struct("ConsumerBuilder")
            .field("group", group)
            .field("topics", topics)
            .field("partitions", partitions)
            .finish_non_exhaustive()
    }
}
