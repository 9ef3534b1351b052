//! The requests of group members.

use std::time::Duration;

use super::call::{Call, Handled};
use super::group::consumer;
use super::group::join::JoinSettings;
use super::group::{Group, join_error, sync_error};
use super::heartbeat::HeartbeatSettings;
use super::state::State;
use crate::error::{Code, Resource};
use crate::wire::messages::leave_group_request::MemberIdentity;
use crate::wire::messages::leave_group_response::MemberResponse;
use crate::wire::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, HeartbeatRequest, HeartbeatResponse,
    JoinGroupRequest, LeaveGroupRequest, LeaveGroupResponse, SyncGroupRequest,
};
use crate::wire::str::Str;

/// The first version of LeaveGroup in which several members leave.
const LEAVE_MANY: i16 = 3;
/// The first version of SyncGroup that must say which protocol was chosen (KIP-559).
const NAMES_PROTOCOL: i16 = 5;

pub(super) fn join(state: &mut State, call: &Call, request: &JoinGroupRequest) -> Handled {
    let refused = |code: Code| join_error(code, request.member_id.clone()).into();
    if let Err(code) = check_named_group(state, call, &request.group_id) {
        return refused(code);
    }
    let session = Duration::from_millis(u64::try_from(request.session_timeout_ms).unwrap_or(0));
    let settings = &state.settings;
    if !(settings.group_min_session_timeout..=settings.group_max_session_timeout).contains(&session) {
        return refused(Code::INVALID_SESSION_TIMEOUT);
    }
    let joining = JoinSettings {
        initial_delay: settings.group_initial_rebalance_delay,
        max_size: settings.group_max_size,
    };
    if state.share.has_group(&request.group_id) {
        return refused(Code::INCONSISTENT_GROUP_PROTOCOL);
    }
    if !state.has_group(&request.group_id) && !request.member_id.is_empty() {
        return refused(Code::UNKNOWN_MEMBER_ID);
    }
    if !state.ensure_group(&request.group_id) {
        return refused(Code::GROUP_MAX_SIZE_REACHED);
    }
    let stem = request.group_instance_id.as_ref().unwrap_or(&call.client_id);
    let fresh_id = Str::from(format!("{stem}-{}", state.uuid()));
    let topics = state.topic_sizes();
    let joined =
        state.with_group(&request.group_id, |group| group.join(call, request, fresh_id, joining, &topics));
    match joined {
        Some(Ok(Some(response))) => response.into(),
        Some(Ok(None)) => Handled::Later,
        Some(Err((code, member_id))) => join_error(code, member_id).into(),
        None => refused(Code::COORDINATOR_NOT_AVAILABLE),
    }
}

pub(super) fn sync(state: &mut State, call: &Call, request: &SyncGroupRequest) -> Handled {
    if call.version >= NAMES_PROTOCOL && (request.protocol_type.is_none() || request.protocol_name.is_none())
    {
        return sync_error(Code::INCONSISTENT_GROUP_PROTOCOL).into();
    }
    let topics = state.topic_sizes();
    match member_request(state, call, &request.group_id, |group| group.sync(call, request, &topics)) {
        Ok(Some(response)) => response.into(),
        Ok(None) => Handled::Later,
        Err(code) => sync_error(code).into(),
    }
}

pub(super) fn heartbeat(state: &mut State, call: &Call, request: &HeartbeatRequest) -> HeartbeatResponse {
    let beat = member_request(state, call, &request.group_id, |group| group.heartbeat(call.now, request));
    HeartbeatResponse { error_code: code_of(beat).get(), ..HeartbeatResponse::default() }
}

pub(super) fn leave(state: &mut State, call: &Call, request: &LeaveGroupRequest) -> LeaveGroupResponse {
    let failed = |code: Code| LeaveGroupResponse { error_code: code.get(), ..LeaveGroupResponse::default() };
    if let Err(code) = check_named_group(state, call, &request.group_id) {
        return failed(code);
    }
    let mut leave_one = |member_id: &Str, instance: Option<&Str>| {
        let left = state.with_group(&request.group_id, |group| group.leave(call.now, member_id, instance));
        code_of(left.unwrap_or(Err(Code::UNKNOWN_MEMBER_ID)))
    };
    if call.version < LEAVE_MANY {
        return failed(leave_one(&request.member_id, None));
    }
    let members =
        request.members.iter().map(|MemberIdentity { member_id, group_instance_id, .. }| MemberResponse {
            member_id: member_id.clone(),
            group_instance_id: group_instance_id.clone(),
            error_code: leave_one(member_id, group_instance_id.as_ref()).get(),
            ..MemberResponse::default()
        });
    LeaveGroupResponse { members: members.collect(), ..LeaveGroupResponse::default() }
}

pub(super) fn consumer_heartbeat(
    state: &mut State,
    call: &Call,
    request: &ConsumerGroupHeartbeatRequest,
) -> ConsumerGroupHeartbeatResponse {
    let refused = |(code, reason): (Code, String)| ConsumerGroupHeartbeatResponse {
        error_code: code.get(),
        error_message: Some(reason.into()),
        ..ConsumerGroupHeartbeatResponse::default()
    };
    if state.settings.group_version == 0 {
        return refused((
            Code::UNSUPPORTED_VERSION,
            "The group coordinator does not speak the protocol.".to_owned(),
        ));
    }
    if request.group_id.is_empty() {
        return refused((Code::INVALID_REQUEST, "GroupId can't be empty.".to_owned()));
    }
    if let Err(code) = check_named_group(state, call, &request.group_id) {
        return refused((code, code.to_string()));
    }
    if let Err(refusal) = consumer::check(call, request) {
        return refused(refusal);
    }
    if state.share.has_group(&request.group_id) {
        let reason = format!("Group {} is not a consumer group.", request.group_id);
        return refused((Code::GROUP_ID_NOT_FOUND, reason));
    }
    let is_new = request.member_epoch == 0;
    let is_there = state.has_group(&request.group_id) || (is_new && state.ensure_group(&request.group_id));
    if !is_there {
        let code = if is_new { Code::GROUP_MAX_SIZE_REACHED } else { Code::GROUP_ID_NOT_FOUND };
        return refused((code, format!("Group {} not found.", request.group_id)));
    }
    let settings = HeartbeatSettings {
        session: state.settings.group_consumer_session_timeout,
        interval: state.settings.group_consumer_heartbeat_interval,
        max_size: state.settings.group_max_size,
    };
    // Only brokers older than 4.0 choose the id.
    let fresh_id =
        if request.member_id.is_empty() { Str::from(state.uuid().to_string()) } else { Str::default() };
    let topics = state.topic_sizes();
    let beat = |group: &mut Group| group.consumer_heartbeat(call, request, fresh_id, settings, &topics);
    match state.with_group(&request.group_id, beat) {
        Some(Ok(response)) => response,
        Some(Err(refusal)) => refused(refusal),
        None => refused((Code::COORDINATOR_NOT_AVAILABLE, String::new())),
    }
}

/// Whether the group may have members, and here.
fn check_named_group(state: &State, call: &Call, group: &Str) -> Result<(), Code> {
    match check_group(state, call, group) {
        Ok(()) if group.is_empty() => Err(Code::INVALID_GROUP_ID),
        checked => checked,
    }
}

/// Whether the group may be used, and here. One without a name may have offsets.
pub(super) fn check_group(state: &State, call: &Call, group: &Str) -> Result<(), Code> {
    if state.is_denied(Resource::Group, group) {
        Err(Code::GROUP_AUTHORIZATION_FAILED)
    } else if state.coordinator(group) != Some(call.node) {
        Err(Code::NOT_COORDINATOR)
    } else {
        Ok(())
    }
}

/// Does something with a group that must be there, since a member speaks.
fn member_request<R>(
    state: &mut State,
    call: &Call,
    group: &Str,
    ask: impl FnOnce(&mut Group) -> Result<R, Code>,
) -> Result<R, Code> {
    check_named_group(state, call, group)?;
    state.with_group(group, ask).unwrap_or(Err(Code::UNKNOWN_MEMBER_ID))
}

fn code_of(done: Result<(), Code>) -> Code {
    done.err().unwrap_or(Code::NONE)
}
