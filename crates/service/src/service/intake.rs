//! The service's task: reads records into the lanes, and has workers handle them.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use milena::{Batch, Consumer, Error, Message};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{self, Duration},
};

use super::{
    error::ServiceError,
    shared::{Record, Shared},
    worker,
};
use crate::{clock, dead_letter};

/// The service's task.
pub(super) struct Intake {
    shared: Arc<Shared>,
    stopping: watch::Receiver<bool>,
    workers: JoinSet<()>,
    hasher: RandomState,
    drain_timeout: Duration,
}

impl Intake {
    pub(super) fn new(shared: Arc<Shared>, drain_timeout: Duration) -> Self {
        let stopping = shared.stopping.subscribe();
        Self { shared, stopping, workers: JoinSet::new(), hasher: RandomState::new(), drain_timeout }
    }

    /// Works until the service is told to stop, or its consumer has failed for good; then lets what runs end, and leaves
    /// the group.
    pub(super) async fn run(mut self, consumer: &Consumer) -> Result<(), ServiceError> {
        let ended = self.read(consumer).await;
        // A service that fails stops as one that is told to.
        self.shared.stopping.send_replace(true);
        let until = clock::now() + self.drain_timeout;
        self.drain(until).await;
        let closed = consumer.close().await;
        ended.and_then(|()| closed.map_err(ServiceError::Client))
    }

    async fn read(&mut self, consumer: &Consumer) -> Result<(), ServiceError> {
        loop {
            self.shared.turns.fetch_add(1, Ordering::SeqCst);
            let (has_room, deadline) = self.arrange(consumer);
            let read = tokio::select! {
                biased;
                _ = self.stopping.wait_for(|stopping| *stopping) => return Ok(()),
                read = consumer.next_batch(), if has_room => read,
                () = self.shared.bell.notified() => continue,
                () = sleep_until(deadline), if deadline.is_some() => continue,
                Some(worker) = self.workers.join_next() => match worker {
                    Ok(()) => continue,
                    Err(_) => return Err(ServiceError::Panicked),
                },
            };
            match read {
                Some(Ok(batch)) => self.take(consumer, &batch),
                Some(Err(error)) => self.failed(error)?,
                None => return Err(ServiceError::Ended),
            }
        }
    }

    /// Brings lanes, workers and paused partitions up to date.
    fn arrange(&mut self, consumer: &Consumer) -> (bool, Option<Instant>) {
        let mut lanes = self.shared.lanes();
        lanes.tick(clock::now());
        let (pause, resume) = lanes.pauses();
        let hired = lanes.hire();
        let (has_room, deadline) = (lanes.has_room(), lanes.deadline());
        drop(lanes);
        if !pause.is_empty() {
            tracing::warn!(partitions = ?pause, "paused: records pile up behind one that cannot be handled");
            consumer.pause(&pause);
        }
        if !resume.is_empty() {
            consumer.resume(&resume);
        }
        for _ in 0..hired {
            self.workers.spawn(worker::work(Arc::clone(&self.shared)));
        }
        (has_room, deadline)
    }

    /// Puts records into their lanes.
    fn take(&self, consumer: &Consumer, batch: &Batch) {
        let Some(target) = self.shared.routes.get(batch.topic()) else { return };
        let now = clock::now();
        if !self.shared.standing().recovered(batch.topic_partition()) {
            return;
        }
        let mut lanes = self.shared.lanes();
        // A partition that was given up meanwhile is the next owner's.
        let Some(slot) = lanes.slot_of(batch.topic_partition()) else { return };
        for message in batch.messages() {
            let message = match message {
                Ok(message) => message,
                Err(error) => {
                    drop(lanes);
                    return self.broke(consumer, batch, &error);
                }
            };
            if is_for_another_group(&message, &self.shared.group) {
                message.ack();
                target.meters.outcome("skip", "");
                continue;
            }
            let key = message.key().map(|key| self.hasher.hash_one(key));
            let size = size(&message);
            let record = Record {
                message,
                target: Arc::clone(target),
                attempts: 0,
                first_failed_at: None,
                pending: None,
                stuck: 0,
                trouble: None,
            };
            lanes.offer(now, slot, key, record, size);
        }
    }

    /// A record does not parse. Nothing behind it is read; what comes all the same is not taken.
    fn broke(&self, consumer: &Consumer, batch: &Batch, error: &Error) {
        let partition = batch.topic_partition();
        tracing::error!(%partition, %error, "a record does not parse: its partition is read no further");
        self.shared.standing().broke(partition, error);
        consumer.pause(std::slice::from_ref(partition));
    }

    /// What the consumer could not do: all is lost, a partition stands still, or it tries again by itself.
    fn failed(&self, error: Error) -> Result<(), ServiceError> {
        if error.is_fatal() {
            tracing::error!(%error, "the consumer has failed");
            return Err(ServiceError::Client(error));
        }
        tracing::error!(%error, "the consumer cannot go on as it should");
        self.shared.standing().failed(&error);
        Ok(())
    }

    /// Lets what runs end. What has not begun is dropped at once: it is the next owner's.
    async fn drain(&mut self, until: Instant) {
        self.shared.lanes().drain();
        let drained = async { while self.workers.join_next().await.is_some() {} };
        #[expect(clippy::disallowed_methods, reason = "handlers are the user's, and may hang")]
        let ended = time::timeout_at(until.into(), drained).await;
        if ended.is_err() {
            let running = self.workers.len();
            tracing::warn!(running, timeout = ?self.drain_timeout, "handlers did not end in time (`drain_timeout`): their records are given back");
            self.workers.shutdown().await;
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the driver of the lanes")]
async fn sleep_until(deadline: Option<Instant>) {
    if let Some(deadline) = deadline {
        time::sleep_until(deadline.into()).await;
    }
}

/// A record that was redriven is the business of the group that could not handle it.
fn is_for_another_group(message: &Message, group: &str) -> bool {
    dead_letter::redriven_for(message).is_some_and(|named| named != group.as_bytes())
}

fn size(message: &Message) -> usize {
    let len = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
    len(message.key()) + len(message.value())
}
