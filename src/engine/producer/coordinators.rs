//! Who coordinates the transactions, and the group whose offsets are a part of them.

use std::time::{Duration, Instant};

use crate::{
    engine::{
        backoff::{Backoff, Random},
        coordinator::{self, Coordinator, Subject},
        machine::{Now, Outbox, Outcome, Token, Tokens, earlier},
        txn::{self, Transactions},
    },
    error::{ErrorKind, Resource},
    types::NodeId,
    wire::str::Str,
};

/// The tags of the tokens of the two searches.
const TRANSACTIONS: u8 = 3;
const GROUP: u8 = 4;

/// The two searches.
#[derive(Debug)]
pub(super) struct Coordinators {
    transactions: Coordinator,
    group: Coordinator,
    found: Outbox<coordinator::Event>,
}

impl Coordinators {
    pub(super) fn new(id: Str, request_timeout: Duration, retry: Backoff, random: &mut Random) -> Self {
        let settings = coordinator::Settings { request_timeout, retry };
        let mut search = |subject, tag| {
            Coordinator::new(subject, settings, Tokens::tagged(tag), Random::new(random.next_u64()))
        };
        Self {
            transactions: search(Subject::Transactions(id), TRANSACTIONS),
            group: search(Subject::Group(Str::default()), GROUP),
            found: Outbox::default(),
        }
    }

    /// Searches for whom the machine needs, and tells it whom there is.
    pub(super) fn tick(&mut self, now: Now, machine: &mut Transactions, told: &mut Outbox<txn::Event>) {
        if machine.is_over() {
            return;
        }
        self.transactions.need(now);
        self.transactions.tick(now, &mut self.found);
        if let Some(group) = machine.group() {
            self.group.search_for(Subject::Group(group));
            self.group.need(now);
        }
        self.group.tick(now, &mut self.found);
        machine.set_coordinator(self.transactions.node());
        machine.set_group_coordinator(self.group.node());
        told.calls.append(&mut self.found.calls);
        for event in self.found.events.drain(..) {
            match event {
                coordinator::Event::Found(_) => {}
                coordinator::Event::Refused(error) => match error.kind() {
                    ErrorKind::NotAuthorized { resource: Resource::Group, .. } => {
                        machine.give_up(error, told);
                    }
                    _ => machine.finish(error, told),
                },
            }
        }
    }

    /// Takes an outcome if it is of one of the searches, and hands it back if it is not.
    pub(super) fn answer(&mut self, now: Now, token: Token, outcome: Outcome) -> Option<Outcome> {
        match token.tag() {
            TRANSACTIONS => self.transactions.answer(now, token, outcome, &mut self.found),
            GROUP => self.group.answer(now, token, outcome, &mut self.found),
            _ => return Some(outcome),
        }
        None
    }

    pub(super) fn lost(&mut self, now: Now, node: NodeId) {
        self.transactions.lost(now, node);
    }

    pub(super) fn group_lost(&mut self, now: Now, node: NodeId) {
        self.group.lost(now, node);
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        earlier(self.transactions.deadline(), self.group.deadline())
    }
}
