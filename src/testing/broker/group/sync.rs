//! Getting the assignment, staying, and leaving.

use super::{Group, Phase};
use crate::engine::machine::{Now, deadline_after};
use crate::error::Code;
use crate::testing::broker::call::Call;
use crate::testing::broker::heartbeat::Topics;
use crate::wire::messages::{HeartbeatRequest, SyncGroupRequest, SyncGroupResponse};
use crate::wire::str::Str;

impl Group {
    /// A member asks for its assignment; the leader brings all of them. Nothing is returned where it has to wait.
    pub(in crate::testing::broker) fn sync(
        &mut self,
        call: &Call,
        request: &SyncGroupRequest,
        topics: &Topics,
    ) -> Result<Option<SyncGroupResponse>, Code> {
        if !self.consumers.is_empty() {
            return self.consumers.sync_classic(call.now, request, topics).map(Some);
        }
        let index = self.member(&request.member_id, request.group_instance_id.as_ref())?;
        if request.generation_id != self.generation {
            return Err(Code::ILLEGAL_GENERATION);
        }
        let differs = |said: &Option<Str>, is: &Option<Str>| said.is_some() && said != is;
        if differs(&request.protocol_type, &self.protocol_type)
            || differs(&request.protocol_name, &self.protocol)
        {
            return Err(Code::INCONSISTENT_GROUP_PROTOCOL);
        }
        match self.phase {
            Phase::Empty => Err(Code::UNKNOWN_MEMBER_ID),
            Phase::Preparing { .. } => Err(Code::REBALANCE_IN_PROGRESS),
            Phase::Completing => {
                self.release(index, Code::REBALANCE_IN_PROGRESS);
                if let Some(member) = self.members.get_mut(index) {
                    member.syncing = Some(call.ticket);
                    member.synced = true;
                }
                if self.leader.as_ref() == Some(&request.member_id) {
                    self.assign(call.now, request);
                }
                Ok(None)
            }
            Phase::Stable => Ok(self.synced(call.now, index)),
        }
    }

    /// The leader's assignment settles the group.
    fn assign(&mut self, now: Now, request: &SyncGroupRequest) {
        for member in &mut self.members {
            let given = request.assignments.iter().find(|given| given.member_id == member.id);
            member.assignment = given.map(|given| given.assignment.clone()).unwrap_or_default();
        }
        self.phase = Phase::Stable;
        for index in 0..self.members.len() {
            let Some(ticket) = self.members.get_mut(index).and_then(|member| member.syncing.take()) else {
                continue;
            };
            if let Some(response) = self.synced(now, index) {
                self.answers.push((ticket, response.into()));
            }
        }
        self.end_sync();
    }

    fn synced(&mut self, now: Now, index: usize) -> Option<SyncGroupResponse> {
        let member = self.members.get_mut(index).filter(|_| self.phase == Phase::Stable)?;
        member.synced = true;
        member.expires = deadline_after(now, member.session);
        let response = SyncGroupResponse {
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol.clone(),
            assignment: member.assignment.clone(),
            ..SyncGroupResponse::default()
        };
        self.end_sync();
        Some(response)
    }

    /// Nobody is late when all have asked.
    fn end_sync(&mut self) {
        if self.members.iter().all(|member| member.synced) {
            self.sync_until = None;
        }
    }

    /// A member says that it is alive, and hears whether it is to join again.
    pub(in crate::testing::broker) fn heartbeat(
        &mut self,
        now: Now,
        request: &HeartbeatRequest,
    ) -> Result<(), Code> {
        if !self.consumers.is_empty() {
            return self.consumers.heartbeat_classic(now, request);
        }
        let index = self.member(&request.member_id, request.group_instance_id.as_ref())?;
        if request.generation_id != self.generation {
            return Err(Code::ILLEGAL_GENERATION);
        }
        self.is_alive(now, index);
        if matches!(self.phase, Phase::Preparing { .. }) { Err(Code::REBALANCE_IN_PROGRESS) } else { Ok(()) }
    }

    /// A member's session begins anew.
    pub(super) fn is_alive(&mut self, now: Now, index: usize) {
        if let Some(member) = self.members.get_mut(index) {
            member.expires = deadline_after(now, member.session);
        }
    }

    /// A member leaves, or is made to. A static member is found by its instance alone (KIP-345).
    pub(in crate::testing::broker) fn leave(
        &mut self,
        now: Now,
        id: &Str,
        instance: Option<&Str>,
    ) -> Result<(), Code> {
        if !self.consumers.is_empty() {
            return self.consumers.leave_classic(id, instance);
        }
        if instance.is_none() && self.pending.remove(id).is_some() {
            self.try_complete(now);
            return Ok(());
        }
        let index = match instance {
            Some(instance) if id.is_empty() => self.static_member(instance).ok_or(Code::UNKNOWN_MEMBER_ID)?,
            instance => self.member(id, instance)?,
        };
        let leaving = self.members.get(index).map(|member| member.id.clone());
        self.remove(now, |member| Some(&member.id) == leaving.as_ref());
        Ok(())
    }
}
