//! What a request is about: its partitions, its groups and its transactional ids.

use super::state::State;
use crate::types::{Partition, TopicName, TopicPartition};
use crate::wire::calls::Request;
use crate::wire::str::Str;
use crate::wire::uuid::Uuid;

/// Stands for a topic as a whole.
const WHOLE: [i32; 1] = [-1];

/// The partitions that a request names.
pub(super) fn partitions(state: &State, request: &Request) -> Vec<TopicPartition> {
    let mut named = Named { state, partitions: Vec::new() };
    match request {
        Request::AddPartitionsToTxn(r) => r.v3_and_below_topics.iter().for_each(|t| {
            named.add(&t.name, Uuid::ZERO, t.partitions.iter().copied());
        }),
        Request::CreateTopics(r) => r.topics.iter().for_each(|t| named.add(&t.name, Uuid::ZERO, WHOLE)),
        Request::DeleteTopics(r) => {
            r.topic_names.iter().for_each(|name| named.add(name, Uuid::ZERO, WHOLE));
            r.topics.iter().for_each(|t| named.add(&t.name.clone().unwrap_or_default(), t.topic_id, WHOLE));
        }
        Request::Fetch(r) => r.topics.iter().for_each(|t| {
            named.add(&t.topic, t.topic_id, t.partitions.iter().map(|p| p.partition));
        }),
        Request::ListOffsets(r) => r.topics.iter().for_each(|t| {
            named.add(&t.name, Uuid::ZERO, t.partitions.iter().map(|p| p.partition_index));
        }),
        Request::Metadata(r) => r.topics.iter().flatten().for_each(|t| {
            named.add(&t.name.clone().unwrap_or_default(), t.topic_id, WHOLE);
        }),
        Request::OffsetCommit(r) => r.topics.iter().for_each(|t| {
            named.add(&t.name, t.topic_id, t.partitions.iter().map(|p| p.partition_index));
        }),
        Request::OffsetFetch(r) => {
            r.topics.iter().flatten().for_each(|t| {
                named.add(&t.name, Uuid::ZERO, t.partition_indexes.iter().copied());
            });
            r.groups.iter().flat_map(|group| group.topics.iter().flatten()).for_each(|t| {
                named.add(&t.name, t.topic_id, t.partition_indexes.iter().copied());
            });
        }
        Request::OffsetForLeaderEpoch(r) => r.topics.iter().for_each(|t| {
            named.add(&t.topic, Uuid::ZERO, t.partitions.iter().map(|p| p.partition));
        }),
        Request::Produce(r) => r.topic_data.iter().for_each(|t| {
            named.add(&t.name, t.topic_id, t.partition_data.iter().map(|p| p.index));
        }),
        Request::ShareAcknowledge(r) => r.topics.iter().for_each(|t| {
            named.add(&Str::default(), t.topic_id, t.partitions.iter().map(|p| p.partition_index));
        }),
        Request::ShareFetch(r) => r.topics.iter().for_each(|t| {
            named.add(&Str::default(), t.topic_id, t.partitions.iter().map(|p| p.partition_index));
        }),
        Request::TxnOffsetCommit(r) => r.topics.iter().for_each(|t| {
            named.add(&t.name, t.topic_id, t.partitions.iter().map(|p| p.partition_index));
        }),
        _ => {}
    }
    named.partitions
}

/// The groups that a request names.
pub(super) fn groups(request: &Request) -> Vec<String> {
    let one = |group: &Str| vec![group.as_str().to_owned()];
    let all = |groups: &[Str]| groups.iter().map(|group| group.as_str().to_owned()).collect();
    match request {
        Request::AddOffsetsToTxn(r) => one(&r.group_id),
        Request::DescribeGroups(r) => all(&r.groups),
        Request::FindCoordinator(r) if r.coordinator_keys.is_empty() => one(&r.key),
        Request::FindCoordinator(r) => all(&r.coordinator_keys),
        Request::ConsumerGroupHeartbeat(r) => one(&r.group_id),
        Request::Heartbeat(r) => one(&r.group_id),
        Request::JoinGroup(r) => one(&r.group_id),
        Request::LeaveGroup(r) => one(&r.group_id),
        Request::OffsetCommit(r) => one(&r.group_id),
        Request::OffsetFetch(r) if r.groups.is_empty() => one(&r.group_id),
        Request::OffsetFetch(r) => r.groups.iter().map(|group| group.group_id.as_str().to_owned()).collect(),
        Request::ShareAcknowledge(r) => r.group_id.iter().flat_map(one).collect(),
        Request::ShareFetch(r) => r.group_id.iter().flat_map(one).collect(),
        Request::ShareGroupHeartbeat(r) => one(&r.group_id),
        Request::SyncGroup(r) => one(&r.group_id),
        Request::TxnOffsetCommit(r) => one(&r.group_id),
        _ => Vec::new(),
    }
}

/// The transactional ids that a request names.
pub(super) fn transactional_ids(request: &Request) -> Vec<String> {
    let one = |id: &Str| vec![id.as_str().to_owned()];
    match request {
        Request::AddOffsetsToTxn(r) => one(&r.transactional_id),
        Request::AddPartitionsToTxn(r) => one(&r.v3_and_below_transactional_id),
        Request::EndTxn(r) => one(&r.transactional_id),
        Request::InitProducerId(r) => r.transactional_id.iter().flat_map(one).collect(),
        Request::Produce(r) => r.transactional_id.iter().flat_map(one).collect(),
        Request::TxnOffsetCommit(r) => one(&r.transactional_id),
        _ => Vec::new(),
    }
}

struct Named<'a> {
    state: &'a State,
    partitions: Vec<TopicPartition>,
}

impl Named<'_> {
    /// Adds partitions of a topic that is named or, where the name is empty, identified.
    fn add(&mut self, name: &Str, id: Uuid, partitions: impl IntoIterator<Item = i32>) {
        let by_id = || self.state.topic_by_id(id).map(|topic| &topic.name);
        let Some(name) = (if name.is_empty() { by_id() } else { Some(name) }) else { return };
        let topic = TopicName::from(name.as_str());
        let partitions = partitions.into_iter().map(Partition);
        self.partitions
            .extend(partitions.map(|partition| TopicPartition { topic: topic.clone(), partition }));
    }
}
