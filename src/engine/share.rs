//! Reads from the partitions of a share group, and says what became of the records (KIP-932).
//!
//! Each broker that leads some of the partitions has a session with the member: a request names only what has changed, and
//! carries what was decided of records since the last one. A session has one request under way. If it is lost, so is every
//! lock on records that were got in it: brokers give them to others, and nothing more can be said of them.

mod answer;
mod node;
mod types;
mod verdicts;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use node::Node;
pub(crate) use types::{Acquired, Decision, Event, Fetched, Key, Settings, Stay};
pub(crate) use verdicts::Verdict;

use crate::{
    engine::{
        backoff::Random,
        machine::{Now, Outbox, Tokens, earlier},
    },
    error::{Code, Error},
    types::{NodeId, TopicPartition},
};

/// The machine.
#[derive(Debug)]
pub(crate) struct Sharer {
    settings: Settings,
    nodes: BTreeMap<NodeId, Node>,
    stays: BTreeMap<Stay, Place>,
    last_stay: u64,
    /// Users who wait until all that was decided before is known to brokers.
    commits: Vec<Commit>,
    is_closing: bool,
    tokens: Tokens,
    random: Random,
}

/// Where a partition is read.
#[derive(Debug)]
struct Place {
    key: Key,
    partition: TopicPartition,
    node: NodeId,
    /// When the last lock on a record of it ends.
    until: Instant,
    /// Whether the session is over in which it was read.
    is_over: bool,
}

impl Place {
    /// What was decided of these offsets did not count.
    fn unsettled(&self, first: i64, last: i64, error: Error) -> Event {
        Event::Unsettled { partition: self.partition.clone(), first, last, error }
    }
}

#[derive(Debug)]
struct Commit {
    ticket: u64,
    /// How many decisions each node has to have answered.
    awaits: BTreeMap<NodeId, u64>,
    error: Option<Error>,
}

impl Commit {
    /// What was decided of something a node was to be told did not count.
    fn fail(&mut self, id: NodeId, error: &Error) {
        if self.awaits.contains_key(&id) {
            self.error.get_or_insert_with(|| error.clone());
        }
    }
}

impl Sharer {
    pub(crate) fn new(settings: Settings, tokens: Tokens, random: Random) -> Self {
        Self {
            settings,
            nodes: BTreeMap::new(),
            stays: BTreeMap::new(),
            last_stay: 0,
            commits: Vec::new(),
            is_closing: false,
            tokens,
            random,
        }
    }

    /// These partitions are read from now on, each from its leader.
    pub(crate) fn assign(
        &mut self,
        now: Now,
        sources: &BTreeMap<Key, (TopicPartition, NodeId)>,
        out: &mut Outbox<Event>,
    ) {
        for (id, node) in &mut self.nodes {
            let is_here = |key: &Key| sources.get(key).is_some_and(|(_, leader)| leader == id);
            let gone: Vec<Key> = node.wanted.keys().filter(|key| !is_here(key)).copied().collect();
            for stay in gone.iter().filter_map(|key| node.wanted.remove(key)) {
                // Its session stands: what nobody has seen yet is for others at once.
                out.events.push(Event::Ended { stay, release: true });
            }
        }
        for (key, (partition, leader)) in sources {
            let node = self.nodes.entry(*leader).or_default();
            if !node.wanted.contains_key(key) {
                let is_here = |place: &Place| place.key == *key && place.node == *leader && !place.is_over;
                // It may come back while something may still be said of what was got before.
                if let Some((stay, _)) = self.stays.iter().find(|(_, place)| is_here(place)) {
                    node.wanted.insert(*key, *stay);
                    continue;
                }
                self.last_stay = self.last_stay.wrapping_add(1);
                let stay = Stay(self.last_stay);
                node.wanted.insert(*key, stay);
                let (partition, node) = (partition.clone(), *leader);
                let place = Place { key: *key, partition, node, until: now.instant, is_over: false };
                self.stays.insert(stay, place);
            }
        }
    }

    /// The partitions that are read.
    pub(crate) fn keys(&self) -> BTreeSet<Key> {
        self.nodes.values().flat_map(|node| node.wanted.keys().copied()).collect()
    }

    /// What users have decided.
    pub(crate) fn decide(&mut self, decision: Decision, out: &mut Outbox<Event>) {
        let Decision { stay, first, last, verdict } = decision;
        let Some(place) = self.stays.get(&stay) else {
            tracing::debug!(first, last, ?verdict, "decided after all locks had ended");
            return;
        };
        match self.nodes.get_mut(&place.node).filter(|node| node.has_session() && !place.is_over) {
            Some(node) => node.decide(stay, place.key, first, last, verdict),
            None => {
                let subject = format!("broker {}", place.node);
                let error = Error::broker(Code::SHARE_SESSION_NOT_FOUND, "ShareAcknowledge", subject);
                out.events.push(place.unsettled(first, last, error));
            }
        }
    }

    /// Tells with [`Event::Committed`] when all that was decided until now is known to the brokers.
    pub(crate) fn commit(&mut self, ticket: u64) {
        let awaits = self.nodes.iter().map(|(id, node)| (*id, node.decided)).collect();
        self.commits.push(Commit { ticket, awaits, error: None });
    }

    /// Ends all sessions. [`Event::Closed`] tells when it is done.
    pub(crate) fn close(&mut self) {
        self.is_closing = true;
    }

    /// Asks what is to be asked: for records only if `wants`.
    pub(crate) fn tick(&mut self, now: Now, wants: bool, out: &mut Outbox<Event>) {
        for (id, node) in &mut self.nodes {
            let call = node.next(now, *id, &self.settings, wants, self.is_closing, &mut self.tokens);
            out.calls.extend(call);
        }
        self.nodes.retain(|_, node| !node.is_useless());
        let (nodes, instant) = (&self.nodes, now.instant);
        self.stays.retain(|stay, place| {
            let node = nodes.get(&place.node);
            place.until > instant || node.is_some_and(|node| node.knows(*stay, &place.key))
        });
        self.settle_commits(out);
        if self.is_closing && self.nodes.values().all(|node| !node.has_session() && node.in_flight.is_none())
        {
            out.events.push(Event::Closed);
        }
    }

    pub(crate) fn deadline(&self, wants: bool) -> Option<Instant> {
        self.nodes.values().map(|node| node.deadline(wants, self.is_closing)).fold(None, earlier)
    }

    fn settle_commits(&mut self, out: &mut Outbox<Event>) {
        let nodes = &self.nodes;
        let is_done = |commit: &mut Commit| {
            let mut awaits = commit.awaits.iter();
            awaits.all(|(id, count)| nodes.get(id).is_none_or(|node| node.settled >= *count))
        };
        for commit in self.commits.extract_if(.., is_done) {
            let result = commit.error.map_or(Ok(()), Err);
            out.events.push(Event::Committed { ticket: commit.ticket, result });
        }
    }

    /// Asserts what must hold between two steps.
    #[cfg(test)]
    pub(crate) fn check(&self) {
        for (id, node) in &self.nodes {
            for (key, stay) in &node.wanted {
                let place = self.stays.get(stay);
                assert!(
                    place.is_some_and(|place| place.key == *key && place.node == *id),
                    "{key:?} {place:?}"
                );
            }
            assert!(node.settled <= node.decided);
        }
    }
}

#[cfg(test)]
mod tests;
