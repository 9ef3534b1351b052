//! Where a record was written.

use milena::{Delivered, Offset, Partition, TopicName, TopicPartition};

use crate::table::LogPosition;

/// Where a record was written: what a [`Publisher`](crate::Publisher) answers, and, by its [position](Self::position),
/// what a read model is [waited for](crate::Table::wait_for) with.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Published {
    /// The topic.
    pub topic: TopicName,
    /// The partition.
    pub partition: Partition,
    /// The offset; `None` from a producer with `Acks::None`.
    pub offset: Option<Offset>,
    /// The record's timestamp, in milliseconds since the Unix epoch.
    pub timestamp: i64,
}

impl Published {
    pub(crate) fn new(topic: TopicName, delivered: &Delivered) -> Self {
        let Delivered { partition, offset, timestamp, .. } = *delivered;
        Self { topic, partition, offset, timestamp }
    }

    /// The topic and the partition.
    #[must_use]
    pub fn topic_partition(&self) -> TopicPartition {
        TopicPartition::new(self.topic.clone(), self.partition)
    }

    /// The place of the record; `None` where the broker did not say.
    ///
    /// ```no_run
    /// # async fn example(
    /// #     publisher: milena_service::Publisher, users: milena_service::Table<String, String>,
    /// # ) -> Result<(), milena_service::HandlerError> {
    /// use std::time::Duration;
    ///
    /// let published = publisher.publish_json("users", "7", "Ada").await?;
    /// if let Some(position) = published.position() {
    ///     users.wait_for(position, Duration::from_secs(1)).await?;
    /// }
    /// println!("{:?}", users.get("7"));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn position(&self) -> Option<LogPosition> {
        Some(LogPosition::new(self.topic_partition(), self.offset?))
    }
}
