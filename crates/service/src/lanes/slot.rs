//! What is counted of a partition.

use milena::TopicPartition;

use super::lane::{Batching, Weight};

/// A partition that is owned, and what is held of it.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) partition: TopicPartition,
    pub(super) batching: Batching,
    pub(super) bytes: usize,
    pub(super) records: usize,
    /// Lanes that wait to try again, or have halted.
    pub(super) blocked: usize,
}

impl Slot {
    pub(super) const fn new(partition: TopicPartition, batching: Batching) -> Self {
        Self { partition, batching, bytes: 0, records: 0, blocked: 0 }
    }

    pub(super) fn release(&mut self, before: Weight, after: Weight) {
        self.bytes = (self.bytes + after.bytes).saturating_sub(before.bytes);
        self.records = (self.records + after.records).saturating_sub(before.records);
    }

    pub(super) fn charge(&mut self, weight: Weight) {
        self.bytes += weight.bytes;
        self.records += weight.records;
    }

    pub(super) fn block(&mut self, was: bool, is: bool) {
        match (was, is) {
            (false, true) => self.blocked += 1,
            (true, false) => self.blocked = self.blocked.saturating_sub(1),
            _ => {}
        }
    }

    pub(super) fn clear(&mut self) {
        (self.bytes, self.records, self.blocked) = (0, 0, 0);
    }
}
