//! Where the fetcher stands in one partition.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use super::lineage::Lineage;
use crate::{
    engine::{
        machine::Token,
        partition::{Claim, Leader, Spot},
    },
    types::NodeId,
    wire::{messages::fetch_response::PartitionData, uuid::Uuid},
};

/// One assigned partition.
#[derive(Debug)]
pub(super) struct Cursor {
    pub(super) claim: Claim,
    pub(super) state: State,
    pub(super) paused: bool,
    pub(super) leader: Option<Leader>,
    /// Who is to be asked in the leader's place.
    pub(super) replica: Option<Replica>,
    /// The topic that the offset belongs to: one of the same name but another id has other records.
    pub(super) topic_id: Uuid,
    /// Fetched bytes that wait to be handed out.
    pub(super) buffered: Arc<AtomicUsize>,
    /// Grows where a batch does not fit, and shrinks back when it came.
    pub(super) max_bytes: usize,
    /// The leader epochs of what was fetched.
    pub(super) lineage: Lineage,
    /// One behind the last record that may be read, as the last answer told; negative before the first.
    pub(super) end: i64,
    /// Refusals in a row.
    pub(super) failures: u32,
    /// Answers in a row whose bytes led nowhere.
    pub(super) stalls: u32,
    pub(super) not_before: Option<Instant>,
    /// The first request that asked for it from this offset on; who repeats it goes by its name
    /// ([`InFlight::order`](super::node::InFlight)). A newer position makes it void.
    pub(super) asked: Option<(Token, i64)>,
    /// The last answer that brought data: those that got none are served first next time.
    pub(super) served: Option<Token>,
    /// The last pass over its broker's list that met it.
    pub(super) seen: u64,
}

/// A replica that the leader prefers to be read from, being nearer (KIP-392).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Replica {
    pub(super) node: NodeId,
    /// When the leader is to be asked again.
    pub(super) until: Instant,
}

/// What a partition waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// A position that is being looked up since then.
    Positioning(Instant),
    /// Data from this offset on, which lies behind what is buffered.
    Fetching(i64),
    /// A new position that somebody has to choose.
    Stopped,
}

impl Cursor {
    pub(super) fn new(claim: Claim, since: Instant, paused: bool, max_bytes: usize) -> Self {
        Self {
            claim,
            state: State::Positioning(since),
            paused,
            leader: None,
            replica: None,
            topic_id: Uuid::ZERO,
            buffered: Arc::default(),
            max_bytes,
            lineage: Lineage::default(),
            end: -1,
            failures: 0,
            stalls: 0,
            not_before: None,
            asked: None,
            served: None,
            seen: 0,
        }
    }

    /// Whom to ask: the leader, or the replica that it prefers.
    pub(super) fn node(&self) -> Option<NodeId> {
        let leader = self.leader?;
        Some(self.replica.map_or(leader.node, |replica| replica.node))
    }

    /// Takes over who leads.
    pub(super) fn set_leader(&mut self, leader: Option<Leader>) {
        let node = |leader: Option<Leader>| leader.map(|leader| leader.node);
        if node(leader) != node(self.leader) {
            // The new leader is asked at once, and for whom it prefers.
            self.not_before = None;
            self.replica = None;
        }
        self.leader = leader;
    }

    /// Fetches from here on.
    pub(super) fn start(&mut self, spot: Spot) {
        self.state = State::Fetching(spot.offset);
        self.lineage.start(spot);
    }

    pub(super) fn buffered(&self) -> usize {
        self.buffered.load(Ordering::SeqCst)
    }

    /// The offset that the request `order`, or who repeats it, asked for, if the answer still counts.
    pub(super) fn asked_by(&self, order: Token) -> Option<i64> {
        let (asked, offset) = self.asked?;
        (asked == order && self.state == State::Fetching(offset)).then_some(offset)
    }

    /// What was asked and learnt under the old claim is void.
    pub(super) fn renew(&mut self, claim: Claim, since: Instant, max_bytes: usize) {
        self.claim = claim;
        self.state = State::Positioning(since);
        if self.is_recreated() {
            self.lineage.clear();
        }
        self.topic_id = self.leader.map_or(Uuid::ZERO, |leader| leader.topic_id);
        self.max_bytes = max_bytes;
        self.asked = None;
        self.progressed();
    }

    /// Takes over where an answer says that readable records end; whether it says something new.
    pub(super) fn has_new_end(&mut self, read_committed: bool, data: &PartitionData) -> bool {
        let stable = Some(data.last_stable_offset).filter(|offset| read_committed && *offset >= 0);
        let before = std::mem::replace(&mut self.end, stable.unwrap_or(data.high_watermark));
        before != self.end
    }

    /// The broker serves the partition as it should.
    pub(super) fn progressed(&mut self) {
        self.failures = 0;
        self.stalls = 0;
        self.not_before = None;
    }

    /// Whether the topic under this name is another than the one that the position belongs to.
    pub(super) fn is_recreated(&self) -> bool {
        let current = self.leader.map_or(Uuid::ZERO, |leader| leader.topic_id);
        !current.is_zero() && !self.topic_id.is_zero() && current != self.topic_id
    }
}
