//! A record that was read, and owns its bytes.

use std::fmt;

use bytes::Bytes;

use super::{headers::Headers, ledger::Receipt};
use crate::{
    record::Record,
    types::{Offset, Partition, TopicName, TopicPartition},
    wire::batch::{HeadersIter, RawRecord, Span, lone_record},
};

/// A record that was read. It owns its bytes, so it may be sent to other tasks and kept.
///
/// Key, value and headers are slices of the buffer that the record's whole batch came in. Making a message copies
/// nothing; but a kept message keeps that buffer, which may be megabytes. [`detach`](Self::detach) copies the record
/// out of it.
#[derive(Clone)]
pub struct Message {
    partition: TopicPartition,
    buffer: Bytes,
    record: RawRecord,
    /// `None` where nobody keeps account.
    receipt: Option<Receipt>,
}

impl Message {
    #[inline]
    pub(crate) fn new(
        partition: TopicPartition,
        buffer: Bytes,
        record: RawRecord,
        receipt: Option<Receipt>,
    ) -> Self {
        Self { partition, buffer, record, receipt }
    }

    /// `record` as a consumer would get it, at `offset` of the partition that it was given, or of partition 0: a message
    /// made by hand, to test what takes messages. [`ack`](Self::ack) says nothing to anybody; without a
    /// [timestamp](Record::timestamp) it has -1.
    ///
    /// ```
    /// use milena::{Message, Record};
    ///
    /// let order = Message::from_record(&Record::new("orders", "created").key("order-1"), 7);
    /// assert_eq!((order.key(), order.offset().0), (Some(&b"order-1"[..]), 7));
    /// ```
    #[must_use]
    pub fn from_record(record: &Record<'_>, offset: impl Into<Offset>) -> Self {
        let partition = record.given_partition().unwrap_or(Partition(0));
        let (buffer, raw) = lone_record(record, offset.into().0);
        Self::new(TopicPartition::new(record.topic(), partition), buffer, raw, None)
    }

    /// Says that the record is done with, to a consumer with
    /// [`Commit::Acknowledged`](crate::Commit::Acknowledged), in whatever order and from whatever task; any clone may say
    /// it, and once is enough. What gets committed is the contiguous prefix of what is acknowledged: behind a record that
    /// never is, nothing is committed, and everything is read again once the partition has another owner.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # async fn work(order: &milena::Message) {}
    /// # async fn example(client: milena::Client) -> milena::Result<()> {
    /// use milena::Commit;
    ///
    /// let consumer = client.consumer("billing").topics(["orders"]);
    /// let consumer = consumer.commit(Commit::Acknowledged(Duration::from_secs(5))).build()?;
    /// while let Some(order) = consumer.next().await {
    ///     let order = order?;
    ///     tokio::spawn(async move {
    ///         work(&order).await;
    ///         order.ack();
    ///     });
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// It only takes note and cannot fail. To any other consumer, and once the partition is lost, given up, or read anew
    /// after a seek, it says nothing.
    pub fn ack(&self) {
        if let Some(receipt) = &self.receipt {
            let offset = self.record.offset;
            receipt.acknowledge(offset..offset.saturating_add(1));
        }
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &TopicName {
        &self.partition.topic
    }

    /// The index of the partition.
    #[must_use]
    pub fn partition(&self) -> Partition {
        self.partition.partition
    }

    /// The topic and the partition.
    #[must_use]
    pub fn topic_partition(&self) -> &TopicPartition {
        &self.partition
    }

    /// The record's place in its partition. Offsets of one partition rise; they may have gaps, where records were
    /// compacted away, were aborted, or mark the end of a transaction.
    #[must_use]
    pub fn offset(&self) -> Offset {
        Offset(self.record.offset)
    }

    /// Milliseconds since the Unix epoch: set by the producer, or by the broker if the topic's
    /// `message.timestamp.type` is `LogAppendTime`. Negative if the producer set none, or none was kept, as before Kafka
    /// 0.10.
    #[must_use]
    pub fn timestamp(&self) -> i64 {
        self.record.timestamp
    }

    /// The key, if there is one.
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        self.record.key.map(|span| span.of(&self.buffer))
    }

    /// The value; `None` for a tombstone, which deletes the key on a compacted topic.
    #[must_use]
    pub fn value(&self) -> Option<&[u8]> {
        self.record.value.map(|span| span.of(&self.buffer))
    }

    /// The key, sharing the buffer.
    #[must_use]
    pub fn shared_key(&self) -> Option<Bytes> {
        self.record.key.map(|span| self.share(span))
    }

    /// The value, sharing the buffer.
    #[must_use]
    pub fn shared_value(&self) -> Option<Bytes> {
        self.record.value.map(|span| self.share(span))
    }

    /// The headers.
    #[must_use]
    pub fn headers(&self) -> Headers<'_> {
        let headers = self.record.headers.of(&self.buffer);
        Headers::new(HeadersIter::new(headers, self.record.header_count))
    }

    /// Copies key, value and headers into a buffer of their own, so that keeping the message keeps nothing else.
    #[must_use]
    pub fn detach(self) -> Self {
        let (span, record) = self.record.detached();
        Self { buffer: Bytes::copy_from_slice(span.of(&self.buffer)), record, ..self }
    }

    fn share(&self, span: Span) -> Bytes {
        self.buffer.slice_ref(span.of(&self.buffer))
    }
}

/// Keys and values may be large, and are nobody's business in a log: their lengths are shown.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("partition", &self.partition)
            .field("offset", &self.record.offset)
            .field("timestamp", &self.record.timestamp)
            .field("key_len", &self.key().map(<[u8]>::len))
            .field("value_len", &self.value().map(<[u8]>::len))
            .field("headers", &self.record.header_count)
            .finish_non_exhaustive()
    }
}
