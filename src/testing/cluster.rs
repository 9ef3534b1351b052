//! The embedded cluster, as a user's test holds it.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::iter;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle as Runtime;

use super::broker::Broker;
use super::faults::{FaultId, Rule};
use super::journal::Entry;
use super::listener::actor::Actor;
use super::listener::handle::Handle;
use super::listener::memory::Network;
use super::listener::tcp::{Bound, Listener};
use super::settings::{Limits, Settings};
use super::transaction::TransactionDescription;
use crate::error::{Code, Error, ErrorKind, Resource, Result};
use crate::net::transport::{Tcp, Transport};
use crate::types::{NodeId, Partition, TopicPartition};

/// A Kafka cluster in this process, for tests: real logs, offsets, groups and transactions, no files, no Java.
///
/// It answers as Kafka 4.4 does, and any Kafka client can talk to it over TCP. Everything is lost when it is dropped.
/// Replication is only modelled: what one node has, all replicas have, and when a node stops, another replica leads.
///
/// ```
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// use milena::testing::Cluster;
///
/// let cluster = Cluster::builder().nodes(3).topic("orders", 6).start().await?;
/// let addresses = cluster.bootstrap();
/// assert_eq!(addresses.len(), 3);
/// // Point a client at the addresses, then make its life hard:
/// cluster.stop_node(1).await?;
/// cluster.start_node(1).await?;
/// cluster.shutdown().await;
/// # Ok::<_, milena::Error>(()) }).unwrap();
/// ```
///
/// # Cancel safety
/// That holds for all calls: one that is dropped before it returns was carried out, or was not, or, where it concerns a
/// node's listener too, in part; made again, it completes what is missing. The cluster goes on in any case.
#[derive(Debug)]
pub struct Cluster {
    actor: Actor,
    reach: Reach,
    runtime: Runtime,
}

/// How clients reach the nodes.
#[derive(Debug)]
enum Reach {
    Memory { network: Network, nodes: Vec<NodeId> },
    Tcp { nodes: Mutex<BTreeMap<NodeId, TcpNode>> },
}

#[derive(Debug)]
struct TcpNode {
    port: u16,
    /// `None` while the node is stopped.
    listener: Option<Listener>,
}

/// What a [`Cluster`] is made of.
#[derive(Clone, Debug)]
#[must_use = "nothing runs until `start`"]
pub struct ClusterBuilder {
    nodes: u16,
    racks: Vec<String>,
    topics: Vec<Topic>,
    settings: Settings,
    limits: Limits,
    in_memory: bool,
    seed: u64,
}

#[derive(Clone, Debug)]
struct Topic {
    name: String,
    partitions: usize,
    configs: Vec<(String, String)>,
}

impl Cluster {
    /// The most nodes that a cluster can have.
    pub const MAX_NODES: u16 = 100;

    /// A cluster of one node without topics, to be added to.
    pub fn builder() -> ClusterBuilder {
        ClusterBuilder {
            nodes: 1,
            racks: Vec::new(),
            topics: Vec::new(),
            settings: Settings::default(),
            limits: Limits::default(),
            in_memory: false,
            seed: 0,
        }
    }

    /// The address of every node, those that are stopped too, as `host:port`.
    #[must_use]
    pub fn bootstrap(&self) -> Vec<String> {
        match &self.reach {
            Reach::Memory { nodes, .. } => {
                nodes.iter().map(|node| Network::address(*node).to_string()).collect()
            }
            Reach::Tcp { nodes } => {
                let nodes = nodes.lock().unwrap_or_else(PoisonError::into_inner);
                nodes.values().map(|node| format!("127.0.0.1:{}", node.port)).collect()
            }
        }
    }

    /// How a client reaches the cluster: TCP, or the network in memory.
    #[must_use]
    pub fn transport(&self) -> Arc<dyn Transport> {
        match &self.reach {
            Reach::Memory { network, .. } => Arc::new(network.clone()),
            Reach::Tcp { .. } => Arc::new(Tcp::default()),
        }
    }

    /// Stops a node as a crash does: its connections break, further ones are refused, and the partitions that it led go
    /// to other replicas, in a new leader epoch. Those without another replica have no leader until it starts again.
    /// Stopping a stopped node does nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Broker`] with `BROKER_ID_NOT_REGISTERED` if there is no such node.
    pub async fn stop_node(&self, node: impl Into<NodeId>) -> Result<()> {
        let node = node.into();
        self.check_node("stop_node", node)?;
        match &self.reach {
            Reach::Memory { network, .. } => network.listen(node, false),
            Reach::Tcp { nodes } => {
                let listener = {
                    let mut nodes = nodes.lock().unwrap_or_else(PoisonError::into_inner);
                    nodes.get_mut(&node).and_then(|node| node.listener.take())
                };
                if let Some(listener) = listener {
                    listener.stop().await;
                }
            }
        }
        self.machine().run(move |broker, now| broker.stop_node(now, node)).await
    }

    /// Starts a stopped node again, with its records, at the address that it had. Starting a running node does nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if its port has been taken meanwhile; [`ErrorKind::Broker`] with `BROKER_ID_NOT_REGISTERED` if
    /// there is no such node.
    pub async fn start_node(&self, node: impl Into<NodeId>) -> Result<()> {
        let node = node.into();
        self.check_node("start_node", node)?;
        match &self.reach {
            Reach::Memory { network, .. } => network.listen(node, true),
            Reach::Tcp { nodes } => self.listen_again(nodes, node).await?,
        }
        self.machine().run(move |broker, now| broker.start_node(now, node)).await
    }

    async fn listen_again(&self, nodes: &Mutex<BTreeMap<NodeId, TcpNode>>, node: NodeId) -> Result<()> {
        let port = {
            let nodes = nodes.lock().unwrap_or_else(PoisonError::into_inner);
            nodes.get(&node).filter(|node| node.listener.is_none()).map(|node| node.port)
        };
        let Some(port) = port else { return Ok(()) };
        let bound = Bound::bind(port).await.map_err(|error| io_error(port, &error))?;
        let listener = bound.serve(&self.runtime, node, self.machine().clone());
        let mut nodes = nodes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(node) = nodes.get_mut(&node) {
            node.listener = Some(listener);
        }
        Ok(())
    }

    /// Tells clients another address of a node, as `advertised.listeners` does: that of something between, which forwards
    /// to the one in [`bootstrap`](Self::bootstrap). A node that starts again keeps it.
    ///
    /// # Errors
    /// [`ErrorKind::Broker`] with `BROKER_ID_NOT_REGISTERED` if there is no such node.
    pub async fn advertise(&self, node: impl Into<NodeId>, host: &str, port: u16) -> Result<()> {
        let (node, host) = (node.into(), host.to_owned());
        self.check_node("advertise", node)?;
        self.machine().run(move |broker, _| broker.advertise(node, &host, port)).await
    }

    /// Makes another replica the leader of a partition, in a new leader epoch.
    ///
    /// # Errors
    /// [`ErrorKind::Broker`] with `INELIGIBLE_REPLICA` if there is no such partition, or the node does not hold it or is
    /// stopped.
    pub async fn move_leader(
        &self,
        topic: &str,
        partition: impl Into<Partition>,
        to: impl Into<NodeId>,
    ) -> Result<()> {
        let (partition, to) = (TopicPartition::new(topic, partition), to.into());
        let subject = format!("{partition} to node {to}");
        let moved = self
            .machine()
            .run(move |broker, now| broker.move_leader(now, &partition.topic, partition.partition.0, to));
        if moved.await? {
            Ok(())
        } else {
            Err(Error::broker(Code::INELIGIBLE_REPLICA, "move_leader", subject))
        }
    }

    /// The node that leads a partition; `None` if there is no such partition or it has no leader.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] if the cluster's runtime has ended.
    pub async fn leader(&self, topic: &str, partition: impl Into<Partition>) -> Result<Option<NodeId>> {
        let partition = TopicPartition::new(topic, partition);
        let leader =
            self.machine().run(move |broker, _| broker.leader(&partition.topic, partition.partition.0));
        Ok(leader.await?.map(|(node, _)| node))
    }

    /// The node that coordinates a group or a transactional id; `None` if all are stopped.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] if the cluster's runtime has ended.
    pub async fn coordinator(&self, group: &str) -> Result<Option<NodeId>> {
        let group = group.to_owned();
        self.machine().run(move |broker, _| broker.coordinator(&group)).await
    }

    /// Creates a topic with a replica of each partition on up to
    /// [`default_replication_factor`](Settings::default_replication_factor) nodes.
    ///
    /// # Errors
    /// [`ErrorKind::Broker`] with the code that Kafka would answer, such as `TOPIC_ALREADY_EXISTS`.
    pub async fn create_topic(&self, name: &str, partitions: usize) -> Result<()> {
        let topic = Topic { name: name.to_owned(), partitions, configs: Vec::new() };
        self.machine().run(move |broker, now| topic.create(broker, now)).await?
    }

    /// Adds partitions to a topic until it has `total`, each with as many replicas as its first.
    ///
    /// # Errors
    /// [`ErrorKind::Broker`] with the code that Kafka would answer: `UNKNOWN_TOPIC_OR_PARTITION`, or `INVALID_PARTITIONS`
    /// for a number that the topic has already, or that is too large.
    pub async fn add_partitions(&self, topic: &str, total: usize) -> Result<()> {
        let name = topic.to_owned();
        let added = self.machine().run(move |broker, now| broker.add_partitions(now, &name, total)).await?;
        let refused = |(code, message)| {
            let subject = topic.to_owned();
            ErrorKind::Broker { code, request: "CreatePartitions", subject, message: Some(message) }.into()
        };
        added.map_err(refused)
    }

    /// Deletes a topic with its records; whether there was one.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] if the cluster's runtime has ended.
    pub async fn delete_topic(&self, name: &str) -> Result<bool> {
        let name = name.to_owned();
        self.machine().run(move |broker, now| broker.delete_topic(now, &name)).await
    }

    /// The offset that the partition's next record gets; `None` if there is no such partition.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] if the cluster's runtime has ended.
    pub async fn log_end_offset(&self, topic: &str, partition: impl Into<Partition>) -> Result<Option<i64>> {
        let partition = TopicPartition::new(topic, partition);
        let range =
            self.machine().run(move |broker, _| broker.log_range(&partition.topic, partition.partition.0));
        Ok(range.await?.map(|(_, end)| end))
    }

    /// Deletes the partition's records below an offset, as retention or DeleteRecords does; the oldest offset that is
    /// left, `None` if there is no such partition.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] if the cluster's runtime has ended.
    pub async fn delete_records(
        &self,
        topic: &str,
        partition: impl Into<Partition>,
        before: i64,
    ) -> Result<Option<i64>> {
        let partition = TopicPartition::new(topic, partition);
        let start = self.machine().run(move |broker, now| {
            broker.delete_records(now, &partition.topic, partition.partition.0, before)
        });
        start.await
    }

    /// Compacts a partition at once, all of it, as Kafka's log cleaner does bit by bit: of every key the newest record
    /// stays, under the offset that it has. Whether there is such a partition, of a topic whose `cleanup.policy` has
    /// `compact`.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] if the cluster's runtime has ended.
    pub async fn compact(&self, topic: &str, partition: impl Into<Partition>) -> Result<bool> {
        let partition = TopicPartition::new(topic, partition);
        let compacted = self
            .machine()
            .run(move |broker, now| broker.compact(now, &partition.topic, partition.partition.0));
        compacted.await
    }

    /// Loses the partition's records from an offset on, as an unclean election does, and begins a new leader epoch.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] if the cluster's runtime has ended.
    pub async fn lose_records(&self, topic: &str, partition: impl Into<Partition>, from: i64) -> Result<()> {
        let partition = TopicPartition::new(topic, partition);
        let lost = self.machine().run(move |broker, now| {
            broker.truncate(now, &partition.topic, partition.partition.0, from);
        });
        lost.await
    }

    /// Forgets the sequences of all idempotent producers, as brokers do when a producer was silent for long: what is
    /// sent again then is written again.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] if the cluster's runtime has ended.
    pub async fn forget_producers(&self) -> Result<()> {
        self.machine().run(|broker, _| broker.forget_producers()).await
    }

    /// Every transactional id that a producer has used, in their order, with how far its transaction is.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] if the cluster's runtime has ended.
    pub async fn transactions(&self) -> Result<Vec<TransactionDescription>> {
        self.machine().run(|broker, _| broker.transactions()).await
    }

    /// Holds back the markers of transactions: an end is answered, and its records stay neither committed nor aborted
    /// until this is called again with `false`. Coordinators abort what lasts too long all the same, without markers.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] if the cluster's runtime has ended.
    pub async fn hold_transaction_markers(&self, held: bool) -> Result<()> {
        self.machine().run(move |broker, now| broker.hold_markers(now, held)).await
    }

    /// Puts a rule in force, behind those that are in force already.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] if the cluster's runtime has ended.
    pub async fn fault(&self, rule: Rule) -> Result<FaultHandle> {
        let (id, hits) = self.machine().run(move |broker, _| broker.add_fault(rule)).await?;
        Ok(FaultHandle { id, hits, machine: self.machine().clone() })
    }

    /// The newest requests that the cluster was asked, oldest first, as many as
    /// [`journal_entries`](Limits::journal_entries).
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] if the cluster's runtime has ended.
    pub async fn journal(&self) -> Result<Vec<Entry>> {
        self.machine().run(|broker, _| broker.journal().cloned().collect()).await
    }

    /// Forbids everything with a topic, a group or a transactional id; or, with an empty name, what needs the cluster's
    /// permission, such as creating topics. Clients are answered the authorization error of each request.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] if the cluster's runtime has ended.
    pub async fn deny(&self, resource: Resource, name: &str) -> Result<()> {
        let name = name.to_owned();
        self.machine().run(move |broker, _| broker.deny(resource, &name)).await
    }

    /// Undoes [`deny`](Self::deny).
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] if the cluster's runtime has ended.
    pub async fn allow(&self, resource: Resource, name: &str) -> Result<()> {
        let name = name.to_owned();
        self.machine().run(move |broker, _| broker.allow(resource, &name)).await
    }

    /// Stops everything and waits until it has stopped. Dropping the cluster stops everything too, without waiting.
    pub async fn shutdown(self) {
        if let Reach::Tcp { nodes } = self.reach {
            let nodes = nodes.into_inner().unwrap_or_else(PoisonError::into_inner);
            for listener in nodes.into_values().filter_map(|node| node.listener) {
                listener.stop().await;
            }
        }
        self.actor.stop().await;
    }

    fn machine(&self) -> &Handle {
        self.actor.handle()
    }

    fn check_node(&self, call: &'static str, node: NodeId) -> Result<()> {
        let known = match &self.reach {
            Reach::Memory { nodes, .. } => nodes.contains(&node),
            Reach::Tcp { nodes } => nodes.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&node),
        };
        let unknown = || Error::broker(Code::BROKER_ID_NOT_REGISTERED, call, format!("node {node}"));
        if known { Ok(()) } else { Err(unknown()) }
    }
}

/// A rule in force. It stays in force when this is dropped.
#[derive(Clone, Debug)]
pub struct FaultHandle {
    id: FaultId,
    hits: Arc<AtomicU64>,
    machine: Handle,
}

impl FaultHandle {
    /// How many requests the rule has hit.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    /// Ends the rule.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] if the cluster's runtime has ended.
    pub async fn remove(self) -> Result<()> {
        let id = self.id;
        self.machine.run(move |broker, _| broker.remove_fault(id)).await
    }
}

impl ClusterBuilder {
    /// How many nodes; their ids count from 1. Default: 1; at most [`Cluster::MAX_NODES`].
    pub fn nodes(mut self, count: u16) -> Self {
        self.nodes = count;
        self
    }

    /// Where the nodes stand (`broker.rack`), in the order of their ids; those that are left over are nowhere. Default:
    /// none is anywhere. See [`Settings::rack_aware_replicas`].
    pub fn racks(mut self, racks: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.racks = racks.into_iter().map(Into::into).collect();
        self
    }

    /// Adds a topic, with a replica of each partition on up to
    /// [`default_replication_factor`](Settings::default_replication_factor) nodes.
    pub fn topic(self, name: impl Into<String>, partitions: usize) -> Self {
        self.topic_with(name, partitions, &[])
    }

    /// Adds a topic with settings, by the names that Kafka gives them. The cluster acts on `max.message.bytes`,
    /// `min.insync.replicas`, the three of `message.timestamp` and, as far as records without key are refused and
    /// [`Cluster::compact`] is called, on `cleanup.policy`; of all others it checks that Kafka would take them.
    pub fn topic_with(
        mut self,
        name: impl Into<String>,
        partitions: usize,
        configs: &[(&str, &str)],
    ) -> Self {
        let owned = configs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        self.topics.push(Topic { name: name.into(), partitions, configs: owned.collect() });
        self
    }

    /// The version of transactions that clients find finalized (the feature `transaction.version`): 0 or 1 for those in
    /// which a producer names each partition before it writes, 2 for those of KIP-890. Default: 2. The same as
    /// [`Settings::transaction_version`].
    pub fn transaction_version(self, version: u8) -> Self {
        self.settings(|settings| settings.transaction_version = version)
    }

    /// Changes how the brokers are set.
    pub fn settings(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self
    }

    /// Changes how much the cluster holds.
    pub fn limits(mut self, change: impl FnOnce(&mut Limits)) -> Self {
        change(&mut self.limits);
        self
    }

    /// What the ids of topics and members are made from; the same seed gives the same. Default: 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Reaches the nodes through memory instead of TCP. [`Cluster::transport`] gives the way; the addresses mean nothing
    /// outside. It works with a runtime whose clock is paused.
    pub fn in_memory(mut self) -> Self {
        self.in_memory = true;
        self
    }

    /// Starts the cluster on the current tokio runtime; over TCP, each node listens on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// [`ErrorKind::NoRuntime`] outside a tokio runtime, [`ErrorKind::Io`] if no port can be bound, [`ErrorKind::Broker`]
    /// with `INVALID_REQUEST` for a number of nodes that is 0 or too large, with `INVALID_UPDATE_VERSION` for a version of
    /// transactions that is not there, and with the code that Kafka would answer for a topic that cannot be created.
    pub async fn start(self) -> Result<Cluster> {
        let runtime = Runtime::try_current()
            .map_err(|_| Error::from(ErrorKind::NoRuntime { call: "ClusterBuilder::start" }))?;
        if !(1..=Cluster::MAX_NODES).contains(&self.nodes) {
            let subject = format!("{} nodes, from 1 to {} are allowed", self.nodes, Cluster::MAX_NODES);
            return Err(Error::broker(Code::INVALID_REQUEST, "ClusterBuilder::start", subject));
        }
        let version = self.settings.transaction_version;
        if version > Settings::MAX_TRANSACTION_VERSION {
            let subject = format!("transaction.version {version}, the newest is 2");
            return Err(Error::broker(Code::INVALID_UPDATE_VERSION, "ClusterBuilder::start", subject));
        }
        let broker = Broker::new(self.settings.clone(), self.limits.clone(), self.seed);
        let actor = Actor::start(&runtime, broker);
        let racks = self.racks.into_iter().map(Some).chain(iter::repeat(None));
        let nodes: Vec<(NodeId, Option<String>)> =
            (1..=i32::from(self.nodes)).map(NodeId).zip(racks).collect();
        let reach = if self.in_memory {
            in_memory(&actor, nodes).await?
        } else {
            over_tcp(&runtime, &actor, nodes).await?
        };
        let cluster = Cluster { actor, reach, runtime };
        for topic in self.topics {
            cluster.machine().run(move |broker, now| topic.create(broker, now)).await??;
        }
        Ok(cluster)
    }
}

async fn in_memory(actor: &Actor, nodes: Vec<(NodeId, Option<String>)>) -> Result<Reach> {
    let network = Network::new(actor.handle().clone());
    let ids = nodes.iter().map(|(node, _)| *node).collect();
    for (node, rack) in nodes {
        let address = Network::address(node);
        let add = move |broker: &mut Broker, _| {
            broker.add_node(node, &address.ip().to_string(), address.port(), rack.as_deref());
        };
        actor.handle().run(add).await?;
        network.listen(node, true);
    }
    Ok(Reach::Memory { network, nodes: ids })
}

async fn over_tcp(runtime: &Runtime, actor: &Actor, nodes: Vec<(NodeId, Option<String>)>) -> Result<Reach> {
    let mut bound = BTreeMap::new();
    for (node, rack) in nodes {
        let socket = Bound::bind(0).await.map_err(|error| io_error(0, &error))?;
        let port = socket.port();
        let add = move |broker: &mut Broker, _| broker.add_node(node, "127.0.0.1", port, rack.as_deref());
        actor.handle().run(add).await?;
        bound.insert(node, socket);
    }
    // A node answers only when all are known: a client that is quick would see half a cluster.
    let listen = |(node, socket): (NodeId, Bound)| {
        let port = socket.port();
        let listener = socket.serve(runtime, node, actor.handle().clone());
        (node, TcpNode { port, listener: Some(listener) })
    };
    Ok(Reach::Tcp { nodes: Mutex::new(bound.into_iter().map(listen).collect()) })
}

impl Topic {
    fn create(&self, broker: &mut Broker, now: crate::engine::machine::Now) -> Result<()> {
        let configs: Vec<(&str, &str)> =
            self.configs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let created = broker.create_topic(now, &self.name, self.partitions, &configs);
        created.map_err(|(code, message)| {
            let subject = self.name.clone();
            ErrorKind::Broker { code, request: "CreateTopics", subject, message: Some(message) }.into()
        })
    }
}

fn io_error(port: u16, error: &io::Error) -> Error {
    let peer = format!("127.0.0.1:{port}");
    ErrorKind::Io { peer, kind: error.kind(), detail: error.to_string() }.into()
}
