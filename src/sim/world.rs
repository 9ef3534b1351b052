//! The world: the time, the cluster, the network, and one client with its role.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    mem,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};

use super::{
    client::SimClient,
    faults,
    network::{Network, Way},
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

/// What takes part in a world.
pub(super) trait Role {
    /// Takes outcomes and news from its client, does what is due, and makes calls.
    fn tick(&mut self, now: Now, client: &mut SimClient, met: &mut dyn FnMut(&'static str));

    fn deadline(&self) -> Option<Instant>;

    /// Whether everything that was asked for has been answered.
    fn is_settled(&self) -> bool;
}

/// Everything that happens on one seed.
#[derive(Debug)]
pub(super) struct World {
    pub(super) now: Now,
    pub(super) random: Random,
    pub(super) broker: Broker,
    pub(super) network: Network,
    unread: BTreeMap<ConnectionId, (FrameDecoder, BytesMut)>,
    opened: BTreeMap<ConnectionId, bool>,
    up: BTreeMap<NodeId, bool>,
    broken: Vec<ConnectionId>,
    start: Instant,
    steps: u64,
    trace: DefaultHasher,
    verbose: bool,
    met: BTreeMap<&'static str, u64>,
}

impl World {
    pub(super) fn new(seed: u64, verbose: bool) -> Self {
        let start = Instant::now() + Duration::from_secs(1_000_000);
        let mut broker = Broker::new(Settings::default(), Limits::default(), seed);
        let now = Now { instant: start, unix_ms: 1_700_000_000_000 };
        for node in 1..=NODES {
            broker.add_node(NodeId(node), "sim", 9_000 + node as u16, None);
        }
        broker.create_topic(now, TOPIC, PARTITIONS, &[]).expect("a topic");
        Self {
            now,
            random: Random::new(seed.wrapping_mul(0x9E37_79B9).wrapping_add(1)),
            broker,
            network: Network::default(),
            unread: BTreeMap::new(),
            opened: BTreeMap::new(),
            up: (1..=NODES).map(|node| (NodeId(node), true)).collect(),
            broken: Vec::new(),
            start,
            steps: 0,
            trace: DefaultHasher::new(),
            verbose,
            met: BTreeMap::new(),
        }
    }

    pub(super) fn client(&mut self) -> SimClient {
        let bootstrap = (1..=NODES).map(|node| format!("sim:{}", 9_000 + node)).collect();
        let random = Random::new(self.random.next_u64());
        SimClient::new(self.now, bootstrap, random)
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

    pub(super) fn met(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.met.iter().map(|(path, count)| (*path, *count))
    }

    /// Notes that a fault or a path was met.
    pub(super) fn meet(&mut self, path: &'static str) {
        *self.met.entry(path).or_default() += 1;
        self.note(path);
    }

    fn note(&mut self, what: &str) {
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

    pub(super) fn pick_wire(&mut self) -> Option<ConnectionId> {
        let count = self.network.wires.len() as u64;
        let place = self.random.below(count) as usize;
        self.network.wires.keys().nth(place).copied()
    }

    /// Breaks a connection: what is on its way in either direction is lost.
    pub(super) fn break_wire(&mut self, wire: ConnectionId) {
        self.network.wires.remove(&wire);
        self.broker.connection_closed(self.now, wire);
        self.broken.push(wire);
    }

    /// Runs until `end`, with faults or without; ends early once the role is settled and nothing goes wrong any more.
    pub(super) fn run(
        &mut self,
        role: &mut dyn Role,
        client: &mut SimClient,
        end: Instant,
        with_faults: bool,
    ) {
        let mut strike = self.now.instant + faults::pause(&mut self.random);
        while self.now.instant < end && (with_faults || !role.is_settled()) {
            self.settle(role, client);
            let next = [self.network.deadline(), self.broker.deadline(), client.deadline(), role.deadline()];
            let next = next.into_iter().fold(Some(end), earlier).unwrap_or(end);
            let next = if with_faults { next.min(strike) } else { next };
            // Deadlines may lie in the past; time does not go back, and it does not stand still either.
            let step = next.saturating_duration_since(self.now.instant).max(Duration::from_micros(1));
            self.now = self.now.after(step);
            self.steps += 1;
            assert!(self.steps < 5_000_000, "the world spins");
            if with_faults && strike <= self.now.instant {
                faults::strike(self);
                strike = self.now.instant + faults::pause(&mut self.random);
            }
        }
    }

    /// Carries out everything that is due at this moment.
    fn settle(&mut self, role: &mut dyn Role, client: &mut SimClient) {
        self.broker.tick(self.now);
        self.react();
        while let Some((wire, way, bytes)) = self.network.arrived(self.now.instant) {
            match way {
                Way::ToClient => client.received(self.now, wire, &bytes, &mut self.network),
                Way::ToNode => self.reach_node(wire, &bytes),
            }
            self.react();
        }
        let up = self.up.clone();
        let is_up = |node| up.get(&node) == Some(&true);
        loop {
            for wire in mem::take(&mut self.broken) {
                self.unread.remove(&wire);
                client.broken(self.now, wire, &mut self.network);
            }
            client.tick(self.now, &mut self.network, &is_up);
            let mut met = Vec::new();
            role.tick(self.now, client, &mut |path| met.push(path));
            met.into_iter().for_each(|path| self.meet(path));
            client.tick(self.now, &mut self.network, &is_up);
            self.react();
            if self.broken.is_empty() && !client.has_news() {
                return;
            }
        }
    }

    /// Bytes have come to a node.
    fn reach_node(&mut self, wire: ConnectionId, bytes: &[u8]) {
        let Some(node) = self.network.wires.get(&wire).map(|wire| wire.node) else { return };
        if !self.opened.contains_key(&wire) {
            let taken = self.broker.connection_opened(node, wire);
            self.opened.insert(wire, taken);
            if !taken {
                return self.break_wire(wire);
            }
        }
        let (frames, unread) =
            self.unread.entry(wire).or_insert_with(|| (FrameDecoder::new(100 << 20), BytesMut::new()));
        unread.extend_from_slice(bytes);
        let mut whole: Vec<Bytes> = Vec::new();
        while let Some(frame) = frames.next(unread).expect("our own frames") {
            whole.push(frame);
        }
        for frame in whole {
            self.note("request");
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
                    self.network.wires.remove(&connection);
                    self.broken.push(connection);
                }
            }
        }
    }
}
