//! What callers and the sender of one producer share.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::BytesMut;

use super::{
    queue::{LaneId, PartitionQueue},
    spares::Spares,
    sticky::Sticky,
};
use crate::{
    sync::{budget::Budget, lock, wake::Wake},
    types::{Partition, TopicName},
};

/// The queues of all partitions that a producer has written to, the budget over them, and the bell of the sender.
#[derive(Debug)]
pub(crate) struct Accumulator {
    pub(crate) budget: Budget,
    /// Rung when a queue has news for the sender.
    pub(crate) wake: Arc<Wake>,
    topics: RwLock<Topics>,
    /// Queues with news, each once: bounded by the number of partitions.
    news: Mutex<Vec<Arc<PartitionQueue>>>,
    lanes: AtomicUsize,
    spares: Arc<Spares>,
}

#[derive(Debug, Default)]
struct Topics {
    by_name: HashMap<TopicName, Arc<TopicQueues>>,
    /// Queues that are made from now on take no records.
    closed: bool,
}

/// The queues of one topic, one per partition.
#[derive(Debug)]
pub(crate) struct TopicQueues {
    pub(crate) topic: TopicName,
    /// In the order of the partitions, from 0.
    pub(crate) partitions: Vec<Arc<PartitionQueue>>,
    /// Where records without a key go.
    pub(crate) sticky: Sticky,
    /// The partitions that have a leader, in ascending order.
    available: RwLock<Arc<[Partition]>>,
}

impl Accumulator {
    pub(crate) fn new(budget: usize) -> Self {
        Self {
            budget: Budget::new(budget),
            wake: Arc::default(),
            topics: RwLock::default(),
            news: Mutex::default(),
            lanes: AtomicUsize::new(0),
            spares: Arc::default(),
        }
    }

    /// The queues of a topic that was [prepared](Self::prepare) before.
    #[inline]
    pub(crate) fn topic(&self, topic: &str) -> Option<Arc<TopicQueues>> {
        read(&self.topics).by_name.get(topic).map(Arc::clone)
    }

    /// Makes queues for the `count` partitions of a topic. Those that exist stay, since partitions are only ever
    /// added.
    pub(crate) fn prepare(&self, topic: &TopicName, count: u32) -> Arc<TopicQueues> {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let mut topics = write(&self.topics);
        let known = topics.by_name.get(topic);
        if let Some(known) = known
            && known.partitions.len() >= count
        {
            return Arc::clone(known);
        }
        let mut partitions = known.map(|known| known.partitions.clone()).unwrap_or_default();
        for index in (0..i32::MAX).take(count).skip(partitions.len()) {
            let id = LaneId(self.lanes.fetch_add(1, Ordering::Relaxed));
            let queue = PartitionQueue::new(id, topic.clone(), Partition(index), Arc::clone(&self.spares));
            if topics.closed {
                queue.close();
            }
            partitions.push(Arc::new(queue));
        }
        let available = partitions.iter().map(|queue| queue.partition).collect();
        let queues = Arc::new(TopicQueues {
            topic: topic.clone(),
            partitions,
            sticky: Sticky::default(),
            available: RwLock::new(available),
        });
        topics.by_name.insert(topic.clone(), Arc::clone(&queues));
        queues
    }

    /// Takes no more records, and rings the sender. What was taken stays to be sent.
    pub(crate) fn close(&self) {
        self.budget.close();
        let mut topics = write(&self.topics);
        topics.closed = true;
        topics.by_name.values().flat_map(|topic| &topic.partitions).for_each(|queue| queue.close());
        drop(topics);
        self.wake.ring();
    }

    pub(crate) fn is_closed(&self) -> bool {
        read(&self.topics).closed
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

    /// Takes the list of queues with news. What is appended from now on is news again.
    pub(crate) fn take_news(&self) -> Vec<Arc<PartitionQueue>> {
        let news = std::mem::take(&mut *lock(&self.news));
        news.iter().for_each(|queue| queue.unlist());
        news
    }

    /// All topics that were prepared.
    pub(crate) fn topics(&self) -> Vec<Arc<TopicQueues>> {
        read(&self.topics).by_name.values().map(Arc::clone).collect()
    }
}

impl TopicQueues {
    /// The partitions that have a leader, in ascending order; all of them until that is known.
    pub(crate) fn available(&self) -> Arc<[Partition]> {
        Arc::clone(&read(&self.available))
    }

    /// Tells which partitions have a leader now.
    pub(crate) fn set_available(&self, available: Arc<[Partition]>) {
        if **read(&self.available) != *available {
            *write(&self.available) = available;
            self.sticky.reset();
        }
    }
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
