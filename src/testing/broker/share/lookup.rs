//! The partitions that share groups name, and who leads them.

use std::collections::BTreeSet;

use super::session::Key;
use crate::error::{Code, Resource};
use crate::testing::broker::call::Call;
use crate::testing::broker::leadership::check_leader;
use crate::testing::broker::state::{Node, State, TopicKey};
use crate::testing::broker::topic::Partition;

/// The partition, if the node leads it and nothing forbids its use.
pub(super) fn find<'a>(state: &'a State, call: &Call, (topic, index): Key) -> Result<&'a Partition, Code> {
    let topic = state.find_topic(TopicKey::Id(topic))?;
    if state.is_denied(Resource::Topic, &topic.name) {
        return Err(Code::TOPIC_AUTHORIZATION_FAILED);
    }
    let partition = topic.partition(index).ok_or(Code::UNKNOWN_TOPIC_OR_PARTITION)?;
    if let Some(code) = call.refused(&topic.name, index) {
        return Err(code);
    }
    check_leader(partition, call.node)?;
    Ok(partition)
}

/// The leader to go to instead and its epoch, where that is what the code is about (KIP-951).
pub(super) fn leader(state: &State, (topic, index): Key, code: Code) -> Option<(i32, i32)> {
    if !matches!(code, Code::NOT_LEADER_OR_FOLLOWER | Code::FENCED_LEADER_EPOCH) {
        return None;
    }
    let partition = state.topic_by_id(topic)?.partition(index)?;
    Some((partition.leader.unwrap_or(-1), partition.leader_epoch))
}

/// The nodes of these ids that there are.
pub(super) fn nodes(state: &State, ids: BTreeSet<i32>) -> impl Iterator<Item = (i32, &Node)> {
    ids.into_iter().filter_map(|id| Some((id, state.nodes.get(&id)?)))
}
