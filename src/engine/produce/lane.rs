//! One partition from the sender's side: what is in flight, what must be sent again, and under which stamp.
//!
//! The rules (kafka-rules: "sequence per batch", "failing a batch that was sent"):
//! - A batch gets its stamp when it is first drained and keeps it while it may have been written.
//! - Batches are sent again in their order, the oldest outstanding one first and alone.
//! - A stamped batch that ends without being written leaves a hole in the sequence. The lane is then *broken*: it
//!   drains nothing new, and once nothing stamped is outstanding it goes on under a bumped epoch, from 0.
//! - A broker that has never heard of a producer id takes any first sequence: until a batch of it is acknowledged, only
//!   one is in flight.
//! - From then on it takes sequences without gaps, so what follows a batch that was certainly not written was not written
//!   either: it loses its stamp and is stamped anew after the bump.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    batch::Batch,
    identity::Identity,
    queue::{Backlog, PartitionQueue},
};
use crate::{
    engine::{
        backoff::{Backoff, Random},
        catalog::snapshot::Snapshot,
        machine::{Now, Token, deadline_after},
        producer_id::ProducerId,
    },
    types::NodeId,
    wire::uuid::Uuid,
};

/// What the sender knows of one partition.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) queue: Arc<PartitionQueue>,
    pub(crate) leader: Option<NodeId>,
    pub(crate) topic_id: Option<Uuid>,
    /// Sent and not answered, oldest first.
    in_flight: VecDeque<Sent>,
    /// To be sent again before anything new, oldest first.
    retry: VecDeque<Batch>,
    producer: Option<ProducerId>,
    next_sequence: i32,
    next_order: u64,
    /// Whether the partition's leader knows this producer id, because it acknowledged a batch of it. One that does not
    /// takes whatever sequence comes first.
    established: bool,
    broken: bool,
    /// The order of a stamped batch that was certainly not written.
    hole: Option<u64>,
    /// Failed attempts in a row, for the backoff.
    attempt: u32,
    pub(crate) blocked_until: Option<Instant>,
    /// Whether the partition belongs to the open transaction.
    pub(crate) joined: bool,
    /// Whether the lane stands in a broker's line.
    pub(crate) queued: bool,
    pub(crate) timer: Option<Instant>,
}

/// A batch in flight. One that is overdue was reported as failed already and waits only for its answer.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) token: Token,
    pub(crate) batch: Batch,
    pub(crate) overdue: bool,
    /// The id of the topic that it was sent to.
    pub(crate) topic_id: Option<Uuid>,
}

/// What a lane could send next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Nothing,
    /// A batch that was sent before; without a stamp it needs a new one.
    Again {
        stamped: bool,
    },
    /// A batch from the queue.
    Fresh(Backlog),
}

impl Lane {
    pub(crate) fn new(queue: Arc<PartitionQueue>) -> Self {
        Self {
            queue,
            leader: None,
            topic_id: None,
            in_flight: VecDeque::new(),
            retry: VecDeque::new(),
            producer: None,
            next_sequence: 0,
            next_order: 0,
            established: false,
            broken: false,
            hole: None,
            attempt: 0,
            blocked_until: None,
            joined: false,
            queued: false,
            timer: None,
        }
    }

    /// What the rules of order allow to be sent now.
    pub(crate) fn next(&self, max_in_flight: usize) -> Next {
        if let Some(first) = self.retry.front() {
            let oldest_in_flight = self.in_flight.front().map(|sent| sent.batch.order);
            let is_oldest = oldest_in_flight.is_none_or(|order| first.order < order);
            // One without a stamp starts a new sequence, which must wait for all of the old one.
            let stamped = first.stamp.is_some();
            let fits = stamped || !self.is_stamped();
            return if is_oldest && fits { Next::Again { stamped } } else { Next::Nothing };
        }
        // Where a second batch got through and the first did not, it would be taken, and the first refused for ever.
        let limit = if self.established { max_in_flight } else { 1 };
        if self.in_flight.len() >= limit || (self.broken && self.is_stamped()) {
            return Next::Nothing;
        }
        self.queue.backlog().filter(|backlog| !backlog.is_away).map_or(Next::Nothing, Next::Fresh)
    }

    /// Whether anything outstanding carries a stamp.
    fn is_stamped(&self) -> bool {
        !self.in_flight.is_empty() || self.retry.iter().any(|batch| batch.stamp.is_some())
    }

    /// Takes the batch that must be sent again.
    pub(crate) fn take_again(&mut self) -> Option<Batch> {
        self.retry.pop_front()
    }

    /// The place of the next `count` records.
    pub(crate) fn take_order(&mut self, count: u32) -> u64 {
        let order = self.next_order;
        self.next_order += u64::from(count);
        order
    }

    /// Stamps a batch that has none. `false`, and no stamp, while there is no identity.
    pub(crate) fn stamp(&mut self, batch: &mut Batch, identity: &mut Identity) -> bool {
        if batch.stamp.is_some() {
            return true;
        }
        if !self.is_stamped() && !self.renew(identity) {
            return false;
        }
        let Some(producer) = self.producer else { return false };
        batch.stamp(producer, self.next_sequence, identity.is_given());
        // Sequences go from 0 to the largest positive number, and around.
        self.next_sequence = self.next_sequence.wrapping_add(batch.count()) & i32::MAX;
        true
    }

    /// With nothing stamped outstanding, moves on to the identity in force, a bumped one if the lane is broken.
    fn renew(&mut self, identity: &mut Identity) -> bool {
        if self.broken
            && let Some(producer) = self.producer
        {
            identity.bump(producer);
        }
        let Some(current) = identity.current() else { return false };
        self.broken = false;
        self.hole = None;
        if self.producer != Some(current) {
            // Of a producer that it knows, a leader takes a new epoch with sequence 0 alone.
            self.established &= self.producer.is_some_and(|producer| producer.id == current.id);
            self.producer = Some(current);
            self.next_sequence = 0;
        }
        true
    }

    pub(crate) fn sent(&mut self, token: Token, batch: Batch) {
        let place = self.in_flight.partition_point(|sent| sent.batch.order < batch.order);
        self.in_flight.insert(place, Sent { token, batch, overdue: false, topic_id: self.topic_id });
    }

    /// The id of the topic that a request in flight asks about.
    pub(crate) fn asked_id(&self, token: Token) -> Option<Uuid> {
        self.in_flight.iter().find(|sent| sent.token == token).and_then(|sent| sent.topic_id)
    }

    /// What the view of the cluster says of the partition; tells whether its topic was deleted and created anew.
    pub(crate) fn locate(&mut self, snapshot: &Snapshot) -> bool {
        // A refresh that misses the topic for a moment takes nothing away.
        let Some(topic) = snapshot.topic(&self.queue.topic) else { return false };
        let before = std::mem::replace(&mut self.topic_id, topic.id);
        self.leader = topic.partitions.get(&self.queue.partition.0).and_then(|partition| partition.leader);
        let is_other = before.is_some() && topic.id.is_some() && before != topic.id;
        // Nobody there has heard of the producer.
        self.established &= !is_other;
        is_other
    }

    /// Takes the batch that was sent in a request out of flight.
    pub(crate) fn answered(&mut self, token: Token) -> Option<Sent> {
        let place = self.in_flight.iter().position(|sent| sent.token == token)?;
        self.in_flight.remove(place)
    }

    /// The leader has acknowledged a batch that was sent to the topic with this id.
    pub(crate) fn acknowledged(&mut self, topic_id: Option<Uuid>) {
        self.attempt = 0;
        self.established |= topic_id == self.topic_id;
    }

    /// Waits before the next attempt. Batches that fail together, as all do in a connection that is lost, are one failure.
    pub(crate) fn back_off(&mut self, now: Now, backoff: Backoff, random: &mut Random) {
        if self.blocked_until.is_none_or(|until| until <= now.instant) {
            self.blocked_until = Some(deadline_after(now, backoff.delay(self.attempt, random)));
            self.attempt = self.attempt.saturating_add(1);
        }
    }

    /// Counts a failure after which the next attempt may come at once, and tells whether one came before.
    pub(crate) fn fails_again(&mut self) -> bool {
        self.attempt = self.attempt.saturating_add(1);
        self.attempt > 1
    }

    /// Puts a batch back, in its place among those that must be sent again.
    pub(crate) fn send_again(&mut self, mut batch: Batch) {
        if self.hole.is_some_and(|hole| hole <= batch.order) {
            batch.stamp = None;
        }
        let place = self.retry.partition_point(|other| other.order < batch.order);
        self.retry.insert(place, batch);
    }

    /// A stamped batch has ended, and nobody knows whether it was written.
    pub(crate) fn break_off(&mut self) {
        self.broken = true;
    }

    /// The stamped batch of this order was certainly not written under its stamp, nor was any behind it.
    pub(crate) fn leave_hole(&mut self, order: u64) {
        self.broken = true;
        self.hole = Some(self.hole.map_or(order, |hole| hole.min(order)));
        for batch in self.retry.iter_mut().filter(|batch| batch.order >= order) {
            batch.stamp = None;
        }
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Whether sequences cannot go on under this identity.
    pub(crate) fn is_broken_under(&self, producer: Option<ProducerId>) -> bool {
        self.broken && self.producer.is_some() && self.producer == producer
    }

    /// Whether a batch of this order is the oldest outstanding one.
    pub(crate) fn is_oldest(&self, order: u64) -> bool {
        self.in_flight.front().is_none_or(|sent| order < sent.batch.order)
            && self.retry.front().is_none_or(|batch| order < batch.order)
    }

    /// When the oldest outstanding batch was opened.
    fn oldest(&self, backlog: Option<Backlog>) -> Option<Instant> {
        let in_flight = self.in_flight.iter().filter(|sent| !sent.overdue).map(|sent| sent.batch.created);
        let retry = self.retry.iter().map(|batch| batch.created);
        in_flight.chain(retry).chain(backlog.map(|backlog| backlog.since)).min()
    }

    /// When the first delivery timeout of this lane is due.
    pub(crate) fn expiry(&self, delivery_timeout: Duration) -> Option<Instant> {
        self.oldest(self.queue.backlog())?.checked_add(delivery_timeout)
    }

    /// Takes the batches that were due before `limit` and are not in flight; marks those in flight as overdue and
    /// names them too.
    pub(crate) fn expire(&mut self, opened_before: Instant) -> (Vec<Batch>, Vec<&Batch>) {
        let mut ended = Vec::new();
        for batch in std::mem::take(&mut self.retry) {
            if batch.created <= opened_before {
                self.broken |= batch.stamp.is_some();
                ended.push(batch);
            } else {
                self.retry.push_back(batch);
            }
        }
        let overdue =
            self.in_flight.iter_mut().filter(|sent| !sent.overdue && sent.batch.created <= opened_before);
        let overdue = overdue.map(|sent| {
            sent.overdue = true;
            &sent.batch
        });
        (ended, overdue.collect())
    }

    /// All batches that are outstanding here, for a flush to wait for.
    pub(crate) fn outstanding(&self) -> impl Iterator<Item = &Batch> {
        self.in_flight.iter().map(|sent| &sent.batch).chain(&self.retry)
    }

    /// Takes every outstanding batch, and whether it is in flight.
    pub(crate) fn take_outstanding(&mut self) -> Vec<(Batch, bool)> {
        let in_flight = self.in_flight.drain(..).map(|sent| (sent.batch, true));
        in_flight.chain(self.retry.drain(..).map(|batch| (batch, false))).collect()
    }

    /// Takes what waits to be sent again. What has a stamp may have been written, and will not be sent again.
    pub(crate) fn take_retries(&mut self) -> VecDeque<Batch> {
        self.broken |= self.retry.iter().any(|batch| batch.stamp.is_some());
        std::mem::take(&mut self.retry)
    }

    /// Takes what waits to be sent again under a new stamp.
    pub(crate) fn take_unstamped(&mut self) -> VecDeque<Batch> {
        let (stamped, unstamped) =
            std::mem::take(&mut self.retry).into_iter().partition(|b| b.stamp.is_some());
        self.retry = stamped;
        unstamped
    }

    /// Asserts what must hold between two steps.
    pub(crate) fn check(&self, max_in_flight: usize) {
        debug_assert!(self.in_flight.len() <= max_in_flight.max(1), "too many batches in flight");
        let orders: Vec<u64> = self.outstanding().map(|batch| batch.order).collect();
        let flying = self.in_flight.len();
        debug_assert!(
            orders[..flying].is_sorted() && orders[flying..].is_sorted(),
            "out of order: {orders:?}"
        );
        let stamps: Vec<_> = self.outstanding().filter_map(|batch| batch.stamp).map(|(id, _)| id).collect();
        debug_assert!(
            stamps.windows(2).all(|pair| pair[0] == pair[1]),
            "two identities in one lane: {stamps:?}"
        );
    }
}
