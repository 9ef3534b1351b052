//! Membership in a share group (KIP-932): the coordinator says which partitions the member may read from, which others may read
//! from as well, so that nothing has to be given up before something is taken on.
//!
//! ```text
//! Out --join--> Due --coordinator--> Joining --epoch--> Stable
//!  ^             ^                                        |
//!  |             +---------- fenced, forgotten, expired --+
//!  +------ leave, close
//! ```

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use super::{heartbeat::Heartbeat, protocol::read};
use crate::{
    engine::{
        backoff::{Backoff, Random},
        machine::{Call, Now, Outbox, Outcome, Purpose, Target, Token, Tokens, deadline_after},
    },
    error::{Code, Disposition, Error},
    types::{NodeId, TopicName},
    wire::{
        messages::{ShareGroupHeartbeatRequest, ShareGroupHeartbeatResponse},
        str::Str,
        uuid::Uuid,
    },
};

/// The epoch of a member that joins, and of one that leaves.
const JOIN: i32 = 0;
const LEAVE: i32 = -1;

/// How to be a member.
#[derive(Clone, Debug)]
pub(crate) struct ShareSettings {
    pub(crate) group: Str,
    /// The member's own, for as long as it lives.
    pub(crate) member_id: Str,
    pub(crate) topics: BTreeSet<TopicName>,
    pub(crate) rack: Option<Str>,
    /// After so long without an answer the member takes itself for dead.
    pub(crate) session_timeout: Duration,
    /// Until the coordinator says how often.
    pub(crate) heartbeat_interval: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) retry: Backoff,
}

/// What the membership tells.
#[derive(Clone, Debug)]
pub(crate) enum ShareEvent {
    /// These are the partitions to read from now on, by their topics' ids.
    Assigned(BTreeSet<(Uuid, i32)>),
    /// The member is none any more, and becomes one again.
    Lost,
    /// The node is not the coordinator, or cannot be reached.
    CoordinatorLost(NodeId),
    /// The coordinator refuses for a reason that asking again does not change. It is asked again all the same, slowly.
    Refused(Error),
    /// The group was left, as was asked.
    Left,
}

#[derive(Debug)]
enum State {
    Out,
    /// To join at this time, once the coordinator is known.
    Due(Instant),
    Joining {
        token: Token,
        sent: Instant,
    },
    Stable,
    Leaving(Token),
}

/// The machine.
#[derive(Debug)]
pub(crate) struct ShareGroup {
    settings: ShareSettings,
    coordinator: Option<NodeId>,
    epoch: i32,
    state: State,
    heartbeat: Heartbeat,
    /// No heartbeat before: the last one was refused for a while.
    not_before: Option<Instant>,
    /// Troubles in a row.
    failures: u32,
    tokens: Tokens,
    random: Random,
}

impl ShareGroup {
    pub(crate) fn new(settings: ShareSettings, now: Now, tokens: Tokens, random: Random) -> Self {
        let heartbeat = Heartbeat::new(now, settings.heartbeat_interval, settings.session_timeout);
        Self {
            settings,
            coordinator: None,
            epoch: JOIN,
            state: State::Due(now.instant),
            heartbeat,
            not_before: None,
            failures: 0,
            tokens,
            random,
        }
    }

    /// Whether the coordinator is needed.
    pub(crate) fn needs_coordinator(&self) -> bool {
        self.coordinator.is_none() && !matches!(self.state, State::Out)
    }

    pub(crate) fn set_coordinator(&mut self, node: Option<NodeId>) {
        self.coordinator = node;
    }

    /// Whether it is about to become a member.
    pub(crate) fn is_joining(&self) -> bool {
        matches!(self.state, State::Due(_) | State::Joining { .. })
    }

    /// Leaves the group. [`ShareEvent::Left`] tells when it is done.
    pub(crate) fn leave(&mut self, now: Now, out: &mut Outbox<ShareEvent>) {
        let is_known = matches!(self.state, State::Stable | State::Joining { .. });
        self.heartbeat.end();
        match self.coordinator.filter(|_| is_known) {
            Some(coordinator) => {
                let token = self.call(now, coordinator, LEAVE, self.settings.request_timeout, out);
                self.state = State::Leaving(token);
            }
            None => {
                self.state = State::Out;
                out.events.push(ShareEvent::Left);
            }
        }
    }

    pub(crate) fn tick(&mut self, now: Now, out: &mut Outbox<ShareEvent>) {
        if matches!(self.state, State::Stable) {
            self.beat(now, out);
        }
        if let (State::Due(at), Some(coordinator)) = (&self.state, self.coordinator)
            && *at <= now.instant
        {
            self.epoch = JOIN;
            self.not_before = None;
            let token = self.call(now, coordinator, JOIN, self.settings.request_timeout, out);
            self.state = State::Joining { token, sent: now.instant };
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Due(at) => Some(at).filter(|_| self.coordinator.is_some()),
            State::Stable if self.coordinator.is_none() => Some(self.heartbeat.expires()),
            State::Stable => {
                let next = self.heartbeat.deadline();
                Some(self.not_before.map_or(next, |at| at.max(next).min(self.heartbeat.expires())))
            }
            State::Out | State::Joining { .. } | State::Leaving(_) => None,
        }
    }

    /// Takes what came of a call.
    pub(crate) fn answer(&mut self, now: Now, token: Token, outcome: Outcome, out: &mut Outbox<ShareEvent>) {
        if let Some(sent) = self.heartbeat.answered(token) {
            return self.answered(now, sent, outcome, out);
        }
        match self.state {
            State::Joining { token: asked, sent } if asked == token => self.answered(now, sent, outcome, out),
            State::Leaving(asked) if asked == token => {
                self.state = State::Out;
                out.events.push(ShareEvent::Left);
            }
            _ => {}
        }
    }

    fn beat(&mut self, now: Now, out: &mut Outbox<ShareEvent>) {
        if self.heartbeat.expires() <= now.instant {
            tracing::warn!(group = %self.settings.group, "no heartbeat was confirmed for the session timeout: joining again");
            return self.rejoin(now, out);
        }
        let rests = self.not_before.is_some_and(|at| at > now.instant);
        let Some(coordinator) = self.coordinator.filter(|_| !rests) else { return };
        if self.heartbeat.is_due(now) {
            self.not_before = None;
            let patience = self.settings.request_timeout.min(self.settings.session_timeout / 3);
            let token = self.call(now, coordinator, self.epoch, patience, out);
            self.heartbeat.asked(now, token);
        }
    }

    fn call(
        &mut self,
        now: Now,
        coordinator: NodeId,
        epoch: i32,
        patience: Duration,
        out: &mut Outbox<ShareEvent>,
    ) -> Token {
        let joins = epoch == JOIN;
        let request = ShareGroupHeartbeatRequest {
            group_id: self.settings.group.clone(),
            member_id: self.settings.member_id.clone(),
            member_epoch: epoch,
            rack_id: self.settings.rack.clone().filter(|_| joins),
            subscribed_topic_names: joins.then(|| self.settings.topics.iter().map(Str::from).collect()),
            ..ShareGroupHeartbeatRequest::default()
        };
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

    fn answered(&mut self, now: Now, sent: Instant, outcome: Outcome, out: &mut Outbox<ShareEvent>) {
        let response = match read::<ShareGroupHeartbeatResponse>(outcome) {
            Ok(response) => response,
            Err(error) => {
                if !error.may_pass() {
                    out.events.push(ShareEvent::Refused(error));
                }
                self.forget_coordinator(out);
                return self.back_off(now);
            }
        };
        let code = Code::new(response.error_code);
        if code != Code::NONE {
            return self.refused(now, code, response.error_message, out);
        }
        self.failures = 0;
        let interval = u64::try_from(response.heartbeat_interval_ms).unwrap_or(0);
        self.heartbeat.set_interval(Duration::from_millis(interval));
        if matches!(self.state, State::Stable) {
            self.heartbeat.confirm(sent);
        } else {
            self.state = State::Stable;
            self.heartbeat.begin(sent);
            tracing::info!(group = %self.settings.group, epoch = response.member_epoch, "joined the share group");
        }
        self.epoch = response.member_epoch;
        if let Some(assignment) = response.assignment {
            let topics = assignment.topic_partitions.into_iter();
            let assigned =
                topics.flat_map(|topic| topic.partitions.into_iter().map(move |p| (topic.topic_id, p)));
            out.events.push(ShareEvent::Assigned(assigned.collect()));
        }
    }

    fn refused(&mut self, now: Now, code: Code, message: Option<Str>, out: &mut Outbox<ShareEvent>) {
        match code {
            Code::UNKNOWN_MEMBER_ID | Code::FENCED_MEMBER_EPOCH => {
                tracing::warn!(group = %self.settings.group, %code, "the share group went on without this member");
                self.rejoin(now, out);
            }
            _ => match code.disposition() {
                Disposition::FindCoordinator => {
                    self.forget_coordinator(out);
                    self.back_off(now);
                }
                Disposition::Fail => {
                    let (request, subject) = ("ShareGroupHeartbeat", self.settings.group.to_string());
                    let message = message.map(|message| message.as_str().to_owned());
                    let error = Error::broker_saying(code, request, subject, message);
                    out.events.push(ShareEvent::Refused(error));
                    self.state = State::Due(now.instant);
                    self.back_off(now);
                }
                _ => self.back_off(now),
            },
        }
    }

    fn forget_coordinator(&mut self, out: &mut Outbox<ShareEvent>) {
        if let Some(node) = self.coordinator.take() {
            out.events.push(ShareEvent::CoordinatorLost(node));
        }
    }

    /// Joins again: at once, unless that has failed lately.
    fn rejoin(&mut self, now: Now, out: &mut Outbox<ShareEvent>) {
        out.events.push(ShareEvent::Lost);
        self.heartbeat.end();
        self.state = State::Due(now.instant);
        if self.failures > 0 {
            self.back_off(now);
        }
        self.failures = self.failures.max(1);
    }

    /// A member is heard of again a little later; anybody else joins then.
    fn back_off(&mut self, now: Now) {
        let wait = self.settings.retry.delay(self.failures, &mut self.random);
        self.failures = self.failures.saturating_add(1);
        let at = deadline_after(now, wait);
        match self.state {
            State::Stable => self.not_before = Some(at),
            State::Due(_) | State::Joining { .. } => self.state = State::Due(at),
            State::Out | State::Leaving(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::*;
    use crate::{
        engine::{machine::Failure, script},
        error::ErrorKind,
        wire::{
            calls::Request,
            messages::share_group_heartbeat_response::{Assignment, TopicPartitions},
        },
    };

    const SECOND: Duration = Duration::from_secs(1);

    struct Bench {
        group: ShareGroup,
        out: Outbox<ShareEvent>,
        now: Now,
    }

    impl Bench {
        fn new() -> Self {
            let settings = ShareSettings {
                group: "g".into(),
                member_id: "m".into(),
                topics: [TopicName::from("t")].into(),
                rack: None,
                session_timeout: 45 * SECOND,
                heartbeat_interval: 5 * SECOND,
                request_timeout: 30 * SECOND,
                retry: Backoff { first: SECOND / 10, max: SECOND },
            };
            let now = script::start();
            let mut group = ShareGroup::new(settings, now, Tokens::default(), Random::new(1));
            assert!(group.needs_coordinator());
            group.set_coordinator(Some(NodeId(1)));
            Self { group, out: Outbox::default(), now }
        }

        /// A member in epoch 3.
        fn member() -> Self {
            let mut bench = Self::new();
            let (token, _) = bench.call().unwrap();
            bench.answer(token, Code::NONE, 3, Some(&[0, 1]));
            bench.out.events.clear();
            bench
        }

        fn call(&mut self) -> Option<(Token, ShareGroupHeartbeatRequest)> {
            self.group.tick(self.now, &mut self.out);
            let call = self.out.calls.pop()?;
            match call.request {
                Request::ShareGroupHeartbeat(request) => Some((call.token, request)),
                other => panic!("{other:?}"),
            }
        }

        fn pass(&mut self, time: Duration) {
            self.now = self.now.after(time);
        }

        fn answer(&mut self, token: Token, code: Code, member_epoch: i32, assigned: Option<&[i32]>) {
            let topic = |partitions: &[i32]| TopicPartitions {
                topic_id: script::topic_id(7),
                partitions: partitions.to_vec(),
                ..TopicPartitions::default()
            };
            let assignment = |partitions: &[i32]| Assignment {
                topic_partitions: vec![topic(partitions)],
                ..Assignment::default()
            };
            let response = ShareGroupHeartbeatResponse {
                error_code: code.get(),
                member_epoch,
                heartbeat_interval_ms: 2000,
                assignment: assigned.map(assignment),
                ..ShareGroupHeartbeatResponse::default()
            };
            self.group.answer(self.now, token, script::answer(1, response), &mut self.out);
        }
    }

    #[test]
    fn a_member_joins_and_is_heard_as_often_as_the_coordinator_says() {
        let mut bench = Bench::new();
        let (token, join) = bench.call().unwrap();
        assert_eq!((join.member_epoch, join.subscribed_topic_names), (0, Some(vec!["t".into()])));
        assert!(bench.group.is_joining() && bench.call().is_none());
        bench.answer(token, Code::NONE, 3, Some(&[0, 1]));
        let [ShareEvent::Assigned(assigned)] = &bench.out.events[..] else {
            panic!("{:?}", bench.out.events)
        };
        assert_eq!(assigned.len(), 2);
        bench.out.events.clear();
        // The first one comes when it was said to before the join.
        bench.pass(5 * SECOND);
        let (token, beat) = bench.call().unwrap();
        assert_eq!((beat.member_epoch, beat.subscribed_topic_names), (3, None));
        bench.answer(token, Code::NONE, 4, None);
        assert!(bench.out.events.is_empty());
        bench.pass(2 * SECOND);
        assert_eq!(bench.call().unwrap().1.member_epoch, 4);
    }

    #[test]
    fn who_was_forgotten_joins_again() {
        for code in [Code::UNKNOWN_MEMBER_ID, Code::FENCED_MEMBER_EPOCH] {
            let mut bench = Bench::member();
            bench.pass(5 * SECOND);
            let (token, _) = bench.call().unwrap();
            bench.answer(token, code, 0, None);
            assert!(matches!(bench.out.events[..], [ShareEvent::Lost]), "{code}");
            bench.pass(2 * SECOND);
            assert_eq!(bench.call().unwrap().1.member_epoch, JOIN);
        }
    }

    #[test]
    fn a_coordinator_that_is_gone_is_looked_for_and_the_session_lasts() {
        let mut bench = Bench::member();
        bench.pass(5 * SECOND);
        let (token, _) = bench.call().unwrap();
        bench.group.answer(bench.now, token, script::failure(), &mut bench.out);
        assert!(matches!(bench.out.events[..], [ShareEvent::CoordinatorLost(NodeId(1))]));
        assert!(bench.group.needs_coordinator() && bench.call().is_none());
        bench.group.set_coordinator(Some(NodeId(2)));
        bench.pass(5 * SECOND);
        assert_eq!(bench.call().unwrap().1.member_epoch, 3);
        bench.out.events.clear();
        bench.pass(60 * SECOND);
        let _ = bench.call();
        assert!(matches!(bench.out.events[..], [ShareEvent::Lost]), "nobody has confirmed it");
    }

    #[test]
    fn a_refusal_is_told_and_asked_again_slowly() {
        let mut bench = Bench::new();
        for _ in 0..3 {
            let (token, _) = bench.call().unwrap();
            bench.answer(token, Code::GROUP_AUTHORIZATION_FAILED, 0, None);
            assert!(matches!(bench.out.events[..], [ShareEvent::Refused(_)]));
            bench.out.events.clear();
            assert!(bench.call().is_none());
            bench.pass(2 * SECOND);
        }
        let (token, _) = bench.call().unwrap();
        let error =
            ErrorKind::UnsupportedVersion { request: "ShareGroupHeartbeat", ours: (1, 1), theirs: None };
        let failure = Failure { maybe_sent: false, error: error.into() };
        bench.group.answer(bench.now, token, Err(failure), &mut bench.out);
        assert!(matches!(bench.out.events[..], [ShareEvent::Refused(_), ShareEvent::CoordinatorLost(_)]));
    }

    #[test]
    fn a_member_leaves_and_who_is_none_has_left() {
        let mut bench = Bench::member();
        bench.group.leave(bench.now, &mut bench.out);
        let token = bench.out.calls[0].token;
        assert!(bench.out.events.is_empty());
        bench.answer(token, Code::NONE, LEAVE, None);
        assert!(matches!(bench.out.events[..], [ShareEvent::Left]));
        let mut bench = Bench::new();
        bench.group.leave(bench.now, &mut bench.out);
        assert!(matches!(bench.out.events[..], [ShareEvent::Left]) && bench.out.calls.is_empty());
    }
}
