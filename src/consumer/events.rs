//! What happens to a consumer, as a stream.

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_core::Stream;

use super::{handle::Consumer, inner::ConsumerHandle};
use crate::engine::hand::{ConsumerEvent, Hand};

/// Yields what happens to a consumer, and ends with it. From [`Consumer::events`].
#[must_use = "streams do nothing unless polled"]
pub struct ConsumerEvents {
    hand: Arc<Hand>,
}

impl Consumer {
    /// What happens to this consumer that its records do not show: rebalances and how long they took, partitions without a
    /// leader, throttling, records that were deleted before they were read, automatic commits that failed, and all errors
    /// that [`next`](Self::next) returns. For a task that logs or counts.
    ///
    /// The last 256 events are kept until they are taken, from the consumer's start on; older ones are dropped, which
    /// [`ConsumerEvent::Missed`] tells. Of several streams each event goes to one.
    ///
    /// ```no_run
    /// # fn example(consumer: &milena::Consumer) {
    /// let mut events = consumer.events();
    /// tokio::spawn(async move {
    ///     while let Some(event) = events.next().await {
    ///         println!("{event:?}");
    ///     }
    /// });
    /// # }
    /// ```
    pub fn events(&self) -> ConsumerEvents {
        self.handle.events()
    }
}

impl ConsumerHandle {
    /// As [`Consumer::events`].
    pub fn events(&self) -> ConsumerEvents {
        ConsumerEvents { hand: Arc::clone(&self.hand) }
    }
}

impl ConsumerEvents {
    /// The next event, as soon as there is one. `None` once the consumer has ended and all were taken.
    ///
    /// # Cancel safety
    /// Dropping the future loses no event.
    pub async fn next(&mut self) -> Option<ConsumerEvent> {
        poll_fn(|cx| self.hand.poll_event(cx)).await
    }
}

impl Stream for ConsumerEvents {
    type Item = ConsumerEvent;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.hand.poll_event(cx)
    }
}

impl fmt::Debug for ConsumerEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsumerEvents").finish_non_exhaustive()
    }
}
