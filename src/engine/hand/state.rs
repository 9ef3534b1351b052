//! What stands behind the lock: the partitions, and what waits to be handed out.

use std::{
    collections::{HashMap, VecDeque},
    mem,
    task::Waker,
};

use super::{
    item::{Found, Item, Opening},
    member::Membership,
    slot::Slot,
    types::{Progress, Request, Stay},
};
use crate::{
    engine::{
        fetch::Fetched,
        partition::{Claim, Spot},
    },
    error::{Error, Result},
    message::{Batch, Message, corrupt_batch},
    sync::enlist,
    types::TopicPartition,
    wire::batch::BatchError,
};

/// How often a batch that does not read is fetched again before it is reported.
const REFETCHES: u32 = 2;

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) slots: Vec<Slot>,
    free: Vec<usize>,
    pub(super) places: HashMap<TopicPartition, usize>,
    /// Streams of single partitions.
    pub(super) streams: usize,
    /// In the order in which it came.
    pub(super) queue: VecDeque<Item>,
    /// At most one for each partition, and one for the consumer.
    errors: VecDeque<(Option<TopicPartition>, Error)>,
    /// Why the consumer cannot go on.
    pub(super) blocked: Option<Error>,
    pub(super) closed: bool,
    /// The partitions whose last records users work on: one, unless calls run side by side.
    outstanding: Vec<usize>,
    requests: Vec<Request>,
    pub(super) membership: Membership,
    /// Whether a partition was passed over because too much of it is not acknowledged.
    is_full: bool,
    /// Whether a partition was paused or resumed of which the driver does not know yet.
    pauses: bool,
    pub(super) waiters: Vec<Waker>,
    /// Those to be woken whatever there is: what they wait for has changed.
    pub(super) released: Vec<Waker>,
    /// Stays of partitions ever begun.
    pub(super) stays: u64,
    /// Calls that wait.
    pub(super) waiting: usize,
    /// Calls ever made.
    pub(super) pulls: u64,
    /// Whether the driver wants to know of the next call.
    pub(super) ring_on_pull: bool,
}

/// What a call finds.
#[derive(Debug)]
pub(super) enum Step<T> {
    Ready(Option<Result<T>>),
    /// The batch of the item behind this offset is to be opened, without the lock, and the item to be
    /// [put back](State::put_back).
    Open(i64),
    Empty,
}

/// How one kind of call takes from an open batch.
pub(super) type Take<T> = fn(&mut Slot, &mut Item) -> Taken<T>;

#[derive(Debug)]
pub(super) enum Taken<T> {
    Some(T),
    /// No batch is open.
    Nothing,
    Fault(BatchError),
}

impl State {
    /// A call begins: whatever such calls were handed out before is done with. Whether to ring the driver.
    pub(super) fn begin(&mut self, only: Option<Stay>) -> bool {
        self.pulls = self.pulls.wrapping_add(1);
        match only {
            None if self.streams == 0 => self.settle(),
            None => self.settle_those(|_, slot| slot.streams == 0),
            Some(stay) => self.settle_those(|at, slot| at == stay.at && slot.stay == stay.number),
        }
        mem::take(&mut self.ring_on_pull)
    }

    fn settle_those(&mut self, is_settled: impl Fn(usize, &Slot) -> bool) {
        let slots = &mut self.slots;
        self.outstanding.retain(|at| match slots.get_mut(*at) {
            Some(slot) if is_settled(*at, slot) => {
                slot.done = slot.position;
                slot.is_outstanding = false;
                false
            }
            slot => slot.is_some(),
        });
    }

    #[inline]
    pub(super) fn settle(&mut self) {
        while let Some(at) = self.outstanding.pop() {
            if let Some(slot) = self.slots.get_mut(at) {
                slot.done = slot.position;
                slot.is_outstanding = false;
            }
        }
    }

    /// The next thing for a call. An item that is to be opened goes to `open`, apart from the outcome, which is moved for
    /// each record; items that are used up go to `garbage`, to be dropped without the lock.
    #[inline]
    pub(super) fn step<T>(
        &mut self,
        take: Take<T>,
        only: Option<Stay>,
        open: &mut Option<Item>,
        garbage: &mut Vec<Item>,
    ) -> Step<T> {
        loop {
            if only.is_some_and(|stay| self.is_over(stay)) {
                return Step::Ready(None);
            }
            if let Some(error) = self.next_error(only) {
                return Step::Ready(Some(Err(error)));
            }
            let slots = &mut self.slots;
            let is_full = &mut self.is_full;
            let is_free = |item: &Item| {
                let is_asked = |slot: &&Slot| match only {
                    Some(stay) => item.slot == stay.at,
                    None => slot.streams == 0,
                };
                let slot = slots.get(item.slot).filter(|slot| !slot.is_opening).filter(is_asked);
                let has_room = slot.is_some_and(|slot| !slot.is_full());
                *is_full |= slot.is_some() && !has_room;
                has_room
            };
            let Some(place) = self.queue.iter().position(is_free) else { return self.nothing() };
            let Some(item) = self.queue.get_mut(place) else { return self.nothing() };
            let at = item.slot;
            let Some(slot) = slots.get_mut(at) else { return self.nothing() };
            match take(slot, item) {
                Taken::Some(value) => {
                    if !mem::replace(&mut slot.is_outstanding, true) {
                        self.outstanding.push(at);
                    }
                    if item.is_used_up(slot.position) {
                        garbage.extend(self.queue.remove(place));
                    }
                    return Step::Ready(Some(Ok(value)));
                }
                Taken::Nothing => {
                    slot.is_opening = true;
                    let from = slot.position.map_or(0, |spot| spot.offset);
                    *open = self.queue.remove(place);
                    return Step::Open(from);
                }
                Taken::Fault(error) => self.fault(at, &error, false, garbage),
            }
        }
    }

    /// The next error for such a call: streams of single partitions are told of theirs alone.
    fn next_error(&mut self, only: Option<Stay>) -> Option<Error> {
        let (slots, places) = (&self.slots, &self.places);
        let is_asked = |(about, _): &(Option<TopicPartition>, Error)| {
            let at = about.as_ref().and_then(|partition| places.get(partition)).copied();
            match only {
                Some(stay) => at == Some(stay.at),
                None => at.and_then(|at| slots.get(at)).is_none_or(|slot| slot.streams == 0),
            }
        };
        let place = self.errors.iter().position(is_asked)?;
        self.errors.remove(place).map(|(_, error)| error)
    }

    fn nothing<T>(&self) -> Step<T> {
        match &self.blocked {
            _ if self.closed => Step::Ready(None),
            Some(error) => Step::Ready(Some(Err(error.clone()))),
            None => Step::Empty,
        }
    }

    /// Takes an item back after its next batch was opened.
    pub(super) fn put_back(&mut self, item: Item, opening: Opening, garbage: &mut Vec<Item>) {
        let Some(slot) = self.slots.get_mut(item.slot).filter(|slot| slot.claim == item.claim) else {
            return garbage.push(item);
        };
        slot.is_opening = false;
        // The driver may have ended the reading while the batch was opened without the lock.
        if self.closed || slot.is_stopped {
            return garbage.push(item);
        }
        if let Some(spot) = opening.passed {
            slot.pass(spot);
        }
        match opening.found {
            Found::Batch if slot.is_paused => slot.parked.push_front(item),
            Found::Batch => self.queue.push_front(item),
            Found::Nothing => garbage.push(item),
            Found::Fault { error, in_transit } => {
                let at = item.slot;
                garbage.push(item);
                self.fault(at, &error, in_transit, garbage);
            }
        }
    }

    /// A batch does not read: has it fetched again, or stops the partition and reports it.
    fn fault(&mut self, at: usize, error: &BatchError, in_transit: bool, garbage: &mut Vec<Item>) {
        self.discard(at, garbage);
        let Some(slot) = self.slots.get_mut(at) else { return };
        let Some(from) = slot.position else { return };
        let tries = slot.suspect.filter(|(offset, _)| *offset == from.offset).map_or(0, |(_, tries)| tries);
        let (partition, claim) = (slot.partition.clone(), slot.claim);
        tracing::warn!(%partition, offset = from.offset, %error, tries, "a batch does not read");
        if in_transit && tries < REFETCHES {
            slot.suspect = Some((from.offset, tries + 1));
            slot.is_suspended = true;
            self.requests.push(Request::Refetch { partition, claim, from });
        } else {
            slot.suspect = None;
            slot.is_stopped = true;
            self.released.append(&mut slot.waiters);
            let error = corrupt_batch(&partition, error);
            self.requests.push(Request::Stop { partition: partition.clone(), claim });
            self.errors.push_back((Some(partition), error));
        }
    }

    /// Drops what waits of a partition.
    fn discard(&mut self, at: usize, garbage: &mut Vec<Item>) {
        if self.queue.iter().any(|item| item.slot == at) {
            let (dropped, kept) = mem::take(&mut self.queue).into_iter().partition(|item| item.slot == at);
            self.queue = kept;
            garbage.extend::<VecDeque<Item>>(dropped);
        }
        if let Some(slot) = self.slots.get_mut(at) {
            garbage.extend(slot.parked.drain(..));
        }
    }

    pub(super) fn deliver(&mut self, fetched: Fetched, garbage: &mut Vec<Item>) {
        let at = self.places.get(&fetched.partition).copied().unwrap_or(usize::MAX);
        let item = Item::new(at, fetched);
        match self.slots.get_mut(at) {
            Some(slot) if slot.takes(item.claim) && !self.closed => {
                if slot.is_paused {
                    slot.parked.push_back(item);
                } else {
                    self.queue.push_back(item);
                }
            }
            _ => garbage.push(item),
        }
    }

    pub(super) fn assign(&mut self, partition: TopicPartition, claim: Claim) {
        self.stays = self.stays.wrapping_add(1);
        let slot = Slot::new(partition.clone(), claim, self.stays);
        let at = self.free.pop().filter(|at| *at < self.slots.len());
        let at = match at.and_then(|at| Some((at, self.slots.get_mut(at)?))) {
            Some((at, place)) => {
                *place = slot;
                at
            }
            None => {
                self.slots.push(slot);
                self.slots.len() - 1
            }
        };
        self.places.insert(partition, at);
    }

    pub(super) fn remove(&mut self, partition: &TopicPartition, garbage: &mut Vec<Item>) {
        let Some(at) = self.places.remove(partition) else { return };
        self.discard(at, garbage);
        self.errors.retain(|(about, _)| about.as_ref() != Some(partition));
        self.outstanding.retain(|other| *other != at);
        if let Some(slot) = self.slots.get_mut(at) {
            slot.is_given_up = true;
            self.streams -= mem::take(&mut slot.streams);
            self.released.append(&mut slot.waiters);
        }
        // Whatever is being opened of it comes back to nobody: its claim is not given again.
        self.free.push(at);
    }

    /// What waits of the partition is void. `keep` keeps the position.
    pub(super) fn renew(
        &mut self,
        partition: &TopicPartition,
        claim: Claim,
        keep: bool,
        garbage: &mut Vec<Item>,
    ) {
        let Some(at) = self.places.get(partition).copied() else { return };
        self.discard(at, garbage);
        let Some(slot) = self.slots.get_mut(at) else { return };
        slot.claim = claim;
        slot.is_opening = false;
        slot.is_suspended = false;
        if !keep {
            slot.is_stopped = false;
            slot.position = None;
            slot.done = None;
            slot.ledger = None;
            slot.timestamp = None;
            slot.is_outstanding = false;
            self.outstanding.retain(|other| *other != at);
        }
    }

    /// Hands nothing of the partition out any more; how far it got stays known.
    pub(super) fn stop(&mut self, partition: &TopicPartition, garbage: &mut Vec<Item>) {
        let Some(at) = self.places.get(partition).copied() else { return };
        self.discard(at, garbage);
        if let Some(slot) = self.slots.get_mut(at) {
            slot.is_stopped = true;
            slot.is_given_up = true;
            self.released.append(&mut slot.waiters);
        }
    }

    pub(super) fn pause(&mut self, partition: &TopicPartition, paused: bool) {
        let Some(at) = self.places.get(partition).copied() else { return };
        let Some(slot) = self.slots.get_mut(at).filter(|slot| slot.is_paused != paused) else { return };
        slot.is_paused = paused;
        self.pauses = true;
        if paused {
            let (parked, kept) = mem::take(&mut self.queue).into_iter().partition(|item| item.slot == at);
            self.queue = kept;
            slot.parked = parked;
        } else {
            self.queue.append(&mut slot.parked);
        }
    }

    pub(super) fn fail(&mut self, partition: Option<TopicPartition>, error: Error) {
        let slot = partition.as_ref().and_then(|partition| self.places.get(partition));
        if let Some(slot) = slot.and_then(|at| self.slots.get_mut(*at)) {
            self.released.append(&mut slot.waiters);
        }
        match self.errors.iter_mut().find(|(about, _)| *about == partition) {
            Some(entry) => entry.1 = error,
            None => self.errors.push_back((partition, error)),
        }
    }

    /// Whether the driver is to be rung.
    pub(super) fn has_requests(&self) -> bool {
        !self.requests.is_empty() || self.pauses
    }

    /// Whether calls may find something now that was held back because too much was not acknowledged.
    pub(super) fn may_have_room_again(&mut self) -> bool {
        mem::take(&mut self.is_full)
    }

    pub(super) fn take_requests(&mut self) -> Vec<Request> {
        let mut requests = mem::take(&mut self.requests);
        if mem::take(&mut self.pauses) {
            for slot in self.places.values().filter_map(|at| self.slots.get(*at)) {
                let (partition, paused) = (slot.partition.clone(), slot.is_paused);
                requests.push(Request::Pause { partition, paused });
            }
        }
        requests
    }

    /// All partitions; or only those beside, or only those of, the assignment.
    pub(super) fn partitions(&self, companions: Option<bool>) -> Vec<TopicPartition> {
        let slots = self.places.values().filter_map(|at| self.slots.get(*at));
        let asked = slots.filter(|slot| companions.is_none_or(|asked| slot.is_companion == asked));
        let mut partitions: Vec<_> = asked.map(|slot| slot.partition.clone()).collect();
        partitions.sort_unstable();
        partitions
    }

    #[cfg(test)]
    pub(super) fn reads(&self) -> Vec<TopicPartition> {
        let mut partitions = self.partitions(None);
        partitions.retain(|partition| self.slot(partition).is_some_and(|slot| !slot.is_stopped));
        partitions
    }

    pub(super) fn slot(&self, partition: &TopicPartition) -> Option<&Slot> {
        self.slots.get(*self.places.get(partition)?)
    }

    pub(super) fn slot_mut(&mut self, partition: &TopicPartition) -> Option<&mut Slot> {
        self.slots.get_mut(*self.places.get(partition)?)
    }

    pub(super) fn progress(&self) -> Vec<Progress> {
        let slots = self.places.values().filter_map(|at| self.slots.get(*at));
        slots.filter_map(Slot::progress).collect()
    }

    /// Drops everything that waits.
    pub(super) fn close(&mut self, garbage: &mut Vec<Item>) {
        self.closed = true;
        self.errors.clear();
        garbage.extend(self.queue.drain(..));
        garbage.extend(self.slots.iter_mut().flat_map(|slot| slot.parked.drain(..)));
    }

    /// Those to wake, if there may be something for them.
    #[inline]
    pub(super) fn woken(&mut self) -> Vec<Waker> {
        if self.streams > 0 {
            self.release_streams();
        }
        let mut woken = mem::take(&mut self.released);
        if self.waiters.is_empty() {
            return woken;
        }
        let has_news =
            !self.queue.is_empty() || !self.errors.is_empty() || self.blocked.is_some() || self.closed;
        if has_news {
            woken.append(&mut self.waiters);
        }
        woken
    }

    /// Wakes `waker` at the next news.
    pub(super) fn wait(&mut self, waker: &Waker, only: Option<Stay>) {
        let slot = only.and_then(|stay| self.slots.get_mut(stay.at));
        let waiters = slot.map_or(&mut self.waiters, |slot| &mut slot.waiters);
        enlist(waiters, waker);
    }
}

/// Takes one record.
#[inline]
pub(super) fn take_record(slot: &mut Slot, item: &mut Item) -> Taken<Message> {
    let Some(open) = &mut item.open else { return Taken::Nothing };
    let from = slot.position.map_or(0, |spot| spot.offset);
    loop {
        match open.cursor.next() {
            Some(Ok(record)) if record.offset < from => {}
            Some(Ok(record)) => {
                let offset = record.offset.saturating_add(1);
                let next = Spot { offset, leader_epoch: open.end.leader_epoch };
                let receipt = slot.hand_out(record.offset, next, record.timestamp);
                let buffer = open.cursor.buffer().clone();
                return Taken::Some(Message::new(slot.partition.clone(), buffer, record, receipt));
            }
            Some(Err(error)) => return Taken::Fault(error),
            None => break,
        }
    }
    slot.pass(open.end);
    item.open = None;
    Taken::Nothing
}

/// Takes all that is left of a batch. Whether it reads to its end is for the batch's own iterator to find.
pub(super) fn take_batch(slot: &mut Slot, item: &mut Item) -> Taken<Batch> {
    let Some(open) = item.open.take() else { return Taken::Nothing };
    if open.cursor.left() == 0 {
        slot.pass(open.end);
        return Taken::Nothing;
    }
    let first = slot.position.map_or(0, |spot| spot.offset);
    let receipt = slot.hand_out(first, open.end, open.max_timestamp);
    let (partition, next) = (slot.partition.clone(), open.end.offset);
    Taken::Some(Batch::new(partition, open.cursor, first, next, item.high_watermark, receipt))
}
