//! Where the handles of a table and its task meet.

use std::{
    future::Future,
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Duration,
};

use milena::{Partition, TopicName};
use tokio::sync::{Notify, watch};

use super::{error::TableError, view::View};

/// What the task of a table keeps, and its handles look at.
#[derive(Debug)]
pub(super) struct Shared<K, V> {
    pub(super) topic: TopicName,
    view: RwLock<View<K, V>>,
    /// Sent with everything that happens: entries, progress, failure, end.
    news: watch::Sender<News>,
    /// Has the task look how far the partitions are read.
    pub(super) look: Notify,
}

/// How a table stands.
#[derive(Clone, Debug, Default)]
pub(super) struct News {
    /// Whether the task has ended.
    pub(super) has_ended: bool,
    /// What the client has told last, and goes on from.
    pub(super) last_error: Option<milena::Error>,
}

impl<K: Ord + Clone, V> Shared<K, V> {
    pub(super) fn new(topic: TopicName, view: View<K, V>) -> Self {
        let news = watch::Sender::new(News::default());
        Self { topic, view: RwLock::new(view), news, look: Notify::new() }
    }

    /// For a look only: nothing of the user's but `Ord` is called under the lock, and nothing waits.
    pub(super) fn view(&self) -> RwLockReadGuard<'_, View<K, V>> {
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`view`](Self::view), to change something; [`tell`](Self::tell) follows.
    pub(super) fn view_mut(&self) -> RwLockWriteGuard<'_, View<K, V>> {
        self.view.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn news(&self) -> watch::Receiver<News> {
        self.news.subscribe()
    }

    /// Wakes whoever waits for the table.
    pub(super) fn tell(&self, change: impl FnOnce(&mut News)) {
        self.news.send_modify(change);
    }

    /// The table goes no further, for this reason unless there was one before.
    pub(super) fn fail(&self, failure: TableError) {
        self.view_mut().fail(failure);
        self.tell(|_| {});
    }

    pub(super) fn stopped(&self) -> TableError {
        TableError::Stopped { topic: self.topic.clone() }
    }

    /// Waits until the view says so, or has failed.
    pub(super) async fn wait_until<T>(
        &self,
        is_so: impl Fn(&View<K, V>) -> Option<T>,
    ) -> Result<T, TableError> {
        let mut news = self.news();
        loop {
            {
                let view = self.view();
                if let Some(outcome) = is_so(&view) {
                    return Ok(outcome);
                }
                if let Some(failure) = view.failure() {
                    return Err(failure.clone());
                }
            }
            if news.changed().await.is_err() {
                return Err(self.stopped());
            }
        }
    }

    /// Has the task look for a partition's progress until what is returned is dropped.
    pub(super) fn watch(&self, partition: Partition) -> Watching<'_, K, V> {
        self.view_mut().watch(partition);
        self.look.notify_one();
        Watching { shared: self, partition }
    }
}

/// That somebody waits for something of a partition.
pub(super) struct Watching<'a, K: Ord + Clone, V> {
    shared: &'a Shared<K, V>,
    partition: Partition,
}

impl<K: Ord + Clone, V> Drop for Watching<'_, K, V> {
    fn drop(&mut self) {
        self.shared.view_mut().unwatch(self.partition);
    }
}

/// What a future gives within this time; `None` if it takes longer.
#[expect(clippy::disallowed_methods, reason = "whoever waits for a table says for how long")]
pub(super) async fn within<T>(timeout: Duration, future: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(timeout, future).await.ok()
}
