//! The layer around handlers.

use std::{
    borrow::Cow,
    collections::HashSet,
    fmt,
    future::Future,
    mem,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use milena::Message;
use tower_layer::Layer;
use tower_service::Service;

use super::{
    flight::{Claim, Flight},
    id,
    store::DedupStore,
};
use crate::{delivery::Delivery, failure::Failure, outcome::Outcome};

/// What an outcome that was kept from being handled says.
const DUPLICATE: &str = "duplicate";
/// The kind of the failures of a store.
const KIND: &str = "dedup";

/// Skips what the handler has handled already, by the ids of events: a layer around a route, or around all of a router.
///
/// The id of a record is that of its event, together with the event's source, or else its topic, partition, offset and
/// timestamp; or what the function of [`by`](Self::by) chooses. It counts for the group and the handler, by their names:
/// whoever renames a handler begins anew, and handlers that share a store do not get in each other's way. An id of more
/// than 1,024 bytes is a record to be dead-lettered.
///
/// What is there already is skipped, as `duplicate`; of a batch, the handler gets the others. When the handler is done,
/// the id is kept after what it has published was acknowledged, and before the record is
/// ([`Done::then`](crate::Done::then)). So nothing is lost, and not everything is handled once: if an instance dies
/// between the handler's effect and the keeping of the id, the record is handled again. For effects in a database, keep
/// the id in the same transaction instead.
///
/// A record whose id is being handled waits until that is settled: then it is a duplicate, or, if it was not handled,
/// its turn has come. The wait counts as the handler's time.
///
/// A store that cannot tell is a failure of the record, of the kind `dedup`, which is tried again.
///
/// ```
/// use std::time::Duration;
/// use milena_service::{Dedup, IntoRoute, Json, MemoryDedup, Router};
///
/// async fn on_payment(Json(amount): Json<u64>) {
///     println!("{amount}");
/// }
///
/// let dedup = Dedup::new(MemoryDedup::new(100_000).expire_after(Duration::from_secs(3600)));
/// let router: Router = Router::new().topic("payments", on_payment.dead_letter()).layer(dedup.clone());
/// println!("{} duplicates", dedup.hits());
/// ```
pub struct Dedup<S>(Arc<Shared<S>>);

struct Shared<S> {
    store: S,
    choose: Option<Choose>,
    flight: Arc<Flight>,
    hits: AtomicU64,
}

type Choose = Box<dyn Fn(&Message) -> Option<String> + Send + Sync>;

impl<S: DedupStore> Dedup<S> {
    /// Keeps ids in this store. Clones are the same layer.
    pub fn new(store: S) -> Self {
        Self(Arc::new(Shared { store, choose: None, flight: Arc::default(), hits: AtomicU64::new(0) }))
    }

    /// As [`new`](Self::new), with ids that this function chooses, of up to 1,024 bytes. Records of which it gives
    /// `None` have the id that they have by default.
    pub fn by(store: S, id: impl Fn(&Message) -> Option<String> + Send + Sync + 'static) -> Self {
        let choose: Option<Choose> = Some(Box::new(id));
        Self(Arc::new(Shared { store, choose, flight: Arc::default(), hits: AtomicU64::new(0) }))
    }

    /// Where the ids are.
    #[must_use]
    pub fn store(&self) -> &S {
        &self.0.store
    }

    /// How many records were skipped since they had been handled, over all routes with this layer.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.0.hits.load(Ordering::Relaxed)
    }
}

impl<S> Clone for Dedup<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S> fmt::Debug for Dedup<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dedup").field("hits", &self.0.hits).finish_non_exhaustive()
    }
}

impl<S, I> Layer<I> for Dedup<S> {
    type Service = Deduplicated<S, I>;

    fn layer(&self, inner: I) -> Deduplicated<S, I> {
        Deduplicated { shared: Arc::clone(&self.0), inner }
    }
}

/// A handler that skips what it has handled already. Made by [`Dedup`].
pub struct Deduplicated<S, I> {
    shared: Arc<Shared<S>>,
    inner: I,
}

impl<S, I: Clone> Clone for Deduplicated<S, I> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), inner: self.inner.clone() }
    }
}

impl<S, I: fmt::Debug> fmt::Debug for Deduplicated<S, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deduplicated").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<S, I> Service<Delivery> for Deduplicated<S, I>
where
    S: DedupStore,
    I: Service<Delivery, Response = Outcome, Future: Send> + Clone + Send + 'static,
{
    type Response = Outcome;
    type Error = I::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Outcome, I::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), I::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, delivery: Delivery) -> Self::Future {
        // The one that was asked whether it is ready is the one to be called.
        let next = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, next);
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let fresh = match shared.sift(delivery).await {
                Ok(fresh) => fresh,
                Err(outcome) => return Ok(outcome),
            };
            let outcome = inner.call(fresh.delivery).await?;
            Ok(shared.keep(outcome, fresh.ids, fresh.claim))
        })
    }
}

/// What was not handled yet, and nobody else is handling.
struct Fresh {
    delivery: Delivery,
    ids: Vec<String>,
    claim: Claim,
}

impl<S: DedupStore> Shared<S> {
    /// What is left to be handled of a delivery; the outcome if nothing is.
    async fn sift(&self, delivery: Delivery) -> Result<Fresh, Outcome> {
        let choose = |record| self.choose.as_ref().and_then(|choose| choose(record));
        let ids = delivery.messages().map(|record| id::of(&delivery, record, choose(record)));
        let ids: Vec<String> = ids
            .collect::<Result<_, _>>()
            .map_err(|error| Outcome::DeadLetter(Failure::named(KIND, error)))?;
        let claim = self.flight.claim(&ids).await;
        // Also what comes twice in the same batch.
        let mut handled = HashSet::with_capacity(ids.len());
        let mut is_fresh = Vec::with_capacity(ids.len());
        for id in &ids {
            let is_new = handled.insert(id.as_str()) && !self.contains(id).await?;
            is_fresh.push(is_new);
        }
        drop(handled);
        let duplicates = is_fresh.iter().filter(|is_fresh| !**is_fresh).count();
        if duplicates > 0 {
            let found = u64::try_from(duplicates).unwrap_or(u64::MAX);
            self.hits.fetch_add(found, Ordering::Relaxed);
            delivery.count_duplicates(found);
            let (topic, handler) = (delivery.topic(), delivery.handler());
            tracing::debug!(%topic, handler, duplicates, "records were handled already");
        }
        let mut verdicts = is_fresh.iter().copied();
        let Some(delivery) = delivery.retain(|_| verdicts.next().unwrap_or(true)) else {
            return Err(Outcome::Skip(Cow::Borrowed(DUPLICATE)));
        };
        let ids = ids.into_iter().zip(is_fresh).filter_map(|(id, is_fresh)| is_fresh.then_some(id)).collect();
        Ok(Fresh { delivery, ids, claim })
    }

    async fn contains(&self, id: &str) -> Result<bool, Outcome> {
        let failed = |error| Outcome::Retry { failure: Failure::named(KIND, error), after: None };
        self.store.contains(id).await.map_err(failed)
    }

    /// Has the ids kept when everything was published. Until then, or until the outcome is given up, they stay claimed.
    fn keep(self: Arc<Self>, outcome: Outcome, ids: Vec<String>, claim: Claim) -> Outcome {
        let kept = Arc::new((ids, claim));
        outcome.then(move || {
            let (shared, kept) = (Arc::clone(&self), Arc::clone(&kept));
            async move {
                let (ids, _claim) = &*kept;
                shared.store.insert(ids).await.map_err(|error| Failure::named(KIND, error))
            }
        })
    }
}

#[cfg(test)]
mod tests;
