//! The task of a consumer: moves commands, answers, wake-ups and time to the core, and its calls to the client.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use tokio::sync::{mpsc, oneshot};
use tracing::Instrument;

use super::{
    inner::{Command, Committed, ConsumerHandle, closed},
    listener::{RebalanceListener, Told, tell},
};
use crate::{
    client::{
        Client,
        offsets::{Listed, Offsets},
    },
    engine::{
        backoff::Random,
        commit::Ticket,
        consumer::{core::Core, settings::CoreSettings, types::Event},
        fetch::Buffered,
        hand::Hand,
        machine::{Outbox, Owner},
    },
    error::Result,
    metrics::Share,
    net::{ending::Ending, mailbox::Mailbox, task},
    sync::wake::Wake,
};

/// Changes that wait for the listener.
const CHANGES: usize = 64;

pub(super) struct Driver {
    client: Client,
    owner: Owner,
    core: Core,
    hand: Arc<Hand>,
    buffered: Arc<Buffered>,
    share: Share,
    wake: Arc<Wake>,
    mailbox: Arc<Mailbox>,
    commands: mpsc::Receiver<Command>,
    commits: HashMap<Ticket, oneshot::Sender<Result<()>>>,
    look_ups: HashMap<Ticket, oneshot::Sender<Result<Committed>>>,
    ending: Ending,
    /// Whether nobody is left who could command.
    is_alone: bool,
    changes: mpsc::Sender<Told>,
    told: mpsc::Receiver<u64>,
    /// What the listener has not returned from.
    untold: VecDeque<u64>,
}

impl Driver {
    pub(super) fn spawn(
        client: Client,
        settings: CoreSettings,
        hand: Arc<Hand>,
        buffered: Arc<Buffered>,
        wake: Arc<Wake>,
        commands: mpsc::Receiver<Command>,
        listener: Option<(Arc<dyn RebalanceListener>, ConsumerHandle)>,
    ) -> Result<()> {
        const CALL: &str = "ConsumerBuilder::build";
        let (client_id, group) = (client.config().client_id.clone(), settings.group().map(str::to_owned));
        let core = Core::new(
            client.now(),
            settings,
            Arc::clone(&hand),
            Arc::clone(&buffered),
            Random::from_entropy(),
        );
        let mailbox = Mailbox::new(Arc::clone(&wake));
        let (changes, to_tell) = mpsc::channel(CHANGES);
        let (done, told) = mpsc::channel(CHANGES);
        if let Some((listener, handle)) = listener {
            task::spawn(CALL, tell(listener, handle, to_tell, done))?;
        }
        let driver = Self {
            owner: client.new_owner(),
            share: client.counters().consumer_buffer(),
            buffered,
            client,
            core,
            hand,
            wake,
            mailbox,
            commands,
            commits: HashMap::new(),
            look_ups: HashMap::new(),
            ending: Ending::new("consumer"),
            is_alone: false,
            changes,
            told,
            untold: VecDeque::new(),
        };
        let span = tracing::info_span!("consumer", client_id, group);
        task::spawn(CALL, driver.run().instrument(span))
    }

    async fn run(mut self) {
        let mut catalog = self.client.watch();
        self.core.catalog(self.client.now(), self.client.snapshot());
        let mut out = Outbox::default();
        while !self.client.is_closed() {
            let now = self.client.now();
            self.core.tick(now, &mut out);
            self.flush(&mut out);
            self.share.set(self.buffered.used());
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
                told = self.told.recv(), if !self.untold.is_empty() => self.listener_done(told),
                () = task::sleep_until(deadline) => {}
            }
        }
    }

    fn command(&mut self, command: Option<Command>) {
        let now = self.client.now();
        match command {
            Some(Command::Seek { to, reply }) => drop(reply.send(self.core.seek(now, to))),
            // Where an answer cannot be sent nobody waits any more; it has been done.
            Some(Command::Rewind { to, reply }) => {
                self.core.rewind(now, to);
                let _ = reply.send(());
            }
            Some(Command::ReadAlso { from, reply }) => drop(reply.send(self.core.read_also(now, from))),
            Some(Command::ReadNoLonger { partitions, reply }) => {
                self.core.read_no_longer(&partitions);
                let _ = reply.send(());
            }
            Some(Command::Commit { offsets, reply }) => match self.core.commit(now, offsets) {
                Ok(ticket) => drop(self.commits.insert(ticket, reply)),
                Err(error) => drop(reply.send(Err(error))),
            },
            Some(Command::Committed { partitions, reply }) => match self.core.look_up(now, partitions) {
                Ok(ticket) => drop(self.look_ups.insert(ticket, reply)),
                Err(error) => drop(reply.send(Err(error))),
            },
            Some(Command::ListOffsets { offsets, reply }) => self.list_offsets(offsets, reply),
            Some(Command::Close { reply }) => self.close(Some(reply)),
            // The consumer was dropped.
            None => {
                self.is_alone = true;
                self.close(None);
            }
        }
    }

    fn list_offsets(&self, offsets: Offsets, mut reply: oneshot::Sender<Result<Listed>>) {
        let client = self.client.clone();
        let timeout = client.config().request_timeout.saturating_mul(2);
        let task = async move {
            let listed = tokio::select! {
                listed = client.list_offsets(offsets, timeout, "request_timeout") => listed,
                () = reply.closed() => return,
            };
            // Nobody waits any more where this fails.
            let _ = reply.send(listed);
        };
        // Where it fails the reply is dropped, and its receiver told.
        let _ = task::spawn("ListOffsets", task);
    }

    fn close(&mut self, reply: Option<oneshot::Sender<Result<()>>>) {
        if self.ending.ask(reply) {
            self.core.close(self.client.now());
        }
    }

    /// The listener has returned; or it has panicked, and everything that waits for it goes on.
    fn listener_done(&mut self, told: Option<u64>) {
        let now = self.client.now();
        while let Some(number) = self.untold.pop_front() {
            self.core.listener_done(now, number);
            if told == Some(number) {
                break;
            }
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
                Event::Looked { ticket, result } => {
                    self.look_ups.remove(&ticket).map(|reply| reply.send(result));
                }
                Event::Listener { number, change } => {
                    self.untold.push_back(number);
                    if self.changes.try_send((number, change)).is_err() {
                        tracing::warn!("the rebalance listener does not keep up, or has panicked");
                    }
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
        for partition in self.hand.partitions() {
            self.client.counters().no_longer_consumed(&partition);
        }
        if !self.ending.is_reached() && !self.ending.is_asked() {
            self.hand.block(closed());
        }
    }
}
