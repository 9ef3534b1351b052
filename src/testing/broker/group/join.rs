//! Joining.

use std::time::Duration;

use bytes::Bytes;

use super::{Group, Member, Phase};
use crate::engine::machine::deadline_after;
use crate::error::Code;
use crate::testing::broker::call::Call;
use crate::testing::broker::heartbeat::Topics;
use crate::wire::messages::{JoinGroupRequest, JoinGroupResponse};
use crate::wire::str::Str;

/// The first version in which a new member joins twice: once for its id, once with it (KIP-394).
const TWO_STEPS: i16 = 4;
/// The first version in which the leader can be told that there is nothing to assign (KIP-814).
const SKIPS_ASSIGNMENT: i16 = 9;

/// What the broker says to a request to join.
#[derive(Clone, Copy, Debug)]
pub(in crate::testing::broker) struct JoinSettings {
    pub(in crate::testing::broker) initial_delay: Duration,
    pub(in crate::testing::broker) max_size: usize,
}

impl Group {
    /// A member joins. Nothing is returned where it has to wait for the others; an error comes with the member's id.
    pub(in crate::testing::broker) fn join(
        &mut self,
        call: &Call,
        request: &JoinGroupRequest,
        fresh_id: Str,
        settings: JoinSettings,
        topics: &Topics,
    ) -> Result<Option<JoinGroupResponse>, (Code, Str)> {
        if !self.consumers.is_empty() {
            return self.join_consumers(call, request, fresh_id, settings, topics).map(Some);
        }
        if !self.fits(request) {
            return Err((Code::INCONSISTENT_GROUP_PROTOCOL, request.member_id.clone()));
        }
        let instance = request.group_instance_id.as_ref();
        let is_new = request.member_id.is_empty() || self.pending.contains_key(&request.member_id);
        if !is_new {
            let member = self.member(&request.member_id, instance);
            let member = member.map_err(|code| (code, request.member_id.clone()))?;
            return Ok(self.rejoin(member, call, request));
        }
        if let Some(member) = instance.and_then(|instance| self.static_member(instance)) {
            return Ok(self.replace(member, call, request, fresh_id));
        }
        if self.members.len() + self.pending.len() >= settings.max_size
            && !self.pending.contains_key(&request.member_id)
        {
            return Err((Code::GROUP_MAX_SIZE_REACHED, Str::default()));
        }
        if request.member_id.is_empty() && instance.is_none() && call.version >= TWO_STEPS {
            let lapses = deadline_after(call.now, milliseconds(request.session_timeout_ms));
            self.pending.insert(fresh_id.clone(), lapses);
            return Err((Code::MEMBER_ID_REQUIRED, fresh_id));
        }
        self.pending.remove(&request.member_id);
        let id = if request.member_id.is_empty() { fresh_id } else { request.member_id.clone() };
        self.add(call, request, id, settings.initial_delay);
        Ok(None)
    }

    /// A member joins a group of the consumer protocol, where nobody waits for others.
    fn join_consumers(
        &mut self,
        call: &Call,
        request: &JoinGroupRequest,
        fresh_id: Str,
        settings: JoinSettings,
        topics: &Topics,
    ) -> Result<JoinGroupResponse, (Code, Str)> {
        let is_static = request.group_instance_id.is_some();
        if request.member_id.is_empty() && !is_static && call.version >= TWO_STEPS {
            return Err((Code::MEMBER_ID_REQUIRED, fresh_id));
        }
        let id = if request.member_id.is_empty() { fresh_id } else { request.member_id.clone() };
        let joined = self.consumers.join_classic(call, request, id.clone(), settings.max_size, topics);
        joined.map_err(|code| (code, id))
    }

    /// Whether the group would have a protocol in common with the member.
    fn fits(&self, request: &JoinGroupRequest) -> bool {
        if self.phase == Phase::Empty || self.members.is_empty() {
            return !request.protocol_type.is_empty() && !request.protocols.is_empty();
        }
        // All members: one that joins again may not turn to protocols of which it spoke none.
        let common = |protocol: &Str| self.members.iter().all(|member| member.speaks(protocol));
        self.protocol_type.as_ref() == Some(&request.protocol_type)
            && request.protocols.iter().any(|protocol| common(&protocol.name))
    }

    fn add(&mut self, call: &Call, request: &JoinGroupRequest, id: Str, initial_delay: Duration) {
        let mut member = Member {
            id,
            instance: request.group_instance_id.clone(),
            client_id: call.client_id.clone(),
            session: Duration::ZERO,
            rebalance: Duration::ZERO,
            protocols: Vec::new(),
            assignment: Bytes::new(),
            joining: Some(call.ticket),
            syncing: None,
            synced: false,
            expires: call.now.instant,
        };
        member.update(call, request);
        if self.members.is_empty() {
            self.protocol_type = Some(request.protocol_type.clone());
        }
        self.members.push(member);
        if let Phase::Preparing { initial: Some(initial), .. } = &mut self.phase {
            initial.grew = true;
        }
        self.prepare(call.now, initial_delay);
        self.try_complete(call.now);
    }

    /// A member joins again.
    fn rejoin(&mut self, index: usize, call: &Call, request: &JoinGroupRequest) -> Option<JoinGroupResponse> {
        let member = self.members.get_mut(index)?;
        let same = member.has_protocols(request);
        let is_leader = self.leader.as_ref() == Some(&member.id);
        let settled = match self.phase {
            // The answer to an earlier request was lost.
            Phase::Completing => same,
            // The leader joins to have the group rebalance, everybody else only with news.
            Phase::Stable => same && !is_leader,
            Phase::Empty | Phase::Preparing { .. } => false,
        };
        if settled {
            return Some(self.joined(index, false));
        }
        // A request before this one that still waits, on another connection, shall not wait for ever.
        self.release(index, Code::REBALANCE_IN_PROGRESS);
        let member = self.members.get_mut(index)?;
        member.update(call, request);
        member.joining = Some(call.ticket);
        self.prepare(call.now, Duration::ZERO);
        self.try_complete(call.now);
        None
    }

    /// A static member has restarted: it takes over from itself, under a new id, and whoever still uses the old one is
    /// fenced. In a stable group that goes on without a rebalance (KIP-345).
    fn replace(
        &mut self,
        index: usize,
        call: &Call,
        request: &JoinGroupRequest,
        fresh_id: Str,
    ) -> Option<JoinGroupResponse> {
        self.release(index, Code::FENCED_INSTANCE_ID);
        let member = self.members.get_mut(index)?;
        let old_id = std::mem::replace(&mut member.id, fresh_id.clone());
        member.update(call, request);
        let leads = self.leader.as_ref() == Some(&old_id);
        if leads {
            self.leader = Some(fresh_id);
        }
        if self.phase == Phase::Stable && self.choose_protocol() == self.protocol {
            let skips = call.version >= SKIPS_ASSIGNMENT;
            let mut response = self.joined(index, leads && skips);
            if leads && !skips {
                // A leader would assign again: by this old id it does not see that it leads.
                response.leader = old_id;
                response.members = Vec::new();
            }
            return Some(response);
        }
        if let Some(member) = self.members.get_mut(index) {
            member.joining = Some(call.ticket);
        }
        self.prepare(call.now, Duration::ZERO);
        self.try_complete(call.now);
        None
    }
}

impl Member {
    /// Takes what a request to join says.
    fn update(&mut self, call: &Call, request: &JoinGroupRequest) {
        self.session = milliseconds(request.session_timeout_ms);
        // Version 0 has one timeout for both.
        self.rebalance =
            if call.version == 0 { self.session } else { milliseconds(request.rebalance_timeout_ms) };
        self.client_id = call.client_id.clone();
        let protocols = request.protocols.iter();
        self.protocols =
            protocols.map(|protocol| (protocol.name.clone(), protocol.metadata.clone())).collect();
        self.expires = deadline_after(call.now, self.session);
    }

    fn has_protocols(&self, request: &JoinGroupRequest) -> bool {
        let asked = request.protocols.iter().map(|protocol| (&protocol.name, &protocol.metadata));
        asked.eq(self.protocols.iter().map(|(name, metadata)| (name, metadata)))
    }
}

fn milliseconds(number: i32) -> Duration {
    Duration::from_millis(u64::try_from(number).unwrap_or(0))
}
