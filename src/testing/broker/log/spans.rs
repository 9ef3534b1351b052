//! The batches one by one, with the offsets that hold records.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::{Log, Stored};
use crate::wire::batch::Batches;

/// One batch.
#[derive(Clone, Debug)]
pub(in crate::testing::broker) struct Span {
    pub(in crate::testing::broker) base: i64,
    pub(in crate::testing::broker) last: i64,
    pub(in crate::testing::broker) bytes: Bytes,
    /// The offsets that hold records for users; `None` for all.
    held: Option<BTreeSet<i64>>,
}

impl Span {
    #[cfg(test)]
    pub(in crate::testing::broker) fn new(base: i64, last: i64, held: Option<BTreeSet<i64>>) -> Self {
        Self { base, last, bytes: Bytes::from_static(&[0; 100]), held }
    }

    /// Whether there is a record for users at an offset.
    pub(in crate::testing::broker) fn holds(&self, offset: i64) -> bool {
        self.held.as_ref().is_none_or(|held| held.contains(&offset))
    }
}

impl Log {
    /// The batches from that on which holds an offset, as long as they decompress within `limit` bytes.
    pub(in crate::testing::broker) fn spans(&self, from: i64, limit: usize) -> impl Iterator<Item = Span> {
        let first = self.batches.partition_point(|batch| batch.last < from);
        self.batches.range(first..).map(move |batch| batch.span(limit))
    }
}

impl Stored {
    fn span(&self, limit: usize) -> Span {
        Span { base: self.base, last: self.last, bytes: self.bytes.clone(), held: self.held(limit) }
    }

    /// The offsets that hold records, if that is not all of them. Nobody reads what cannot be read.
    fn held(&self, limit: usize) -> Option<BTreeSet<i64>> {
        let Some(Ok(batch)) = Batches::new(self.bytes.clone()).next() else { return Some(BTreeSet::new()) };
        let header = batch.header();
        if header.attributes.is_control() {
            return Some(BTreeSet::new());
        }
        if i64::from(header.count) == self.last - self.base + 1 {
            return None;
        }
        let Ok(mut cursor) = batch.cursor(limit) else { return Some(BTreeSet::new()) };
        Some(cursor.records().flatten().map(|record| record.offset).collect())
    }
}
