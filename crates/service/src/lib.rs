//! Event-driven services on [milena].
//!
//! A [`Router`] says which async function handles the records of which topic.

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
pub use milena_derive::Event;
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
