//! A consumer's records as a stream.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use futures_core::Stream;

use crate::{
    engine::hand::{Hand, Pull},
    error::Result,
    message::Message,
};

/// Yields what [`Consumer::next`](super::Consumer::next) returns, and ends when the consumer is closed.
#[must_use = "streams do nothing unless polled"]
pub struct RecordStream<'a> {
    hand: &'a Hand,
    /// The call that is under way.
    pull: Option<Pull<'a, Message>>,
}

impl<'a> RecordStream<'a> {
    pub(super) fn new(hand: &'a Hand) -> Self {
        Self { hand, pull: None }
    }
}

impl Stream for RecordStream<'_> {
    type Item = Result<Message>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let pull = this.pull.get_or_insert_with(|| this.hand.next());
        let outcome = Pin::new(pull).poll(cx);
        if outcome.is_ready() {
            this.pull = None;
        }
        outcome
    }
}

impl fmt::Debug for RecordStream<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordStream").finish_non_exhaustive()
    }
}
