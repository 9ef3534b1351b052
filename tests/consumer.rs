//! The consumer against the embedded cluster, in memory and on virtual time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "virtual time")]

use std::time::Duration;

use milena::{
    Client, Config, Consumer, ErrorKind, Message, Offset, OffsetAndMetadata, Partition, Position, Record,
    TopicPartition, testing::Cluster,
};

async fn cluster(nodes: u16, partitions: usize) -> (Cluster, Client) {
    let cluster = Cluster::builder().nodes(nodes).topic("t", partitions).in_memory().start().await.unwrap();
    let client = connect(&cluster).await;
    (cluster, client)
}

async fn connect(cluster: &Cluster) -> Client {
    Client::connect_over(cluster.transport(), Config::new(cluster.bootstrap())).await.unwrap()
}

/// Writes records "0", "1", … in turn to each of the partitions of "t".
async fn produce(client: &Client, numbers: std::ops::Range<i32>, partitions: i32) {
    let producer = client.producer().build().unwrap();
    for number in numbers {
        let value = number.to_string();
        drop(producer.enqueue(Record::new("t", &value).partition(number % partitions)).await.unwrap());
    }
    producer.close().await.unwrap();
}

fn number(message: &Message) -> i32 {
    std::str::from_utf8(message.value().unwrap()).unwrap().parse().unwrap()
}

async fn take(consumer: &Consumer, count: usize) -> Vec<i32> {
    let mut numbers = Vec::new();
    while numbers.len() < count {
        numbers.push(number(&consumer.next().await.unwrap().unwrap()));
    }
    numbers
}

async fn take_sorted(consumer: &Consumer, count: usize) -> Vec<i32> {
    let mut numbers = take(consumer, count).await;
    numbers.sort_unstable();
    numbers
}

fn tp(index: i32) -> TopicPartition {
    TopicPartition::new("t", index)
}

#[tokio::test(start_paused = true)]
async fn a_reader_gets_every_record_of_a_topic_in_the_order_of_its_partitions() {
    let (_cluster, client) = cluster(3, 6).await;
    produce(&client, 0..1_000, 6).await;
    let reader = client.reader().topics(["t"]).build().unwrap();
    let mut last = [-1_i64; 6];
    for _ in 0..1_000 {
        let message = reader.next().await.unwrap().unwrap();
        let Partition(partition) = message.partition();
        let place = &mut last[usize::try_from(partition).unwrap()];
        assert_eq!(message.offset(), Offset(*place + 1));
        assert_eq!(i64::from(number(&message)), (*place + 1) * 6 + i64::from(partition));
        *place += 1;
    }
    produce(&client, 0..1, 6).await;
    assert_eq!(take(&reader, 1).await, [0], "and what is written later");
}

#[tokio::test(start_paused = true)]
async fn reading_starts_where_it_is_told_to() {
    let (_cluster, client) = cluster(1, 1).await;
    produce(&client, 0..10, 1).await;
    let starting = |position| client.reader().partitions([(tp(0), position)]).build().unwrap();
    assert_eq!(take(&starting(Position::Earliest), 1).await, [0]);
    assert_eq!(take(&starting(Position::At(Offset(7))), 1).await, [7]);
    assert_eq!(take(&starting(Position::Timestamp(0)), 1).await, [0]);
    assert_eq!(take(&starting(Position::Ago(Duration::from_secs(3600))), 1).await, [0]);
    let at_end = starting(Position::Latest);
    while at_end.position(&tp(0)).is_none() {
        tokio::task::yield_now().await;
    }
    produce(&client, 10..11, 1).await;
    assert_eq!(take(&at_end, 1).await, [10]);
}

#[tokio::test(start_paused = true)]
async fn batches_borrow_and_streams_yield() {
    let (_cluster, client) = cluster(1, 1).await;
    produce(&client, 0..500, 1).await;
    let reader = client.reader().topics(["t"]).build().unwrap();
    let mut expected = 0..500;
    let mut next = Offset(0);
    while next < Offset(500) {
        let batch = reader.next_batch().await.unwrap().unwrap();
        assert_eq!((batch.first_offset(), batch.high_watermark()), (next, Offset(500)));
        for record in batch.records() {
            let value = expected.next().unwrap().to_string();
            assert_eq!(record.unwrap().value(), Some(value.as_bytes()));
        }
        next = batch.next_offset();
    }
    assert_eq!(reader.position(&tp(0)), Some(Offset(500)));
}

#[tokio::test(start_paused = true)]
async fn a_seek_goes_back_and_forth() {
    let (_cluster, client) = cluster(1, 1).await;
    produce(&client, 0..100, 1).await;
    let reader = client.reader().topics(["t"]).build().unwrap();
    assert_eq!(take(&reader, 3).await, [0, 1, 2]);
    reader.seek(&[(tp(0), Position::At(Offset(50)))]).await.unwrap();
    assert_eq!(take(&reader, 2).await, [50, 51]);
    reader.seek(&[(tp(0), Position::Earliest)]).await.unwrap();
    assert_eq!(take(&reader, 1).await, [0]);
    let error = reader.seek(&[(tp(9), Position::Earliest)]).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::NotAssigned { partition, .. } if *partition == tp(9)));
}

#[tokio::test(start_paused = true)]
async fn a_group_goes_on_where_it_has_committed() {
    let (_cluster, client) = cluster(3, 4).await;
    produce(&client, 0..100, 4).await;
    let first = client.consumer("g").topics(["t"]).build().unwrap();
    let read = take_sorted(&first, 60).await;
    first.commit().await.unwrap();
    first.close().await.unwrap();
    assert!(first.next().await.is_none(), "after close");
    assert!(matches!(first.close().await.unwrap_err().kind(), ErrorKind::Closed { .. }), "a second close");

    let second = client.consumer("g").topics(["t"]).build().unwrap();
    let mut all = [read, take(&second, 40).await].concat();
    all.sort_unstable();
    assert_eq!(all, (0..100).collect::<Vec<_>>());
    let committed = second.committed(&[tp(0), tp(1), tp(2), tp(3)]).await.unwrap();
    assert_eq!(committed.values().map(|committed| committed.offset.0).sum::<i64>(), 60);
    let partition = second.assignment()[0].clone();
    let offsets = [(partition.clone(), OffsetAndMetadata::new(5))].into();
    second.commit_offsets(offsets).await.unwrap();
    assert_eq!(
        second.committed(std::slice::from_ref(&partition)).await.unwrap()[&partition].offset,
        Offset(5)
    );
    let foreign = second.commit_offsets([(tp(77), OffsetAndMetadata::new(5))].into()).await.unwrap_err();
    assert!(matches!(foreign.kind(), ErrorKind::NotAssigned { .. }));
}

#[tokio::test(start_paused = true)]
async fn what_a_later_call_has_superseded_is_committed_on_close_and_by_the_clock() {
    let (_cluster, client) = cluster(1, 1).await;
    produce(&client, 0..10, 1).await;
    let consumer = client.consumer("g").topics(["t"]).build().unwrap();
    take(&consumer, 5).await;
    consumer.close().await.unwrap();
    let consumer = client.consumer("g").topics(["t"]).build().unwrap();
    assert_eq!(take(&consumer, 3).await, [4, 5, 6], "the last one was not done with");
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(consumer.committed(&[tp(0)]).await.unwrap()[&tp(0)].offset, Offset(6));
    drop(consumer);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let consumer = client.consumer("g").topics(["t"]).build().unwrap();
    assert_eq!(take(&consumer, 1).await, [6]);
}

#[tokio::test(start_paused = true)]
async fn two_members_share_the_partitions_and_take_over_from_each_other() {
    let (_cluster, client) = cluster(3, 6).await;
    let first = client.consumer("g").topics(["t"]).build().unwrap();
    produce(&client, 0..60, 6).await;
    assert_eq!(take_sorted(&first, 60).await, (0..60).collect::<Vec<_>>());
    first.commit().await.unwrap();

    let second = client.consumer("g").topics(["t"]).build().unwrap();
    let share = |consumer: &Consumer| consumer.assignment().len();
    while (share(&first), share(&second)) != (3, 3) {
        let _ = tokio::time::timeout(Duration::from_secs(1), first.next()).await;
        let _ = tokio::time::timeout(Duration::from_secs(1), second.next()).await;
    }
    produce(&client, 60..120, 6).await;
    let mut all = [take(&first, 30).await, take(&second, 30).await].concat();
    all.sort_unstable();
    assert_eq!(all, (60..120).collect::<Vec<_>>());

    second.commit().await.unwrap();
    second.close().await.unwrap();
    produce(&client, 120..180, 6).await;
    assert_eq!(take_sorted(&first, 60).await, (120..180).collect::<Vec<_>>());
}
