//! What the core tells its driver.

use crate::{
    engine::{produce::sender, txn::Ticket},
    error::Result,
};

/// What the core tells its driver.
#[derive(Debug)]
pub(crate) enum Event {
    Sender(sender::Event),
    /// There is an identity, so that transactions can begin; or there was none in time.
    Ready(Result<()>),
    /// A transaction is open, with this number; or it was not possible in time.
    Begun(Result<u64>),
    /// The transaction that its user wanted to end is over.
    Ended(Result<()>),
    /// Offsets are a part of the transaction, or it has failed.
    OffsetsTaken {
        ticket: Ticket,
        result: Result<()>,
    },
}
