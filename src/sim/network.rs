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
    pieces: VecDeque<(Instant, Bytes)>,
    /// Nothing arrives before this: what came earlier, or a stall.
    not_before: Option<Instant>,
}

/// A connection between a link of a client and a node.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) node: NodeId,
    to_node: Pipe,
    to_client: Pipe,
}

/// All connections that are open.
#[derive(Debug, Default)]
pub(super) struct Network {
    pub(super) wires: BTreeMap<ConnectionId, Wire>,
    next: u64,
}

/// Which way a piece goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    ToClient,
    ToNode,
}

impl Network {
    pub(super) fn open(&mut self, node: NodeId) -> ConnectionId {
        self.next += 1;
        let id = ConnectionId(self.next);
        self.wires.insert(id, Wire { node, to_node: Pipe::default(), to_client: Pipe::default() });
        id
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
            let latency = Duration::from_micros(100 + random.below(3_000));
            let at = pipe.not_before.map_or(now, |earliest| earliest.max(now)) + latency;
            pipe.not_before = Some(at);
            pipe.pieces.push_back((at, bytes.split_to(len)));
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

    /// Takes the next piece that has arrived.
    pub(super) fn arrived(&mut self, now: Instant) -> Option<(ConnectionId, Way, Bytes)> {
        for (id, wire) in &mut self.wires {
            for (way, pipe) in [(Way::ToNode, &mut wire.to_node), (Way::ToClient, &mut wire.to_client)] {
                if pipe.pieces.front().is_some_and(|(at, _)| *at <= now) {
                    return pipe.pieces.pop_front().map(|(_, bytes)| (*id, way, bytes));
                }
            }
        }
        None
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let heads = self.wires.values().flat_map(|wire| [&wire.to_node, &wire.to_client]);
        heads.filter_map(|pipe| pipe.pieces.front().map(|(at, _)| *at)).min()
    }

    fn pipe(&mut self, id: ConnectionId, way: Way) -> Option<&mut Pipe> {
        let wire = self.wires.get_mut(&id)?;
        Some(match way {
            Way::ToClient => &mut wire.to_client,
            Way::ToNode => &mut wire.to_node,
        })
    }
}
