//! What is counted, against the embedded cluster, in memory and on virtual time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests"
)]

use std::time::Duration;

use milena::{
    BrokerMetrics, Client, Compression, Config, MetricsSnapshot, NodeId, ProducedMetrics, Record,
    TopicPartition,
    testing::{Api, Cluster, Fault, Rule},
};

async fn cluster(nodes: u16, partitions: usize) -> (Cluster, Client) {
    let cluster = Cluster::builder().nodes(nodes).topic("t", partitions).in_memory().start().await.unwrap();
    let client = Client::connect_over(cluster.transport(), Config::new(cluster.bootstrap())).await.unwrap();
    (cluster, client)
}

fn all_brokers<T: std::iter::Sum>(metrics: &MetricsSnapshot, number: impl Fn(&BrokerMetrics) -> T) -> T {
    metrics.brokers.values().map(number).sum()
}

#[tokio::test(start_paused = true)]
async fn acknowledged_records_are_counted_by_partition_and_broker() {
    let (_cluster, client) = cluster(3, 6).await;
    let producer = client.producer().batch_size(2_000).build().unwrap();
    for number in 0..1_000 {
        let value = format!("value {number}");
        let _delivery = producer.enqueue(Record::new("t", &value).partition(number % 3)).await.unwrap();
    }
    assert!(client.metrics().producers.buffered_bytes < 1_000_000);
    producer.flush().await.unwrap();
    producer.close().await.unwrap();

    let metrics = client.metrics();
    let total = metrics.produced_total();
    assert_eq!((total.records, total.failed_records, total.retries), (1_000, 0, 0));
    assert_eq!(metrics.produced[&TopicPartition::new("t", 1)].records, 333);
    assert_eq!((metrics.produced.len(), metrics.produced_by_topic()["t"]), (3, total));
    assert!(total.batches > 3);
    let producers = &metrics.producers;
    assert_eq!(producers.delivery_time.count(), total.batches);
    assert_eq!((producers.queue_time.count(), producers.buffered_bytes), (total.batches, 0));

    assert_eq!(
        all_brokers(&metrics, |broker| broker.requests),
        all_brokers(&metrics, |broker| broker.responses)
    );
    assert!(all_brokers(&metrics, |broker| broker.bytes_out) > total.bytes);
    for (id, broker) in &metrics.brokers {
        assert_eq!(broker.request_latency.count(), broker.responses, "{id}");
        assert_eq!((broker.in_flight, broker.errors, broker.connections_failed), (0, 0, 0), "{id}");
        assert!(broker.bytes_in > 0 && broker.connections_opened > 0, "{id}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_read_is_counted_by_partition_until_it_is_given_up() {
    let (_cluster, client) = cluster(2, 2).await;
    let producer = client.producer().compression(Compression::None).build().unwrap();
    for number in 0..100 {
        let _delivery = producer.enqueue(Record::new("t", "value").partition(number % 2)).await.unwrap();
    }
    producer.close().await.unwrap();
    let sent = client.metrics().produced_total();
    let reader = client.reader().topics(["t"]).build().unwrap();
    for _ in 0..100 {
        reader.next().await.unwrap().unwrap();
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let metrics = client.metrics();
    let one = metrics.consumed[&TopicPartition::new("t", 1)];
    assert_eq!((one.records, one.bytes), (50, metrics.produced[&TopicPartition::new("t", 1)].bytes));
    let total = metrics.consumed_total();
    assert_eq!((total.records, total.bytes, total.batches), (100, sent.bytes, sent.batches));
    assert!(total.fetches >= 2 && total.fetched_bytes == total.bytes);
    assert_eq!((metrics.consumers.buffered_bytes, metrics.consumed_by_topic()["t"]), (0, total));

    reader.close().await.unwrap();
    drop(reader);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let metrics = client.metrics();
    assert_eq!((metrics.consumed.len(), metrics.consumed_other), (0, total));
}

#[tokio::test(start_paused = true)]
async fn what_is_fetched_ahead_is_counted_while_it_waits() {
    let (_cluster, client) = cluster(1, 1).await;
    client.producer().build().unwrap().send(Record::new("t", "value")).await.unwrap();
    let reader = client.reader().topics(["t"]).build().unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let metrics = client.metrics();
    assert!(metrics.consumers.buffered_bytes > 0 && metrics.consumed_total().fetches == 1);
    assert_eq!(metrics.consumed_total().records, 0, "nothing was handed out");
    reader.next().await.unwrap().unwrap();
    drop(reader);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(client.metrics().consumers.buffered_bytes, 0);
}

#[tokio::test(start_paused = true)]
async fn connections_that_end_and_fail_are_counted() {
    let (cluster, client) = cluster(1, 1).await;
    let admin = client.admin();
    admin.list_topics().await.unwrap();
    let open = |metrics: &MetricsSnapshot| {
        all_brokers(metrics, |broker| broker.connections_opened - broker.connections_closed)
    };
    assert!(open(&client.metrics()) > 0);
    cluster.stop_node(1).await.unwrap();
    admin.timeout(Duration::from_secs(5)).list_topics().await.unwrap_err();
    let metrics = client.metrics();
    assert_eq!(open(&metrics), 0);
    assert!(metrics.brokers[&NodeId(1)].connections_failed > 0);
    assert!(all_brokers(&metrics, |broker| broker.errors) > 0);
    assert_eq!(all_brokers(&metrics, |broker| broker.in_flight), 0);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_sent_again_counts_as_a_retry_and_once_as_acknowledged() {
    let (cluster, client) = cluster(2, 1).await;
    let producer = client.producer().build().unwrap();
    producer.send(Record::new("t", "one")).await.unwrap();
    let leader = cluster.leader("t", 0).await.unwrap().unwrap();
    cluster.move_leader("t", 0, 3 - leader.0).await.unwrap();
    producer.send(Record::new("t", "two")).await.unwrap();
    let counted = client.metrics().produced[&TopicPartition::new("t", 0)];
    assert_eq!((counted.records, counted.batches, counted.failed_batches), (2, 2, 0));
    assert!(counted.retries > 0);
}

#[tokio::test(start_paused = true)]
async fn records_that_are_not_delivered_are_counted_once() {
    let (cluster, client) = cluster(1, 1).await;
    let producer = client.producer().delivery_timeout(Duration::from_secs(40)).build().unwrap();
    producer.send(Record::new("t", "one")).await.unwrap();
    cluster.stop_node(1).await.unwrap();
    producer.send(Record::new("t", "two")).await.unwrap_err();
    tokio::time::advance(Duration::from_secs(100)).await;
    let counted = client.metrics().produced_total();
    let ProducedMetrics { records, batches, failed_records, failed_batches, .. } = counted;
    assert_eq!(((records, batches), (failed_records, failed_batches)), ((1, 1), (1, 1)));
    assert_eq!(client.metrics().producers.delivery_time.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_closed_client_still_tells_what_it_has_counted() {
    let (_cluster, client) = cluster(1, 1).await;
    client.admin().list_topics().await.unwrap();
    client.close();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let metrics = client.metrics();
    assert!(all_brokers(&metrics, |broker| broker.responses) > 0);
    let connections = |broker: &BrokerMetrics| broker.connections_opened - broker.connections_closed;
    assert_eq!(all_brokers(&metrics, connections), 0);
}

#[tokio::test(start_paused = true)]
async fn throttling_is_counted_for_the_broker_that_asks_for_it() {
    let (cluster, client) = cluster(1, 1).await;
    let second = Duration::from_secs(1);
    cluster.fault(Rule::new(Fault::Throttle(second)).on(Api::DescribeCluster).times(2)).await.unwrap();
    for _ in 0..3 {
        client.admin().describe_cluster().await.unwrap();
    }
    let metrics = client.metrics();
    assert_eq!(all_brokers(&metrics, |broker| broker.throttle_time), 2 * second);
}
