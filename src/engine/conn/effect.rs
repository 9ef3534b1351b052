//! What a link tells its driver.

use std::time::Duration;

use super::peer::Address;
use crate::engine::machine::Outcome;

/// What the driver of a link has to do.
#[derive(Debug)]
pub(crate) enum Effect<R> {
    /// Open a connection, and report it with [`Link::dialed`](super::Link::dialed). `attempt` counts the failures before it.
    Dial { address: Address, attempt: u32 },
    /// Drop the connection, or the attempt to open one.
    Close,
    /// The outcome of a call.
    Done(R, Outcome),
    /// Something to be counted.
    Count(Count),
}

/// What happens to requests on the connection, those of the handshake too. Each is sent, and then answered or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Count {
    Sent,
    /// After how long, and for how long the broker wants nothing more.
    Answered {
        latency: Duration,
        throttle: Duration,
    },
    /// So many will have no answer.
    Unanswered(usize),
}
