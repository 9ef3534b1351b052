//! All links of a client, by broker and purpose. They are opened when they are needed and forgotten when they are
//! not.

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{
    runtime::Handle,
    sync::mpsc::{self, error::TrySendError},
};

use super::{
    clock::Clock,
    link::{Command, Driver},
    mailbox::ReplyTo,
    transport::Transport,
};
use crate::{
    config::Config,
    engine::{
        backoff::Random,
        conn::{Link, LinkSettings, Place},
        machine::{Call, Failure, Owner, Purpose},
    },
    error::ErrorKind,
    metrics::Metrics,
    sync::lock,
    types::NodeId,
};

/// The links of one client.
#[derive(Debug)]
pub(crate) struct Pool {
    config: Config,
    transport: Arc<dyn Transport>,
    runtime: Handle,
    clock: Clock,
    metrics: Arc<Metrics>,
    /// `None` once the pool is closed.
    links: Mutex<Option<HashMap<(NodeId, Purpose), LinkHandle>>>,
}

#[derive(Debug)]
struct LinkHandle {
    commands: mpsc::Sender<Command>,
    /// Whether there is a connection that answers in time.
    answers: Arc<AtomicBool>,
    place: Place,
}

/// Calls on their way to a link's task. More would mean that the task does not run.
const COMMANDS: usize = 1024;

impl Pool {
    pub(crate) fn new(
        config: Config,
        transport: Arc<dyn Transport>,
        runtime: Handle,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { config, transport, runtime, clock, metrics, links: Mutex::new(Some(HashMap::new())) }
    }

    /// Hands a call to the link, which is opened to `place` if there is none. Never blocks.
    pub(crate) fn send(&self, node: NodeId, place: &Place, call: Call, reply: ReplyTo) {
        // A reply that nobody sends says that the client is closed. It is dropped outside the lock.
        let refused = {
            let mut links = lock(&self.links);
            let Some(links) = links.as_mut() else { return };
            let key = (node, call.purpose);
            let handle = links.entry(key).or_insert_with(|| self.open(key, place.clone()));
            match handle.commands.try_send(Command::Call(Box::new(call), reply)) {
                // The link was forgotten just now.
                Err(TrySendError::Closed(command)) => {
                    *handle = self.open(key, place.clone());
                    handle.commands.try_send(command)
                }
                result => result,
            }
        };
        if let Err(TrySendError::Full(Command::Call(_, reply))) = refused {
            let detail = format!("{COMMANDS} calls wait to be taken by this connection's task");
            let kind = io::ErrorKind::WouldBlock;
            let error = ErrorKind::Io { peer: place.address.to_string(), kind, detail }.into();
            reply.send(Err(Failure { maybe_sent: false, error }));
        }
    }

    /// Tells the links of brokers that have moved. `place` says where a broker is, if it is known.
    pub(crate) fn move_links(&self, place: impl Fn(NodeId) -> Option<Place>) {
        let mut links = lock(&self.links);
        for ((node, _), handle) in links.iter_mut().flatten() {
            if let Some(place) = place(*node).filter(|place| *place != handle.place)
                && handle.commands.try_send(Command::Move(place.clone())).is_ok()
            {
                handle.place = place;
            }
        }
    }

    /// A broker to which there is a connection for this purpose, and which answers on it.
    pub(crate) fn answering(&self, purpose: Purpose) -> Option<NodeId> {
        let links = lock(&self.links);
        let mut fitting = links.iter().flatten().filter(|((_, other), _)| *other == purpose);
        fitting.find(|(_, handle)| handle.answers.load(Ordering::Relaxed)).map(|((node, _), _)| *node)
    }

    /// Closes the links that carry this owner's calls alone.
    pub(crate) fn close_owned(&self, owner: Owner) {
        let mut closed = Vec::new();
        if let Some(links) = lock(&self.links).as_mut() {
            closed.extend(links.extract_if(|(_, purpose), _| purpose.owner() == Some(owner)));
        }
        drop(closed);
    }

    /// Closes every link. What is in flight fails.
    pub(crate) fn close(&self) {
        // The links end when they see that their commands have no sender any more.
        let links = lock(&self.links).take();
        drop(links);
    }

    fn open(&self, (node, purpose): (NodeId, Purpose), place: Place) -> LinkHandle {
        let (sender, commands) = mpsc::channel(COMMANDS);
        let settings = LinkSettings::new(&self.config, purpose);
        let answers = Arc::new(AtomicBool::new(false));
        let random = Random::from_entropy();
        let link = Link::new(settings, node, purpose, place.clone(), self.clock.now(), random);
        let driver = Driver {
            link,
            commands,
            transport: Arc::clone(&self.transport),
            clock: self.clock,
            answers: Arc::clone(&answers),
            meter: self.metrics.link(node),
        };
        // The task ends when the pool drops the sender. Where the runtime is gone, it is dropped at once.
        drop(self.runtime.spawn(driver.run()));
        LinkHandle { commands: sender, answers, place }
    }
}
