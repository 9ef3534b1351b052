//! Which records of a partition are acknowledged, when they may be in any order.
//!
//! What may be committed is the contiguous prefix. Behind it the acknowledged records are kept as runs of offsets, so a
//! ledger is as large as it has holes, however many records lie between them.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use crate::sync::{lock, wake::Wake};

/// The most holes that a ledger may have: while there are more, nothing more is handed out of its partition. A hole and
/// the run behind it are some 50 bytes.
const MAX_HOLES: usize = 100_000;

/// What all ledgers of a consumer share.
#[derive(Debug)]
pub(crate) struct Desk {
    /// Rings the consumer's driver.
    wake: Arc<Wake>,
    /// Acknowledgements ever made.
    count: AtomicU64,
    max_holes: usize,
}

impl Desk {
    pub(crate) fn new(wake: Arc<Wake>) -> Self {
        Self { wake, count: AtomicU64::new(0), max_holes: MAX_HOLES }
    }

    #[cfg(test)]
    pub(crate) fn with_max_holes(wake: Arc<Wake>, max_holes: usize) -> Self {
        Self { max_holes, ..Self::new(wake) }
    }

    /// Acknowledgements ever made.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

/// The records of one partition that were handed out since its reading started at some offset.
#[derive(Debug)]
pub(crate) struct Ledger {
    desk: Arc<Desk>,
    /// Those that somebody still holds.
    receipts: AtomicUsize,
    entries: Mutex<Entries>,
}

#[derive(Debug)]
struct Entries {
    /// Everything in front of it is acknowledged.
    prefix: i64,
    /// Everything that was handed out lies in front of it.
    handed: i64,
    /// Runs of acknowledged offsets behind the prefix, which neither touch nor overlap: where each begins and ends.
    runs: BTreeMap<i64, i64>,
    /// From which offset on records are of which leader epoch.
    epochs: VecDeque<(i64, Option<i32>)>,
    /// How often handing out began anew at an earlier offset.
    term: u32,
    /// Terms, and where each of them began: what was handed out before a term from there on is handed out again, and only
    /// that acknowledgement counts. Later terms that began further in front stand for earlier ones.
    restarts: Vec<(u32, i64)>,
    /// Whether the driver waits for everything to be acknowledged.
    is_awaited: bool,
}

impl Ledger {
    /// Nothing from `offset` on is acknowledged; the record in front of it is of this epoch.
    pub(crate) fn new(desk: Arc<Desk>, offset: i64, leader_epoch: Option<i32>) -> Self {
        let entries = Entries {
            prefix: offset,
            handed: offset,
            runs: BTreeMap::new(),
            epochs: [(i64::MIN, leader_epoch)].into(),
            term: 0,
            restarts: Vec::new(),
            is_awaited: false,
        };
        Self { desk, receipts: AtomicUsize::new(0), entries: Mutex::new(entries) }
    }

    /// Records from `first` to `next` are handed out. There is nothing between those before and these.
    pub(crate) fn hand_out(self: &Arc<Self>, first: i64, next: i64, leader_epoch: Option<i32>) -> Receipt {
        let mut entries = lock(&self.entries);
        entries.begin_epoch(leader_epoch);
        entries.pass(first);
        entries.handed = entries.handed.max(next);
        Receipt::new(Arc::clone(self), entries.term)
    }

    /// There is nothing for the user between what was handed out and this offset.
    pub(crate) fn pass(&self, offset: i64, leader_epoch: Option<i32>) {
        let mut entries = lock(&self.entries);
        if entries.handed < offset {
            entries.begin_epoch(leader_epoch);
            entries.pass(offset);
        }
    }

    /// What was handed out from `offset` on will be handed out again.
    pub(crate) fn restart(&self, offset: i64, leader_epoch: Option<i32>) {
        lock(&self.entries).restart(offset, leader_epoch);
    }

    /// Up to where everything is acknowledged, and the leader epoch of the record in front.
    pub(crate) fn prefix(&self) -> (i64, Option<i32>) {
        let entries = lock(&self.entries);
        (entries.prefix, entries.epoch_before(entries.prefix))
    }

    /// Whether it has so many holes that nothing more may be handed out.
    pub(crate) fn is_full(&self) -> bool {
        lock(&self.entries).runs.len() >= self.desk.max_holes
    }

    /// Whether nothing is left to wait for: everything that was handed out is acknowledged, or nobody has a record that
    /// could be. If not, the driver is rung when it is so.
    pub(crate) fn await_all(&self) -> bool {
        let mut entries = lock(&self.entries);
        entries.is_awaited = !entries.is_settled();
        !entries.is_awaited || self.receipts.load(Ordering::SeqCst) == 0
    }

    fn acknowledge(&self, term: u32, range: Range<i64>) {
        let ring = {
            let mut entries = lock(&self.entries);
            let was_full = entries.runs.len() >= self.desk.max_holes;
            entries.acknowledge(term, range);
            let has_room_again = was_full && entries.runs.len() < self.desk.max_holes;
            let is_settled = entries.is_awaited && entries.is_settled();
            has_room_again || is_settled
        };
        self.desk.count.fetch_add(1, Ordering::Relaxed);
        if ring {
            self.desk.wake.ring();
        }
    }
}

impl Entries {
    fn is_settled(&self) -> bool {
        self.prefix >= self.handed
    }

    /// What comes next is of this epoch.
    fn begin_epoch(&mut self, leader_epoch: Option<i32>) {
        if self.epochs.back().is_none_or(|(_, last)| *last != leader_epoch) {
            self.epochs.push_back((self.handed, leader_epoch));
        }
    }

    fn pass(&mut self, offset: i64) {
        self.add(self.handed..offset);
        self.handed = self.handed.max(offset);
    }

    fn restart(&mut self, offset: i64, leader_epoch: Option<i32>) {
        self.term = self.term.wrapping_add(1);
        self.restarts.retain(|(_, at)| *at < offset);
        self.restarts.push((self.term, offset));
        drop(self.runs.split_off(&offset));
        if let Some(mut last) = self.runs.last_entry() {
            let end = offset.min(*last.get());
            last.insert(end);
        }
        self.prefix = self.prefix.min(offset);
        self.handed = offset;
        while self.epochs.back().is_some_and(|(from, _)| *from >= offset) {
            self.epochs.pop_back();
        }
        if self.epoch_before(offset) != leader_epoch {
            self.epochs.push_back((offset.saturating_sub(1), leader_epoch));
        }
    }

    fn acknowledge(&mut self, term: u32, range: Range<i64>) {
        let again = self.restarts.iter().filter(|(restarted, _)| *restarted > term).map(|(_, at)| *at).min();
        let end = range.end.min(again.unwrap_or(i64::MAX)).min(self.handed);
        self.add(range.start..end);
    }

    /// Adds a run, together with those that it touches.
    fn add(&mut self, run: Range<i64>) {
        let (mut start, mut end) = (run.start.max(self.prefix), run.end);
        if start >= end {
            return;
        }
        if let Some((before, until)) = self.runs.range(..=start).next_back().map(|(at, end)| (*at, *end))
            && until >= start
        {
            (start, end) = (before, end.max(until));
            self.runs.remove(&before);
        }
        while let Some((next, until)) = self.runs.range(start..=end).next().map(|(at, end)| (*at, *end)) {
            end = end.max(until);
            self.runs.remove(&next);
        }
        if start > self.prefix {
            self.runs.insert(start, end);
            return;
        }
        self.prefix = end;
        while self.epochs.get(1).is_some_and(|(from, _)| *from < end) {
            self.epochs.pop_front();
        }
    }

    fn epoch_before(&self, offset: i64) -> Option<i32> {
        self.epochs.iter().rev().find(|(from, _)| *from < offset).and_then(|(_, epoch)| *epoch)
    }
}

/// With which a record that was handed out is acknowledged.
#[derive(Debug)]
pub(crate) struct Receipt {
    ledger: Arc<Ledger>,
    term: u32,
}

impl Receipt {
    fn new(ledger: Arc<Ledger>, term: u32) -> Self {
        ledger.receipts.fetch_add(1, Ordering::SeqCst);
        Self { ledger, term }
    }

    /// The user is done with the records in this range.
    pub(crate) fn acknowledge(&self, range: Range<i64>) {
        self.ledger.acknowledge(self.term, range);
    }
}

impl Clone for Receipt {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.ledger), self.term)
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        let is_last = self.ledger.receipts.fetch_sub(1, Ordering::SeqCst) == 1;
        if is_last && lock(&self.ledger.entries).is_awaited {
            self.ledger.desk.wake.ring();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn ledger(offset: i64) -> Arc<Ledger> {
        let desk = Desk::with_max_holes(Arc::default(), 3);
        Arc::new(Ledger::new(Arc::new(desk), offset, Some(1)))
    }

    /// Hands out one record after the other.
    fn hand_out(ledger: &Arc<Ledger>, offsets: Range<i64>) -> Vec<(Receipt, i64)> {
        offsets.map(|offset| (ledger.hand_out(offset, offset + 1, Some(1)), offset)).collect()
    }

    fn acknowledge(messages: &[(Receipt, i64)], index: usize) {
        let (receipt, offset) = &messages[index];
        receipt.acknowledge(*offset..*offset + 1);
    }

    #[test]
    fn what_may_be_committed_is_the_contiguous_prefix() {
        let ledger = ledger(5);
        let messages = hand_out(&ledger, 5..10);
        for (index, prefix) in [(1, 5), (3, 5), (0, 7), (0, 7), (2, 9), (4, 10)] {
            acknowledge(&messages, index);
            assert_eq!(ledger.prefix(), (prefix, Some(1)), "after record {index}");
        }
    }

    #[test]
    fn what_holds_nothing_for_the_user_needs_no_acknowledgement() {
        let ledger = ledger(0);
        ledger.pass(3, Some(1));
        assert_eq!(ledger.prefix().0, 3);
        let first = ledger.hand_out(3, 4, Some(1));
        ledger.pass(6, Some(1));
        let second = ledger.hand_out(9, 10, Some(1));
        second.acknowledge(9..10);
        assert_eq!(ledger.prefix().0, 3);
        first.acknowledge(3..4);
        assert_eq!(ledger.prefix().0, 10);
        ledger.hand_out(10, 20, Some(1)).acknowledge(10..30);
        assert_eq!(ledger.prefix().0, 20, "not what was never handed out");
    }

    #[test]
    fn the_epoch_is_that_of_the_record_in_front() {
        let ledger = ledger(0);
        let first = ledger.hand_out(0, 10, Some(2));
        let second = ledger.hand_out(10, 20, Some(5));
        assert_eq!(ledger.prefix(), (0, Some(1)));
        first.acknowledge(0..10);
        assert_eq!(ledger.prefix(), (10, Some(2)));
        second.acknowledge(10..15);
        assert_eq!(ledger.prefix(), (15, Some(5)));
    }

    #[test]
    fn only_so_many_holes_are_kept() {
        let ledger = ledger(0);
        let messages = hand_out(&ledger, 0..7);
        for index in [1, 3] {
            acknowledge(&messages, index);
            assert!(!ledger.is_full());
        }
        acknowledge(&messages, 5);
        assert!(ledger.is_full());
        acknowledge(&messages, 4);
        assert!(!ledger.is_full());
    }

    #[test]
    fn the_end_of_what_was_handed_out_can_be_awaited() {
        let ledger = ledger(0);
        assert!(ledger.await_all());
        let messages = hand_out(&ledger, 0..2);
        assert!(!ledger.await_all());
        acknowledge(&messages, 1);
        assert!(!ledger.await_all());
        acknowledge(&messages, 0);
        assert!(ledger.await_all());
        assert_eq!(ledger.desk.count(), 2);
    }

    #[test]
    fn what_nobody_holds_any_more_is_not_awaited() {
        let ledger = ledger(0);
        let messages = hand_out(&ledger, 0..2);
        acknowledge(&messages, 1);
        let kept = messages[1].clone();
        drop(messages);
        assert!(!ledger.await_all());
        drop(kept);
        assert!(ledger.await_all());
        assert_eq!(ledger.prefix().0, 0);
    }

    #[test]
    fn of_what_is_handed_out_again_only_that_counts() {
        let ledger = ledger(0);
        let before = hand_out(&ledger, 0..10);
        acknowledge(&before, 6);
        acknowledge(&before, 8);
        ledger.restart(7, Some(0));
        assert_eq!(ledger.prefix().0, 0);
        let again = hand_out(&ledger, 7..9);
        (0..10).for_each(|index| acknowledge(&before, index));
        assert_eq!(ledger.prefix(), (7, Some(0)), "from 7 on they are handed out anew");
        acknowledge(&again, 0);
        assert_eq!(ledger.prefix(), (8, Some(1)));
        ledger.restart(5, None);
        assert_eq!(ledger.prefix(), (5, None), "what was acknowledged there is not the same any more");
    }

    #[derive(Clone, Debug)]
    enum Step {
        Pass(i64),
        HandOut(i64),
        /// The how-manieth receipt, and what part of it.
        Acknowledge(usize, usize),
        Restart(i64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            1 => (0..3i64).prop_map(Step::Pass),
            4 => (1..4i64).prop_map(Step::HandOut),
            6 => (any::<usize>(), any::<usize>()).prop_map(|(which, part)| Step::Acknowledge(which, part)),
            1 => (0..40i64).prop_map(Step::Restart),
        ];
        prop::collection::vec(step, 0..80)
    }

    proptest! {
        /// Against a set of every single offset.
        #[test]
        fn the_prefix_is_what_a_set_of_offsets_says(steps in steps()) {
            let ledger = ledger(0);
            let mut handed = 0;
            let mut missing = BTreeSet::new();
            let mut receipts: Vec<(Receipt, BTreeSet<i64>)> = Vec::new();
            for step in steps {
                match step {
                    Step::Pass(by) => {
                        handed += by;
                        ledger.pass(handed, Some(1));
                    }
                    Step::HandOut(count) => {
                        let receipt = ledger.hand_out(handed, handed + count, Some(1));
                        receipts.push((receipt, (handed..handed + count).collect()));
                        missing.extend(handed..handed + count);
                        handed += count;
                    }
                    Step::Acknowledge(..) if receipts.is_empty() => {}
                    Step::Acknowledge(which, part) => {
                        let (receipt, offsets) = &receipts[which % receipts.len()];
                        let all: Vec<i64> = offsets.iter().copied().collect();
                        let Some(offset) = all.get(part % all.len().max(1)) else { continue };
                        receipt.acknowledge(*offset..*offset + 1);
                        missing.remove(offset);
                    }
                    Step::Restart(at) if at > handed => {}
                    Step::Restart(at) => {
                        ledger.restart(at, Some(1));
                        missing.split_off(&at);
                        handed = at;
                        receipts.iter_mut().for_each(|(_, offsets)| drop(offsets.split_off(&at)));
                    }
                }
                let prefix = missing.first().copied().unwrap_or(handed);
                prop_assert_eq!(ledger.prefix().0, prefix);
                prop_assert_eq!(ledger.await_all(), missing.is_empty() || receipts.is_empty());
            }
        }
    }
}
