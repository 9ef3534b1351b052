//! The task of a table: moves records from the reader to the view.

use std::{future::Future, future::poll_fn, pin::pin, sync::Arc, task::Poll, time::Duration};

use milena::{Batch, Consumer, ErrorKind, Message, Offset, Position, TopicPartition};
use tokio::sync::watch;

use super::{
    decode::Decode,
    error::TableError,
    position::LogPosition,
    shared::Shared,
    view::{Change, Run},
};
use crate::clock;

/// How many records are applied at once, between which those who look at the table, and other tasks, have their turn.
const RUN: usize = 512;
/// Where nothing is written entries go in groups, so that a table of many does not wake for each.
const EXPIRY_PACE: Duration = Duration::from_secs(1);

/// What a table does with a record that cannot be decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnUndecodable {
    /// The table fails: it keeps what it has, and goes no further.
    #[default]
    Fail,
    /// The record is passed, counted and warned of. If it has replaced another one of its key, that stays in the table.
    Skip,
}

pub(super) struct Driver<K: Ord + Clone, V, D> {
    pub(super) reader: Consumer,
    pub(super) decode: D,
    pub(super) shared: Arc<Shared<K, V>>,
    pub(super) on_undecodable: OnUndecodable,
}

/// What the task goes on with.
enum Next {
    Batch(Option<milena::Result<Batch>>),
    /// Somebody waits for a partition.
    Look,
    Expiry,
    Stop,
}

impl<K, V, D> Driver<K, V, D>
where
    K: Ord + Clone + Send + Sync + 'static,
    V: Send + Sync + 'static,
    D: Decode<K, V>,
{
    /// Runs until `stop` turns true or closes, or the table fails.
    pub(super) async fn run(self, mut stop: watch::Receiver<bool>) {
        let failure = loop {
            let expiry = self.shared.view().next_expiry();
            let pulled = async { Next::Batch(self.pull().await) };
            let next = tokio::select! {
                // Whoever stops a table does not wait for what there is still to read.
                biased;
                _ = stop.wait_for(|stop| *stop) => Next::Stop,
                next = pulled => next,
                () = self.shared.look.notified() => Next::Look,
                () = self.expiry_due(expiry) => Next::Expiry,
            };
            let outcome = match next {
                Next::Batch(Some(Ok(batch))) => self.take(&batch).await,
                Next::Batch(Some(Err(error))) => self.judge(error).await,
                Next::Batch(None) | Next::Stop => Err(self.shared.stopped()),
                Next::Look => Ok(()),
                Next::Expiry => {
                    self.expire();
                    Ok(())
                }
            };
            if let Err(failure) = outcome {
                break failure;
            }
        };
        match &failure {
            TableError::Stopped { topic } => tracing::debug!(%topic, "a table stops"),
            failure => {
                let (topic, error) = (&self.shared.topic, failure as &dyn std::error::Error);
                tracing::error!(%topic, error, "a table has failed");
            }
        }
        self.shared.fail(failure);
        // It fails if the client is closed; then the reader is as well.
        let _ = self.reader.close().await;
    }

    /// The next batch. Whenever there is none, looks at how far the reader has got: then everything that it has handed
    /// out is applied, and its positions may have passed markers, aborted records and what was compacted away.
    async fn pull(&self) -> Option<milena::Result<Batch>> {
        let mut next = pin!(self.reader.next_batch());
        poll_fn(|context| match next.as_mut().poll(context) {
            Poll::Pending => {
                self.look();
                Poll::Pending
            }
            ready => ready,
        })
        .await
    }

    fn look(&self) {
        let awaited = self.shared.view().awaited();
        if awaited.is_empty() {
            return;
        }
        let position = |partition| {
            let at = self.reader.position(&TopicPartition::new(self.shared.topic.clone(), partition))?;
            Some((partition, at))
        };
        let positions: Vec<_> = awaited.into_iter().filter_map(position).collect();
        let is_news = {
            let mut view = self.shared.view_mut();
            positions.into_iter().fold(false, |news, (partition, at)| view.passed(partition, at) | news)
        };
        if is_news {
            self.shared.tell(|_| {});
        }
    }

    async fn take(&self, batch: &Batch) -> Result<(), TableError> {
        let mut records = batch.messages();
        let mut is_over = false;
        while !is_over {
            let mut changes = Vec::new();
            let mut skipped = 0;
            let mut next = batch.first_offset();
            let mut failure = None;
            loop {
                let Some(record) = records.next() else {
                    (next, is_over) = (batch.next_offset(), true);
                    break;
                };
                let decoded = record.map_err(|error| self.client(error)).and_then(|record| {
                    next = record.offset();
                    self.decode(&record)
                });
                match decoded {
                    Ok(Some(change)) => changes.push(change),
                    Ok(None) => skipped += 1,
                    Err(error) => {
                        (failure, is_over) = (Some(error), true);
                        break;
                    }
                }
                next = Offset(next.0.saturating_add(1));
                if changes.len() + usize::try_from(skipped).unwrap_or(RUN) >= RUN {
                    break;
                }
            }
            let partition = batch.partition();
            self.apply(Run { partition, changes, next, undecodable: skipped })?;
            if let Some(failure) = failure {
                return Err(failure);
            }
            if !is_over {
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    /// What a record says; `None` if it is to be skipped.
    fn decode(&self, record: &Message) -> Result<Option<Change<K, V>>, TableError> {
        let decoded = self.decode.key(record).and_then(|key| {
            let value = record.value().map(|_| self.decode.value(record)).transpose()?;
            Ok(Change { offset: record.offset(), timestamp: record.timestamp(), key, value })
        });
        match (decoded, self.on_undecodable) {
            (Ok(change), _) => Ok(Some(change)),
            (Err(error), OnUndecodable::Skip) => {
                let at = LogPosition::from(record);
                tracing::warn!(%at, error = &*error as &dyn std::error::Error, "a table skips a record");
                Ok(None)
            }
            (Err(error), OnUndecodable::Fail) => {
                Err(TableError::Undecodable { at: record.into(), error: error.into() })
            }
        }
    }

    fn apply(&self, run: Run<K, V>) -> Result<(), TableError> {
        let partition = run.partition;
        let now_ms = clock::unix_ms();
        let applied = self.shared.view_mut().apply(run, now_ms);
        drop(applied.replaced);
        self.shared.tell(|news| news.last_error = None);
        match applied.too_many {
            None => Ok(()),
            Some(offset) => {
                let at = (TopicPartition::new(self.shared.topic.clone(), partition), offset).into();
                let limit = self.shared.view().max_entries();
                Err(TableError::Full { at, limit, setting: "max_entries" })
            }
        }
    }

    /// Goes on behind an error that passes; `Err` for one that does not.
    async fn judge(&self, error: milena::Error) -> Result<(), TableError> {
        match error.kind() {
            // Retention was quicker than the first fetch. Nothing was read yet, so nothing is missed.
            ErrorKind::OffsetOutOfRange { partition, .. }
                if !self.shared.view().has_read(partition.partition) =>
            {
                let seek = self.reader.seek(&[(partition.clone(), Position::Earliest)]).await;
                seek.map_err(|error| self.client(error))
            }
            ErrorKind::UnknownTopic { .. } => Err(self.client(error)),
            kind if error.is_retriable() || is_asked_again(kind) => {
                tracing::warn!(topic = %self.shared.topic, %error, "a table cannot read now");
                self.shared.tell(|news| news.last_error = Some(error));
                Ok(())
            }
            _ => Err(self.client(error)),
        }
    }

    fn client(&self, error: milena::Error) -> TableError {
        TableError::Client { topic: self.shared.topic.clone(), error }
    }

    fn expire(&self) {
        let now_ms = clock::unix_ms();
        let expired = self.shared.view_mut().expire(now_ms);
        if !expired.is_empty() {
            self.shared.tell(|_| {});
        }
    }

    /// Waits until entries go, of which the next does so at this time of day.
    async fn expiry_due(&self, next: Option<i64>) {
        let Some(next) = next else { return std::future::pending().await };
        let wait = u64::try_from(next.saturating_sub(clock::unix_ms())).unwrap_or(0);
        let wait = Duration::from_millis(wait).max(EXPIRY_PACE);
        #[expect(
            clippy::disallowed_methods,
            reason = "this is how the driver waits for the view's deadline"
        )]
        tokio::time::sleep(wait).await;
    }
}

/// Whether the reader asks again by itself after such an error, although it may well come again: a broker that refuses,
/// or sends garbage. What ends the reading of a partition is told as something else.
const fn is_asked_again(kind: &ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Broker { .. }
            | ErrorKind::NotKafka { .. }
            | ErrorKind::FrameSize { .. }
            | ErrorKind::Malformed { .. }
    )
}

/// However the task ends, nobody waits for it any more.
impl<K: Ord + Clone, V, D> Drop for Driver<K, V, D> {
    fn drop(&mut self) {
        let stopped = self.shared.stopped();
        self.shared.view_mut().fail(stopped);
        self.shared.tell(|news| news.has_ended = true);
    }
}
