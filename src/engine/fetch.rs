//! Plans fetches and takes their answers.
//!
//! Every broker that leads an assigned partition has one fetch in flight at any time, whatever the user does and
//! however the other brokers fare, as long as there is room for the answer: the byte budget is split evenly among the
//! brokers, so that a fast one starves none. A fetch goes on behind what is *buffered*, not behind what the user took,
//! and responses are kept whole; so every byte is downloaded once.

mod answer;
mod buffered;
mod cursor;
mod extent;
mod node;
mod plan;
mod request;
mod session;
mod types;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

pub(crate) use self::{
    buffered::{Buffered, Held},
    types::{Event, Fetched, Settings},
};
use self::{
    cursor::{Cursor, State},
    node::Node,
};
use crate::{
    engine::{
        backoff::Random,
        machine::{Now, Outbox, Tokens},
        partition::{Claim, Leader},
    },
    types::{NodeId, TopicPartition},
    wire::uuid::Uuid,
};

/// The fetches of one consumer.
#[derive(Debug)]
pub(crate) struct Fetcher {
    settings: Settings,
    cursors: HashMap<TopicPartition, Cursor>,
    nodes: BTreeMap<NodeId, Node>,
    buffered: Arc<Buffered>,
    /// What the answers to the fetches in flight may hold.
    reserved: usize,
    passes: u64,
    tokens: Tokens,
    random: Random,
}

impl Fetcher {
    pub(crate) fn new(settings: Settings, buffered: Arc<Buffered>, tokens: Tokens, random: Random) -> Self {
        Self {
            settings,
            cursors: HashMap::new(),
            nodes: BTreeMap::new(),
            buffered,
            reserved: 0,
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
        if let Some(leader) = leader {
            self.list(&partition, leader, true);
        }
        self.cursors.insert(partition, cursor);
    }

    /// The broker is to be asked for the partition. `fresh`: nothing is known of it.
    fn list(&mut self, partition: &TopicPartition, leader: Leader, fresh: bool) {
        let node = self.nodes.entry(leader.node).or_default();
        node.order.push(partition.clone());
        if fresh && node.session.knows(leader.topic_id, partition.partition) {
            // Where the log ends was told already, to somebody who is gone.
            node.session.give_up();
        }
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

    /// Fetches from `offset` on, unless the claim is no longer the partition's.
    pub(crate) fn start(&mut self, partition: &TopicPartition, claim: Claim, offset: i64) {
        if let Some(cursor) = self.cursors.get_mut(partition).filter(|cursor| cursor.claim == claim) {
            cursor.state = State::Fetching(offset);
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
        cursor.leader = leader;
        let Some(leader) = leader else { return };
        if before != Some(leader.node) {
            // The new leader is asked at once.
            cursor.not_before = None;
        }
        if cursor.topic_id.is_zero() || matches!(cursor.state, State::Positioning(_)) {
            cursor.topic_id = leader.topic_id;
        } else if cursor.is_recreated() && cursor.state != State::Stopped {
            cursor.state = State::Stopped;
            out.events.push(Event::Recreated { partition: partition.clone(), claim: cursor.claim });
        }
        if before != Some(leader.node) {
            let fresh = cursor.end < 0;
            self.list(partition, leader, fresh);
        }
    }

    /// Asserts what must hold between any two verbs.
    #[cfg(test)]
    pub(crate) fn check(&self) {
        let in_flight = self.nodes.values().filter_map(|node| node.in_flight.as_ref());
        assert_eq!(self.reserved, in_flight.map(|flight| flight.reserved).sum::<usize>());
        for (partition, cursor) in &self.cursors {
            let listed = |id| self.nodes.get(&id).is_some_and(|node| node.order.contains(partition));
            assert!(cursor.node().is_none_or(listed), "{partition} is in its leader's list");
        }
    }
}

#[cfg(test)]
mod tests;
