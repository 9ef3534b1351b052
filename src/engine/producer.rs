//! The producer's core: one place where time, answers, commands and views of the cluster come in. It folds the sender
//! with the transactions that records are written in, where there are any.

mod coordinators;
mod event;
mod transactional;

use std::{sync::Arc, time::Instant};

use coordinators::Coordinators;
pub(crate) use event::Event;
use transactional::Transactional;

use crate::{
    engine::{
        backoff::Random,
        catalog::snapshot::Snapshot,
        machine::{Now, Outbox, Outcome, Token, Tokens, earlier},
        produce::{
            accumulator::Accumulator,
            config::SenderConfig,
            outcome::BatchDone,
            sender::{self, Sender},
        },
        txn::{self, OffsetsOf, Ticket, Transactions},
    },
    error::Error,
};

/// The tags of the machines' tokens.
const SENDER: u8 = 1;
const TRANSACTIONS: u8 = 2;

/// A producer without a runtime.
#[derive(Debug)]
pub(crate) struct Core {
    sender: Sender,
    sent: Outbox<sender::Event>,
    tokens: Tokens,
    transactional: Option<Box<Transactional>>,
}

impl Core {
    /// Writes in transactions where `transactions` says how.
    pub(crate) fn new(
        config: SenderConfig,
        transactions: Option<txn::Settings>,
        accumulator: Arc<Accumulator>,
        snapshot: Arc<Snapshot>,
        mut random: Random,
    ) -> Self {
        debug_assert_eq!(config.transactional_id.is_some(), transactions.is_some(), "both or neither");
        let gate = Arc::clone(&accumulator.gate);
        let transactional = transactions.map(|settings| {
            let (id, request_timeout) = (settings.transactional_id.clone(), settings.request_timeout);
            let coordinators = Coordinators::new(id, request_timeout, settings.retry, &mut random);
            let tokens = Tokens::tagged(TRANSACTIONS);
            let machine = Transactions::new(settings, tokens, Random::new(random.next_u64()));
            Box::new(Transactional::new(machine, coordinators, gate))
        });
        Self {
            sender: Sender::new(config, accumulator, snapshot, random),
            sent: Outbox::default(),
            tokens: Tokens::tagged(SENDER),
            transactional,
        }
    }

    /// The view of the cluster has changed.
    pub(crate) fn catalog(&mut self, now: Now, snapshot: Arc<Snapshot>) {
        self.sender.catalog(now, snapshot);
    }

    /// Does what is due.
    pub(crate) fn tick(&mut self, now: Now, out: &mut Outbox<Event>) {
        loop {
            self.sender.tick(now, &mut self.tokens, &mut self.sent);
            let goes_on = match &mut self.transactional {
                Some(transactional) => transactional.step(now, &mut self.sender, &mut self.sent, out),
                None => false,
            };
            out.calls.append(&mut self.sent.calls);
            out.events.extend(self.sent.events.drain(..).map(Event::Sender));
            if !goes_on {
                break;
            }
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        let transactional = self.transactional.as_ref().and_then(|transactional| transactional.deadline());
        earlier(self.sender.deadline(), transactional)
    }

    pub(crate) fn answer(&mut self, now: Now, token: Token, outcome: Outcome) {
        match &mut self.transactional {
            Some(transactional) if token.tag() != SENDER => transactional.answer(now, token, outcome),
            _ => self.sender.answer(now, token, outcome, &mut self.sent),
        }
    }

    /// Closes every open batch, so that nothing lingers, and names all batches that are outstanding.
    pub(crate) fn flush(&mut self, now: Now) -> Vec<Arc<BatchDone>> {
        self.sender.flush(now)
    }

    /// Whether nothing is outstanding, and no transaction either.
    pub(crate) fn is_idle(&self) -> bool {
        self.sender.is_idle()
            && self.transactional.as_ref().is_none_or(|transactional| transactional.is_idle())
    }

    /// Ends everything that is outstanding with `error`.
    pub(crate) fn abandon(&mut self, now: Now, error: &Error, out: &mut Outbox<Event>) {
        self.sender.abandon(now, error, &mut self.sent);
        out.events.extend(self.sent.events.drain(..).map(Event::Sender));
        if let Some(transactional) = &mut self.transactional {
            transactional.abandon(error, out);
        }
    }

    // ---- transactions ----------------------------------------------------------------------------------------

    /// Tells, by `until` at the latest, when transactions can begin.
    pub(crate) fn make_ready(&mut self, now: Now, until: Instant) {
        if let Some(transactional) = &mut self.transactional {
            transactional.make_ready(now, until);
        }
    }

    /// Begins a transaction as soon as the one before is over.
    pub(crate) fn begin(&mut self, now: Now, until: Instant) {
        if let Some(transactional) = &mut self.transactional {
            transactional.begin(now, until);
        }
    }

    /// Makes offsets of a group a part of the open transaction, if it is that of this number.
    pub(crate) fn send_offsets(&mut self, number: u64, ticket: Ticket, offsets: OffsetsOf) {
        if let Some(transactional) = &mut self.transactional {
            transactional.send_offsets(number, ticket, offsets);
        }
    }

    /// Commits or aborts the transaction of this number.
    pub(crate) fn end(&mut self, now: Now, number: u64, commit: bool) {
        if let Some(transactional) = &mut self.transactional {
            transactional.end(now, number, commit, &mut self.sender, &mut self.sent);
        }
    }

    /// Asserts what must hold between two steps.
    pub(crate) fn check(&self) {
        self.sender.check();
        if let Some(transactional) = &self.transactional {
            transactional.check();
        }
    }
}
