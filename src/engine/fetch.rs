//! Plans fetches and takes their answers.
//!
//! Every broker that leads an assigned partition has one fetch in flight at any time, whatever the user does and
//! however the other brokers fare, as long as there is room for the answer: the byte budget is split evenly among the
//! brokers, so that a fast one starves none. A fetch goes on behind what is *buffered*, not behind what the user took,
//! and responses are kept whole; so every byte is downloaded once.

mod answer;
mod buffered;
mod cursor;
mod cursors;
mod extent;
mod lineage;
mod node;
mod plan;
mod request;
mod session;
mod types;

use std::{collections::BTreeMap, sync::Arc, time::Instant};

pub(crate) use self::{
    buffered::{Buffered, Held},
    types::{Event, Fetched, Settings},
};
use self::{
    cursor::{Cursor, Replica, State},
    cursors::Cursors,
    node::Node,
};
use crate::{
    engine::{
        backoff::Random,
        machine::{Now, Outbox, Tokens, earlier},
        partition::{Claim, Leader, Spot},
    },
    types::{NodeId, TopicPartition},
    wire::uuid::Uuid,
};

/// The fetches of one consumer.
#[derive(Debug)]
pub(crate) struct Fetcher {
    settings: Settings,
    cursors: Cursors,
    nodes: BTreeMap<NodeId, Node>,
    buffered: Arc<Buffered>,
    /// What the answers to the fetches in flight may hold.
    reserved: usize,
    /// No replica that is asked in a leader's place has had its time before.
    replicas_until: Option<Instant>,
    passes: u64,
    tokens: Tokens,
    random: Random,
}

impl Fetcher {
    pub(crate) fn new(settings: Settings, buffered: Arc<Buffered>, tokens: Tokens, random: Random) -> Self {
        Self {
            settings,
            cursors: Cursors::default(),
            nodes: BTreeMap::new(),
            buffered,
            reserved: 0,
            replicas_until: None,
            passes: 0,
            tokens,
            random,
        }
    }

    /// Takes on a partition whose position is being looked up.
    pub(crate) fn add(
        &mut self,
        now: Now,
        partition: TopicPartition,
        claim: Claim,
        leader: Option<Leader>,
        paused: bool,
    ) {
        let mut cursor = Cursor::new(claim, now.instant, paused, self.settings.partition_max_bytes);
        cursor.leader = leader;
        cursor.topic_id = leader.map_or(Uuid::ZERO, |leader| leader.topic_id);
        self.cursors.insert(partition.clone(), cursor);
        self.list(&partition);
    }

    /// Whoever the cursor says is to be asked for the partition.
    fn list(&mut self, partition: &TopicPartition) {
        let Some(cursor) = self.cursors.get(partition) else { return };
        let (Some(id), Some(leader)) = (cursor.node(), cursor.leader) else { return };
        let node = self.nodes.entry(id).or_default();
        node.order.push(partition.clone());
        if cursor.end < 0 && node.session.knows(leader.topic_id, partition.partition) {
            // Where the log ends was told already, to somebody who is gone.
            node.session.give_up();
        }
    }

    /// Asks this broker for the partition from now on.
    fn redirect(&mut self, partition: &TopicPartition, replica: Option<Replica>) {
        let Some(cursor) = self.cursors.get_mut(partition) else { return };
        let before = cursor.node();
        cursor.replica = replica;
        if cursor.node() != before {
            tracing::debug!(%partition, from = ?before, to = ?cursor.node(), "another replica is read from");
            self.list(partition);
        }
        self.replicas_until = earlier(self.replicas_until, replica.map(|replica| replica.until));
    }

    pub(crate) fn remove(&mut self, partition: &TopicPartition) {
        self.cursors.remove(partition);
    }

    /// What is under way and buffered for the partition is void; its next position is being looked up.
    pub(crate) fn reset(&mut self, now: Now, partition: &TopicPartition, claim: Claim) {
        if let Some(cursor) = self.cursors.get_mut(partition) {
            cursor.renew(claim, now.instant, self.settings.partition_max_bytes);
        }
    }

    /// Fetches from here on, unless the claim is no longer the partition's.
    pub(crate) fn start(&mut self, partition: &TopicPartition, claim: Claim, spot: Spot) {
        if let Some(cursor) = self.cursors.get_mut(partition).filter(|cursor| cursor.claim == claim) {
            cursor.start(spot);
        }
    }

    /// A paused partition keeps what is buffered and is not fetched.
    pub(crate) fn pause(&mut self, partition: &TopicPartition, paused: bool) {
        if let Some(cursor) = self.cursors.get_mut(partition) {
            cursor.paused = paused;
        }
    }

    pub(crate) fn set_leader(
        &mut self,
        partition: &TopicPartition,
        leader: Option<Leader>,
        out: &mut Outbox<Event>,
    ) {
        let Some(cursor) = self.cursors.get_mut(partition) else { return };
        let before = cursor.node();
        cursor.set_leader(leader);
        let Some(leader) = leader else { return };
        if cursor.topic_id.is_zero() || matches!(cursor.state, State::Positioning(_)) {
            cursor.topic_id = leader.topic_id;
        } else if cursor.is_recreated() && cursor.state != State::Stopped {
            cursor.state = State::Stopped;
            out.events.push(Event::Recreated { partition: partition.clone(), claim: cursor.claim });
        }
        if before != cursor.node() {
            self.list(partition);
        }
    }

    /// Asserts what must hold between any two verbs.
    #[cfg(test)]
    pub(crate) fn check(&self) {
        let in_flight = self.nodes.values().filter_map(|node| node.in_flight.as_ref());
        assert_eq!(self.reserved, in_flight.map(|flight| flight.reserved).sum::<usize>());
        for (partition, cursor) in self.cursors.iter() {
            let listed = |id| self.nodes.get(&id).is_some_and(|node| node.order.contains(partition));
            assert!(cursor.node().is_none_or(listed), "{partition} is in its leader's list");
        }
    }
}

#[cfg(test)]
mod tests;
