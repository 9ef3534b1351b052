//! All assigned partitions, and how often one of them was changed.

use std::collections::{HashMap, hash_map};

use super::cursor::Cursor;
use crate::types::TopicPartition;

/// Counts whatever may change what a broker is asked for: where nothing has changed, the next request is the last one.
#[derive(Debug, Default)]
pub(super) struct Cursors {
    cursors: HashMap<TopicPartition, Cursor>,
    changes: u64,
}

impl Cursors {
    /// Two equal counts have the same cursors between them.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    pub(super) fn insert(&mut self, partition: TopicPartition, cursor: Cursor) {
        self.changes = self.changes.wrapping_add(1);
        self.cursors.insert(partition, cursor);
    }

    pub(super) fn remove(&mut self, partition: &TopicPartition) {
        self.changes = self.changes.wrapping_add(1);
        self.cursors.remove(partition);
    }

    pub(super) fn get(&self, partition: &TopicPartition) -> Option<&Cursor> {
        self.cursors.get(partition)
    }

    /// To change it.
    pub(super) fn get_mut(&mut self, partition: &TopicPartition) -> Option<&mut Cursor> {
        self.changes = self.changes.wrapping_add(1);
        self.cursors.get_mut(partition)
    }

    /// To note that it was planned, which is no change.
    pub(super) fn visit(&mut self, partition: &TopicPartition) -> Option<&mut Cursor> {
        self.cursors.get_mut(partition)
    }

    pub(super) fn values(&self) -> hash_map::Values<'_, TopicPartition, Cursor> {
        self.cursors.values()
    }

    pub(super) fn iter(&self) -> hash_map::Iter<'_, TopicPartition, Cursor> {
        self.cursors.iter()
    }
}
