//! The task of a share consumer: moves commands, answers, wake-ups and time to the core, and its calls to the client.

use std::{collections::HashMap, sync::Arc};

use tokio::sync::{mpsc, oneshot};
use tracing::Instrument;

use super::inner::{Command, closed};
use crate::{
    client::Client,
    engine::{
        backoff::Random,
        machine::{Outbox, Owner},
        share_consumer::{Core, CoreSettings, Event},
        share_hand::ShareHand,
    },
    error::Result,
    net::{ending::Ending, mailbox::Mailbox, task},
    sync::wake::Wake,
};

pub(super) struct Driver {
    client: Client,
    owner: Owner,
    core: Core,
    hand: Arc<ShareHand>,
    wake: Arc<Wake>,
    mailbox: Arc<Mailbox>,
    commands: mpsc::Receiver<Command>,
    commits: HashMap<u64, oneshot::Sender<Result<()>>>,
    ending: Ending,
    /// Whether nobody is left who could command.
    is_alone: bool,
}

impl Driver {
    pub(super) fn spawn(
        client: Client,
        settings: CoreSettings,
        hand: Arc<ShareHand>,
        wake: Arc<Wake>,
        commands: mpsc::Receiver<Command>,
        random: Random,
    ) -> Result<()> {
        let (client_id, group) = (client.config().client_id.clone(), settings.group.group.to_string());
        let core = Core::new(client.now(), settings, Arc::clone(&hand), random);
        let driver = Self {
            owner: client.new_owner(),
            mailbox: Mailbox::new(Arc::clone(&wake)),
            client,
            core,
            hand,
            wake,
            commands,
            commits: HashMap::new(),
            ending: Ending::new("share consumer"),
            is_alone: false,
        };
        let span = tracing::info_span!("share_consumer", client_id, group);
        task::spawn("ShareConsumerBuilder::build", driver.run().instrument(span))
    }

    async fn run(mut self) {
        let mut catalog = self.client.watch();
        self.core.catalog(self.client.now(), self.client.snapshot());
        let mut out = Outbox::default();
        while !self.client.is_closed() {
            let now = self.client.now();
            self.core.tick(now, &mut out);
            self.flush(&mut out);
            if self.ending.is_reached() {
                break;
            }
            let deadline = self.core.deadline();
            debug_assert!(deadline.is_none_or(|due| due > now.instant), "a tick does what is due");
            tokio::select! {
                () = self.wake.rung() => {
                    let now = self.client.now();
                    for (token, outcome) in self.mailbox.take() {
                        self.core.answer(now, token, outcome);
                    }
                }
                changed = catalog.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    let snapshot = Arc::clone(&catalog.borrow_and_update());
                    self.core.catalog(self.client.now(), snapshot);
                }
                command = self.commands.recv(), if !self.is_alone => self.command(command),
                () = task::sleep_until(deadline) => {}
            }
        }
    }

    fn command(&mut self, command: Option<Command>) {
        match command {
            Some(Command::Commit { reply }) => {
                let ticket = self.core.commit();
                self.commits.insert(ticket, reply);
            }
            // Where an answer cannot be sent nobody waits any more.
            Some(Command::Assignment { reply }) => drop(reply.send(self.core.assignment())),
            Some(Command::Close { reply }) => self.close(Some(reply)),
            // The consumer was dropped.
            None => {
                self.is_alone = true;
                self.close(None);
            }
        }
    }

    fn close(&mut self, reply: Option<oneshot::Sender<Result<()>>>) {
        if self.ending.ask(reply) {
            self.core.close(self.client.now());
        }
    }

    fn flush(&mut self, out: &mut Outbox<Event>) {
        self.client.submit_all(self.owner, &mut out.calls, &self.mailbox);
        for event in out.events.drain(..) {
            match event {
                Event::Want(topic) => self.client.want(&topic),
                Event::Refresh => self.client.refresh(),
                Event::LeaderHint(hint) => self.client.leader_changed(hint),
                Event::Committed { ticket, result } => {
                    self.commits.remove(&ticket).map(|reply| reply.send(result));
                }
                Event::Closed => self.ending.reach(),
            }
        }
    }
}

/// However the task ends, also with its runtime, nobody waits for it any more.
impl Drop for Driver {
    fn drop(&mut self) {
        self.client.release(self.owner);
        self.hand.tell_no_more();
        if !self.ending.is_reached() && !self.ending.is_asked() {
            self.hand.block(closed());
        }
    }
}
