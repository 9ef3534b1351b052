//! The queues of all topics, found by name without a lock.
//!
//! Every record asks for its topic's queues, so the way there is one hash and one load for each link: topics are only
//! ever added, and partitions too, so that what was found once stays true for as long as the table lives.

use std::sync::{
    Arc, Mutex, OnceLock, PoisonError, RwLock,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use super::{
    gate::Gate,
    queue::{LaneId, PartitionQueue},
    spares::Spares,
    spread::Spread,
    sticky::Sticky,
};
use crate::{
    engine::backoff::Random,
    sync::lock,
    types::{Partition, TopicName},
};

/// The table. Names share a bucket's chain; each topic stands in it once.
#[derive(Debug)]
pub(super) struct Topics {
    /// As many as a byte can tell apart.
    buckets: Box<[OnceLock<Box<Link>>; 256]>,
    /// Held by whoever adds.
    adding: Mutex<()>,
    gate: Arc<Gate>,
    lanes: AtomicUsize,
}

#[derive(Debug)]
struct Link {
    queues: TopicQueues,
    next: OnceLock<Box<Self>>,
}

/// The queues of one topic, one per partition.
#[derive(Debug)]
pub(crate) struct TopicQueues {
    pub(crate) topic: TopicName,
    /// In the order of the partitions, from 0.
    pub(crate) partitions: Vec<Arc<PartitionQueue>>,
    /// Where records without a key go.
    pub(crate) sticky: Sticky,
    spread: RwLock<Arc<Spread>>,
    /// Whether a partition was chosen since the spread was computed.
    picked: AtomicBool,
    /// What took this one's place when the topic got more partitions.
    grown: OnceLock<Box<Self>>,
}

impl Topics {
    pub(super) fn new(gate: Arc<Gate>) -> Self {
        let buckets = Box::new([const { OnceLock::new() }; 256]);
        Self { buckets, adding: Mutex::new(()), gate, lanes: AtomicUsize::new(0) }
    }

    #[inline]
    pub(super) fn get(&self, topic: &str) -> Option<&TopicQueues> {
        let link = chain(self.bucket(topic)).find(|link| link.queues.topic.as_str() == topic)?;
        Some(link.queues.newest())
    }

    /// Makes queues for the `count` partitions of a topic. Those that exist stay.
    pub(super) fn prepare(&self, topic: &TopicName, count: u32, spares: &Arc<Spares>) -> &TopicQueues {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let _adding = lock(&self.adding);
        let known = self.get(topic.as_str());
        if let Some(known) = known
            && known.partitions.len() >= count
        {
            return known;
        }
        let mut partitions = known.map(|known| known.partitions.clone()).unwrap_or_default();
        for index in (0..i32::MAX).take(count).skip(partitions.len()) {
            let id = LaneId(self.lanes.fetch_add(1, Ordering::Relaxed));
            let (spares, gate) = (Arc::clone(spares), Arc::clone(&self.gate));
            let queue = PartitionQueue::new(id, topic.clone(), Partition(index), spares, gate);
            partitions.push(Arc::new(queue));
        }
        let queues = TopicQueues::new(topic.clone(), partitions);
        match known {
            Some(known) => known.grown.get_or_init(|| Box::new(queues)),
            None => {
                let bucket = self.bucket(topic.as_str());
                let end = chain(bucket).last().map_or(bucket, |link| &link.next);
                &end.get_or_init(|| Box::new(Link { queues, next: OnceLock::new() })).queues
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &TopicQueues> {
        self.buckets.iter().flat_map(chain).map(|link| link.queues.newest())
    }

    #[inline]
    fn bucket(&self, topic: &str) -> &OnceLock<Box<Link>> {
        &self.buckets[usize::from(hash(topic))]
    }
}

impl TopicQueues {
    fn new(topic: TopicName, partitions: Vec<Arc<PartitionQueue>>) -> Self {
        let available = partitions.iter().map(|queue| queue.partition).collect();
        let spread = RwLock::new(Arc::new(Spread::even(available)));
        let picked = AtomicBool::new(false);
        Self { topic, partitions, sticky: Sticky::default(), spread, picked, grown: OnceLock::new() }
    }

    #[inline]
    fn newest(&self) -> &Self {
        let mut newest = self;
        while let Some(grown) = newest.grown.get() {
            newest = grown;
        }
        newest
    }

    /// The partitions that have a leader, in ascending order; all of them until that is known.
    pub(crate) fn available(&self) -> Arc<[Partition]> {
        Arc::clone(&self.spread().available)
    }

    /// A partition for records without a key, if there is one.
    pub(crate) fn pick(&self, random: &mut Random) -> Option<Partition> {
        self.picked.store(true, Ordering::Relaxed);
        self.spread().pick(random)
    }

    /// Whether a partition was chosen since this was asked before.
    pub(super) fn take_picked(&self) -> bool {
        self.picked.load(Ordering::Relaxed) && self.picked.swap(false, Ordering::Relaxed)
    }

    /// Tells which partitions have a leader now, and how often each is to be chosen.
    pub(super) fn set_spread(&self, spread: Spread) {
        let before = self.spread();
        if *before != spread {
            let is_moved = before.available != spread.available;
            *self.spread.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(spread);
            if is_moved {
                self.sticky.reset();
            }
        }
    }

    fn spread(&self) -> Arc<Spread> {
        Arc::clone(&self.spread.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn chain(bucket: &OnceLock<Box<Link>>) -> impl Iterator<Item = &Link> {
    let first = bucket.get().map(|link| &**link);
    std::iter::successors(first, |link| link.next.get().map(|link| &**link))
}

/// Names are the user's own, and of topics that exist: nobody plants collisions, so it need not be a strong hash.
#[inline]
fn hash(topic: &str) -> u8 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let (words, rest) = topic.as_bytes().as_chunks::<8>();
    let rest = rest.iter().fold(rest.len() as u64, |word, byte| word << 8 | u64::from(*byte));
    let words = words.iter().map(|word| u64::from_le_bytes(*word)).chain([rest]);
    let hash = words.fold(0, |hash: u64, word| (hash.rotate_left(5) ^ word).wrapping_mul(FACTOR));
    // The upper bits depend on all of the others.
    (hash >> 56) as u8
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn topics(names: &[String]) -> Topics {
        let topics = Topics::new(Arc::new(Gate::open()));
        for name in names {
            topics.prepare(&name.as_str().into(), 2, &Arc::new(Spares::new(0)));
        }
        topics
    }

    #[test]
    fn every_topic_is_found_however_many_there_are() {
        let names: Vec<String> = (0..2_000).map(|index| format!("{}-orders", index * 7)).collect();
        let topics = topics(&names);
        for name in &names {
            assert_eq!(topics.get(name).unwrap().topic.as_str(), name);
        }
        assert!(topics.get("orders").is_none());
        assert_eq!(topics.iter().count(), names.len());
        let longest = topics.buckets.iter().map(|bucket| chain(bucket).count()).max();
        assert!(longest < Some(32), "names that are much alike share a bucket: {longest:?}");
    }

    #[test]
    fn a_topic_grows_and_keeps_its_queues() {
        let topics = topics(&["t".to_owned()]);
        let before = topics.get("t").unwrap();
        let spares = Arc::new(Spares::new(0));
        let after = topics.prepare(&"t".into(), 5, &spares);
        assert_eq!((before.partitions.len(), after.partitions.len(), topics.iter().count()), (2, 5, 1));
        assert!(before.partitions.iter().zip(&after.partitions).all(|(one, other)| Arc::ptr_eq(one, other)));
        let fewer = topics.prepare(&"t".into(), 1, &spares);
        assert_eq!(fewer.partitions.len(), 5, "partitions are only ever added");
        let mut lanes: Vec<_> = after.partitions.iter().map(|queue| queue.id).collect();
        lanes.dedup();
        assert_eq!(lanes.len(), 5);
    }
}
