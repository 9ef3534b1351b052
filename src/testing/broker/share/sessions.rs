//! Who has a session, and what becomes of what it has acquired when the session ends.

use super::session::{Key, SessionKey};
use crate::error::{Code, Resource};
use crate::testing::broker::call::Call;
use crate::testing::broker::state::State;
use crate::wire::str::Str;

/// The session that a request speaks of, if its member may read at all.
pub(super) fn check_member(
    state: &State,
    call: &Call,
    group: Option<&Str>,
    member: Option<&Str>,
) -> Result<SessionKey, Code> {
    if state.settings.share_version == 0 {
        return Err(Code::UNSUPPORTED_VERSION);
    }
    let (Some(group), Some(member)) = (group, member) else { return Err(Code::INVALID_REQUEST) };
    if group.is_empty() || member.is_empty() {
        return Err(Code::INVALID_REQUEST);
    }
    if state.is_denied(Resource::Group, group) {
        return Err(Code::GROUP_AUTHORIZATION_FAILED);
    }
    Ok(SessionKey { node: call.node, group: group.clone(), member: member.clone() })
}

/// Ends a session: all that its member has acquired from the node is free again.
pub(super) fn end_session(state: &mut State, key: &SessionKey) {
    state.share.sessions.remove(key);
    let led = |state: &State, (topic, index): Key| {
        let topic = state.topic_by_id(topic);
        topic.and_then(|topic| topic.partition(index)).is_some_and(|p| p.leader == Some(key.node))
    };
    let of_group: Vec<Key> = state.share.of_group(&key.group).map(|(partition, _)| *partition).collect();
    let of_node: Vec<Key> = of_group.into_iter().filter(|partition| led(state, *partition)).collect();
    let limit = state.settings.share_delivery_limit;
    for partition in of_node {
        let shared = state.share.partition_mut(&key.group, partition);
        if shared.is_some_and(|shared| shared.release_all(&key.member, limit)) {
            state.changes += 1;
        }
    }
}

/// A connection has closed, and with it the sessions that were used over it.
pub(in crate::testing::broker) fn connection_closed(state: &mut State, connection: u64) {
    for key in state.share.sessions.over(connection) {
        end_session(state, &key);
    }
}
