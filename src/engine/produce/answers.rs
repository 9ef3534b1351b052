//! The parts of a Produce response, found by partition.

use std::collections::HashMap;

use super::lane::Lane;
use crate::{
    engine::catalog::snapshot::{Broker, LeaderHint},
    types::{NodeId, TopicPartition},
    wire::{
        messages::produce_response::{PartitionProduceResponse, ProduceResponse},
        uuid::Uuid,
    },
};

/// The partitions of a response by topic, name or id, and index.
pub(super) struct Answers<'a> {
    by_id: HashMap<(Uuid, i32), &'a PartitionProduceResponse>,
    by_name: HashMap<(&'a str, i32), &'a PartitionProduceResponse>,
}

impl<'a> Answers<'a> {
    pub(super) fn index(response: &'a ProduceResponse) -> Self {
        let mut answers = Self { by_id: HashMap::new(), by_name: HashMap::new() };
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

    pub(super) fn get(&self, lane: &Lane) -> Option<&'a PartitionProduceResponse> {
        let index = lane.queue.partition.0;
        let by_id = lane.topic_id.and_then(|id| self.by_id.get(&(id, index)));
        by_id.or_else(|| self.by_name.get(&(lane.queue.topic.as_str(), index))).copied()
    }
}

/// What an answer says about a new leader (KIP-951).
pub(super) fn leader_hint(
    lane: &Lane,
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
        topic_id: lane.topic_id.unwrap_or(Uuid::ZERO),
        leader: NodeId(leader.leader_id),
        leader_epoch: leader.leader_epoch,
        broker: endpoint.and_then(|node| Broker::new(node.node_id, &node.host, node.port, node.rack.clone())),
    })
}
