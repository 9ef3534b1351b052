//! Membership in a group under the classic protocol: join, synchronise, heartbeat, rebalance, leave.
//!
//! ```text
//! Out --coordinator--> Joining --answer--> (leader: Planning -->) Syncing --assignment--> Stable
//!  ^                     ^                                                               |
//!  |                     +----- revoked ----- Revoking <------ rebalance in progress ----+
//!  +------ leave, close ----------------------------------------------------------------- +
//! ```
//! An eager member gives everything up before it joins again; heartbeats go on while it does. A cooperative one (KIP-429)
//! joins with what it owns, and goes on reading that; it gives up what it is not assigned any more, and joins once more if
//! that was anything, so that others get it. Its heartbeats go on all the while.

mod joining;
mod requests;

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    engine::{
        assign::{self, Assignor, GroupMember, RangeAssignor, SubscribedTopics},
        backoff::Random,
        catalog::snapshot::Snapshot,
        machine::{Call, Now, Outbox, Outcome, Purpose, Target, Token, Tokens, deadline_after, earlier},
        partition::Identity,
    },
    error::{Code, Disposition, Error},
    types::{NodeId, TopicName, TopicPartition},
    wire::{
        calls::{Request, Response},
        messages::{JoinGroupResponse, LeaveGroupResponse, SyncGroupResponse},
        str::Str,
    },
};

use super::{
    heartbeat::Heartbeat,
    protocol::{Event, Protocol, is_settled, read},
    settings::GroupSettings,
};

/// The machine.
#[derive(Debug)]
pub(crate) struct Classic {
    settings: GroupSettings,
    coordinator: Option<NodeId>,
    member_id: Str,
    generation: i32,
    /// Whether partitions were lost in this generation. A follower that only joins again is let into the same one, where
    /// what it had sent before could still be committed: it leaves, and comes back as another member. An assignment in that
    /// generation, which was under way when they were lost, is not taken either.
    is_spent: bool,
    state: State,
    /// Which of its assignors the group uses in this generation.
    assignor: Arc<dyn Assignor>,
    owned: Vec<TopicPartition>,
    /// What was assigned last, and in which generation: assignors that leave things as they are want to know.
    last: Vec<TopicPartition>,
    last_generation: i32,
    /// As leader: the partition counts that the last plan was made with.
    planned: Option<BTreeMap<TopicName, Option<u32>>>,
    /// Whether the plan was not held against the newest view of the cluster yet.
    has_news: bool,
    /// Whether the topics were others when it joined.
    is_resubscribed: bool,
    heartbeat: Heartbeat,
    /// In which generation the last heartbeat was sent.
    heard_in: i32,
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
        /// As leader of a group whose assignment stands: what another one would be made of.
        basis: Option<Basis>,
    },
    Stable,
    /// Waits for the user to give these up, no longer than until then.
    Revoking {
        until: Instant,
        partitions: Vec<TopicPartition>,
    },
    /// Leaves, and joins again for this reason, if there is one. Whatever the answer is, unless partitions were lost: then
    /// it asks until it has left.
    Leaving {
        token: Token,
        again: Option<&'static str>,
    },
    /// For ever.
    Dead,
}

/// What a leader makes its plan of.
#[derive(Debug)]
struct Basis {
    members: Vec<GroupMember>,
    topics: SubscribedTopics,
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
            is_spent: false,
            state: State::Out,
            assignor,
            owned: Vec::new(),
            last: Vec::new(),
            last_generation: -1,
            planned: None,
            has_news: false,
            is_resubscribed: false,
            heartbeat,
            heard_in: -1,
            asked_of: None,
            reason: "the consumer starts",
            failures: 0,
            tokens,
            random,
        }
    }

    fn is_cooperative(&self) -> bool {
        assign::is_cooperative(&self.settings.assignors)
    }

    /// Whether there is a generation to commit in.
    fn is_member(&self) -> bool {
        matches!(self.state, State::Stable | State::Revoking { .. }) || self.goes_on_meanwhile()
    }

    /// Whether the member reads on while it joins again.
    fn goes_on_meanwhile(&self) -> bool {
        use State::{Due, Joining, Planning, Syncing};
        !self.owned.is_empty() && matches!(self.state, Due(_) | Joining(_) | Planning { .. } | Syncing { .. })
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
        self.is_member().then(|| Identity {
            keeps: self.is_cooperative(),
            ..self.settings.identity(&self.member_id, self.generation)
        })
    }

    fn is_rebalancing(&self) -> bool {
        match self.state {
            State::Out | State::Stable | State::Dead => false,
            State::Leaving { again, .. } => again.is_some(),
            _ => true,
        }
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

    fn subscribe(&mut self, topics: BTreeSet<TopicName>) {
        self.is_resubscribed = topics != self.settings.topics && !matches!(self.state, State::Out);
        self.settings.topics = topics;
    }

    fn revoked(&mut self, now: Now) {
        if let State::Revoking { partitions, .. } = &self.state {
            self.owned.retain(|partition| !partitions.contains(partition));
            self.state = State::Due(now.instant);
        }
    }

    fn leave(&mut self, now: Now, reason: &'static str, out: &mut Outbox<Event>) {
        let stays = self.settings.instance_id.is_some() && matches!(self.state, State::Stable);
        let is_member = !self.member_id.is_empty()
            && !matches!(self.state, State::Out | State::Dead | State::Leaving { .. });
        self.lose(out);
        self.is_spent = false;
        let Some(coordinator) = self.coordinator.filter(|_| is_member && !stays) else {
            if !matches!(self.state, State::Dead) {
                self.state = State::Out;
            }
            self.member_id = Str::default();
            out.events.push(Event::Left);
            return;
        };
        self.send_leave(now, coordinator, reason, None, out);
    }

    fn catalog(&mut self, now: Now, snapshot: &Snapshot, out: &mut Outbox<Event>) {
        match mem::replace(&mut self.state, State::Out) {
            State::Planning { members, until, skip } => self.plan(now, members, until, skip, snapshot, out),
            state => {
                self.state = state;
                self.has_news = true;
                self.look_at_topics(now, snapshot, out);
            }
        }
    }

    fn tick(&mut self, now: Now, snapshot: &Arc<Snapshot>, out: &mut Outbox<Event>) {
        if matches!(self.state, State::Revoking { until, .. } if until <= now.instant) {
            tracing::warn!(group = %self.settings.group, "giving partitions up took too long: they are lost");
            self.lose(out);
            self.state = State::Due(now.instant);
        }
        if self.is_member() {
            self.beat(now, out);
        }
        self.look_at_topics(now, snapshot, out);
        match &self.state {
            State::Due(at) if *at <= now.instant => self.come_back(now, out),
            State::Planning { until, .. } if *until <= now.instant => self.catalog(now, snapshot, out),
            _ => {}
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let beat = self.is_member().then(|| self.heartbeat.deadline());
        let rejoin_by =
            self.goes_on_meanwhile().then(|| self.heartbeat.rejoin_by(self.settings.rebalance_timeout));
        let next = match self.state {
            State::Due(at) => Some(at).filter(|_| self.coordinator.is_some()),
            State::Planning { until, .. } | State::Revoking { until, .. } => Some(until),
            State::Out
            | State::Joining(_)
            | State::Syncing { .. }
            | State::Stable
            | State::Leaving { .. }
            | State::Dead => None,
        };
        [rejoin_by, next].into_iter().fold(beat, earlier)
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
            State::Syncing { token: asked, sent, basis } if *asked == token => {
                let (sent, basis) = (*sent, basis.take());
                match read::<SyncGroupResponse>(outcome) {
                    Ok(response) => self.synced(now, sent, basis, response, out),
                    Err(error) => self.unreachable(now, &error, out),
                }
            }
            State::Leaving { token: asked, again } if *asked == token => {
                let again = *again;
                self.left(now, again, outcome, out);
            }
            _ => {}
        }
    }

    #[cfg(test)]
    fn check(&self) {
        let holds = self.is_member();
        assert!(
            self.is_cooperative() || !self.goes_on_meanwhile(),
            "an eager member goes on in {:?}",
            self.state
        );
        assert!(holds || self.owned.is_empty(), "{:?} owns {:?}", self.state, self.owned);
        assert!(!holds || self.generation >= 0, "a member without a generation");
    }
}

impl Classic {
    // ---- leaving ---------------------------------------------------------------------------------------------

    fn send_leave(
        &mut self,
        now: Now,
        coordinator: NodeId,
        reason: &'static str,
        again: Option<&'static str>,
        out: &mut Outbox<Event>,
    ) {
        let request = requests::leave(&self.settings, self.member_id.clone(), reason);
        let patience = self.settings.request_timeout;
        // A join that waits at the broker would hold it up on their own connection.
        let token = self.call(now, coordinator, Purpose::General, request.into(), patience, out);
        self.state = State::Leaving { token, again };
    }

    fn left(&mut self, now: Now, again: Option<&'static str>, outcome: Outcome, out: &mut Outbox<Event>) {
        if mem::take(&mut self.is_spent) {
            // Not for the user, who has asked for nothing. Without the coordinator's word the group would wait for it.
            let code = read::<LeaveGroupResponse>(outcome).map(|response| Code::new(response.error_code));
            if again.is_some() && !is_settled(&code) {
                self.is_spent = true;
                self.forget_coordinator(out);
                return self.back_off(now);
            }
        } else {
            out.events.push(Event::Left);
        }
        self.member_id = Str::default();
        self.state = again.map_or(State::Out, |_| State::Due(now.instant));
        self.reason = again.unwrap_or(self.reason);
    }

    /// In a group that stands still: has it rebalance if other topics are wanted than it knows, or, as leader, if a topic
    /// is not what the plan was made with. It may have changed while the plan was under way.
    fn look_at_topics(&mut self, now: Now, snapshot: &Snapshot, out: &mut Outbox<Event>) {
        if !matches!(self.state, State::Stable) {
            return;
        }
        if self.is_resubscribed {
            return self.rebalance(now, "the topics to be read have changed", out);
        }
        if !mem::take(&mut self.has_news) {
            return;
        }
        if self.planned.as_ref().is_some_and(|planned| *planned != counts(planned.keys(), snapshot)) {
            self.rebalance(now, "the partitions of a topic have changed", out);
        }
    }

    /// Joins; as another member, if something was lost since.
    fn come_back(&mut self, now: Now, out: &mut Outbox<Event>) {
        let Some(coordinator) = self.coordinator else { return };
        if self.is_spent && self.settings.instance_id.is_none() {
            return self.send_leave(now, coordinator, self.reason, Some(self.reason), out);
        }
        if mem::take(&mut self.is_spent) {
            // Whoever joins by the name of an instance takes its place.
            self.member_id = Str::default();
        }
        self.send_join(now, coordinator, out);
    }

    // ---- heartbeats ------------------------------------------------------------------------------------------

    fn beat(&mut self, now: Now, out: &mut Outbox<Event>) {
        let is_late = self.goes_on_meanwhile()
            && self.heartbeat.rejoin_by(self.settings.rebalance_timeout) <= now.instant;
        if is_late {
            tracing::warn!(group = %self.settings.group, "joining took longer than max_poll_interval: the partitions are lost");
            return self.expire(now, "joining took too long", out);
        }
        if self.heartbeat.expires() <= now.instant {
            tracing::warn!(group = %self.settings.group, "no heartbeat was confirmed for the session timeout: the partitions are lost");
            return self.expire(now, "the session timed out", out);
        }
        if !self.heartbeat.is_due(now) {
            return;
        }
        let Some(coordinator) = self.coordinator else { return };
        let request = requests::heartbeat(&self.settings, &self.member_id, self.generation);
        let patience = self.settings.heartbeat_patience();
        // A join that waits holds up whatever is behind it on its connection.
        let waits = matches!(self.state, State::Joining(_) | State::Syncing { .. });
        let purpose = if waits { Purpose::General } else { Purpose::COORDINATOR };
        let token = self.call(now, coordinator, purpose, request.into(), patience, out);
        self.heartbeat.asked(now, token);
        self.heard_in = self.generation;
    }

    fn beaten(&mut self, now: Now, sent: Instant, outcome: Outcome, out: &mut Outbox<Event>) {
        if !self.is_member() {
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
            // Who has not got its assignment yet is waited for, whether it is heard or not.
            Code::NONE if self.goes_on_meanwhile() => self.heartbeat.confirm(sent),
            Code::NONE => self.heartbeat.confirm_at_rest(sent),
            Code::REBALANCE_IN_PROGRESS => {
                self.heartbeat.confirm(sent);
                if matches!(self.state, State::Stable) && self.heard_in == self.generation {
                    self.rebalance(now, "the group rebalances", out);
                }
            }
            // It came behind the end of the rebalance, on a connection of its own.
            Code::ILLEGAL_GENERATION if self.heard_in != self.generation => {}
            // The join will be answered too; but what was owned is somebody else's already.
            Code::UNKNOWN_MEMBER_ID if self.goes_on_meanwhile() => self.lose(out),
            _ if self.goes_on_meanwhile() => {}
            _ => self.refused(now, code, "Heartbeat", out),
        }
    }

    /// The coordinator takes the member for dead, or will before it hears of it.
    fn expire(&mut self, now: Now, reason: &'static str, out: &mut Outbox<Event>) {
        self.lose(out);
        self.again(now, reason);
    }

    /// Joins again; an eager member gives everything up before.
    fn rebalance(&mut self, now: Now, reason: &'static str, out: &mut Outbox<Event>) {
        tracing::info!(group = %self.settings.group, generation = self.generation, reason, "rebalancing");
        self.reason = reason;
        if self.is_cooperative() {
            self.state = State::Due(now.instant);
        } else {
            self.revoke(now, self.owned.clone(), out);
        }
    }

    fn revoke(&mut self, now: Now, partitions: Vec<TopicPartition>, out: &mut Outbox<Event>) {
        let until = self.heartbeat.rejoin_by(self.settings.rebalance_timeout).max(now.instant);
        out.events.push(Event::Revoke(partitions.clone()));
        self.state = State::Revoking { until, partitions };
    }

    // ---- trouble ---------------------------------------------------------------------------------------------

    /// A code other than success, from any of the group's calls.
    fn refused(&mut self, now: Now, code: Code, request: &'static str, out: &mut Outbox<Event>) {
        match code {
            Code::ILLEGAL_GENERATION | Code::UNKNOWN_MEMBER_ID => {
                tracing::warn!(group = %self.settings.group, %code, "the group went on without this member");
                self.expire(now, "the group went on without this member", out);
                if code == Code::UNKNOWN_MEMBER_ID {
                    (self.is_spent, self.member_id) = (false, Str::default());
                }
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
            self.is_spent = true;
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
        purpose: Purpose,
        request: Request,
        patience: Duration,
        out: &mut Outbox<Event>,
    ) -> Token {
        let token = self.tokens.next();
        self.asked_of = Some(coordinator);
        out.calls.push(Call {
            token,
            target: Target::Broker(coordinator),
            purpose,
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
