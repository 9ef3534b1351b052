//! Making a table.

use std::{collections::BTreeMap, fmt, marker::PhantomData, sync::Arc, time::Duration};

use milena::{
    Client, Code, Isolation, Offset, OffsetAndTimestamp, OffsetSpec, OnOutOfRange, OnRecreated, OnTruncation,
    Partition, Position, TopicName, TopicPartition,
};
use tokio::sync::watch;

use super::{
    decode::{Decode, DecodeJson},
    driver::{Driver, OnUndecodable},
    error::TableError,
    handle::Table,
    shared::{Shared, within},
    view::{Limits, View},
};
use crate::{event::Event, topic::Topic};

/// How often a topic is asked for that is not there yet.
const PATIENCE: Duration = Duration::from_millis(100);

/// Makes a [`Table`]. Every setting has a default.
#[must_use = "a builder does nothing until the table is started"]
pub struct TableBuilder<K, V, D = DecodeJson> {
    client: Client,
    topic: TopicName,
    decode: D,
    on_undecodable: OnUndecodable,
    max_entries: usize,
    expire_after: Option<Duration>,
    topic_timeout: Duration,
    entries: PhantomData<fn() -> (K, V)>,
}

impl<K, V> Table<K, V>
where
    K: Ord + Clone + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    /// A table of a topic, with default settings to be changed before it is started.
    pub fn builder(client: &Client, topic: impl Into<TopicName>) -> TableBuilder<K, V> {
        TableBuilder {
            client: client.clone(),
            topic: topic.into(),
            decode: DecodeJson,
            on_undecodable: OnUndecodable::default(),
            max_entries: 1_000_000,
            expire_after: None,
            topic_timeout: Duration::from_secs(60),
            entries: PhantomData,
        }
    }

    /// A table of a topic of events: the newest event of each key, brought up to its current version. Default settings,
    /// to be changed before it is started.
    ///
    /// ```no_run
    /// # async fn example(client: milena::Client) -> Result<(), milena_service::TableError> {
    /// use milena_service::{Event, Table, Topic};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Event, Serialize, Deserialize)]
    /// #[event(type = "user.changed", key = user_id)]
    /// struct UserChanged {
    ///     user_id: String,
    ///     email: String,
    /// }
    ///
    /// const USERS: Topic<UserChanged> = Topic::new("users");
    ///
    /// let users: Table<String, UserChanged> = Table::of_events(&client, USERS).start().await?;
    /// # Ok(()) }
    /// ```
    pub fn of_events(client: &Client, topic: Topic<V>) -> TableBuilder<K, V, Topic<V>>
    where
        V: Event,
        Topic<V>: Decode<K, V>,
    {
        Self::builder(client, &topic).decode(topic)
    }

    /// Starts a table of a topic with default settings, whose values are JSON. See [`TableBuilder::start`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancel safety
    /// As there.
    pub async fn start(client: &Client, topic: impl Into<TopicName>) -> Result<Self, TableError>
    where
        DecodeJson: Decode<K, V>,
    {
        Self::builder(client, topic).start().await
    }
}

impl<K, V, D> TableBuilder<K, V, D> {
    /// What makes entries of records. Default: [`DecodeJson`].
    ///
    /// ```no_run
    /// # async fn example(client: milena::Client) -> Result<(), milena_service::TableError> {
    /// use milena::Message;
    /// use milena_service::{BoxError, Table};
    ///
    /// let key = |record: &Message| -> Result<u64, BoxError> {
    ///     Ok(std::str::from_utf8(record.key().ok_or("no key")?)?.parse()?)
    /// };
    /// let value = |record: &Message| -> Result<Vec<u8>, BoxError> { Ok(record.value().unwrap_or_default().to_vec()) };
    /// let pictures: Table<u64, Vec<u8>> =
    ///     Table::builder(&client, "pictures").decode((key, value)).start().await?;
    /// # Ok(()) }
    /// ```
    pub fn decode<E: Decode<K, V>>(self, decode: E) -> TableBuilder<K, V, E> {
        TableBuilder {
            client: self.client,
            topic: self.topic,
            decode,
            on_undecodable: self.on_undecodable,
            max_entries: self.max_entries,
            expire_after: self.expire_after,
            topic_timeout: self.topic_timeout,
            entries: PhantomData,
        }
    }

    /// What to do with a record that cannot be decoded, or has no key. Default: [`OnUndecodable::Fail`].
    pub fn on_undecodable(mut self, policy: OnUndecodable) -> Self {
        self.on_undecodable = policy;
        self
    }

    /// How many keys the table may have, 1 or more. With one more it fails: a part of a topic looks like all of it.
    /// Default 1,000,000. How many bytes they take is not counted.
    pub fn max_entries(mut self, entries: usize) -> Self {
        self.max_entries = entries;
        self
    }

    /// How long after it was written an entry goes by itself, by the timestamp of its record and this machine's clock;
    /// more than 0. Default: never.
    ///
    /// For topics whose `cleanup.policy` is `compact,delete`: brokers delete old records with no tombstone, which no
    /// reader gets to see. Take the topic's `retention.ms`, or less. Entries go within a second or so.
    pub fn expire_after(mut self, age: Duration) -> Self {
        self.expire_after = Some(age);
        self
    }

    /// How long the topic may be missing, when the table is started and later, before that is an error. Default 60 s.
    pub fn topic_timeout(mut self, timeout: Duration) -> Self {
        self.topic_timeout = timeout;
        self
    }

    /// Finds out where the partitions begin and end, and starts the table's task, which reads them.
    /// [`Table::ready`] waits until it has got to where they ended.
    ///
    /// # Errors
    /// [`TableError::Setting`]; [`TableError::Client`] if the topic has not appeared in time, may not be read, or no
    /// broker tells of it.
    ///
    /// # Cancel safety
    /// Dropped before it returns, nothing was started.
    pub async fn start(self) -> Result<Table<K, V>, TableError>
    where
        K: Ord + Clone + Send + Sync + 'static,
        V: Send + Sync + 'static,
        D: Decode<K, V>,
    {
        self.check()?;
        let client = |error| TableError::Client { topic: self.topic.clone(), error };
        let partitions = self.partitions().await.map_err(client)?;
        let reader = self
            .client
            .reader()
            .topics([&self.topic])
            .start_at(Position::Earliest)
            .isolation(Isolation::ReadCommitted)
            .on_out_of_range(OnOutOfRange::Fail)
            .on_truncation(OnTruncation::Fail)
            .on_recreated(OnRecreated::Fail)
            .topic_timeout(self.topic_timeout)
            .build()
            .map_err(client)?;
        let limits = Limits { max_entries: self.max_entries, expire_after: self.expire_after };
        let shared = Arc::new(Shared::new(self.topic.clone(), View::new(limits, partitions)));
        let (stop, stopped) = watch::channel(false);
        let driver = Driver {
            reader,
            decode: self.decode,
            shared: Arc::clone(&shared),
            on_undecodable: self.on_undecodable,
        };
        #[expect(clippy::disallowed_methods, reason = "the handle owns the task: it ends with the last one")]
        tokio::spawn(driver.run(stopped));
        Ok(Table::new(shared, stop))
    }

    fn check(&self) -> Result<(), TableError> {
        if self.max_entries == 0 {
            return Err(TableError::Setting {
                setting: "max_entries",
                value: "0".to_owned(),
                reason: "it must be 1 or more",
            });
        }
        match self.expire_after {
            Some(age) if age.as_millis() == 0 => Err(TableError::Setting {
                setting: "expire_after",
                value: format!("{age:?}"),
                reason: "it must be 1 ms or more",
            }),
            _ => Ok(()),
        }
    }

    /// The partitions that there are, where each begins, and where what may be read of it ends.
    async fn partitions(&self) -> milena::Result<Vec<(Partition, Offset, Offset)>> {
        // It waits for the topic, if that is not there yet.
        self.offsets(&[Partition(0)], OffsetSpec::Earliest).await?;
        let partitions = self.describe().await?;
        let (begins, ends) = tokio::try_join!(
            self.offsets(&partitions, OffsetSpec::Earliest),
            self.offsets(&partitions, OffsetSpec::Latest),
        )?;
        let both = |(partition, begin)| (partition, begin, ends.get(&partition).copied().unwrap_or(begin));
        Ok(begins.into_iter().map(both).collect())
    }

    async fn describe(&self) -> milena::Result<Vec<Partition>> {
        let admin = self.client.admin().timeout(self.topic_timeout);
        let ask = || async {
            let mut described = admin.describe_topics([&self.topic]).await?;
            let topic = described.remove(&self.topic).transpose()?;
            Ok(topic
                .into_iter()
                .flat_map(|topic| topic.partitions)
                .map(|partition| partition.partition)
                .collect())
        };
        // Of a topic that is new, brokers learn one after the other, and any of them may be asked.
        let asked = within(self.topic_timeout, async {
            loop {
                match ask().await {
                    Err::<_, milena::Error>(error)
                        if error.code() == Some(Code::UNKNOWN_TOPIC_OR_PARTITION) => {}
                    described => return described,
                }
                pause(PATIENCE).await;
            }
        });
        match asked.await {
            Some(described) => described,
            None => ask().await,
        }
    }

    async fn offsets(
        &self,
        partitions: &[Partition],
        spec: OffsetSpec,
    ) -> milena::Result<BTreeMap<Partition, Offset>> {
        let admin = self.client.admin().timeout(self.topic_timeout);
        let asked = partitions.iter().map(|partition| (TopicPartition::new(&self.topic, *partition), spec));
        let listed = admin.list_offsets(asked, Isolation::ReadCommitted).await?;
        let offset = |(partition, listed): (TopicPartition, milena::Result<Option<OffsetAndTimestamp>>)| {
            Ok((partition.partition, listed?.map_or(Offset(0), |listed| listed.offset)))
        };
        listed.into_iter().map(offset).collect()
    }
}

#[expect(clippy::disallowed_methods, reason = "a topic is asked for again, up to its timeout")]
async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
}

impl<K, V, D> fmt::Debug for TableBuilder<K, V, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableBuilder")
            .field("topic", &self.topic)
            .field("on_undecodable", &self.on_undecodable)
            .field("max_entries", &self.max_entries)
            .field("expire_after", &self.expire_after)
            .finish_non_exhaustive()
    }
}
