//! What is known of the cluster at one moment. Never changed once it is shared.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use crate::{
    error::Code,
    types::{NodeId, TopicName, TopicPartition},
    wire::{str::Str, uuid::Uuid},
};

/// The cluster as the brokers last described it, as far as somebody asked for it: topics that nobody
/// [wants](super::Catalog::want) are not in it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    /// Counts the answers that went into it; 0 before the first.
    pub(crate) generation: u64,
    /// `None` where the broker is too old to tell.
    pub(crate) cluster_id: Option<Str>,
    /// The controller, or the broker that forwards to it.
    pub(crate) controller: Option<NodeId>,
    pub(super) brokers: BTreeMap<NodeId, Broker>,
    pub(super) topics: HashMap<TopicName, Result<Arc<Topic>, Code>>,
    pub(super) names: HashMap<Uuid, TopicName>,
    /// The ids of topics that were deleted, and created anew under the same name.
    pub(super) former: HashMap<TopicName, Uuid>,
}

/// Where a broker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broker {
    pub(crate) id: NodeId,
    pub(crate) host: Str,
    pub(crate) port: u16,
    pub(crate) rack: Option<Str>,
}

impl Broker {
    /// `None` for what no broker is: a negative id, an empty host, a port out of range.
    pub(crate) fn new(id: i32, host: &Str, port: i32, rack: Option<Str>) -> Option<Self> {
        let port = u16::try_from(port).ok().filter(|port| *port > 0)?;
        (id >= 0 && !host.is_empty()).then(|| Self { id: NodeId(id), host: host.clone(), port, rack })
    }
}

/// What a broker that does not lead a partition says about who does (KIP-951).
#[derive(Clone, Debug)]
pub(crate) struct LeaderHint {
    pub(crate) partition: TopicPartition,
    /// The topic that the answer was about; [`Uuid::ZERO`] where that is not known.
    pub(crate) topic_id: Uuid,
    pub(crate) leader: NodeId,
    pub(crate) leader_epoch: i32,
    /// Where the leader is, if the answer told.
    pub(crate) broker: Option<Broker>,
}

/// A topic that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Topic {
    pub(crate) name: TopicName,
    /// `None` where the broker is too old to tell (before Metadata 10, KIP-516).
    pub(crate) id: Option<Uuid>,
    /// Whether Kafka itself uses it, such as `__consumer_offsets`.
    pub(crate) internal: bool,
    pub(crate) partitions: BTreeMap<i32, PartitionInfo>,
}

/// Who has a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartitionInfo {
    /// `None` while there is none.
    pub(crate) leader: Option<NodeId>,
    /// `None` where the broker is too old to tell (before Metadata 7, KIP-320).
    pub(crate) leader_epoch: Option<i32>,
    pub(crate) replicas: Vec<NodeId>,
    pub(crate) isr: Vec<NodeId>,
    pub(crate) offline: Vec<NodeId>,
}

impl Topic {
    /// How many partitions there are, with and without a leader.
    pub(crate) fn partition_count(&self) -> u32 {
        u32::try_from(self.partitions.len()).unwrap_or(u32::MAX)
    }
}

impl Snapshot {
    /// A view with these topics, whose leaders are brokers at made-up addresses.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn of_topics(topics: impl IntoIterator<Item = Topic>) -> Self {
        let mut snapshot = Self { generation: 1, ..Self::default() };
        for topic in topics {
            for leader in topic.partitions.values().filter_map(|partition| partition.leader) {
                let port = 9092 + u16::try_from(leader.0).unwrap_or(0);
                let broker = Broker { id: leader, host: "broker".into(), port, rack: None };
                snapshot.brokers.insert(leader, broker);
            }
            snapshot.names.extend(topic.id.map(|id| (id, topic.name.clone())));
            snapshot.topics.insert(topic.name.clone(), Ok(Arc::new(topic)));
        }
        snapshot
    }

    /// Says where a broker is.
    #[cfg(test)]
    pub(crate) fn set_rack(&mut self, broker: NodeId, rack: &str) {
        if let Some(broker) = self.brokers.get_mut(&broker) {
            broker.rack = Some(rack.into());
        }
    }

    /// The topic, if it is known to exist.
    pub(crate) fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.topics.get(name)?.as_ref().ok()
    }

    /// Why the topic cannot be used, if the brokers said so.
    pub(crate) fn topic_error(&self, name: &str) -> Option<Code> {
        self.topics.get(name)?.as_ref().err().copied()
    }

    /// The name that belongs to a topic's id.
    pub(crate) fn topic_name(&self, id: Uuid) -> Option<&TopicName> {
        self.names.get(&id)
    }

    /// Every known topic that exists, in no order.
    pub(crate) fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.topics.values().filter_map(|topic| topic.as_ref().ok())
    }

    /// How many partitions the topic has, if it is known to exist.
    pub(crate) fn partition_count(&self, topic: &str) -> Option<u32> {
        Some(self.topic(topic)?.partition_count())
    }

    pub(crate) fn partition(&self, partition: &TopicPartition) -> Option<&PartitionInfo> {
        self.topic(&partition.topic)?.partitions.get(&partition.partition.0)
    }

    /// The partition's leader and its epoch, if there is a leader and its address is known.
    pub(crate) fn leader(&self, partition: &TopicPartition) -> Option<(NodeId, Option<i32>)> {
        let info = self.partition(partition)?;
        let leader = info.leader.filter(|id| self.brokers.contains_key(id))?;
        Some((leader, info.leader_epoch))
    }

    pub(crate) fn broker(&self, id: NodeId) -> Option<&Broker> {
        self.brokers.get(&id)
    }

    /// In the order of their ids.
    pub(crate) fn brokers(&self) -> impl ExactSizeIterator<Item = &Broker> {
        self.brokers.values()
    }
}
