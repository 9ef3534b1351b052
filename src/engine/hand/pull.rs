//! The user's side: one call for records.

use std::{
    fmt, mem,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use super::{
    item::Open,
    shared::Hand,
    state::{Step, Take, take_batch, take_record},
    types::Stay,
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
        Pull { hand: self, take: take_record, only: None, stage: Stage::New }
    }

    /// The next record of this partition alone; `None` once it is given up or the consumer is closed.
    pub(crate) fn next_of(&self, stay: Stay) -> Pull<'_, Message> {
        Pull { hand: self, take: take_record, only: Some(stay), stage: Stage::New }
    }

    /// As [`next_batch`](Self::next_batch), of this partition alone.
    pub(crate) fn next_batch_of(&self, stay: Stay) -> Pull<'_, Batch> {
        Pull { hand: self, take: take_batch, only: Some(stay), stage: Stage::New }
    }

    /// As [`next_of`](Self::next_of), for a caller that keeps the stage, and says [`end_call`](Self::end_call) in the end.
    pub(crate) fn poll_next_of(
        &self,
        stay: Stay,
        stage: &mut Stage,
        cx: &Context<'_>,
    ) -> Poll<Option<Result<Message>>> {
        poll_pull(self, take_record, Some(stay), stage, cx)
    }

    pub(crate) fn end_call(&self, stage: &mut Stage) {
        if mem::take(stage) == Stage::Waiting {
            lock(&self.state).waiting -= 1;
        }
    }

    /// The rest of the batch that is being read, or the next one; `None` once the consumer is closed.
    pub(crate) fn next_batch(&self) -> Pull<'_, Batch> {
        Pull { hand: self, take: take_batch, only: None, stage: Stage::New }
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
        lock(&self.state).partitions(Some(false))
    }

    /// The partitions that are read beside those that the group assigns, in order.
    pub(crate) fn companions(&self) -> Vec<TopicPartition> {
        lock(&self.state).partitions(Some(true))
    }

    /// All partitions that are read, in order.
    pub(crate) fn partitions(&self) -> Vec<TopicPartition> {
        lock(&self.state).partitions(None)
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
    /// Of which partition alone.
    only: Option<Stay>,
    stage: Stage,
}

/// How far a call has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stage {
    #[default]
    New,
    Begun,
    /// Counted among those who wait.
    Waiting,
}

impl<T> Future for Pull<'_, T> {
    type Output = Option<Result<T>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { hand, take, only, stage } = self.get_mut();
        poll_pull(hand, *take, *only, stage, cx)
    }
}

/// One step of a call.
fn poll_pull<T>(
    hand: &Hand,
    take: Take<T>,
    only: Option<Stay>,
    stage: &mut Stage,
    cx: &Context<'_>,
) -> Poll<Option<Result<T>>> {
    let mut garbage = Vec::new();
    let mut ring = false;
    let mut state = lock(&hand.state);
    if *stage == Stage::New {
        *stage = Stage::Begun;
        ring = state.begin(only);
    }
    let outcome = loop {
        let mut open = None;
        match state.step(take, only, &mut open, &mut garbage) {
            Step::Ready(outcome) => break Poll::Ready(outcome),
            Step::Empty => break Poll::Pending,
            Step::Open(from) => {
                let Some(mut item) = open else { continue };
                drop(state);
                let opening = item.open_next(from, hand.max_decompressed);
                if let Some(Open { cursor, size, .. }) = &item.open {
                    hand.metrics.handed_out(&item.partition, cursor.left().into(), *size);
                }
                state = lock(&hand.state);
                state.put_back(item, opening, &mut garbage);
            }
        }
    };
    let mut others = Vec::new();
    match &outcome {
        Poll::Ready(_) => {
            state.membership.work();
            state.waiting -= usize::from(*stage == Stage::Waiting);
            *stage = Stage::New;
            // What this call has opened may be what another waits for.
            others = state.woken();
        }
        Poll::Pending => {
            state.waiting += usize::from(*stage != Stage::Waiting);
            *stage = Stage::Waiting;
            state.wait(cx.waker(), only);
        }
    }
    ring |= state.has_requests();
    drop(state);
    drop(garbage);
    others.into_iter().for_each(Waker::wake);
    if ring {
        hand.wake.ring();
    }
    outcome
}

impl<T> Drop for Pull<'_, T> {
    fn drop(&mut self) {
        self.hand.end_call(&mut self.stage);
    }
}

impl<T> fmt::Debug for Pull<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pull").field("stage", &self.stage).finish_non_exhaustive()
    }
}
