//! What a service's task, its workers, and those who ask after it share.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, atomic::AtomicU64},
    time::SystemTime,
};

use milena::{
    Consumer, ConsumerHandle, Error, ErrorKind, Message, RebalanceListener, TopicName, TopicPartition,
};
use tokio::sync::{Notify, watch};

use crate::{
    delivery::Place, done::Then, endpoint::Endpoint, failure::Failure, lanes::Lanes, metrics::HandlerMeters,
    outgoing::Outgoing, publisher::Publisher, route::Plan,
};

/// What a service's task, its workers, and those who ask after it share.
pub(super) struct Shared {
    pub(super) group: String,
    lanes: Mutex<Lanes<Record>>,
    /// Rung when the service's task has something to look at.
    pub(super) bell: Notify,
    /// How often the service's task has put everything into the lanes that it had been given.
    pub(super) turns: AtomicU64,
    pub(super) routes: HashMap<TopicName, Arc<Target>>,
    pub(super) publisher: Publisher,
    pub(super) stopping: watch::Sender<bool>,
    /// Set before anything runs: the consumer's listener needs all the rest first.
    pub(super) consumer: OnceLock<Arc<Consumer>>,
    state: Mutex<Standing>,
}

/// How the service's task is getting on.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// It runs; set until it has ended.
    pub(super) is_alive: bool,
    /// It is or was a member of its group.
    pub(super) has_joined: bool,
    /// It is about to stop, and takes nothing new upon itself.
    pub(super) is_leaving: bool,
    /// Partitions that cannot be read on, and why.
    pub(super) unreadable: BTreeMap<TopicPartition, String>,
    /// Those of them that were read up to a record that does not parse.
    broken: BTreeSet<TopicPartition>,
    /// Tasks that have failed and wait to be started again, and why.
    pub(super) failing: BTreeMap<String, String>,
    /// The last trouble of the consumer as a whole, until it reads again.
    pub(super) trouble: Option<String>,
}

impl Standing {
    /// The consumer could not do something: a partition stands still, or it tries again by itself.
    pub(super) fn failed(&mut self, error: &Error) {
        use ErrorKind::{CorruptBatch, LogTruncated, NoPosition, OffsetOutOfRange};
        match error.kind() {
            CorruptBatch { partition, .. }
            | LogTruncated { partition, .. }
            | NoPosition { partition, .. }
            | OffsetOutOfRange { partition, .. } => {
                self.unreadable.insert(partition.clone(), error.to_string());
            }
            _ => self.trouble = Some(error.to_string()),
        }
    }

    /// A record of a partition does not parse: nothing behind it may be handled.
    pub(super) fn broke(&mut self, partition: &TopicPartition, error: &Error) {
        self.unreadable.insert(partition.clone(), error.to_string());
        self.broken.insert(partition.clone());
    }

    /// Records of a partition have come; whether they may be handled.
    pub(super) fn recovered(&mut self, partition: &TopicPartition) -> bool {
        self.trouble = None;
        let is_whole = !self.broken.contains(partition);
        if is_whole {
            self.unreadable.remove(partition);
        }
        is_whole
    }

    fn gave_up(&mut self, partitions: &[TopicPartition]) {
        self.unreadable.retain(|partition, _| !partitions.contains(partition));
        self.broken.retain(|partition| !partitions.contains(partition));
    }
}

/// Whom the records of a topic go to.
pub(super) struct Target {
    pub(super) endpoint: Endpoint,
    pub(super) plan: Plan,
    pub(super) place: Arc<Place>,
    pub(super) dead_letters: Option<TopicName>,
    pub(super) meters: HandlerMeters,
}

/// A record on its way through the lanes.
pub(super) struct Record {
    pub(super) message: Message,
    pub(super) target: Arc<Target>,
    /// How often it was tried.
    pub(super) attempts: u32,
    pub(super) first_failed_at: Option<SystemTime>,
    /// What is left to do for it, or for the batch of which it is the first, once it was handled.
    pub(super) pending: Option<Pending>,
    /// How often what is left to do could not be done.
    pub(super) stuck: u32,
    /// Why its lane has halted, or waits.
    pub(super) trouble: Option<String>,
}

/// What is left to do for a record that was handled.
pub(super) enum Pending {
    /// Publish this, and do these steps.
    Finish(Vec<Outgoing>, Then),
    /// Send it to the dead-letter topic.
    Bury(Failure),
}

impl Shared {
    pub(super) fn new(
        group: String,
        lanes: Lanes<Record>,
        routes: HashMap<TopicName, Arc<Target>>,
        publisher: Publisher,
        stopping: watch::Sender<bool>,
    ) -> Self {
        Self {
            group,
            lanes: Mutex::new(lanes),
            bell: Notify::new(),
            turns: AtomicU64::new(0),
            routes,
            publisher,
            stopping,
            consumer: OnceLock::new(),
            state: Mutex::default(),
        }
    }

    pub(super) fn standing(&self) -> MutexGuard<'_, Standing> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn lanes(&self) -> MutexGuard<'_, Lanes<Record>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }
}

/// Keeps the lanes to what the group has assigned.
pub(super) struct Listener(pub(super) Arc<Shared>);

type Told<'a> = std::pin::Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

impl RebalanceListener for Listener {
    fn assigned<'a>(&'a self, _: &'a ConsumerHandle, partitions: &'a [TopicPartition]) -> Told<'a> {
        let mut lanes = self.0.lanes();
        for partition in partitions {
            let batching = self.0.routes.get(&partition.topic).and_then(|target| target.plan.batching);
            lanes.assign(partition, batching);
        }
        drop(lanes);
        self.0.standing().has_joined = true;
        self.0.bell.notify_one();
        Box::pin(std::future::ready(()))
    }

    fn revoking<'a>(&'a self, _: &'a ConsumerHandle, partitions: &'a [TopicPartition]) -> Told<'a> {
        // What runs goes on; the consumer waits for it. What has not begun is the next owner's.
        self.lost(partitions);
        Box::pin(std::future::ready(()))
    }

    fn lost(&self, partitions: &[TopicPartition]) {
        self.0.lanes().revoke(partitions);
        self.0.standing().gave_up(partitions);
        self.0.bell.notify_one();
    }
}
