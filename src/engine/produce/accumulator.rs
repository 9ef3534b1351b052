//! What callers and the sender of one producer share.

use std::sync::{Arc, Mutex};

use bytes::BytesMut;

use super::{
    gate::Gate,
    queue::PartitionQueue,
    spares::Spares,
    topics::{TopicQueues, Topics},
};
use crate::{
    sync::{budget::Budget, lock, wake::Wake},
    types::TopicName,
};

/// Of the budget, how much memory of finished batches is kept at most.
const SPARE_PART: usize = 4;

/// The queues of all partitions that a producer has written to, the budget over them, and the bell of the sender.
#[derive(Debug)]
pub(crate) struct Accumulator {
    pub(crate) budget: Budget,
    /// Rung when a queue has news for the sender.
    pub(crate) wake: Arc<Wake>,
    /// Which records the queues take.
    pub(crate) gate: Arc<Gate>,
    topics: Topics,
    /// Queues with news, each once: bounded by the number of partitions.
    news: Mutex<Vec<Arc<PartitionQueue>>>,
    spares: Arc<Spares>,
}

impl Accumulator {
    pub(crate) fn new(budget: usize, wake: Arc<Wake>) -> Self {
        let gate = Arc::new(Gate::open());
        Self {
            budget: Budget::new(budget),
            wake,
            topics: Topics::new(Arc::clone(&gate)),
            gate,
            news: Mutex::default(),
            spares: Arc::new(Spares::new(budget / SPARE_PART)),
        }
    }

    /// The queues of a topic that was [prepared](Self::prepare) before.
    #[inline]
    pub(crate) fn topic(&self, topic: &str) -> Option<&TopicQueues> {
        self.topics.get(topic)
    }

    /// Makes queues for the `count` partitions of a topic. Those that exist stay, since partitions are only ever
    /// added.
    pub(crate) fn prepare(&self, topic: &TopicName, count: u32) -> &TopicQueues {
        self.topics.prepare(topic, count, &self.spares)
    }

    /// Takes no more records, and rings the sender. What was taken stays to be sent.
    pub(crate) fn close(&self) {
        self.budget.close();
        self.gate.close();
        // What was taken waits for nothing more.
        self.topics.iter().flat_map(|topic| &topic.partitions).for_each(|queue| drop(queue.fill()));
        self.wake.ring();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.gate.is_closed()
    }

    /// Keeps the memory of a finished batch for the next ones.
    pub(crate) fn recycle(&self, buffer: BytesMut) {
        self.spares.put(buffer);
    }

    /// Tells the sender to look at a queue.
    pub(crate) fn announce(&self, queue: &Arc<PartitionQueue>) {
        if queue.list() {
            lock(&self.news).push(Arc::clone(queue));
        }
        self.wake.ring();
    }

    /// Takes the list of queues with news, for the empty `into`, whose memory is used for the next. What is appended
    /// from now on is news again.
    pub(crate) fn take_news(&self, into: &mut Vec<Arc<PartitionQueue>>) {
        std::mem::swap(&mut *lock(&self.news), into);
        into.iter().for_each(|queue| queue.unlist());
    }

    /// All topics that were prepared.
    pub(crate) fn topics(&self) -> impl Iterator<Item = &TopicQueues> {
        self.topics.iter()
    }
}
