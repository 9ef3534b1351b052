//! The cluster, as a test arranges it and looks at it.

#[cfg(test)]
use bytes::Bytes;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::config::TopicConfig;
use super::state::Node;
use super::transaction::Transaction;
use super::{Broker, ConnectionId};
use crate::engine::machine::Now;
use crate::error::{Code, Resource};
use crate::testing::faults::{FaultId, Rule};
use crate::testing::journal::Entry;
use crate::testing::transaction::TransactionDescription;
use crate::types::NodeId;
use crate::wire::str::Str;
#[cfg(test)]
use crate::wire::uuid::Uuid;

impl Broker {
    /// Adds a node that is up.
    pub(crate) fn add_node(&mut self, id: NodeId, host: &str, port: u16, rack: Option<&str>) {
        let node = Node { host: host.into(), port: i32::from(port), rack: rack.map(Str::from), up: true };
        self.state.nodes.insert(id.0, node);
    }

    /// Tells clients another address of a node than the one that it was added with.
    pub(crate) fn advertise(&mut self, id: NodeId, host: &str, port: u16) {
        if let Some(node) = self.state.nodes.get_mut(&id.0) {
            (node.host, node.port) = (host.into(), i32::from(port));
        }
    }

    /// Stops a node: its connections close, and what it led goes to other replicas that are alive.
    pub(crate) fn stop_node(&mut self, now: Now, id: NodeId) {
        let of_node = self.connections.iter().filter(|(_, connection)| connection.node == id.0);
        let connections: Vec<ConnectionId> = of_node.map(|(id, _)| *id).collect();
        connections.into_iter().for_each(|connection| self.close(connection));
        // They are in its memory only.
        self.sessions.remove(&id.0);
        self.state.set_up(now, id.0, false);
        self.run(now);
    }

    /// Starts a node again.
    pub(crate) fn start_node(&mut self, now: Now, id: NodeId) {
        self.state.set_up(now, id.0, true);
        self.run(now);
    }

    /// Creates a topic whose partitions go round the nodes that are up.
    pub(crate) fn create_topic(
        &mut self,
        now: Now,
        name: &str,
        partitions: usize,
        configs: &[(&str, &str)],
    ) -> Result<(), (Code, String)> {
        let name = Str::from(name);
        self.state.check_new_topic(&name)?;
        let mut config = TopicConfig::default();
        for (setting, value) in configs {
            let set = config.set(&Str::from(*setting), &Str::from(*value));
            set.map_err(|message| (Code::INVALID_CONFIG, message))?;
        }
        let limit = self.state.limits.partitions_per_topic;
        if !(1..=limit).contains(&partitions) {
            let message = format!("{partitions} partitions: from 1 to {limit} are allowed");
            return Err((Code::INVALID_PARTITIONS, message));
        }
        let replicas = usize::try_from(self.state.settings.default_replication_factor).unwrap_or(1);
        let assignment = self.state.assign(partitions, replicas.max(1));
        self.state.create_topic(name, assignment, config);
        self.run(now);
        Ok(())
    }

    /// Deletes a topic with its records; whether there was one.
    pub(crate) fn delete_topic(&mut self, now: Now, name: &str) -> bool {
        let deleted = self.state.delete_topic(name).is_some();
        self.run(now);
        deleted
    }

    /// Adds partitions to a topic until it has this many.
    pub(crate) fn add_partitions(
        &mut self,
        now: Now,
        name: &str,
        total: usize,
    ) -> Result<(), (Code, String)> {
        let Some(topic) = self.state.topic(name) else {
            return Err((
                Code::UNKNOWN_TOPIC_OR_PARTITION,
                "This server does not host this topic-partition.".into(),
            ));
        };
        let (has, limit) = (topic.partitions.len(), self.state.limits.partitions_per_topic);
        if !(has + 1..=limit).contains(&total) {
            let message = format!(
                "The topic has {has} partitions, and can have more, up to {limit}; asked for were {total}."
            );
            return Err((Code::INVALID_PARTITIONS, message));
        }
        self.state.add_partitions(name, total);
        self.run(now);
        Ok(())
    }

    /// Makes a replica that is up the leader of a partition, in a new epoch; whether it could.
    pub(crate) fn move_leader(&mut self, now: Now, topic: &str, partition: i32, to: NodeId) -> bool {
        let is_up = self.state.is_up(to.0);
        let found = self.state.topic_mut(topic).and_then(|topic| topic.partition_mut(partition));
        let Some(found) = found.filter(|found| is_up && found.replicas.contains(&to.0)) else {
            return false;
        };
        found.lead(Some(to.0));
        self.state.changes += 1;
        self.run(now);
        true
    }

    /// Deletes a partition's records below an offset; the oldest offset that is left.
    pub(crate) fn delete_records(
        &mut self,
        now: Now,
        topic: &str,
        partition: i32,
        before: i64,
    ) -> Option<i64> {
        let log = &mut self.state.topic_mut(topic)?.partition_mut(partition)?.log;
        let held = log.bytes();
        log.delete_before(before);
        let (start, released) = (log.start(), held - log.bytes());
        self.state.release_log(released);
        self.state.changes += 1;
        self.run(now);
        Some(start)
    }

    /// Compacts a partition whose topic says so; whether there is one.
    pub(crate) fn compact(&mut self, now: Now, topic: &str, partition: i32) -> bool {
        let limit = self.state.limits.decompressed_batch_bytes;
        let topic = self.state.topic_mut(topic).filter(|topic| topic.config.compacted);
        let Some(log) = topic.and_then(|topic| Some(&mut topic.partition_mut(partition)?.log)) else {
            return false;
        };
        let held = log.bytes();
        log.compact(limit);
        let released = held.saturating_sub(log.bytes());
        self.state.release_log(released);
        self.state.changes += 1;
        self.run(now);
        true
    }

    /// Loses a partition's records from an offset on, as an unclean election does.
    pub(crate) fn truncate(&mut self, now: Now, topic: &str, partition: i32, from: i64) {
        let found = self.state.topic_mut(topic).and_then(|topic| topic.partition_mut(partition));
        let Some(found) = found else { return };
        let held = found.log.bytes();
        found.log.truncate(from);
        found.lost_records = true;
        let released = held - found.log.bytes();
        found.lead(found.leader);
        self.state.release_log(released);
        self.state.changes += 1;
        self.run(now);
    }

    /// Forgets all producers' sequences, as brokers do when a producer was silent for long: not those whose transactions
    /// are open.
    pub(crate) fn forget_producers(&mut self) {
        self.state.topics_mut().flat_map(|topic| &mut topic.partitions).for_each(|p| p.forget_producers(0));
    }

    /// Does not let anybody use what is named; the cluster's name is empty.
    pub(crate) fn deny(&mut self, resource: Resource, name: &str) {
        self.state.deny(resource, name.into());
    }

    /// Undoes [`Broker::deny`].
    pub(crate) fn allow(&mut self, resource: Resource, name: &str) {
        self.state.allow(resource, &name.into());
    }

    /// Puts a fault rule in force; the counter tells how many requests it has hit.
    pub(crate) fn add_fault(&mut self, rule: Rule) -> (FaultId, Arc<AtomicU64>) {
        self.faults.add(rule)
    }

    pub(crate) fn remove_fault(&mut self, id: FaultId) {
        self.faults.remove(id);
    }

    /// Holds back the markers of all transactions that are ended from now on, or writes those that were held back.
    pub(crate) fn hold_markers(&mut self, now: Now, held: bool) {
        self.state.hold_markers(now, held);
        self.run(now);
    }

    /// All transactional ids.
    pub(crate) fn transactions(&self) -> Vec<TransactionDescription> {
        self.state.transactions.by_id.values().map(Transaction::described).collect()
    }

    /// What was asked, oldest first.
    pub(crate) fn journal(&self) -> impl Iterator<Item = &Entry> {
        self.journal.read()
    }

    /// The largest request that a connection takes, in bytes.
    pub(crate) fn frame_bytes(&self) -> usize {
        self.state.limits.frame_bytes
    }

    /// The leader of a partition and its epoch.
    pub(crate) fn leader(&self, topic: &str, partition: i32) -> Option<(NodeId, i32)> {
        let partition = self.state.topic(topic)?.partition(partition)?;
        Some((NodeId(partition.leader?), partition.leader_epoch))
    }

    /// The offsets at which a partition's log begins and ends.
    pub(crate) fn log_range(&self, topic: &str, partition: i32) -> Option<(i64, i64)> {
        let log = &self.state.topic(topic)?.partition(partition)?.log;
        Some((log.start(), log.end()))
    }

    /// All that a partition holds, as batches.
    #[cfg(test)]
    pub(crate) fn log_bytes(&self, topic: &str, partition: i32) -> Option<Bytes> {
        let log = &self.state.topic(topic)?.partition(partition)?.log;
        Some(log.read(log.start(), log.end(), usize::MAX, true))
    }

    #[cfg(test)]
    pub(crate) fn topic_id(&self, topic: &str) -> Option<Uuid> {
        self.state.topic(topic).map(|topic| topic.id)
    }

    #[cfg(test)]
    pub(crate) fn cluster_id(&self) -> &Str {
        &self.state.cluster_id
    }

    /// What a group has committed for a partition.
    #[cfg(test)]
    pub(crate) fn committed(&self, group: &str, topic: &str, partition: i32) -> Option<i64> {
        let committed = self.state.group(&group.into())?.committed(&topic.into(), partition)?;
        Some(committed.offset)
    }

    /// The first offset that a share group is not done with, if it has ever fetched the partition.
    #[cfg(test)]
    pub(crate) fn share_start(&self, group: &str, topic: &str, partition: i32) -> Option<i64> {
        let topic = self.state.topic(topic)?.id;
        Some(self.state.share.partition(&group.into(), (topic, partition))?.start())
    }

    /// Where readers of committed records come to a halt in a partition.
    #[cfg(test)]
    pub(crate) fn last_stable_offset(&self, topic: &str, partition: i32) -> Option<i64> {
        Some(self.state.topic(topic)?.partition(partition)?.log.stable_end())
    }

    /// The transactions in a partition that were aborted: producer ids and first offsets, as a fetch of all tells them.
    #[cfg(test)]
    pub(crate) fn aborted(&self, topic: &str, partition: i32) -> Vec<(i64, i64)> {
        let found = self.state.topic(topic).and_then(|topic| topic.partition(partition));
        let aborted = found.map(|partition| partition.log.aborted(partition.log.start(), usize::MAX / 2));
        aborted.into_iter().flatten().map(|aborted| (aborted.producer_id, aborted.first_offset)).collect()
    }

    /// Brings a transactional id to the last epoch of its producer id.
    #[cfg(test)]
    pub(crate) fn use_up_epochs(&mut self, transactional_id: &str) {
        let transaction = self.state.transactions.by_id.get_mut(&Str::from(transactional_id));
        transaction.into_iter().for_each(|transaction| transaction.producer.epoch = i16::MAX - 1);
    }

    /// The node that coordinates a group or a transactional id.
    pub(crate) fn coordinator(&self, group: &str) -> Option<NodeId> {
        self.state.coordinator(group).map(NodeId)
    }
}
