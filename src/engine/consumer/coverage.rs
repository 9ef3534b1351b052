//! What is committed automatically, and what need not be.

use std::collections::BTreeMap;

use crate::{
    engine::{
        commit::{Offsets, Ticket},
        hand::Progress,
        partition::Spot,
    },
    types::{Offset, OffsetAndMetadata, TopicPartition},
};

/// For each partition, up to where what is done with has been committed.
#[derive(Debug, Default)]
pub(super) struct Coverage {
    covered: BTreeMap<TopicPartition, Spot>,
    /// What commits will cover once they are carried out.
    pending: BTreeMap<Ticket, Vec<(TopicPartition, Spot)>>,
}

impl Coverage {
    /// What was committed of the partition says nothing any more.
    pub(super) fn forget(&mut self, partition: &TopicPartition) {
        self.covered.remove(partition);
        self.pending.values_mut().for_each(|spots| spots.retain(|(pending, _)| pending != partition));
    }

    /// The group has committed this.
    pub(super) fn cover(&mut self, partition: TopicPartition, spot: Spot) {
        self.covered.insert(partition, spot);
    }

    /// What is done with and not covered. A position where nothing was committed is to be committed too: else a consumer
    /// that starts at the end and sees nothing would miss what is written until it starts again.
    pub(super) fn lacking(&self, progress: Vec<Progress>) -> Vec<(TopicPartition, Spot)> {
        let spots = progress.into_iter().map(|progress| (progress.partition, progress.done));
        let is_lacking = |(partition, done): &(TopicPartition, Spot)| {
            self.expected(partition).is_none_or(|expected| expected.offset != done.offset)
        };
        spots.filter(is_lacking).collect()
    }

    /// Up to where a partition will be covered if all that is under way is carried out. A commit that follows the
    /// user's and lies before it would take it back.
    fn expected(&self, partition: &TopicPartition) -> Option<Spot> {
        let pending = self.pending.values().rev().flatten().find(|(pending, _)| pending == partition);
        pending.map(|(_, spot)| *spot).or_else(|| self.covered.get(partition).copied())
    }

    /// A commit is under way that covers these.
    pub(super) fn expect(&mut self, ticket: Ticket, spots: Vec<(TopicPartition, Spot)>) {
        self.pending.insert(ticket, spots);
    }

    /// The user commits these offsets. An automatic commit is not to take back what lies beyond what is done with.
    pub(super) fn expect_from_user(&mut self, ticket: Ticket, offsets: &Offsets, progress: Vec<Progress>) {
        let is_beyond = |p: &Progress| offsets.get(&p.partition).is_some_and(|o| o.offset.0 >= p.done.offset);
        let beyond = progress.into_iter().filter(is_beyond);
        self.expect(ticket, beyond.map(|progress| (progress.partition, progress.done)).collect());
    }

    /// The commit has ended.
    pub(super) fn settle(&mut self, ticket: Ticket, is_done: bool) {
        let spots = self.pending.remove(&ticket).filter(|_| is_done);
        self.covered.extend(spots.unwrap_or_default());
    }
}

/// A place as it is committed.
pub(super) fn to_commit(spot: Spot) -> OffsetAndMetadata {
    let mut committed = OffsetAndMetadata::new(Offset(spot.offset));
    committed.leader_epoch = spot.leader_epoch;
    committed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tp() -> TopicPartition {
        TopicPartition::new("t", 0)
    }

    fn spot(offset: i64) -> Spot {
        Spot { offset, leader_epoch: Some(1) }
    }

    fn progress(done: i64) -> Vec<Progress> {
        vec![Progress { partition: tp(), position: spot(done + 1), done: spot(done) }]
    }

    #[test]
    fn what_is_covered_is_not_committed_again() {
        let mut coverage = Coverage::default();
        assert_eq!(coverage.lacking(progress(5)), [(tp(), spot(5))], "a start that nobody has committed");
        coverage.cover(tp(), spot(5));
        assert!(coverage.lacking(progress(5)).is_empty());
        coverage.expect(Ticket(1), coverage.lacking(progress(7)));
        coverage.settle(Ticket(1), false);
        assert_eq!(coverage.lacking(progress(7)), [(tp(), spot(7))], "it failed");
        coverage.expect(Ticket(2), coverage.lacking(progress(7)));
        coverage.settle(Ticket(2), true);
        assert!(coverage.lacking(progress(7)).is_empty());
        assert_eq!(coverage.lacking(progress(2)), [(tp(), spot(2))], "after a seek back");
    }

    #[test]
    fn an_automatic_commit_does_not_take_back_the_users() {
        let mut coverage = Coverage::default();
        let offsets = |offset| Offsets::from([(tp(), OffsetAndMetadata::new(offset))]);
        coverage.expect_from_user(Ticket(1), &offsets(9), progress(5));
        assert!(coverage.lacking(progress(5)).is_empty(), "not while it is under way either");
        coverage.settle(Ticket(1), true);
        assert!(coverage.lacking(progress(5)).is_empty());
        assert_eq!(coverage.lacking(progress(10)), [(tp(), spot(10))], "until more is done with");
        coverage.expect_from_user(Ticket(2), &offsets(3), progress(5));
        coverage.settle(Ticket(2), true);
        coverage.cover(tp(), spot(4));
        assert_eq!(coverage.lacking(progress(5)), [(tp(), spot(5))]);
    }
}
