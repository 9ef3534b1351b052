//! Names of topics of which the coordinator has told the ids alone, since it matches a regular expression itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use crate::{
    engine::{
        backoff::{Backoff, Random},
        catalog::snapshot::Snapshot,
        group::protocol::read,
        machine::{Call, Now, Outcome, Purpose, Target, Token, Tokens, deadline_after},
    },
    error::Result,
    types::TopicName,
    wire::{
        messages::{MetadataRequest, MetadataResponse, metadata_request::MetadataRequestTopic},
        uuid::Uuid,
    },
};

/// The names of the topics that are assigned; any broker is asked for those that nobody knows.
#[derive(Debug)]
pub(super) struct Names {
    known: BTreeMap<Uuid, TopicName>,
    missing: BTreeSet<Uuid>,
    asked: Option<Token>,
    /// Not before: the last answer lacked something.
    due: Option<Instant>,
    failures: u32,
    request_timeout: Duration,
    retry: Backoff,
    random: Random,
}

impl Names {
    pub(super) fn new(request_timeout: Duration, retry: Backoff, random: Random) -> Self {
        let (known, missing) = (BTreeMap::new(), BTreeSet::new());
        Self { known, missing, asked: None, due: None, failures: 0, request_timeout, retry, random }
    }

    /// These topics are assigned. All whose names are known, if they are not those that were known before.
    pub(super) fn look_for(
        &mut self,
        assigned: &BTreeSet<Uuid>,
        snapshot: &Snapshot,
    ) -> Option<BTreeSet<TopicName>> {
        let before = self.known.len();
        self.known.retain(|id, _| assigned.contains(id));
        let mut has_changed = self.known.len() < before;
        self.missing.clear();
        for id in assigned.iter().filter(|id| !self.known.contains_key(id)).copied().collect::<Vec<_>>() {
            if let Some(name) = snapshot.topic_name(id) {
                self.known.insert(id, name.clone());
                has_changed = true;
            } else {
                self.missing.insert(id);
            }
        }
        has_changed.then(|| self.known())
    }

    fn known(&self) -> BTreeSet<TopicName> {
        self.known.values().cloned().collect()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.due.filter(|_| self.asked.is_none() && !self.missing.is_empty())
    }

    /// Asks, if something is missing and it is time to.
    pub(super) fn tick(&mut self, now: Now, tokens: &mut Tokens, calls: &mut Vec<Call>) {
        let rests = self.due.is_some_and(|due| due > now.instant);
        if self.missing.is_empty() || self.asked.is_some() || rests {
            return;
        }
        let by_id =
            |id: &Uuid| MetadataRequestTopic { topic_id: *id, name: None, ..MetadataRequestTopic::default() };
        let request = MetadataRequest {
            topics: Some(self.missing.iter().map(by_id).collect()),
            allow_auto_topic_creation: false,
            ..MetadataRequest::default()
        };
        let token = tokens.next();
        self.asked = Some(token);
        calls.push(Call {
            token,
            target: Target::Any,
            purpose: Purpose::General,
            request: request.into(),
            deadline: deadline_after(now, self.request_timeout),
            max_version: None,
        });
    }

    /// Whether this is what comes of a call of its own.
    pub(super) fn awaits(&self, token: Token) -> bool {
        self.asked == Some(token)
    }

    /// Takes what came of a call. All whose names are known, if there are any new ones.
    ///
    /// # Errors
    /// Why no broker tells, if that does not pass by itself. It is asked again all the same.
    pub(super) fn answer(&mut self, now: Now, outcome: Outcome) -> Result<Option<BTreeSet<TopicName>>> {
        self.asked = None;
        let response = read::<MetadataResponse>(outcome);
        let before = self.known.len();
        for topic in response.iter().flat_map(|response| &response.topics) {
            if let Some(name) = topic.name.as_ref().filter(|_| topic.error_code == 0)
                && self.missing.remove(&topic.topic_id)
            {
                self.known.insert(topic.topic_id, TopicName::from(name.clone()));
            }
        }
        if self.missing.is_empty() {
            (self.failures, self.due) = (0, None);
        } else {
            self.due = Some(deadline_after(now, self.retry.delay(self.failures, &mut self.random)));
            self.failures = self.failures.saturating_add(1);
        }
        match response {
            Err(error) if !error.may_pass() => Err(error),
            _ => Ok((self.known.len() > before).then(|| self.known())),
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
        error::{Code, ErrorKind},
        types::NodeId,
        wire::{calls::Request, messages::metadata_response::MetadataResponseTopic},
    };

    const SECOND: Duration = Duration::from_secs(1);

    fn id(number: u8) -> Uuid {
        Uuid::from_bytes([number; 16])
    }

    struct Bench {
        names: Names,
        tokens: Tokens,
        now: Now,
    }

    impl Bench {
        fn new() -> Self {
            let retry = Backoff { first: SECOND, max: SECOND };
            let names = Names::new(30 * SECOND, retry, Random::new(1));
            Self { names, tokens: Tokens::default(), now: script::start() }
        }

        fn look_for(&mut self, ids: &[u8]) -> Option<Vec<String>> {
            let ids = ids.iter().copied().map(id).collect();
            Some(text(&self.names.look_for(&ids, &Snapshot::default())?))
        }

        /// The ids that a broker is asked for.
        fn asked(&mut self) -> Option<(Token, Vec<Uuid>)> {
            let mut calls = Vec::new();
            self.names.tick(self.now, &mut self.tokens, &mut calls);
            let call = calls.pop()?;
            let Request::Metadata(request) = call.request else { panic!("{call:?}") };
            assert!(request.topics.iter().flatten().all(|topic| topic.name.is_none()));
            let ids = request.topics.into_iter().flatten().map(|topic| topic.topic_id);
            Some((call.token, ids.collect()))
        }

        fn answer(&mut self, token: Token, told: &[(u8, &str, Code)]) -> Option<Vec<String>> {
            let topic = |&(number, name, code): &(u8, &str, Code)| MetadataResponseTopic {
                topic_id: id(number),
                name: Some(name.into()),
                error_code: code.get(),
                ..MetadataResponseTopic::default()
            };
            let topics = told.iter().map(topic).collect();
            let response = MetadataResponse { topics, ..MetadataResponse::default() };
            let (node, version) = (NodeId(1), 13);
            assert!(self.names.awaits(token));
            let answer = Answer { response: response.into(), node, version };
            Some(text(&self.names.answer(self.now, Ok(answer)).unwrap()?))
        }
    }

    fn text(names: &BTreeSet<TopicName>) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn names_are_asked_for_until_all_are_known() {
        let mut bench = Bench::new();
        assert_eq!(bench.look_for(&[1, 2]), None);
        let (token, ids) = bench.asked().unwrap();
        assert_eq!(ids, [id(1), id(2)]);
        assert!(bench.asked().is_none() && bench.names.deadline().is_none(), "one at a time");
        // One that was not asked for, and one that a broker does not know yet.
        let told = [(1, "a", Code::NONE), (9, "z", Code::NONE), (2, "", Code::UNKNOWN_TOPIC_ID)];
        assert_eq!(bench.answer(token, &told).unwrap(), ["a"]);
        assert!(bench.asked().is_none(), "later");
        bench.now = bench.now.after(2 * SECOND);
        assert!(bench.names.deadline().unwrap() <= bench.now.instant);
        let (token, ids) = bench.asked().unwrap();
        assert_eq!(ids, [id(2)]);
        let failure = ErrorKind::Timeout { what: "x".into(), after: SECOND, setting: "s" };
        let lost = Failure { maybe_sent: true, error: failure.into() };
        assert_eq!(bench.names.answer(bench.now, Err(lost)).unwrap(), None, "it passes");
        assert!(!bench.names.awaits(token));
        bench.now = bench.now.after(2 * SECOND);
        let (token, _) = bench.asked().unwrap();
        assert_eq!(bench.answer(token, &[(2, "b", Code::NONE)]).unwrap(), ["a", "b"]);
        assert!(bench.asked().is_none() && bench.names.deadline().is_none());
    }

    #[test]
    fn a_topic_that_is_not_assigned_any_more_is_forgotten() {
        let mut bench = Bench::new();
        bench.look_for(&[1, 2]);
        let (token, _) = bench.asked().unwrap();
        bench.look_for(&[2]);
        assert_eq!(bench.answer(token, &[(1, "a", Code::NONE), (2, "b", Code::NONE)]).unwrap(), ["b"]);
        assert_eq!(bench.look_for(&[2]), None);
        assert_eq!(bench.look_for(&[]).unwrap(), [""; 0]);
    }
}
