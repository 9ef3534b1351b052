//! The batches one by one.

use bytes::Bytes;

use super::{Log, Stored};

/// One batch.
#[derive(Clone, Debug)]
pub(in crate::testing::broker) struct Span {
    pub(in crate::testing::broker) base: i64,
    pub(in crate::testing::broker) last: i64,
    pub(in crate::testing::broker) bytes: Bytes,
}

impl Log {
    /// The batches from that on which holds an offset.
    pub(in crate::testing::broker) fn spans(&self, from: i64) -> impl Iterator<Item = Span> {
        let first = self.batches.partition_point(|batch| batch.last < from);
        self.batches.range(first..).map(Stored::span)
    }
}

impl Stored {
    fn span(&self) -> Span {
        Span { base: self.base, last: self.last, bytes: self.bytes.clone() }
    }
}
