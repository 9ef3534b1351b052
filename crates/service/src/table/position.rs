//! Where a record stands.

use std::fmt;

use milena::{Delivered, Message, Offset, TopicName, TopicPartition};

/// The place of a record: what [`Table::wait_for`](crate::Table::wait_for) waits for. Written as `orders-3@42`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(clippy::exhaustive_structs, reason = "a partition and an offset, for ever")]
pub struct LogPosition {
    /// The topic and the partition.
    pub topic_partition: TopicPartition,
    /// The record's offset.
    pub offset: Offset,
}

impl LogPosition {
    /// The record at an offset of a partition.
    pub fn new(topic_partition: TopicPartition, offset: impl Into<Offset>) -> Self {
        Self { topic_partition, offset: offset.into() }
    }

    /// Where a record was written to `topic`; `None` if the broker did not say, as with
    /// [`Acks::None`](milena::Acks::None).
    pub fn of_delivered(topic: impl Into<TopicName>, delivered: &Delivered) -> Option<Self> {
        Some(Self::new(TopicPartition::new(topic, delivered.partition), delivered.offset?))
    }
}

impl From<(TopicPartition, Offset)> for LogPosition {
    fn from((topic_partition, offset): (TopicPartition, Offset)) -> Self {
        Self { topic_partition, offset }
    }
}

impl From<(&TopicPartition, Offset)> for LogPosition {
    fn from((topic_partition, offset): (&TopicPartition, Offset)) -> Self {
        Self { topic_partition: topic_partition.clone(), offset }
    }
}

impl From<&Message> for LogPosition {
    fn from(message: &Message) -> Self {
        (message.topic_partition(), message.offset()).into()
    }
}

impl From<&Self> for LogPosition {
    fn from(position: &Self) -> Self {
        position.clone()
    }
}

impl fmt::Display for LogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.topic_partition, self.offset)
    }
}
