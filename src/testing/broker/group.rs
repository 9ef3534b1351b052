//! One consumer group: its members, its generations, and the rebalances between them.
//!
//! Every answer that has to wait is left in [`Group::answers`] when its time has come, under the ticket of its request.

pub(super) mod committer;
pub(super) mod consumer;
mod describe;
mod heartbeat;
pub(super) mod join;
mod migrate;
pub(super) mod offsets;
mod sync;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::call::Ticket;
use crate::engine::machine::{Now, deadline_after, earlier};
use crate::error::Code;
use crate::wire::calls::Response;
use crate::wire::messages::join_group_response::JoinGroupResponseMember;
use crate::wire::messages::{JoinGroupResponse, SyncGroupResponse};
use crate::wire::str::Str;

/// A group. One that has no members keeps its offsets.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) id: Str,
    phase: Phase,
    generation: i32,
    protocol_type: Option<Str>,
    protocol: Option<Str>,
    leader: Option<Str>,
    /// In the order in which they joined.
    members: Vec<Member>,
    /// Those under the consumer protocol: a group has members of one protocol alone.
    consumers: consumer::Members,
    /// Ids that were given out and not used yet, and when they lapse (KIP-394).
    pending: BTreeMap<Str, Instant>,
    /// When members that have not asked for their assignment are thrown out.
    sync_until: Option<Instant>,
    offsets: BTreeMap<(Str, i32), Committed>,
    /// What producers have committed in transactions that are not ended yet, by producer id.
    in_transactions: BTreeMap<i64, BTreeMap<(Str, i32), Committed>>,
    /// Counts commits, to find the newer of two.
    commits: u64,
    answers: Vec<(Ticket, Response)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Empty,
    /// Members are to join until a time.
    Preparing {
        until: Instant,
        initial: Option<Initial>,
    },
    /// The leader is to bring the assignment.
    Completing,
    Stable,
}

/// A group that was empty waits a little for more members (`group.initial.rebalance.delay.ms`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Initial {
    until: Instant,
    delay: Duration,
    /// Whether anybody has joined during this wait, so that another is worth it.
    grew: bool,
}

#[derive(Debug)]
struct Member {
    id: Str,
    instance: Option<Str>,
    client_id: Str,
    session: Duration,
    rebalance: Duration,
    /// Names and metadata, best first.
    protocols: Vec<(Str, Bytes)>,
    assignment: Bytes,
    joining: Option<Ticket>,
    syncing: Option<Ticket>,
    synced: bool,
    expires: Instant,
}

/// An offset that the group has committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Committed {
    pub(super) offset: i64,
    pub(super) leader_epoch: i32,
    pub(super) metadata: Str,
    /// Which commit of the group it was.
    pub(super) number: u64,
}

impl Group {
    pub(super) fn new(id: Str) -> Self {
        Self {
            id,
            phase: Phase::Empty,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: Vec::new(),
            consumers: consumer::Members::default(),
            pending: BTreeMap::new(),
            sync_until: None,
            offsets: BTreeMap::new(),
            in_transactions: BTreeMap::new(),
            commits: 0,
            answers: Vec::new(),
        }
    }

    /// Whether nobody is or is about to be in it, and nothing is committed.
    pub(super) fn is_vacant(&self) -> bool {
        let is_empty = self.members.is_empty() && self.consumers.is_empty() && self.pending.is_empty();
        is_empty && self.offsets.is_empty() && self.in_transactions.is_empty()
    }

    /// The answers whose time has come.
    pub(super) fn take_answers(&mut self) -> Vec<(Ticket, Response)> {
        std::mem::take(&mut self.answers)
    }

    /// When [`Group::tick`] has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let phase = match self.phase {
            Phase::Preparing { initial: Some(initial), .. } => Some(initial.until),
            Phase::Preparing { until, .. } => Some(until),
            _ => None,
        };
        let sessions = self.members.iter().filter(|member| !member.waits()).map(|member| member.expires);
        let timers = sessions.chain(self.pending.values().copied()).min();
        earlier(earlier(earlier(phase, self.sync_until), timers), self.consumers.deadline())
    }

    /// Throws out who is late, and ends a rebalance that has lasted long enough.
    pub(super) fn tick(&mut self, now: Now) {
        self.pending.retain(|_, lapses| *lapses > now.instant);
        self.consumers.tick(now);
        self.downgrade_if_classic(now);
        if self.sync_until.is_some_and(|until| until <= now.instant) {
            self.sync_until = None;
            self.remove(now, |member| !member.synced);
        }
        self.remove(now, |member| !member.waits() && member.expires <= now.instant);
        match self.phase {
            Phase::Preparing { initial: Some(initial), until } if initial.until <= now.instant => {
                if initial.grew && initial.until < until {
                    let next = deadline_after(now, initial.delay).min(until);
                    let initial = Initial { until: next, grew: false, ..initial };
                    self.phase = Phase::Preparing { until, initial: Some(initial) };
                } else {
                    self.complete_join(now);
                }
            }
            Phase::Preparing { until, .. } if until <= now.instant => self.complete_join(now),
            _ => self.try_complete(now),
        }
    }

    /// The coordinator has moved: whoever waits is sent away, and everybody has a full session to come back in.
    pub(super) fn moved(&mut self, now: Now) {
        self.consumers.moved(now);
        for index in 0..self.members.len() {
            self.release(index, Code::NOT_COORDINATOR);
        }
        for member in &mut self.members {
            member.expires = deadline_after(now, member.session);
        }
        if matches!(self.phase, Phase::Preparing { .. } | Phase::Completing) {
            self.phase = Phase::Preparing { until: self.rebalance_deadline(now), initial: None };
            self.sync_until = None;
        }
    }

    // Rebalances.

    /// Begins a rebalance, unless one has begun.
    fn prepare(&mut self, now: Now, initial_delay: Duration) {
        if matches!(self.phase, Phase::Preparing { .. }) {
            return;
        }
        for member in &mut self.members {
            if let Some(ticket) = member.syncing.take() {
                self.answers.push((ticket, sync_error(Code::REBALANCE_IN_PROGRESS).into()));
            }
        }
        let until = self.rebalance_deadline(now);
        let initial = (self.phase == Phase::Empty && !initial_delay.is_zero()).then(|| Initial {
            until: deadline_after(now, initial_delay).min(until),
            delay: initial_delay,
            grew: false,
        });
        self.sync_until = None;
        self.phase = Phase::Preparing { until, initial };
    }

    /// Ends the joining if everybody has joined who is expected.
    fn try_complete(&mut self, now: Now) {
        let all_joined = self.members.iter().all(|member| member.joining.is_some());
        if matches!(self.phase, Phase::Preparing { initial: None, .. })
            && all_joined
            && self.pending.is_empty()
        {
            self.complete_join(now);
        }
    }

    /// Ends the joining: those who have joined are the next generation.
    fn complete_join(&mut self, now: Now) {
        // A static member keeps its place until its session ends (KIP-345).
        self.members.retain(|member| member.joining.is_some() || member.instance.is_some());
        let joined = |id: &Str| self.members.iter().any(|m| m.id == *id && m.joining.is_some());
        if !self.leader.as_ref().is_some_and(joined) {
            let next = self.members.iter().find(|member| member.joining.is_some());
            self.leader = next.map(|member| member.id.clone());
        }
        if self.leader.is_none() && !self.members.is_empty() {
            // All are away, and nothing changes before one is back or a session ends: with no time to join there
            // would be something to do at once, again and again.
            let session = self.members.iter().map(|member| member.expires).min();
            let soonest = self.rebalance_deadline(now);
            let until = session.filter(|_| soonest <= now.instant).unwrap_or(soonest);
            self.phase = Phase::Preparing { until, initial: None };
            return;
        }
        self.generation = self.generation.wrapping_add(1).max(1);
        if self.members.is_empty() {
            self.phase = Phase::Empty;
            self.protocol = None;
            self.sync_until = None;
            return;
        }
        self.protocol = self.choose_protocol();
        self.phase = Phase::Completing;
        self.sync_until = Some(self.rebalance_deadline(now));
        for index in 0..self.members.len() {
            let response = self.joined(index, false);
            let Some(member) = self.members.get_mut(index) else { continue };
            member.synced = false;
            member.expires = deadline_after(now, member.session);
            if let Some(ticket) = member.joining.take() {
                self.answers.push((ticket, response.into()));
            }
        }
    }

    /// The answer of one who is in the current generation. The leader is given all members.
    fn joined(&self, index: usize, skip_assignment: bool) -> JoinGroupResponse {
        let leader = self.leader.clone().unwrap_or_default();
        let member_id = self.members.get(index).map(|member| member.id.clone()).unwrap_or_default();
        let members = if member_id == leader { self.with_metadata() } else { Vec::new() };
        JoinGroupResponse {
            generation_id: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol_name: Some(self.protocol.clone().unwrap_or_default()),
            leader,
            skip_assignment,
            member_id,
            members,
            ..JoinGroupResponse::default()
        }
    }

    fn with_metadata(&self) -> Vec<JoinGroupResponseMember> {
        let members = self.members.iter().map(|member| JoinGroupResponseMember {
            member_id: member.id.clone(),
            group_instance_id: member.instance.clone(),
            metadata: member.metadata(self.protocol.as_ref()),
            ..JoinGroupResponseMember::default()
        });
        members.collect()
    }

    /// Of the protocols that all members speak, the one that most of them like best.
    fn choose_protocol(&self) -> Option<Str> {
        let common = |name: &Str| self.members.iter().all(|member| member.speaks(name));
        let mut votes: Vec<(&Str, usize)> = Vec::new();
        for member in &self.members {
            let Some((best, _)) = member.protocols.iter().find(|(name, _)| common(name)) else { continue };
            match votes.iter_mut().find(|(name, _)| *name == best) {
                Some((_, count)) => *count += 1,
                None => votes.push((best, 1)),
            }
        }
        let most = votes.iter().map(|(_, count)| *count).max()?;
        votes.into_iter().find(|(_, count)| *count == most).map(|(name, _)| name.clone())
    }

    /// Removes the members that `which` picks; the others rebalance.
    fn remove(&mut self, now: Now, which: impl Fn(&Member) -> bool) {
        let before = self.members.len();
        for index in (0..before).rev() {
            if self.members.get(index).is_some_and(&which) {
                self.release(index, Code::UNKNOWN_MEMBER_ID);
                self.members.remove(index);
            }
        }
        if self.members.len() == before {
            return;
        }
        let is_there = |leader: &Str| self.members.iter().any(|member| member.id == *leader);
        if !self.leader.as_ref().is_some_and(is_there) {
            self.leader = None;
        }
        self.prepare(now, Duration::ZERO);
        self.try_complete(now);
    }

    /// Answers what a member waits for with an error.
    fn release(&mut self, index: usize, code: Code) {
        let Some(member) = self.members.get_mut(index) else { return };
        if let Some(ticket) = member.joining.take() {
            self.answers.push((ticket, join_error(code, member.id.clone()).into()));
        }
        if let Some(ticket) = member.syncing.take() {
            self.answers.push((ticket, sync_error(code).into()));
        }
    }

    /// The longest that any member wants to be waited for.
    fn rebalance_deadline(&self, now: Now) -> Instant {
        let longest = self.members.iter().map(|member| member.rebalance).max();
        deadline_after(now, longest.unwrap_or_default())
    }

    // Members.

    /// The member that a request speaks for, if it is who it says.
    fn member(&self, id: &Str, instance: Option<&Str>) -> Result<usize, Code> {
        if let Some(instance) = instance {
            let holder = self.static_member(instance).ok_or(Code::UNKNOWN_MEMBER_ID)?;
            let is_holder = self.members.get(holder).is_some_and(|member| member.id == *id);
            return if is_holder { Ok(holder) } else { Err(Code::FENCED_INSTANCE_ID) };
        }
        self.members.iter().position(|member| member.id == *id).ok_or(Code::UNKNOWN_MEMBER_ID)
    }

    fn static_member(&self, instance: &Str) -> Option<usize> {
        self.members.iter().position(|member| member.instance.as_ref() == Some(instance))
    }
}

impl Member {
    /// Whether a request of it is being answered, so that it is alive.
    fn waits(&self) -> bool {
        self.joining.is_some() || self.syncing.is_some()
    }

    fn speaks(&self, protocol: &Str) -> bool {
        self.protocols.iter().any(|(name, _)| name == protocol)
    }

    fn metadata(&self, protocol: Option<&Str>) -> Bytes {
        let spoken = self.protocols.iter().find(|(name, _)| Some(name) == protocol);
        spoken.map(|(_, metadata)| metadata.clone()).unwrap_or_default()
    }
}

pub(super) fn join_error(code: Code, member_id: Str) -> JoinGroupResponse {
    JoinGroupResponse {
        error_code: code.get(),
        member_id,
        protocol_name: None,
        ..JoinGroupResponse::default()
    }
}

pub(super) fn sync_error(code: Code) -> SyncGroupResponse {
    SyncGroupResponse { error_code: code.get(), ..SyncGroupResponse::default() }
}
