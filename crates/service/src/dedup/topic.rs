//! Ids in a topic.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use milena::{Client, Message, NewTopic, Partition, Producer, Record, TopicName};

use super::store::DedupStore;
use crate::{
    extract::FromKey,
    failure::BoxError,
    table::{LogPosition, Table, TableBuilder, TableError, TableHealth},
};

/// How long ids are kept where nothing else is said.
const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How long an id that was written may take to be read back.
const PATIENCE: Duration = Duration::from_secs(30);
/// What brokers and tables may be late by at most: a segment is deleted as a whole.
const SEGMENTS: u32 = 10;
/// Segments that are closed more often cost brokers more than they save.
const SHORTEST_SEGMENT: Duration = Duration::from_secs(600);

type Ids = Table<Arc<str>, ()>;

/// Keeps ids in a topic that all instances of a service share, for a [`Dedup`](crate::Dedup) layer: an instance that is
/// started again, or takes over a partition, knows what was handled before. Each id is the key of a record, and each
/// instance holds all of them in memory, by a [`Table`].
///
/// Ids go after [`keep_for`](TopicDedupBuilder::keep_for). There are no tombstones, since no instance could be charged
/// with them: brokers delete old records by the topic's `retention.ms`, and each instance forgets by the same age. So
/// the topic is to be created with `cleanup.policy=compact,delete` and a `retention.ms` of at least `keep_for`;
/// [`new_topic`](Self::new_topic) gives it. Handlers of several services may share a topic, since ids say whose they
/// are.
///
/// An id is in effect once the broker has acknowledged it and this instance has read it back. Other instances read it
/// within milliseconds; one that got the partition in that moment would handle the record again.
///
/// Start it, and wait until it is [`ready`](Self::ready), before the service: [`contains`](DedupStore::contains) waits
/// until all ids were read, which takes its time with millions. If the table fails, each call says so, and nothing is
/// handled.
///
/// ```no_run
/// use std::{sync::Arc, time::Duration};
/// use milena_service::{Dedup, TopicDedup};
///
/// # async fn example(client: milena::Client) -> Result<(), Box<dyn std::error::Error>> {
/// const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// let topic = TopicDedup::new_topic("billing.dedup", WEEK).partitions(12).replication(3);
/// client.admin().create_topics([topic]).await?;
///
/// let ids = Arc::new(TopicDedup::builder(&client, "billing.dedup").keep_for(WEEK).start().await?);
/// ids.ready().await?;
/// let dedup = Dedup::new(ids);
/// # Ok(()) }
/// ```
pub struct TopicDedup {
    topic: TopicName,
    producer: Producer,
    table: Ids,
}

/// Makes a [`TopicDedup`].
#[must_use = "a builder does nothing until it is started"]
pub struct TopicDedupBuilder {
    client: Client,
    topic: TopicName,
    keep_for: Duration,
    max_ids: usize,
}

impl TopicDedup {
    /// Keeps ids in this topic, with default settings to be changed before it is started.
    pub fn builder(client: &Client, topic: impl Into<TopicName>) -> TopicDedupBuilder {
        TopicDedupBuilder { client: client.clone(), topic: topic.into(), keep_for: WEEK, max_ids: 1_000_000 }
    }

    /// A topic whose ids go after this time: `cleanup.policy=compact,delete`, `retention.ms` as long as that, and
    /// `segment.ms` a tenth of it, from 10 minutes to 7 days, since brokers delete no segment that is still written to.
    /// How many partitions and replicas it has is as the brokers' settings say.
    pub fn new_topic(name: impl Into<TopicName>, keep_for: Duration) -> NewTopic {
        let segment = (keep_for / SEGMENTS).clamp(SHORTEST_SEGMENT, WEEK);
        NewTopic::new(name)
            .config("cleanup.policy", "compact,delete")
            .config("retention.ms", keep_for.as_millis().to_string())
            .config("segment.ms", segment.as_millis().to_string())
    }

    /// Waits until all ids were read that were there when it was started.
    ///
    /// # Errors
    /// As [`Table::ready`].
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn ready(&self) -> Result<(), TableError> {
        self.table.ready().await
    }

    /// How the table of ids stands.
    #[must_use]
    pub fn health(&self) -> TableHealth {
        self.table.health()
    }

    /// Stops reading and writing. From then on every call is an error.
    ///
    /// # Cancel safety
    /// Once the future was polled it stops whether or not the future is dropped.
    pub async fn stop(&self) {
        // It fails if it was closed before.
        let _ = self.producer.clone().close().await;
        self.table.stop().await;
    }
}

impl TopicDedupBuilder {
    /// How long an id is known, counted from when it was written, by the clocks of the instances; 1 ms or more. A
    /// duplicate that comes later is handled. Default 7 days, as long as topics keep their records where nothing else
    /// is said.
    pub fn keep_for(mut self, time: Duration) -> Self {
        self.keep_for = time;
        self
    }

    /// How many ids there may be, 1 or more. With one more the store fails, since to forget one silently would be to
    /// promise too much. An id takes some 300 bytes in each instance. Default 1,000,000.
    pub fn max_ids(mut self, ids: usize) -> Self {
        self.max_ids = ids;
        self
    }

    /// Starts to read the topic.
    ///
    /// # Errors
    /// As [`TableBuilder::start`]; [`max_ids`](Self::max_ids) is called `max_entries` there, and
    /// [`keep_for`](Self::keep_for) `expire_after`.
    ///
    /// # Cancel safety
    /// Dropped before it returns, nothing was started.
    pub async fn start(self) -> Result<TopicDedup, TableError> {
        let producer = self.client.producer().build();
        let producer = producer.map_err(|error| TableError::Client { topic: self.topic.clone(), error })?;
        let table: TableBuilder<Arc<str>, ()> = Table::builder(&self.client, self.topic.clone());
        let table = table.decode((id_of, |_: &Message| Ok(())));
        let table = table.max_entries(self.max_ids).expire_after(self.keep_for).start().await?;
        Ok(TopicDedup { topic: self.topic, producer, table })
    }
}

fn id_of(record: &Message) -> Result<Arc<str>, BoxError> {
    Ok(String::from_key(record.shared_key())?.into())
}

impl DedupStore for TopicDedup {
    async fn contains(&self, id: &str) -> Result<bool, BoxError> {
        self.table.ready().await?;
        Ok(self.table.contains_key(id))
    }

    async fn insert(&self, ids: &[String]) -> Result<(), BoxError> {
        let mut deliveries = Vec::with_capacity(ids.len());
        for id in ids {
            deliveries.push(self.producer.enqueue(Record::new(&self.topic, "1").key(id)).await?);
        }
        // Reading gets to them in order, so that the last of each partition tells for all.
        let mut last: BTreeMap<Partition, LogPosition> = BTreeMap::new();
        for delivery in deliveries {
            let delivered = delivery.await?;
            if let Some(position) = LogPosition::of_delivered(&self.topic, &delivered) {
                let last = last.entry(delivered.partition).or_insert_with(|| position.clone());
                last.offset = last.offset.max(position.offset);
            }
        }
        for position in last.into_values() {
            self.table.wait_for(position, PATIENCE).await?;
        }
        Ok(())
    }
}

impl fmt::Debug for TopicDedup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TopicDedup").field("table", &self.table).finish_non_exhaustive()
    }
}

impl fmt::Debug for TopicDedupBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TopicDedupBuilder")
            .field("topic", &self.topic)
            .field("keep_for", &self.keep_for)
            .field("max_ids", &self.max_ids)
            .finish_non_exhaustive()
    }
}
