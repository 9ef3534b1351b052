//! The sender's part in transactions: which partitions may be written to, and what becomes of the rest of a
//! transaction that has failed.

use super::{Event, Sender, judge};
use crate::{
    engine::{
        machine::{Now, Outbox},
        produce::{joining::Joining, queue::LaneId},
        producer_id::ProducerId,
    },
    error::Error,
};

impl Sender {
    /// Writes from now on under this identity, or, without any, nothing.
    pub(crate) fn identify(&mut self, now: Now, producer: Option<ProducerId>) {
        self.identity.given(producer);
        self.schedule_all(now);
    }

    /// A transaction begins.
    pub(crate) fn open_transaction(&mut self, now: Now, joining: Joining) {
        self.joining = joining;
        self.schedule_all(now);
    }

    /// The coordinator has taken these partitions into the transaction.
    pub(crate) fn joined(&mut self, now: Now, lanes: &[LaneId]) {
        for id in lanes {
            if let Some(lane) = self.lanes.get_mut(id) {
                lane.joined = true;
            }
            self.schedule(now, *id);
        }
    }

    /// The transaction has failed: what was not sent, or would be sent again, ends with `error`. What is in flight is
    /// waited for, and not sent again.
    pub(crate) fn doom(&mut self, now: Now, error: &Error, out: &mut Outbox<Event>) {
        self.doomed = Some(error.clone());
        for lane in self.lanes.values_mut() {
            for batch in lane.take_retries() {
                out.events.push(Event::Completed(judge::fail_given_up(now, batch, Some(error))));
            }
        }
        for queue in self.accumulator.topics().flat_map(|topic| &topic.partitions) {
            judge::fail_queue(queue, error, out);
        }
    }

    /// The transaction is over, or will be as soon as its end is told. Nothing of it is outstanding.
    pub(crate) fn end_transaction(&mut self) {
        debug_assert!(self.is_idle(), "a transaction ends when all of it is written or has failed");
        self.joining = Joining::Barred;
        self.doomed = None;
        self.applicants.clear();
        self.lanes.values_mut().for_each(|lane| lane.joined = false);
    }

    /// Whether sequences cannot go on under this identity: something was sent and not acknowledged.
    pub(crate) fn is_broken(&self) -> bool {
        let producer = self.identity.current();
        self.lanes.values().any(|lane| lane.is_broken_under(producer))
    }

    /// Tells which partitions wait to be taken into the transaction.
    pub(super) fn apply(&mut self, out: &mut Outbox<Event>) {
        for id in std::mem::take(&mut self.applicants) {
            if let Some(lane) = self.lanes.get(&id) {
                out.events.push(Event::Join(id, lane.queue.topic_partition()));
            }
        }
    }

    /// Whether a lane's partition may be written to; if not, it applies where that helps.
    pub(super) fn may_write(&mut self, id: LaneId) -> bool {
        match self.joining {
            Joining::Unneeded | Joining::ByWriting => self.doomed.is_none(),
            Joining::Barred => false,
            Joining::ByAsking => {
                let joined = self.lanes.get(&id).is_some_and(|lane| lane.joined);
                if !joined && self.doomed.is_none() {
                    self.applicants.insert(id);
                }
                joined && self.doomed.is_none()
            }
        }
    }
}
