//! Membership in a group under the consumer protocol (KIP-848): the coordinator assigns, and heartbeats carry it all.
//!
//! ```text
//! Out --join--> Due --coordinator--> Joining --epoch--> Stable <--- given up, taken on --- Revoking
//!  ^             ^                                      |    |                              ^
//!  |             +---------- fenced, expired -----------+    +--- what is assigned differs -+
//!  +------ leave, close
//! ```
//! What is owned follows what was assigned last, a step at a time: first what is not assigned any more is given up, then
//! what is new is taken on, and the next heartbeat says what is owned now. Heartbeats go on all the while.

mod assignment;
mod names;
mod requests;

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use assignment::Assignment;
use names::Names;

use super::{
    heartbeat::Heartbeat,
    protocol::{Event, Protocol, is_settled, read},
    settings::{GroupSettings, member_id},
};
use crate::{
    engine::{
        backoff::Random,
        catalog::snapshot::Snapshot,
        machine::{Call, Now, Outbox, Outcome, Purpose, Target, Token, Tokens, deadline_after, earlier},
        partition::Identity,
    },
    error::{Code, Disposition, Error, ErrorKind},
    types::{NodeId, TopicName, TopicPartition},
    wire::{
        messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse},
        str::Str,
    },
};

/// The epoch of a member that joins.
const JOIN: i32 = 0;
/// That of one that leaves for good, and of a static one that may come back.
const LEAVE: i32 = -1;
const LEAVE_FOR_NOW: i32 = -2;

/// The machine.
#[derive(Debug)]
pub(crate) struct ConsumerGroup {
    settings: GroupSettings,
    coordinator: Option<NodeId>,
    /// The member's own, until it loses partitions or leaves (KIP-1082).
    member_id: Str,
    epoch: i32,
    /// Whether partitions were lost under this id. Who joins again by an id that the coordinator knows is let into the same
    /// epoch, where what was sent before could still be committed: the member leaves, and comes back as another one.
    is_spent: bool,
    state: State,
    assignment: Assignment,
    /// Where the coordinator says which topics are read, because their names match.
    names: Option<Names>,
    heartbeat: Heartbeat,
    /// Whether the next heartbeat says everything: the coordinator may not have got the last one, or may be another.
    is_full: bool,
    /// No heartbeat before: the last one was refused for a while.
    not_before: Option<Instant>,
    /// When the heartbeat was sent that brought the last assignment, or the first after which none was answered: the
    /// coordinator's time for giving partitions up began no earlier.
    assigned_at: Instant,
    unheard_since: Option<Instant>,
    /// When the coordinator throws the member out, unless it has heard by then that partitions were given up.
    give_up_by: Option<Instant>,
    /// Whether the heartbeat under way says so.
    is_telling: bool,
    /// When to look for topics again of which only ids are known.
    refresh_at: Option<Instant>,
    /// Troubles in a row.
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
    Joining {
        token: Token,
        sent: Instant,
    },
    Stable,
    /// Waits for the user to give these up.
    Revoking(Vec<TopicPartition>),
    /// Leaves, and joins again, if that is wanted. Whatever the answer is, unless partitions were lost: then it asks until
    /// it has left.
    Leaving {
        token: Token,
        again: bool,
    },
    /// For ever.
    Dead,
}

impl ConsumerGroup {
    pub(crate) fn new(settings: GroupSettings, now: Now, tokens: Tokens, mut random: Random) -> Self {
        let heartbeat = Heartbeat::new(now, settings.heartbeat_interval, settings.session_timeout);
        let names = settings.regex.is_some().then(|| {
            let random = Random::new(random.next_u64());
            Names::new(settings.request_timeout, settings.retry, random)
        });
        Self {
            settings,
            coordinator: None,
            member_id: member_id(&mut random),
            epoch: JOIN,
            is_spent: false,
            state: State::Out,
            assignment: Assignment::default(),
            names,
            heartbeat,
            is_full: true,
            not_before: None,
            assigned_at: now.instant,
            unheard_since: None,
            give_up_by: None,
            is_telling: false,
            refresh_at: None,
            failures: 0,
            tokens,
            random,
        }
    }

    fn is_member(&self) -> bool {
        matches!(self.state, State::Stable | State::Revoking(_))
    }

    // ---- heartbeats ------------------------------------------------------------------------------------------

    /// Joins; as another member, if something was lost since.
    fn come_back(&mut self, now: Now, out: &mut Outbox<Event>) {
        let Some(coordinator) = self.coordinator else { return };
        if self.is_spent {
            self.send_leave(now, coordinator, true, out);
        } else {
            self.send_join(now, coordinator, out);
        }
    }

    fn send_join(&mut self, now: Now, coordinator: NodeId, out: &mut Outbox<Event>) {
        self.heartbeat.end();
        (self.not_before, self.give_up_by) = (None, None);
        self.epoch = JOIN;
        self.is_full = true;
        let token = self.call(now, coordinator, JOIN, self.settings.request_timeout, out);
        self.state = State::Joining { token, sent: now.instant };
    }

    fn send_leave(&mut self, now: Now, coordinator: NodeId, again: bool, out: &mut Outbox<Event>) {
        let epoch = if self.settings.instance_id.is_some() { LEAVE_FOR_NOW } else { LEAVE };
        self.is_full = false;
        let token = self.call(now, coordinator, epoch, self.settings.request_timeout, out);
        self.state = State::Leaving { token, again };
    }

    fn left(&mut self, now: Now, again: bool, outcome: Outcome, out: &mut Outbox<Event>) {
        if std::mem::take(&mut self.is_spent) {
            // Not for the user, who has asked for nothing. Without the coordinator's word the group would wait for it.
            let response = read::<ConsumerGroupHeartbeatResponse>(outcome);
            let code = response.map(|response| Code::new(response.error_code));
            if again && !is_settled(&code) {
                self.is_spent = true;
                self.forget_coordinator(out);
                return self.back_off(now);
            }
        } else {
            out.events.push(Event::Left);
        }
        self.member_id = member_id(&mut self.random);
        self.state = if again { State::Due(now.instant) } else { State::Out };
    }

    fn beat(&mut self, now: Now, out: &mut Outbox<Event>) {
        if self.heartbeat.expires() <= now.instant {
            tracing::warn!(group = %self.settings.group, "no heartbeat was confirmed for the session timeout: the partitions are lost");
            return self.rejoin(now, out);
        }
        let is_due = self.heartbeat.is_due(now);
        let has_news = self.has_news() && self.heartbeat.is_idle();
        let rests = self.not_before.is_some_and(|at| at > now.instant);
        let Some(coordinator) = self.coordinator.filter(|_| (is_due || has_news) && !rests) else { return };
        self.not_before = None;
        let patience = self.settings.heartbeat_patience();
        let token = self.call(now, coordinator, self.epoch, patience, out);
        self.heartbeat.asked(now, token);
    }

    /// Whether there is something to say that the coordinator waits for.
    fn has_news(&self) -> bool {
        self.is_full || (matches!(self.state, State::Stable) && !self.assignment.is_told())
    }

    fn call(
        &mut self,
        now: Now,
        coordinator: NodeId,
        epoch: i32,
        patience: Duration,
        out: &mut Outbox<Event>,
    ) -> Token {
        let head = ConsumerGroupHeartbeatRequest {
            group_id: self.settings.group.clone(),
            member_id: self.member_id.clone(),
            member_epoch: epoch,
            instance_id: self.settings.instance_id.clone(),
            ..ConsumerGroupHeartbeatRequest::default()
        };
        let is_full = std::mem::take(&mut self.is_full);
        let mut request = if is_full { requests::full(&self.settings, head) } else { head };
        // While partitions are given up, the coordinator is to wait.
        let may_tell = matches!(self.state, State::Stable | State::Due(_));
        self.is_telling = epoch >= JOIN && may_tell && (is_full || !self.assignment.is_told());
        if self.is_telling || (epoch >= JOIN && is_full) {
            request.topic_partitions = Some(self.assignment.tell());
        }
        let token = self.tokens.next();
        out.calls.push(Call {
            token,
            target: Target::Broker(coordinator),
            purpose: Purpose::COORDINATOR,
            request: request.into(),
            deadline: deadline_after(now, patience),
            max_version: None,
        });
        token
    }

    fn answered(&mut self, now: Now, sent: Instant, outcome: Outcome, out: &mut Outbox<Event>) {
        let response = match read::<ConsumerGroupHeartbeatResponse>(outcome) {
            Ok(response) => response,
            Err(error) => {
                self.unheard_since.get_or_insert(sent);
                return self.unreachable(now, error, out);
            }
        };
        let code = Code::new(response.error_code);
        if code != Code::NONE {
            self.unheard_since.get_or_insert(sent);
            return self.refused(now, code, response.error_message, out);
        }
        self.failures = 0;
        let heard_since = self.unheard_since.take().unwrap_or(sent);
        if std::mem::take(&mut self.is_telling) {
            self.give_up_by = None;
        }
        self.heartbeat.set_interval(millis(response.heartbeat_interval_ms));
        let joins = !self.is_member();
        if joins {
            self.state = State::Stable;
            self.heartbeat.begin(sent);
        } else {
            self.heartbeat.confirm(sent);
        }
        // Brokers older than 4.0 choose it.
        if let Some(id) = response.member_id.filter(|id| !id.is_empty()) {
            self.member_id = id;
        }
        if joins || response.member_epoch != self.epoch {
            self.epoch = response.member_epoch;
            tracing::info!(group = %self.settings.group, epoch = self.epoch, joins, "the member has another epoch");
            out.events.push(Event::Renewed);
        }
        if let Some(assigned) = response.assignment {
            self.assignment.assign(assigned);
            self.assigned_at = heard_since;
        }
    }

    // ---- what is owned -----------------------------------------------------------------------------------------

    /// Takes the next step from what is owned to what is assigned.
    fn reconcile(&mut self, now: Now, snapshot: &Snapshot, out: &mut Outbox<Event>) {
        if !matches!(self.state, State::Stable) || self.assignment.is_reached() {
            return;
        }
        let assigned = self.assignment.topics();
        let names = self.names.as_mut().and_then(|names| names.look_for(&assigned, snapshot));
        out.events.extend(names.map(Event::Want));
        let step = self.assignment.step(snapshot);
        if !step.is_unresolved {
            self.refresh_at = None;
        } else if self.refresh_at.is_none_or(|at| at <= now.instant) {
            self.refresh_at = Some(deadline_after(now, self.settings.retry.max));
            out.events.push(Event::Refresh);
        }
        if !step.revoke.is_empty() {
            tracing::info!(group = %self.settings.group, epoch = self.epoch, partitions = ?step.revoke, "giving partitions up");
            let until = self.assigned_at.checked_add(self.settings.rebalance_timeout);
            let until = until.unwrap_or_else(|| deadline_after(now, self.settings.rebalance_timeout));
            self.give_up_by = self.give_up_by.or(Some(until));
            self.state = State::Revoking(step.revoke.clone());
            out.events.push(Event::Revoke(step.revoke));
        } else if !step.add.is_empty() {
            tracing::info!(group = %self.settings.group, epoch = self.epoch, partitions = ?step.add, "assigned");
            out.events.push(Event::Assigned(step.add));
        }
    }

    /// Nothing is owned any more, and nothing of it may be committed.
    fn lose(&mut self, out: &mut Outbox<Event>) {
        let lost = self.assignment.clear();
        if !lost.is_empty() {
            out.events.push(Event::Lost(lost));
            self.is_spent = true;
        }
    }

    // ---- trouble -----------------------------------------------------------------------------------------------

    fn refused(&mut self, now: Now, code: Code, message: Option<Str>, out: &mut Outbox<Event>) {
        let error = || {
            let (request, subject) = ("ConsumerGroupHeartbeat", self.settings.group.as_str().to_owned());
            let message = message.as_ref().map(|message| message.as_str().to_owned());
            Error::broker_saying(code, request, subject, message)
        };
        match code {
            Code::UNKNOWN_MEMBER_ID | Code::FENCED_MEMBER_EPOCH => {
                tracing::warn!(group = %self.settings.group, %code, "the group went on without this member");
                self.rejoin(now, out);
                if code == Code::UNKNOWN_MEMBER_ID {
                    self.is_spent = false;
                    self.member_id = member_id(&mut self.random);
                }
            }
            Code::FENCED_INSTANCE_ID => {
                self.lose(out);
                self.state = State::Dead;
                out.events.push(Event::Fatal(self.settings.fenced()));
            }
            // The coordinator does not speak the protocol, or the group holds members that speak only the other one.
            Code::UNSUPPORTED_VERSION | Code::GROUP_ID_NOT_FOUND if !self.is_member() => {
                out.events.push(Event::Unsupported(error()));
                self.back_off(now);
            }
            _ => match code.disposition() {
                Disposition::FindCoordinator => {
                    self.forget_coordinator(out);
                    self.back_off(now);
                }
                Disposition::Fail => self.refused_for_good(now, error(), out),
                _ => self.back_off(now),
            },
        }
    }

    fn unreachable(&mut self, now: Now, error: Error, out: &mut Outbox<Event>) {
        if matches!(error.kind(), ErrorKind::UnsupportedVersion { .. }) {
            if self.is_member() {
                // As in a downgrade: a member goes on by this protocol or not at all.
                self.forget_coordinator(out);
                return self.refused_for_good(now, error, out);
            }
            out.events.push(Event::Unsupported(error));
        } else {
            if !error.may_pass() {
                out.events.push(Event::Refused(error));
            }
            self.forget_coordinator(out);
        }
        self.back_off(now);
    }

    /// The coordinator will not have the member, who tries again all the same, slowly.
    fn refused_for_good(&mut self, now: Now, error: Error, out: &mut Outbox<Event>) {
        out.events.push(Event::Refused(error));
        self.lose(out);
        self.state = State::Due(now.instant);
        self.back_off(now);
    }

    fn forget_coordinator(&mut self, out: &mut Outbox<Event>) {
        if let Some(node) = self.coordinator.take() {
            out.events.push(Event::CoordinatorLost(node));
        }
    }

    /// The member is none any more, and becomes one again: at once, unless that has failed lately.
    fn rejoin(&mut self, now: Now, out: &mut Outbox<Event>) {
        self.lose(out);
        self.heartbeat.end();
        self.state = State::Due(now.instant);
        if self.failures > 0 {
            self.back_off(now);
        }
        self.failures = self.failures.max(1);
    }

    /// A member goes on being one, and is heard of again a little later; anybody else joins then.
    fn back_off(&mut self, now: Now) {
        let wait = self.settings.retry.delay(self.failures, &mut self.random);
        self.failures = self.failures.saturating_add(1);
        self.is_full = true;
        let at = deadline_after(now, wait);
        if self.is_member() {
            self.not_before = Some(at);
        } else if !matches!(self.state, State::Out | State::Dead) {
            self.state = State::Due(at);
        }
    }
}

impl Protocol for ConsumerGroup {
    fn needs_coordinator(&self) -> bool {
        self.coordinator.is_none() && !matches!(self.state, State::Out | State::Dead)
    }

    fn set_coordinator(&mut self, node: Option<NodeId>) {
        self.coordinator = node;
    }

    fn identity(&self) -> Option<Identity> {
        self.is_member().then(|| self.settings.identity(&self.member_id, self.epoch))
    }

    fn is_rebalancing(&self) -> bool {
        match self.state {
            State::Out | State::Dead => false,
            State::Stable => !self.assignment.is_reached(),
            State::Leaving { again, .. } => again,
            State::Due(_) | State::Joining { .. } | State::Revoking(_) => true,
        }
    }

    fn join(&mut self, now: Now, reason: &'static str) {
        tracing::debug!(group = %self.settings.group, reason, "joining");
        match &mut self.state {
            State::Out => self.state = State::Due(now.instant),
            State::Leaving { again, .. } => *again = true,
            _ => {}
        }
    }

    fn subscribe(&mut self, topics: BTreeSet<TopicName>) {
        self.settings.topics = topics;
        self.is_full = true;
    }

    fn revoked(&mut self, _: Now) {
        if let State::Revoking(partitions) = &self.state {
            self.assignment.give_up(partitions);
            self.state = State::Stable;
        }
    }

    fn leave(&mut self, now: Now, reason: &'static str, out: &mut Outbox<Event>) {
        tracing::debug!(group = %self.settings.group, reason, "leaving");
        let is_known = self.is_member()
            || matches!(self.state, State::Joining { .. })
            || (self.is_spent && matches!(self.state, State::Due(_)));
        self.lose(out);
        self.is_spent = false;
        self.heartbeat.end();
        let Some(coordinator) = self.coordinator.filter(|_| is_known) else {
            if !matches!(self.state, State::Dead) {
                self.state = State::Out;
            }
            self.member_id = member_id(&mut self.random);
            out.events.push(Event::Left);
            return;
        };
        self.send_leave(now, coordinator, false, out);
    }

    fn catalog(&mut self, now: Now, snapshot: &Snapshot, out: &mut Outbox<Event>) {
        self.reconcile(now, snapshot, out);
    }

    fn tick(&mut self, now: Now, snapshot: &Arc<Snapshot>, out: &mut Outbox<Event>) {
        self.reconcile(now, snapshot, out);
        if self.is_member() && self.give_up_by.is_some_and(|at| at <= now.instant) {
            // The coordinator throws the member out, and gives to others what it was reading too.
            tracing::warn!(group = %self.settings.group, "giving partitions up took too long: all are lost");
            self.rejoin(now, out);
        }
        if self.is_member() {
            if let Some(names) = &mut self.names {
                names.tick(now, &mut self.tokens, &mut out.calls);
            }
            self.beat(now, out);
        }
        if matches!(self.state, State::Due(at) if at <= now.instant) {
            self.come_back(now, out);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Due(at) => Some(*at).filter(|_| self.coordinator.is_some()),
            State::Stable | State::Revoking(_) => {
                let refresh = self.refresh_at.filter(|_| matches!(self.state, State::Stable));
                let names = self.names.as_ref().and_then(Names::deadline);
                let news = self.not_before.filter(|_| self.coordinator.is_some() && self.heartbeat.is_idle());
                [self.give_up_by, refresh, news, names]
                    .into_iter()
                    .fold(Some(self.heartbeat.deadline()), earlier)
            }
            State::Out | State::Joining { .. } | State::Leaving { .. } | State::Dead => None,
        }
    }

    fn answer(&mut self, now: Now, token: Token, outcome: Outcome, out: &mut Outbox<Event>) {
        if let Some(sent) = self.heartbeat.answered(token) {
            return self.answered(now, sent, outcome, out);
        }
        if let Some(names) = self.names.as_mut().filter(|names| names.awaits(token)) {
            match names.answer(now, outcome) {
                Ok(names) => out.events.extend(names.map(Event::Want)),
                Err(error) => out.events.push(Event::Refused(error)),
            }
            return;
        }
        match self.state {
            State::Joining { token: asked, sent } if asked == token => self.answered(now, sent, outcome, out),
            State::Leaving { token: asked, again } if asked == token => self.left(now, again, outcome, out),
            _ => {}
        }
    }

    #[cfg(test)]
    fn check(&self) {
        assert!(
            self.is_member() || self.assignment.owns_nothing(),
            "{:?} owns {:?}",
            self.state,
            self.assignment
        );
    }
}

fn millis(ms: i32) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

#[cfg(test)]
mod tests;
