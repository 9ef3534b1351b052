//! The whole cluster as one machine: it is given requests and the time, and it answers.
//!
//! It knows neither sockets nor a runtime nor a clock, so that the same code serves the deterministic simulation, the
//! in-memory broker of the drivers' tests and the embedded broker over TCP. It shares the wire format with the client
//! and nothing else: it must not have the bugs that it is there to find.

mod call;
mod commit;
mod control;
mod coordinators;
mod fetch;
mod group;
mod groups;
mod ids;
mod leadership;
mod log;
mod metadata;
mod offsets;
mod produce;
mod producers;
mod state;
#[cfg(test)]
mod tests;
mod topic;
mod topics;
mod validate;
mod versions;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use bytes::Bytes;

use self::call::{Call, Handled, Ticket};
use self::fetch::{Fetch, Wanted, WantedTopic};
use self::state::State;
use crate::engine::machine::{Now, earlier};
use crate::testing::settings::{Limits, Settings};
use crate::types::NodeId;
use crate::wire::calls::{Received, Request, RequestError, Response, decode_request};
use crate::wire::codec::Segments;
use crate::wire::messages::FetchRequest;
use crate::wire::versions::ApiKey;

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
}

/// The request that is being answered.
#[derive(Debug)]
struct Current {
    call: Call,
    correlation_id: i32,
    /// What it waits for, if it is a fetch.
    fetch: Option<Fetch>,
}

impl Broker {
    /// A cluster without nodes. The same seed gives the same ids.
    pub(crate) fn new(settings: Settings, limits: Limits, seed: u64) -> Self {
        Self {
            state: State::new(settings, limits, seed),
            connections: BTreeMap::new(),
            waiting: BTreeMap::new(),
            ready: BTreeSet::new(),
            tried: 0,
            tickets: 0,
            outbox: VecDeque::new(),
        }
    }

    /// A client has connected to a node. Whether the node takes it; if not, the driver closes the connection.
    pub(crate) fn connection_opened(&mut self, node: NodeId, connection: ConnectionId) -> bool {
        let takes = self.state.is_up(node.0) && self.connections.len() < self.state.limits.connections;
        if takes {
            let opened = Connection { node: node.0, queue: VecDeque::new(), current: None };
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
        self.expire_fetches(now);
        self.run(now);
    }

    /// When [`Broker::tick`] shall be called at the latest.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let fetches = self.waiting.values().filter_map(|id| self.connections.get(id));
        let fetches =
            fetches.filter_map(|connection| Some(connection.current.as_ref()?.fetch.as_ref()?.until));
        earlier(fetches.min(), self.state.groups_deadline())
    }

    /// The next thing to do for the driver.
    pub(crate) fn reaction(&mut self) -> Option<Reaction> {
        self.outbox.pop_front()
    }

    // The requests.

    /// Begins requests until none can be begun, and answers what has been waited for.
    fn run(&mut self, now: Now) {
        loop {
            while let Some(connection) = self.ready.pop_first() {
                self.begin(now, connection);
            }
            for (ticket, response) in self.state.take_answers() {
                self.answer(ticket, &response);
            }
            if self.tried != self.state.changes {
                self.tried = self.state.changes;
                self.try_fetches(now);
            }
            if self.ready.is_empty() && self.tried == self.state.changes {
                break;
            }
        }
    }

    /// Begins the next request of a connection, if the one before is done.
    fn begin(&mut self, now: Now, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if connection.current.is_some() {
            return;
        }
        let Some(frame) = connection.queue.pop_front() else { return };
        let node = connection.node;
        self.ready.insert(id);
        match decode_request(frame) {
            Ok(received) => self.serve(now, node, id, received),
            Err(RequestError::UnsupportedVersion { key: ApiKey::ApiVersions, correlation_id, .. }) => {
                self.reply(id, 0, correlation_id, &versions::unsupported().into());
            }
            // An API or version that the broker does not know, or bytes that are no request.
            Err(_) => self.close(id),
        }
    }

    fn serve(&mut self, now: Now, node: i32, id: ConnectionId, received: Received) {
        if !versions::ADVERTISED.iter().any(|(key, ..)| *key == received.request.key()) {
            self.close(id);
            return;
        }
        self.tickets += 1;
        let call = Call {
            now,
            node,
            version: received.version,
            client_id: received.client_id.clone().unwrap_or_default(),
            ticket: Ticket(self.tickets),
            refusals: Vec::new(),
        };
        let correlation_id = received.correlation_id;
        if let Request::Fetch(request) = &received.request {
            self.serve_fetch(id, call, correlation_id, request);
            return;
        }
        match self.handle(&call, &received.request) {
            Handled::Answer(response) => self.reply(id, call.version, correlation_id, &response),
            Handled::Silent => self.outbox.push_back(Reaction::Silent { connection: id }),
            Handled::Close => self.close(id),
            Handled::Later => self.wait(id, Current { call, correlation_id, fetch: None }),
        }
    }

    fn handle(&mut self, call: &Call, request: &Request) -> Handled {
        let state = &mut self.state;
        match request {
            Request::ApiVersions(request) => versions::handle(state, call, request).into(),
            Request::CreateTopics(request) => topics::create(state, call, request).into(),
            Request::DeleteTopics(request) => topics::delete(state, call, request).into(),
            Request::DescribeGroups(request) => coordinators::describe(state, call, request).into(),
            Request::FindCoordinator(request) => coordinators::find(state, call, request).into(),
            Request::Heartbeat(request) => groups::heartbeat(state, call, request).into(),
            Request::JoinGroup(request) => groups::join(state, call, request),
            Request::LeaveGroup(request) => groups::leave(state, call, request).into(),
            Request::ListGroups(request) => coordinators::list(state, call, request).into(),
            Request::OffsetCommit(request) => commit::commit(state, call, request).into(),
            Request::OffsetFetch(request) => commit::fetch(state, call, request).into(),
            Request::SyncGroup(request) => groups::sync(state, call, request),
            Request::DescribeCluster(request) => metadata::describe_cluster(state, call, request).into(),
            Request::InitProducerId(request) => ids::handle(state, request).into(),
            Request::ListOffsets(request) => offsets::list(state, call, request).into(),
            Request::Metadata(request) => metadata::metadata(state, call, request).into(),
            Request::OffsetForLeaderEpoch(request) => offsets::for_leader_epoch(state, call, request).into(),
            Request::Produce(request) => produce::handle(state, call, request),
            _ => Handled::Close,
        }
    }

    fn wait(&mut self, id: ConnectionId, current: Current) {
        self.waiting.insert(current.call.ticket, id);
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.current = Some(current);
        }
    }

    /// Answers a request that has waited, if its connection is still there.
    fn answer(&mut self, ticket: Ticket, response: &Response) {
        let Some(id) = self.waiting.remove(&ticket) else { return };
        let current = self.connections.get_mut(&id).and_then(|connection| connection.current.take());
        if let Some(current) = current {
            self.ready.insert(id);
            self.reply(id, current.call.version, current.correlation_id, response);
        }
    }

    fn reply(&mut self, connection: ConnectionId, version: i16, correlation_id: i32, response: &Response) {
        match response.encode_frame(version, correlation_id) {
            Ok(frame) => self.outbox.push_back(Reaction::Reply { connection, frame }),
            Err(error) => {
                debug_assert!(false, "a broker's answer that cannot be encoded: {error}");
                self.close(connection);
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
    }

    // Fetches.

    fn serve_fetch(&mut self, id: ConnectionId, call: Call, correlation_id: i32, request: &FetchRequest) {
        let fetch = Fetch::new(&self.state, &call, request, wanted(&self.state, call.version, request));
        let reading = fetch.read(&self.state, &call);
        if reading.is_due || fetch.until <= call.now.instant {
            self.reply(id, call.version, correlation_id, &reading.response.into());
        } else {
            self.wait(id, Current { call, correlation_id, fetch: Some(fetch) });
        }
    }

    /// Answers the waiting fetches that have got something to answer with.
    fn try_fetches(&mut self, now: Now) {
        self.answer_fetches(|fetch, is_due| is_due || fetch.until <= now.instant);
    }

    fn expire_fetches(&mut self, now: Now) {
        self.answer_fetches(|fetch, _| fetch.until <= now.instant);
    }

    fn answer_fetches(&mut self, when: impl Fn(&Fetch, bool) -> bool) {
        let mut answers = Vec::new();
        for (ticket, id) in &self.waiting {
            let current = self.connections.get(id).and_then(|connection| connection.current.as_ref());
            let Some((current, fetch)) = current.and_then(|current| Some((current, current.fetch.as_ref()?)))
            else {
                continue;
            };
            let reading = fetch.read(&self.state, &current.call);
            if when(fetch, reading.is_due) {
                answers.push((*ticket, reading.response));
            }
        }
        for (ticket, response) in answers {
            self.answer(ticket, &response.into());
        }
    }
}

/// The partitions that a fetch without session names.
fn wanted(state: &State, version: i16, request: &FetchRequest) -> Vec<Wanted> {
    let topics = request.topics.iter().flat_map(|topic| topic.partitions.iter().map(move |p| (topic, p)));
    let wanted = topics.map(|(topic, partition)| {
        let by_id = version >= fetch::BY_ID;
        let name = if by_id {
            state.topic_by_id(topic.topic_id).map(|topic| topic.name.clone()).unwrap_or_default()
        } else {
            topic.topic.clone()
        };
        Wanted {
            topic: WantedTopic { id: by_id.then_some(topic.topic_id), name, in_session: false },
            partition: partition.partition,
            current_leader_epoch: partition.current_leader_epoch,
            offset: partition.fetch_offset,
            last_epoch: partition.last_fetched_epoch,
            max_bytes: usize::try_from(partition.partition_max_bytes).unwrap_or(0),
        }
    });
    wanted.collect()
}
