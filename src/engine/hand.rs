//! Hands records from the driver's side to the user's side.
//!
//! The driver puts in what was fetched; the user's calls take it out, and check, decompress and decode it in the user's
//! own task. Both meet under one lock that is held over no such work and no wait. A partition's position advances when
//! a record is handed out: a call that is dropped before has taken nothing.

mod aborted;
mod events;
mod item;
mod member;
mod pull;
mod shared;
mod slot;
mod state;
mod stream;
mod types;

pub use self::events::ConsumerEvent;
pub(crate) use self::events::{Events, failed};
pub(crate) use self::{
    pull::{Pull, Stage},
    shared::{Activity, Hand},
    types::{Progress, Request, Stay},
};

#[cfg(test)]
mod tests;
