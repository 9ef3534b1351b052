//! Which handler gets the records of which topic.

use std::fmt;

use milena::TopicName;
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    delivery::Delivery,
    endpoint::Endpoint,
    failure::BoxError,
    outcome::Outcome,
    route::{IntoRoute, Plan, Route},
};

/// Which handler gets the records of which topic: a value, the same for a [`Service`](crate::Service) and for a test
/// without a broker.
///
/// A handler whose arguments need a state, of type `S`, gets it by [`with_state`](Self::with_state), which makes a
/// `Router<()>`, the form that services take.
///
/// ```
/// use milena_service::{IntoRoute, Json, Router, State};
///
/// #[derive(Clone)]
/// struct App { currency: &'static str }
///
/// async fn on_payment(State(app): State<App>, Json(amount): Json<u64>) {
///     println!("{amount} {}", app.currency);
/// }
///
/// let router = Router::new()
///     .topic("payments", on_payment.dead_letter())
///     .with_state(App { currency: "EUR" });
/// # let _: Router = router;
/// ```
pub struct Router<S = ()> {
    routes: Vec<(TopicName, Route<S>)>,
}

/// A topic, whom to call, and how.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) topic: TopicName,
    pub(crate) endpoint: Endpoint,
    pub(crate) plan: Plan,
}

impl Entry {
    /// The name of its handler; one without a name of its own has the topic's.
    pub(crate) fn handler(&self) -> String {
        self.plan.name.clone().unwrap_or_else(|| self.topic.to_string())
    }
}

impl<S: Clone + Send + Sync + 'static> Router<S> {
    /// A router without a topic.
    #[must_use]
    pub const fn new() -> Self {
        Self { routes: Vec::new() }
    }

    /// Gives the records of a topic to a handler or a [`Route`]. A topic that is named twice is an error where the router
    /// is used.
    #[must_use]
    pub fn topic<M>(mut self, topic: impl Into<TopicName>, route: impl IntoRoute<M, S>) -> Self {
        self.routes.push((topic.into(), route.into_route()));
        self
    }

    /// Adds the topics of another router.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.routes.extend(other.routes);
        self
    }

    /// Puts a [tower](https://docs.rs/tower) layer around each route that was added so far, outside of the layers that it
    /// has.
    #[must_use]
    pub fn layer<L>(mut self, layer: L) -> Self
    where
        L: Layer<Endpoint> + Clone + Send + 'static,
        L::Service: Service<Delivery, Response = Outcome, Error: Into<BoxError>, Future: Send>
            + Clone
            + Send
            + Sync
            + 'static,
    {
        let layered = |(topic, route): (_, Route<S>)| (topic, route.layer(layer.clone()));
        self.routes = self.routes.into_iter().map(layered).collect();
        self
    }

    /// Gives the handlers their state.
    #[must_use]
    pub fn with_state(self, state: S) -> Router<()> {
        let bind = |(topic, route): (_, Route<S>)| (topic, route.with_state(state.clone()));
        Router { routes: self.routes.into_iter().map(bind).collect() }
    }
}

impl Router<()> {
    pub(crate) fn into_entries(self) -> Vec<Entry> {
        let entry = |(topic, route): (_, Route<()>)| {
            let (endpoint, plan) = route.into_parts(());
            Entry { topic, endpoint, plan }
        };
        self.routes.into_iter().map(entry).collect()
    }
}

impl<S: Clone + Send + Sync + 'static> Default for Router<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> fmt::Debug for Router<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.routes.iter().map(|(topic, route)| (topic, route))).finish()
    }
}
