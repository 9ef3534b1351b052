//! Membership in a group under the classic protocol: join, synchronise, heartbeat, rebalance, leave.
//!
//! ```text
//! Out --coordinator--> Joining --answer--> (leader: Planning -->) Syncing --assignment--> Stable
//!  ^                     ^                                                               |
//!  |                     +----- revoked ----- Revoking <------ rebalance in progress ----+
//!  +------ leave, close ----------------------------------------------------------------- +
//! ```
//! It is eager: before a member joins again it has given up everything. Heartbeats go on while it does.

mod requests;

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    engine::{
        assign::{self, Assignor, GroupMember, RangeAssignor, SubscribedTopics, wire},
        backoff::Random,
        catalog::snapshot::Snapshot,
        machine::{Call, Now, Outbox, Outcome, Purpose, Target, Token, Tokens, deadline_after},
        partition::Identity,
    },
    error::{Code, Disposition, Error},
    types::{NodeId, TopicName, TopicPartition},
    wire::{
        calls::{Request, Response},
        messages::{JoinGroupResponse, SyncGroupResponse, sync_group_request::SyncGroupRequestAssignment},
        str::Str,
    },
};

use requests::Last;

use super::{
    heartbeat::Heartbeat,
    protocol::{Event, Protocol, read},
    settings::GroupSettings,
};

/// The machine.
#[derive(Debug)]
pub(crate) struct Classic {
    settings: GroupSettings,
    coordinator: Option<NodeId>,
    member_id: Str,
    generation: i32,
    state: State,
    /// Which of its assignors the group uses in this generation.
    assignor: Arc<dyn Assignor>,
    owned: Vec<TopicPartition>,
    /// What was assigned last, and in which generation: assignors that leave things as they are want to know.
    last: Vec<TopicPartition>,
    last_generation: i32,
    /// As leader: the partition counts that the last plan was made with.
    planned: Option<BTreeMap<TopicName, Option<u32>>>,
    heartbeat: Heartbeat,
    /// Whom the last call went to: if it fails, another coordinator that was found meanwhile is none the worse.
    asked_of: Option<NodeId>,
    /// Why the member joins, for the broker's log (KIP-800).
    reason: &'static str,
    /// Joins in a row that have led to no assignment.
    failures: u32,
    tokens: Tokens,
    random: Random,
}

#[derive(Debug)]
enum State {
    /// Not a member and not about to become one.
    Out,
    /// To join at this time, once the coordinator is known.
    Due(Instant),
    Joining(Token),
    /// The leader waits for the partitions of all topics that members want, no longer than until then.
    Planning {
        members: Vec<GroupMember>,
        until: Instant,
        /// Whether the assignment stands, and the leader only has to know what it was made with (KIP-814).
        skip: bool,
    },
    Syncing {
        token: Token,
        sent: Instant,
        /// As leader of a group whose assignment stands: this member's share, if nothing has changed since it was made.
        share: Option<Vec<TopicPartition>>,
    },
    Stable,
    /// Waits for the user to give up what is owned, no longer than until then.
    Revoking {
        until: Instant,
    },
    /// Leaves, whatever the answer is; and joins again for this reason, if there is one.
    Leaving {
        token: Token,
        again: Option<&'static str>,
    },
    /// For ever.
    Dead,
}

impl Classic {
    pub(crate) fn new(settings: GroupSettings, now: Now, tokens: Tokens, random: Random) -> Self {
        let range = || Arc::new(RangeAssignor) as Arc<dyn Assignor>;
        let assignor = settings.assignors.first().map_or_else(range, Arc::clone);
        let heartbeat = Heartbeat::new(now, settings.heartbeat_interval, settings.session_timeout);
        Self {
            settings,
            coordinator: None,
            member_id: Str::default(),
            generation: -1,
            state: State::Out,
            assignor,
            owned: Vec::new(),
            last: Vec::new(),
            last_generation: -1,
            planned: None,
            heartbeat,
            asked_of: None,
            reason: "the consumer starts",
            failures: 0,
            tokens,
            random,
        }
    }
}

impl Protocol for Classic {
    fn needs_coordinator(&self) -> bool {
        self.coordinator.is_none() && !matches!(self.state, State::Out | State::Dead)
    }

    fn set_coordinator(&mut self, node: Option<NodeId>) {
        self.coordinator = node;
    }

    fn identity(&self) -> Option<Identity> {
        let member = matches!(self.state, State::Stable | State::Revoking { .. });
        member.then(|| self.settings.identity(&self.member_id, self.generation))
    }

    fn join(&mut self, now: Now, reason: &'static str) {
        match &mut self.state {
            State::Out => {
                self.reason = reason;
                self.state = State::Due(now.instant);
            }
            State::Leaving { again, .. } => *again = Some(reason),
            _ => {}
        }
    }

    fn revoked(&mut self, now: Now) {
        if matches!(self.state, State::Revoking { .. }) {
            self.owned.clear();
            self.state = State::Due(now.instant);
        }
    }

    fn leave(&mut self, now: Now, reason: &'static str, out: &mut Outbox<Event>) {
        let stays = self.settings.instance_id.is_some() && matches!(self.state, State::Stable);
        let is_member = !self.member_id.is_empty()
            && !matches!(self.state, State::Out | State::Dead | State::Leaving { .. });
        self.lose(out);
        let Some(coordinator) = self.coordinator.filter(|_| is_member && !stays) else {
            if !matches!(self.state, State::Dead) {
                self.state = State::Out;
            }
            out.events.push(Event::Left);
            return;
        };
        let request = requests::leave(&self.settings, mem::take(&mut self.member_id), reason);
        let token = self.tokens.next();
        out.calls.push(Call {
            token,
            target: Target::Broker(coordinator),
            // A join that waits at the broker would hold it up on their own connection.
            purpose: Purpose::General,
            request: request.into(),
            deadline: deadline_after(now, self.settings.request_timeout),
            max_version: None,
        });
        self.state = State::Leaving { token, again: None };
    }

    fn catalog(&mut self, now: Now, snapshot: &Snapshot, out: &mut Outbox<Event>) {
        match mem::replace(&mut self.state, State::Out) {
            State::Planning { members, until, skip } => self.plan(now, members, until, skip, snapshot, out),
            state => {
                self.state = state;
                let planned = self.planned.as_ref().filter(|_| matches!(self.state, State::Stable));
                if planned.is_some_and(|planned| *planned != counts(planned.keys(), snapshot)) {
                    self.rebalance(now, "the partitions of a topic have changed", out);
                }
            }
        }
    }

    fn tick(&mut self, now: Now, snapshot: &Arc<Snapshot>, out: &mut Outbox<Event>) {
        if matches!(self.state, State::Revoking { until } if until <= now.instant) {
            tracing::warn!(group = %self.settings.group, "giving partitions up took too long: they are lost");
            self.lose(out);
            self.state = State::Due(now.instant);
        }
        if matches!(self.state, State::Stable | State::Revoking { .. }) {
            self.beat(now, out);
        }
        match &self.state {
            State::Due(at) if *at <= now.instant => self.send_join(now, out),
            State::Planning { until, .. } if *until <= now.instant => self.catalog(now, snapshot, out),
            _ => {}
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let beat = self.heartbeat.deadline();
        match self.state {
            State::Due(at) => Some(at).filter(|_| self.coordinator.is_some()),
            State::Planning { until, .. } => Some(until),
            State::Stable => Some(beat),
            State::Revoking { until } => Some(until.min(beat)),
            State::Out | State::Joining(_) | State::Syncing { .. } | State::Leaving { .. } | State::Dead => {
                None
            }
        }
    }

    fn answer(&mut self, now: Now, token: Token, outcome: Outcome, out: &mut Outbox<Event>) {
        if let Some(sent) = self.heartbeat.answered(token) {
            return self.beaten(now, sent, outcome, out);
        }
        match &mut self.state {
            State::Joining(asked) if *asked == token => match read::<JoinGroupResponse>(outcome) {
                Ok(response) => self.joined(now, response, out),
                Err(error) => self.unreachable(now, &error, out),
            },
            State::Syncing { token: asked, sent, share } if *asked == token => {
                let (sent, share) = (*sent, share.take());
                match read::<SyncGroupResponse>(outcome) {
                    Ok(response) => self.synced(now, sent, share, response, out),
                    Err(error) => self.unreachable(now, &error, out),
                }
            }
            State::Leaving { token: asked, again } if *asked == token => {
                let again = *again;
                self.state = State::Out;
                out.events.push(Event::Left);
                if let Some(reason) = again {
                    self.join(now, reason);
                }
            }
            _ => {}
        }
    }

    #[cfg(test)]
    fn check(&self) {
        let holds = matches!(self.state, State::Stable | State::Revoking { .. });
        assert!(holds || self.owned.is_empty(), "{:?} owns {:?}", self.state, self.owned);
        assert!(!holds || self.generation >= 0, "a member without a generation");
    }
}

impl Classic {
    // ---- joining ---------------------------------------------------------------------------------------------

    fn send_join(&mut self, now: Now, out: &mut Outbox<Event>) {
        let Some(coordinator) = self.coordinator else { return };
        let last = Last { partitions: &self.last, generation: self.last_generation };
        let request = requests::join(&self.settings, &self.member_id, last, self.reason);
        // The answer comes when all members have joined, or the rebalance timeout has passed.
        let patience = self.settings.rebalance_timeout.saturating_add(Duration::from_secs(5));
        let patience = patience.max(self.settings.request_timeout);
        self.heartbeat.end();
        let token = self.call(now, coordinator, request.into(), patience, out);
        self.state = State::Joining(token);
    }

    fn joined(&mut self, now: Now, response: JoinGroupResponse, out: &mut Outbox<Event>) {
        let code = Code::new(response.error_code);
        match code {
            Code::NONE => {}
            Code::MEMBER_ID_REQUIRED if self.member_id.is_empty() && !response.member_id.is_empty() => {
                self.member_id = response.member_id;
                self.state = State::Due(now.instant);
                return;
            }
            _ => return self.refused(now, code, "JoinGroup", out),
        }
        self.generation = response.generation_id;
        self.member_id = response.member_id;
        let chosen = response.protocol_name.as_deref().unwrap_or_default();
        let Some(assignor) = self.settings.assignors.iter().find(|assignor| assignor.name() == chosen) else {
            tracing::warn!(group = %self.settings.group, assignor = chosen, "the group uses an assignor that this member did not offer: joining again");
            return self.again(now, "the assignor was not offered");
        };
        self.assignor = Arc::clone(assignor);
        let is_leader = response.leader == self.member_id;
        tracing::info!(
            group = %self.settings.group, generation = self.generation, leader = is_leader, "joined the group"
        );
        self.planned = None;
        if !is_leader {
            return self.send_sync(now, Vec::new(), None, out);
        }
        let members = response.members.into_iter().map(|member| {
            let (id, instance_id) = (member.member_id, member.group_instance_id);
            let told = wire::read_subscription(id.clone(), instance_id.clone(), member.metadata);
            told.unwrap_or_else(|error| {
                tracing::warn!(member = %id, %error, "a member's subscription does not parse: it gets nothing");
                GroupMember::silent(id, instance_id)
            })
        });
        let members: Vec<GroupMember> = members.collect();
        out.events
            .push(Event::Want(members.iter().flat_map(|member| member.topics.iter().cloned()).collect()));
        // The members wait for this one, and for no longer than their sessions.
        let until = deadline_after(now, self.settings.session_timeout / 3);
        self.state = State::Planning { members, until, skip: response.skip_assignment };
    }

    /// As leader: makes the plan if all topics are known, or it is time.
    fn plan(
        &mut self,
        now: Now,
        members: Vec<GroupMember>,
        until: Instant,
        skip: bool,
        snapshot: &Snapshot,
        out: &mut Outbox<Event>,
    ) {
        let wanted: BTreeSet<&TopicName> = members.iter().flat_map(|member| &member.topics).collect();
        let counts = counts(wanted, snapshot);
        let known =
            |topic: &TopicName| snapshot.topic(topic).is_some() || snapshot.topic_error(topic).is_some();
        if until > now.instant && !counts.keys().all(known) {
            self.state = State::Planning { members, until, skip };
            return;
        }
        let known = counts.iter().filter_map(|(topic, count)| Some((topic.clone(), (*count)?)));
        let plan = assign::assign(&*self.assignor, &members, &SubscribedTopics::new(known.collect()));
        let mut plan: Vec<_> = members.into_iter().map(|member| member.id).zip(plan).collect();
        if skip {
            self.planned = Some(counts);
            let mine = plan.iter_mut().find(|(member_id, _)| *member_id == self.member_id);
            let mut share = mine.map(|(_, share)| mem::take(share)).unwrap_or_default();
            share.sort_unstable();
            return self.send_sync(now, Vec::new(), Some(share), out);
        }
        for topic in counts.iter().filter(|(_, count)| count.is_none()).map(|(topic, _)| topic) {
            tracing::warn!(group = %self.settings.group, %topic, "nobody is assigned a topic that does not exist");
        }
        self.planned = Some(counts);
        let assignments = plan.into_iter().map(|(member_id, partitions)| SyncGroupRequestAssignment {
            member_id,
            assignment: wire::assignment(&partitions),
            ..SyncGroupRequestAssignment::default()
        });
        self.send_sync(now, assignments.collect(), None, out);
    }

    fn send_sync(
        &mut self,
        now: Now,
        assignments: Vec<SyncGroupRequestAssignment>,
        share: Option<Vec<TopicPartition>>,
        out: &mut Outbox<Event>,
    ) {
        let Some(coordinator) = self.coordinator else {
            // It moved meanwhile: whoever it is now knows nothing of this generation's plan.
            self.state = State::Due(now.instant);
            return;
        };
        let request = requests::sync(
            &self.settings,
            &self.member_id,
            self.generation,
            self.assignor.name(),
            assignments,
        );
        // The answer comes when the leader has made its plan; a leader that does not is dead within its session.
        let patience = self.settings.session_timeout.max(self.settings.request_timeout);
        let token = self.call(now, coordinator, request.into(), patience, out);
        self.state = State::Syncing { token, sent: now.instant, share };
    }

    fn synced(
        &mut self,
        now: Now,
        sent: Instant,
        share: Option<Vec<TopicPartition>>,
        response: SyncGroupResponse,
        out: &mut Outbox<Event>,
    ) {
        let code = Code::new(response.error_code);
        if code != Code::NONE {
            return self.refused(now, code, "SyncGroup", out);
        }
        // An answer may have been long under way: the coordinator's own count may have begun when it was sent.
        self.heartbeat.begin(sent);
        if self.heartbeat.expires() <= now.instant {
            tracing::warn!(group = %self.settings.group, generation = self.generation, "the assignment came after the session's end: joining again");
            return self.again(now, "the assignment came after the session's end");
        }
        match wire::read_assignment(response.assignment) {
            Ok(assigned) => {
                let foreign =
                    assigned.iter().find(|partition| !self.settings.topics.contains(&partition.topic));
                if let Some(foreign) = foreign {
                    tracing::warn!(group = %self.settings.group, partition = %foreign, "assigned what was not subscribed to: joining again");
                    return self.again(now, "the assignment holds a topic that was not subscribed to");
                }
                if share.is_some_and(|share| share != assigned) {
                    // It was made before the topics were what they are: this member asks for another.
                    return self.again(now, "the assignment that stands is out of date");
                }
                tracing::info!(group = %self.settings.group, generation = self.generation, ?assigned, "assigned");
                self.failures = 0;
                self.owned.clone_from(&assigned);
                self.last.clone_from(&assigned);
                self.last_generation = self.generation;
                self.state = State::Stable;
                out.events.push(Event::Assigned(assigned));
            }
            Err(error) => {
                tracing::warn!(group = %self.settings.group, %error, "the assignment does not parse: joining again");
                self.again(now, "the assignment does not parse");
            }
        }
    }

    // ---- heartbeats ------------------------------------------------------------------------------------------

    fn beat(&mut self, now: Now, out: &mut Outbox<Event>) {
        if self.heartbeat.expires() <= now.instant {
            tracing::warn!(group = %self.settings.group, "no heartbeat was confirmed for the session timeout: the partitions are lost");
            self.lose(out);
            return self.again(now, "the session timed out");
        }
        if !self.heartbeat.is_due(now) {
            return;
        }
        let Some(coordinator) = self.coordinator else { return };
        let request = requests::heartbeat(&self.settings, &self.member_id, self.generation);
        let patience = self.settings.heartbeat_patience();
        let token = self.call(now, coordinator, request.into(), patience, out);
        self.heartbeat.asked(now, token);
    }

    fn beaten(&mut self, now: Now, sent: Instant, outcome: Outcome, out: &mut Outbox<Event>) {
        if !matches!(self.state, State::Stable | State::Revoking { .. }) {
            return;
        }
        let code = match outcome {
            Ok(answer) => match answer.response {
                Response::Heartbeat(response) => Code::new(response.error_code),
                _ => return,
            },
            // The membership lasts for its session; only the coordinator may be elsewhere.
            Err(_) => return self.forget_coordinator(out),
        };
        match code {
            Code::NONE => self.heartbeat.confirm(sent),
            Code::REBALANCE_IN_PROGRESS => {
                self.heartbeat.confirm(sent);
                if matches!(self.state, State::Stable) {
                    self.rebalance(now, "the group rebalances", out);
                }
            }
            _ => self.refused(now, code, "Heartbeat", out),
        }
    }

    /// Gives everything up in order to join again.
    fn rebalance(&mut self, now: Now, reason: &'static str, out: &mut Outbox<Event>) {
        tracing::info!(group = %self.settings.group, generation = self.generation, reason, "rebalancing");
        self.reason = reason;
        self.state = State::Revoking { until: deadline_after(now, self.settings.rebalance_timeout) };
        out.events.push(Event::Revoke(self.owned.clone()));
    }

    // ---- trouble ---------------------------------------------------------------------------------------------

    /// A code other than success, from any of the group's calls.
    fn refused(&mut self, now: Now, code: Code, request: &'static str, out: &mut Outbox<Event>) {
        match code {
            Code::ILLEGAL_GENERATION | Code::UNKNOWN_MEMBER_ID => {
                if code == Code::UNKNOWN_MEMBER_ID {
                    self.member_id = Str::default();
                }
                tracing::warn!(group = %self.settings.group, %code, "the group went on without this member");
                self.lose(out);
                self.again(now, "the group went on without this member");
            }
            Code::FENCED_INSTANCE_ID => {
                self.lose(out);
                self.state = State::Dead;
                out.events.push(Event::Fatal(self.settings.fenced()));
            }
            Code::REBALANCE_IN_PROGRESS => self.again(now, "the group rebalances"),
            _ => match code.disposition() {
                Disposition::FindCoordinator => {
                    self.forget_coordinator(out);
                    self.again_unless_member(now);
                }
                Disposition::Fail => {
                    out.events.push(Event::Refused(self.settings.refused(code, request)));
                    self.lose(out);
                    self.back_off(now);
                }
                _ => self.again_unless_member(now),
            },
        }
    }

    /// A join or a sync without an answer.
    fn unreachable(&mut self, now: Now, error: &Error, out: &mut Outbox<Event>) {
        if !error.may_pass() {
            out.events.push(Event::Refused(error.clone()));
        }
        self.forget_coordinator(out);
        self.back_off(now);
    }

    fn forget_coordinator(&mut self, out: &mut Outbox<Event>) {
        if let Some(node) = self.coordinator.take_if(|node| self.asked_of == Some(*node)) {
            out.events.push(Event::CoordinatorLost(node));
        }
    }

    /// Nothing is owned any more, and nothing of it may be committed.
    fn lose(&mut self, out: &mut Outbox<Event>) {
        if !self.owned.is_empty() {
            out.events.push(Event::Lost(mem::take(&mut self.owned)));
        }
    }

    /// Joins again: at once, unless the last join has led to nothing either.
    fn again(&mut self, now: Now, reason: &'static str) {
        self.reason = reason;
        if self.failures > 0 {
            return self.back_off(now);
        }
        self.failures = 1;
        self.heartbeat.end();
        self.state = State::Due(now.instant);
    }

    /// After a passing trouble: a member goes on being one, anybody else asks again later.
    fn again_unless_member(&mut self, now: Now) {
        if !matches!(self.state, State::Stable | State::Revoking { .. }) {
            self.back_off(now);
        }
    }

    fn back_off(&mut self, now: Now) {
        let wait = self.settings.retry.delay(self.failures, &mut self.random);
        self.failures = self.failures.saturating_add(1);
        self.heartbeat.end();
        self.state = State::Due(deadline_after(now, wait));
    }

    fn call(
        &mut self,
        now: Now,
        coordinator: NodeId,
        request: Request,
        patience: Duration,
        out: &mut Outbox<Event>,
    ) -> Token {
        let token = self.tokens.next();
        self.asked_of = Some(coordinator);
        out.calls.push(Call {
            token,
            target: Target::Broker(coordinator),
            purpose: Purpose::COORDINATOR,
            request,
            deadline: deadline_after(now, patience),
            max_version: None,
        });
        token
    }
}

/// How many partitions each topic has; `None` for one that does not exist.
fn counts<'a>(
    topics: impl IntoIterator<Item = &'a TopicName>,
    snapshot: &Snapshot,
) -> BTreeMap<TopicName, Option<u32>> {
    topics.into_iter().map(|topic| (topic.clone(), snapshot.partition_count(topic))).collect()
}

#[cfg(test)]
mod tests;
