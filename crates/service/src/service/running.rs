//! A service that runs.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use milena::{Client, Isolation, Offset, OffsetAndTimestamp, OffsetSpec, TopicPartition};
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

    /// Waits until everything is handled that is in the topics now, as far as the partitions are this instance's: for
    /// tests. Brokers are asked where the partitions end; while they do not answer it waits. What transactions have
    /// written that are open is not waited for.
    ///
    /// # Cancel safety
    /// Dropped, nothing changes.
    pub async fn settled(&self) {
        let ends = loop {
            match self.ends().await {
                Ok(ends) => break ends,
                Err(error) => tracing::debug!(%error, "it is not known yet where the topics end"),
            }
            pause().await;
        };
        loop {
            while !self.has_read(&ends) {
                pause().await;
            }
            // What was read before is in the lanes once the service's task has come round again.
            let round = self.shared.round.load(Ordering::SeqCst);
            while self.shared.round.load(Ordering::SeqCst) == round {
                self.shared.bell.notify_one();
                pause().await;
            }
            if self.shared.lanes().partitions().all(|(_, held)| held.records == 0) {
                return;
            }
        }
    }

    /// Where the partitions of the service's topics end.
    async fn ends(&self) -> milena::Result<BTreeMap<TopicPartition, Offset>> {
        let admin = self.client.admin();
        let mut partitions = Vec::new();
        for (topic, described) in admin.describe_topics(self.shared.routes.keys()).await? {
            let described = described?.partitions.into_iter();
            partitions.extend(
                described.map(|one| (TopicPartition::new(&topic, one.partition), OffsetSpec::Latest)),
            );
        }
        let listed = admin.list_offsets(partitions, Isolation::ReadCommitted).await?.into_iter();
        let end = |(partition, listed): (_, milena::Result<Option<OffsetAndTimestamp>>)| {
            Ok((partition, listed?.map_or(Offset(0), |listed| listed.offset)))
        };
        listed.map(end).collect()
    }

    /// Whether there are partitions that are this instance's, and all are read up to these ends.
    fn has_read(&self, ends: &BTreeMap<TopicPartition, Offset>) -> bool {
        let Some(consumer) = self.shared.consumer.get() else { return false };
        let is_read = |partition: &TopicPartition| {
            let end = ends.get(partition).copied().unwrap_or(Offset(0));
            consumer.position(partition).is_some_and(|position| position >= end)
                && consumer.lag(partition) == Some(0)
        };
        let assigned = consumer.assignment();
        !assigned.is_empty() && assigned.iter().all(is_read)
    }
}

#[expect(clippy::disallowed_methods, reason = "that everything is handled is not told but asked for")]
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
