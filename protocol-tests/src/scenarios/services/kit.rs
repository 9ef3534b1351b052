//! What the scenarios of services share: a load, notes of what became of it, and what a cluster says of both.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use milena::{Client, GroupProtocol, Isolation, OffsetSpec, Position, Producer, Record, TopicPartition};
use milena_service::{Naming, Router, Running, Service};
use tokio::task::JoinHandle;

use crate::suite::eventually;
use crate::verify::{Keyed, misses};

pub(super) const PARTITIONS: u32 = 6;
pub(super) const KEYS: u64 = 30;
/// Nothing here takes so long, on the slowest machine, unless it hangs.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// A service of a group that begins with the oldest record.
pub(super) fn service(client: &Client, group: &str, router: Router) -> Service {
    let service = Service::new(client, group).router(router).commit_interval(Duration::from_millis(200));
    service.consumer(|consumer| consumer.start_at(Position::Earliest))
}

/// How many partitions an instance has.
pub(super) fn assigned(running: &Running) -> usize {
    running.metrics().lines().filter(|line| line.starts_with("milena_inflight_records{")).count()
}

pub(super) fn dead_letters(topic: &str, group: &str) -> String {
    Naming::default().dead_letters(topic, group).to_string()
}

pub(super) async fn within<T>(patience: Duration, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(patience, future)
        .await
        .unwrap_or_else(|_| panic!("it takes longer than {patience:?}"))
}

/// Each at least once, and in the order of its key.
pub(super) fn assert_handled(written: &Keyed, handled: &Keyed) {
    let wrong = misses(written, handled);
    assert!(wrong.is_empty(), "{} misses: {:#?}", wrong.len(), &wrong[..wrong.len().min(20)]);
}

/// Where the partitions of a topic end.
pub(super) async fn ends(client: &Client, topic: &str) -> BTreeMap<TopicPartition, i64> {
    let described = client.admin().describe_topics([topic]).await.unwrap();
    let count = described.into_values().next().unwrap().unwrap().partitions.len();
    let all = (0..).take(count).map(|number| (TopicPartition::new(topic, number), OffsetSpec::Latest));
    let ends = client.admin().list_offsets(all, Isolation::ReadUncommitted).await.unwrap();
    ends.into_iter().map(|(partition, end)| (partition, end.unwrap().unwrap().offset.0)).collect()
}

/// How many records a topic holds.
pub(super) async fn count(client: &Client, topic: &str) -> i64 {
    ends(client, topic).await.into_values().sum()
}

/// What a group has committed, whose members are gone.
pub(super) async fn committed(
    client: &Client,
    group: &str,
    topic: &str,
    protocol: GroupProtocol,
) -> BTreeMap<TopicPartition, i64> {
    let consumer = client.consumer(group).topics([topic]).protocol(protocol).build().unwrap();
    let partitions: Vec<_> = ends(client, topic).await.into_keys().collect();
    let told = eventually("the commits are told", async || consumer.committed(&partitions).await.ok()).await;
    consumer.close().await.unwrap();
    told.into_iter().map(|(partition, committed)| (partition, committed.offset.0)).collect()
}

/// Writes numbers, each under one of the keys.
pub(super) async fn write(client: &Client, topic: &str, numbers: Range<u64>) -> Keyed {
    let producer = client.producer().build().unwrap();
    let mut written = Keyed::new();
    for number in numbers {
        enqueue(&producer, topic, number, &mut written).await;
    }
    producer.close().await.unwrap();
    written
}

async fn enqueue(producer: &Producer, topic: &str, number: u64, written: &mut Keyed) {
    let (key, value) = ((number % KEYS).to_string(), number.to_string());
    drop(producer.enqueue(Record::new(topic, &value).key(&key)).await.unwrap());
    written.entry(key).or_default().push(value);
}

/// Writes numbers, evenly in time, until it is told to stop.
pub(super) struct Writer {
    is_over: Arc<AtomicBool>,
    writing: JoinHandle<Keyed>,
}

impl Writer {
    pub(super) fn start(client: &Client, topic: &str) -> Self {
        let is_over = Arc::<AtomicBool>::default();
        let (client, topic, told) = (client.clone(), topic.to_owned(), Arc::clone(&is_over));
        let writing = tokio::spawn(async move {
            let producer = client.producer().build().unwrap();
            let mut written = Keyed::new();
            let mut tick = tokio::time::interval(Duration::from_millis(20));
            let mut numbers = 0..;
            while !told.load(Ordering::Relaxed) {
                tick.tick().await;
                for number in numbers.by_ref().take(8) {
                    enqueue(&producer, &topic, number, &mut written).await;
                }
            }
            producer.close().await.unwrap();
            written
        });
        Self { is_over, writing }
    }

    /// What it has written.
    pub(super) async fn stop(self) -> Keyed {
        self.is_over.store(true, Ordering::Relaxed);
        self.writing.await.unwrap()
    }
}

/// What handlers have handled, in their order.
#[derive(Clone, Debug, Default)]
pub(super) struct Notes(pub(super) Arc<Mutex<Vec<Note>>>);

#[derive(Clone, Debug)]
pub(super) struct Note {
    pub(super) instance: usize,
    pub(super) key: String,
    pub(super) value: String,
}

impl Notes {
    pub(super) fn note(&self, instance: usize, key: String, value: String) {
        self.lock().push(Note { instance, key, value });
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Note>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn all(&self) -> Vec<Note> {
        self.lock().clone()
    }

    pub(super) fn has_worked(&self, instance: usize) -> bool {
        self.lock().iter().any(|note| note.instance == instance)
    }

    pub(super) fn keyed(&self) -> Keyed {
        let mut keyed = Keyed::new();
        for Note { key, value, .. } in self.all() {
            keyed.entry(key).or_default().push(value);
        }
        keyed
    }

    pub(super) async fn until_all_are_handled(&self, written: &Keyed) {
        let count = written.values().map(Vec::len).sum::<usize>();
        eventually("everything is handled", async || {
            let notes = self.lock();
            let handled: BTreeSet<&String> = notes.iter().map(|note| &note.value).collect();
            (handled.len() >= count).then_some(())
        })
        .await;
    }
}
