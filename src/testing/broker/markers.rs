//! What coordinators do by themselves: they write the markers of transactions that are ended, and end those that last too
//! long.

use std::collections::BTreeSet;
use std::time::Instant;

use super::state::State;
use super::transaction::{Part, Transaction};
use crate::engine::machine::{Now, deadline_after, earlier};
use crate::testing::transaction::TransactionState;
use crate::wire::batch::{Batches, Marker, TimestampType, end_transaction_marker};
use crate::wire::str::Str;

impl State {
    /// When the markers of a transaction are due that is ended now; at once if no time is set.
    pub(super) fn markers_at(&self, now: Now) -> Option<Instant> {
        let delay = self.settings.transaction_marker_delay;
        (!delay.is_zero()).then(|| deadline_after(now, delay))
    }

    /// Holds back all markers, or no longer.
    pub(super) fn hold_markers(&mut self, now: Now, held: bool) {
        self.transactions.held = held;
        self.write_markers(now);
    }

    /// A transaction has been ended, or is to be aborted.
    pub(super) fn ending(&mut self, now: Now, id: &Str) {
        self.transactions.ending.insert(id.clone());
        self.write_markers(now);
    }

    /// Aborts an ongoing transaction and fences its producer.
    pub(super) fn fence(&mut self, now: Now, id: &Str) {
        let markers_at = self.markers_at(now);
        let ongoing = |transaction: &&Transaction| transaction.state == TransactionState::Ongoing;
        let Some(transaction) = self.transactions.by_id.get(id).filter(ongoing) else { return };
        // Of the second version, the end by itself gives a new producer id if the epochs of the old one are used up.
        let needs_id = transaction.is_exhausted() && self.settings.transaction_version >= 2;
        let fresh_id = needs_id.then(|| self.next_producer_id());
        if let Some(transaction) = self.transactions.by_id.get_mut(id) {
            transaction.fence(markers_at, fresh_id);
            self.ending(now, id);
        }
    }

    /// Aborts what has lasted too long, and writes what is due.
    pub(super) fn tick_transactions(&mut self, now: Now) {
        let overdue = self.transactions.by_id.values().filter(|transaction| {
            let is_due = transaction.deadline().is_some_and(|deadline| deadline <= now.instant);
            is_due && self.coordinator(&transaction.id).is_some()
        });
        let overdue: Vec<Str> = overdue.map(|transaction| transaction.id.clone()).collect();
        overdue.iter().for_each(|id| self.fence(now, id));
        self.write_markers(now);
    }

    pub(super) fn transactions_deadline(&self) -> Option<Instant> {
        // Without a node, nothing is done by itself.
        self.live_nodes().next()?;
        let timeouts = self.transactions.by_id.values().filter_map(Transaction::deadline).min();
        let ending = self.transactions.ending.iter().filter(|_| !self.transactions.held);
        let markers = ending.filter_map(|id| self.transactions.by_id.get(id)?.markers_at).min();
        earlier(timeouts, markers)
    }

    /// Writes the markers that are due where that is possible, and completes the transactions that miss none.
    pub(super) fn write_markers(&mut self, now: Now) {
        if self.transactions.held || self.transactions.ending.is_empty() {
            return;
        }
        for id in self.transactions.ending.clone() {
            if self.coordinator(&id).is_none() {
                continue;
            }
            let Some(transaction) = self.transactions.by_id.get_mut(&id) else { continue };
            if transaction.markers_at.is_some_and(|at| at > now.instant) {
                continue;
            }
            transaction.markers_at = None;
            let marker = Marker {
                producer_id: transaction.producer.id,
                producer_epoch: transaction.producer.epoch,
                coordinator_epoch: transaction.coordinator_epoch,
                commit: transaction.state == TransactionState::PrepareCommit,
                timestamp: now.unix_ms,
            };
            let mut missing = transaction.parts.clone();
            missing.retain(|part| !self.write_marker(part, marker));
            let Some(transaction) = self.transactions.by_id.get_mut(&id) else { continue };
            let is_complete = missing.is_empty();
            transaction.parts = missing;
            if is_complete {
                transaction.complete();
                self.transactions.ending.remove(&id);
            }
        }
    }

    /// Writes one marker; whether it is written, or needs not be.
    fn write_marker(&mut self, part: &Part, marker: Marker) -> bool {
        match part {
            Part::Partition(topic, partition) => self.mark_partition(topic, *partition, marker),
            Part::Offsets(partition) => {
                self.mark_offsets(*partition, marker);
                true
            }
        }
    }

    fn mark_partition(&mut self, topic: &Str, index: i32, marker: Marker) -> bool {
        let Some(topic_of) = self.topic(topic) else { return true };
        let is_brokers = topic_of.config.timestamps() == TimestampType::LogAppend;
        let Some(partition) = topic_of.partition(index) else { return true };
        // A producer of a later epoch has written here: the marker comes too late, and Kafka too leaves it at that.
        let is_late =
            partition.producers.epoch(marker.producer_id).is_some_and(|epoch| epoch > marker.producer_epoch);
        if partition.leader.is_none() || is_late {
            return false;
        }
        let batch = end_transaction_marker(marker).ok().and_then(|bytes| Batches::new(bytes).next()?.ok());
        let Some(batch) = batch else {
            debug_assert!(false, "a marker is a batch");
            return true;
        };
        if !self.reserve_log(batch.bytes().len()) {
            return false;
        }
        let limit = self.limits.producers_per_partition;
        let found = self.topic_mut(topic).and_then(|topic| topic.partition_mut(index));
        let Some(partition) = found else { return true };
        let time = is_brokers.then_some(marker.timestamp);
        partition.log.append_marker(&batch, partition.leader_epoch, time, marker.commit);
        partition.producers.marked(marker.producer_id, marker.producer_epoch);
        partition.forget_producers(limit);
        self.changes += 1;
        true
    }

    fn mark_offsets(&mut self, partition: i32, marker: Marker) {
        self.transactions.open_offsets.remove(&(partition, marker.producer_id));
        self.complete_offsets(partition, marker.producer_id, marker.commit);
    }

    /// Whether a producer has offsets under the epoch in a partition of the offsets topic that no marker follows.
    pub(super) fn has_open_offsets(&self, partition: i32, producer_id: i64, epoch: i16) -> bool {
        self.transactions.open_offsets.get(&(partition, producer_id)) == Some(&epoch)
    }

    /// A producer has written offsets.
    pub(super) fn open_offsets(&mut self, partition: i32, producer_id: i64, epoch: i16) {
        self.transactions.open_offsets.insert((partition, producer_id), epoch);
    }

    /// Asserts what must hold of transactions between two requests.
    pub(super) fn check_transactions(&self) {
        let all = &self.transactions.by_id;
        debug_assert!(all.len() <= self.limits.transactional_ids, "the transactional ids are bounded");
        let ending = |transaction: &&Transaction| transaction.is_ending();
        let listed = all.values().filter(ending).map(|transaction| &transaction.id);
        debug_assert!(listed.eq(&self.transactions.ending), "what is ending is listed");
        let mut known: BTreeSet<(i64, &Part)> = BTreeSet::new();
        for transaction in all.values() {
            transaction.check();
            if transaction.is_open() {
                known.extend(transaction.parts.iter().map(|part| (transaction.producer.id, part)));
            }
        }
        for topic in self.topics() {
            for (partition, index) in topic.partitions.iter().zip(0..).filter(|(p, _)| !p.lost_records) {
                let part = Part::Partition(topic.name.clone(), index);
                for producer in partition.log.open_transactions() {
                    debug_assert!(
                        known.contains(&(producer, &part)),
                        "{part:?}: {producer} is open to nobody"
                    );
                }
            }
        }
        for (partition, producer) in self.transactions.open_offsets.keys() {
            let part = Part::Offsets(*partition);
            debug_assert!(known.contains(&(*producer, &part)), "{part:?}: {producer} is open to nobody");
        }
    }
}
