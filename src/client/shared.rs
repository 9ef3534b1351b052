//! What the handles and the driver share: where a call goes, and what is known.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::watch,
    time::{Instant, timeout_at},
};

use super::inbox::Inbox;
use crate::{
    config::{Config, split_address},
    engine::{
        catalog::{
            bootstrap_index, bootstrap_node,
            snapshot::{Broker, Snapshot, Topic},
        },
        conn::{Address, Expected, Place},
        machine::{Call, Owner, Purpose, Target, deadline_after},
    },
    error::{Attempt, Code, Error, ErrorKind, Result},
    metrics::Metrics,
    net::{clock::Clock, mailbox::ReplyTo, pool::Pool, transport::Transport},
    sync::{lock, wake::Wake},
    types::{NodeId, TopicName},
    wire::str::Str,
};

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) clock: Clock,
    pub(super) metrics: Arc<Metrics>,
    pub(super) pool: Pool,
    pub(super) inbox: Inbox,
    snapshot: watch::Sender<Arc<Snapshot>>,
    /// Why no broker has answered yet.
    trouble: Mutex<Trouble>,
    /// Calls for any broker take turns.
    turn: AtomicUsize,
    /// How many owners of connections there were.
    owners: AtomicU32,
    closed: AtomicBool,
}

/// Why no broker has answered yet.
#[derive(Debug, Default)]
struct Trouble {
    attempts: Vec<Attempt>,
    /// Set when asking again cannot help.
    hopeless: Option<Error>,
}

impl Shared {
    pub(super) fn new(
        config: Config,
        transport: Arc<dyn Transport>,
        runtime: Handle,
        wake: Arc<Wake>,
    ) -> Arc<Self> {
        let clock = Clock::start();
        let metrics = Arc::new(Metrics::default());
        let pool = Pool::new(config.clone(), transport, runtime, clock, Arc::clone(&metrics));
        Arc::new(Self {
            config,
            clock,
            metrics,
            pool,
            inbox: Inbox::new(wake),
            snapshot: watch::Sender::new(Arc::default()),
            trouble: Mutex::default(),
            turn: AtomicUsize::new(0),
            owners: AtomicU32::new(0),
            closed: AtomicBool::new(false),
        })
    }

    pub(super) fn close(&self) {
        if !self.closed.swap(true, Ordering::SeqCst) {
            self.pool.close();
            self.inbox.nudge();
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot.borrow())
    }

    pub(super) fn watch(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshot.subscribe()
    }

    /// Tells a new view.
    pub(super) fn publish(&self, snapshot: &Arc<Snapshot>) {
        self.pool.move_links(|node| self.place(snapshot, node));
        self.snapshot.send_replace(Arc::clone(snapshot));
    }

    pub(super) fn note_attempts(&self, attempts: Vec<Attempt>) {
        lock(&self.trouble).attempts = attempts;
    }

    /// Notes that waiting for a first answer is of no use.
    pub(super) fn give_up_hope(&self, error: Error) {
        lock(&self.trouble).hopeless = Some(error);
        self.wake_watchers();
    }

    /// Wakes whoever waits for a view, because none may come any more.
    pub(super) fn wake_watchers(&self) {
        self.snapshot.send_modify(|_| {});
    }

    /// Waits for the first view.
    pub(super) async fn first_answer(&self) -> Result<()> {
        let start = self.clock.now().instant;
        let found = |snapshot: &Snapshot| match snapshot.generation {
            0 => lock(&self.trouble).hopeless.clone().map(Err),
            _ => Some(Ok(())),
        };
        let hopeless = match self.wait(self.config.bootstrap_timeout, found).await? {
            Some(Ok(())) => return Ok(()),
            Some(Err(error)) => Some(error),
            None => None,
        };
        let mut attempts = lock(&self.trouble).attempts.clone();
        for address in &self.config.bootstrap {
            if !attempts.iter().any(|attempt| attempt.address == *address) {
                let reason = "it has not answered yet".to_owned();
                attempts.push(Attempt { address: address.clone(), reason });
            }
        }
        match hopeless {
            Some(error) if attempts.len() == 1 => Err(error),
            _ => {
                let waited = self.clock.now().instant.saturating_duration_since(start);
                Err(ErrorKind::Unreachable { attempts, waited, setting: "bootstrap_timeout" }.into())
            }
        }
    }

    /// Waits for a topic.
    pub(super) async fn topic(
        &self,
        name: &TopicName,
        timeout: Duration,
        setting: &'static str,
    ) -> Result<Arc<Topic>> {
        self.inbox.want(name);
        let before = self.snapshot();
        if let Some(topic) = before.topic(name) {
            return Ok(Arc::clone(topic));
        }
        if before.topic_error(name).is_some() {
            self.inbox.refresh();
        }
        let settled = |snapshot: &Snapshot| {
            if let Some(topic) = snapshot.topic(name) {
                return Some(Ok(Arc::clone(topic)));
            }
            // What was known before may be over.
            let code = snapshot.topic_error(name).filter(|_| snapshot.generation > before.generation)?;
            (!code.is_retriable()).then(|| Err(topic_error(name, code)))
        };
        match self.wait(timeout, settled).await? {
            Some(topic) => topic,
            None => Err(ErrorKind::UnknownTopic { topic: name.clone(), waited: timeout, setting }.into()),
        }
    }

    /// Waits until a view holds what `find` looks for; `None` after `timeout`. Cancel-safe.
    async fn wait<T>(
        &self,
        timeout: Duration,
        mut find: impl FnMut(&Snapshot) -> Option<T>,
    ) -> Result<Option<T>> {
        let mut watch = self.watch();
        let deadline = Instant::from_std(deadline_after(self.clock.now(), timeout));
        loop {
            if self.is_closed() {
                return Err(ErrorKind::Closed { what: "client" }.into());
            }
            let snapshot = Arc::clone(&watch.borrow_and_update());
            if let Some(found) = find(&snapshot) {
                return Ok(Some(found));
            }
            #[expect(clippy::disallowed_methods, reason = "a caller without a machine waits in its own task")]
            let changed = timeout_at(deadline, watch.changed()).await;
            if changed.is_err() {
                return Ok(None);
            }
        }
    }

    /// Sends a call to the link of the broker that it is for.
    pub(super) fn submit(&self, call: Call, reply: ReplyTo) {
        // A reply that nobody sends says that the client is closed.
        if self.is_closed() {
            return;
        }
        match self.find(&call) {
            Some((node, place)) => self.pool.send(node, &place, call, reply),
            None => self.inbox.shelter(call, reply),
        }
    }

    /// The broker that a call is for, and where it is, if that is known.
    pub(super) fn find(&self, call: &Call) -> Option<(NodeId, Place)> {
        let snapshot = self.snapshot();
        let placed = |node| Some((node, self.place(&snapshot, node)?));
        match call.target {
            Target::Broker(node) => placed(node),
            Target::Controller => {
                snapshot.controller.and_then(placed).or_else(|| self.any(&snapshot, call.purpose))
            }
            Target::Any => self.any(&snapshot, call.purpose),
        }
    }

    pub(super) fn new_owner(&self) -> Owner {
        Owner(self.owners.fetch_add(1, Ordering::Relaxed).wrapping_add(1))
    }

    pub(super) fn release(&self, owner: Owner) {
        self.pool.close_owned(owner);
    }

    /// Where a broker is, if that is known.
    pub(super) fn place(&self, snapshot: &Snapshot, node: NodeId) -> Option<Place> {
        match bootstrap_index(node) {
            Some(index) => {
                let (host, port) = split_address(self.config.bootstrap.get(index)?).ok()?;
                Some(Place { address: Address { host: Str::from(host), port }, expected: None })
            }
            None => {
                let Broker { host, port, .. } = snapshot.broker(node)?;
                let cluster_id = snapshot.cluster_id.clone();
                let expected = cluster_id.map(|cluster_id| Expected { cluster_id, node });
                Some(Place { address: Address { host: host.clone(), port: *port }, expected })
            }
        }
    }

    /// A broker to which there is a connection, or a known one, or an address of the bootstrap list.
    fn any(&self, snapshot: &Snapshot, purpose: Purpose) -> Option<(NodeId, Place)> {
        let placed = |node| Some((node, self.place(snapshot, node)?));
        let turn = || self.turn.fetch_add(1, Ordering::Relaxed);
        // A broker that has left the cluster may still be connected.
        self.pool.answering(purpose).and_then(placed).or_else(|| {
            let known = snapshot.brokers();
            let node = match known.len() {
                0 => bootstrap_node(turn().checked_rem(self.config.bootstrap.len())?),
                count => known.map(|broker| broker.id).nth(turn() % count),
            };
            placed(node?)
        })
    }
}

/// Why a topic cannot be used, where asking again does not change it.
pub(super) fn topic_error(name: &TopicName, code: Code) -> Error {
    match code {
        Code::INVALID_TOPIC_EXCEPTION => {
            ErrorKind::InvalidTopic { topic: name.clone(), reason: "a broker refuses the name".to_owned() }
                .into()
        }
        _ => Error::broker(code, "Metadata", name.as_str()),
    }
}
