//! A service that runs.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use milena::{Client, Offset, TopicPartition};
use tokio::task::JoinHandle;

use super::{error::ServiceError, health::Health, report::Report, shared::Shared};

/// A service that runs. Dropped, it stops on its own: what runs ends, and the group is left.
pub struct Running {
    client: Client,
    shared: Arc<Shared>,
    health: Health,
    task: Option<JoinHandle<Result<(), ServiceError>>>,
}

impl Running {
    pub(super) const fn new(
        client: Client,
        shared: Arc<Shared>,
        health: Health,
        task: JoinHandle<Result<(), ServiceError>>,
    ) -> Self {
        Self { client, shared, health, task: Some(task) }
    }

    /// Whether the service is live and ready.
    #[must_use]
    pub fn health(&self) -> Health {
        self.health.clone()
    }

    /// The numbers of the service, and of its client, as a page that Prometheus reads.
    #[must_use]
    pub fn metrics(&self) -> String {
        self.report().page()
    }

    pub(crate) fn report(&self) -> Report {
        Report::new(Arc::clone(&self.shared), self.client.clone())
    }

    /// The service is no longer ready, so that nobody sends it anything more.
    #[cfg(feature = "axum")]
    pub(crate) fn announce_stop(&self) {
        self.shared.standing().is_leaving = true;
    }

    /// The service stops; [`stop`](Self::stop) waits for it.
    fn begin_to_stop(&self) {
        self.shared.stopping.send_replace(true);
    }

    /// Stops the service: nothing more is read, handlers that run end, offsets are committed, the group is left, and what
    /// was published is acknowledged. Handlers that do not end within
    /// [`drain_timeout`](super::Service::drain_timeout) are dropped.
    ///
    /// # Errors
    /// Why the service had ended already, and what went wrong while it stopped.
    ///
    /// # Cancel safety
    /// Once polled, the service stops whether or not this is dropped.
    pub async fn stop(mut self) -> Result<(), ServiceError> {
        self.begin_to_stop();
        self.ended().await
    }

    /// Waits until the service has ended: because it has failed, or was [told](Self::health) to stop.
    ///
    /// # Errors
    /// Why it has failed.
    ///
    /// # Cancel safety
    /// Dropped, the service goes on.
    pub async fn ended(&mut self) -> Result<(), ServiceError> {
        let Some(task) = &mut self.task else { return Ok(()) };
        let ended = task.await;
        self.task = None;
        ended.unwrap_or(Err(ServiceError::Panicked))
    }

    /// Waits until everything is handled that is in the topics now, or the service has ended: for tests. Of the topics'
    /// partitions, those count that this service has.
    ///
    /// # Cancel safety
    /// Dropped, nothing changes.
    pub async fn settled(&self) {
        let ends = loop {
            match self.ends().await {
                Some(ends) => break ends,
                None if self.has_ended() => return,
                None => pause().await,
            }
        };
        while !self.has_read(&ends) && !self.has_ended() {
            pause().await;
        }
        // What was handed out a moment ago is in the lanes when the service's task has its next turn.
        let turn = self.shared.turns.load(Ordering::SeqCst);
        self.shared.bell.notify_one();
        while !self.has_ended() && (self.shared.turns.load(Ordering::SeqCst) == turn || !self.is_idle()) {
            pause().await;
        }
    }

    fn has_ended(&self) -> bool {
        !self.shared.standing().is_alive
    }

    /// Where the partitions end that the service has. Brokers are asked: what the last fetch has told may be older than
    /// what was written since.
    async fn ends(&self) -> Option<BTreeMap<TopicPartition, Offset>> {
        let consumer = self.shared.consumer.get()?;
        let assigned = consumer.assignment();
        if assigned.is_empty() { None } else { consumer.end_offsets(&assigned).await.ok() }
    }

    fn has_read(&self, ends: &BTreeMap<TopicPartition, Offset>) -> bool {
        let Some(consumer) = self.shared.consumer.get() else { return false };
        let assigned = consumer.assignment();
        !assigned.is_empty()
            && assigned.iter().all(|partition| {
                let is_there = consumer.position(partition).as_ref() >= ends.get(partition);
                is_there && consumer.lag(partition) == Some(0)
            })
    }

    fn is_idle(&self) -> bool {
        self.shared.lanes().partitions().all(|(_, held)| held.records == 0)
    }
}

#[expect(clippy::disallowed_methods, reason = "the end of a log is not told but asked for")]
async fn pause() {
    tokio::time::sleep(Duration::from_millis(10)).await;
}

impl Drop for Running {
    fn drop(&mut self) {
        self.begin_to_stop();
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("group", &self.shared.group)
            .field("health", &self.health)
            .finish_non_exhaustive()
    }
}

/// Waits for SIGTERM or Ctrl-C.
#[cfg(unix)]
pub(crate) async fn told_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminated) = signal(SignalKind::terminate()) else {
        tracing::warn!("SIGTERM cannot be listened for");
        return interrupted().await;
    };
    tokio::select! {
        _ = terminated.recv() => {}
        () = interrupted() => {}
    }
}

/// Waits for Ctrl-C.
#[cfg(not(unix))]
pub(crate) async fn told_to_stop() {
    interrupted().await;
}

async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        tracing::warn!("Ctrl-C cannot be listened for");
        std::future::pending::<()>().await;
    }
}
