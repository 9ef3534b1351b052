//! Between the users of a transactional producer and its task: who asks for what, and who waits for it.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::sync::oneshot;

use crate::{
    client::Client,
    engine::{
        machine::{Now, deadline_after},
        producer::{Core, Event},
        txn::{OffsetsOf, Ticket},
    },
    error::{Error, ErrorKind, Result},
    sync::{lock, wake::Wake},
    types::TopicName,
};

/// No more sets of offsets are asked for in one turn of the task.
const LIMIT: usize = 1_000;

/// What users ask of the task. Nothing here waits, so that a transaction can be given up where it is dropped.
#[derive(Debug)]
pub(super) struct Counter {
    said: Mutex<Said>,
    wake: Arc<Wake>,
}

#[derive(Debug, Default)]
struct Said {
    ready: Option<oneshot::Sender<Result<()>>>,
    begin: Option<oneshot::Sender<Result<Opened>>>,
    offsets: Vec<(u64, OffsetsOf, oneshot::Sender<Result<()>>)>,
    end: Option<End>,
}

#[derive(Debug)]
struct End {
    number: u64,
    commit: bool,
    reply: Option<oneshot::Sender<Result<()>>>,
}

impl Counter {
    pub(super) fn new(wake: Arc<Wake>) -> Arc<Self> {
        Arc::new(Self { said: Mutex::default(), wake })
    }

    pub(super) fn ready(&self) -> oneshot::Receiver<Result<()>> {
        let (reply, answer) = oneshot::channel();
        self.say(|said| said.ready = Some(reply));
        answer
    }

    pub(super) fn begin(&self) -> oneshot::Receiver<Result<Opened>> {
        let (reply, answer) = oneshot::channel();
        self.say(|said| said.begin = Some(reply));
        answer
    }

    pub(super) fn send_offsets(
        &self,
        number: u64,
        offsets: OffsetsOf,
    ) -> Result<oneshot::Receiver<Result<()>>> {
        let (reply, answer) = oneshot::channel();
        let is_full = self.say(|said| {
            let is_full = said.offsets.len() >= LIMIT;
            if !is_full {
                said.offsets.push((number, offsets, reply));
            }
            is_full
        });
        match is_full {
            true => {
                let (needed, setting) = (LIMIT + 1, "offsets that wait at once");
                Err(ErrorKind::Full { needed, limit: LIMIT, setting }.into())
            }
            false => Ok(answer),
        }
    }

    fn say<R>(&self, say: impl FnOnce(&mut Said) -> R) -> R {
        let result = say(&mut lock(&self.said));
        self.wake.ring();
        result
    }
}

/// An open transaction, in the hands of one user. Dropped without having been ended, it is aborted.
#[derive(Debug)]
pub(super) struct Opened {
    counter: Arc<Counter>,
    number: u64,
    ended: bool,
}

impl Opened {
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn counter(&self) -> &Arc<Counter> {
        &self.counter
    }

    /// Asks for the end. From here on it comes about, whether or not anybody waits for it.
    pub(super) fn end(mut self, commit: bool) -> oneshot::Receiver<Result<()>> {
        let (reply, answer) = oneshot::channel();
        self.ended = true;
        let number = self.number;
        self.counter.say(|said| said.end = Some(End { number, commit, reply: Some(reply) }));
        answer
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        if !self.ended {
            let number = self.number;
            self.counter.say(|said| said.end = Some(End { number, commit: false, reply: None }));
        }
    }
}

/// The task's side of the counter.
#[derive(Debug)]
pub(in crate::producer) struct Desk {
    counter: Arc<Counter>,
    max_block: Duration,
    ready: Option<oneshot::Sender<Result<()>>>,
    begun: Option<oneshot::Sender<Result<Opened>>>,
    ended: Option<oneshot::Sender<Result<()>>>,
    offsets: HashMap<Ticket, oneshot::Sender<Result<()>>>,
    tickets: u64,
    /// Why a commit has failed whose user has not waited for it: the next begin tells.
    untold: Option<Error>,
}

impl Desk {
    pub(super) fn new(counter: Arc<Counter>, max_block: Duration) -> Self {
        Self {
            counter,
            max_block,
            ready: None,
            begun: None,
            ended: None,
            offsets: HashMap::new(),
            tickets: 0,
            untold: None,
        }
    }

    /// Takes what users have asked for.
    pub(in crate::producer) fn take_in(&mut self, now: Now, client: &Client, core: &mut Core) {
        let said = mem::take(&mut *lock(&self.counter.said));
        if let Some(reply) = said.ready {
            self.ready = Some(reply);
            core.make_ready(now, deadline_after(now, self.max_block));
        }
        for (number, mut offsets, reply) in said.offsets {
            let snapshot = client.snapshot();
            let id = |topic| Some((TopicName::clone(topic), snapshot.topic(topic)?.id?));
            offsets.topic_ids = offsets.offsets.keys().filter_map(|partition| id(&partition.topic)).collect();
            self.tickets += 1;
            let ticket = Ticket(self.tickets);
            self.offsets.insert(ticket, reply);
            core.send_offsets(number, ticket, offsets);
        }
        if let Some(End { number, commit, reply }) = said.end {
            self.ended = reply;
            core.end(now, number, commit);
        }
        if let Some(reply) = said.begin {
            match self.untold.take() {
                // Nobody waits for it any more: it is kept for who does.
                Some(error) => self.untold = reply.send(Err(error)).err().and_then(Result::err),
                None => {
                    self.begun = Some(reply);
                    core.begin(now, deadline_after(now, self.max_block));
                }
            }
        }
    }

    /// Whether users have asked for nothing that the core does not know of.
    pub(in crate::producer) fn is_empty(&self) -> bool {
        let said = lock(&self.counter.said);
        said.end.is_none() && said.offsets.is_empty()
    }

    /// Tells those who wait. Who has gone away is not told.
    pub(in crate::producer) fn tell(&mut self, event: Event) {
        match event {
            Event::Sender(_) => {}
            Event::Ready(result) => drop(self.ready.take().map(|reply| reply.send(result))),
            Event::Begun(result) => {
                let counter = Arc::clone(&self.counter);
                let opened = result.map(|number| Opened { counter, number, ended: false });
                // Where nobody takes it, dropping it aborts it.
                drop(self.begun.take().map(|reply| reply.send(opened)));
            }
            Event::Ended(result) => {
                let untold = match self.ended.take() {
                    Some(reply) => reply.send(result).err(),
                    None => Some(result),
                };
                if let Some(Err(error)) = untold {
                    tracing::error!(%error, "a commit failed that nobody waited for");
                    self.untold = Some(error);
                }
            }
            Event::OffsetsTaken { ticket, result } => {
                drop(self.offsets.remove(&ticket).map(|reply| reply.send(result)));
            }
        }
    }
}
