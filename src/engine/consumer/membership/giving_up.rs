//! How partitions are given up: in a fixed order, whatever the reason.

use std::mem;

use super::{Membership, Phase};
use crate::{
    engine::{
        catalog::snapshot::Snapshot,
        consumer::{
            reading::Reading,
            types::{Change, Event},
        },
        hand::ConsumerEvent,
        machine::{Now, deadline_after},
    },
    types::TopicPartition,
};

impl Membership {
    pub(super) fn give_up(
        &mut self,
        now: Now,
        reading: &mut Reading,
        snapshot: &Snapshot,
        partitions: Vec<TopicPartition>,
        out: &mut Vec<Event>,
    ) {
        partitions.iter().for_each(|partition| reading.stop(partition));
        if self.settings.has_listener && !partitions.is_empty() {
            let number = self.tell(Change::Revoking(partitions.clone()), out);
            self.phase = Phase::Revoking { number, partitions };
        } else {
            self.drain(now, reading, snapshot, partitions);
        }
    }

    /// Gives users time to acknowledge what they work on, where they do acknowledge.
    pub(super) fn drain(
        &mut self,
        now: Now,
        reading: &Reading,
        snapshot: &Snapshot,
        partitions: Vec<TopicPartition>,
    ) {
        let until = deadline_after(now, self.settings.drain_timeout);
        if reading.hand().awaits(&partitions) && now.instant < until {
            self.phase = Phase::Draining { partitions, until };
        } else {
            self.commit_last(now, reading, snapshot, partitions);
        }
    }

    fn commit_last(
        &mut self,
        now: Now,
        reading: &Reading,
        snapshot: &Snapshot,
        partitions: Vec<TopicPartition>,
    ) {
        let is_member = self.group.identity().is_some();
        let spots = if is_member { self.auto.last(reading.progress()) } else { Vec::new() };
        if !spots.is_empty() {
            let ticket = self.commit_spots(now, snapshot, &spots);
            self.auto.asked_last(ticket, spots);
        }
        self.phase = Phase::Committing { partitions };
    }

    /// When nothing is left to be committed, the partitions are forgotten.
    pub(super) fn go_on(
        &mut self,
        now: Now,
        reading: &mut Reading,
        snapshot: &Snapshot,
        out: &mut Vec<Event>,
    ) {
        match mem::replace(&mut self.phase, Phase::Running) {
            Phase::Draining { partitions, until } => {
                let awaits = reading.hand().awaits(&partitions);
                if awaits && now.instant < until {
                    self.phase = Phase::Draining { partitions, until };
                    return;
                }
                if awaits {
                    let after = self.settings.drain_timeout;
                    let partitions = partitions.clone();
                    reading.hand().tell(ConsumerEvent::NotAcknowledged { partitions, after });
                    tracing::warn!(group = %self.settings.group.group, ?after, "records of partitions that are given up were not acknowledged in time: they are read again");
                }
                self.commit_last(now, reading, snapshot, partitions);
                self.go_on(now, reading, snapshot, out);
            }
            Phase::Committing { partitions } if self.is_committed(reading, &partitions) => {
                self.given_up(now, reading, snapshot, partitions, out);
            }
            phase => self.phase = phase,
        }
    }

    /// Whether no commit of these is under way; before leaving, nor of what is read beside them.
    fn is_committed(&self, reading: &Reading, partitions: &[TopicPartition]) -> bool {
        let mut all = partitions.iter().chain(reading.companions().iter().filter(|_| self.closing.is_some()));
        all.all(|partition| self.commits.is_done_with(partition))
    }

    pub(super) fn given_up(
        &mut self,
        now: Now,
        reading: &mut Reading,
        snapshot: &Snapshot,
        partitions: Vec<TopicPartition>,
        out: &mut Vec<Event>,
    ) {
        partitions.iter().for_each(|partition| reading.remove(partition));
        let is_all = reading.partitions().next().is_none();
        if is_all {
            self.auto.rest();
        }
        if self.closing.is_none() {
            self.phase = Phase::Running;
            self.group.revoked(now);
        } else if is_all {
            self.phase = Phase::Leaving;
            self.group.leave(now, "the consumer is closed", &mut self.group_out);
        } else {
            let left = reading.partitions().cloned().collect();
            self.give_up(now, reading, snapshot, left, out);
        }
    }
}
