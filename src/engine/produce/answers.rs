//! The parts of a Produce response, found by partition.

use std::collections::HashMap;

use super::lane::Lane;
use crate::{
    engine::catalog::snapshot::{Broker, LeaderHint},
    types::{NodeId, TopicPartition},
    wire::{
        messages::produce_response::{PartitionProduceResponse, ProduceResponse, TopicProduceResponse},
        uuid::Uuid,
    },
};

/// Up to so many partitions are looked through one by one.
const FEW: usize = 16;

/// The partitions of a response by topic, name or id, and index.
pub(super) struct Answers<'a> {
    response: &'a ProduceResponse,
    /// Places in the response, unless it is small: brokers answer in an order of their own.
    by_id: HashMap<(Uuid, i32), &'a PartitionProduceResponse>,
    by_name: HashMap<(&'a str, i32), &'a PartitionProduceResponse>,
}

impl<'a> Answers<'a> {
    pub(super) fn index(response: &'a ProduceResponse) -> Self {
        let mut answers = Self { response, by_id: HashMap::new(), by_name: HashMap::new() };
        let count: usize = response.responses.iter().map(|topic| topic.partition_responses.len()).sum();
        if count <= FEW {
            return answers;
        }
        for topic in &response.responses {
            for partition in &topic.partition_responses {
                if topic.topic_id == Uuid::ZERO {
                    answers.by_name.insert((&topic.name, partition.index), partition);
                } else {
                    answers.by_id.insert((topic.topic_id, partition.index), partition);
                }
            }
        }
        answers
    }

    /// The part about a lane's partition, which was asked about under this id.
    pub(super) fn get(&self, lane: &Lane, asked: Option<Uuid>) -> Option<&'a PartitionProduceResponse> {
        let (name, index) = (lane.queue.topic.as_str(), lane.queue.partition.0);
        if self.by_id.is_empty() && self.by_name.is_empty() {
            let is_asked = |topic: &&TopicProduceResponse| match topic.topic_id {
                Uuid::ZERO => &*topic.name == name,
                id => asked == Some(id),
            };
            let mut partitions =
                self.response.responses.iter().filter(is_asked).flat_map(|topic| &topic.partition_responses);
            return partitions.find(|partition| partition.index == index);
        }
        let by_id = asked.and_then(|id| self.by_id.get(&(id, index)));
        by_id.or_else(|| self.by_name.get(&(name, index))).copied()
    }
}

/// What an answer says about a new leader (KIP-951).
pub(super) fn leader_hint(
    lane: &Lane,
    asked: Option<Uuid>,
    response: &ProduceResponse,
    answer: &PartitionProduceResponse,
) -> Option<LeaderHint> {
    let leader = &answer.current_leader;
    if answer.error_code == 0 || leader.leader_id < 0 || leader.leader_epoch < 0 {
        return None;
    }
    let endpoint = response.node_endpoints.iter().find(|node| node.node_id == leader.leader_id);
    Some(LeaderHint {
        partition: TopicPartition::new(&lane.queue.topic, lane.queue.partition),
        topic_id: asked.unwrap_or(Uuid::ZERO),
        leader: NodeId(leader.leader_id),
        leader_epoch: leader.leader_epoch,
        broker: endpoint.and_then(|node| Broker::new(node.node_id, &node.host, node.port, node.rack.clone())),
    })
}
