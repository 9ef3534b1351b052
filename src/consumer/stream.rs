//! A consumer's records, or those of one of its partitions, as a stream.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_core::Stream;

use super::inner::ConsumerHandle;
use crate::{
    engine::hand::{Hand, Pull, Stage, Stay},
    error::{ErrorKind, Result},
    message::{Batch, Message},
    types::TopicPartition,
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

/// The records of one partition, for a task of its own: what [`Consumer::partition_stream`](super::Consumer::partition_stream)
/// returns. It ends when the partition is given up or lost, and when the consumer is closed or dropped.
///
/// While it lives, the records and errors of its partition come from it alone. Dropped, it leaves them to
/// [`Consumer::next`](super::Consumer::next) again.
#[must_use = "streams do nothing unless polled"]
pub struct PartitionStream {
    hand: Arc<Hand>,
    partition: TopicPartition,
    stay: Stay,
    /// Of the call that [`Stream::poll_next`] is in.
    stage: Stage,
}

impl ConsumerHandle {
    /// As [`Consumer::partition_stream`](super::Consumer::partition_stream).
    ///
    /// # Errors
    /// As there.
    pub fn partition_stream(&self, partition: &TopicPartition) -> Result<PartitionStream> {
        let not_assigned = || ErrorKind::NotAssigned { partition: partition.clone() };
        let stay = self.hand.open_stream(partition).ok_or_else(not_assigned)?;
        let (hand, partition) = (Arc::clone(&self.hand), partition.clone());
        Ok(PartitionStream { hand, partition, stay, stage: Stage::default() })
    }
}

impl PartitionStream {
    /// The partition.
    #[must_use]
    pub fn topic_partition(&self) -> &TopicPartition {
        &self.partition
    }

    /// The next record of the partition, as soon as there is one. `None` at the end.
    ///
    /// Calling it says that what this stream has handed out before is done with, unless records are
    /// [acknowledged](super::Commit::Acknowledged).
    ///
    /// # Errors
    /// Those of [`Consumer::next`](super::Consumer::next) that are about the partition. They do not end the stream.
    ///
    /// # Cancel safety
    /// Dropping the future loses no record.
    pub async fn next(&mut self) -> Option<Result<Message>> {
        tokio::task::consume_budget().await;
        self.hand.next_of(self.stay).await
    }

    /// The next run of records of the partition, or the rest of the one that [`next`](Self::next) is in.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    ///
    /// # Cancel safety
    /// As [`next`](Self::next).
    pub async fn next_batch(&mut self) -> Option<Result<Batch>> {
        tokio::task::consume_budget().await;
        self.hand.next_batch_of(self.stay).await
    }
}

impl Stream for PartitionStream {
    type Item = Result<Message>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self { hand, stay, stage, .. } = self.get_mut();
        hand.poll_next_of(*stay, stage, cx)
    }
}

impl Drop for PartitionStream {
    fn drop(&mut self) {
        self.hand.end_call(&mut self.stage);
        self.hand.close_stream(self.stay);
    }
}

impl fmt::Debug for PartitionStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartitionStream").field("partition", &self.partition).finish_non_exhaustive()
    }
}
