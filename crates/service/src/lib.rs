//! Event-driven services on [milena].
//!
//! A [`Router`] says which async function handles the records of which topic.

#![expect(dead_code, reason = "the service that uses it comes next")]

mod clock;
mod dedup;
mod delivery;
mod done;
mod endpoint;
mod extract;
mod failure;
mod handler;
mod outcome;
mod outgoing;
mod retry;
mod route;
mod router;
mod table;

pub use dedup::{Dedup, DedupStore, Deduplicated, MemoryDedup, TopicDedup, TopicDedupBuilder};
pub use delivery::Delivery;
pub use done::Done;
pub use endpoint::{Endpoint, Handling};
pub use extract::{
    Batch, Ext, Extract, FromKey, FromRef, Headers, Json, Key, Meta, Raw, State, Stopping, Undecodable,
};
pub use failure::{BoxError, Failure};
pub use handler::Handler;
pub use outcome::{HandlerError, IntoOutcome, Outcome};
pub use outgoing::Outgoing;
pub use retry::Retry;
pub use route::{AsHandler, AsRoute, IntoRoute, Route, batch};
pub use router::Router;
pub use table::{
    Decode, DecodeJson, LogPosition, OnUndecodable, Table, TableBuilder, TableChanges, TableError,
    TableHealth,
};
