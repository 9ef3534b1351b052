//! Making a share consumer.

use std::{fmt, time::Duration};

use super::{
    handle::ShareConsumer,
    settings::{Acknowledge, AcquireMode, Settings},
};
use crate::{client::Client, error::Result, types::TopicName};

/// Makes a [`ShareConsumer`]. Every setting has a default, except for the topics; [`build`](Self::build) reports all
/// problems at once.
#[derive(Clone)]
#[must_use = "a builder does nothing until it is built"]
pub struct ShareConsumerBuilder {
    client: Client,
    settings: Settings,
}

impl Client {
    /// A member of a share group (KIP-932), with default settings to be changed before it is built. Members of a share group
    /// read the same partitions, each record by one of them at a time, as from a queue: there may be more members than
    /// partitions, and records are in no order. Kafka 4.2 and newer; older ones have share groups as a preview.
    ///
    /// ```no_run
    /// # async fn example(client: milena::Client) -> milena::Result<()> {
    /// let consumer = client.share_consumer("mails").topics(["mails"]).build()?;
    /// while let Some(mail) = consumer.next().await {
    ///     println!("{:?}", mail?.value());
    /// }
    /// # Ok(()) }
    /// ```
    pub fn share_consumer(&self, group: impl Into<String>) -> ShareConsumerBuilder {
        ShareConsumerBuilder { client: self.clone(), settings: Settings::new(group.into()) }
    }
}

impl ShareConsumerBuilder {
    /// The topics to read. Where a group begins in a partition that is new to it, and whether it reads records of open
    /// transactions, is set for the group at the brokers (`share.auto.offset.reset`, `share.isolation.level`): by default at
    /// the end, and it does.
    pub fn topics(mut self, topics: impl IntoIterator<Item = impl Into<TopicName>>) -> Self {
        self.settings.topics.extend(topics.into_iter().map(Into::into));
        self
    }

    /// Who says that a record is done with. Default [`Acknowledge::Implicit`].
    pub fn acknowledge(mut self, acknowledge: Acknowledge) -> Self {
        self.settings.acknowledge = acknowledge;
        self
    }

    /// How many records a broker locks for this member at once, 1 or more; exactly or roughly, as
    /// [`acquire_mode`](Self::acquire_mode) says. Default 500. They should be worked on within the lock's time, which brokers
    /// set (`group.share.record.lock.duration.ms`, 30 s): then others get them. More is asked for when half of them have
    /// been handed out. Java: `max.poll.records`.
    pub fn max_records(mut self, records: usize) -> Self {
        self.settings.max_records = records;
        self
    }

    /// Whether a broker may lock more than [`max_records`](Self::max_records). Default [`AcquireMode::BatchOptimized`].
    pub fn acquire_mode(mut self, mode: AcquireMode) -> Self {
        self.settings.acquire_mode = mode;
        self
    }

    /// A broker that has fewer bytes than this waits for more, for at most [`fetch_max_wait`](Self::fetch_max_wait).
    /// 1 or more; default 1. Java: `fetch.min.bytes`.
    pub fn fetch_min_bytes(mut self, bytes: i32) -> Self {
        self.settings.fetch_min_bytes = bytes;
        self
    }

    /// How long a broker without records waits before it answers, at most the client's `request_timeout`: what is decided of
    /// records meanwhile is told after that. Default 500 ms. Java: `fetch.max.wait.ms`.
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

    /// The most bytes that one batch may have when it is decompressed, 1 or more. Default 64 MiB. A larger one is reported as
    /// [`ErrorKind::CorruptBatch`](crate::ErrorKind::CorruptBatch), and released.
    pub fn max_decompressed_batch_bytes(mut self, bytes: usize) -> Self {
        self.settings.max_decompressed_batch_bytes = bytes;
        self
    }

    /// After how long without an answer from the group's coordinator the member joins anew. Default 45 s. Brokers have their
    /// own time after which they take a member for dead (`group.share.session.timeout.ms`), and say how often it is to be
    /// heard.
    pub fn session_timeout(mut self, timeout: Duration) -> Self {
        self.settings.session_timeout = timeout;
        self
    }

    /// How long a topic may be missing before [`ErrorKind::UnknownTopic`](crate::ErrorKind::UnknownTopic) is returned,
    /// and again after as long. Default 60 s. The topic is read when it appears.
    pub fn topic_timeout(mut self, timeout: Duration) -> Self {
        self.settings.topic_timeout = timeout;
        self
    }

    /// Makes the consumer and starts its task, which joins the group.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) with every setting that cannot stand,
    /// [`ErrorKind::NoRuntime`](crate::ErrorKind::NoRuntime) outside a tokio runtime. What goes wrong later is returned
    /// by [`ShareConsumer::next`].
    pub fn build(self) -> Result<ShareConsumer> {
        self.settings.check(self.client.config())?;
        ShareConsumer::start(self.client, &self.settings)
    }
}

impl fmt::Debug for ShareConsumerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShareConsumerBuilder").field("settings", &self.settings).finish_non_exhaustive()
    }
}
