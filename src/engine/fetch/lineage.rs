//! Under which leader epochs what was read was written: tells where a log that was truncated parts from what was read
//! (KIP-320).

use std::collections::VecDeque;

use bytes::Bytes;

use crate::{engine::partition::Spot, wire::batch::Batches};

/// How many epochs are told apart. Beyond that the oldest count as one: more is read again then than need be.
const MAX: usize = 32;

/// The epochs of one partition's records, as far as they were read. They only grow along a log.
#[derive(Debug, Default)]
pub(super) struct Lineage {
    runs: VecDeque<Run>,
}

/// Records of one epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    epoch: i32,
    /// Its first offset; of the oldest run, the first that is known of.
    from: i64,
}

impl Lineage {
    /// Reading starts here, behind a record of the spot's epoch. What is known of the offsets in front is kept where it
    /// agrees with that.
    pub(super) fn start(&mut self, spot: Spot) {
        self.runs.retain(|run| run.from < spot.offset);
        let Some(epoch) = spot.leader_epoch else { return self.runs.clear() };
        if self.runs.back().is_none_or(|run| run.epoch != epoch) {
            self.runs.clear();
            self.runs.push_back(Run { epoch, from: spot.offset });
        }
    }

    /// These batches were read; those that do not parse come last and are left out.
    pub(super) fn read(&mut self, records: &Bytes, last_epoch: i32) {
        if self.last_epoch() == last_epoch {
            return;
        }
        for batch in Batches::new(records.clone()).map_while(Result::ok) {
            let header = batch.header();
            if header.leader_epoch < 0 {
                // Written by a broker that knows no epochs.
                self.runs.clear();
            } else if self.last_epoch() != header.leader_epoch {
                self.add(Run { epoch: header.leader_epoch, from: header.base_offset });
            }
        }
    }

    fn add(&mut self, run: Run) {
        if self.runs.back().is_some_and(|last| last.epoch > run.epoch) {
            // No log goes back in its epochs: what was known is of another.
            self.runs.clear();
        }
        self.runs.push_back(run);
        if self.runs.len() > MAX
            && let Some(oldest) = self.runs.pop_front()
            && let Some(merged) = self.runs.front_mut()
        {
            merged.from = oldest.from;
        }
    }

    /// The epoch of the last record that was read, as requests carry it: -1 where it is not known.
    pub(super) fn last_epoch(&self) -> i32 {
        self.runs.back().map_or(-1, |run| run.epoch)
    }

    /// The leader's log holds nothing newer than `epoch` of what was read, and `epoch` ends at `end` there: where the
    /// two part, and the last epoch that both have in front of it.
    pub(super) fn parts_at(&self, epoch: i32, end: i64) -> Spot {
        let newer = self.runs.iter().find(|run| run.epoch > epoch);
        let offset = newer.map_or(end, |run| end.min(run.from));
        let before = self.runs.iter().rev().find(|run| run.epoch <= epoch && run.from < offset);
        Spot { offset, leader_epoch: Some(before.map_or(epoch, |run| run.epoch)) }
    }

    /// Nothing of it is of the topic that is read from now on.
    pub(super) fn clear(&mut self) {
        self.runs.clear();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use bytes::BytesMut;
    use proptest::prelude::*;

    use super::*;
    use crate::{engine::script, wire::batch::set_leader_epoch};

    fn spot(offset: i64, leader_epoch: i32) -> Spot {
        Spot { offset, leader_epoch: Some(leader_epoch) }
    }

    fn batch(offset: i64, count: u32, epoch: i32) -> Bytes {
        let mut bytes = BytesMut::from(&*script::batch(offset, count, 1));
        set_leader_epoch(&mut bytes, epoch);
        bytes.freeze()
    }

    /// Reading from offset 0 of a log whose epochs begin at these offsets and which ends at `end`.
    fn lineage(epochs: &[(i32, i64)], end: i64) -> Lineage {
        let mut lineage = Lineage::default();
        lineage.start(spot(0, 0));
        let ends = epochs.iter().skip(1).map(|(_, from)| *from).chain([end]);
        for ((epoch, from), until) in epochs.iter().zip(ends) {
            let count = u32::try_from(until - from).unwrap();
            lineage.read(&batch(*from, count, *epoch), *epoch);
        }
        lineage
    }

    #[test]
    fn it_parts_where_the_leaders_epoch_ends_or_a_newer_one_begins() {
        let lineage = lineage(&[(0, 0), (3, 10), (5, 20)], 30);
        assert_eq!(lineage.last_epoch(), 5);
        assert_eq!(lineage.parts_at(5, 25), spot(25, 5), "some of the last epoch is lost");
        assert_eq!(lineage.parts_at(3, 15), spot(15, 3), "some of the one before, too");
        // The leader went on in epoch 3 where 5 was read: nothing from the beginning of 5 on is the same.
        assert_eq!(lineage.parts_at(3, 40), spot(20, 3));
        assert_eq!(lineage.parts_at(4, 40), spot(20, 3));
        assert_eq!(lineage.parts_at(2, 0), spot(0, 2), "nothing is left");
    }

    #[test]
    fn what_was_read_before_the_start_is_not_known() {
        let mut lineage = Lineage::default();
        assert_eq!(lineage.last_epoch(), -1);
        lineage.start(spot(100, 5));
        assert_eq!(lineage.last_epoch(), 5);
        assert_eq!(lineage.parts_at(4, 120), spot(100, 4));
        assert_eq!(lineage.parts_at(4, 80), spot(80, 4));
        lineage.start(Spot { offset: 100, leader_epoch: None });
        assert_eq!(lineage.last_epoch(), -1);
    }

    #[test]
    fn going_back_keeps_what_is_known_of_the_offsets_in_front() {
        let mut lineage = lineage(&[(0, 0), (3, 10), (5, 20)], 30);
        lineage.start(spot(15, 3));
        assert_eq!((lineage.last_epoch(), lineage.parts_at(0, 40)), (3, spot(10, 0)));
        lineage.start(spot(12, 4));
        assert_eq!(lineage.parts_at(0, 40), spot(12, 0), "it does not agree");
    }

    #[test]
    fn brokers_without_epochs_tell_nothing() {
        let mut lineage = lineage(&[(0, 0)], 10);
        lineage.read(&batch(10, 5, -1), -1);
        assert_eq!(lineage.last_epoch(), -1);
    }

    #[test]
    fn old_epochs_count_as_one() {
        let epochs: Vec<(i32, i64)> = (0..100).map(|epoch| (epoch, i64::from(epoch) * 10)).collect();
        let lineage = lineage(&epochs, 1_000);
        assert_eq!(lineage.runs.len(), MAX);
        assert_eq!(lineage.parts_at(98, 2_000), spot(990, 98));
        assert_eq!(lineage.parts_at(20, 2_000), spot(0, 20), "no later than where it parts");
    }

    /// A log: the epoch of each record.
    fn log() -> impl Strategy<Value = Vec<i32>> {
        prop::collection::vec(0..6_i32, 1..40).prop_map(|mut epochs| {
            epochs.sort_unstable();
            epochs
        })
    }

    proptest! {
        /// Two logs that are the same up to somewhere; one was read, the other is the leader's. What the leader's answers
        /// lead back to lies at that place or in front of it, as if the logs were compared.
        #[test]
        fn answers_lead_back_to_where_two_logs_part(
            common in log(), mine in 1..30_usize, theirs in 0..30_usize
        ) {
            let last = common.last().copied().unwrap_or(0);
            // Two leaders that did not know of each other wrote what follows, in epochs of their own.
            let read: Vec<i32> = common.iter().copied().chain(vec![last + 1; mine]).collect();
            let leaders: Vec<i32> = common.iter().copied().chain(vec![last + 2; theirs]).collect();
            let mut lineage = Lineage::default();
            lineage.start(spot(0, 0));
            for (offset, epoch) in (0..).zip(&read) {
                lineage.read(&batch(offset, 1, *epoch), *epoch);
            }
            let mut place = spot(i64::try_from(read.len()).unwrap(), lineage.last_epoch());
            for _ in 0..10 {
                let asked = place.leader_epoch.unwrap();
                let epoch = leaders.iter().rev().find(|epoch| **epoch <= asked).copied().unwrap_or(asked);
                let end = leaders.iter().filter(|of| **of <= epoch).count() as i64;
                if epoch == asked && end >= place.offset {
                    break;
                }
                place = lineage.parts_at(epoch, end);
                lineage.start(place);
            }
            prop_assert_eq!(place.offset, common.len() as i64);
        }
    }
}
