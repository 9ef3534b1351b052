//! The task of a producer: moves wake-ups, commands, answers and time to the sender, and its calls to the client.

use std::{sync::Arc, time::Instant};

use bytes::BytesMut;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::Instrument;

use super::{observer::Observer, packer::Packer, settings::Settings, transaction::desk::Desk};
use crate::{
    client::Client,
    engine::{
        backoff::Random,
        catalog::snapshot::Snapshot,
        machine::Outbox,
        produce::{
            accumulator::Accumulator,
            batch::{Completion, divide::Divided},
            outcome::{BatchDone, Fate},
            sender,
        },
        producer::{Core, Event},
    },
    error::{Error, ErrorKind, Result},
    metrics::Share,
    net::{mailbox::Mailbox, task},
    sync::done::Done,
};

/// What a handle asks of the task.
#[derive(Debug)]
pub(super) enum Command {
    /// Send what was enqueued, and name the batches to wait for.
    Flush { reply: oneshot::Sender<Vec<Arc<BatchDone>>> },
}

pub(super) struct Driver {
    client: Client,
    accumulator: Arc<Accumulator>,
    core: Core,
    mailbox: Arc<Mailbox>,
    commands: mpsc::Receiver<Command>,
    /// Where the users of its transactions ask, if it has any.
    desk: Option<Desk>,
    /// Whether the last handle is gone.
    deserted: bool,
    /// Ends when nothing is outstanding.
    stopping: bool,
    ended: Arc<Done<Result<()>>>,
    buffered: Share,
    observer: Option<Observer>,
    packer: Packer,
}

impl Driver {
    pub(super) fn spawn(
        client: &Client,
        settings: &Settings,
        accumulator: Arc<Accumulator>,
        commands: mpsc::Receiver<Command>,
        ended: Arc<Done<Result<()>>>,
        desk: Option<Desk>,
    ) -> Result<()> {
        let config = client.config();
        let core = Core::new(
            settings.sender(config),
            settings.transactions(config),
            Arc::clone(&accumulator),
            client.snapshot(),
            Random::from_entropy(),
        );
        let mailbox = Mailbox::new(Arc::clone(&accumulator.wake));
        let driver = Self {
            client: client.clone(),
            accumulator,
            core,
            mailbox,
            commands,
            desk,
            deserted: false,
            stopping: false,
            ended,
            buffered: client.counters().producer_buffer(),
            observer: settings.observer.clone(),
            packer: Packer::new(),
        };
        let span = tracing::info_span!("producer", client_id = client.config().client_id);
        task::spawn("ProducerBuilder::build", driver.run().instrument(span))
    }

    async fn run(mut self) {
        let mut catalog = self.client.watch();
        let mut out = Outbox::default();
        // The view may have changed since the sender was made.
        self.see(&mut catalog);
        while !self.client.is_closed() {
            if !self.stopping && self.accumulator.is_closed() {
                self.stop();
            }
            let now = self.client.now();
            if let Some(desk) = &mut self.desk {
                desk.take_in(now, &self.client, &mut self.core);
            }
            self.core.tick(now, &mut out);
            self.flush(&mut out);
            self.buffered.set(self.accumulator.budget.used());
            if cfg!(debug_assertions) {
                self.core.check();
            }
            if self.stopping && self.is_idle() {
                // Whoever wants a flush has it.
                while let Ok(command) = self.commands.try_recv() {
                    self.command(Some(command));
                }
                self.ended.set(Ok(()));
                break;
            }
            let deadline = self.core.deadline();
            debug_assert!(deadline.is_none_or(|due| due > now.instant), "a tick does what is due");
            tokio::select! {
                () = self.accumulator.wake.rung() => {
                    let now = self.client.now();
                    for (token, outcome) in self.mailbox.take() {
                        self.core.answer(now, token, outcome);
                    }
                }
                changed = catalog.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    self.see(&mut catalog);
                    self.accumulator.topics().for_each(|topic| self.client.want(&topic.topic));
                }
                command = self.commands.recv(), if !self.deserted => self.command(command),
                () = task::sleep_until(deadline) => {}
            }
        }
    }

    fn see(&mut self, catalog: &mut watch::Receiver<Arc<Snapshot>>) {
        let snapshot = Arc::clone(&catalog.borrow_and_update());
        self.core.catalog(self.client.now(), snapshot);
    }

    fn command(&mut self, command: Option<Command>) {
        match command {
            Some(Command::Flush { reply }) => {
                // Nobody waits any more where this fails; the flush itself has been done.
                let _ = reply.send(self.core.flush(self.client.now()));
            }
            // The last handle is gone: what was enqueued is still sent.
            None => {
                self.deserted = true;
                self.stop();
            }
        }
    }

    fn stop(&mut self) {
        self.accumulator.close();
        self.core.flush(self.client.now());
        self.stopping = true;
    }

    fn flush(&mut self, out: &mut Outbox<Event>) {
        for call in out.calls.drain(..) {
            let reply = self.mailbox.reply(call.token);
            self.client.submit(call, reply);
        }
        for event in out.events.drain(..) {
            let event = match (event, &mut self.desk) {
                (Event::Sender(event), _) => event,
                (event, Some(desk)) => {
                    desk.tell(event);
                    continue;
                }
                // Without transactions there is nothing to tell of them.
                (_, None) => continue,
            };
            match event {
                sender::Event::Completed(completion) => self.complete(completion),
                sender::Event::Divided(divided) => self.divide(divided),
                sender::Event::Pack(packing) => self.packer.pack(packing),
                sender::Event::Retried(batch) => self.client.counters().retried(&batch.partition),
                sender::Event::RefreshMetadata => self.client.refresh(),
                sender::Event::LeaderChanged(hint) => self.client.leader_changed(hint),
                // The core has seen to it.
                sender::Event::Join(..) => {}
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.core.is_idle() && self.desk.as_ref().is_none_or(Desk::is_empty)
    }

    fn complete(&self, completion: Completion) {
        // A batch whose time is over while it is in flight ends twice; what its records were told counts.
        let is_news = completion.done.fate.get().is_none();
        if let Some(observer) = self.observer.as_ref().filter(|_| is_news) {
            observer.tell(&completion.done, &completion);
        }
        let Completion { done, outcome, charged, facts, spare } = completion;
        if is_news {
            let (counters, records) = (self.client.counters(), u64::from(facts.records));
            let since_opened = |at: Instant| at.saturating_duration_since(facts.opened_at);
            if let Some(sent_at) = facts.sent_at {
                counters.queued(since_opened(sent_at));
            }
            if outcome.is_ok() {
                let time = since_opened(self.client.now().instant);
                counters.acknowledged(&done.partition, records, facts.bytes, time);
            } else {
                counters.undelivered(&done.partition, records);
            }
            match &outcome {
                // That a transaction fails is told once, and that its user aborts it, not at all.
                Err(error) if error.requires_abort() => {
                    tracing::debug!(partition = %done.partition, records, %error, "records were given up");
                }
                Err(error) => {
                    tracing::warn!(partition = %done.partition, records, %error, "records were not delivered");
                }
                Ok(_) => {}
            }
            done.fate.set(Fate::Ended(outcome));
        }
        self.give_back(charged, spare);
    }

    fn divide(&self, Divided { done, stretches, charged, spare }: Divided) {
        done.fate.set(Fate::Divided(stretches));
        self.give_back(charged, spare);
    }

    fn give_back(&self, charged: usize, spare: Option<BytesMut>) {
        if let Some(spare) = spare {
            self.accumulator.recycle(spare);
        }
        self.accumulator.budget.give(charged);
    }
}

/// However the task ends, also with its runtime, every record learns its fate.
impl Drop for Driver {
    fn drop(&mut self) {
        let closed = Error::from(ErrorKind::Closed { what: "producer" });
        let mut out = Outbox::default();
        self.core.abandon(self.client.now(), &closed, &mut out);
        self.flush(&mut out);
        self.ended.set(Err(closed));
    }
}
