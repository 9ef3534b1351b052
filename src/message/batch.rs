//! A run of records of one partition, borrowed from the batch that they came in.

use std::{fmt, ops::Range};

use super::{fault::corrupt_batch, headers::Headers, ledger::Receipt, owned::Message};
use crate::{
    error::Result,
    types::{Offset, Partition, TopicName, TopicPartition},
    wire::batch::{self, RawRecord, RecordCursor},
};

/// Records of one partition that came in one batch: the cheapest way to read. [`records`](Self::records) borrows, so
/// that no record costs an allocation, a lock or a reference count.
#[derive(Clone)]
pub struct Batch {
    partition: TopicPartition,
    cursor: RecordCursor,
    first: i64,
    next: i64,
    high_watermark: i64,
    /// `None` where nobody keeps account.
    receipt: Option<Receipt>,
}

impl Batch {
    /// The records of `cursor` from offset `first` on; reading goes on at `next` behind them.
    pub(crate) fn new(
        partition: TopicPartition,
        cursor: RecordCursor,
        first: i64,
        next: i64,
        high_watermark: i64,
        receipt: Option<Receipt>,
    ) -> Self {
        Self { partition, cursor, first, next, high_watermark, receipt }
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

    /// No record in the batch has a smaller offset.
    #[must_use]
    pub fn first_offset(&self) -> Offset {
        Offset(self.first)
    }

    /// The offset at which reading goes on: what to commit when the whole batch is done.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        Offset(self.next)
    }

    /// One behind the last record that the partition's replicas had when the batch was fetched. The difference to
    /// [`next_offset`](Self::next_offset) is how far behind the reader is.
    #[must_use]
    pub fn high_watermark(&self) -> Offset {
        Offset(self.high_watermark)
    }

    /// The records, each read when the iterator comes to it. An error
    /// ([`CorruptBatch`](crate::ErrorKind::CorruptBatch)) ends the iteration; the records behind it are not read, and
    /// the consumer goes on with the next batch.
    pub fn records(&self) -> Records<'_> {
        Records { batch: self, cursor: self.cursor.clone() }
    }

    /// The records as messages of their own, which may be kept, and acknowledged one by one.
    pub fn messages(&self) -> impl Iterator<Item = Result<Message>> + '_ {
        let mut records = self.records();
        let mut from = self.first;
        std::iter::from_fn(move || {
            let record = match records.raw() {
                Some(Ok(record)) => record,
                Some(Err(error)) => return Some(Err(error)),
                None => {
                    self.acknowledge(from..self.next);
                    from = self.next;
                    return None;
                }
            };
            // Nobody will get to see what was compacted away.
            self.acknowledge(from..record.offset);
            from = record.offset.saturating_add(1);
            let buffer = self.cursor.buffer().clone();
            Some(Ok(Message::new(self.partition.clone(), buffer, record, self.receipt.clone())))
        })
    }

    /// As [`Message::ack`], for all records of the batch at once.
    pub fn ack(&self) {
        self.acknowledge(self.first..self.next);
    }

    fn acknowledge(&self, offsets: Range<i64>) {
        if let Some(receipt) = self.receipt.as_ref().filter(|_| !offsets.is_empty()) {
            receipt.acknowledge(offsets);
        }
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("partition", &self.partition)
            .field("first_offset", &self.first)
            .field("next_offset", &self.next)
            .field("high_watermark", &self.high_watermark)
            .finish_non_exhaustive()
    }
}

/// Iterator over a batch's records.
#[derive(Clone)]
pub struct Records<'a> {
    batch: &'a Batch,
    cursor: RecordCursor,
}

impl Records<'_> {
    #[inline]
    fn raw(&mut self) -> Option<Result<RawRecord>> {
        loop {
            match self.cursor.next()? {
                Ok(record) if record.offset < self.batch.first => {}
                Ok(record) => return Some(Ok(record)),
                Err(error) => return Some(Err(corrupt_batch(&self.batch.partition, &error))),
            }
        }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<RecordRef<'a>>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let record = self.raw()?;
        let buffer = self.batch.cursor.buffer();
        Some(record.map(|record| RecordRef(record.resolve(buffer))))
    }
}

impl fmt::Debug for Records<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records").field("batch", self.batch).field("left", &self.cursor.left()).finish()
    }
}

/// A record borrowed from its batch.
#[derive(Clone, Debug)]
pub struct RecordRef<'a>(batch::RecordRef<'a>);

impl<'a> RecordRef<'a> {
    /// As [`Message::offset`].
    #[must_use]
    #[inline]
    pub fn offset(&self) -> Offset {
        Offset(self.0.offset)
    }

    /// As [`Message::timestamp`].
    #[must_use]
    #[inline]
    pub fn timestamp(&self) -> i64 {
        self.0.timestamp
    }

    /// The key, if there is one.
    #[must_use]
    #[inline]
    pub fn key(&self) -> Option<&'a [u8]> {
        self.0.key
    }

    /// The value; `None` for a tombstone.
    #[must_use]
    #[inline]
    pub fn value(&self) -> Option<&'a [u8]> {
        self.0.value
    }

    /// The headers.
    #[must_use]
    pub fn headers(&self) -> Headers<'a> {
        Headers::new(self.0.headers.clone())
    }
}
