//! A cluster, records in it, and notes of what handlers saw.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use milena::{Client, Config, Message, Position, Record, testing::Cluster};
use milena_service::{Router, Running, Service};

/// Virtual time that nothing should take.
pub(crate) const LONG: Duration = Duration::from_secs(120);

pub(crate) async fn cluster(partitions: usize) -> (Cluster, Client) {
    let cluster = Cluster::builder().topic("orders", partitions).in_memory().start().await.unwrap();
    let client = connect(&cluster).await;
    (cluster, client)
}

pub(crate) async fn connect(cluster: &Cluster) -> Client {
    Client::connect_over(cluster.transport(), Config::new(cluster.bootstrap())).await.unwrap()
}

/// Writes values to "orders", each with a key.
pub(crate) async fn produce(client: &Client, records: impl IntoIterator<Item = (&str, String)>) {
    let producer = client.producer().build().unwrap();
    for (key, value) in records {
        drop(producer.enqueue(Record::new("orders", &value).key(key)).await.unwrap());
    }
    producer.close().await.unwrap();
}

pub(crate) fn pairs<'a>(pairs: &[(&'a str, &str)]) -> Vec<(&'a str, String)> {
    pairs.iter().map(|(key, value)| (*key, (*value).to_owned())).collect()
}

/// Numbers, in turn for each of the keys.
pub(crate) fn numbers<'a>(keys: &'a [&'a str], count: usize) -> Vec<(&'a str, String)> {
    (0..count).map(|number| (keys[number % keys.len()], number.to_string())).collect()
}

pub(crate) fn service(client: &Client, router: Router) -> Service {
    Service::new(client, "billing").router(router).consumer(|consumer| consumer.start_at(Position::Earliest))
}

pub(crate) async fn settled(running: &Running) {
    let settled = tokio::time::timeout(LONG, running.settled()).await;
    assert!(settled.is_ok(), "not settled: {:?}", running.health());
}

/// Waits until something holds.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + LONG;
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "it never came to this: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// All records of a topic.
pub(crate) async fn records(client: &Client, topic: &str, count: usize) -> Vec<Message> {
    let consumer = client.reader().topics([topic]).start_at(Position::Earliest).build().unwrap();
    let mut records = Vec::new();
    while records.len() < count {
        let next = tokio::time::timeout(LONG, consumer.next()).await.expect("no record came");
        records.push(next.unwrap().unwrap());
    }
    records
}

/// How many records a topic holds.
pub(crate) async fn count(cluster: &Cluster, topic: &str, partitions: i32) -> i64 {
    let mut count = 0;
    for partition in 0..partitions {
        count += cluster.log_end_offset(topic, partition).await.unwrap().unwrap_or(0);
    }
    count
}

/// What handlers saw, in the order in which they did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen(Arc<Mutex<Vec<(String, String)>>>);

impl Seen {
    pub(crate) fn note(&self, key: &str, value: &str) {
        self.0.lock().unwrap().push((key.to_owned(), value.to_owned()));
    }

    pub(crate) fn all(&self) -> Vec<(String, String)> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// The values of a key.
    pub(crate) fn of(&self, key: &str) -> Vec<String> {
        self.all().into_iter().filter(|(other, _)| other == key).map(|(_, value)| value).collect()
    }
}
