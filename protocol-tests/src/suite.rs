//! The conformance suite: what a Kafka client must do, told in scenarios that run unchanged on every target.
//!
//! [`SCENARIOS`] is the one list. A scenario that waits for a capability of the client is in it too, as pending.

mod record;
mod registry;
mod stage;
mod table;
mod wire;

use std::fmt;
use std::future::Future;
use std::pin::Pin;

pub use record::{Recording, Silence};
pub use registry::SCENARIOS;
pub use stage::{Stage, eventually, take, text};
pub use table::table;
pub use wire::Seen;

/// One claim, and the code that shows it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Scenario {
    /// Its number in the list of forty; `None` for what was added to it.
    pub number: Option<u8>,
    /// Its name: `s` and the number, and what is claimed.
    pub name: &'static str,
    /// What it needs of a target.
    pub needs: Needs,
    /// Whether it is there yet.
    pub state: State,
}

/// Whether a scenario can run.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum State {
    /// It can. It fails by a panic.
    Ready(Run),
    /// It waits for a capability of the client, or of this harness.
    Pending(Awaits),
}

/// The code of a scenario.
pub type Run = fn(Stage) -> Pin<Box<dyn Future<Output = ()>>>;

/// What a pending scenario waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Awaits {
    /// The rest of the consumer and of its groups.
    D,
    /// Security and quotas, which have no letter yet.
    Later,
}

/// What a scenario needs of the cluster that it runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Needs {
    /// How many nodes at least.
    pub nodes: usize,
    /// It kills, stops and starts nodes.
    pub kills: bool,
    /// It freezes nodes.
    pub pauses: bool,
    /// It has single requests refused, delayed or lost by a rule, which only the embedded cluster can.
    pub faults: bool,
    /// Its group goes from one protocol to the other while members read: Kafka can since 4.0, and the embedded cluster.
    pub migrates: bool,
}

impl Needs {
    /// Any cluster will do.
    pub const NOTHING: Self = Self { nodes: 1, kills: false, pauses: false, faults: false, migrates: false };

    /// At least three nodes.
    pub const THREE_NODES: Self = Self { nodes: 3, ..Self::NOTHING };

    /// Nodes that it may kill.
    #[must_use]
    pub const fn kills(self) -> Self {
        Self { kills: true, ..self }
    }

    /// Nodes that it may freeze.
    #[must_use]
    pub const fn pauses(self) -> Self {
        Self { pauses: true, ..self }
    }

    /// Rules that refuse, delay or lose requests.
    #[must_use]
    pub const fn faults(self) -> Self {
        Self { faults: true, ..self }
    }

    /// A group that goes from one protocol to the other.
    #[must_use]
    pub const fn migrates(self) -> Self {
        Self { migrates: true, ..self }
    }

    /// Whether others must not run on the cluster meanwhile.
    #[must_use]
    pub const fn alone(self) -> bool {
        self.kills || self.pauses
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready(_) => f.write_str("Ready"),
            Self::Pending(awaits) => f.debug_tuple("Pending").field(awaits).finish(),
        }
    }
}

impl fmt::Display for Awaits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Later => f.write_str("later"),
            letter => write!(f, "{letter:?}"),
        }
    }
}
