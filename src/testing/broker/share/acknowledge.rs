//! ShareAcknowledge.

use std::collections::BTreeSet;

use super::acks::{self, Ack, Refusal};
use super::lookup::{find, leader, nodes};
use super::session::{FINAL_EPOCH, INITIAL_EPOCH, Key};
use super::sessions::{check_member, end_session};
use crate::engine::machine::deadline_after;
use crate::error::Code;
use crate::testing::broker::call::Call;
use crate::testing::broker::state::State;
use crate::wire::messages::share_acknowledge_response::{
    LeaderIdAndEpoch, NodeEndpoint, PartitionData, ShareAcknowledgeTopicResponse,
};
use crate::wire::messages::{ShareAcknowledgeRequest, ShareAcknowledgeResponse};
use crate::wire::str::Str;

pub(in crate::testing::broker) fn acknowledge(
    state: &mut State,
    call: &Call,
    connection: u64,
    request: &ShareAcknowledgeRequest,
) -> ShareAcknowledgeResponse {
    acknowledge_all(state, call, connection, request).unwrap_or_else(|code| ShareAcknowledgeResponse {
        error_code: code.get(),
        ..ShareAcknowledgeResponse::default()
    })
}

fn acknowledge_all(
    state: &mut State,
    call: &Call,
    connection: u64,
    request: &ShareAcknowledgeRequest,
) -> Result<ShareAcknowledgeResponse, Code> {
    let key = check_member(state, call, request.group_id.as_ref(), request.member_id.as_ref())?;
    if request.share_session_epoch == INITIAL_EPOCH {
        return Err(Code::INVALID_SHARE_SESSION_EPOCH);
    }
    state.share.sessions.go_on(&key, request.share_session_epoch, connection)?;
    let mut responses: Vec<ShareAcknowledgeTopicResponse> = Vec::new();
    let mut leaders = BTreeSet::new();
    for topic in &request.topics {
        let said = topic.partitions.iter().filter(|partition| !partition.acknowledgement_batches.is_empty());
        let partitions = said.map(|partition| {
            let of = (topic.topic_id, partition.partition_index);
            let runs = partition.acknowledgement_batches.iter();
            let runs = runs.map(|run| (run.first_offset, run.last_offset, &run.acknowledge_types));
            let acks = acks::of_runs(runs, request.is_renew_ack);
            let done = acks.and_then(|acks| apply(state, call, (&key.group, &key.member), of, &acks));
            let refusal = done.err();
            let code = refusal.map_or(Code::NONE, |refusal| refusal.code);
            let mut data = PartitionData {
                partition_index: partition.partition_index,
                error_code: code.get(),
                error_message: refusal.and_then(Refusal::message),
                ..PartitionData::default()
            };
            if let Some((leader_id, leader_epoch)) = leader(state, of, code) {
                data.current_leader =
                    LeaderIdAndEpoch { leader_id, leader_epoch, ..LeaderIdAndEpoch::default() };
                leaders.insert(leader_id);
            }
            data
        });
        let (topic_id, partitions) = (topic.topic_id, partitions.collect::<Vec<_>>());
        if partitions.is_empty() {
            continue;
        }
        responses.push(ShareAcknowledgeTopicResponse {
            topic_id,
            partitions,
            ..ShareAcknowledgeTopicResponse::default()
        });
    }
    if request.share_session_epoch == FINAL_EPOCH {
        end_session(state, &key);
    }
    let lock = state.settings.share_lock_timeout.as_millis();
    Ok(ShareAcknowledgeResponse {
        acquisition_lock_timeout_ms: i32::try_from(lock).unwrap_or(i32::MAX),
        responses,
        node_endpoints: nodes(state, leaders)
            .map(|(node_id, node)| NodeEndpoint {
                node_id,
                host: node.host.clone(),
                port: node.port,
                rack: node.rack.clone(),
                ..NodeEndpoint::default()
            })
            .collect(),
        ..ShareAcknowledgeResponse::default()
    })
}

/// Does what a member says about records of one partition.
pub(super) fn apply(
    state: &mut State,
    call: &Call,
    (group, member): (&Str, &Str),
    key: Key,
    acks: &[Ack],
) -> Result<(), Refusal> {
    let partition = find(state, call, key)?;
    let (log, epoch) = (partition.log.start()..partition.log.end(), partition.leader_epoch);
    let until = deadline_after(call.now, state.settings.share_lock_timeout);
    let limit = state.settings.share_delivery_limit;
    let shared = state.share.partition_mut(group, key).ok_or(Code::UNKNOWN_TOPIC_OR_PARTITION)?;
    shared.follow(log, epoch);
    if shared.acknowledge(member, acks, until, limit)? {
        state.changes += 1;
    }
    Ok(())
}
