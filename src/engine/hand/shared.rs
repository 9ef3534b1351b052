//! The meeting point, and the driver's side of it.

use std::{
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use super::{
    events::{ConsumerEvent, Events, failed},
    item::Item,
    state::State,
    types::{Progress, Request},
};
use crate::{
    engine::{
        fetch::Fetched,
        partition::{Claim, Spot},
    },
    error::Error,
    message::Desk,
    metrics::Metrics,
    sync::{lock, wake::Wake},
    types::{MemberMetadata, TopicPartition},
};

/// Where the two sides of a consumer meet.
#[derive(Debug)]
pub(crate) struct Hand {
    pub(super) state: Mutex<State>,
    events: Events,
    /// Rings the driver.
    pub(super) wake: Arc<Wake>,
    /// Where users acknowledge what they are done with, if they do.
    desk: Option<Arc<Desk>>,
    /// The most bytes that one batch may have when it is decompressed.
    pub(super) max_decompressed: usize,
    pub(super) metrics: Arc<Metrics>,
}

/// What the user has done lately.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Activity {
    /// Calls and acknowledgements ever made.
    pub(crate) pulls: u64,
    /// Whether one waits for records now.
    pub(crate) is_waiting: bool,
}

impl Hand {
    pub(crate) fn new(
        wake: Arc<Wake>,
        max_decompressed: usize,
        desk: Option<Desk>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (state, events) = (Mutex::default(), Events::default());
        Self { state, events, wake, desk: desk.map(Arc::new), max_decompressed, metrics }
    }

    /// Keeps an event for whoever wants to know.
    pub(crate) fn tell(&self, event: ConsumerEvent) {
        self.events.tell(event);
    }

    /// Nothing more will be told.
    pub(crate) fn tell_no_more(&self) {
        self.events.end();
    }

    /// The next event. `None` once all were taken and nothing more will be told.
    pub(crate) fn poll_event(&self, cx: &Context<'_>) -> Poll<Option<ConsumerEvent>> {
        self.events.poll(cx)
    }

    /// The consumer is a member of its group, in this generation.
    pub(crate) fn set_member(&self, member: Option<MemberMetadata>) {
        lock(&self.state).membership.set(member);
    }

    /// Takes on a partition, whose position is not known yet.
    pub(crate) fn assign(&self, partition: TopicPartition, claim: Claim) {
        lock(&self.state).assign(partition, claim);
    }

    /// Takes on a partition beside those that the group assigns.
    pub(crate) fn accompany(&self, partition: TopicPartition, claim: Claim) {
        let mut state = lock(&self.state);
        state.assign(partition.clone(), claim);
        if let Some(slot) = state.slot_mut(&partition) {
            slot.is_companion = true;
        }
    }

    /// Reading starts here, unless the claim is no longer the partition's.
    pub(crate) fn start(&self, partition: &TopicPartition, claim: Claim, spot: Spot) {
        let mut state = lock(&self.state);
        if let Some(slot) = state.slot_mut(partition).filter(|slot| slot.claim == claim) {
            slot.start(spot, self.desk.as_ref());
        }
    }

    /// Drops what waits of the partition and forgets its position.
    pub(crate) fn reset(&self, partition: &TopicPartition, claim: Claim) {
        self.change(|state, garbage| state.renew(partition, claim, false, garbage));
    }

    /// Drops what waits of the partition; reading will go on where it stands.
    pub(crate) fn renew(&self, partition: &TopicPartition, claim: Claim) {
        self.change(|state, garbage| state.renew(partition, claim, true, garbage));
    }

    /// Reading goes on here, in front of what was handed out, unless the claim is no longer the partition's.
    pub(crate) fn rewind(&self, partition: &TopicPartition, claim: Claim, spot: Spot) {
        let mut state = lock(&self.state);
        if let Some(slot) = state.slot_mut(partition).filter(|slot| slot.claim == claim) {
            slot.rewind(spot);
        }
    }

    /// Hands nothing of the partition out any more. How far the user got stays known.
    pub(crate) fn stop(&self, partition: &TopicPartition) {
        self.change(|state, garbage| state.stop(partition, garbage));
    }

    pub(crate) fn remove(&self, partition: &TopicPartition) {
        self.change(|state, garbage| state.remove(partition, garbage));
        self.metrics.no_longer_consumed(partition);
    }

    pub(crate) fn deliver(&self, fetched: Fetched) {
        self.metrics.fetched(&fetched.partition, fetched.records.len());
        self.change(|state, garbage| state.deliver(fetched, garbage));
    }

    /// The partition's readable records end in front of `end`.
    pub(crate) fn note_end(&self, partition: &TopicPartition, end: i64) {
        if let Some(slot) = lock(&self.state).slot_mut(partition) {
            slot.end = Some(end).filter(|end| *end >= 0);
        }
    }

    /// Reports an error to the next call: of one partition, or of the consumer. A newer one about the same takes the
    /// place of one that was not seen yet.
    pub(crate) fn fail(&self, partition: Option<TopicPartition>, error: Error) {
        self.tell(failed(partition.as_ref(), &error));
        self.change(|state, _| state.fail(partition, error));
    }

    /// From now on every call that finds no record returns this error.
    pub(crate) fn block(&self, error: Error) {
        self.tell(failed(None, &error));
        self.change(|state, _| state.blocked = Some(error));
    }

    /// Drops what waits. From now on calls return `None`.
    pub(crate) fn close(&self) {
        self.change(|state, garbage| state.close(garbage));
    }

    /// Everything that was handed out is done with.
    pub(crate) fn settle(&self) {
        lock(&self.state).settle();
    }

    /// How far the user has got with each partition whose position is known.
    pub(crate) fn progress(&self) -> Vec<Progress> {
        lock(&self.state).progress()
    }

    /// The partitions of which something may still be handed out.
    #[cfg(test)]
    pub(crate) fn reads(&self) -> Vec<TopicPartition> {
        lock(&self.state).reads()
    }

    /// Whether users still hold records of these partitions that they have not acknowledged. If so, the driver is rung
    /// when they do not any more.
    pub(crate) fn awaits(&self, partitions: &[TopicPartition]) -> bool {
        let state = lock(&self.state);
        let mut ledgers = partitions.iter().filter_map(|partition| state.slot(partition)?.ledger.as_ref());
        ledgers.any(|ledger| !ledger.await_all())
    }

    pub(crate) fn take_requests(&self) -> Vec<Request> {
        let (requests, waiters) = {
            let mut state = lock(&self.state);
            let waiters = if state.may_have_room_again() { state.woken() } else { Vec::new() };
            (state.take_requests(), waiters)
        };
        waiters.into_iter().for_each(Waker::wake);
        requests
    }

    pub(crate) fn activity(&self) -> Activity {
        let state = lock(&self.state);
        let acknowledgements = self.desk.as_ref().map_or(0, |desk| desk.count());
        Activity { pulls: state.pulls.wrapping_add(acknowledgements), is_waiting: state.waiting > 0 }
    }

    /// Has the driver rung by the next call.
    pub(crate) fn ring_on_pull(&self) {
        lock(&self.state).ring_on_pull = true;
    }

    /// Changes the state, and wakes whoever waits for it. What is dropped is dropped without the lock.
    pub(super) fn change(&self, change: impl FnOnce(&mut State, &mut Vec<Item>)) {
        let mut garbage = Vec::new();
        let waiters = {
            let mut state = lock(&self.state);
            change(&mut state, &mut garbage);
            state.woken()
        };
        drop(garbage);
        waiters.into_iter().for_each(Waker::wake);
    }
}
