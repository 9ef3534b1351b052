//! The client's own task: it keeps the view of the cluster fresh, and shelters calls to brokers that are not known
//! yet.

use std::{sync::Arc, time::Instant};

use super::shared::Shared;
use crate::{
    engine::{
        backoff::Random,
        catalog::{Catalog, Event},
        machine::{Call, Failure, Now, Outbox, Target, earlier},
    },
    error::ErrorKind,
    net::{
        mailbox::{Mailbox, ReplyTo},
        task::sleep_until,
    },
    sync::wake::Wake,
};

pub(super) struct Driver {
    shared: Arc<Shared>,
    wake: Arc<Wake>,
    mailbox: Arc<Mailbox>,
    catalog: Catalog,
    outbox: Outbox<Event>,
    homeless: Vec<Homeless>,
}

/// A call to a broker whose address is not known, since when it waits, and the view that lacks the broker.
struct Homeless {
    call: Call,
    reply: ReplyTo,
    since: Instant,
    generation: u64,
}

/// Calls that wait for a broker's address. More are refused.
const HOMELESS: usize = 4096;

impl Driver {
    pub(super) fn new(shared: Arc<Shared>, wake: Arc<Wake>) -> Self {
        let catalog = Catalog::new(&shared.config, shared.clock.now(), Random::from_entropy());
        let mailbox = Mailbox::new(Arc::clone(&wake));
        Self { shared, wake, mailbox, catalog, outbox: Outbox::default(), homeless: Vec::new() }
    }

    /// Runs until the client is closed.
    pub(super) async fn run(mut self) {
        while !self.shared.is_closed() {
            let now = self.shared.clock.now();
            self.take_in(now);
            self.catalog.tick(now, &mut self.outbox);
            self.carry_out();
            self.house(now);
            if cfg!(debug_assertions) {
                self.catalog.check();
            }
            let deadline = self.deadline();
            debug_assert!(deadline.is_none_or(|due| due > now.instant), "a tick does what is due");
            tokio::select! {
                () = self.wake.rung() => {}
                () = sleep_until(deadline) => {}
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let homeless = self.homeless.iter().map(|homeless| homeless.call.deadline).min();
        earlier(self.catalog.deadline(), homeless)
    }

    /// Takes what was said and answered.
    fn take_in(&mut self, now: Now) {
        let said = self.shared.inbox.take();
        for topic in said.wanted {
            self.catalog.want(now, topic);
        }
        for hint in said.hints.into_values() {
            self.catalog.leader_changed(now, hint, &mut self.outbox);
        }
        if said.refresh || !said.homeless.is_empty() {
            self.catalog.refresh(now);
        }
        for (token, outcome) in self.mailbox.take() {
            self.catalog.answer(now, token, outcome, &mut self.outbox);
        }
        let generation = self.catalog.snapshot().generation;
        for (call, reply) in said.homeless {
            let homeless = Homeless { call, reply, since: now.instant, generation };
            if self.homeless.len() < HOMELESS {
                self.homeless.push(homeless);
            } else {
                homeless.refuse(now);
            }
        }
    }

    fn carry_out(&mut self) {
        for event in self.outbox.events.drain(..) {
            match event {
                Event::Updated(snapshot) => self.shared.publish(&snapshot),
                Event::Failed(attempts) => self.shared.note_attempts(attempts),
                Event::Hopeless(error) => self.shared.give_up_hope(error),
            }
        }
        for call in self.outbox.calls.drain(..) {
            let reply = self.mailbox.reply(call.token);
            self.shared.submit(call, reply);
        }
    }

    /// Sends the sheltered calls whose broker is known now, and ends those that have waited long enough: a broker that
    /// the next view lacks too may never come back, while whoever asks may find another one.
    fn house(&mut self, now: Now) {
        if self.homeless.is_empty() {
            return;
        }
        let snapshot = Arc::clone(self.catalog.snapshot());
        for homeless in std::mem::take(&mut self.homeless) {
            // One that could not be sent all the same would come back at once, and so on without end.
            if self.shared.find(&homeless.call).is_some() {
                self.shared.submit(homeless.call, homeless.reply);
            } else if snapshot.generation > homeless.generation {
                homeless.turn_away();
            } else if homeless.call.deadline <= now.instant {
                homeless.refuse(now);
            } else {
                self.homeless.push(homeless);
            }
        }
    }
}

impl Drop for Driver {
    /// Also where the runtime ends before the client: nobody waits for a view that will never come.
    fn drop(&mut self) {
        self.shared.close();
        self.shared.wake_watchers();
    }
}

impl Homeless {
    /// A new view does not know the broker either.
    fn turn_away(self) {
        let error = ErrorKind::Io {
            peer: self.whom(),
            kind: std::io::ErrorKind::NotConnected,
            detail: "it is not in the cluster, as far as the brokers know".to_owned(),
        };
        self.reply.send(Err(Failure { maybe_sent: false, error: error.into() }));
    }

    fn whom(&self) -> String {
        match self.call.target {
            Target::Broker(node) => format!("broker {node}"),
            Target::Any | Target::Controller => "any broker".to_owned(),
        }
    }

    /// Nobody told in time where the broker is.
    fn refuse(self, now: Now) {
        let what = format!("{} to {}, whose address no broker told", self.call.request.key(), self.whom());
        let after = now.instant.saturating_duration_since(self.since);
        let error = ErrorKind::Timeout { what, after, setting: "request_timeout" }.into();
        self.reply.send(Err(Failure { maybe_sent: false, error }));
    }
}
