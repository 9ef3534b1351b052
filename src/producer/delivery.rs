//! The outcome of one record.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use crate::{
    engine::produce::{
        outcome::{BatchDone, Fate, Written, follow},
        queue::Appended,
    },
    error::{Error, Result},
    record::Record,
    sync::done::Waiting,
    types::{Offset, Partition},
};

/// Where a record was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delivered {
    /// The partition.
    pub partition: Partition,
    /// The offset; `None` where the broker does not say, as with [`Acks::None`](super::Acks::None).
    pub offset: Option<Offset>,
    /// The record's timestamp in milliseconds since the Unix epoch: the broker's on topics that use the append
    /// time, else the record's own.
    pub timestamp: i64,
}

/// A record on its way: a future of where it was written.
///
/// The record is sent whether this is awaited or not; dropping it cancels nothing.
///
/// # Errors
/// The future ends with [`ErrorKind::Undelivered`](crate::ErrorKind::Undelivered) when the delivery timeout has
/// passed, with [`ErrorKind::Broker`](crate::ErrorKind::Broker) or
/// [`ErrorKind::NotAuthorized`](crate::ErrorKind::NotAuthorized) when a broker refused the record for good, and with
/// [`ErrorKind::Closed`](crate::ErrorKind::Closed) when the producer ended first. [`Error::maybe_written`] tells
/// whether the record may be in the log all the same.
#[derive(Debug)]
#[must_use = "the outcome of a send is lost if the Delivery is dropped"]
pub struct Delivery {
    done: Arc<BatchDone>,
    index: u32,
    timestamp: i64,
    waiting: Waiting,
}

impl Delivery {
    pub(super) fn new(appended: Appended, timestamp: i64) -> Self {
        Self { done: appended.done, index: appended.index, timestamp, waiting: Waiting::default() }
    }

    /// The outcome, if it is there already.
    #[must_use]
    pub fn try_outcome(&self) -> Option<Result<Delivered>> {
        self.done.of(self.index).map(|outcome| outcome.map(|written| self.read(written)))
    }

    fn read(&self, written: Written) -> Delivered {
        Delivered {
            partition: self.done.partition.partition,
            offset: written.base_offset.map(Offset),
            timestamp: written.log_append_time.unwrap_or(self.timestamp),
        }
    }
}

impl Future for Delivery {
    type Output = Result<Delivered>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let mut waiting = std::mem::take(&mut self.waiting);
            let moved = match self.done.fate.poll(cx, &mut waiting) {
                Poll::Ready(Fate::Divided(stretches)) => {
                    follow(stretches, self.index).map(|(done, index)| (Arc::clone(done), index))
                }
                Poll::Ready(Fate::Ended(_)) => None,
                Poll::Pending => {
                    self.waiting = waiting;
                    return Poll::Pending;
                }
            };
            // The batch may have been taken apart: the record's outcome is then that of another.
            match moved {
                Some((done, index)) => (self.done, self.index) = (done, index),
                None => return self.try_outcome().map_or(Poll::Pending, Poll::Ready),
            }
        }
    }
}

/// A record that was not taken, with the reason.
#[derive(Debug)]
#[non_exhaustive]
pub struct TrySendError<'a> {
    /// The record, untouched.
    pub record: Record<'a>,
    /// The reason.
    pub error: Error,
}

impl std::fmt::Display for TrySendError<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for TrySendError<'_> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}
