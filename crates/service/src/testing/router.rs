//! Handlers without a broker.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use milena::{Message, Offset, Partition, Record, TopicName};
use tokio::sync::watch;

use crate::{
    delivery::{Delivery, Place},
    endpoint::Endpoint,
    event::Event,
    outcome::Outcome,
    outgoing::Outgoing,
    router::{Entry, Router},
    topic::Topic,
};

/// Calls the handlers of a router with records made by hand, once each: no broker, no group, no retries. What they return
/// to be published is kept.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use milena::Record;
/// use milena_service::{HandlerError, Json, Outgoing, Router, testing::TestRouter};
///
/// async fn on_order(Json(order): Json<u64>) -> Result<Outgoing, HandlerError> {
///     Outgoing::json("invoices", &(order * 2))
/// }
///
/// let router = TestRouter::new(Router::new().topic("orders", on_order));
/// assert!(router.send(Record::new("orders", "21")).await.is_ack());
/// assert_eq!(router.published_to("invoices")[0].value_bytes(), Some(&b"42"[..]));
/// assert!(!router.send(Record::new("orders", "no number")).await.is_ack());
/// # });
/// ```
pub struct TestRouter {
    targets: BTreeMap<TopicName, (Endpoint, Arc<Place>)>,
    ends: Mutex<BTreeMap<(TopicName, Partition), i64>>,
    published: Mutex<Vec<Outgoing>>,
    stopping: watch::Sender<bool>,
}

impl TestRouter {
    /// Of the router that a service would have.
    #[must_use]
    pub fn new(router: Router) -> Self {
        let (stopping, _) = watch::channel(false);
        let target = |entry: Entry| {
            let place =
                Place::new("test".to_owned(), entry.handler(), entry.plan.newer, stopping.subscribe());
            (entry.topic, (entry.endpoint, Arc::new(place)))
        };
        Self {
            targets: router.into_entries().into_iter().map(target).collect(),
            ends: Mutex::default(),
            published: Mutex::default(),
            stopping,
        }
    }

    /// Hands a record to the handler of its topic, and tells the outcome. What it would have published is kept only of an
    /// [`Outcome::Ack`].
    ///
    /// # Panics
    /// If the router has no such topic; and with the handler.
    pub async fn send(&self, record: Record<'_>) -> Outcome {
        self.send_all([record]).await
    }

    /// Hands records to a handler as a batch. All are of one topic.
    ///
    /// # Panics
    /// If there are none, or the router has no such topic; and with the handler.
    pub async fn send_all<'a>(&self, records: impl IntoIterator<Item = Record<'a>>) -> Outcome {
        let delivery = self.delivery(records);
        let cause = delivery.clone();
        let (_, place) = self.target(cause.topic());
        let outcome = self.call(delivery).await;
        let Outcome::Ack(mut done) = outcome else { return outcome };
        done.caused_by(cause.messages(), place);
        let (outgoing, mut then) = done.into_parts();
        lock(&self.published).extend(outgoing.iter().cloned());
        match then.run().await {
            Ok(()) => Outcome::Ack(outgoing.into()),
            Err(failure) => Outcome::Retry { failure, after: None },
        }
    }

    /// The delivery of these records, for [`call`](Self::call). All are of one topic.
    ///
    /// # Panics
    /// If there are none, or the router has no such topic.
    #[expect(clippy::panic, reason = "in a test, this is how a mistake is told")]
    pub fn delivery<'a>(&self, records: impl IntoIterator<Item = Record<'a>>) -> Delivery {
        let mut messages: Vec<Message> = records.into_iter().map(|record| self.message(&record)).collect();
        if messages.is_empty() {
            panic!("a delivery has at least one record");
        }
        let first = messages.remove(0);
        let (_, place) = self.target(first.topic());
        Delivery::new(first, messages.into(), 1, Arc::clone(place))
    }

    /// Hands a delivery to the handler of its topic, and tells the outcome as it is: nothing is kept, and nothing done
    /// [then](crate::Done::then).
    ///
    /// # Panics
    /// If the router has no such topic; and with the handler.
    pub async fn call(&self, delivery: Delivery) -> Outcome {
        self.target(delivery.topic()).0.handle(delivery).outcome().await
    }

    #[expect(clippy::panic, reason = "in a test, this is how a mistake is told")]
    fn target(&self, topic: &TopicName) -> &(Endpoint, Arc<Place>) {
        let missing = || panic!("the router has no topic {topic:?}; it has {:?}", self.targets.keys());
        self.targets.get(topic).unwrap_or_else(missing)
    }

    /// Publishes an event, and hands it to the handler of its topic: with its key and its attributes, as a
    /// [`Publisher`](crate::Publisher) would write it.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// use milena_service::{Emit, Ev, Event, Router, Topic, testing::TestRouter};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Event, Serialize, Deserialize)]
    /// #[event(type = "order.placed")]
    /// struct Placed(u64);
    ///
    /// #[derive(Debug, PartialEq, Event, Serialize, Deserialize)]
    /// #[event(type = "order.charged")]
    /// struct Charged(u64);
    ///
    /// const ORDERS: Topic<Placed> = Topic::new("orders");
    /// const CHARGES: Topic<Charged> = Topic::new("charges");
    ///
    /// async fn charge(Ev(Placed(amount)): Ev<Placed>) -> Emit<Charged> {
    ///     Emit(CHARGES, Charged(amount))
    /// }
    ///
    /// let router = TestRouter::new(Router::new().topic(ORDERS, charge));
    /// assert!(router.send_event(&ORDERS, &Placed(21)).await.is_ack());
    /// assert_eq!(router.events_in(&CHARGES), [Charged(21)]);
    /// # });
    /// ```
    ///
    /// # Panics
    /// If the event cannot be encoded; and as [`send`](Self::send).
    #[expect(clippy::panic, reason = "in a test, this is how a mistake is told")]
    pub async fn send_event<E: Event + Sync>(&self, topic: &Topic<E>, event: &E) -> Outcome {
        match topic.outgoing(event) {
            Ok(record) => self.pass_on(&record).await,
            Err(error) => panic!("the event {} cannot be encoded: {error}", E::TYPE),
        }
    }

    /// The events that handlers have published to a topic.
    ///
    /// # Panics
    /// If something else than an event of this type was published there.
    #[must_use]
    #[expect(clippy::panic, reason = "in a test, this is how a mistake is told")]
    pub fn events_in<E: Event>(&self, topic: &Topic<E>) -> Vec<E> {
        let event = |record: Outgoing| {
            let headers: Vec<_> = record.headers().collect();
            match topic.read(&Message::from_record(&record.record(&headers), 0)) {
                Ok(Some(event)) => event,
                Ok(None) => panic!("a tombstone was published to {}", topic.name()),
                Err(error) => panic!("what was published to {} is no {}: {error}", topic.name(), E::TYPE),
            }
        };
        self.published_to(topic.name()).into_iter().map(event).collect()
    }

    /// Sends an [`Outgoing`]: what one handler has published, say, to the next.
    ///
    /// # Panics
    /// As [`send`](Self::send).
    pub async fn pass_on(&self, record: &Outgoing) -> Outcome {
        let headers: Vec<_> = record.headers().collect();
        self.send(record.record(&headers)).await
    }

    /// What handlers have published, in that order.
    #[must_use]
    pub fn published(&self) -> Vec<Outgoing> {
        lock(&self.published).clone()
    }

    /// What handlers have published to a topic.
    #[must_use]
    pub fn published_to(&self, topic: &str) -> Vec<Outgoing> {
        self.published().into_iter().filter(|record| record.topic().as_str() == topic).collect()
    }

    /// Tells handlers that the service is [stopping](crate::Stopping).
    pub fn stop(&self) {
        self.stopping.send_replace(true);
    }

    fn message(&self, record: &Record<'_>) -> Message {
        let place = (record.topic().into(), record.given_partition().unwrap_or(Partition(0)));
        let mut ends = lock(&self.ends);
        let end = ends.entry(place).or_default();
        *end += 1;
        Message::from_record(record, Offset(*end - 1))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for TestRouter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestRouter").field("topics", &self.targets.keys()).finish_non_exhaustive()
    }
}
