//! The order in which records are handled: a lane for each key.
//!
//! Records of a key are handled one behind the other, in the order of their offsets; lanes go side by side, as many as the
//! concurrency allows. A record that is to be tried again waits in front of its lane, and holds up that lane alone. A route
//! of batches has one lane for each partition, which hands out several records at once.
//!
//! The machine holds what was read and is not done. Whoever reads asks [`Lanes::has_room`] first, and pauses the partitions
//! that [`Lanes::pauses`] names: those in which records pile up behind one that cannot go on, so that they do not take the
//! room of all others.

mod lane;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    time::Instant,
};

use milena::TopicPartition;

use self::lane::Lane;
pub(crate) use self::lane::{Batching, End, Held, Job};

/// What each record costs besides its bytes.
const OVERHEAD: usize = 256;

/// How much may be under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// How many jobs run at once, at least 1.
    pub(crate) concurrency: usize,
    /// How many bytes of records are held.
    pub(crate) bytes: usize,
}

/// A partition, for as long as it is owned without a break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SlotId(u64);

/// A lane: the records of a key in a partition, or of a whole partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LaneId {
    pub(crate) slot: SlotId,
    key: u64,
}

/// A partition that is owned, and what is held of it.
#[derive(Debug)]
struct Slot {
    partition: TopicPartition,
    batching: Batching,
    held: Held,
}

/// What lanes are told to hold; see the module's head.
#[derive(Debug)]
pub(crate) struct Lanes<T> {
    limits: Limits,
    slots: BTreeMap<SlotId, Slot>,
    by_partition: BTreeMap<TopicPartition, SlotId>,
    next_slot: u64,
    lanes: HashMap<LaneId, Lane<T>>,
    /// Lanes whose next job may begin, in the order in which they came to it.
    ready: VecDeque<LaneId>,
    /// When lanes that wait may go on.
    timers: BTreeSet<(Instant, LaneId)>,
    /// What is held of all partitions.
    bytes: usize,
    running: usize,
    workers: usize,
    /// Nothing begins any more.
    drained: bool,
    /// The partitions that were said to be paused.
    paused: BTreeSet<TopicPartition>,
}

impl<T> Lanes<T> {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits: Limits { concurrency: limits.concurrency.max(1), ..limits },
            slots: BTreeMap::new(),
            by_partition: BTreeMap::new(),
            next_slot: 0,
            lanes: HashMap::new(),
            ready: VecDeque::new(),
            timers: BTreeSet::new(),
            bytes: 0,
            running: 0,
            workers: 0,
            drained: false,
            paused: BTreeSet::new(),
        }
    }

    /// Takes on a partition.
    pub(crate) fn assign(&mut self, partition: &TopicPartition, batching: Batching) -> SlotId {
        if let Some(slot) = self.slot_of(partition) {
            return slot;
        }
        let slot = SlotId(self.next_slot);
        self.next_slot += 1;
        self.by_partition.insert(partition.clone(), slot);
        let partition = partition.clone();
        self.slots.insert(slot, Slot { partition, batching, held: Held::default() });
        slot
    }

    /// The slot of a partition, if it is owned.
    pub(crate) fn slot_of(&self, partition: &TopicPartition) -> Option<SlotId> {
        self.by_partition.get(partition).copied()
    }

    /// Takes a record of `size` bytes, with the hash of its key; a record without one goes with `None`, in the order of its
    /// partition.
    pub(crate) fn offer(&mut self, now: Instant, slot: SlotId, key: Option<u64>, item: T, size: usize) {
        let Some(place) = self.slots.get(&slot).filter(|_| !self.drained) else { return };
        let key = if place.batching.is_some() { 0 } else { key.unwrap_or(0) };
        let id = LaneId { slot, key };
        self.lanes.entry(id).or_insert_with(Lane::new);
        self.change(id, |lane| lane.push(item, size.saturating_add(OVERHEAD), now));
        self.settle(now, id);
    }

    /// The next job, if one may begin.
    pub(crate) fn take(&mut self) -> Option<(LaneId, Job<T>)> {
        if self.running >= self.limits.concurrency {
            return None;
        }
        while let Some(id) = self.ready.pop_front() {
            let batching = self.batching(id);
            let Some(job) = self.lanes.get_mut(&id).and_then(|lane| lane.take(batching)) else { continue };
            self.running += 1;
            return Some((id, job));
        }
        None
    }

    /// The next job of a worker; without one, it is no longer counted among the workers.
    pub(crate) fn take_or_retire(&mut self) -> Option<(LaneId, Job<T>)> {
        let taken = self.take();
        if taken.is_none() {
            self.workers = self.workers.saturating_sub(1);
        }
        taken
    }

    /// How many workers are to be started; they are counted from now on. Each ends at
    /// [`take_or_retire`](Self::take_or_retire).
    pub(crate) fn hire(&mut self) -> usize {
        let idle = self.workers.saturating_sub(self.running);
        let free = self.limits.concurrency.saturating_sub(self.workers);
        let more = self.ready.len().saturating_sub(idle).min(free);
        self.workers += more;
        more
    }

    /// Tells how a job has ended. What comes again in a partition that is no longer owned is dropped.
    ///
    /// Returns whether there is something to look at for who reads: room again, another time to wake up, or a partition to
    /// pause or to resume.
    pub(crate) fn finish(&mut self, now: Instant, id: LaneId, end: End<T>) -> bool {
        self.running = self.running.saturating_sub(1);
        let Some(slot) = self.slots.get(&id.slot) else { return false };
        let is_paused = self.paused.contains(&slot.partition);
        let before = (self.has_room(), self.deadline(), slot.held.blocked_lanes);
        let drained = self.drained;
        self.change(id, |lane| lane.finish(end, drained));
        self.settle(now, id);
        let blocked = self.slots.get(&id.slot).map_or(0, |slot| slot.held.blocked_lanes);
        is_paused || before != (self.has_room(), self.deadline(), blocked)
    }

    /// Lets lanes go on whose time has come.
    pub(crate) fn tick(&mut self, now: Instant) {
        while let Some((at, id)) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
            self.timers.remove(&(at, id));
            self.change(id, |lane| lane.wake(now));
            self.settle(now, id);
        }
    }

    /// When [`tick`](Self::tick) is to be called.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// How many jobs run.
    pub(crate) const fn running(&self) -> usize {
        self.running
    }

    /// Whether more may be read. What paused partitions hold does not count: each has a share of its own, so that what is
    /// stuck never keeps what is not from being read.
    pub(crate) fn has_room(&self) -> bool {
        let of = |partition| self.by_partition.get(partition).and_then(|slot| self.slots.get(slot));
        let stuck: usize = self.paused.iter().filter_map(of).map(|slot| slot.held.bytes).sum();
        !self.drained && self.bytes.saturating_sub(stuck) < self.limits.bytes
    }

    /// The partitions to pause and to resume since the last call.
    pub(crate) fn pauses(&mut self) -> (Vec<TopicPartition>, Vec<TopicPartition>) {
        let share = self.limits.bytes / self.slots.len().max(1);
        let (mut pause, mut resume) = (Vec::new(), Vec::new());
        for slot in self.slots.values() {
            let is_paused = self.paused.contains(&slot.partition);
            let is_full = slot.held.bytes >= if is_paused { share / 2 } else { share };
            match slot.held.blocked_lanes > 0 && is_full {
                true if !is_paused => pause.push(slot.partition.clone()),
                false if is_paused => resume.push(slot.partition.clone()),
                _ => {}
            }
        }
        self.paused.extend(pause.iter().cloned());
        self.paused.retain(|partition| !resume.contains(partition));
        (pause, resume)
    }

    /// Gives up partitions that are no longer owned: drops what has not begun. What runs goes on, and its end is ignored.
    pub(crate) fn revoke<'a>(&mut self, partitions: impl IntoIterator<Item = &'a TopicPartition>) {
        let gone: BTreeSet<SlotId> = partitions
            .into_iter()
            .filter_map(|partition| {
                self.paused.remove(partition);
                self.by_partition.remove(partition)
            })
            .collect();
        if gone.is_empty() {
            return;
        }
        for slot in &gone {
            let held = self.slots.remove(slot).map_or(0, |slot| slot.held.bytes);
            self.bytes = self.bytes.saturating_sub(held);
        }
        self.lanes.retain(|id, _| !gone.contains(&id.slot));
        self.ready.retain(|id| !gone.contains(&id.slot));
        self.timers.retain(|(_, id)| !gone.contains(&id.slot));
    }

    /// Drops all that has not begun, and takes nothing more.
    pub(crate) fn drain(&mut self) {
        self.drained = true;
        self.ready.clear();
        self.timers.clear();
        let lanes: Vec<LaneId> = self.lanes.keys().copied().collect();
        for id in lanes {
            self.change(id, Lane::drop_waiting);
        }
        self.lanes.retain(|_, lane| !lane.is_empty());
    }

    /// Lets halted lanes try again.
    pub(crate) fn retry_halted(&mut self, now: Instant) {
        let halted: Vec<LaneId> =
            self.lanes.iter().filter(|(_, lane)| lane.is_halted()).map(|(id, _)| *id).collect();
        for id in halted {
            self.change(id, Lane::unhalt);
            self.settle(now, id);
        }
    }

    /// The records at which lanes have halted.
    pub(crate) fn halted(&self) -> impl Iterator<Item = &T> {
        self.lanes.values().filter(|lane| lane.is_halted()).filter_map(Lane::front)
    }

    /// The records that are tried again later.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = &T> {
        self.lanes.values().filter(|lane| lane.is_blocked()).filter_map(Lane::front)
    }

    /// Each partition with what is held of it.
    pub(crate) fn partitions(&self) -> impl Iterator<Item = (&TopicPartition, Held)> {
        self.slots.values().map(|slot| (&slot.partition, slot.held))
    }

    /// Since when the oldest record of each partition is held.
    pub(crate) fn oldest(&self) -> BTreeMap<&TopicPartition, Instant> {
        let mut oldest = BTreeMap::new();
        for (id, lane) in &self.lanes {
            if let (Some(slot), Some(since)) = (self.slots.get(&id.slot), lane.oldest()) {
                let least = oldest.entry(&slot.partition).or_insert(since);
                *least = since.min(*least);
            }
        }
        oldest
    }

    fn batching(&self, id: LaneId) -> Batching {
        self.slots.get(&id.slot).and_then(|slot| slot.batching)
    }

    /// Changes a lane, if there is one, and what is held of its partition with it.
    fn change(&mut self, id: LaneId, change: impl FnOnce(&mut Lane<T>)) {
        let (Some(lane), Some(slot)) = (self.lanes.get_mut(&id), self.slots.get_mut(&id.slot)) else {
            return;
        };
        let before = lane.held();
        change(lane);
        let after = lane.held();
        slot.held.records = slot.held.records + after.records - before.records;
        slot.held.bytes = slot.held.bytes + after.bytes - before.bytes;
        slot.held.blocked_lanes = slot.held.blocked_lanes + after.blocked_lanes - before.blocked_lanes;
        self.bytes = self.bytes + after.bytes - before.bytes;
    }

    /// Puts a lane where it belongs: among those that are ready, or those that wait for a time; or forgets it.
    fn settle(&mut self, now: Instant, id: LaneId) {
        let batching = self.batching(id);
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        if lane.is_empty() {
            self.lanes.remove(&id);
            return;
        }
        match lane.queue_up(now, batching) {
            lane::Turn::None => {}
            lane::Turn::Ready => self.ready.push_back(id),
            lane::Turn::At(at) => {
                self.timers.insert((at, id));
            }
        }
    }
}

#[cfg(test)]
mod tests;
