//! How the records of a topic are handled.

use std::{any, fmt, time::Duration};

use milena::TopicName;
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    delivery::Delivery,
    endpoint::Endpoint,
    failure::BoxError,
    handler::{Build, Handler, build},
    newer::Newer,
    outcome::Outcome,
    retry::Retry,
};

/// How long a handler may take where nothing else is said.
const TIMEOUT: Duration = Duration::from_secs(300);

/// How the records of a topic are handled: a handler, how often it is tried, and what becomes of what cannot be handled.
/// Made by [`IntoRoute`], by [`batch`] and [`by_type`](crate::by_type()).
pub struct Route<S = ()> {
    build: Build<S>,
    plan: Plan,
}

/// What is to be known of a route besides whom to call.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// `None` if the handler has no name of its own: a closure.
    pub(crate) name: Option<String>,
    pub(crate) retry: Retry,
    pub(crate) dead_letters: DeadLetters,
    pub(crate) timeout: Duration,
    pub(crate) batching: Option<Batching>,
    pub(crate) newer: Newer,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            name: None,
            retry: Retry::default(),
            dead_letters: DeadLetters::None,
            timeout: TIMEOUT,
            batching: None,
            newer: Newer::default(),
        }
    }
}

/// Where the records of a route go that cannot be handled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DeadLetters {
    /// Nowhere: the lane halts.
    None,
    /// To the topic that [`Naming`](crate::Naming) gives.
    Named,
    To(TopicName),
}

/// How many records a batch handler gets at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Batching {
    pub(crate) max: usize,
    pub(crate) wait: Duration,
}

impl<S: Clone + Send + Sync + 'static> Route<S> {
    /// A route with the defaults: [`Retry::default`], no dead-letter topic, 5 minutes.
    pub fn new<T: 'static>(handler: impl Handler<T, S>) -> Self {
        let name = name_of(&handler);
        let plan = Plan { name, ..Plan::default() };
        Self { build: build(handler), plan }
    }

    pub(crate) fn of(build: impl FnOnce(S) -> Endpoint + Send + 'static, plan: Plan) -> Self {
        Self { build: Box::new(build), plan }
    }

    /// The name in metrics, spans and headers of dead letters. The default is the function's; closures have the topic's.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.plan.name = Some(name.into());
        self
    }

    /// How often, and after which delays, a record is tried again that could not be handled. Only records of the same key
    /// wait for it. The default is [`Retry::default`].
    #[must_use]
    pub fn retry(mut self, retry: impl Into<Retry>) -> Self {
        self.plan.retry = retry.into();
        self
    }

    /// Sends what cannot be handled to a dead-letter topic, named by the service's [`Naming`](crate::Naming):
    /// `{topic}.{group}.dlq`. Without it such a record halts its lane, and the service is no longer ready.
    #[must_use]
    pub fn dead_letter(mut self) -> Self {
        self.plan.dead_letters = DeadLetters::Named;
        self
    }

    /// Sends what cannot be handled to this topic.
    #[must_use]
    pub fn dead_letter_to(mut self, topic: impl Into<TopicName>) -> Self {
        self.plan.dead_letters = DeadLetters::To(topic.into());
        self
    }

    /// How long the handler may take; a try that takes longer has failed. The default is 5 minutes.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.plan.timeout = timeout;
        self
    }

    /// What becomes of events of a version that is newer than this build knows. The default is [`Newer::DeadLetter`].
    #[must_use]
    pub fn on_newer(mut self, newer: Newer) -> Self {
        self.plan.newer = newer;
        self
    }

    /// Puts a [tower](https://docs.rs/tower) layer around the handler, outside of those that it has.
    #[must_use]
    pub fn layer<L>(self, layer: L) -> Self
    where
        L: Layer<Endpoint> + Send + 'static,
        L::Service: Service<Delivery, Response = Outcome, Error: Into<BoxError>, Future: Send>
            + Clone
            + Send
            + Sync
            + 'static,
    {
        let build = self.build;
        Self { build: Box::new(move |state| build(state).layered(&layer)), plan: self.plan }
    }

    pub(crate) fn with_state(self, state: S) -> Route<()> {
        let build = self.build;
        Route { build: Box::new(move |()| build(state)), plan: self.plan }
    }

    pub(crate) fn into_parts(self, state: S) -> (Endpoint, Plan) {
        ((self.build)(state), self.plan)
    }
}

impl<S> fmt::Debug for Route<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route").field("plan", &self.plan).finish_non_exhaustive()
    }
}

/// The name of a function; a closure has none.
fn name_of<H>(_: &H) -> Option<String> {
    let path = any::type_name::<H>();
    let name = path.rsplit("::").next().unwrap_or(path);
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_').then(|| name.to_owned())
}

/// A route whose handler gets several records of a partition at once, by a [`Batch`](crate::Batch): at most 500, no later
/// than 100 ms behind the first.
///
/// One outcome holds for all of them. If they cannot be handled together, when the tries are spent they are handled one by
/// one, so that only those fail which fail alone.
///
/// What it publishes for several records is not said to be caused by one of them, and belongs to the trace of none: which
/// led to what, the handler alone knows. `Batch<(Envelope, …)>` tells it of each.
///
/// ```
/// use std::time::Duration;
/// use milena_service::{Batch, Json, Router, batch};
///
/// async fn store(Batch(lines): Batch<Json<String>>) {
///     println!("{} lines", lines.len());
/// }
///
/// let router: Router = Router::new()
///     .topic("audit", batch(store).max(1_000, Duration::from_millis(200)).dead_letter());
/// ```
pub fn batch<T: 'static, S: Clone + Send + Sync + 'static>(handler: impl Handler<T, S>) -> Route<S> {
    let mut route = Route::new(handler);
    route.plan.batching = Some(Batching { max: 500, wait: Duration::from_millis(100) });
    route
}

impl<S: Clone + Send + Sync + 'static> Route<S> {
    /// How many records a batch has at most (at least 1), and how long its first may wait for more. It makes any route one
    /// of batches.
    #[must_use]
    pub fn max(mut self, records: usize, wait: Duration) -> Self {
        self.plan.batching = Some(Batching { max: records.max(1), wait });
        self
    }
}

/// A [`Route`], or a [`Handler`], which becomes one with the defaults, or with those of these methods.
///
/// ```
/// use std::time::Duration;
/// use milena_service::{HandlerError, IntoRoute, Json, Meta, Router};
///
/// async fn on_order(Json(order): Json<serde_json::Value>, at: Meta) -> Result<(), HandlerError> {
///     println!("{order} at {}", at.offset);
///     Ok(())
/// }
///
/// let router: Router = Router::new()
///     .topic("orders", on_order.retry([Duration::from_secs(1), Duration::from_secs(10)]).dead_letter());
/// ```
pub trait IntoRoute<M, S: Clone + Send + Sync + 'static>: Sized {
    /// The route.
    fn into_route(self) -> Route<S>;

    /// A route by this name; see [`Route::named`].
    fn named(self, name: impl Into<String>) -> Route<S> {
        self.into_route().named(name)
    }

    /// A route that tries again so often; see [`Route::retry`].
    fn retry(self, retry: impl Into<Retry>) -> Route<S> {
        self.into_route().retry(retry)
    }

    /// A route with a dead-letter topic; see [`Route::dead_letter`].
    fn dead_letter(self) -> Route<S> {
        self.into_route().dead_letter()
    }

    /// A route whose handler has so much time; see [`Route::timeout`].
    fn timeout(self, timeout: Duration) -> Route<S> {
        self.into_route().timeout(timeout)
    }
}

/// Says that a route is given as itself.
#[derive(Debug)]
pub struct AsRoute(());

/// Says that a route is given as a handler.
#[derive(Debug)]
pub struct AsHandler<T>(std::marker::PhantomData<fn(T)>);

impl<S: Clone + Send + Sync + 'static> IntoRoute<AsRoute, S> for Route<S> {
    fn into_route(self) -> Self {
        self
    }
}

impl<H: Handler<T, S>, T: 'static, S: Clone + Send + Sync + 'static> IntoRoute<AsHandler<T>, S> for H {
    fn into_route(self) -> Route<S> {
        Route::new(self)
    }
}
