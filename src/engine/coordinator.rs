//! Finds the broker that coordinates a group, or the transactions of a transactional id (FindCoordinator).

use std::time::{Duration, Instant};

use crate::{
    engine::{
        backoff::{Backoff, Random},
        machine::{Call, Now, Outbox, Outcome, Purpose, Target, Token, Tokens, deadline_after},
    },
    error::{Code, Disposition, Error},
    types::NodeId,
    wire::{
        messages::{FindCoordinatorRequest, FindCoordinatorResponse},
        str::Str,
    },
};

/// The newest version that names one key only. Later ones ask for several at once, which a consumer has no use for, and
/// cannot be written for a broker that lacks them.
const ONE_KEY: i16 = 3;

/// What is coordinated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    Group(Str),
    Transactions(Str),
}

impl Subject {
    fn name(&self) -> &Str {
        match self {
            Self::Group(name) | Self::Transactions(name) => name,
        }
    }

    /// `key_type` of the request (KIP-98).
    fn key_type(&self) -> i8 {
        match self {
            Self::Group(_) => 0,
            Self::Transactions(_) => 1,
        }
    }
}

/// What became of the search.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Found(NodeId),
    /// A broker refused for a reason that asking again does not change. It is asked again all the same, slowly.
    Refused(Error),
}

/// How to ask.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) request_timeout: Duration,
    pub(crate) retry: Backoff,
}

impl Settings {
    /// Another broker is asked while a silent one, which may take `connect_timeout` to connect to, still has time to wake up.
    pub(crate) fn new(request_timeout: Duration, connect_timeout: Duration, retry: Backoff) -> Self {
        Self { request_timeout: request_timeout.min(connect_timeout), retry }
    }
}

/// The search for one coordinator.
#[derive(Debug)]
pub(crate) struct Coordinator {
    subject: Subject,
    settings: Settings,
    state: State,
    failures: u32,
    tokens: Tokens,
    random: Random,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nobody has asked for it yet.
    Unneeded,
    Due(Instant),
    Asked(Token),
    Known(NodeId),
}

impl Coordinator {
    pub(crate) fn new(subject: Subject, settings: Settings, tokens: Tokens, random: Random) -> Self {
        Self { subject, settings, state: State::Unneeded, failures: 0, tokens, random }
    }

    /// Searches for this one from now on.
    pub(crate) fn search_for(&mut self, subject: Subject) {
        if self.subject != subject {
            self.subject = subject;
            self.state = State::Unneeded;
            self.failures = 0;
        }
    }

    /// The coordinator, where it is known.
    pub(crate) fn node(&self) -> Option<NodeId> {
        match self.state {
            State::Known(node) => Some(node),
            _ => None,
        }
    }

    /// Starts the search, unless it is under way or done.
    pub(crate) fn need(&mut self, now: Now) {
        if self.state == State::Unneeded {
            self.state = State::Due(now.instant);
        }
    }

    /// `node` is not the coordinator, or cannot be reached: search again. Of several calls that fail together only the
    /// first counts.
    pub(crate) fn lost(&mut self, now: Now, node: NodeId) {
        if self.state == State::Known(node) {
            self.back_off(now);
        }
    }

    pub(crate) fn answer(&mut self, now: Now, token: Token, outcome: Outcome, out: &mut Outbox<Event>) {
        if self.state != State::Asked(token) {
            return;
        }
        match outcome.map(|answer| FindCoordinatorResponse::try_from(answer.response)) {
            Ok(Ok(response)) => self.found(now, &response, out),
            Ok(Err(_)) => self.back_off(now),
            Err(failure) => {
                self.back_off(now);
                if !failure.error.may_pass() {
                    out.events.push(Event::Refused(failure.error));
                }
            }
        }
    }

    fn found(&mut self, now: Now, response: &FindCoordinatorResponse, out: &mut Outbox<Event>) {
        let code = Code::new(response.error_code);
        match code.disposition() {
            // The coordinator of an unavailable group is node -1.
            Disposition::Done if response.node_id >= 0 => {
                let node = NodeId(response.node_id);
                tracing::debug!(of = ?self.subject, broker = %node, "found a coordinator");
                self.state = State::Known(node);
                self.failures = 0;
                out.events.push(Event::Found(node));
            }
            Disposition::Fail => {
                self.back_off(now);
                out.events.push(Event::Refused(Error::broker(
                    code,
                    "FindCoordinator",
                    self.subject.name().as_str(),
                )));
            }
            _ => self.back_off(now),
        }
    }

    fn back_off(&mut self, now: Now) {
        let wait = self.settings.retry.delay(self.failures, &mut self.random);
        self.failures = self.failures.saturating_add(1);
        self.state = State::Due(deadline_after(now, wait));
    }

    pub(crate) fn tick(&mut self, now: Now, out: &mut Outbox<Event>) {
        if !matches!(self.state, State::Due(at) if at <= now.instant) {
            return;
        }
        let token = self.tokens.next();
        self.state = State::Asked(token);
        let request = FindCoordinatorRequest {
            key: self.subject.name().clone(),
            key_type: self.subject.key_type(),
            ..FindCoordinatorRequest::default()
        };
        out.calls.push(Call {
            token,
            target: Target::Any,
            purpose: Purpose::General,
            request: request.into(),
            deadline: deadline_after(now, self.settings.request_timeout),
            max_version: Some(ONE_KEY),
        });
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Due(at) => Some(at),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::*;
    use crate::{engine::script, error::ErrorKind, wire::calls::Request};

    fn searching() -> (Now, Coordinator, Outbox<Event>) {
        let retry = Backoff { first: Duration::from_millis(100), max: Duration::from_secs(1) };
        let settings = Settings { request_timeout: Duration::from_secs(30), retry };
        let mut coordinator =
            Coordinator::new(Subject::Group("g".into()), settings, Tokens::default(), Random::new(1));
        let now = script::start();
        coordinator.need(now);
        (now, coordinator, Outbox::default())
    }

    fn ask(now: Now, coordinator: &mut Coordinator, out: &mut Outbox<Event>) -> Option<Token> {
        coordinator.tick(now, out);
        let call = out.calls.pop()?;
        assert!(matches!(&call.request, Request::FindCoordinator(request) if request.key == "g"));
        assert_eq!((call.target, call.max_version), (Target::Any, Some(3)));
        Some(call.token)
    }

    fn answer(code: i16, node_id: i32) -> Outcome {
        let response =
            FindCoordinatorResponse { error_code: code, node_id, ..FindCoordinatorResponse::default() };
        script::answer(3, response)
    }

    #[test]
    fn it_is_searched_until_it_is_found() {
        let (mut now, mut coordinator, mut out) = searching();
        let attempts = [answer(Code::COORDINATOR_NOT_AVAILABLE.get(), -1), script::failure(), answer(0, -1)];
        for outcome in attempts {
            let token = ask(now, &mut coordinator, &mut out).unwrap();
            coordinator.answer(now, token, outcome, &mut out);
            assert!(out.events.is_empty() && ask(now, &mut coordinator, &mut out).is_none());
            now = now.after(Duration::from_secs(1));
        }
        let token = ask(now, &mut coordinator, &mut out).unwrap();
        coordinator.answer(now, token, answer(0, 4), &mut out);
        assert!(matches!(out.events[..], [Event::Found(NodeId(4))]));
        assert_eq!((coordinator.node(), coordinator.deadline()), (Some(NodeId(4)), None));
    }

    #[test]
    fn only_the_loss_of_the_current_one_starts_a_new_search() {
        let (mut now, mut coordinator, mut out) = searching();
        let token = ask(now, &mut coordinator, &mut out).unwrap();
        coordinator.answer(now, token, answer(0, 4), &mut out);
        coordinator.lost(now, NodeId(3));
        assert_eq!(coordinator.node(), Some(NodeId(4)));
        coordinator.lost(now, NodeId(4));
        assert_eq!(coordinator.node(), None);
        now = now.after(Duration::from_secs(1));
        assert!(ask(now, &mut coordinator, &mut out).is_some());
    }

    #[test]
    fn a_refusal_is_told() {
        let (now, mut coordinator, mut out) = searching();
        let token = ask(now, &mut coordinator, &mut out).unwrap();
        coordinator.answer(now, token, answer(Code::GROUP_AUTHORIZATION_FAILED.get(), -1), &mut out);
        let [Event::Refused(error)] = out.events.as_slice() else { panic!("{out:?}") };
        assert!(matches!(error.kind(), ErrorKind::NotAuthorized { name, .. } if name == "g"));
    }
}
