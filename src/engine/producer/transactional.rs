//! One transaction after the other: from its begin over its failure, if it fails, to its end.

use std::{collections::BTreeMap, mem, sync::Arc, time::Instant};

use super::{coordinators::Coordinators, event::Event};
use crate::{
    engine::{
        machine::{Now, Outbox, Outcome, Token, earlier},
        produce::{
            gate::{Gate, Pass},
            joining::Joining,
            queue::LaneId,
            sender::{self, Sender},
        },
        txn::{self, OffsetsOf, Protocol, Ticket, Transactions, aborted},
    },
    error::{Error, ErrorKind, Result},
    types::TopicPartition,
};

#[derive(Debug)]
pub(super) struct Transactional {
    machine: Transactions,
    told: Outbox<txn::Event>,
    coordinators: Coordinators,
    gate: Arc<Gate>,
    stage: Stage,
    /// Of the transaction that is open, or was last.
    number: u64,
    /// Why the transaction has failed.
    failure: Option<Error>,
    /// Whether its user wants it over, and then whether committed.
    wanted: Option<bool>,
    /// Why there are no more transactions.
    fatal: Option<Error>,
    waits: Option<Waits>,
    /// Who waits for a partition to be taken into the transaction.
    applicants: BTreeMap<TopicPartition, LaneId>,
}

/// How far the transaction has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// There is none.
    Idle,
    Open,
    /// It takes no more records. What is in flight is waited for.
    Draining {
        commit: bool,
    },
    /// Its coordinator is told.
    Ending,
    /// It has failed and is over, and its user does not know yet.
    Aborted,
}

/// Somebody waits for an identity, or for the begin of a transaction.
#[derive(Clone, Copy, Debug)]
struct Waits {
    to_begin: bool,
    since: Instant,
    until: Instant,
}

impl Transactional {
    pub(super) fn new(machine: Transactions, coordinators: Coordinators, gate: Arc<Gate>) -> Self {
        // Until the first transaction is open, no record gets in.
        gate.shut();
        Self {
            machine,
            told: Outbox::default(),
            coordinators,
            gate,
            stage: Stage::Idle,
            number: 0,
            failure: None,
            wanted: None,
            fatal: None,
            waits: None,
            applicants: BTreeMap::new(),
        }
    }

    pub(super) fn make_ready(&mut self, now: Now, until: Instant) {
        self.waits = Some(Waits { to_begin: false, since: now.instant, until });
    }

    pub(super) fn begin(&mut self, now: Now, until: Instant) {
        self.waits = Some(Waits { to_begin: true, since: now.instant, until });
    }

    pub(super) fn send_offsets(&mut self, number: u64, ticket: Ticket, offsets: OffsetsOf) {
        if (self.stage, self.number) == (Stage::Open, number) {
            self.machine.send_offsets(ticket, offsets, &mut self.told);
        } else {
            let error = self.refusal(number);
            self.told.events.push(txn::Event::OffsetsTaken { ticket, result: Err(error) });
        }
    }

    /// Why the transaction of this number takes nothing more.
    fn refusal(&self, number: u64) -> Error {
        let reason = self.gate.reason(Pass::of_transaction(number));
        reason.unwrap_or_else(|| self.machine.ended())
    }

    /// The user wants the transaction over.
    pub(super) fn end(
        &mut self,
        now: Now,
        number: u64,
        commit: bool,
        sender: &mut Sender,
        sent: &mut Outbox<sender::Event>,
    ) {
        if number != self.number || self.stage == Stage::Idle || self.wanted.is_some() {
            return;
        }
        self.wanted = Some(commit);
        if self.stage != Stage::Open || self.fatal.is_some() {
            return;
        }
        self.stage = Stage::Draining { commit };
        self.gate.shut();
        if commit {
            sender.flush(now);
        } else {
            self.give_up(now, &ErrorKind::TransactionAborted { cause: None }.into(), sender, sent);
        }
    }

    /// Moves on by one step; tells whether another one may be due.
    pub(super) fn step(
        &mut self,
        now: Now,
        sender: &mut Sender,
        sent: &mut Outbox<sender::Event>,
        out: &mut Outbox<Event>,
    ) -> bool {
        let before = (self.stage, self.number);
        if !sent.calls.is_empty() {
            self.machine.writes(now);
        }
        self.hear_sender(now, sender, sent);
        self.coordinators.tick(now, &mut self.machine, &mut self.told);
        self.machine.tick(now, &mut self.told);
        let mut moved = self.hear_machine(now, sender, sent, out);
        out.calls.append(&mut self.told.calls);
        if let Stage::Draining { commit } = self.stage
            && sender.is_idle()
            && self.machine.is_quiet()
            && self.fatal.is_none()
        {
            self.stage = Stage::Ending;
            self.applicants.clear();
            self.machine.end(commit, sender.is_broken(), &mut self.told);
            sender.end_transaction();
        }
        self.tell_user(out);
        self.tell_waiting(now, sender, out);
        moved |= before != (self.stage, self.number) || !self.told.events.is_empty();
        moved
    }

    /// Takes what concerns the transaction from what the sender says; the rest is for the driver.
    fn hear_sender(&mut self, now: Now, sender: &mut Sender, sent: &mut Outbox<sender::Event>) {
        let mut failure = None;
        for event in mem::take(&mut sent.events) {
            match event {
                sender::Event::Join(lane, partition) => {
                    self.applicants.insert(partition.clone(), lane);
                    self.machine.join(partition);
                }
                event => {
                    if let sender::Event::Completed(completion) = &event
                        && let Err(error) = &completion.outcome
                    {
                        failure.get_or_insert_with(|| error.clone());
                    }
                    sent.events.push(event);
                }
            }
        }
        if let Some(error) = failure {
            self.fail(now, error, sender, sent);
        }
    }

    /// Carries out what the machine says; tells whether the sender has to look again.
    fn hear_machine(
        &mut self,
        now: Now,
        sender: &mut Sender,
        sent: &mut Outbox<sender::Event>,
        out: &mut Outbox<Event>,
    ) -> bool {
        let mut moved = false;
        for event in mem::take(&mut self.told.events) {
            moved = true;
            match event {
                txn::Event::Identified(producer) => sender.identify(now, Some(producer)),
                txn::Event::Joined(partitions) => {
                    let lanes: Vec<LaneId> =
                        partitions.iter().filter_map(|partition| self.applicants.remove(partition)).collect();
                    sender.joined(now, &lanes);
                }
                txn::Event::OffsetsTaken { ticket, result } => {
                    out.events.push(Event::OffsetsTaken { ticket, result });
                }
                txn::Event::Failed(error) => self.fail(now, error, sender, sent),
                txn::Event::Ended { committed } => self.over(committed),
                txn::Event::Fatal(error) => self.finish(now, error, sender, sent),
                txn::Event::CoordinatorLost(node) => self.coordinators.lost(now, node),
                txn::Event::GroupCoordinatorLost(node) => self.coordinators.group_lost(now, node),
            }
        }
        moved
    }

    /// The transaction can only be aborted, and is, at once: so its coordinator does not have to lose patience.
    fn fail(&mut self, now: Now, error: Error, sender: &mut Sender, sent: &mut Outbox<sender::Event>) {
        if self.fatal.is_some() {
            // Nothing is told any more but why the producer has ended.
            return;
        }
        match self.stage {
            Stage::Open | Stage::Draining { commit: true } => {
                tracing::warn!(%error, "a transaction has failed and is aborted");
                self.stage = Stage::Draining { commit: false };
                let told = aborted(&error);
                self.failure = Some(told.clone());
                self.gate.shut_because(Some(Pass::of_transaction(self.number)), told.clone());
                self.give_up(now, &told, sender, sent);
            }
            Stage::Ending => {
                tracing::warn!(%error, "a transaction could not be committed and is aborted");
                self.failure = Some(aborted(&error));
            }
            // It is being aborted anyway.
            Stage::Idle | Stage::Draining { commit: false } | Stage::Aborted => {}
        }
    }

    fn give_up(&mut self, now: Now, error: &Error, sender: &mut Sender, sent: &mut Outbox<sender::Event>) {
        sender.doom(now, error, sent);
        self.machine.fail(error, &mut self.told);
    }

    fn over(&mut self, committed: bool) {
        self.stage = Stage::Aborted;
        if committed {
            self.failure = None;
        }
    }

    /// There are no more transactions.
    fn finish(&mut self, now: Now, error: Error, sender: &mut Sender, sent: &mut Outbox<sender::Event>) {
        tracing::error!(%error, "a transactional producer has come to its end");
        self.fatal = Some(error.clone());
        self.gate.shut_because(None, error.clone());
        sender.doom(now, &error, sent);
    }

    /// Tells the user what became of the transaction, as soon as both are there: the end, and the wish for it.
    fn tell_user(&mut self, out: &mut Outbox<Event>) {
        let is_over = self.stage == Stage::Aborted || (self.fatal.is_some() && self.stage != Stage::Idle);
        if !is_over || self.wanted.is_none() {
            return;
        }
        let commit = self.wanted.take() == Some(true);
        let failure = self.failure.take().filter(|_| commit);
        let outcome = match (self.fatal.clone(), failure) {
            (Some(error), _) | (None, Some(error)) => Err(error),
            (None, None) => Ok(()),
        };
        self.stage = Stage::Idle;
        out.events.push(Event::Ended(outcome));
    }

    fn tell_waiting(&mut self, now: Now, sender: &mut Sender, out: &mut Outbox<Event>) {
        let Some(waits) = self.waits else { return };
        let tell = |result: Result<u64>| match waits.to_begin {
            true => Event::Begun(result),
            false => Event::Ready(result.map(|_| ())),
        };
        let outcome = if let Some(error) = &self.fatal {
            Err(error.clone())
        } else if self.stage == Stage::Idle && self.machine.is_ready() {
            if waits.to_begin {
                self.open(now, sender);
            }
            Ok(self.number)
        } else if waits.until <= now.instant {
            let what = match waits.to_begin {
                true => "the end of the transaction before",
                false => "an id for the transactional producer",
            };
            let after = now.instant.saturating_duration_since(waits.since);
            Err(ErrorKind::Timeout { what: what.to_owned(), after, setting: "max_block" }.into())
        } else {
            return;
        };
        self.waits = None;
        out.events.push(tell(outcome));
    }

    fn open(&mut self, now: Now, sender: &mut Sender) {
        self.number += 1;
        self.stage = Stage::Open;
        self.failure = None;
        let joining = match self.machine.open() {
            Protocol::V1 => Joining::ByAsking,
            Protocol::V2 => Joining::ByWriting,
        };
        sender.open_transaction(now, joining);
        self.gate.admit(Pass::of_transaction(self.number));
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let machines = match self.machine.is_over() {
            true => None,
            false => earlier(self.machine.deadline(), self.coordinators.deadline()),
        };
        earlier(self.waits.map(|waits| waits.until), machines)
    }

    pub(super) fn answer(&mut self, now: Now, token: Token, outcome: Outcome) {
        if let Some(outcome) = self.coordinators.answer(now, token, outcome) {
            self.machine.answer(now, token, outcome, &mut self.told);
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.stage == Stage::Idle && (self.fatal.is_some() || self.machine.is_at_rest())
    }

    /// The producer ends: nobody learns more.
    pub(super) fn abandon(&mut self, error: &Error, out: &mut Outbox<Event>) {
        if let Some(waits) = self.waits.take() {
            let error = error.clone();
            out.events.push(if waits.to_begin { Event::Begun(Err(error)) } else { Event::Ready(Err(error)) });
        }
        if self.wanted.take().is_some() {
            out.events.push(Event::Ended(Err(error.clone())));
        }
    }

    pub(super) fn check(&self) {
        self.machine.check();
        debug_assert!(
            self.failure.is_none() || self.stage != Stage::Open,
            "a transaction that failed is open"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::engine::{
        backoff::{Backoff, Random},
        machine::Tokens,
        produce::{
            accumulator::Accumulator,
            config::{Linger, Partitioning, SenderConfig},
        },
        script,
        txn::Settings,
    };
    use crate::wire::compress::{Codec, Compression};

    const SECOND: Duration = Duration::from_secs(1);

    fn transactional(accumulator: &Accumulator) -> Transactional {
        let (request_timeout, retry) = (SECOND, Backoff { first: SECOND, max: SECOND });
        let transactional_id = "tx".into();
        let settings = Settings { transactional_id, timeout: SECOND, request_timeout, retry };
        let coordinators = Coordinators::new("tx".into(), request_timeout, retry, &mut Random::new(1));
        let machine = Transactions::new(settings, Tokens::default(), Random::new(1));
        Transactional::new(machine, coordinators, Arc::clone(&accumulator.gate))
    }

    fn sender(accumulator: &Arc<Accumulator>) -> Sender {
        let config = SenderConfig {
            acks: -1,
            idempotent: true,
            transactional_id: Some("tx".into()),
            follow_recreated: false,
            partitioning: Partitioning::default(),
            linger: Linger::Fixed(Duration::ZERO),
            compression: Compression::new(Codec::None),
            packed_aside: 32 << 10,
            max_request_size: 1 << 20,
            max_in_flight: 5,
            delivery_timeout: SECOND,
            request_timeout: SECOND,
            backoff: Backoff { first: SECOND, max: SECOND },
        };
        Sender::new(config, Arc::clone(accumulator), Arc::default(), Random::new(1))
    }

    #[test]
    fn what_fails_after_the_end_of_the_producer_does_not_change_why_it_has_ended() {
        let accumulator = Arc::new(Accumulator::new(1 << 10, Arc::default()));
        let (mut transactional, mut sender) = (transactional(&accumulator), sender(&accumulator));
        let (now, mut sent) = (script::start(), Outbox::default());
        (transactional.stage, transactional.number) = (Stage::Open, 1);
        let fenced = Error::from(ErrorKind::Fenced { identity: "tx".to_owned() });
        transactional.finish(now, fenced, &mut sender, &mut sent);
        let late = ErrorKind::TransactionAborted { cause: None }.into();
        transactional.fail(now, late, &mut sender, &mut sent);
        for number in 0..2 {
            let reason = accumulator.gate.reason(Pass::of_transaction(number));
            let is_told = reason.is_some_and(|reason| matches!(reason.kind(), ErrorKind::Fenced { .. }));
            assert!(is_told, "transaction {number}");
        }
    }
}
