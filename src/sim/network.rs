//! The wires between clients and nodes: bytes arrive late, in pieces, or not at all.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use bytes::Bytes;

use crate::{engine::backoff::Random, testing::broker::ConnectionId, types::NodeId};

/// One direction of a connection: pieces in order, each with the time of its arrival.
#[derive(Debug, Default)]
struct Pipe {
    pieces: VecDeque<(Instant, Piece)>,
    /// Nothing arrives before this: what came earlier, or a stall.
    not_before: Option<Instant>,
}

#[derive(Debug)]
enum Piece {
    Bytes(Bytes),
    /// A part of what was sent; the connection breaks behind it.
    Cut(Bytes),
    /// The sender has closed the connection.
    End,
}

/// A connection between a link of a client and a node.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) node: NodeId,
    /// Whose client opened it.
    pub(super) owner: u64,
    to_node: Pipe,
    to_client: Pipe,
    /// Whether the client has closed it, which the node may not know yet.
    is_left: bool,
    /// Nothing arrives any more, and nobody is told.
    is_dead: bool,
}

/// All connections of which at least one side knows.
#[derive(Debug, Default)]
pub(super) struct Network {
    wires: BTreeMap<ConnectionId, Wire>,
    next: u64,
}

/// Which way a piece goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    ToClient,
    ToNode,
}

/// What arrives.
#[derive(Debug)]
pub(super) enum Arrival {
    Bytes(Way, Bytes),
    /// The last bytes: the connection breaks behind them, and both sides are told.
    Cut(Way, Bytes),
    /// The client has closed the connection, and the node has got everything that was sent before.
    End,
}

impl Network {
    pub(super) fn open(&mut self, node: NodeId, owner: u64) -> ConnectionId {
        self.next += 1;
        let id = ConnectionId(self.next);
        let (to_node, to_client) = (Pipe::default(), Pipe::default());
        self.wires.insert(id, Wire { node, owner, to_node, to_client, is_left: false, is_dead: false });
        id
    }

    pub(super) fn wire(&self, id: ConnectionId) -> Option<&Wire> {
        self.wires.get(&id)
    }

    pub(super) fn remove(&mut self, id: ConnectionId) -> Option<Wire> {
        self.wires.remove(&id)
    }

    /// The connections that their client uses.
    pub(super) fn in_use(&self) -> impl Iterator<Item = (ConnectionId, u64)> {
        self.wires.iter().filter(|(_, wire)| !wire.is_left).map(|(id, wire)| (*id, wire.owner))
    }

    /// The connections that nobody will hear of again.
    pub(super) fn dead(&self) -> Vec<ConnectionId> {
        self.wires.iter().filter(|(_, wire)| wire.is_dead).map(|(id, _)| *id).collect()
    }

    /// Sends bytes on their way, cut at random places.
    pub(super) fn send(
        &mut self,
        now: Instant,
        id: ConnectionId,
        way: Way,
        mut bytes: Bytes,
        random: &mut Random,
    ) {
        let Some(pipe) = self.pipe(id, way) else { return };
        while !bytes.is_empty() {
            let whole = random.below(3) > 0;
            let len = if whole { bytes.len() } else { 1 + random.below(bytes.len() as u64) as usize };
            pipe.push(now, Piece::Bytes(bytes.split_to(len)), random);
        }
    }

    /// The client closes the connection. What it has sent still arrives, and the node may carry it out.
    pub(super) fn leave(&mut self, now: Instant, id: ConnectionId, random: &mut Random) {
        if let Some(pipe) = self.pipe(id, Way::ToNode) {
            pipe.push(now, Piece::End, random);
        }
        if let Some(wire) = self.wires.get_mut(&id) {
            wire.is_left = true;
            wire.to_client.pieces.clear();
        }
    }

    /// Lets nothing through for a while.
    pub(super) fn stall(&mut self, now: Instant, id: ConnectionId, way: Way, pause: Duration) {
        let Some(pipe) = self.pipe(id, way) else { return };
        let until = now + pause;
        pipe.not_before = Some(pipe.not_before.map_or(until, |earliest| earliest.max(until)));
        let mut at = until;
        for (arrival, _) in &mut pipe.pieces {
            at += Duration::from_micros(1);
            *arrival = (*arrival).max(at);
        }
    }

    /// The connection is dead, and neither side is told.
    pub(super) fn kill(&mut self, id: ConnectionId) {
        if let Some(wire) = self.wires.get_mut(&id) {
            wire.is_dead = true;
            wire.to_node.pieces.clear();
            wire.to_client.pieces.clear();
        }
    }

    /// Breaks the connection in the middle of what is on its way; whether there is something.
    pub(super) fn cut(&mut self, id: ConnectionId, way: Way, random: &mut Random) -> bool {
        let Some(pipe) = self.pipe(id, way) else { return false };
        let Some((_, piece)) = pipe.pieces.front_mut() else { return false };
        let Piece::Bytes(bytes) = piece else { return false };
        if bytes.len() < 2 {
            return false;
        }
        let len = 1 + random.below(bytes.len() as u64 - 1) as usize;
        *piece = Piece::Cut(bytes.slice(..len));
        true
    }

    /// Takes the next piece that has arrived.
    pub(super) fn arrived(&mut self, now: Instant) -> Option<(ConnectionId, Arrival)> {
        for (id, wire) in &mut self.wires {
            for (way, pipe) in [(Way::ToNode, &mut wire.to_node), (Way::ToClient, &mut wire.to_client)] {
                if pipe.pieces.front().is_none_or(|(at, _)| *at > now) {
                    continue;
                }
                let Some((_, piece)) = pipe.pieces.pop_front() else { continue };
                let arrival = match piece {
                    Piece::Bytes(bytes) => Arrival::Bytes(way, bytes),
                    Piece::Cut(bytes) => Arrival::Cut(way, bytes),
                    Piece::End => Arrival::End,
                };
                return Some((*id, arrival));
            }
        }
        None
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let heads = self.wires.values().flat_map(|wire| [&wire.to_node, &wire.to_client]);
        heads.filter_map(|pipe| pipe.pieces.front().map(|(at, _)| *at)).min()
    }

    /// One direction of a connection, if anything can be sent in it.
    fn pipe(&mut self, id: ConnectionId, way: Way) -> Option<&mut Pipe> {
        let wire = self.wires.get_mut(&id).filter(|wire| !wire.is_left && !wire.is_dead)?;
        Some(match way {
            Way::ToClient => &mut wire.to_client,
            Way::ToNode => &mut wire.to_node,
        })
    }
}

impl Pipe {
    fn push(&mut self, now: Instant, piece: Piece, random: &mut Random) {
        let latency = Duration::from_micros(100 + random.below(3_000));
        let at = self.not_before.map_or(now, |earliest| earliest.max(now)) + latency;
        self.not_before = Some(at);
        self.pieces.push_back((at, piece));
    }
}
