//! The requests of a member.

use std::time::Duration;

use super::super::settings::GroupSettings;
use crate::{
    engine::assign,
    wire::{
        messages::{
            HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, SyncGroupRequest,
            join_group_request::JoinGroupRequestProtocol, leave_group_request::MemberIdentity,
            sync_group_request::SyncGroupRequestAssignment,
        },
        str::Str,
    },
};

/// The protocol type of consumers' groups.
const CONSUMER: &str = "consumer";
/// The name of the range assignor.
const RANGE: &str = "range";

pub(super) fn join(settings: &GroupSettings, member_id: &Str, reason: &str) -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol {
        name: RANGE.into(),
        metadata: assign::subscription(&settings.topics),
        ..JoinGroupRequestProtocol::default()
    };
    JoinGroupRequest {
        group_id: settings.group.clone(),
        session_timeout_ms: millis(settings.session_timeout),
        rebalance_timeout_ms: millis(settings.rebalance_timeout),
        member_id: member_id.clone(),
        group_instance_id: settings.instance_id.clone(),
        protocol_type: CONSUMER.into(),
        protocols: vec![protocol],
        reason: Some(reason.into()),
        ..JoinGroupRequest::default()
    }
}

pub(super) fn sync(
    settings: &GroupSettings,
    member_id: &Str,
    generation: i32,
    assignments: Vec<SyncGroupRequestAssignment>,
) -> SyncGroupRequest {
    SyncGroupRequest {
        group_id: settings.group.clone(),
        generation_id: generation,
        member_id: member_id.clone(),
        group_instance_id: settings.instance_id.clone(),
        protocol_type: Some(CONSUMER.into()),
        protocol_name: Some(RANGE.into()),
        assignments,
        ..SyncGroupRequest::default()
    }
}

pub(super) fn heartbeat(settings: &GroupSettings, member_id: &Str, generation: i32) -> HeartbeatRequest {
    HeartbeatRequest {
        group_id: settings.group.clone(),
        generation_id: generation,
        member_id: member_id.clone(),
        group_instance_id: settings.instance_id.clone(),
        ..HeartbeatRequest::default()
    }
}

pub(super) fn leave(settings: &GroupSettings, member_id: Str, reason: &str) -> LeaveGroupRequest {
    let member = MemberIdentity {
        member_id,
        group_instance_id: settings.instance_id.clone(),
        reason: Some(reason.into()),
        ..MemberIdentity::default()
    };
    LeaveGroupRequest {
        group_id: settings.group.clone(),
        members: vec![member],
        ..LeaveGroupRequest::default()
    }
}

fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}
