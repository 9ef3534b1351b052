//! Hands acquired records from the driver's side to the user's side, and the user's decisions back.
//!
//! As in [`Hand`](super::hand), both sides meet under one lock that is held over no decompression and no wait. A record that
//! was handed out is *undecided* until its user says what becomes of it, or, where that is implied, until the next call.

mod item;

use std::{
    collections::{BTreeSet, VecDeque},
    mem,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Instant,
};

use item::{Item, Taken};

use super::{
    hand::{ConsumerEvent, Events, failed},
    share::{Decision, Fetched, Stay, Verdict},
};
use crate::{
    error::{Error, Result},
    message::{Message, corrupt_batch},
    metrics::Metrics,
    sync::{enlist, lock, wake::Wake},
    types::TopicPartition,
    wire::batch::BatchError,
};

/// A record on its way to the user.
#[derive(Debug)]
pub(crate) struct Handed {
    pub(crate) message: Message,
    pub(crate) stay: Stay,
    /// How often it was delivered, this time included.
    pub(crate) deliveries: u16,
}

/// Where the two sides meet.
#[derive(Debug)]
pub(crate) struct ShareHand {
    state: Mutex<State>,
    events: Events,
    /// Rings the driver.
    wake: Arc<Wake>,
    max_decompressed: usize,
    /// More is got when no more records than this wait to be handed out.
    low: usize,
    /// Whether users decide of each record; else the next call accepts what was handed out before.
    is_explicit: bool,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct State {
    /// In the order in which it came.
    queue: VecDeque<Item>,
    /// Offsets in it that were acquired.
    waiting_records: usize,
    undecided: BTreeSet<(Stay, i64)>,
    decisions: Vec<Decision>,
    errors: VecDeque<(Option<TopicPartition>, Error)>,
    /// Why the consumer cannot go on.
    blocked: Option<Error>,
    closed: bool,
    waiters: Vec<Waker>,
    /// Calls that wait.
    waiting: usize,
    /// Whether somebody has called since more was asked for.
    is_pulled: bool,
}

/// How far a call has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ShareStage {
    #[default]
    New,
    Begun,
    /// Counted among those who wait.
    Waiting,
}

// ---- the driver's side -----------------------------------------------------------------------------------------------

impl ShareHand {
    pub(crate) fn new(
        wake: Arc<Wake>,
        max_decompressed: usize,
        max_records: usize,
        is_explicit: bool,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (state, events) = (Mutex::default(), Events::default());
        Self { state, events, wake, max_decompressed, low: max_records / 2, is_explicit, metrics }
    }

    pub(crate) fn deliver(&self, fetched: Fetched) {
        self.metrics.fetched(&fetched.partition, fetched.records.len());
        self.change(|state| {
            if !state.closed {
                let item = Item::new(fetched);
                state.waiting_records += item.left();
                state.queue.push_back(item);
            }
        });
    }

    /// Whether more records are wanted.
    pub(crate) fn wants(&self) -> bool {
        let state = lock(&self.state);
        !state.closed && (state.waiting > 0 || state.is_pulled) && state.waiting_records <= self.low
    }

    /// More has been asked for.
    pub(crate) fn has_asked(&self) {
        lock(&self.state).is_pulled = false;
    }

    pub(crate) fn take_decisions(&self) -> Vec<Decision> {
        mem::take(&mut lock(&self.state).decisions)
    }

    /// The partition is not read in this stay any more: what waits of it is dropped, and for others if `release`.
    pub(crate) fn end(&self, stay: Stay, release: bool) {
        let dropped = self.change(|state| {
            let dropped = state.drop_those(|item| item.stay == stay);
            if release {
                dropped.iter().for_each(|item| state.decisions.extend(item.rest(Verdict::Release)));
            }
            dropped
        });
        drop(dropped);
    }

    /// Drops what waits and is for others already, since its locks have ended.
    pub(crate) fn expire(&self, now: Instant) {
        let dropped = self.change(|state| state.drop_those(|item| item.until <= now));
        for item in &dropped {
            let (partition, records) = (&item.partition, item.left());
            tracing::warn!(%partition, records, "records waited until their locks ended: they are for others");
        }
    }

    /// When the next locks end of what waits.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        lock(&self.state).queue.iter().map(|item| item.until).min()
    }

    /// Everything that was handed out is accepted, where that is implied.
    pub(crate) fn settle(&self) {
        if !self.is_explicit {
            lock(&self.state).accept_all();
        }
    }

    /// Reports an error to the next call. A newer one about the same takes the place of one that was not seen yet.
    pub(crate) fn fail(&self, about: Option<TopicPartition>, error: Error) {
        self.tell(failed(about.as_ref(), &error));
        self.change(|state| state.fail(about, error));
    }

    /// From now on every call that finds no record returns this error.
    pub(crate) fn block(&self, error: Error) {
        self.tell(failed(None, &error));
        self.change(|state| state.blocked = Some(error));
    }

    /// Drops what waits. From now on calls return `None`.
    pub(crate) fn close(&self) {
        let dropped = self.change(|state| {
            state.closed = true;
            state.errors.clear();
            state.drop_those(|_| true)
        });
        drop(dropped);
    }

    pub(crate) fn tell(&self, event: ConsumerEvent) {
        self.events.tell(event);
    }

    pub(crate) fn tell_no_more(&self) {
        self.events.end();
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let (outcome, waiters) = {
            let mut state = lock(&self.state);
            (change(&mut state), state.woken())
        };
        waiters.into_iter().for_each(Waker::wake);
        outcome
    }
}

// ---- the user's side -------------------------------------------------------------------------------------------------

impl ShareHand {
    /// One step of a call for the next record; `None` once the consumer is closed.
    pub(crate) fn poll_next(&self, stage: &mut ShareStage, cx: &Context<'_>) -> Poll<Option<Result<Handed>>> {
        let mut ring = false;
        let mut state = lock(&self.state);
        if *stage == ShareStage::New {
            *stage = ShareStage::Begun;
            ring = state.begin(self.is_explicit, self.low);
        }
        let outcome = loop {
            if let Some((_, error)) = state.errors.pop_front() {
                break Poll::Ready(Some(Err(error)));
            }
            let Some(mut item) = state.pop() else { break state.nothing() };
            match item.take(&mut state.decisions) {
                Taken::Record { message, deliveries } => {
                    let stay = item.stay;
                    state.undecided.insert((stay, message.offset().0));
                    state.put_back(item);
                    break Poll::Ready(Some(Ok(Handed { message, stay, deliveries })));
                }
                Taken::Nothing => {
                    drop(state);
                    let opened = item.open_next(self.max_decompressed);
                    if let Some(size) = item.opened_size() {
                        self.metrics.handed_out(&item.partition, item.opened_records(), size);
                    }
                    state = lock(&self.state);
                    match opened {
                        Ok(true) => state.put_back(item),
                        // What was acquired of it holds no records.
                        Ok(false) => state.decisions.extend(item.rest(Verdict::Gap)),
                        Err(error) => state.fault(&item, &error),
                    }
                }
                Taken::Fault(error) => state.fault(&item, &error),
            }
        };
        match &outcome {
            Poll::Ready(_) => {
                state.waiting -= usize::from(*stage == ShareStage::Waiting);
                *stage = ShareStage::New;
            }
            Poll::Pending => {
                state.waiting += usize::from(*stage != ShareStage::Waiting);
                *stage = ShareStage::Waiting;
                ring = true;
                enlist(&mut state.waiters, cx.waker());
            }
        }
        drop(state);
        if ring {
            self.wake.ring();
        }
        outcome
    }

    /// The call is over, or given up.
    pub(crate) fn end_call(&self, stage: &mut ShareStage) {
        if mem::take(stage) == ShareStage::Waiting {
            lock(&self.state).waiting -= 1;
        }
    }

    /// Decides of a record that was handed out, unless that was done already.
    pub(crate) fn decide(&self, stay: Stay, offset: i64, verdict: Verdict) {
        let is_new = {
            let mut state = lock(&self.state);
            let is_undecided = match verdict {
                Verdict::Renew => state.undecided.contains(&(stay, offset)),
                _ => state.undecided.remove(&(stay, offset)),
            };
            if is_undecided {
                state.decisions.push(Decision { stay, first: offset, last: offset, verdict });
            }
            is_undecided
        };
        if is_new {
            self.wake.ring();
        }
    }

    /// A record is dropped of which nothing was said: it is for others, unless the next call accepts it.
    pub(crate) fn dropped(&self, stay: Stay, offset: i64) {
        if self.is_explicit {
            self.decide(stay, offset, Verdict::Release);
        }
    }

    pub(crate) fn poll_event(&self, cx: &Context<'_>) -> Poll<Option<ConsumerEvent>> {
        self.events.poll(cx)
    }
}

impl State {
    /// A call begins. Whether to ring the driver.
    fn begin(&mut self, is_explicit: bool, low: usize) -> bool {
        let was_pulled = mem::replace(&mut self.is_pulled, true);
        let has_news = !is_explicit && self.accept_all();
        has_news || (!was_pulled && self.waiting_records <= low)
    }

    /// Whether there was anything undecided.
    fn accept_all(&mut self) -> bool {
        let undecided = mem::take(&mut self.undecided);
        let has_any = !undecided.is_empty();
        for (stay, offset) in undecided {
            match self.decisions.last_mut() {
                Some(last)
                    if last.stay == stay && last.last + 1 == offset && last.verdict == Verdict::Accept =>
                {
                    last.last = offset;
                }
                _ => self.decisions.push(Decision {
                    stay,
                    first: offset,
                    last: offset,
                    verdict: Verdict::Accept,
                }),
            }
        }
        has_any
    }

    fn pop(&mut self) -> Option<Item> {
        let item = self.queue.pop_front()?;
        self.waiting_records = self.waiting_records.saturating_sub(item.left());
        Some(item)
    }

    fn put_back(&mut self, item: Item) {
        if item.left() > 0 && !self.closed {
            self.waiting_records += item.left();
            self.queue.push_front(item);
        }
    }

    fn nothing<T>(&self) -> Poll<Option<Result<T>>> {
        match &self.blocked {
            _ if self.closed => Poll::Ready(None),
            Some(error) => Poll::Ready(Some(Err(error.clone()))),
            None => Poll::Pending,
        }
    }

    /// A batch does not read. What is left of its answer is for another try, until it was tried too often.
    fn fault(&mut self, item: &Item, error: &BatchError) {
        let partition = item.partition.clone();
        tracing::warn!(%partition, %error, "a batch does not read");
        self.decisions.extend(item.rest(Verdict::Release));
        let error = corrupt_batch(&partition, error);
        self.fail(Some(partition), error);
    }

    fn fail(&mut self, about: Option<TopicPartition>, error: Error) {
        match self.errors.iter_mut().find(|(other, _)| *other == about) {
            Some(entry) => entry.1 = error,
            None => self.errors.push_back((about, error)),
        }
    }

    fn drop_those(&mut self, is_dropped: impl Fn(&Item) -> bool) -> Vec<Item> {
        let (dropped, kept): (Vec<Item>, Vec<Item>) =
            mem::take(&mut self.queue).into_iter().partition(is_dropped);
        self.queue = kept.into();
        self.waiting_records = self.queue.iter().map(Item::left).sum();
        dropped
    }

    /// Those to wake, if there may be something for them.
    fn woken(&mut self) -> Vec<Waker> {
        let has_news =
            !self.queue.is_empty() || !self.errors.is_empty() || self.blocked.is_some() || self.closed;
        if has_news { mem::take(&mut self.waiters) } else { Vec::new() }
    }
}

#[cfg(test)]
mod tests;
