//! What a topic shall be like.

use std::collections::BTreeMap;

use crate::{
    types::{NodeId, TopicName},
    wire::messages::create_topics_request::{
        CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
    },
};

/// What the protocol writes for "as the broker's settings say" (KIP-464).
const DEFAULT_PARTITIONS: i32 = -1;
const DEFAULT_REPLICATION: i16 = -1;

/// A topic to create.
///
/// ```
/// use milena::NewTopic;
///
/// let topic = NewTopic::new("orders").partitions(12).replication(3).config("cleanup.policy", "compact");
/// # let _ = topic;
/// ```
#[derive(Clone, Debug)]
#[must_use = "a topic is created by `Admin::create_topics`"]
pub struct NewTopic {
    pub(super) name: TopicName,
    partitions: Option<u32>,
    replication: Option<u16>,
    assignments: Vec<Vec<NodeId>>,
    configs: BTreeMap<String, String>,
}

impl NewTopic {
    /// A topic that is in everything as the brokers' settings say.
    pub fn new(name: impl Into<TopicName>) -> Self {
        Self {
            name: name.into(),
            partitions: None,
            replication: None,
            assignments: Vec::new(),
            configs: BTreeMap::new(),
        }
    }

    /// How many partitions it has. Default: the broker's `num.partitions` (KIP-464). The broker refuses 0.
    pub fn partitions(self, count: u32) -> Self {
        Self { partitions: Some(count), ..self }
    }

    /// On how many brokers each partition is. Default: the broker's `default.replication.factor` (KIP-464). The broker
    /// refuses 0, and more than there are brokers.
    pub fn replication(self, factor: u16) -> Self {
        Self { replication: Some(factor), ..self }
    }

    /// Which brokers have each partition, from partition 0 on; the first of each list is its preferred leader. It takes
    /// the place of [`partitions`](Self::partitions) and [`replication`](Self::replication).
    ///
    /// ```
    /// use milena::{NewTopic, NodeId};
    ///
    /// let two_partitions = NewTopic::new("orders").assignments([[NodeId(1), NodeId(2)], [NodeId(2), NodeId(3)]]);
    /// # let _ = two_partitions;
    /// ```
    pub fn assignments<R>(self, assignments: impl IntoIterator<Item = R>) -> Self
    where
        R: IntoIterator<Item = NodeId>,
    {
        let assignments = assignments.into_iter().map(|replicas| replicas.into_iter().collect());
        Self { assignments: assignments.collect(), ..self }
    }

    /// A setting of the topic, by the name that Kafka gives it, such as `retention.ms`. Default for each: what the
    /// brokers are set to. The broker refuses unknown names.
    pub fn config(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.configs.insert(name.into(), value.into());
        self
    }

    /// The topic as the protocol writes it. Numbers beyond its range become the largest, which the broker refuses.
    pub(super) fn to_wire(&self) -> CreatableTopic {
        let explicit = !self.assignments.is_empty();
        let partitions = self.partitions.filter(|_| !explicit);
        let replication = self.replication.filter(|_| !explicit);
        let assignments = (0..).zip(&self.assignments).map(|(partition_index, replicas)| {
            let broker_ids = replicas.iter().map(|node| node.0).collect();
            CreatableReplicaAssignment { partition_index, broker_ids, unknown_tags: Vec::new() }
        });
        let configs = self.configs.iter().map(|(name, value)| CreatableTopicConfig {
            name: name.as_str().into(),
            value: Some(value.as_str().into()),
            unknown_tags: Vec::new(),
        });
        CreatableTopic {
            name: (&self.name).into(),
            num_partitions: partitions
                .map_or(DEFAULT_PARTITIONS, |count| count.try_into().unwrap_or(i32::MAX)),
            replication_factor: replication
                .map_or(DEFAULT_REPLICATION, |factor| factor.try_into().unwrap_or(i16::MAX)),
            assignments: assignments.collect(),
            configs: configs.collect(),
            unknown_tags: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_left_to_the_broker() {
        let topic = NewTopic::new("t").to_wire();
        assert_eq!((topic.num_partitions, topic.replication_factor), (-1, -1));
        assert!(topic.assignments.is_empty() && topic.configs.is_empty());
    }

    #[test]
    fn what_is_said_is_sent() {
        let topic =
            NewTopic::new("t").partitions(6).replication(2).config("a", "1").config("a", "2").to_wire();
        assert_eq!((topic.num_partitions, topic.replication_factor), (6, 2));
        let configs: Vec<_> =
            topic.configs.iter().map(|config| (config.name.as_str(), config.value.as_deref())).collect();
        assert_eq!(configs, [("a", Some("2"))]);

        let topic = NewTopic::new("t").partitions(u32::MAX).replication(u16::MAX).to_wire();
        assert_eq!((topic.num_partitions, topic.replication_factor), (i32::MAX, i16::MAX));
    }

    #[test]
    fn explicit_replicas_leave_no_numbers() {
        let topic = NewTopic::new("t")
            .partitions(9)
            .replication(9)
            .assignments([vec![NodeId(1), NodeId(2)], vec![NodeId(3)]]);
        let topic = topic.to_wire();
        assert_eq!((topic.num_partitions, topic.replication_factor), (-1, -1));
        let assignments: Vec<_> =
            topic.assignments.iter().map(|a| (a.partition_index, a.broker_ids.as_slice())).collect();
        assert_eq!(assignments, [(0, &[1, 2][..]), (1, &[3][..])]);
    }
}
