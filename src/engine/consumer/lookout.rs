//! Which topics a pattern stands for: asks a broker for all names, now and then, and when a topic has gone.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use regex_lite::Regex;

use crate::{
    engine::{
        backoff::{Backoff, Random},
        catalog,
        machine::{Call, Now, Outcome, Purpose, Target, Token, Tokens, deadline_after},
    },
    error::Result,
    types::TopicName,
    wire::messages::MetadataRequest,
};

/// A regular expression that a topic's whole name has to match.
#[derive(Clone, Debug)]
pub(crate) struct TopicPattern(Arc<Regex>);

impl TopicPattern {
    /// # Errors
    /// What is wrong with the expression.
    pub(crate) fn new(pattern: &str) -> std::result::Result<Self, String> {
        // Alone first: a parenthesis too many would close the group around it.
        Regex::new(pattern).map_err(|error| error.to_string())?;
        let whole = Regex::new(&format!("^(?:{pattern})$")).map_err(|error| error.to_string())?;
        Ok(Self(Arc::new(whole)))
    }

    fn matches(&self, name: &str) -> bool {
        self.0.is_match(name)
    }
}

/// How to ask.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// How often, at least.
    pub(crate) interval: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) retry: Backoff,
}

/// Looks out for topics whose names match.
#[derive(Debug)]
pub(super) struct Lookout {
    pattern: TopicPattern,
    settings: Settings,
    state: State,
    found: Option<BTreeSet<TopicName>>,
    failures: u32,
    tokens: Tokens,
    random: Random,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Due(Instant),
    Asked(Token),
}

impl Lookout {
    pub(super) fn new(
        now: Now,
        pattern: TopicPattern,
        settings: Settings,
        tokens: Tokens,
        random: Random,
    ) -> Self {
        let state = State::Due(now.instant);
        Self { pattern, settings, state, found: None, failures: 0, tokens, random }
    }

    /// A topic that was found is gone, or one that was not is spoken of: asks soon.
    pub(super) fn look_again(&mut self, now: Now) {
        if let State::Due(at) = &mut self.state {
            *at = (*at).min(deadline_after(now, self.settings.retry.max));
        }
    }

    /// Whether a broker has told.
    pub(super) fn has_found(&self) -> bool {
        self.found.is_some()
    }

    /// Takes what came of a call. The topics that match, if they are others than before.
    ///
    /// # Errors
    /// Why no broker tells, if that does not pass by itself. It is asked again all the same.
    pub(super) fn answer(
        &mut self,
        now: Now,
        token: Token,
        outcome: Outcome,
    ) -> Result<Option<BTreeSet<TopicName>>> {
        if self.state != State::Asked(token) {
            return Ok(None);
        }
        match self.read(outcome) {
            Ok(found) => {
                self.failures = 0;
                self.state = State::Due(deadline_after(now, self.settings.interval));
                let is_new = self.found.as_ref() != Some(&found);
                self.found = Some(found);
                Ok(self.found.clone().filter(|_| is_new))
            }
            Err(error) => {
                let wait = self.settings.retry.delay(self.failures, &mut self.random);
                self.failures = self.failures.saturating_add(1);
                self.state = State::Due(deadline_after(now, wait));
                if error.may_pass() { Ok(None) } else { Err(error) }
            }
        }
    }

    fn read(&self, outcome: Outcome) -> Result<BTreeSet<TopicName>> {
        let response = catalog::read(outcome.map_err(|failure| failure.error)?)?;
        let matching = response.topics.into_iter().filter(|topic| !topic.is_internal).filter_map(|topic| {
            let name = topic.name.filter(|name| self.pattern.matches(name))?;
            Some(TopicName::from(name))
        });
        Ok(matching.collect())
    }

    /// Asks if it is time to.
    pub(super) fn tick(&mut self, now: Now, calls: &mut Vec<Call>) {
        if !matches!(self.state, State::Due(at) if at <= now.instant) {
            return;
        }
        let token = self.tokens.next();
        self.state = State::Asked(token);
        let request = MetadataRequest {
            // All that there are.
            topics: None,
            allow_auto_topic_creation: false,
            ..MetadataRequest::default()
        };
        calls.push(Call {
            token,
            target: Target::Any,
            purpose: Purpose::General,
            request: request.into(),
            deadline: deadline_after(now, self.settings.request_timeout),
            max_version: None,
        });
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Due(at) => Some(at),
            State::Asked(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::*;
    use crate::{
        engine::{
            machine::{Answer, Failure},
            script,
        },
        error::ErrorKind,
        types::NodeId,
        wire::{
            calls::Request,
            messages::{MetadataResponse, metadata_response::MetadataResponseTopic},
        },
    };

    const SECOND: Duration = Duration::from_secs(1);

    fn lookout(pattern: &str) -> Lookout {
        let retry = Backoff { first: SECOND / 10, max: SECOND };
        let settings = Settings { interval: 300 * SECOND, request_timeout: 30 * SECOND, retry };
        let pattern = TopicPattern::new(pattern).unwrap();
        Lookout::new(script::start(), pattern, settings, Tokens::default(), Random::new(1))
    }

    fn ask(lookout: &mut Lookout, now: Now) -> Token {
        let mut calls = Vec::new();
        lookout.tick(now, &mut calls);
        let [call] = &calls[..] else { panic!("{calls:?}") };
        assert!(matches!(&call.request, Request::Metadata(request) if request.topics.is_none()));
        call.token
    }

    fn answer(lookout: &mut Lookout, now: Now, names: &[&str]) -> Option<Vec<String>> {
        let token = ask(lookout, now);
        let topic = |name: &&str| MetadataResponseTopic {
            name: Some((*name).into()),
            is_internal: name.starts_with("__"),
            ..MetadataResponseTopic::default()
        };
        let response = MetadataResponse { topics: names.iter().map(topic).collect(), ..Default::default() };
        let answer = Answer { node: NodeId(1), version: 12, response: response.into() };
        let found = lookout.answer(now, token, Ok(answer)).unwrap();
        found.map(|found| found.iter().map(|name| name.as_str().to_owned()).collect())
    }

    #[test]
    fn whole_names_match_and_internal_topics_do_not() {
        let mut lookout = lookout("orders-.*|.*audit|__.*");
        let names = ["orders-1", "old-orders-1", "audit", "audit-log", "__consumer_offsets"];
        assert_eq!(answer(&mut lookout, script::start(), &names).unwrap(), ["audit", "orders-1"]);
    }

    #[test]
    fn what_is_found_is_told_when_it_changes() {
        let (mut lookout, now) = (lookout("a.*"), script::start());
        assert_eq!(answer(&mut lookout, now, &[]), Some(Vec::new()), "nothing is an answer too");
        assert_eq!(lookout.deadline(), Some(now.instant + 300 * SECOND));
        let now = now.after(300 * SECOND);
        assert_eq!(answer(&mut lookout, now, &["a", "b"]).unwrap(), ["a"]);
        lookout.look_again(now);
        let now = now.after(SECOND);
        assert_eq!(answer(&mut lookout, now, &["a"]), None);
        let now = now.after(300 * SECOND);
        assert_eq!(answer(&mut lookout, now, &["a2"]).unwrap(), ["a2"]);
    }

    #[test]
    fn a_call_that_fails_is_made_again_and_what_does_not_pass_is_told() {
        let (mut lookout, mut now) = (lookout("a.*"), script::start());
        let lost = ErrorKind::Timeout { what: "x".into(), after: SECOND, setting: "s" };
        let denied = ErrorKind::UnsupportedVersion { request: "Metadata", ours: (0, 1), theirs: None };
        for (kind, is_told) in [(lost, false), (denied, true)] {
            let token = ask(&mut lookout, now);
            let failure = Failure { maybe_sent: false, error: kind.into() };
            assert_eq!(lookout.answer(now, token, Err(failure)).is_err(), is_told);
            assert!(
                lookout
                    .answer(
                        now,
                        token,
                        Err(Failure { maybe_sent: false, error: ErrorKind::Closed { what: "x" }.into() })
                    )
                    .unwrap()
                    .is_none(),
                "it is over"
            );
            now = now.after(SECOND);
        }
        assert_eq!(answer(&mut lookout, now, &["a"]).unwrap(), ["a"]);
    }

    #[test]
    fn an_expression_that_is_none_is_refused() {
        for wrong in ["(", "a)(b", "*", "[z-a]"] {
            assert!(TopicPattern::new(wrong).is_err(), "{wrong}");
        }
    }
}
