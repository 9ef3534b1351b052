//! FindCoordinator, ListGroups and DescribeGroups.

use super::call::Call;
use super::group::Group;
use super::groups::check_group;
use super::state::State;
use crate::error::{Code, Resource};
use crate::wire::messages::describe_groups_response::DescribedGroup;
use crate::wire::messages::find_coordinator_response::Coordinator;
use crate::wire::messages::{
    DescribeGroupsRequest, DescribeGroupsResponse, FindCoordinatorRequest, FindCoordinatorResponse,
    ListGroupsRequest, ListGroupsResponse,
};
use crate::wire::str::Str;

/// The first version of FindCoordinator that looks for several.
const FIND_MANY: i16 = 4;
/// `CoordinatorType` of the protocol.
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
/// The first version of DescribeGroups that says that a group is not there.
const SAYS_UNKNOWN: i16 = 6;
/// All that can be done with a group, as the bits of Kafka's `AclOperation`.
const GROUP_OPERATIONS: i32 = 3_400;

pub(super) fn find(state: &State, call: &Call, request: &FindCoordinatorRequest) -> FindCoordinatorResponse {
    let kind = if call.version == 0 { GROUP } else { request.key_type };
    if call.version >= FIND_MANY {
        let keys = request.coordinator_keys.iter();
        let coordinators = keys.map(|key| find_one(state, key, kind)).collect();
        return FindCoordinatorResponse { coordinators, ..FindCoordinatorResponse::default() };
    }
    let Coordinator { node_id, host, port, error_code, .. } = find_one(state, &request.key, kind);
    FindCoordinatorResponse { error_code, node_id, host, port, ..FindCoordinatorResponse::default() }
}

fn find_one(state: &State, key: &Str, kind: i8) -> Coordinator {
    let failed = |code: Code| Coordinator {
        key: key.clone(),
        node_id: -1,
        port: -1,
        error_code: code.get(),
        ..Coordinator::default()
    };
    match kind {
        GROUP if state.is_denied(Resource::Group, key) => return failed(Code::GROUP_AUTHORIZATION_FAILED),
        TRANSACTION if state.is_denied(Resource::TransactionalId, key) => {
            return failed(Code::TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
        }
        GROUP | TRANSACTION => {}
        _ => return failed(Code::INVALID_REQUEST),
    }
    let found = state.coordinator(key).and_then(|id| Some((id, state.nodes.get(&id)?)));
    found.map_or_else(
        || failed(Code::COORDINATOR_NOT_AVAILABLE),
        |(node_id, node)| Coordinator {
            key: key.clone(),
            node_id,
            host: node.host.clone(),
            port: node.port,
            ..Coordinator::default()
        },
    )
}

/// A broker lists the groups that it coordinates.
pub(super) fn list(state: &State, call: &Call, request: &ListGroupsRequest) -> ListGroupsResponse {
    let any = |filter: &[Str], value: &str| {
        filter.is_empty() || filter.iter().any(|wanted| wanted.eq_ignore_ascii_case(value))
    };
    let here = state.groups().filter(|group| check_group(state, call, &group.id).is_ok());
    let shares = state.share.groups().filter(|(id, _)| check_group(state, call, id).is_ok());
    let shares = shares.map(|(id, group)| group.listed(id));
    let groups = here.map(Group::listed).chain(shares).filter(|group| {
        any(&request.states_filter, &group.group_state) && any(&request.types_filter, &group.group_type)
    });
    ListGroupsResponse { groups: groups.collect(), ..ListGroupsResponse::default() }
}

pub(super) fn describe(
    state: &State,
    call: &Call,
    request: &DescribeGroupsRequest,
) -> DescribeGroupsResponse {
    let groups = request.groups.iter().map(|id| {
        let mut described = describe_one(state, call, id);
        if request.include_authorized_operations {
            described.authorized_operations = GROUP_OPERATIONS;
        }
        described
    });
    DescribeGroupsResponse { groups: groups.collect(), ..DescribeGroupsResponse::default() }
}

fn describe_one(state: &State, call: &Call, id: &Str) -> DescribedGroup {
    let failed = |code: Code| DescribedGroup {
        group_id: id.clone(),
        error_code: code.get(),
        ..DescribedGroup::default()
    };
    if let Err(code) = check_group(state, call, id) {
        return failed(code);
    }
    match state.group(id) {
        Some(group) => group.described(),
        None if call.version < SAYS_UNKNOWN => {
            DescribedGroup { group_state: "Dead".into(), ..failed(Code::NONE) }
        }
        None => DescribedGroup {
            group_state: "Dead".into(),
            error_message: Some(match state.share.has_group(id) {
                true => format!("Group {id} is not a classic group.").into(),
                false => format!("Group {id} not found.").into(),
            }),
            ..failed(Code::GROUP_ID_NOT_FOUND)
        },
    }
}
