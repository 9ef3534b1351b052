//! A cluster, records in it, and ways to read them.

use std::{collections::BTreeSet, ops::Range, time::Duration};

use milena::{Client, Config, Consumer, Error, Message, Record, TopicPartition, testing::Cluster};

/// Virtual time that nothing should take.
pub(crate) const LONG: Duration = Duration::from_secs(120);

pub(crate) async fn cluster(nodes: u16, partitions: usize) -> (Cluster, Client) {
    let cluster = Cluster::builder().nodes(nodes).topic("t", partitions).in_memory().start().await.unwrap();
    let client = connect(&cluster).await;
    (cluster, client)
}

pub(crate) async fn connect(cluster: &Cluster) -> Client {
    Client::connect_over(cluster.transport(), Config::new(cluster.bootstrap())).await.unwrap()
}

/// Writes these numbers as values, in turn to each of the partitions of "t".
pub(crate) async fn produce(client: &Client, numbers: Range<i32>, partitions: i32) {
    let producer = client.producer().build().unwrap();
    for number in numbers {
        let value = number.to_string();
        drop(producer.enqueue(Record::new("t", &value).partition(number % partitions)).await.unwrap());
    }
    producer.close().await.unwrap();
}

pub(crate) fn number(message: &Message) -> i32 {
    std::str::from_utf8(message.value().unwrap()).unwrap().parse().unwrap()
}

/// The next records; an error is none.
pub(crate) async fn take(consumer: &Consumer, count: usize) -> Vec<i32> {
    let mut numbers = Vec::new();
    while numbers.len() < count {
        let next = tokio::time::timeout(LONG, consumer.next()).await;
        let message =
            next.unwrap_or_else(|_| panic!("only {} of {count} records came: {numbers:?}", numbers.len()));
        numbers.push(number(&message.unwrap().unwrap()));
    }
    numbers
}

pub(crate) async fn take_sorted(consumer: &Consumer, count: usize) -> Vec<i32> {
    let mut numbers = take(consumer, count).await;
    numbers.sort_unstable();
    numbers
}

/// Different numbers, until there are as many; whatever goes wrong in between.
pub(crate) async fn take_different(consumer: &Consumer, count: usize) -> BTreeSet<i32> {
    let mut numbers = BTreeSet::new();
    while numbers.len() < count {
        let next = tokio::time::timeout(LONG, consumer.next()).await;
        let next = next.unwrap_or_else(|_| panic!("only {} of {count} records came", numbers.len()));
        if let Ok(message) = next.unwrap() {
            numbers.insert(number(&message));
        }
    }
    numbers
}

/// The next error; records are passed.
pub(crate) async fn error(consumer: &Consumer) -> Error {
    loop {
        let next = tokio::time::timeout(LONG, consumer.next()).await.expect("no error came");
        if let Err(error) = next.unwrap() {
            return error;
        }
    }
}

pub(crate) fn tp(index: i32) -> TopicPartition {
    TopicPartition::new("t", index)
}
