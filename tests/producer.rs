//! The producer against the embedded cluster, in memory and on virtual time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::time::Duration;

use milena::{Client, Config, ErrorKind, Offset, Partition, Producer, Record, testing::Cluster};

async fn cluster(nodes: u16, partitions: usize) -> (Cluster, Client) {
    let cluster = Cluster::builder().nodes(nodes).topic("t", partitions).in_memory().start().await.unwrap();
    let client = Client::connect_over(cluster.transport(), Config::new(cluster.bootstrap())).await.unwrap();
    (cluster, client)
}

#[tokio::test(start_paused = true)]
async fn records_are_acknowledged_in_order() {
    let (cluster, client) = cluster(3, 6).await;
    let producer = client.producer().build().unwrap();
    let mut deliveries = Vec::new();
    for number in 0..1_000 {
        let value = format!("value {number}");
        deliveries.push(producer.enqueue(Record::new("t", &value).partition(3)).await.unwrap());
    }
    for (expected, delivery) in (0..).zip(deliveries) {
        let delivered = delivery.await.unwrap();
        assert_eq!((delivered.partition, delivered.offset), (Partition(3), Some(Offset(expected))));
    }
    assert_eq!(producer.buffered_bytes(), 0);
    producer.close().await.unwrap();
    cluster.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_closed_producer_refuses() {
    let (_cluster, client) = cluster(1, 1).await;
    let producer: Producer = client.producer().build().unwrap();
    producer.send(Record::new("t", "x")).await.unwrap();
    producer.clone().close().await.unwrap();
    let closed = |kind: &ErrorKind| matches!(kind, ErrorKind::Closed { .. });
    assert!(closed(producer.send(Record::new("t", "x")).await.unwrap_err().kind()));
    assert!(closed(producer.flush().await.unwrap_err().kind()));
    assert!(closed(producer.try_enqueue(Record::new("t", "x")).unwrap_err().error.kind()));
    assert!(closed(producer.close().await.unwrap_err().kind()), "a second close");
}

#[tokio::test(start_paused = true)]
async fn an_unknown_topic_is_waited_for_as_long_as_the_setting_says() {
    let (_cluster, client) = cluster(1, 1).await;
    let producer = client.producer().max_block(Duration::from_secs(7)).build().unwrap();
    let error = producer.send(Record::new("nowhere", "x")).await.unwrap_err();
    let ErrorKind::UnknownTopic { topic, setting: "max_block", .. } = error.kind() else { panic!("{error}") };
    assert_eq!(topic.as_str(), "nowhere");
}
