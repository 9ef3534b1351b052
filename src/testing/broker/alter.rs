//! Answers that are made or changed by fault rules.

use super::call::Refusal;
use super::state::State;
use crate::error::Code;
use crate::wire::calls::{Request, Response};
use crate::wire::messages::describe_groups_response::DescribedGroup;
use crate::wire::messages::find_coordinator_response::Coordinator;
use crate::wire::messages::offset_fetch_response::OffsetFetchResponseGroup;
use crate::wire::messages::*;
use crate::wire::str::Str;
use crate::wire::uuid::Uuid;

/// The answer that refuses a request as a whole. Nothing for one whose answer has codes for topics and partitions only.
pub(super) fn refuse(request: &Request, version: i16, code: Code) -> Option<Response> {
    let error_code = code.get();
    Some(match request {
        Request::AddOffsetsToTxn(_) => AddOffsetsToTxnResponse { error_code, ..Default::default() }.into(),
        Request::ApiVersions(_) => ApiVersionsResponse { error_code, ..Default::default() }.into(),
        Request::DescribeCluster(_) => DescribeClusterResponse { error_code, ..Default::default() }.into(),
        Request::DescribeGroups(r) => {
            let group = |id: &Str| DescribedGroup { group_id: id.clone(), error_code, ..Default::default() };
            DescribeGroupsResponse { groups: r.groups.iter().map(group).collect(), ..Default::default() }
                .into()
        }
        Request::EndTxn(_) => EndTxnResponse { error_code, ..Default::default() }.into(),
        Request::Fetch(_) if is_of_session(code) => FetchResponse { error_code, ..Default::default() }.into(),
        Request::FindCoordinator(r) if version >= 4 => {
            let keys = r.coordinator_keys.iter();
            let coordinators = keys.map(|key| Coordinator {
                key: key.clone(),
                node_id: -1,
                port: -1,
                error_code,
                ..Default::default()
            });
            FindCoordinatorResponse { coordinators: coordinators.collect(), ..Default::default() }.into()
        }
        Request::FindCoordinator(_) => {
            FindCoordinatorResponse { error_code, node_id: -1, port: -1, ..Default::default() }.into()
        }
        Request::ConsumerGroupHeartbeat(_) => {
            ConsumerGroupHeartbeatResponse { error_code, ..Default::default() }.into()
        }
        Request::Heartbeat(_) => HeartbeatResponse { error_code, ..Default::default() }.into(),
        Request::InitProducerId(_) => {
            let none = InitProducerIdResponse { producer_id: -1, producer_epoch: -1, ..Default::default() };
            InitProducerIdResponse { error_code, ..none }.into()
        }
        Request::JoinGroup(r) => super::group::join_error(code, r.member_id.clone()).into(),
        Request::LeaveGroup(_) => LeaveGroupResponse { error_code, ..Default::default() }.into(),
        Request::ListGroups(_) => ListGroupsResponse { error_code, ..Default::default() }.into(),
        Request::OffsetFetch(r) if version >= 8 => {
            let group = |id: &Str| OffsetFetchResponseGroup {
                group_id: id.clone(),
                error_code,
                ..Default::default()
            };
            let groups = r.groups.iter().map(|wanted| group(&wanted.group_id)).collect();
            OffsetFetchResponse { groups, ..Default::default() }.into()
        }
        Request::OffsetFetch(_) if version >= 2 => {
            OffsetFetchResponse { error_code, ..Default::default() }.into()
        }
        Request::ShareAcknowledge(_) if is_of_share_session(code) => {
            ShareAcknowledgeResponse { error_code, ..Default::default() }.into()
        }
        Request::ShareFetch(_) if is_of_share_session(code) => {
            ShareFetchResponse { error_code, ..Default::default() }.into()
        }
        Request::ShareGroupHeartbeat(_) => {
            ShareGroupHeartbeatResponse { error_code, ..Default::default() }.into()
        }
        Request::SyncGroup(_) => SyncGroupResponse { error_code, ..Default::default() }.into(),
        _ => return None,
    })
}

/// Whether a code is about the fetch session and not about a partition.
fn is_of_session(code: Code) -> bool {
    matches!(
        code,
        Code::FETCH_SESSION_ID_NOT_FOUND
            | Code::INVALID_FETCH_SESSION_EPOCH
            | Code::FETCH_SESSION_TOPIC_ID_ERROR
    )
}

/// Whether a code is about the share session or the group, and not about a partition.
fn is_of_share_session(code: Code) -> bool {
    matches!(
        code,
        Code::SHARE_SESSION_NOT_FOUND
            | Code::INVALID_SHARE_SESSION_EPOCH
            | Code::SHARE_SESSION_LIMIT_REACHED
            | Code::GROUP_AUTHORIZATION_FAILED
            | Code::UNSUPPORTED_VERSION
    )
}

/// Puts a code into an answer, where the refusal wants it.
pub(super) fn change(state: &State, response: &mut Response, refusal: &Refusal) {
    let error = refusal.code.get();
    let covers = |name: &Str, id: Uuid, partition: i32| {
        let name = if name.is_empty() { state.topic_by_id(id).map(|topic| &topic.name) } else { Some(name) };
        name.is_some_and(|name| refusal.covers(name, Some(partition)))
    };
    let none = Str::default();
    match response {
        Response::AddPartitionsToTxn(r) => r.results_by_topic_v3_and_below.iter_mut().for_each(|t| {
            for p in &mut t.results_by_partition {
                set(&mut p.partition_error_code, error, covers(&t.name, Uuid::ZERO, p.partition_index));
            }
        }),
        Response::CreateTopics(r) => r.topics.iter_mut().for_each(|t| {
            set(&mut t.error_code, error, covers(&t.name, t.topic_id, -1));
        }),
        Response::DeleteTopics(r) => r.responses.iter_mut().for_each(|t| {
            let name = t.name.clone().unwrap_or_default();
            set(&mut t.error_code, error, covers(&name, t.topic_id, -1));
        }),
        Response::Fetch(r) => r.responses.iter_mut().for_each(|t| {
            for p in &mut t.partitions {
                set(&mut p.error_code, error, covers(&t.topic, t.topic_id, p.partition_index));
            }
        }),
        Response::ListOffsets(r) => r.topics.iter_mut().for_each(|t| {
            for p in &mut t.partitions {
                set(&mut p.error_code, error, covers(&t.name, Uuid::ZERO, p.partition_index));
            }
        }),
        Response::Metadata(r) => r.topics.iter_mut().for_each(|t| {
            let name = t.name.clone().unwrap_or_default();
            set(&mut t.error_code, error, covers(&name, t.topic_id, -1));
        }),
        Response::OffsetCommit(r) => r.topics.iter_mut().for_each(|t| {
            for p in &mut t.partitions {
                set(&mut p.error_code, error, covers(&t.name, t.topic_id, p.partition_index));
            }
        }),
        Response::OffsetForLeaderEpoch(r) => r.topics.iter_mut().for_each(|t| {
            for p in &mut t.partitions {
                set(&mut p.error_code, error, covers(&t.topic, Uuid::ZERO, p.partition));
            }
        }),
        Response::Produce(r) => r.responses.iter_mut().for_each(|t| {
            for p in t.partition_responses.iter_mut().filter(|p| covers(&t.name, t.topic_id, p.index)) {
                (p.error_code, p.base_offset, p.log_append_time_ms) = (error, -1, -1);
            }
        }),
        Response::ShareAcknowledge(r) => r.responses.iter_mut().for_each(|t| {
            for p in &mut t.partitions {
                set(&mut p.error_code, error, covers(&none, t.topic_id, p.partition_index));
            }
        }),
        Response::ShareFetch(r) => r.responses.iter_mut().for_each(|t| {
            for p in &mut t.partitions {
                set(&mut p.error_code, error, covers(&none, t.topic_id, p.partition_index));
            }
        }),
        Response::TxnOffsetCommit(r) => r.topics.iter_mut().for_each(|t| {
            for p in &mut t.partitions {
                set(&mut p.error_code, error, covers(&t.name, t.topic_id, p.partition_index));
            }
        }),
        _ => {}
    }
}

fn set(code: &mut i16, error: i16, when: bool) {
    if when {
        *code = error;
    }
}

/// Asks the client to wait.
pub(super) fn throttle(response: &mut Response, throttle_time_ms: i32) {
    macro_rules! set {
        ($($api:ident)*) => {
            match response {
                $(Response::$api(response) => response.throttle_time_ms = throttle_time_ms,)*
            }
        };
    }
    set!(AddOffsetsToTxn AddPartitionsToTxn ApiVersions ConsumerGroupHeartbeat CreateTopics DeleteTopics DescribeCluster DescribeGroups
        EndTxn Fetch FindCoordinator Heartbeat InitProducerId JoinGroup LeaveGroup ListGroups ListOffsets Metadata OffsetCommit OffsetFetch
        OffsetForLeaderEpoch Produce ShareAcknowledge ShareFetch ShareGroupHeartbeat SyncGroup TxnOffsetCommit);
}
