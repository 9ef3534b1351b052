//! Several types of events in one topic.

use std::{collections::HashMap, fmt, sync::Arc};

use crate::{
    delivery::Delivery,
    endpoint::{Call, Endpoint, Handling},
    envelope::Attributes,
    handler::{Build, Handler, build},
    handler_error::HandlerError,
    outcome::IntoOutcome,
    route::{IntoRoute, Plan, Route},
};

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

struct Typed {
    handlers: HashMap<&'static str, Endpoint>,
    others: Others<Endpoint>,
}

impl Call for Typed {
    fn call(self: Arc<Self>, delivery: Delivery) -> Handling {
        match self.handler(&delivery) {
            Ok(handler) => handler.handle(delivery),
            Err(error) => Handling::ready(error.into_outcome()),
        }
    }
}

impl Typed {
    /// Whose the delivery is, or what becomes of it.
    fn handler(&self, delivery: &Delivery) -> Result<&Endpoint, HandlerError> {
        let first = Attributes::of(delivery.message())?.event_type;
        for message in delivery.messages().skip(1) {
            if Attributes::of(message)?.event_type != first {
                // Each is handled alone then.
                return Err(
                    HandlerError::dead_letter("a batch holds events of several types").kind("mixed_batch")
                );
            }
        }
        let handler = first.as_ref().and_then(|kind| self.handlers.get(&**kind));
        match (handler, &self.others) {
            (Some(handler), _) | (None, Others::Handled(handler)) => Ok(handler),
            (None, Others::Skipped) => Err(HandlerError::skip("of a type that nobody handles")),
            (None, Others::Unknown) => {
                let said = match first {
                    Some(kind) => format!("no handler for events of the type {kind:?}"),
                    None => "the record is no event: it has no type".to_owned(),
                };
                Err(HandlerError::dead_letter(said).kind("unknown_type"))
            }
        }
    }
}

impl<S> fmt::Debug for ByType<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.handlers.iter().map(|(kind, _)| kind)).finish()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic, clippy::unwrap_used, reason = "tests")]

    use milena::{Message, Record};

    use super::*;
    use crate::{delivery::Place, extract::Meta, newer::Newer, outcome::Outcome, outgoing::Outgoing};

    fn delivery(kinds: &[Option<&str>]) -> Delivery {
        let mut messages = kinds.iter().map(|kind| {
            let headers: Vec<milena::Header<'_>> =
                kind.iter().map(|kind| ("ce_type", Some(kind.as_bytes()))).collect();
            Message::from_record(&Record::new("users", "{}").headers(&headers), 0)
        });
        let first = messages.next().unwrap();
        let place = Place::of_tests("g", "h", Newer::default());
        Delivery::new(first, messages.collect(), 1, Arc::new(place))
    }

    async fn call(route: ByType, delivery: Delivery) -> String {
        let (endpoint, _) = route.route().into_parts(());
        match endpoint.handle(delivery).outcome().await {
            Outcome::Ack(done) => done.outgoing()[0].topic().to_string(),
            Outcome::Skip(reason) => format!("skipped: {reason}"),
            Outcome::DeadLetter(failure) => failure.kind().to_owned(),
            outcome => panic!("{outcome:?}"),
        }
    }

    fn route() -> ByType {
        let to = |topic: &'static str| move |_: Meta| async move { Outgoing::new(topic, "") };
        by_type().on("created", to("created")).on("renamed", to("renamed"))
    }

    #[tokio::test]
    async fn each_type_has_its_handler() {
        assert_eq!(call(route(), delivery(&[Some("created")])).await, "created");
        assert_eq!(call(route(), delivery(&[Some("renamed"), Some("renamed")])).await, "renamed");
    }

    #[tokio::test]
    async fn what_nobody_handles_is_not_passed_by_in_silence() {
        assert_eq!(call(route(), delivery(&[Some("deleted")])).await, "unknown_type");
        assert_eq!(call(route(), delivery(&[None])).await, "unknown_type");
        assert_eq!(call(route(), delivery(&[Some("created"), Some("renamed")])).await, "mixed_batch");
        let skipped = call(route().skip_others(), delivery(&[Some("deleted")])).await;
        assert_eq!(skipped, "skipped: of a type that nobody handles");
        let fallback = route().fallback(|_: Meta| async { Outgoing::new("others", "") });
        assert_eq!(call(fallback, delivery(&[None])).await, "others");
    }

    #[tokio::test]
    async fn the_type_of_a_structured_event_is_in_its_value() {
        let value = r#"{"specversion":"1.0","id":"1","source":"/s","type":"created","data":{}}"#;
        let headers: [milena::Header<'_>; 1] = [("content-type", Some(b"application/cloudevents+json"))];
        let message = Message::from_record(&Record::new("users", value).headers(&headers), 0);
        let place = Place::of_tests("g", "h", Newer::default());
        let delivery = Delivery::new(message, Arc::default(), 1, Arc::new(place));
        assert_eq!(call(route(), delivery).await, "created");
    }
}
