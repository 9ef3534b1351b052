//! Commits without being told to: on a timer, and before partitions are given up.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use super::coverage::Coverage;
use crate::{
    engine::{
        commit::{Offsets, Ticket},
        hand::Progress,
        machine::{Now, deadline_after},
        partition::Spot,
    },
    error::Result,
    types::TopicPartition,
};

/// What is committed when, and what of it need not be any more.
#[derive(Debug)]
pub(super) struct AutoCommit {
    /// `None`: only the user commits.
    every: Option<Duration>,
    /// `None` while nothing is owned.
    due: Option<Instant>,
    /// The last one by the timer.
    asked: Option<Ticket>,
    /// Those before partitions are given up: more may be given up before the first of them has ended.
    last: BTreeSet<Ticket>,
    coverage: Coverage,
}

/// Which commit has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    Timed,
    Last,
    /// One that the user asked for.
    Users,
}

impl AutoCommit {
    pub(super) fn new(every: Option<Duration>) -> Self {
        Self { every, due: None, asked: None, last: BTreeSet::new(), coverage: Coverage::default() }
    }

    /// These partitions are owned from now on. What is known of an earlier time with them says nothing.
    pub(super) fn begin(&mut self, now: Now, partitions: &[TopicPartition]) {
        partitions.iter().for_each(|partition| self.coverage.forget(partition));
        self.due = self.due.or_else(|| self.next(now));
    }

    /// Nothing is owned any more.
    pub(super) fn rest(&mut self) {
        self.due = None;
    }

    fn next(&self, now: Now) -> Option<Instant> {
        self.every.map(|every| deadline_after(now, every))
    }

    /// When the next one is due, if none is under way.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.due.filter(|_| self.asked.is_none())
    }

    /// What is to be committed now by the timer. [`asked`](Self::asked) follows if it is anything.
    pub(super) fn due(&mut self, now: Now, progress: Vec<Progress>) -> Vec<(TopicPartition, Spot)> {
        if self.deadline().is_none_or(|due| due > now.instant) {
            return Vec::new();
        }
        self.due = self.next(now);
        self.coverage.lacking(progress)
    }

    pub(super) fn asked(&mut self, ticket: Ticket, spots: Vec<(TopicPartition, Spot)>) {
        self.coverage.expect(ticket, spots);
        self.asked = Some(ticket);
    }

    /// What is to be committed before partitions are given up. [`asked_last`](Self::asked_last) follows if it is anything.
    pub(super) fn last(&self, progress: Vec<Progress>) -> Vec<(TopicPartition, Spot)> {
        if self.every.is_some() { self.coverage.lacking(progress) } else { Vec::new() }
    }

    pub(super) fn asked_last(&mut self, ticket: Ticket, spots: Vec<(TopicPartition, Spot)>) {
        self.coverage.expect(ticket, spots);
        self.last.insert(ticket);
    }

    /// The user commits.
    pub(super) fn asked_by_user(&mut self, ticket: Ticket, offsets: &Offsets, progress: Vec<Progress>) {
        self.coverage.expect_from_user(ticket, offsets, progress);
    }

    /// The group has committed this.
    pub(super) fn cover(&mut self, partition: TopicPartition, spot: Spot) {
        self.coverage.cover(partition, spot);
    }

    /// A commit has ended.
    pub(super) fn settle(&mut self, now: Now, ticket: Ticket, result: &Result<()>) -> Settled {
        self.coverage.settle(ticket, result.is_ok());
        if self.asked.take_if(|asked| *asked == ticket).is_some() {
            self.due = self.due.and_then(|_| self.next(now));
            Settled::Timed
        } else if self.last.remove(&ticket) {
            Settled::Last
        } else {
            Settled::Users
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{engine::script, types::OffsetAndMetadata};

    const EVERY: Duration = Duration::from_secs(5);

    fn tp(index: i32) -> TopicPartition {
        TopicPartition::new("t", index)
    }

    fn progress(index: i32, offset: i64) -> Vec<Progress> {
        let spot = Spot { offset, leader_epoch: None };
        vec![Progress { partition: tp(index), position: spot, done: spot }]
    }

    #[test]
    fn the_timer_runs_while_something_is_owned_and_no_commit_is_under_way() {
        let now = script::start();
        let mut auto = AutoCommit::new(Some(EVERY));
        assert_eq!(auto.deadline(), None);
        auto.begin(now, &[tp(0)]);
        auto.begin(now.after(EVERY / 2), &[tp(1)]);
        assert_eq!(auto.deadline(), Some(now.instant + EVERY), "partitions that are added do not put it off");
        assert!(auto.due(now, progress(0, 3)).is_empty());
        let now = now.after(EVERY);
        let spots = auto.due(now, progress(0, 3));
        assert_eq!(spots.len(), 1);
        auto.asked(Ticket(1), spots);
        assert_eq!(auto.deadline(), None);
        assert_eq!(auto.settle(now.after(EVERY), Ticket(1), &Ok(())), Settled::Timed);
        assert_eq!(auto.deadline(), Some(now.after(EVERY).instant + EVERY));
        auto.rest();
        assert_eq!(auto.deadline(), None);
    }

    #[test]
    fn what_comes_back_is_committed_again() {
        let now = script::start();
        let mut auto = AutoCommit::new(Some(EVERY));
        auto.begin(now, &[tp(0), tp(1)]);
        auto.cover(tp(0), Spot { offset: 3, leader_epoch: None });
        auto.cover(tp(1), Spot { offset: 3, leader_epoch: None });
        assert!(auto.last(progress(0, 3)).is_empty());
        auto.begin(now, &[tp(0)]);
        assert_eq!(auto.last(progress(0, 3)).len(), 1, "somebody else may have committed meanwhile");
        assert!(auto.last(progress(1, 3)).is_empty(), "what stayed is covered");
    }

    #[test]
    fn more_may_be_given_up_before_the_first_commit_has_ended() {
        let now = script::start();
        let mut auto = AutoCommit::new(Some(EVERY));
        auto.begin(now, &[tp(0), tp(1)]);
        for (ticket, index) in [(1, 0), (2, 1)] {
            let spots = auto.last(progress(index, 3));
            auto.asked_last(Ticket(ticket), spots);
        }
        for ticket in [1, 2] {
            assert_eq!(auto.settle(now, Ticket(ticket), &Ok(())), Settled::Last);
        }
    }

    #[test]
    fn who_commits_himself_is_left_alone() {
        let now = script::start();
        let mut auto = AutoCommit::new(None);
        auto.begin(now, &[tp(0)]);
        assert_eq!(auto.deadline(), None);
        assert!(auto.last(progress(0, 3)).is_empty());
        let offsets = Offsets::from([(tp(0), OffsetAndMetadata::new(3))]);
        auto.asked_by_user(Ticket(1), &offsets, progress(0, 3));
        assert_eq!(auto.settle(now, Ticket(1), &Ok(())), Settled::Users);
    }
}
