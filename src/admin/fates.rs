//! What becomes of each topic that one call names, over all its attempts.

use std::{collections::BTreeMap, mem};

use crate::{
    client::retry::{Verdict, malformed},
    engine::machine::Failure,
    error::{Code, Error, ErrorKind, Result},
    types::{NodeId, TopicName},
    wire::str::Str,
};

/// The topics of one call: those that are settled, and those that must be asked for again.
#[derive(Debug)]
pub(super) struct Fates<T> {
    /// The request, for errors.
    request: &'static str,
    /// What a broker answers if the call has been carried out before.
    repeated: Option<Code>,
    /// Codes that settle a topic although they are retriable elsewhere.
    settling: &'static [Code],
    open: BTreeMap<TopicName, Open>,
    settled: BTreeMap<TopicName, Result<T>>,
    /// Whether a broker has answered at all.
    answered: bool,
}

/// What is known of a topic that is not settled.
#[derive(Debug, Default)]
struct Open {
    /// Whether an earlier attempt may have been carried out.
    maybe_done: bool,
    error: Option<Error>,
}

/// What one answer says of one topic.
#[derive(Debug)]
pub(super) struct Word<T> {
    pub(super) topic: Str,
    pub(super) code: Code,
    pub(super) message: Option<Str>,
    /// What is known if the code is none.
    pub(super) value: T,
}

impl<T> Fates<T> {
    /// Topics by their names. Those with a name that no broker takes are settled at once.
    pub(super) fn new(request: &'static str, names: impl IntoIterator<Item = TopicName>) -> Self {
        let mut fates = Self {
            request,
            repeated: None,
            settling: &[],
            open: BTreeMap::new(),
            settled: BTreeMap::new(),
            answered: false,
        };
        for name in names {
            match TopicName::check(&name) {
                Ok(()) => drop(fates.open.insert(name, Open::default())),
                Err(invalid) => fates.settle(name, Err(invalid.into())),
            }
        }
        fates
    }

    /// `code` is success where an earlier attempt may have been carried out.
    pub(super) fn repeated(self, code: Code) -> Self {
        Self { repeated: Some(code), ..self }
    }

    /// `codes` settle a topic, whatever they mean elsewhere.
    pub(super) fn settling(self, codes: &'static [Code]) -> Self {
        Self { settling: codes, ..self }
    }

    pub(super) fn settle(&mut self, name: TopicName, result: Result<T>) {
        self.open.remove(&name);
        self.settled.insert(name, result);
    }

    /// The topics to ask for.
    pub(super) fn open(&self) -> impl Iterator<Item = &TopicName> {
        self.open.keys()
    }

    /// What became of all topics, once it is known.
    pub(super) fn all_settled(&mut self) -> Option<BTreeMap<TopicName, Result<T>>> {
        self.open.is_empty().then(|| mem::take(&mut self.settled))
    }

    /// Takes in an answer. Topics that it leaves out fail; those that were not asked for are none of our business.
    pub(super) fn answer(
        &mut self,
        node: NodeId,
        words: impl IntoIterator<Item = Word<T>>,
    ) -> Verdict<BTreeMap<TopicName, Result<T>>> {
        self.answered = true;
        let mut left = mem::take(&mut self.open);
        for word in words {
            if let Some((name, open)) = left.remove_entry(word.topic.as_str()) {
                self.hear(name, open, word);
            }
        }
        for name in left.into_keys() {
            let error = malformed(node, format!("its answer to {} leaves out topic {name}", self.request));
            self.settle(name, Err(error));
        }
        match self.open.values().find_map(|open| open.error.clone()) {
            Some(error) => Verdict::Retry(error),
            None => Verdict::Done(mem::take(&mut self.settled)),
        }
    }

    fn hear(&mut self, name: TopicName, mut open: Open, word: Word<T>) {
        let Word { code, message, value, .. } = word;
        if code == Code::NONE || (open.maybe_done && self.repeated == Some(code)) {
            return self.settle(name, Ok(value));
        }
        let error = refusal(self.request, &name, code, message);
        if !code.is_retriable() || self.settling.contains(&code) {
            return self.settle(name, Err(error));
        }
        // A controller that loses its office, or runs out of time, may have done it; one that keeps to a quota has not.
        open.maybe_done |= code != Code::THROTTLING_QUOTA_EXCEEDED;
        open.error = Some(error);
        self.open.insert(name, open);
    }

    /// Takes in that there was no answer.
    pub(super) fn no_answer<R>(&mut self, failure: Failure) -> Verdict<R> {
        let Failure { maybe_sent, error } = failure;
        for open in self.open.values_mut() {
            open.maybe_done |= maybe_sent;
            open.error = Some(error.clone());
        }
        Verdict::of(error)
    }

    /// What is known where there will be no further attempt.
    ///
    /// # Errors
    /// `error` if no broker has answered, so that nothing is known of any topic.
    pub(super) fn give_up(mut self, error: Error) -> Result<BTreeMap<TopicName, Result<T>>> {
        if !self.answered {
            return Err(error);
        }
        for (name, open) in mem::take(&mut self.open) {
            self.settle(name, Err(open.error.unwrap_or_else(|| error.clone())));
        }
        Ok(self.settled)
    }
}

/// A broker's refusal of one topic.
fn refusal(request: &'static str, name: &TopicName, code: Code, message: Option<Str>) -> Error {
    let message = message.filter(|message| !message.is_empty()).map(|message| message.as_str().to_owned());
    match code {
        Code::INVALID_TOPIC_EXCEPTION => {
            let reason = message.unwrap_or_else(|| "a broker refuses the name".to_owned());
            ErrorKind::InvalidTopic { topic: name.clone(), reason }.into()
        }
        // It is the cluster that may not be touched, not the topic.
        Code::CLUSTER_AUTHORIZATION_FAILED => Error::broker(code, request, ""),
        Code::TOPIC_AUTHORIZATION_FAILED => Error::broker(code, request, name.as_str()),
        _ => ErrorKind::Broker { code, request, subject: name.to_string(), message }.into(),
    }
}
