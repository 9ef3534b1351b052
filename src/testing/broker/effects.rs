//! What fault rules do to one request.

use std::time::Duration;

use bytes::Bytes;

use super::alter;
use super::call::Refusal;
use crate::error::Code;
use crate::testing::faults::{Fault, Rule};
use crate::wire::calls::{Request, Response};
use crate::wire::str::Str;

/// All rules that hit a request, taken together.
#[derive(Clone, Debug, Default)]
pub(super) struct Effects {
    pub(super) instead: Instead,
    /// Topics and partitions that are refused.
    pub(super) refusals: Vec<Refusal>,
    /// The answer, if it is not the one that comes of handling.
    pub(super) answer: Option<Box<Response>>,
    /// Codes that are put into the answer.
    pub(super) changes: Vec<Refusal>,
    pub(super) throttle: Option<Duration>,
    pub(super) delay: Option<Duration>,
    pub(super) ending: Ending,
}

/// What is done instead of handling the request.
#[derive(Clone, Debug, Default)]
pub(super) enum Instead {
    #[default]
    Nothing,
    Answer(Box<Response>),
    Close,
    Ignore,
}

/// How the answer is sent.
#[derive(Clone, Debug, Default)]
pub(super) enum Ending {
    #[default]
    Send,
    Replace(Bytes),
    Close,
    Drop,
}

impl Effects {
    pub(super) fn of(rules: &[Rule], request: &Request, version: i16) -> Self {
        let mut effects = Self::default();
        for rule in rules {
            effects.add(rule, request, version);
        }
        effects
    }

    fn add(&mut self, rule: &Rule, request: &Request, version: i16) {
        let whole = |code: Code| {
            let is_whole = rule.scope() == (None, None);
            is_whole.then(|| alter::refuse(request, version, code)).flatten().map(Box::new)
        };
        let part = |code: Code| {
            let (topic, partition) = rule.scope();
            let topic = topic.map(|topic| Str::from(topic.as_str()));
            Refusal { topic, partition: partition.map(|partition| partition.0), code }
        };
        match rule.fault() {
            Fault::Refuse(code) => match whole(*code) {
                Some(answer) => self.instead = Instead::Answer(answer),
                None => self.refusals.push(part(*code)),
            },
            Fault::ApplyThenRefuse(code) => match whole(*code) {
                Some(answer) => self.answer = Some(answer),
                None => self.changes.push(part(*code)),
            },
            Fault::Delay(delay) => self.delay = Some(*delay),
            Fault::Throttle(throttle) => self.throttle = Some(*throttle),
            Fault::Ignore => self.instead = Instead::Ignore,
            Fault::CloseBefore => self.instead = Instead::Close,
            Fault::DropAnswer => self.ending = Ending::Drop,
            Fault::CloseAfter => self.ending = Ending::Close,
            Fault::Garbage(bytes) => self.ending = Ending::Replace(Bytes::from(bytes.clone())),
        }
    }
}
