//! The transactions in a log: which are open, which have ended, and how far a reader may go.

use std::collections::{BTreeMap, VecDeque};

use crate::wire::batch::BatchHeader;

/// What a log knows of its transactions.
#[derive(Debug, Default)]
pub(super) struct Transactions {
    /// The first offset of each that is open, by its producer.
    open: BTreeMap<i64, i64>,
    /// Those that have ended and are still in the log, in the order of their markers.
    ended: VecDeque<Ended>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ended {
    producer_id: i64,
    first: i64,
    /// The marker's offset.
    last: i64,
    /// How far a reader may have gone when the marker was written.
    stable: i64,
    aborted: bool,
}

/// A transaction that a reader of a range must leave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::testing::broker) struct Aborted {
    pub(in crate::testing::broker) producer_id: i64,
    pub(in crate::testing::broker) first_offset: i64,
}

impl Transactions {
    /// A batch of records was appended at `base`.
    pub(super) fn appended(&mut self, header: &BatchHeader, base: i64) {
        if header.attributes.is_transactional() && header.producer_id >= 0 {
            self.open.entry(header.producer_id).or_insert(base);
        }
    }

    /// A marker was appended. One that ends nothing leaves no trace.
    pub(super) fn marked(&mut self, producer_id: i64, marker: i64, aborted: bool) {
        if let Some(first) = self.open.remove(&producer_id) {
            let stable = self.first_open().unwrap_or(marker + 1);
            self.ended.push_back(Ended { producer_id, first, last: marker, stable, aborted });
        }
    }

    pub(super) fn first_open(&self) -> Option<i64> {
        self.open.values().copied().min()
    }

    /// Nothing from `end` on was ever written.
    pub(super) fn truncated(&mut self, end: i64) {
        while let Some(ended) = self.ended.back().copied().filter(|ended| ended.last >= end) {
            self.open.insert(ended.producer_id, ended.first);
            self.ended.pop_back();
        }
        self.open.retain(|_, first| *first < end);
    }

    /// Nothing below `start` is read any more.
    pub(super) fn deleted_before(&mut self, start: i64) {
        while self.ended.front().is_some_and(|ended| ended.last < start) {
            self.ended.pop_front();
        }
    }

    /// Whether a batch belongs to a transaction that was aborted.
    pub(super) fn is_aborted(&self, producer_id: i64, offset: i64) -> bool {
        let of_batch =
            |ended: &&Ended| ended.producer_id == producer_id && (ended.first..=ended.last).contains(&offset);
        self.ended.iter().find(of_batch).is_some_and(|ended| ended.aborted)
    }

    /// Whether a producer's transaction is open.
    pub(super) fn is_open(&self, producer_id: i64) -> bool {
        self.open.contains_key(&producer_id)
    }

    /// The producers whose transactions are open.
    pub(super) fn open(&self) -> impl Iterator<Item = i64> {
        self.open.keys().copied()
    }

    /// The aborted transactions that lie in a range, and those before it that end in it.
    pub(super) fn aborted(&self, from: i64, end: i64) -> Vec<Aborted> {
        let mut found = Vec::new();
        for ended in self.ended.iter().filter(|ended| ended.aborted) {
            if ended.last >= from && ended.first < end {
                found.push(Aborted { producer_id: ended.producer_id, first_offset: ended.first });
            }
            if ended.stable >= end {
                break;
            }
        }
        found
    }

    /// Asserts what must hold between two changes in a log that ends at `end`.
    pub(super) fn check(&self, end: i64) {
        debug_assert!(self.open.values().all(|first| *first < end), "an open transaction has begun");
        let is_in_log = |ended: &Ended| ended.first < ended.last && ended.last < end;
        debug_assert!(self.ended.iter().all(is_in_log), "a transaction ends in the log");
        let rises = |(a, b): (&Ended, &Ended)| a.last < b.last;
        debug_assert!(self.ended.iter().zip(self.ended.iter().skip(1)).all(rises), "markers rise");
    }
}
