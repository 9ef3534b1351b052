//! The contract between the machines and whoever drives them.

use std::time::{Duration, Instant};

use crate::{
    error::Error,
    types::NodeId,
    wire::calls::{Request, Response},
};

/// The time, as told to a machine. Tests move both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Now {
    /// Monotonic time: deadlines and backoffs are measured on it.
    pub(crate) instant: Instant,
    /// Wall time in milliseconds since the Unix epoch: timestamps and look-ups by time need it.
    pub(crate) unix_ms: i64,
}

impl Now {
    /// The same moment, `duration` later on both clocks.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn after(self, duration: Duration) -> Self {
        let ms = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self { instant: self.instant + duration, unix_ms: self.unix_ms.saturating_add(ms) }
    }
}

/// A deadline `duration` from now, far in the future where the sum does not fit the clock.
pub(crate) fn deadline_after(now: Now, duration: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);
    now.instant.checked_add(duration.min(FAR)).unwrap_or(now.instant)
}

/// Names one call of one machine; its answer comes back under the same token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Token(pub(crate) u64);

impl Token {
    /// Which machine of a role's core made the call: the tag that its [`Tokens`] were made with.
    pub(crate) const fn tag(self) -> u8 {
        self.0.to_be_bytes()[0]
    }
}

/// Hands out tokens, each once.
#[derive(Debug, Default)]
pub(crate) struct Tokens(u64);

impl Tokens {
    /// Tokens with a tag, by which a core with several machines knows whose call was answered.
    pub(crate) const fn tagged(tag: u8) -> Self {
        Self((tag as u64) << 56)
    }

    pub(crate) fn next(&mut self) -> Token {
        self.0 = self.0.wrapping_add(1);
        Token(self.0)
    }
}

/// Who shall answer a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Target {
    /// Any broker that can be reached.
    Any,
    /// The controller, or the broker that forwards to it.
    Controller,
    /// This broker.
    Broker(NodeId),
}

/// Which of the connections to a broker carries a call. A fetch that waits at the broker for data, or a join that
/// waits for a rebalance, never delays what goes over another connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Purpose {
    /// Metadata, look-ups, admin calls.
    General,
    /// Produce requests.
    Produce,
    /// Fetch requests of one owner.
    Fetch(Owner),
    /// Group membership and offset commits of one owner.
    Coordinator(Owner),
}

/// Whose calls a connection carries. A broker answers the calls of a connection one after the other: if two consumers
/// shared one, the fetch or the join of one would hold up the heartbeats of the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Owner(pub(crate) u32);

impl Purpose {
    /// Fetch requests, as machines name them: their driver knows the owner.
    pub(crate) const FETCH: Self = Self::Fetch(Owner(0));
    /// Group membership and offset commits, likewise.
    pub(crate) const COORDINATOR: Self = Self::Coordinator(Owner(0));

    /// The same purpose, for this owner.
    pub(crate) const fn owned_by(self, owner: Owner) -> Self {
        match self {
            Self::Fetch(_) => Self::Fetch(owner),
            Self::Coordinator(_) => Self::Coordinator(owner),
            Self::General | Self::Produce => self,
        }
    }

    /// Whose connections alone carry it.
    pub(crate) const fn owner(self) -> Option<Owner> {
        match self {
            Self::Fetch(owner) | Self::Coordinator(owner) => Some(owner),
            Self::General | Self::Produce => None,
        }
    }
}

/// One request that a machine wants made.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) token: Token,
    pub(crate) target: Target,
    pub(crate) purpose: Purpose,
    pub(crate) request: Request,
    /// When the answer is no longer wanted: a [`Failure`] comes at this time at the latest.
    pub(crate) deadline: Instant,
    /// The newest version to speak, below what both sides know: a topic without an id cannot be fetched with
    /// Fetch 13.
    pub(crate) max_version: Option<i16>,
}

/// A broker's answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// The broker; negative for an address of the bootstrap list.
    pub(crate) node: NodeId,
    /// The version that both the request and the response had.
    pub(crate) version: i16,
    pub(crate) response: Response,
}

/// A call without an answer.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// Whether a part of the request may have reached the broker, so that it may have been carried out.
    pub(crate) maybe_sent: bool,
    pub(crate) error: Error,
}

/// What came of a call. Every call gets exactly one outcome.
pub(crate) type Outcome = Result<Answer, Failure>;

/// What a machine wants done. The driver empties it after every verb.
#[derive(Debug)]
pub(crate) struct Outbox<Event> {
    pub(crate) calls: Vec<Call>,
    pub(crate) events: Vec<Event>,
}

impl<Event> Default for Outbox<Event> {
    fn default() -> Self {
        Self { calls: Vec::new(), events: Vec::new() }
    }
}

/// The earlier of two deadlines that may be absent.
pub(crate) fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
