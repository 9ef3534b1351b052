//! How far readers of committed records may go, and what they must leave out.

use super::transactions::Aborted;
use super::{Log, Stored};

/// After how many bytes Kafka's index has its next entry (`index.interval.bytes`).
const INDEX_INTERVAL: usize = 4_096;

impl Log {
    /// The last stable offset: behind it lies the first transaction that is open.
    pub(in crate::testing::broker) fn stable_end(&self) -> i64 {
        self.transactions.first_open().unwrap_or(self.end).clamp(self.start, self.end)
    }

    /// Whether a producer's transaction is open here.
    pub(in crate::testing::broker) fn has_open(&self, producer_id: i64) -> bool {
        self.transactions.is_open(producer_id)
    }

    /// The producers whose transactions are open here.
    pub(in crate::testing::broker) fn open_transactions(&self) -> impl Iterator<Item = i64> {
        self.transactions.open()
    }

    /// The aborted transactions that a reader must know who has read `read` bytes from `offset` on. Kafka finds the end
    /// of what was read in an index with gaps, and may name some that begin behind it.
    pub(in crate::testing::broker) fn aborted(&self, offset: i64, read: usize) -> Vec<Aborted> {
        let from = self.batches.partition_point(|batch| batch.last < offset);
        let mut position = 0;
        let end = self.batches.range(from..).find(|batch| {
            let is_indexed = position >= read + INDEX_INTERVAL;
            position += batch.bytes.len();
            is_indexed
        });
        self.transactions.aborted(offset, end.map_or(self.end, |batch: &Stored| batch.last))
    }
}
