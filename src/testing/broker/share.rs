//! Share groups (KIP-932): several members read the same partition, each record goes to one of them, and who has it says
//! what became of it.
//!
//! Leaders keep what was done with a partition, and it survives them: Kafka writes it to a topic of its own.

mod acknowledge;
mod acks;
mod fetch;
mod group;
mod lookup;
mod partition;
mod session;
mod sessions;
pub(super) mod store;

use std::time::Instant;

use super::call::Call;
use super::groups::check_group;
use super::heartbeat::{HeartbeatSettings, JOIN, LEAVE, Refusal};
use super::state::State;
use crate::engine::machine::Now;
use crate::error::Code;
use crate::wire::messages::{ShareGroupHeartbeatRequest, ShareGroupHeartbeatResponse};

pub(super) use self::acknowledge::acknowledge;
pub(super) use self::fetch::ShareFetch;
pub(super) use self::sessions::connection_closed;

pub(super) fn heartbeat(
    state: &mut State,
    call: &Call,
    request: &ShareGroupHeartbeatRequest,
) -> ShareGroupHeartbeatResponse {
    beat(state, call, request).unwrap_or_else(|(code, reason)| ShareGroupHeartbeatResponse {
        error_code: code.get(),
        error_message: Some(reason.into()),
        ..ShareGroupHeartbeatResponse::default()
    })
}

fn beat(
    state: &mut State,
    call: &Call,
    request: &ShareGroupHeartbeatRequest,
) -> Result<ShareGroupHeartbeatResponse, Refusal> {
    if state.settings.share_version == 0 {
        let reason = "The group coordinator does not speak the protocol.";
        return Err((Code::UNSUPPORTED_VERSION, reason.to_owned()));
    }
    group::check(request)?;
    let id = &request.group_id;
    check_group(state, call, id).map_err(|code| (code, code.to_string()))?;
    if !state.share.has_group(id) {
        if !state.drop_vacant_group(id) {
            return Err((Code::GROUP_ID_NOT_FOUND, format!("Group {id} is not a share group.")));
        }
        if request.member_epoch != JOIN {
            return Err((Code::GROUP_ID_NOT_FOUND, format!("Group {id} not found.")));
        }
        if !state.ensure_share_group(id) {
            let reason = "the cluster holds its limit of groups".to_owned();
            return Err((Code::GROUP_MAX_SIZE_REACHED, reason));
        }
    }
    let settings = HeartbeatSettings {
        session: state.settings.share_session_timeout,
        interval: state.settings.share_heartbeat_interval,
        max_size: state.settings.share_group_max_size,
    };
    let topics = state.topic_sizes();
    let Some(group) = state.share.group_mut(id) else {
        return Err((Code::COORDINATOR_NOT_AVAILABLE, String::new()));
    };
    let response = group.heartbeat(call.now, request, settings, &topics)?;
    if request.member_epoch == LEAVE {
        let limit = state.settings.share_delivery_limit;
        let mut any = false;
        state.share.of_group(id).for_each(|(_, shared)| any |= shared.release_all(&request.member_id, limit));
        state.changes += u64::from(any);
    }
    Ok(response)
}

/// Throws out the members that are late, and releases what was held for too long.
pub(super) fn tick(state: &mut State, now: Now) {
    let limit = state.settings.share_delivery_limit;
    let any = state.share.tick(now, limit);
    state.changes += u64::from(any);
}

/// When [`tick`] has something to do.
pub(super) fn deadline(state: &State) -> Option<Instant> {
    state.share.deadline()
}
