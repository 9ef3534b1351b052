//! What all nodes of the cluster share: every API's handler works on this.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::call::Ticket;
use super::config::TopicConfig;
use super::group::Group;
use super::share::store::Shares;
use super::topic::{Partition, Topic};
use super::transaction::Transactions;
use crate::engine::backoff::Random;
use crate::engine::machine::{Now, earlier};
use crate::error::{Code, Resource};
use crate::testing::settings::{Limits, Settings};
use crate::types::TopicName;
use crate::wire::calls::Response;
use crate::wire::str::Str;
use crate::wire::uuid::Uuid;

/// The cluster.
#[derive(Debug)]
pub(super) struct State {
    pub(super) settings: Settings,
    pub(super) limits: Limits,
    pub(super) cluster_id: Str,
    pub(super) nodes: BTreeMap<i32, Node>,
    topics: BTreeMap<Str, Topic>,
    names: BTreeMap<Uuid, Str>,
    groups: BTreeMap<Str, Group>,
    pub(super) share: Shares,
    pub(super) transactions: Transactions,
    /// Answers of groups whose time has come.
    answers: Vec<(Ticket, Response)>,
    denied: BTreeSet<(u8, Str)>,
    next_producer_id: i64,
    pub(super) random: Random,
    /// Moves on whenever a fetch that waits may find something new.
    pub(super) changes: u64,
    log_bytes: usize,
}

/// One broker.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) host: Str,
    pub(super) port: i32,
    pub(super) rack: Option<Str>,
    pub(super) up: bool,
}

/// How a request names a topic.
#[derive(Clone, Copy, Debug)]
pub(super) enum TopicKey<'a> {
    Id(Uuid),
    Name(&'a Str),
}

impl State {
    pub(super) fn new(settings: Settings, limits: Limits, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let cluster_id = uuid(&mut random).to_string().into();
        Self {
            settings,
            limits,
            cluster_id,
            nodes: BTreeMap::new(),
            topics: BTreeMap::new(),
            names: BTreeMap::new(),
            groups: BTreeMap::new(),
            share: Shares::default(),
            transactions: Transactions::default(),
            answers: Vec::new(),
            denied: BTreeSet::new(),
            next_producer_id: 0,
            random,
            changes: 0,
            log_bytes: 0,
        }
    }

    // Nodes.

    pub(super) fn is_up(&self, node: i32) -> bool {
        self.nodes.get(&node).is_some_and(|node| node.up)
    }

    pub(super) fn live_nodes(&self) -> impl Iterator<Item = (i32, &Node)> {
        self.nodes.iter().filter(|(_, node)| node.up).map(|(id, node)| (*id, node))
    }

    /// The node that says it is the controller; in KRaft any broker may, since it forwards.
    pub(super) fn controller(&self) -> i32 {
        self.live_nodes().next().map_or(-1, |(id, _)| id)
    }

    /// The node that coordinates the group or transaction `key`: its offsets partition's leader.
    pub(super) fn coordinator(&self, key: &str) -> Option<i32> {
        let ids: Vec<i32> = self.nodes.keys().copied().collect();
        let partition = usize::try_from(Self::offsets_partition(key)).unwrap_or(0);
        let first = partition % ids.len().max(1);
        let (before, after) = ids.split_at(first.min(ids.len()));
        after.iter().chain(before).copied().find(|id| self.is_up(*id))
    }

    /// The partition of the offsets topic that holds a group's offsets.
    pub(super) fn offsets_partition(group: &str) -> i32 {
        (java_hash(group) & i32::MAX) % OFFSETS_PARTITIONS
    }

    /// A node came or went: leaders and coordinators move.
    pub(super) fn set_up(&mut self, now: Now, id: i32, up: bool) {
        let before: Vec<(Str, Option<i32>)> =
            self.groups.keys().map(|group| (group.clone(), self.coordinator(group))).collect();
        let of_shares: Vec<(Str, Option<i32>)> =
            self.share.groups().map(|(group, _)| (group.clone(), self.coordinator(group))).collect();
        let ids = self.transactions.by_id.keys();
        let of_ids: Vec<Option<i32>> = ids.map(|id| self.coordinator(id)).collect();
        let Some(node) = self.nodes.get_mut(&id) else { return };
        node.up = up;
        for (group, coordinator) in before {
            if self.coordinator(&group) != coordinator {
                self.with_group(&group, |group| group.moved(now));
            }
        }
        for (group, coordinator) in of_shares {
            if self.coordinator(&group) != coordinator {
                self.share.group_mut(&group).into_iter().for_each(|group| group.moved(now));
            }
        }
        let ids: Vec<Option<i32>> = self.transactions.by_id.keys().map(|id| self.coordinator(id)).collect();
        let moved = of_ids.iter().zip(&ids).map(|(before, after)| before != after);
        for (transaction, _) in self.transactions.by_id.values_mut().zip(moved).filter(|(_, moved)| *moved) {
            transaction.coordinator_epoch += 1;
        }
        let nodes = &self.nodes;
        for partition in self.topics.values_mut().flat_map(|topic| &mut topic.partitions) {
            partition.nodes_changed(|id| nodes.get(&id).is_some_and(|node| node.up));
        }
        self.changes += 1;
        self.write_markers(now);
    }

    // Topics.

    pub(super) fn topics(&self) -> impl Iterator<Item = &Topic> {
        self.topics.values()
    }

    pub(super) fn topics_mut(&mut self) -> impl Iterator<Item = &mut Topic> {
        self.topics.values_mut()
    }

    pub(super) fn topic(&self, name: &str) -> Option<&Topic> {
        self.topics.get(name)
    }

    pub(super) fn topic_mut(&mut self, name: &str) -> Option<&mut Topic> {
        self.topics.get_mut(name)
    }

    pub(super) fn topic_by_id(&self, id: Uuid) -> Option<&Topic> {
        self.topics.get(self.names.get(&id)?)
    }

    /// The topic, or the code for one that is not there.
    pub(super) fn find_topic(&self, key: TopicKey<'_>) -> Result<&Topic, Code> {
        match key {
            TopicKey::Id(id) => self.topic_by_id(id).ok_or(Code::UNKNOWN_TOPIC_ID),
            TopicKey::Name(name) => self.topic(name).ok_or(Code::UNKNOWN_TOPIC_OR_PARTITION),
        }
    }

    /// All topics by name, with their ids and numbers of partitions.
    pub(super) fn topic_sizes(&self) -> BTreeMap<Str, (Uuid, i32)> {
        let size = |topic: &Topic| i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
        self.topics.values().map(|topic| (topic.name.clone(), (topic.id, size(topic)))).collect()
    }

    /// Whether a new topic may have the name.
    pub(super) fn check_new_topic(&self, name: &Str) -> Result<(), (Code, String)> {
        if let Err(error) = TopicName::check(name) {
            return Err((Code::INVALID_TOPIC_EXCEPTION, error.to_string()));
        }
        if self.topics.contains_key(name) {
            return Err((Code::TOPIC_ALREADY_EXISTS, format!("Topic '{name}' already exists.")));
        }
        if let Some(other) = self.topics.keys().find(|other| collide(name, other)) {
            let message = format!("Topic '{name}' collides with existing topic: {other}");
            return Err((Code::INVALID_TOPIC_EXCEPTION, message));
        }
        if self.topics.len() >= self.limits.topics {
            let limit = self.limits.topics;
            return Err((Code::POLICY_VIOLATION, format!("the cluster holds its limit of {limit} topics")));
        }
        Ok(())
    }

    /// Which nodes shall hold the partitions of a new topic: leaders go round the live nodes.
    pub(super) fn assign(&mut self, partitions: usize, replicas: usize) -> Vec<Vec<i32>> {
        let alive: Vec<i32> = self.live_nodes().map(|(id, _)| id).collect();
        let count = u64::try_from(alive.len()).unwrap_or(0);
        let first = usize::try_from(self.random.below(count)).unwrap_or(0);
        let place =
            |at: usize| alive.iter().copied().cycle().skip(first + at).take(replicas.min(alive.len()));
        (0..partitions).map(|partition| place(partition).collect()).collect()
    }

    /// Creates a topic that has been checked, and returns its id.
    pub(super) fn create_topic(&mut self, name: Str, assignment: Vec<Vec<i32>>, config: TopicConfig) -> Uuid {
        let id = uuid(&mut self.random);
        let partitions = self.partitions(assignment);
        self.names.insert(id, name.clone());
        self.topics.insert(name.clone(), Topic { id, name, config, partitions });
        self.changes += 1;
        id
    }

    /// Adds partitions to a topic until it has this many, on as many nodes each as its first has.
    pub(super) fn add_partitions(&mut self, name: &str, total: usize) {
        let Some(topic) = self.topics.get(name) else { return };
        let replicas = topic.partitions.first().map_or(1, |partition| partition.replicas.len());
        let added = self.assign(total.saturating_sub(topic.partitions.len()), replicas);
        let added = self.partitions(added);
        if let Some(topic) = self.topics.get_mut(name) {
            topic.partitions.extend(added);
            self.changes += 1;
        }
    }

    /// New partitions on these nodes.
    fn partitions(&self, assignment: Vec<Vec<i32>>) -> Vec<Partition> {
        assignment.into_iter().map(|replicas| Partition::new(replicas, |node| self.is_up(node))).collect()
    }

    /// Deletes a topic with its records.
    pub(super) fn delete_topic(&mut self, name: &str) -> Option<Topic> {
        let topic = self.topics.remove(name)?;
        self.names.remove(&topic.id);
        self.groups.values_mut().for_each(|group| group.topic_deleted(name));
        self.share.topic_deleted(topic.id);
        let bytes: usize = topic.partitions.iter().map(|partition| partition.log.bytes()).sum();
        self.log_bytes = self.log_bytes.saturating_sub(bytes);
        self.changes += 1;
        Some(topic)
    }

    /// Takes room for `bytes` in the logs, if there is any.
    pub(super) fn reserve_log(&mut self, bytes: usize) -> bool {
        let fits = self.log_bytes.saturating_add(bytes) <= self.limits.log_bytes;
        if fits {
            self.log_bytes += bytes;
        }
        fits
    }

    /// Gives back room in the logs.
    pub(super) fn release_log(&mut self, bytes: usize) {
        self.log_bytes = self.log_bytes.saturating_sub(bytes);
    }

    // Groups.

    pub(super) fn groups(&self) -> impl Iterator<Item = &Group> {
        self.groups.values()
    }

    pub(super) fn group(&self, id: &Str) -> Option<&Group> {
        self.groups.get(id)
    }

    pub(super) fn has_group(&self, id: &Str) -> bool {
        self.groups.contains_key(id)
    }

    /// Creates the group if it is not there; whether there was room.
    pub(super) fn ensure_group(&mut self, id: &Str) -> bool {
        if !self.has_group(id) {
            if self.share.has_group(id) || !self.has_room_for_group() {
                return false;
            }
            self.groups.insert(id.clone(), Group::new(id.clone()));
        }
        true
    }

    /// Creates the share group if it is not there; whether there was room.
    pub(super) fn ensure_share_group(&mut self, id: &Str) -> bool {
        let fits = self.share.has_group(id) || self.has_room_for_group();
        if fits {
            self.share.add_group(id);
        }
        fits
    }

    fn has_room_for_group(&self) -> bool {
        self.groups.len() + self.share.count() < self.limits.groups
    }

    /// Makes way for a group of another kind; whether none is there now. One with members or offsets stays.
    pub(super) fn drop_vacant_group(&mut self, id: &Str) -> bool {
        if self.groups.get(id).is_some_and(Group::is_vacant) {
            self.groups.remove(id);
        }
        !self.has_group(id)
    }

    /// Does something with a group, and takes the answers that come of it.
    pub(super) fn with_group<R>(&mut self, id: &Str, act: impl FnOnce(&mut Group) -> R) -> Option<R> {
        let group = self.groups.get_mut(id)?;
        let result = act(group);
        self.answers.append(&mut group.take_answers());
        Some(result)
    }

    pub(super) fn tick_groups(&mut self, now: Now) {
        for group in self.groups.values_mut() {
            if group.deadline().is_some_and(|deadline| deadline <= now.instant) {
                group.tick(now);
                self.answers.append(&mut group.take_answers());
            }
        }
    }

    /// A marker has come for what a producer has committed in a partition of the offsets topic.
    pub(super) fn complete_offsets(&mut self, partition: i32, producer_id: i64, commit: bool) {
        let here = self.groups.values_mut().filter(|group| Self::offsets_partition(&group.id) == partition);
        here.for_each(|group| group.complete(producer_id, commit));
    }

    pub(super) fn groups_deadline(&self) -> Option<Instant> {
        self.groups.values().fold(None, |deadline, group| earlier(deadline, group.deadline()))
    }

    /// The answers whose time has come.
    pub(super) fn take_answers(&mut self) -> Vec<(Ticket, Response)> {
        std::mem::take(&mut self.answers)
    }

    // Permissions and ids.

    pub(super) fn deny(&mut self, resource: Resource, name: Str) {
        self.denied.insert((order(resource), name));
    }

    pub(super) fn allow(&mut self, resource: Resource, name: &Str) {
        self.denied.remove(&(order(resource), name.clone()));
    }

    pub(super) fn is_denied(&self, resource: Resource, name: &Str) -> bool {
        !self.denied.is_empty() && self.denied.contains(&(order(resource), name.clone()))
    }

    pub(super) fn next_producer_id(&mut self) -> i64 {
        self.next_producer_id += 1;
        self.next_producer_id - 1
    }

    /// Asserts what must hold between two requests.
    pub(super) fn check(&self) {
        let partitions = || self.topics.values().flat_map(|topic| &topic.partitions);
        partitions().for_each(|partition| partition.log.check());
        let bytes: usize = partitions().map(|partition| partition.log.bytes()).sum();
        debug_assert_eq!(bytes, self.log_bytes, "the room taken is that of the logs");
        debug_assert!(self.log_bytes <= self.limits.log_bytes, "the logs are bounded");
        debug_assert!(self.topics.len() <= self.limits.topics, "the topics are bounded");
        debug_assert!(self.groups.len() <= self.limits.groups, "the groups are bounded");
        self.groups.values().for_each(|group| group.check(self.limits.offsets_per_group));
        self.share.check(self.limits.groups);
        self.check_transactions();
        debug_assert!(self.answers.is_empty(), "what can be answered is answered");
    }

    /// A fresh id.
    pub(super) fn uuid(&mut self) -> Uuid {
        uuid(&mut self.random)
    }
}

/// Kafka's `offsets.topic.num.partitions`.
const OFFSETS_PARTITIONS: i32 = 50;

/// `String.hashCode` of Java, by which Kafka finds a group's partition of `__consumer_offsets`.
fn java_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

fn order(resource: Resource) -> u8 {
    match resource {
        Resource::Topic => 0,
        Resource::Group => 1,
        Resource::Cluster => 2,
        Resource::TransactionalId => 3,
    }
}

fn uuid(random: &mut Random) -> Uuid {
    let mut bytes = [0; 16];
    for half in bytes.chunks_exact_mut(8) {
        half.copy_from_slice(&random.next_u64().to_be_bytes());
    }
    // The version and variant bits of a random UUID; they also keep it from being zero.
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    Uuid::from_bytes(bytes)
}

/// Whether the metrics of two topics would have the same name, in which Kafka writes dots as underscores.
fn collide(a: &str, b: &str) -> bool {
    let folded = |c: u8| if c == b'.' { b'_' } else { c };
    a.len() == b.len() && a.bytes().map(folded).eq(b.bytes().map(folded))
}
