//! What a scenario is given: a cluster, and the things that nearly all of them do with one.
#![allow(clippy::expect_used, clippy::panic, reason = "it is a part of tests, which fail by a panic")]

use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use milena::{Client, Config, Consumer, Message, NewTopic, Record, TopicDescription, TopicPartition};

use super::record::{Recorded, Recording};
use super::wire::{Seen, Watched};
use crate::target::{Running, Target};

/// How long something may take that happens sooner or later: a broker that learns of a topic, records that arrive.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// The cluster that a scenario plays on, with names that no other scenario uses.
#[derive(Clone, Debug)]
pub struct Stage {
    target: Target,
    cluster: Arc<Running>,
    prefix: Arc<str>,
}

impl Stage {
    pub(crate) fn new(target: Target, cluster: Arc<Running>, scenario: &str) -> Self {
        static STAGES: AtomicUsize = AtomicUsize::new(0);
        let number = STAGES.fetch_add(1, Ordering::Relaxed);
        // A cluster that the user gave may have seen this process's id before.
        let started = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_millis() % 1_000_000_000;
        let prefix = format!("{scenario}-{started}-{}-{number}", process::id());
        Self { target, cluster, prefix: prefix.into() }
    }

    /// What it runs on, for the few claims that differ.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The cluster: its addresses, and what can be done to its nodes.
    #[must_use]
    pub fn cluster(&self) -> &Running {
        &self.cluster
    }

    /// A name for a topic or a group that is this scenario's alone.
    #[must_use]
    pub fn name(&self, what: &str) -> String {
        format!("{}-{what}", self.prefix)
    }

    /// The settings of a client of this cluster.
    #[must_use]
    pub fn config(&self) -> Config {
        Config::new(self.cluster.bootstrap()).client_id(self.prefix.as_ref())
    }

    /// A client.
    pub async fn client(&self) -> Client {
        Client::connect(self.config()).await.expect("a broker answers")
    }

    /// A client with somebody on its way to the brokers, who sees every piece of what comes in, with the key of the
    /// request that was written last on its connection.
    pub async fn watched(&self, eye: impl Fn(i16, &mut [u8]) -> Seen + Send + Sync + 'static) -> Client {
        let client = Client::connect_over(Watched(Arc::new(eye)), self.config()).await;
        client.expect("a broker answers")
    }

    /// A client with these settings whose conversations are recorded.
    pub async fn recorded(&self, config: Config) -> (Client, Recording) {
        let recording = Recording::default();
        let client = Client::connect_over(Recorded(recording.clone()), config).await;
        (client.expect("a broker answers"), recording)
    }

    /// Creates a topic with the brokers' own replication, and waits until its leaders are known.
    pub async fn topic(&self, client: &Client, partitions: u32) -> String {
        self.topic_with(client, partitions, &[]).await
    }

    /// As [`topic`](Self::topic), with settings.
    pub async fn topic_with(&self, client: &Client, partitions: u32, configs: &[(&str, &str)]) -> String {
        static TOPICS: AtomicUsize = AtomicUsize::new(0);
        let name = self.name(&TOPICS.fetch_add(1, Ordering::Relaxed).to_string());
        let topic = NewTopic::new(name.as_str()).partitions(partitions);
        let topic = configs.iter().fold(topic, |topic, (key, value)| topic.config(*key, *value));
        self.create(client, topic).await;
        self.described(client, &name).await;
        name
    }

    /// Creates a topic.
    pub async fn create(&self, client: &Client, topic: NewTopic) {
        for (name, created) in client.admin().create_topics([topic]).await.expect("the controller answers") {
            created.unwrap_or_else(|error| panic!("{name} is created: {error}"));
        }
    }

    /// The description of a topic, as soon as the broker that is asked knows all its leaders.
    pub async fn described(&self, client: &Client, topic: &str) -> TopicDescription {
        eventually("all partitions have leaders", async || {
            let mut described = client.admin().describe_topics([topic]).await.ok()?;
            let description = described.remove(topic)?.ok()?;
            description.partitions.iter().all(|p| p.leader.is_some()).then_some(description)
        })
        .await
    }

    /// The node that leads a partition.
    pub async fn leader(&self, client: &Client, partition: &TopicPartition) -> i32 {
        let description = self.described(client, &partition.topic).await;
        let found = description.partitions.iter().find(|p| p.partition == partition.partition);
        found.and_then(|p| p.leader).expect("the partition has a leader").0
    }

    /// Makes the next replica the leader of a partition, and waits until a broker says so.
    pub async fn move_leader(&self, client: &Client, partition: &TopicPartition) {
        let description = self.described(client, &partition.topic).await;
        let found = description.partitions.iter().find(|p| p.partition == partition.partition);
        let described = found.expect("the partition is described");
        let mut replicas: Vec<i32> = described.replicas.iter().map(|node| node.0).collect();
        let leader = described.leader.expect("it has a leader").0;
        let place = replicas.iter().position(|node| *node == leader).expect("it is a replica");
        replicas.rotate_left(place + 1);
        let to = replicas[0];
        eventually("the other replica leads", async || {
            // A replica that fell behind by the last move is not eligible at once.
            let _ = self.cluster.move_leader(&partition.topic, partition.partition.0, replicas.clone()).await;
            (self.leader(client, partition).await == to).then_some(())
        })
        .await;
    }

    /// Where the node that leads a partition listens.
    pub async fn leader_address(&self, client: &Client, partition: &TopicPartition) -> String {
        let leader = self.leader(client, partition).await;
        self.address(client, leader).await
    }

    /// Where a node listens.
    pub async fn address(&self, client: &Client, node: i32) -> String {
        let cluster = client.admin().describe_cluster().await.expect("the cluster is described");
        let broker = cluster.brokers.iter().find(|broker| broker.id.0 == node).expect("the node is up");
        format!("{}:{}", broker.host, broker.port)
    }

    /// Deletes what partition 0 holds below an offset.
    pub async fn delete_records(&self, client: &Client, topic: &str, before: i64) {
        let address = self.leader_address(client, &TopicPartition::new(topic, 0)).await;
        self.cluster.delete_records(address, topic, before).await.expect("the records are deleted");
    }

    /// Writes values to one partition, in this order, with a producer of their own.
    pub async fn write(&self, client: &Client, partition: &TopicPartition, values: &[String]) {
        let producer = client.producer().build().expect("a producer is built");
        let mut deliveries = Vec::with_capacity(values.len());
        for value in values {
            let record = Record::new(&partition.topic, value).partition(partition.partition);
            deliveries.push(producer.enqueue(record).await.expect("there is room"));
        }
        for delivery in deliveries {
            delivery.await.expect("it is written");
        }
        producer.close().await.expect("the producer closes");
    }
}

/// The next records; an error fails the scenario.
pub async fn take(consumer: &Consumer, count: usize) -> Vec<Message> {
    let mut messages = Vec::with_capacity(count);
    while messages.len() < count {
        let next = tokio::time::timeout(PATIENCE, consumer.next()).await;
        let next = next.unwrap_or_else(|_| panic!("only {} of {count} records came", messages.len()));
        let message = next.expect("the consumer is open").unwrap_or_else(|error| panic!("no error: {error}"));
        messages.push(message);
    }
    messages
}

/// The value of a record as text.
pub fn text(message: &Message) -> String {
    String::from_utf8_lossy(message.value().unwrap_or_default()).into_owned()
}

/// What comes sooner or later. It is looked for until it is there; the scenario fails if it does not come.
pub async fn eventually<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    let found = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(POLL).await;
        }
    });
    found.await.unwrap_or_else(|_| panic!("it does not come to this in {PATIENCE:?}: {what}"))
}
