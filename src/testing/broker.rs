//! The whole cluster as one machine: it is given requests and the time, and it answers.
//!
//! It knows neither sockets nor a runtime nor a clock, so that the same code serves the deterministic simulation, the
//! in-memory broker of the drivers' tests and the embedded broker over TCP. It shares the wire format with the client
//! and nothing else: it must not have the bugs that it is there to find.

mod alter;
mod call;
mod check;
mod commit;
mod config;
mod control;
mod coordinators;
mod deletions;
mod effects;
mod facts;
mod fetch;
mod group;
mod groups;
mod heartbeat;
mod ids;
mod leadership;
mod log;
mod markers;
mod metadata;
mod offsets;
mod produce;
mod producers;
mod serve;
mod sessions;
mod share;
mod state;
#[cfg(test)]
mod tests;
mod topic;
mod topics;
mod transaction;
mod transactions;
mod validate;
mod versions;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use bytes::Bytes;

use self::call::{Call, Ticket};
use self::effects::Effects;
use self::fetch::Fetch;
use self::sessions::Sessions;
use self::share::ShareFetch;
use self::state::State;
use super::faults::Faults;
use super::journal::Journal;
use super::settings::{Limits, Settings};
use crate::engine::machine::{Now, earlier};
use crate::types::NodeId;
use crate::wire::codec::Segments;

/// Names one connection of a client to a node; the driver gives it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ConnectionId(pub(crate) u64);

/// What the driver shall do.
#[derive(Debug)]
pub(crate) enum Reaction {
    /// Send a frame, its length in front.
    Reply {
        connection: ConnectionId,
        frame: Segments,
    },
    /// The request is done and has no answer.
    Silent {
        connection: ConnectionId,
    },
    Close {
        connection: ConnectionId,
    },
}

/// A cluster of brokers.
#[derive(Debug)]
pub(crate) struct Broker {
    state: State,
    connections: BTreeMap<ConnectionId, Connection>,
    /// The connections whose current request waits, by its ticket.
    waiting: BTreeMap<Ticket, ConnectionId>,
    /// The connections that may have a request to begin with.
    ready: BTreeSet<ConnectionId>,
    /// The fetch sessions of each node.
    sessions: BTreeMap<i32, Sessions>,
    faults: Faults,
    journal: Journal,
    /// What [`State::changes`] was when the waiting fetches were last tried.
    tried: u64,
    tickets: u64,
    outbox: VecDeque<Reaction>,
}

/// A broker answers the requests of a connection one after the other.
#[derive(Debug)]
struct Connection {
    node: i32,
    queue: VecDeque<Bytes>,
    current: Option<Current>,
    /// Until when no request is begun, after the client was told to wait.
    muted_until: Option<Instant>,
}

/// The request that is being answered.
#[derive(Debug)]
struct Current {
    call: Call,
    correlation_id: i32,
    effects: Effects,
    wait: Wait,
}

/// What a request waits for.
#[derive(Debug)]
enum Wait {
    /// For what other requests bring about.
    Answer,
    /// For data, or until its time is over.
    Fetch(Fetch),
    /// For records to acquire, or until its time is over.
    ShareFetch(ShareFetch),
    /// A fault rule holds its answer back.
    Delay { until: Instant, frame: Segments },
    /// A fault rule has it wait for ever.
    Ever,
}

impl Current {
    fn until(&self) -> Option<Instant> {
        match &self.wait {
            Wait::Fetch(fetch) => Some(fetch.until),
            Wait::ShareFetch(fetch) => Some(fetch.until),
            Wait::Delay { until, .. } => Some(*until),
            Wait::Answer | Wait::Ever => None,
        }
    }
}

impl Broker {
    /// A cluster without nodes. The same seed gives the same ids.
    pub(crate) fn new(settings: Settings, limits: Limits, seed: u64) -> Self {
        Self {
            journal: Journal::new(limits.journal_entries),
            state: State::new(settings, limits, seed),
            connections: BTreeMap::new(),
            waiting: BTreeMap::new(),
            ready: BTreeSet::new(),
            sessions: BTreeMap::new(),
            faults: Faults::default(),
            tried: 0,
            tickets: 0,
            outbox: VecDeque::new(),
        }
    }

    /// A client has connected to a node. Whether the node takes it; if not, the driver closes the connection.
    pub(crate) fn connection_opened(&mut self, node: NodeId, connection: ConnectionId) -> bool {
        let takes = self.state.is_up(node.0) && self.connections.len() < self.state.limits.connections;
        if takes {
            let opened =
                Connection { node: node.0, queue: VecDeque::new(), current: None, muted_until: None };
            self.connections.insert(connection, opened);
        }
        takes
    }

    /// A frame has come over a connection, without its length prefix.
    pub(crate) fn request(&mut self, now: Now, connection: ConnectionId, frame: Bytes) {
        let Some(entry) = self.connections.get_mut(&connection) else { return };
        if entry.queue.len() >= self.state.limits.queued_requests {
            self.close(connection);
            return;
        }
        entry.queue.push_back(frame);
        self.ready.insert(connection);
        self.run(now);
    }

    /// The client has closed the connection, or it broke.
    pub(crate) fn connection_closed(&mut self, now: Now, connection: ConnectionId) {
        self.forget(connection);
        self.run(now);
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, now: Now) {
        self.state.tick_groups(now);
        share::tick(&mut self.state, now);
        self.state.tick_transactions(now);
        self.release(now);
        self.try_fetches(now);
        self.run(now);
    }

    /// When [`Broker::tick`] shall be called at the latest.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let connections = self.connections.values().flat_map(|connection| {
            let muted = connection.muted_until.filter(|_| !connection.queue.is_empty());
            [connection.current.as_ref().and_then(Current::until), muted]
        });
        let state = earlier(self.state.groups_deadline(), self.state.transactions_deadline());
        earlier(connections.flatten().min(), earlier(state, share::deadline(&self.state)))
    }

    /// The next thing to do for the driver.
    pub(crate) fn reaction(&mut self) -> Option<Reaction> {
        self.outbox.pop_front()
    }

    /// Begins requests until none can be begun, and answers what has been waited for.
    fn run(&mut self, now: Now) {
        // What could not be written before may be possible now.
        self.state.write_markers(now);
        loop {
            while let Some(connection) = self.ready.pop_first() {
                self.begin(now, connection);
            }
            for (ticket, response) in self.state.take_answers() {
                self.answer(now, ticket, response);
            }
            if self.tried != self.state.changes {
                self.tried = self.state.changes;
                self.try_fetches(now);
            }
            // A connection that was closed meanwhile may have set records free.
            if self.ready.is_empty() && self.tried == self.state.changes {
                break;
            }
        }
    }

    fn close(&mut self, connection: ConnectionId) {
        self.forget(connection);
        self.outbox.push_back(Reaction::Close { connection });
    }

    fn forget(&mut self, id: ConnectionId) {
        self.ready.remove(&id);
        if let Some(current) = self.connections.remove(&id).and_then(|connection| connection.current) {
            self.waiting.remove(&current.call.ticket);
        }
        share::connection_closed(&mut self.state, id.0);
    }
}
