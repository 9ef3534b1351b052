//! Where a record was written.

use milena::{Delivered, Offset, Partition, TopicName, TopicPartition};

/// Where a record was written: what a read model is [waited](crate::Publisher) for with.
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
}
