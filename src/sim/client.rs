//! A client without a runtime: the catalog, the links, and the routing between them and a role.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};

use super::network::{Network, Way};
use crate::{
    config::Config,
    engine::{
        backoff::Random,
        catalog::{
            Catalog, Event, bootstrap_index, bootstrap_node,
            snapshot::{Broker, LeaderHint, Snapshot},
        },
        conn::{Address, Effect, Expected, Link, LinkSettings, Place},
        machine::{Call, Failure, Now, Outbox, Outcome, Purpose, Target, Token, earlier},
    },
    error::ErrorKind,
    testing::broker::ConnectionId,
    types::{NodeId, TopicName},
    wire::str::Str,
};

/// Time moves in steps: what is due is done a little later.
const SLACK: Duration = Duration::from_millis(1);

/// Who made a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Caller {
    Catalog,
    Role,
}

/// What a connection brings.
#[derive(Debug)]
pub(super) enum Incoming {
    Bytes(Bytes),
    Broken,
}

#[derive(Debug)]
struct Connected {
    link: Link<(Caller, Token)>,
    wire: Option<ConnectionId>,
    /// Where to, and when the attempt to connect ends.
    dialing: Option<(Address, Instant)>,
    unread: BytesMut,
}

/// The client of one role.
#[derive(Debug)]
pub(super) struct SimClient {
    /// Its connections are told apart by this.
    owner: u64,
    config: Config,
    /// What has come over its connections and was not looked at.
    inbox: VecDeque<(ConnectionId, Incoming)>,
    /// The role's calls that have no outcome yet, and when they must have one.
    calls: BTreeMap<Token, Instant>,
    catalog: Catalog,
    links: BTreeMap<(NodeId, Purpose), Connected>,
    outcomes: VecDeque<(Token, Outcome)>,
    random: Random,
    changed: bool,
}

impl SimClient {
    pub(super) fn new(now: Now, owner: u64, bootstrap: Vec<String>, mut random: Random) -> Self {
        let config = Config::new(bootstrap);
        let catalog = Catalog::new(&config, now, Random::new(random.next_u64()));
        Self {
            owner,
            config,
            inbox: VecDeque::new(),
            calls: BTreeMap::new(),
            catalog,
            links: BTreeMap::new(),
            outcomes: VecDeque::new(),
            random,
            changed: false,
        }
    }

    pub(super) fn owner(&self) -> u64 {
        self.owner
    }

    /// Takes what a connection brings; it is looked at in the next [`tick`](Self::tick).
    pub(super) fn take_in(&mut self, wire: ConnectionId, incoming: Incoming) {
        self.inbox.push_back((wire, incoming));
    }

    /// The process stood still until now: what was due meanwhile is late.
    pub(super) fn overslept(&mut self, now: Now) {
        for deadline in self.calls.values_mut() {
            *deadline = (*deadline).max(now.instant);
        }
    }

    /// The calls that have no outcome yet.
    pub(super) fn open_calls(&self) -> usize {
        self.calls.len()
    }

    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(self.catalog.snapshot())
    }

    pub(super) fn want(&mut self, now: Now, topic: &TopicName) {
        self.catalog.want(now, topic.clone());
    }

    pub(super) fn refresh(&mut self, now: Now) {
        self.catalog.refresh(now);
    }

    pub(super) fn leader_changed(&mut self, now: Now, hint: LeaderHint) {
        let mut out = Outbox::default();
        self.catalog.leader_changed(now, hint, &mut out);
        self.changed |= !out.events.is_empty();
    }

    /// Whether the view has changed since this was last asked.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Whether the role has something to take.
    pub(super) fn has_news(&self) -> bool {
        self.changed || !self.outcomes.is_empty() || !self.inbox.is_empty()
    }

    pub(super) fn take_outcome(&mut self) -> Option<(Token, Outcome)> {
        self.outcomes.pop_front()
    }

    pub(super) fn submit(&mut self, now: Now, call: Call) {
        let known = self.calls.insert(call.token, call.deadline);
        assert!(known.is_none(), "a token is given twice: {call:?}");
        self.route(now, call, Caller::Role);
    }

    fn route(&mut self, now: Now, call: Call, caller: Caller) {
        let node = match call.target {
            Target::Broker(node) => Some(node),
            Target::Any | Target::Controller => self.any(),
        };
        let reply = (caller, call.token);
        let Some((node, place)) = node.and_then(|node| Some((node, self.place(node)?))) else {
            self.catalog.refresh(now);
            let detail = "no address is known".to_owned();
            let kind = io::ErrorKind::NotFound;
            let error = ErrorKind::Io { peer: "a broker".to_owned(), kind, detail }.into();
            return self.done(now, reply, Err(Failure { maybe_sent: false, error }));
        };
        let key = (node, call.purpose);
        let (config, random) = (&self.config, &mut self.random);
        let connected = self.links.entry(key).or_insert_with(|| {
            let settings = LinkSettings::new(config, call.purpose);
            let link = Link::new(settings, node, call.purpose, place, now, Random::new(random.next_u64()));
            Connected { link, wire: None, dialing: None, unread: BytesMut::new() }
        });
        connected.link.submit(now, call, reply);
    }

    fn any(&mut self) -> Option<NodeId> {
        let known: Vec<NodeId> = self.catalog.snapshot().brokers().map(|broker| broker.id).collect();
        let bootstrap = (0..self.config.bootstrap.len()).filter_map(bootstrap_node);
        let nodes: Vec<NodeId> = if known.is_empty() { bootstrap.collect() } else { known };
        let place = self.random.below(nodes.len() as u64) as usize;
        nodes.get(place).copied()
    }

    fn place(&self, node: NodeId) -> Option<Place> {
        if let Some(index) = bootstrap_index(node) {
            let (host, port) = self.config.bootstrap.get(index)?.rsplit_once(':')?;
            let address = Address { host: Str::from(host), port: port.parse().ok()? };
            return Some(Place { address, expected: None });
        }
        let snapshot = self.catalog.snapshot();
        let Broker { host, port, .. } = snapshot.broker(node)?;
        let cluster_id = snapshot.cluster_id.clone();
        let expected = cluster_id.map(|cluster_id| Expected { cluster_id, node });
        Some(Place { address: Address { host: host.clone(), port: *port }, expected })
    }

    fn done(&mut self, now: Now, (caller, token): (Caller, Token), outcome: Outcome) {
        match caller {
            Caller::Role => {
                let deadline = self.calls.remove(&token).expect("one outcome of each call");
                assert!(
                    now.instant <= deadline + SLACK,
                    "a call is answered after its deadline: {outcome:?}"
                );
                self.outcomes.push_back((token, outcome));
            }
            Caller::Catalog => {
                let mut out = Outbox::default();
                self.catalog.answer(now, token, outcome, &mut out);
                self.take(now, out);
            }
        }
    }

    fn take(&mut self, now: Now, out: Outbox<Event>) {
        self.changed |= out.events.iter().any(|event| matches!(event, Event::Updated(_)));
        for call in out.calls {
            self.route(now, call, Caller::Catalog);
        }
    }

    /// Does what is due, until nothing more is.
    pub(super) fn tick(&mut self, now: Now, network: &mut Network, is_up: &dyn Fn(NodeId) -> bool) {
        while let Some((wire, incoming)) = self.inbox.pop_front() {
            match incoming {
                Incoming::Bytes(bytes) => self.received(now, wire, &bytes, network),
                Incoming::Broken => self.broken(now, wire, network),
            }
        }
        let mut out = Outbox::default();
        self.catalog.tick(now, &mut out);
        self.catalog.check();
        self.take(now, out);
        let keys: Vec<_> = self.links.keys().copied().collect();
        for key in keys {
            self.dialed(now, key, network, is_up);
            if let Some(connected) = self.links.get_mut(&key) {
                connected.link.tick(now);
            }
            self.carry_out(now, key, network);
        }
    }

    fn dialed(
        &mut self,
        now: Now,
        key: (NodeId, Purpose),
        network: &mut Network,
        is_up: &dyn Fn(NodeId) -> bool,
    ) {
        let Some(connected) = self.links.get_mut(&key) else { return };
        let due = connected.dialing.take_if(|(_, at)| *at <= now.instant);
        let Some((address, _)) = due else { return };
        // A node's port is 9000 and its id.
        let node = NodeId(i32::from(address.port) - 9_000);
        let result = if is_up(node) {
            connected.wire = Some(network.open(node, self.owner));
            connected.unread.clear();
            Ok(address.to_string())
        } else {
            let kind = io::ErrorKind::ConnectionRefused;
            Err(ErrorKind::Io { peer: address.to_string(), kind, detail: "refused".to_owned() }.into())
        };
        connected.link.dialed(now, result);
    }

    /// Does what a link wants, and writes what it has to write.
    fn carry_out(&mut self, now: Now, key: (NodeId, Purpose), network: &mut Network) {
        loop {
            let Some(connected) = self.links.get_mut(&key) else { return };
            connected.link.check();
            let effects = connected.link.effects();
            let idle = effects.is_empty();
            for effect in effects {
                let Some(connected) = self.links.get_mut(&key) else { return };
                match effect {
                    Effect::Dial { address, .. } => {
                        let delay = Duration::from_micros(200 + self.random.below(5_000));
                        connected.dialing = Some((address, now.instant + delay));
                    }
                    Effect::Close => {
                        connected.dialing = None;
                        if let Some(wire) = connected.wire.take() {
                            network.leave(now.instant, wire, &mut self.random);
                        }
                    }
                    Effect::Count(_) => {}
                    Effect::Done(reply, outcome) => self.done(now, reply, outcome),
                }
            }
            let Some(connected) = self.links.get_mut(&key) else { return };
            let bytes: Vec<u8> = connected.link.outgoing().parts().flat_map(|part| part.to_vec()).collect();
            if let (Some(wire), false) = (connected.wire, bytes.is_empty()) {
                // The operating system takes a part of it.
                let count = 1 + self.random.below(bytes.len() as u64) as usize;
                let taken = Bytes::copy_from_slice(&bytes[..count]);
                network.send(now.instant, wire, Way::ToNode, taken, &mut self.random);
                connected.link.written(now, count);
            } else if idle {
                return;
            }
        }
    }

    /// Bytes have come over a connection.
    fn received(&mut self, now: Now, wire: ConnectionId, bytes: &[u8], network: &mut Network) {
        let Some(key) = self.key(wire) else { return };
        if let Some(connected) = self.links.get_mut(&key) {
            connected.unread.extend_from_slice(bytes);
            connected.link.received(now, &mut connected.unread);
        }
        self.carry_out(now, key, network);
    }

    /// A connection is gone.
    fn broken(&mut self, now: Now, wire: ConnectionId, network: &mut Network) {
        let Some(key) = self.key(wire) else { return };
        if let Some(connected) = self.links.get_mut(&key) {
            connected.wire = None;
            let in_frame = !connected.unread.is_empty();
            let error = io::Error::new(io::ErrorKind::ConnectionReset, "reset by the simulation");
            connected.link.closed(now, &error, in_frame);
        }
        self.carry_out(now, key, network);
    }

    fn key(&self, wire: ConnectionId) -> Option<(NodeId, Purpose)> {
        self.links.iter().find(|(_, connected)| connected.wire == Some(wire)).map(|(key, _)| *key)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let links = self.links.values().filter_map(|connected| {
            let dialing = connected.dialing.as_ref().map(|(_, at)| *at);
            earlier(dialing, connected.link.deadline())
        });
        earlier(self.catalog.deadline(), links.min())
    }
}
