//! Several types of events in one topic.

use std::{collections::HashMap, fmt, sync::Arc};

use crate::{
    delivery::Delivery,
    endpoint::{Call, Endpoint, Handling},
    failure::Failure,
    handler::{Bound, Handler},
    handler_error::HandlerError,
    outcome::{IntoOutcome, Outcome},
    route::{IntoRoute, Plan, Route},
};

/// The header that tells the type of an event.
const TYPE: &str = "ce_type";

/// A route for a topic with events of several types: each type has its handler.
///
/// An event of a type that nobody is there for cannot be handled, and is dead-lettered, or halts its lane, unless a
/// [fallback](ByType::fallback) or [`skip_others`](ByType::skip_others) says otherwise.
///
/// ```
/// use milena_service::{Json, Router, by_type};
///
/// async fn created(Json(user): Json<serde_json::Value>) {}
/// async fn renamed(Json(user): Json<serde_json::Value>) {}
///
/// let router: Router = Router::new()
///     .topic("users", by_type().on("user.created", created).on("user.renamed", renamed).route().dead_letter());
/// ```
#[must_use]
pub fn by_type<S: Clone + Send + Sync + 'static>() -> ByType<S> {
    ByType { handlers: Vec::new(), others: Others::Unknown }
}

/// The handlers of the types of events in a topic; made by [`by_type`].
pub struct ByType<S = ()> {
    handlers: Vec<(&'static str, Build<S>)>,
    others: Others<Build<S>>,
}

type Build<S> = Box<dyn FnOnce(S) -> Endpoint + Send>;

/// What becomes of an event of another type.
enum Others<H> {
    Unknown,
    Skipped,
    Handled(H),
}

impl<S: Clone + Send + Sync + 'static> ByType<S> {
    /// Gives events of this type to this handler: `.on(UserCreated::TYPE, created)`. Of a type that is named twice, the
    /// last handler counts.
    #[must_use]
    pub fn on<T: 'static>(mut self, kind: &'static str, handler: impl Handler<T, S>) -> Self {
        self.handlers.push((kind, build(handler)));
        self
    }

    /// Gives all other events, and records without a type, to this handler.
    #[must_use]
    pub fn fallback<T: 'static>(mut self, handler: impl Handler<T, S>) -> Self {
        self.others = Others::Handled(build(handler));
        self
    }

    /// Skips all other events, and records without a type.
    #[must_use]
    pub fn skip_others(mut self) -> Self {
        self.others = Others::Skipped;
        self
    }

    /// The route, for tries, dead letters, layers and so on.
    #[must_use]
    pub fn route(self) -> Route<S> {
        let Self { handlers, others } = self;
        let build = move |state: S| {
            let bound = handlers.into_iter().map(|(kind, build)| (kind, build(state.clone())));
            let handlers = bound.collect();
            let others = match others {
                Others::Unknown => Others::Unknown,
                Others::Skipped => Others::Skipped,
                Others::Handled(build) => Others::Handled(build(state)),
            };
            Endpoint::new(Typed { handlers, others })
        };
        Route::of(build, Plan::default())
    }
}

/// Says that a route is given as the handlers of types.
#[derive(Debug)]
pub struct AsByType(());

impl<S: Clone + Send + Sync + 'static> IntoRoute<AsByType, S> for ByType<S> {
    fn into_route(self) -> Route<S> {
        self.route()
    }
}

fn build<T: 'static, S: Clone + Send + Sync + 'static>(handler: impl Handler<T, S>) -> Build<S> {
    Box::new(|state| Endpoint::new(Bound::new(handler, state)))
}

struct Typed {
    handlers: HashMap<&'static str, Endpoint>,
    others: Others<Endpoint>,
}

impl Call for Typed {
    fn call(self: Arc<Self>, delivery: Delivery) -> Handling {
        let first = kind(&delivery);
        if delivery.messages().any(|message| message.headers().last_named(TYPE).flatten() != first) {
            let said = "a batch holds events of several types";
            return Handling::ready(Outcome::DeadLetter(Failure::named("mixed_batch", said)));
        }
        let handler = first.and_then(|kind| self.handlers.get(std::str::from_utf8(kind).ok()?));
        match (handler, &self.others) {
            (Some(handler), _) | (None, Others::Handled(handler)) => handler.handle(delivery),
            (None, Others::Skipped) => {
                Handling::ready(HandlerError::skip("of a type that nobody handles").into_outcome())
            }
            (None, Others::Unknown) => {
                let said = match first {
                    Some(kind) => {
                        format!("no handler for events of the type {:?}", String::from_utf8_lossy(kind))
                    }
                    None => format!("the record has no type of event (header {TYPE})"),
                };
                Handling::ready(Outcome::DeadLetter(Failure::named("unknown_type", said)))
            }
        }
    }
}

fn kind(delivery: &Delivery) -> Option<&[u8]> {
    delivery.message().headers().last_named(TYPE).flatten()
}

impl<S> fmt::Debug for ByType<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.handlers.iter().map(|(kind, _)| kind)).finish()
    }
}
