//! The identity of an idempotent producer: its id, and the epoch that is bumped when sequences cannot go on.

use std::time::Instant;

use crate::{
    engine::{
        backoff::{Backoff, Random},
        machine::{Call, Failure, Now, Outcome, Purpose, Target, Token, Tokens, deadline_after},
        producer_id::ProducerId,
    },
    error::{Code, Error},
    wire::{calls::Response, messages::init_producer_id_request::InitProducerIdRequest},
};

/// Asks for a producer id (InitProducerId) and bumps its epoch.
///
/// Without transactions the epoch is bumped by the client alone (KIP-360): brokers take the next epoch with
/// sequence 0 without having been asked.
#[derive(Debug)]
pub(crate) struct Identity {
    state: State,
    backoff: Backoff,
    random: Random,
    request_timeout: std::time::Duration,
}

#[derive(Debug)]
enum State {
    /// Not asked for: no record has been sent yet.
    Absent,
    Asking {
        token: Token,
        attempt: u32,
    },
    Waiting {
        until: Instant,
        attempt: u32,
    },
    Known(ProducerId),
    /// The broker refuses for good.
    Refused(Error),
    /// A transactional producer's, which its transactions ask for and bump: the one in force.
    Given(Option<ProducerId>),
}

impl Identity {
    pub(crate) fn new(backoff: Backoff, request_timeout: std::time::Duration, random: Random) -> Self {
        Self { state: State::Absent, backoff, random, request_timeout }
    }

    /// One that is given to it: it asks for none and bumps none.
    pub(crate) fn given(&mut self, producer: Option<ProducerId>) {
        self.state = State::Given(producer);
    }

    /// Whether what is written under it belongs to transactions.
    pub(crate) fn is_given(&self) -> bool {
        matches!(self.state, State::Given(_))
    }

    pub(crate) fn current(&self) -> Option<ProducerId> {
        match self.state {
            State::Known(producer) => Some(producer),
            State::Given(producer) => producer,
            _ => None,
        }
    }

    /// Why there will never be an id.
    pub(crate) fn refusal(&self) -> Option<&Error> {
        match &self.state {
            State::Refused(error) => Some(error),
            _ => None,
        }
    }

    /// Forgets a refusal, so that later records ask anew.
    pub(crate) fn forget_refusal(&mut self) {
        if matches!(self.state, State::Refused(_)) {
            self.state = State::Absent;
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Waiting { until, .. } => Some(until),
            _ => None,
        }
    }

    /// The call that asks for an id, where one is wanted and not already asked for.
    pub(crate) fn ask(&mut self, now: Now, tokens: &mut Tokens) -> Option<Call> {
        let attempt = match self.state {
            State::Absent => 0,
            State::Waiting { until, attempt } if until <= now.instant => attempt,
            _ => return None,
        };
        let token = tokens.next();
        self.state = State::Asking { token, attempt };
        let request = InitProducerIdRequest {
            transactional_id: None,
            transaction_timeout_ms: i32::MAX,
            ..InitProducerIdRequest::default()
        };
        Some(Call {
            token,
            target: Target::Any,
            purpose: Purpose::General,
            request: request.into(),
            deadline: deadline_after(now, self.request_timeout),
            max_version: None,
        })
    }

    /// Takes an outcome if it is this machine's; tells whether it was.
    pub(crate) fn answer(&mut self, now: Now, token: Token, outcome: &Outcome) -> bool {
        let State::Asking { token: asked, attempt } = self.state else { return false };
        if asked != token {
            return false;
        }
        self.state = match read(outcome) {
            Ok(producer) => {
                tracing::info!(producer_id = producer.id, epoch = producer.epoch, "the producer has its id");
                State::Known(producer)
            }
            Err(Some(error)) => State::Refused(error),
            Err(None) => {
                let until = deadline_after(now, self.backoff.delay(attempt, &mut self.random));
                State::Waiting { until, attempt: attempt.saturating_add(1) }
            }
        };
        true
    }

    /// Moves to the next epoch if `seen` is the identity in force; a new id is asked for when epochs run out.
    pub(crate) fn bump(&mut self, seen: ProducerId) {
        if self.current() == Some(seen) && !self.is_given() {
            tracing::info!(
                producer_id = seen.id,
                epoch = seen.epoch,
                "a batch was lost or refused: sequences begin anew"
            );
            self.state = match seen.epoch.checked_add(1) {
                Some(epoch) if epoch < i16::MAX => State::Known(ProducerId { epoch, ..seen }),
                _ => State::Absent,
            };
        }
    }

    /// Gives up the id if `seen` is in force: a broker says that somebody else holds a newer epoch of it.
    pub(crate) fn renounce(&mut self, seen: ProducerId) {
        if self.current() == Some(seen) && !self.is_given() {
            tracing::warn!(
                producer_id = seen.id,
                epoch = seen.epoch,
                "a broker knows a newer epoch of this producer id: asking for another"
            );
            self.state = State::Absent;
        }
    }
}

/// The identity in an answer; `Err(None)` where asking again may help.
fn read(outcome: &Outcome) -> Result<ProducerId, Option<Error>> {
    let answer = match outcome {
        Ok(answer) => answer,
        Err(Failure { error, .. }) if error.may_pass() => return Err(None),
        Err(Failure { error, .. }) => return Err(Some(error.clone())),
    };
    let Response::InitProducerId(response) = &answer.response else { return Err(None) };
    match Code::check(response.error_code) {
        // With a negative one, which stands for none, brokers would not notice what is sent twice.
        Ok(()) if response.producer_id < 0 || response.producer_epoch < 0 => Err(None),
        Ok(()) => Ok(ProducerId { id: response.producer_id, epoch: response.producer_epoch }),
        Err(code) if code.is_retriable() => Err(None),
        Err(code) => Err(Some(Error::broker(code, "InitProducerId", ""))),
    }
}
