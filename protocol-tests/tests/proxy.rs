//! The client through the fault proxy, against the embedded cluster and against real Kafka.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests"
)]

use std::{
    collections::VecDeque,
    future::Future,
    time::{Duration, Instant},
};

use milena::{Client, Config, NewTopic, Position, Record, testing::Cluster};
use protocol_tests::broker::{RealCluster, Version, or_skip};
use protocol_tests::proxy::{Condition, Proxy, Reaction, Rule};

const PRODUCE: i16 = 0;
/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(120);

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new()
        .unwrap()
        .block_on(async { tokio::time::timeout(PATIENCE, future).await.expect("it goes on") })
}

/// An embedded cluster of three nodes, whom clients reach through the proxy.
async fn embedded() -> (Cluster, Proxy) {
    let proxy = Proxy::bind(3).await.unwrap();
    let cluster = Cluster::builder().nodes(3).start().await.unwrap();
    for (node, address) in (1..).zip(cluster.bootstrap()) {
        cluster.advertise(node, "127.0.0.1", proxy.port(node)).await.unwrap();
        proxy.forward(node, address);
    }
    (cluster, proxy)
}

/// One node, so that only clients go through the proxy and no replication.
async fn real() -> Option<(RealCluster, Proxy)> {
    let proxy = Proxy::bind(1).await.unwrap();
    let advertised = format!("PLAINTEXT://127.0.0.1:{}", proxy.port(1));
    let builder =
        RealCluster::builder(Version::V4_4_0).with_node_property(1, "advertised.listeners", advertised);
    let cluster = tokio::task::spawn_blocking(move || or_skip(builder.start())).await.unwrap()?;
    proxy.forward(1, cluster.address(1).unwrap());
    Some((cluster, proxy))
}

async fn connect(proxy: &Proxy, change: impl FnOnce(Config) -> Config) -> Client {
    Client::connect(change(Config::new(proxy.bootstrap().split(',')))).await.unwrap()
}

async fn create(proxy: &Proxy, topic: &str) {
    let client = connect(proxy, |config| config).await;
    let created = client.admin().create_topics([NewTopic::new(topic).partitions(1)]).await.unwrap();
    created.into_values().for_each(Result::unwrap);
}

/// Scenario 2: connections are reset after requests were written, answers are dropped after they were applied, and each
/// record is in the log once, in order.
async fn each_record_is_written_once(proxy: &Proxy) {
    const RECORDS: i64 = 3_000;
    const WINDOW: usize = 100;
    create(proxy, "once").await;
    // A dropped answer costs one request timeout.
    let client = connect(proxy, |config| config.request_timeout(Duration::from_millis(500))).await;
    let hit = |chance, reaction, times| {
        let condition = Condition::Api(PRODUCE).and(Condition::Chance(chance));
        proxy.add(Rule::new(condition, reaction).times(times))
    };
    let faults = [
        hit(0.1, Reaction::ResetAfterRequest, 30),
        hit(0.1, Reaction::ResetInsteadOfAnswer, 30),
        hit(0.05, Reaction::ResetInRequest, 10),
        hit(0.05, Reaction::ResetInAnswer, 10),
        hit(0.05, Reaction::DropAnswer, 5),
    ];
    let producer = client.producer().delivery_timeout(PATIENCE).build().unwrap();
    let mut deliveries = VecDeque::new();
    let mut acked = 0;
    for number in 0..RECORDS {
        deliveries.push_back(producer.enqueue(Record::new("once", &number.to_string())).await.unwrap());
        // Many batches, several of them in flight.
        if number % 10 == 9 {
            tokio::task::yield_now().await;
        }
        while deliveries.len() > WINDOW || number == RECORDS - 1 {
            let Some(delivery) = deliveries.pop_front() else { break };
            assert_eq!(delivery.await.unwrap().offset.unwrap().0, acked, "offsets tell the order");
            acked += 1;
        }
    }
    producer.close().await.unwrap();
    let hits: Vec<u64> = faults.iter().map(protocol_tests::proxy::Hits::count).collect();
    assert!(hits.iter().all(|&hits| hits > 0), "every fault happened: {hits:?}");
    proxy.clear();

    let reader = client.reader().topics(["once"]).start_at(Position::Earliest).build().unwrap();
    for number in 0..RECORDS {
        let message = reader.next().await.unwrap().unwrap();
        assert_eq!(message.value(), Some(number.to_string().as_bytes()), "at {}", message.offset());
    }
    client.close();
}

/// 20 ms in front of every request: pipelining makes up for most of it.
async fn a_slow_network_is_borne(proxy: &Proxy, what: &str) {
    const RECORDS: usize = 20_000;
    create(proxy, "slow").await;
    proxy.add(Rule::new(Condition::Any, Reaction::Delay(Duration::from_millis(20))));
    let client = connect(proxy, |config| config).await;
    let producer = client.producer().build().unwrap();
    let started = Instant::now();
    let mut deliveries = Vec::new();
    for _ in 0..RECORDS {
        deliveries.push(producer.enqueue(Record::new("slow", &[7_u8; 1_000])).await.unwrap());
    }
    for (expected, delivery) in (0..).zip(deliveries) {
        assert_eq!(delivery.await.unwrap().offset.unwrap().0, expected);
    }
    let took = started.elapsed();
    println!(
        "{what}, 20 ms away: {:.0} records of 1000 bytes per second",
        RECORDS as f64 / took.as_secs_f64()
    );
    producer.close().await.unwrap();
    client.close();
    proxy.clear();
}

#[test]
fn each_record_is_written_once_on_the_embedded_cluster() {
    block_on(async {
        let (_cluster, proxy) = embedded().await;
        each_record_is_written_once(&proxy).await;
    });
}

#[test]
fn a_slow_network_is_borne_on_the_embedded_cluster() {
    block_on(async {
        let (_cluster, proxy) = embedded().await;
        a_slow_network_is_borne(&proxy, "embedded").await;
    });
}

#[test]
fn each_record_is_written_once_on_kafka() {
    block_on(async {
        let Some((_cluster, proxy)) = real().await else { return };
        each_record_is_written_once(&proxy).await;
        a_slow_network_is_borne(&proxy, "Kafka 4.4").await;
    });
}
