//! Event-driven services on [milena].
//!
//! A [`Router`] says which async function handles the records of which topic. A [`Service`] is a router, a group, and
//! their life from start to stop.
//!
//! ```no_run
//! use milena::{Client, Config};
//! use milena_service::{HandlerError, IntoRoute, Json, Router, Service, ServiceError};
//!
//! async fn charge(Json(amount): Json<u64>) -> Result<(), HandlerError> {
//!     if amount == 0 {
//!         return Err(HandlerError::dead_letter("an order over nothing"));
//!     }
//!     println!("charged {amount}");
//!     Ok(())
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), ServiceError> {
//!     let client = Client::connect(Config::new(["localhost:9092"])).await?;
//!     let router = Router::new().topic("orders", charge.dead_letter());
//!     Service::new(&client, "billing").router(router).run().await
//! }
//! ```
//!
//! # Nothing is skipped silently
//! A record is done when its handler is, and what that publishes is acknowledged by brokers; only what is done is
//! committed. What cannot be handled is tried again in its place, while the records of other keys go on; then it
//! becomes a dead letter. Where no dead-letter topic is declared, its key stands still, and the service is not ready.
//! So records are handled at least once, those of a key one behind the other.
//!
//! # Handlers and what they say
//! The arguments of a [`Handler`] are [extractors](Extract), in any order: [`Json`], [`Ev`], [`Key`], [`Headers`],
//! [`Meta`], [`State`], [`Raw`], [`Envelope`], [`Ext`], [`Stopping`], and, of a handler of several records ([`batch`]),
//! [`Batch`].
//!
//! What it returns becomes an [`Outcome`] ([`IntoOutcome`]): `()` is done; [`Emit`] and [`Outgoing`], or several of
//! them, are published; and a `Result` may hold a [`HandlerError`], into which every error is made by `?`. Such an
//! error is tried again; [`HandlerError::dead_letter`], [`skip`](HandlerError::skip) and [`halt`](HandlerError::halt)
//! say something else.
//!
//! How a handler is tried is said by its [`Route`], which [`IntoRoute`] makes of it: [`retry`](Route::retry),
//! [`timeout`](Route::timeout), [`dead_letter`](Route::dead_letter), [`on_newer`](Route::on_newer), and tower's
//! [`layer`](Route::layer). [`by_type`](by_type()) gives each type of event in a topic to a handler of its own.
//!
//! Dead letters tell where they come from and why ([`DeadLetter`]); [`Redrive`] sends them back when that is mended.
//!
//! # Events
//! An [`Event`] has a type and a version; the derive macro of the same name writes it down. A [`Topic`] of events reads
//! and publishes them with what CloudEvents says of them ([`Envelope`]), and brings older versions up to the current
//! one.
//!
//! ```
//! use milena_service::{Emit, Ev, Event, Router, Topic, testing::TestRouter};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Event, Serialize, Deserialize)]
//! #[event(type = "order.placed", source = "/shop", key = customer)]
//! struct Placed {
//!     customer: String,
//!     amount: u64,
//! }
//!
//! #[derive(Event, Serialize, Deserialize)]
//! #[event(type = "order.charged", source = "/billing", key = customer)]
//! struct Charged {
//!     customer: String,
//!     amount: u64,
//! }
//!
//! const ORDERS: Topic<Placed> = Topic::new("orders");
//! const CHARGES: Topic<Charged> = Topic::new("charges");
//!
//! async fn charge(Ev(order): Ev<Placed>) -> Emit<Charged> {
//!     Emit(CHARGES, Charged { customer: order.customer, amount: order.amount })
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let router = TestRouter::new(Router::new().topic(ORDERS, charge));
//! let placed = Placed { customer: "Ada".to_owned(), amount: 21 };
//! assert!(router.send_event(&ORDERS, &placed).await.is_ack());
//! assert_eq!(router.events_in(&CHARGES)[0].amount, 21);
//! # });
//! ```
//!
//! # Publishing
//! A [`Publisher`] publishes outside of handlers, in answer to a request, say: events, JSON, or records made by hand
//! ([`Outgoing`]). It tells where the record was written ([`Published`]).
//!
//! # From start to stop
//! [`Service::run`] runs until SIGTERM or Ctrl-C; [`Service::start`] gives a [`Running`] service, with its [`Health`]
//! and its [metrics](Running::metrics). A service that stops reads no more, lets handlers end, commits, leaves its
//! group, and publishes the rest; what it had not begun is given back, and what fails meanwhile is not counted.
//! [`Service::task`] runs something beside the handlers, [`Service::ready_when`] adds a check to its
//! readiness, and [`Service::table`] a read model, which ends with it.
//! With the feature `axum`, `Service::run_with_axum` serves HTTP as well, with `/livez`, `/readyz` and `/metrics`.
//!
//! # Read models
//! A [`Table`] keeps the newest value of each key of a compacted topic in memory, in every instance. It is ready when
//! it has read what was there, and [`wait_for`](Table::wait_for) a [position](Published::position) lets who has written
//! read that.
//!
//! # Once
//! [`Dedup`] is a layer that skips what was handled before, by the ids of events. It keeps them in a [`DedupStore`]: in
//! memory ([`MemoryDedup`]), in a topic ([`TopicDedup`]), or wherever the effects of the handler are.
//!
//! # Tests
//! The feature `testing` has `testing::TestRouter`, which calls handlers without a broker; `testing::MockProducer`,
//! which notes what is published; `testing::golden`, which holds events to the form in which they were published; and
//! [milena's](milena) embedded cluster, which speaks Kafka's protocol in the process of the test, in paused time if
//! that is wanted. [`Running::settled`] waits until everything is handled.
//!
//! # Features
//! - `derive` (default): `#[derive(Event)]`, `#[derive(FromRef)]`.
//! - `axum`: HTTP beside a service.
//! - `testing`: tools for tests, and the embedded cluster.

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

#[cfg(feature = "axum")]
pub mod axum;
mod by_type;
mod clock;
mod dead_letter;
mod dedup;
mod delivery;
mod done;
mod endpoint;
mod envelope;
mod ev;
mod event;
mod extract;
mod failure;
mod handler;
mod handler_error;
mod headers;
mod identity;
mod judge;
mod lanes;
mod metrics;
mod naming;
mod newer;
mod outcome;
mod outgoing;
mod panics;
mod published;
mod publisher;
mod redrive;
mod retry;
mod rfc3339;
mod route;
mod router;
mod service;
mod table;
#[cfg(feature = "testing")]
pub mod testing;
mod topic;
mod trace;
mod undecodable;

pub use by_type::{AsByType, ByType, by_type};
pub use dead_letter::DeadLetter;
pub use dedup::{Dedup, DedupStore, Deduplicated, MemoryDedup, TopicDedup, TopicDedupBuilder};
pub use delivery::Delivery;
pub use done::Done;
pub use endpoint::{Endpoint, Handling};
pub use envelope::Envelope;
pub use ev::Ev;
pub use event::{Codec, CodecError, Event, JsonCodec, UpcastError};
pub use extract::{Batch, Ext, Extract, FromKey, FromRef, Headers, Json, Key, Meta, Raw, State, Stopping};
pub use failure::{BoxError, Failure};
pub use handler::Handler;
pub use handler_error::HandlerError;
#[cfg(feature = "derive")]
pub use milena_derive::{Event, FromRef};
pub use naming::Naming;
pub use newer::{Newer, NewerVersion};
pub use outcome::{IntoOutcome, Outcome};
pub use outgoing::Outgoing;
pub use published::Published;
pub use publisher::Publisher;
pub use redrive::{Redrive, RedriveReport};
pub use retry::Retry;
pub use route::{AsHandler, AsRoute, IntoRoute, Route, batch};
pub use router::Router;
pub use service::{HaltedLane, Health, Running, Service, ServiceError};
pub use table::{
    Decode, DecodeJson, LogPosition, OnUndecodable, Table, TableBuilder, TableChanges, TableError,
    TableHealth,
};
pub use topic::{Emit, Topic};
pub use undecodable::Undecodable;

/// What the derive macro writes down: nobody else's business.
#[doc(hidden)]
pub mod __private {
    pub use bytes::Bytes;
    pub use serde_json::Value;

    pub use crate::event::{IntoUpcast, key_of};
}
