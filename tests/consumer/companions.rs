//! Partitions that members read beside what their group assigns.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    pin::Pin,
    time::Duration,
};

use milena::{
    Client, Commit, Consumer, ConsumerHandle, ErrorKind, GroupProtocol, Offset, OffsetAndMetadata, Position,
    RebalanceListener, Record, TopicPartition, testing::Cluster,
};

use crate::groups::settle;
use crate::support::{LONG, connect, error, number, produce, take, tp};

const EVERY: Duration = Duration::from_secs(1);

/// A cluster with a topic of two partitions, and another one, "t.retry", whose partitions are read beside those.
async fn start() -> (Cluster, Client) {
    let cluster = Cluster::builder().topic("t", 2).topic("t.retry", 2).in_memory().start().await.unwrap();
    let client = connect(&cluster).await;
    (cluster, client)
}

fn retry(index: i32) -> TopicPartition {
    TopicPartition::new("t.retry", index)
}

async fn produce_retries(client: &Client, partition: i32, numbers: std::ops::Range<i32>) {
    let producer = client.producer().build().unwrap();
    for number in numbers {
        let value = number.to_string();
        let record = Record::new("t.retry", &value).partition(partition);
        drop(producer.enqueue(record).await.unwrap());
    }
    producer.close().await.unwrap();
}

fn next_offset(partition: TopicPartition, offset: i64) -> BTreeMap<TopicPartition, OffsetAndMetadata> {
    [(partition, OffsetAndMetadata::new(offset))].into()
}

async fn committed(consumer: &Consumer, partition: TopicPartition) -> Option<Offset> {
    let committed = consumer.committed(std::slice::from_ref(&partition)).await.unwrap();
    committed.get(&partition).map(|committed| committed.offset)
}

const PROTOCOLS: [GroupProtocol; 2] = [GroupProtocol::Classic, GroupProtocol::Consumer];

#[tokio::test(start_paused = true)]
async fn companions_are_read_beside_the_assignment_and_committed_by_the_user_alone() {
    for protocol in PROTOCOLS {
        let (_cluster, client) = start().await;
        produce(&client, 0..4, 2).await;
        produce_retries(&client, 1, 100..104).await;
        let member = client.consumer("g").topics(["t"]).protocol(protocol).commit(Commit::Every(EVERY));
        let first = member.clone().build().unwrap();
        assert_eq!(take(&first, 4).await.len(), 4);
        first.read_also(&[(retry(1), Position::Earliest)]).await.unwrap();
        assert_eq!(take(&first, 4).await, [100, 101, 102, 103]);
        assert_eq!((first.assignment(), first.companions()), (vec![tp(0), tp(1)], vec![retry(1)]));
        assert!(first.lag(&retry(1)) == Some(0) && first.position(&retry(1)) == Some(Offset(4)));
        // Neither in time nor with everything else.
        tokio::time::sleep(3 * EVERY).await;
        first.commit().await.unwrap();
        assert_eq!(committed(&first, retry(1)).await, None, "{protocol:?}");
        assert_eq!(committed(&first, tp(1)).await, Some(Offset(2)));
        first.commit_offsets(next_offset(retry(1), 2)).await.unwrap();
        first.close().await.unwrap();

        let second = member.build().unwrap();
        assert_eq!(committed(&second, retry(1)).await, Some(Offset(2)), "nor on closing");
        second.read_also(&[(retry(1), Position::Latest), (retry(0), Position::Latest)]).await.unwrap();
        assert_eq!(take(&second, 2).await, [102, 103], "where the group has committed");
        second.read_no_longer(&[retry(1), retry(0), tp(0)]).await.unwrap();
        assert!(second.companions().is_empty());
        produce_retries(&client, 1, 104..106).await;
        produce(&client, 6..8, 2).await;
        settle(&[(&second, 2)]).await;
        let rest: BTreeSet<i32> = take(&second, 2).await.into_iter().collect();
        assert_eq!(rest, [6, 7].into(), "what is assigned is read on, and companions are not");
    }
}

/// Reads with each partition the one of the same number of "t.retry".
struct Pairs;

fn paired(partitions: &[TopicPartition]) -> Vec<TopicPartition> {
    partitions.iter().map(|partition| retry(partition.partition.0)).collect()
}

impl RebalanceListener for Pairs {
    fn assigned<'a>(
        &'a self,
        consumer: &'a ConsumerHandle,
        partitions: &'a [TopicPartition],
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        let from: Vec<_> =
            paired(partitions).into_iter().map(|partition| (partition, Position::Earliest)).collect();
        Box::pin(async move { consumer.read_also(&from).await.unwrap() })
    }

    fn revoking<'a>(
        &'a self,
        consumer: &'a ConsumerHandle,
        partitions: &'a [TopicPartition],
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        let companions = paired(partitions);
        Box::pin(async move {
            for partition in &companions {
                if let Some(position) = consumer.position(partition) {
                    consumer.commit_offsets(next_offset(partition.clone(), position.0)).await.unwrap();
                }
            }
            consumer.read_no_longer(&companions).await.unwrap();
        })
    }
}

#[tokio::test(start_paused = true)]
async fn companions_go_with_their_partitions_to_other_members() {
    for protocol in PROTOCOLS {
        let (_cluster, client) = start().await;
        produce_retries(&client, 0, 0..5).await;
        produce_retries(&client, 1, 10..15).await;
        let member = client.consumer("g").topics(["t"]).protocol(protocol).on_rebalance(Pairs);
        let first = member.clone().build().unwrap();
        let read: BTreeSet<i32> = take(&first, 10).await.into_iter().collect();
        assert_eq!(read.len(), 10);
        let second = member.build().unwrap();
        let again = settle(&[(&first, 1), (&second, 1)]).await;
        assert!(again.is_empty(), "{protocol:?}: each goes on where the other has committed: {again:?}");
        produce_retries(&client, 0, 5..6).await;
        produce_retries(&client, 1, 15..16).await;
        for member in [&first, &second] {
            let index = member.assignment()[0].partition.0;
            assert_eq!(take(member, 1).await, [5 + 10 * index]);
            assert_eq!(member.companions(), [retry(index)]);
        }
        // What is committed for companions on closing is committed before the member has left.
        let companions = first.companions();
        first.close().await.unwrap();
        settle(&[(&second, 2)]).await;
        assert_eq!(committed(&second, companions[0].clone()).await, Some(Offset(6)));
        second.close().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_companion_that_the_group_assigns_is_the_groups() {
    for protocol in PROTOCOLS {
        let (_cluster, client) = start().await;
        produce(&client, 0..4, 2).await;
        let of_both = client.consumer("g").topics(["t"]).protocol(protocol).build().unwrap();
        assert_eq!(take(&of_both, 4).await.len(), 4);
        of_both.close().await.unwrap();
        let other = client.consumer("g").topics(["t"]).protocol(protocol).build().unwrap();
        settle(&[(&other, 2)]).await;
        // A second member reads beside its assignment what is the other's, until the other leaves.
        let member = client.consumer("g").topics(["t"]).protocol(protocol).build().unwrap();
        settle(&[(&other, 1), (&member, 1)]).await;
        let others = other.assignment();
        member.read_also(&[(others[0].clone(), Position::Latest)]).await.unwrap();
        assert_eq!(member.companions(), others);
        other.close().await.unwrap();
        settle(&[(&member, 2)]).await;
        assert!(member.companions().is_empty(), "{protocol:?}");
        member.read_no_longer(&others).await.unwrap();
        assert_eq!(member.assignment(), [tp(0), tp(1)], "the group has assigned it");
        produce(&client, 4..6, 2).await;
        let read: BTreeSet<i32> = take(&member, 2).await.into_iter().collect();
        assert_eq!(read, [4, 5].into());
    }
}

#[tokio::test(start_paused = true)]
async fn companions_are_of_no_ledger() {
    let (_cluster, client) = start().await;
    produce_retries(&client, 0, 0..3).await;
    let member = client.consumer("g").topics(["t"]).commit(Commit::Acknowledged(EVERY)).build().unwrap();
    settle(&[(&member, 2)]).await;
    member.read_also(&[(retry(0), Position::Earliest)]).await.unwrap();
    let mut held = Vec::new();
    for _ in 0..3 {
        let message = tokio::time::timeout(LONG, member.next()).await.unwrap().unwrap().unwrap();
        message.ack();
        held.push(message);
    }
    assert_eq!(held.iter().map(number).collect::<Vec<_>>(), [0, 1, 2]);
    tokio::time::sleep(3 * EVERY).await;
    assert_eq!(committed(&member, retry(0)).await, None);
    let started = tokio::time::Instant::now();
    held.truncate(1);
    member.close().await.unwrap();
    assert!(started.elapsed() < EVERY, "nobody waits for who holds one");
}

#[tokio::test(start_paused = true)]
async fn a_reader_takes_on_partitions_as_it_goes() {
    let (_cluster, client) = start().await;
    produce(&client, 0..6, 2).await;
    let reader = client.reader().partitions([(tp(0), Position::Earliest)]).build().unwrap();
    assert_eq!(take(&reader, 3).await, [0, 2, 4]);
    reader.read_also(&[(tp(1), Position::At(Offset(1))), (tp(0), Position::Earliest)]).await.unwrap();
    assert_eq!(take(&reader, 2).await, [3, 5], "what is read already is left alone");
    assert_eq!(reader.assignment(), [tp(0), tp(1)]);
    reader.read_no_longer(&[tp(0)]).await.unwrap();
    produce(&client, 6..8, 2).await;
    assert_eq!(take(&reader, 1).await, [7]);
    assert_eq!(reader.assignment(), [tp(1)]);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_also_is_told() {
    let (_cluster, client) = start().await;
    let member = client.consumer("g").topics(["t"]).topic_timeout(EVERY).build().unwrap();
    settle(&[(&member, 2)]).await;
    let also = |topic: &str, index| [(TopicPartition::new(topic, index), Position::Earliest)];
    let refused = member.read_also(&also("a b", 0)).await.unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::InvalidTopic { .. }), "{refused}");
    let refused = member.read_also(&also("t", -1)).await.unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::UnknownPartition { .. }), "{refused}");
    member.read_also(&also("t.retry", 7)).await.unwrap();
    assert!(matches!(error(&member).await.kind(), ErrorKind::UnknownPartition { .. }));
    member.read_no_longer(&[retry(7)]).await.unwrap();
    member.read_also(&also("nowhere", 0)).await.unwrap();
    assert!(matches!(error(&member).await.kind(), ErrorKind::UnknownTopic { .. }));
    member.read_no_longer(&[TopicPartition::new("nowhere", 0)]).await.unwrap();
    let quiet = tokio::time::timeout(10 * EVERY, member.next()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    member.read_also(&[(retry(0), Position::Committed)]).await.unwrap();
    assert!(matches!(error(&member).await.kind(), ErrorKind::NoPosition { .. }));
    let lost = member.commit_offsets(next_offset(retry(1), 3)).await.unwrap_err();
    assert!(matches!(lost.kind(), ErrorKind::NotAssigned { .. }), "{lost}");

    let reader = client.reader().topics(["t"]).build().unwrap();
    let refused = reader.read_also(&[(retry(0), Position::Committed)]).await.unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::Config { .. }), "{refused}");
}
