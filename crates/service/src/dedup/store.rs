//! Where the ids of what was handled are kept.

use std::{future::Future, sync::Arc};

use crate::failure::BoxError;

/// Where a [`Dedup`](crate::Dedup) layer keeps the ids of what was handled: in memory
/// ([`MemoryDedup`](crate::MemoryDedup)), in a topic ([`TopicDedup`](crate::TopicDedup)), or in a database.
///
/// Both calls may be repeated, and several at once may be about the same ids of different layers.
pub trait DedupStore: Send + Sync + 'static {
    /// Whether an id was inserted, and not so long ago that it was forgotten.
    ///
    /// # Errors
    /// Whatever keeps the store from telling: the record is tried again.
    fn contains(&self, id: &str) -> impl Future<Output = Result<bool, BoxError>> + Send;

    /// Keeps ids: those of a record, or of a batch. When it returns, [`contains`](Self::contains) of this instance
    /// knows them, and, where the store is shared, those of others do soon.
    ///
    /// # Errors
    /// Whatever keeps the store from doing so: the call is repeated. Some of the ids may have been kept.
    fn insert(&self, ids: &[String]) -> impl Future<Output = Result<(), BoxError>> + Send;
}

impl<S: DedupStore> DedupStore for Arc<S> {
    fn contains(&self, id: &str) -> impl Future<Output = Result<bool, BoxError>> + Send {
        S::contains(self, id)
    }

    fn insert(&self, ids: &[String]) -> impl Future<Output = Result<(), BoxError>> + Send {
        S::insert(self, ids)
    }
}
