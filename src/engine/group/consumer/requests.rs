//! The heartbeat that says everything.

use crate::{
    engine::group::settings::GroupSettings,
    wire::{messages::ConsumerGroupHeartbeatRequest, str::Str},
};

/// What a member says when it joins, and whenever the coordinator may not have got what it said last.
pub(super) fn full(
    settings: &GroupSettings,
    head: ConsumerGroupHeartbeatRequest,
) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        rack_id: settings.rack.clone(),
        rebalance_timeout_ms: i32::try_from(settings.rebalance_timeout.as_millis()).unwrap_or(i32::MAX),
        subscribed_topic_names: Some(settings.topics.iter().map(Str::from).collect()),
        subscribed_topic_regex: settings.regex.clone(),
        server_assignor: settings.server_assignor.clone(),
        ..head
    }
}
