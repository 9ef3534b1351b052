//! The user's side: one call for records.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use super::{
    item::Open,
    shared::Hand,
    state::{Step, Take, take_batch, take_record},
};
use crate::{
    engine::partition::Spot,
    error::Result,
    message::{Batch, Message},
    sync::lock,
    types::{MemberMetadata, TopicPartition},
};

impl Hand {
    /// The next record; `None` once the consumer is closed.
    pub(crate) fn next(&self) -> Pull<'_, Message> {
        Pull { hand: self, take: take_record, stage: Stage::New }
    }

    /// The rest of the batch that is being read, or the next one; `None` once the consumer is closed.
    pub(crate) fn next_batch(&self) -> Pull<'_, Batch> {
        Pull { hand: self, take: take_batch, stage: Stage::New }
    }
}

/// What else the user asks, with no wait.
impl Hand {
    /// A paused partition keeps what waits, hands nothing out and is not fetched.
    pub(crate) fn pause(&self, partition: &TopicPartition, paused: bool) {
        self.change(|state, _| state.pause(partition, paused));
        self.wake.ring();
    }

    /// The membership under which the records were handed out that the user works on.
    pub(crate) fn membership(&self) -> Option<MemberMetadata> {
        lock(&self.state).membership.worked()
    }

    /// The partitions that are read now.
    pub(crate) fn assignment(&self) -> Vec<TopicPartition> {
        lock(&self.state).partitions()
    }

    /// The next offset to be handed out, where it is known.
    pub(crate) fn position(&self, partition: &TopicPartition) -> Option<Spot> {
        lock(&self.state).slot(partition)?.position
    }

    /// How many offsets lie between the position and the end of what may be read, where both are known.
    pub(crate) fn lag(&self, partition: &TopicPartition) -> Option<u64> {
        lock(&self.state).slot(partition)?.lag()
    }

    /// By how long what was handed out last is older than `unix_ms`, unless it was all there is.
    pub(crate) fn time_lag(&self, partition: &TopicPartition, unix_ms: i64) -> Option<Duration> {
        lock(&self.state).slot(partition)?.time_lag(unix_ms).map(Duration::from_millis)
    }
}

/// Takes one thing out of a [`Hand`] when it is there. Dropped before it is ready, it has taken nothing.
#[must_use = "futures do nothing unless polled"]
pub(crate) struct Pull<'a, T> {
    hand: &'a Hand,
    take: Take<T>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    New,
    Begun,
    /// Counted among those who wait.
    Waiting,
}

impl<T> Future for Pull<'_, T> {
    type Output = Option<Result<T>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let mut garbage = Vec::new();
        let mut ring = false;
        let mut state = lock(&this.hand.state);
        if this.stage == Stage::New {
            this.stage = Stage::Begun;
            ring = state.begin();
        }
        let outcome = loop {
            let mut open = None;
            match state.step(this.take, &mut open, &mut garbage) {
                Step::Ready(outcome) => break Poll::Ready(outcome),
                Step::Empty => break Poll::Pending,
                Step::Open(from) => {
                    let Some(mut item) = open else { continue };
                    drop(state);
                    let opening = item.open_next(from, this.hand.max_decompressed);
                    if let Some(Open { cursor, size, .. }) = &item.open {
                        this.hand.metrics.handed_out(&item.partition, cursor.left().into(), *size);
                    }
                    state = lock(&this.hand.state);
                    state.put_back(item, opening, &mut garbage);
                }
            }
        };
        let mut others = Vec::new();
        match (&outcome, this.stage) {
            (Poll::Ready(_), stage) => {
                state.membership.work();
                state.waiting -= usize::from(stage == Stage::Waiting);
                this.stage = Stage::Begun;
                // What this call has opened may be what another waits for.
                others = state.woken();
            }
            (Poll::Pending, stage) => {
                state.waiting += usize::from(stage != Stage::Waiting);
                this.stage = Stage::Waiting;
                state.wait(cx.waker());
            }
        }
        ring |= state.has_requests();
        drop(state);
        drop(garbage);
        others.into_iter().for_each(Waker::wake);
        if ring {
            this.hand.wake.ring();
        }
        outcome
    }
}

impl<T> Drop for Pull<'_, T> {
    fn drop(&mut self) {
        if self.stage == Stage::Waiting {
            lock(&self.hand.state).waiting -= 1;
        }
    }
}

impl<T> fmt::Debug for Pull<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pull").field("stage", &self.stage).finish_non_exhaustive()
    }
}
