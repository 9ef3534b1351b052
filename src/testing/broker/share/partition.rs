//! What a share group has done with one partition: the records that are in flight, each in its state.
//!
//! It knows neither the log nor the group: it is shown the log's batches, and is told the time and who asks.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Instant;

use bytes::{Bytes, BytesMut};

use super::acks::{Ack, AckType, Refusal};
use crate::engine::machine::Now;
use crate::testing::broker::log::spans::Span;
use crate::wire::str::Str;

/// A partition, as a share group sees it.
#[derive(Debug)]
pub(in crate::testing::broker) struct SharePartition {
    /// All below are done with.
    start: i64,
    /// None from here on has been delivered yet.
    end: i64,
    /// Every offset from the start to the end.
    records: BTreeMap<i64, Record>,
    /// When the records that somebody has acquired are free again.
    locks: BTreeSet<(Instant, i64)>,
    /// That of the leader under which they were acquired.
    leader_epoch: i32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    mark: Mark,
    deliveries: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Mark {
    Available,
    Acquired { member: Str, until: Instant },
    Acknowledged,
    Archived,
}

/// How much a fetch wants.
#[derive(Clone, Copy, Debug)]
pub(in crate::testing::broker) struct Want {
    pub(in crate::testing::broker) records: usize,
    /// Whether it must not be more, or whole batches are taken until there are as many.
    pub(in crate::testing::broker) exactly: bool,
    pub(in crate::testing::broker) bytes: usize,
    /// Whether the first batch is taken however long it is.
    pub(in crate::testing::broker) whole_first: bool,
    /// How many offsets lie at most between the start and the end.
    pub(in crate::testing::broker) locks: i64,
}

/// What a fetch would acquire.
#[derive(Debug, Default)]
pub(in crate::testing::broker) struct Plan {
    acquire: Vec<i64>,
    /// The offsets that hold nothing, which are passed over.
    pass: Vec<i64>,
    /// Where the batches begin.
    bases: BTreeSet<i64>,
    batches: Vec<Bytes>,
    bytes: usize,
    end: i64,
}

/// Offsets that follow each other and were delivered equally often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::testing::broker) struct Run {
    pub(in crate::testing::broker) first: i64,
    pub(in crate::testing::broker) last: i64,
    pub(in crate::testing::broker) deliveries: u16,
}

impl Plan {
    /// How many records it is.
    pub(in crate::testing::broker) fn records(&self) -> usize {
        self.acquire.len()
    }

    /// How many bytes their batches take.
    pub(in crate::testing::broker) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The batches, one behind the other.
    pub(in crate::testing::broker) fn batches(&self) -> Bytes {
        let mut all = BytesMut::with_capacity(self.bytes);
        self.batches.iter().for_each(|batch| all.extend_from_slice(batch));
        all.freeze()
    }
}

impl SharePartition {
    /// One that begins with the record at `start`.
    pub(in crate::testing::broker) fn new(start: i64, leader_epoch: i32) -> Self {
        Self { start, end: start, records: BTreeMap::new(), locks: BTreeSet::new(), leader_epoch }
    }

    /// When [`SharePartition::tick`] has something to do.
    pub(in crate::testing::broker) fn deadline(&self) -> Option<Instant> {
        self.locks.first().map(|(until, _)| *until)
    }

    /// Releases what has been held for too long; whether there was anything.
    pub(in crate::testing::broker) fn tick(&mut self, now: Now, limit: u16) -> bool {
        let mut any = false;
        while let Some((until, offset)) = self.locks.first().copied()
            && until <= now.instant
        {
            self.release(offset, limit);
            any = true;
        }
        self.advance();
        any
    }

    /// Learns where the log begins and ends now, and who leads it.
    pub(in crate::testing::broker) fn follow(&mut self, log: Range<i64>, leader_epoch: i32) {
        if self.leader_epoch != leader_epoch {
            self.leader_epoch = leader_epoch;
            self.led_anew();
        }
        let gone: Vec<i64> = self.records.keys().copied().filter(|offset| !log.contains(offset)).collect();
        for offset in gone {
            self.set(offset, Mark::Archived);
            self.records.remove(&offset);
        }
        // An unclean election takes back what was never written.
        self.end = self.end.min(log.end).max(log.start);
        self.start = self.start.max(log.start).min(self.end);
        self.advance();
    }

    /// What was acquired from another leader is free again, and that delivery does not count: leaders write down only
    /// how deliveries end.
    fn led_anew(&mut self) {
        for (_, offset) in std::mem::take(&mut self.locks) {
            if let Some(record) = self.records.get_mut(&offset) {
                record.mark = Mark::Available;
                record.deliveries = record.deliveries.saturating_sub(1);
            }
        }
    }

    // Fetches.

    /// The first offset that is not done with.
    pub(in crate::testing::broker) fn start(&self) -> i64 {
        self.start
    }

    /// Finds what a fetch would acquire of the log, whose batches are shown from the start on.
    pub(in crate::testing::broker) fn plan(
        &self,
        spans: impl Iterator<Item = Span>,
        log_end: i64,
        want: Want,
    ) -> Plan {
        let mut plan = Plan { end: self.end, ..Plan::default() };
        let mut next = self.start;
        for span in spans {
            if plan.records() >= want.records {
                return plan;
            }
            self.pass_over(&mut plan, next..span.base);
            next = next.max(span.base);
            if !self.plan_span(&mut plan, &span, next, want) {
                return plan;
            }
            next = span.last + 1;
        }
        if plan.records() < want.records {
            self.pass_over(&mut plan, next..log_end);
        }
        plan
    }

    /// No batch holds these offsets.
    fn pass_over(&self, plan: &mut Plan, offsets: Range<i64>) {
        let end = offsets.end;
        plan.pass.extend(offsets.filter(|offset| self.is_free(*offset)));
        plan.end = plan.end.max(end);
    }

    /// Plans one batch from an offset on; whether the next may be planned too.
    fn plan_span(&self, plan: &mut Plan, span: &Span, from: i64, want: Want) -> bool {
        let mut room = want.records - plan.records();
        if !want.exactly {
            room = usize::MAX;
        }
        // A batch that is begun is delivered whole, unless the number of records is a limit.
        let newest = if want.exactly { self.start.saturating_add(want.locks) } else { i64::MAX };
        let may_begin = from.max(self.end) - self.start < want.locks;
        let (mut acquire, mut end, mut is_whole) = (Vec::new(), plan.end, true);
        for offset in from..=span.last {
            let is_new = offset >= self.end;
            if acquire.len() >= room || (is_new && (!may_begin || offset >= newest)) {
                is_whole = false;
                break;
            }
            if is_new {
                end = offset + 1;
            }
            // Also where there is no record for users, as of markers: they say so.
            if self.is_free(offset) {
                acquire.push(offset);
            }
        }
        if !acquire.is_empty() {
            let is_first = want.whole_first && plan.bytes == 0;
            if plan.bytes + span.bytes.len() > want.bytes && !is_first {
                return false;
            }
            plan.bytes += span.bytes.len();
            plan.batches.push(span.bytes.clone());
            plan.bases.insert(span.base);
        }
        plan.acquire.append(&mut acquire);
        plan.end = plan.end.max(end);
        is_whole
    }

    /// Acquires what was planned for a member, until the lock ends. Runs are cut where a batch begins, when they are as
    /// long as `batch_size`; 0 for never.
    pub(in crate::testing::broker) fn acquire(
        &mut self,
        plan: &Plan,
        member: &Str,
        until: Instant,
        batch_size: i64,
    ) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for offset in &plan.pass {
            self.set(*offset, Mark::Archived);
        }
        for offset in plan.acquire.iter().copied() {
            let deliveries = self.set(offset, Mark::Acquired { member: member.clone(), until });
            let continues = |run: &&mut Run| {
                let is_full = batch_size > 0 && run.last - run.first + 1 >= batch_size;
                let is_cut = is_full && plan.bases.contains(&offset);
                run.last + 1 == offset && run.deliveries == deliveries && !is_cut
            };
            match runs.last_mut().filter(continues) {
                Some(run) => run.last = offset,
                None => runs.push(Run { first: offset, last: offset, deliveries }),
            }
        }
        self.end = self.end.max(plan.end);
        self.advance();
        runs
    }

    // Acknowledgements.

    /// Does what a member says about records that it has acquired, or nothing if it has not; whether any are free again.
    /// What lies below the start is done with already.
    pub(in crate::testing::broker) fn acknowledge(
        &mut self,
        member: &Str,
        acks: &[Ack],
        until: Instant,
        limit: u16,
    ) -> Result<bool, Refusal> {
        let start = self.start;
        // Behind what was said before.
        let mut next = start;
        for ack in acks {
            let from = ack.first.max(start);
            if from > ack.last {
                continue;
            }
            if from >= self.end && !self.records.is_empty() {
                return Err(Refusal::NOT_IN_FLIGHT);
            }
            if from < next || !(from..=ack.last).all(|offset| self.is_of(offset, member)) {
                return Err(Refusal::NOT_LOCKED);
            }
            next = ack.last + 1;
        }
        let mut any = false;
        for ack in acks {
            for offset in ack.first.max(start)..=ack.last {
                match ack.of(offset) {
                    AckType::Accept => drop(self.set(offset, Mark::Acknowledged)),
                    AckType::Gap | AckType::Reject => drop(self.set(offset, Mark::Archived)),
                    AckType::Release => {
                        self.release(offset, limit);
                        any = true;
                    }
                    AckType::Renew => self.renew(offset, until),
                }
            }
        }
        self.advance();
        Ok(any)
    }

    /// Releases all that a member has acquired; whether there was anything.
    pub(in crate::testing::broker) fn release_all(&mut self, member: &Str, limit: u16) -> bool {
        let offsets = self.locks.iter().map(|(_, offset)| *offset);
        let held: Vec<i64> = offsets.filter(|offset| self.is_of(*offset, member)).collect();
        held.iter().for_each(|offset| self.release(*offset, limit));
        self.advance();
        !held.is_empty()
    }

    /// A record is free again, unless it has been delivered as often as may be.
    fn release(&mut self, offset: i64, limit: u16) {
        let is_last = self.records.get(&offset).is_some_and(|record| record.deliveries >= limit);
        self.set(offset, if is_last { Mark::Archived } else { Mark::Available });
    }

    /// The lock begins anew.
    fn renew(&mut self, offset: i64, until: Instant) {
        let Some(record) = self.records.get_mut(&offset) else { return };
        if let Mark::Acquired { until: held, .. } = &mut record.mark {
            self.locks.remove(&(*held, offset));
            self.locks.insert((until, offset));
            *held = until;
        }
    }

    // Records.

    /// Whether it may be acquired.
    fn is_free(&self, offset: i64) -> bool {
        offset >= self.end || self.records.get(&offset).is_some_and(|record| record.mark == Mark::Available)
    }

    /// Whether a member has acquired it.
    fn is_of(&self, offset: i64, by: &Str) -> bool {
        let record = self.records.get(&offset);
        record.is_some_and(|record| matches!(&record.mark, Mark::Acquired { member, .. } if member == by))
    }

    /// Marks a record, and returns how often it was delivered by now.
    fn set(&mut self, offset: i64, mark: Mark) -> u16 {
        let record = self.records.entry(offset).or_insert(Record { mark: Mark::Available, deliveries: 0 });
        if let Mark::Acquired { until, .. } = &record.mark {
            self.locks.remove(&(*until, offset));
        }
        if let Mark::Acquired { until, .. } = &mark {
            self.locks.insert((*until, offset));
            record.deliveries = record.deliveries.saturating_add(1);
        }
        record.mark = mark;
        record.deliveries
    }

    /// The start goes on behind what is done with.
    fn advance(&mut self) {
        while let Some(first) = self.records.first_entry()
            && matches!(first.get().mark, Mark::Acknowledged | Mark::Archived)
        {
            self.start = first.key() + 1;
            first.remove();
        }
    }

    /// Asserts what must hold between two steps.
    pub(in crate::testing::broker) fn check(&self) {
        debug_assert!(self.records.keys().copied().eq(self.start..self.end), "each in flight has a state");
        let held = self.records.iter().filter_map(|(offset, record)| match record.mark {
            Mark::Acquired { until, .. } => Some((until, *offset)),
            _ => None,
        });
        debug_assert_eq!(held.collect::<BTreeSet<_>>(), self.locks, "a lock for each that is acquired");
    }
}
