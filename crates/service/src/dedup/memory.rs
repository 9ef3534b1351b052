//! Ids in memory.

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{seen::Seen, store::DedupStore};
use crate::{clock, failure::BoxError};

/// Keeps the newest ids in the memory of this process, for a [`Dedup`](crate::Dedup) layer: events that a producer has
/// sent twice in short order are handled once, for as long as their partitions stay with this instance. An instance
/// that is started again, or takes over a partition, knows nothing of what was handled before; see
/// [`TopicDedup`](crate::TopicDedup).
pub struct MemoryDedup {
    seen: Mutex<Seen>,
    start: Instant,
}

impl MemoryDedup {
    /// Keeps this many ids, at least 1; then the oldest go. An id takes some 200 bytes.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { seen: Mutex::new(Seen::new(capacity.max(1))), start: clock::now() }
    }

    /// Forgets an id so long after it was inserted. Default: when there is no room for it any more.
    #[must_use]
    pub fn expire_after(self, age: Duration) -> Self {
        self.lock().expire_after(age);
        self
    }

    /// How many ids there are, of which some may be over.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn elapsed(&self) -> Duration {
        clock::now().saturating_duration_since(self.start)
    }
}

impl DedupStore for MemoryDedup {
    async fn contains(&self, id: &str) -> Result<bool, BoxError> {
        let now = self.elapsed();
        Ok(self.lock().contains(id, now))
    }

    async fn insert(&self, ids: &[String]) -> Result<(), BoxError> {
        let now = self.elapsed();
        let mut seen = self.lock();
        ids.iter().for_each(|id| seen.insert(id, now));
        Ok(())
    }
}

impl fmt::Debug for MemoryDedup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryDedup").field("ids", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn ids_are_kept_for_as_long_as_they_should_be() {
        let store = MemoryDedup::new(10).expire_after(Duration::from_secs(60));
        assert!(store.is_empty() && !store.contains("a").await.unwrap());
        store.insert(&["a".to_owned(), "b".to_owned()]).await.unwrap();
        tokio::time::advance(Duration::from_secs(59)).await;
        assert!(store.contains("a").await.unwrap());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!store.contains("a").await.unwrap());
        assert_eq!(store.len(), 2);
    }
}
