//! The requests of a member.

use std::time::Duration;

use super::super::settings::GroupSettings;
use crate::{
    engine::assign::wire::Subscription,
    types::TopicPartition,
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

/// What a member was assigned last, in which generation, and what of it it goes on reading while it joins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Last<'a> {
    pub(super) owned: &'a [TopicPartition],
    pub(super) partitions: &'a [TopicPartition],
    pub(super) generation: i32,
}

pub(super) fn join(
    settings: &GroupSettings,
    member_id: &Str,
    last: Last<'_>,
    reason: &str,
) -> JoinGroupRequest {
    let protocols = settings.assignors.iter().map(|assignor| {
        let subscription = Subscription {
            topics: &settings.topics,
            user_data: assignor.user_data(last.partitions, last.generation),
            owned: last.owned,
            generation: if last.owned.is_empty() { -1 } else { last.generation },
            rack: settings.rack.as_ref(),
        };
        JoinGroupRequestProtocol {
            name: assignor.name().into(),
            metadata: subscription.encode(),
            ..JoinGroupRequestProtocol::default()
        }
    });
    JoinGroupRequest {
        group_id: settings.group.clone(),
        session_timeout_ms: millis(settings.session_timeout),
        rebalance_timeout_ms: millis(settings.rebalance_timeout),
        member_id: member_id.clone(),
        group_instance_id: settings.instance_id.clone(),
        protocol_type: CONSUMER.into(),
        protocols: protocols.collect(),
        reason: Some(reason.into()),
        ..JoinGroupRequest::default()
    }
}

pub(super) fn sync(
    settings: &GroupSettings,
    member_id: &Str,
    generation: i32,
    assignor: &str,
    assignments: Vec<SyncGroupRequestAssignment>,
) -> SyncGroupRequest {
    SyncGroupRequest {
        group_id: settings.group.clone(),
        generation_id: generation,
        member_id: member_id.clone(),
        group_instance_id: settings.instance_id.clone(),
        protocol_type: Some(CONSUMER.into()),
        protocol_name: Some(assignor.into()),
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
