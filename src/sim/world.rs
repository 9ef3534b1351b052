//! The world: the time, the cluster, the network, and what was met.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    mem,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};

use super::{
    cast::Cast,
    client::{Incoming, SimClient},
    faults::{self, Planned},
    network::{Arrival, Network, Way},
};
use crate::{
    engine::{
        backoff::Random,
        machine::{Now, earlier},
    },
    testing::{
        Limits, Settings,
        broker::{Broker, ConnectionId, Reaction},
    },
    types::NodeId,
    wire::frame::FrameDecoder,
};

pub(super) const TOPIC: &str = "t";
pub(super) const PARTITIONS: usize = 3;
const NODES: i32 = 3;

/// Everything that happens on one seed.
#[derive(Debug)]
pub(super) struct World {
    pub(super) now: Now,
    pub(super) random: Random,
    pub(super) broker: Broker,
    pub(super) network: Network,
    /// Whether there are transactions, in which more can go wrong.
    pub(super) has_transactions: bool,
    /// Rules of the broker that are in force.
    pub(super) planned: Vec<Planned>,
    unread: BTreeMap<ConnectionId, (FrameDecoder, BytesMut)>,
    opened: BTreeSet<ConnectionId>,
    up: BTreeMap<NodeId, bool>,
    /// Connections that have broken, and whose they were.
    broken: Vec<(ConnectionId, u64)>,
    clients: u64,
    start: Instant,
    steps: u64,
    trace: DefaultHasher,
    verbose: bool,
    met: BTreeMap<String, u64>,
}

impl World {
    pub(super) fn new(seed: u64, verbose: bool) -> Self {
        let start = Instant::now() + Duration::from_secs(1_000_000);
        let mut broker = Broker::new(settings(seed), Limits::default(), seed);
        let now = Now { instant: start, unix_ms: 1_700_000_000_000 };
        for node in 1..=NODES {
            let rack = format!("rack-{node}");
            broker.add_node(NodeId(node), "sim", 9_000 + node as u16, Some(&rack));
        }
        broker.create_topic(now, TOPIC, PARTITIONS, topic_settings(seed)).expect("a topic");
        Self {
            now,
            random: Random::new(seed.wrapping_mul(0x9E37_79B9).wrapping_add(1)),
            broker,
            network: Network::default(),
            has_transactions: false,
            planned: Vec::new(),
            unread: BTreeMap::new(),
            opened: BTreeSet::new(),
            up: (1..=NODES).map(|node| (NodeId(node), true)).collect(),
            broken: Vec::new(),
            clients: 0,
            start,
            steps: 0,
            trace: DefaultHasher::new(),
            verbose,
            met: BTreeMap::new(),
        }
    }

    pub(super) fn client(&mut self) -> SimClient {
        self.clients += 1;
        let bootstrap = (1..=NODES).map(|node| format!("sim:{}", 9_000 + node)).collect();
        let random = Random::new(self.random.next_u64());
        SimClient::new(self.now, self.clients, bootstrap, random)
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.now.instant - self.start
    }

    /// What happened, in one number.
    pub(super) fn fingerprint(&self) -> u64 {
        self.trace.finish()
    }

    pub(super) fn steps(&self) -> u64 {
        self.steps
    }

    pub(super) fn met(&self) -> impl Iterator<Item = (&str, u64)> {
        self.met.iter().map(|(path, count)| (path.as_str(), *count))
    }

    /// Notes that a fault or a path was met.
    pub(super) fn meet(&mut self, path: &str) {
        self.meet_often(path, 1);
    }

    pub(super) fn meet_often(&mut self, path: &str, count: u64) {
        match self.met.get_mut(path) {
            Some(so_far) => *so_far += count,
            None => drop(self.met.insert(path.to_owned(), count)),
        }
        self.note(path);
    }

    pub(super) fn note(&mut self, what: &str) {
        (what, self.elapsed().as_nanos()).hash(&mut self.trace);
        if self.verbose {
            println!("{:>12.6} {what}", self.elapsed().as_secs_f64());
        }
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = NodeId> + use<> {
        (1..=NODES).map(NodeId)
    }

    pub(super) fn is_up(&self, node: NodeId) -> bool {
        self.up.get(&node) == Some(&true)
    }

    pub(super) fn stop_node(&mut self, node: NodeId) {
        self.up.insert(node, false);
        self.broker.stop_node(self.now, node);
    }

    pub(super) fn start_node(&mut self, node: NodeId) {
        self.up.insert(node, true);
        self.broker.start_node(self.now, node);
    }

    /// A connection that its client uses.
    pub(super) fn pick_wire(&mut self) -> Option<ConnectionId> {
        let wires: Vec<ConnectionId> = self.network.in_use().map(|(wire, _)| wire).collect();
        let place = self.random.below(wires.len() as u64) as usize;
        wires.get(place).copied()
    }

    /// Breaks a connection: what is on its way in either direction is lost.
    pub(super) fn break_wire(&mut self, wire: ConnectionId) {
        let Some(lost) = self.network.remove(wire) else { return };
        self.unread.remove(&wire);
        self.broker.connection_closed(self.now, wire);
        self.broken.push((wire, lost.owner));
    }

    /// Runs until `end`, with faults or without; ends early once all is settled and nothing goes wrong any more.
    pub(super) fn run(&mut self, cast: &mut Cast, end: Instant, with_faults: bool) {
        let mut strike = self.now.instant + faults::pause(&mut self.random);
        self.settle(cast);
        while self.now.instant < end && (with_faults || !cast.is_settled(self)) {
            let next = [self.network.deadline(), self.broker.deadline(), cast.deadline(self.now)];
            let next = next.into_iter().fold(Some(end), earlier).unwrap_or(end);
            let next = if with_faults { next.min(strike) } else { next };
            // A broker's deadline may lie in the past; time does not go back, and it does not stand still either.
            let step = next.saturating_duration_since(self.now.instant).max(Duration::from_micros(1));
            self.now = self.now.after(step);
            self.steps += 1;
            assert!(self.steps < 2_000_000, "the world spins");
            if with_faults && strike <= self.now.instant {
                if self.random.below(3) > 0 || !cast.change(self) {
                    faults::strike(self);
                }
                strike = self.now.instant + faults::pause(&mut self.random);
            }
            self.settle(cast);
        }
    }

    /// Carries out everything that is due at this moment.
    fn settle(&mut self, cast: &mut Cast) {
        self.broker.tick(self.now);
        self.react();
        while let Some((wire, arrival)) = self.network.arrived(self.now.instant) {
            match arrival {
                Arrival::Bytes(Way::ToClient, bytes) => self.reach_client(cast, wire, bytes),
                Arrival::Bytes(Way::ToNode, bytes) => self.reach_node(wire, &bytes),
                Arrival::Cut(way, bytes) => {
                    self.meet("fault: a connection broke in a frame");
                    match way {
                        Way::ToClient => self.reach_client(cast, wire, bytes),
                        Way::ToNode => self.reach_node(wire, &bytes),
                    }
                    self.break_wire(wire);
                }
                Arrival::End => {
                    self.network.remove(wire);
                    self.unread.remove(&wire);
                    self.broker.connection_closed(self.now, wire);
                }
            }
            self.react();
        }
        loop {
            for (wire, owner) in mem::take(&mut self.broken) {
                cast.take_in(owner, wire, Incoming::Broken);
            }
            let is_quiet = !cast.tick(self);
            self.react();
            if is_quiet && self.broken.is_empty() {
                return;
            }
        }
    }

    fn reach_client(&mut self, cast: &mut Cast, wire: ConnectionId, bytes: Bytes) {
        (wire.0, &bytes[..]).hash(&mut self.trace);
        let Some(owner) = self.network.wire(wire).map(|wire| wire.owner) else { return };
        cast.take_in(owner, wire, Incoming::Bytes(bytes));
    }

    /// Bytes have come to a node.
    fn reach_node(&mut self, wire: ConnectionId, bytes: &[u8]) {
        let Some(node) = self.network.wire(wire).map(|wire| wire.node) else { return };
        if self.opened.insert(wire) && !self.broker.connection_opened(node, wire) {
            return self.break_wire(wire);
        }
        let (frames, unread) =
            self.unread.entry(wire).or_insert_with(|| (FrameDecoder::new(100 << 20), BytesMut::new()));
        unread.extend_from_slice(bytes);
        let mut whole: Vec<Bytes> = Vec::new();
        while let Some(frame) = frames.next(unread).expect("our own frames") {
            whole.push(frame);
        }
        for frame in whole {
            (wire.0, self.elapsed().as_nanos(), &frame[..]).hash(&mut self.trace);
            self.broker.request(self.now, wire, frame);
        }
    }

    fn react(&mut self) {
        while let Some(reaction) = self.broker.reaction() {
            match reaction {
                Reaction::Reply { connection, frame } => {
                    let (now, bytes) = (self.now.instant, frame.into_bytes());
                    self.network.send(now, connection, Way::ToClient, bytes, &mut self.random);
                }
                Reaction::Silent { .. } => {}
                Reaction::Close { connection } => {
                    self.unread.remove(&connection);
                    if let Some(lost) = self.network.remove(connection) {
                        self.broken.push((connection, lost.owner));
                    }
                }
            }
        }
    }

    /// Lets a client do what is due.
    pub(super) fn tick_client(&mut self, client: &mut SimClient) {
        let up = &self.up;
        client.tick(self.now, &mut self.network, &|node| up.get(&node) == Some(&true));
    }
}

/// Half of the clusters speak of transactions in the first way, and some are slow to write markers.
fn settings(seed: u64) -> Settings {
    Settings {
        transaction_version: [2, 1][(seed / 4 % 2) as usize],
        transaction_marker_delay: Duration::from_millis([0, 20, 700][(seed / 8 % 3) as usize]),
        rack_aware_replicas: true,
        group_assignment_epochs: seed.is_multiple_of(3),
        // No member goes on for longer than this without having been heard.
        group_consumer_session_timeout: Duration::from_secs(12),
        group_consumer_heartbeat_interval: Duration::from_millis(1_500),
        ..Settings::default()
    }
}

/// In some worlds the topic does not take all that producers have for it.
fn topic_settings(seed: u64) -> &'static [(&'static str, &'static str)] {
    match seed % 4 {
        1 => &[("cleanup.policy", "compact")],
        2 => &[("max.message.bytes", "250")],
        _ => &[],
    }
}
