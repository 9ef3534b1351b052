//! What is promised of transactions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use milena::{
    Client, Compression, Consumer, ErrorKind, Isolation, Offset, Position, Record, TopicPartition,
    Transaction,
};

use crate::broker::Version;
use crate::suite::{Seen, Stage, eventually, take, text};
use crate::target::Target;

const ADD_PARTITIONS_TO_TXN: i16 = 24;
const ADD_OFFSETS_TO_TXN: i16 = 25;
const END_TXN: i16 = 26;

/// 16: records of aborted transactions and the marks at the ends of transactions are never handed out, and reading passes
/// them, at the end of the log too.
pub(crate) async fn s16_aborted_records_and_markers_are_never_seen(stage: Stage) {
    let client = stage.client().await;
    let partition = TopicPartition::new(stage.topic(&client, 1).await, 0);
    let mut producer = client.producer().transactional(stage.name("id")).await.unwrap();
    for (number, commit) in [false, true, false, false, true, false].into_iter().enumerate() {
        let transaction = producer.begin().await.unwrap();
        write(&transaction, &partition, &[format!("{number} {commit}"), format!("{number} {commit}")]).await;
        if commit { transaction.commit().await } else { transaction.abort().await }.unwrap();
    }
    let values = |commit: &[bool]| -> Vec<String> {
        let all = [false, true, false, false, true, false].into_iter().enumerate();
        all.filter(|(_, done)| commit.contains(done))
            .flat_map(|(n, done)| vec![format!("{n} {done}"); 2])
            .collect()
    };
    for (isolation, expected) in
        [(Isolation::ReadCommitted, values(&[true])), (Isolation::ReadUncommitted, values(&[true, false]))]
    {
        let reader = reader(&client, &partition, isolation, 0);
        assert_eq!(texts(&reader, expected.len()).await, expected, "{isolation:?}");
        // Six of two records and a mark each.
        assert_nothing_before(&reader, &partition, 18).await;
        assert_eq!(reader.lag(&partition), Some(0));
    }
}

/// 17: behind the first record of an open transaction nothing is read that is to be committed, in its partition alone.
pub(crate) async fn s17_an_open_transaction_holds_back_its_partition_alone(stage: Stage) {
    let client = stage.client().await;
    let topic = stage.topic(&client, 2).await;
    let [held, free] = [0, 1].map(|index| TopicPartition::new(topic.as_str(), index));
    let mut producer = client.producer().transactional(stage.name("id")).await.unwrap();
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    stage.write(&client, &held, &words(&["before"])).await;
    let transaction = producer.begin().await.unwrap();
    write(&transaction, &held, &words(&["inside"])).await;
    stage.write(&client, &held, &words(&["behind"])).await;

    let reader = client.reader().topics([topic.as_str()]).build().unwrap();
    assert_eq!(texts(&reader, 1).await, ["before"]);
    for value in ["free", "free again"] {
        stage.write(&client, &free, &words(&[value])).await;
        assert_eq!(texts(&reader, 1).await, [value], "the other partition goes on");
    }
    assert_eq!(reader.position(&held), Some(Offset(1)));
    assert_eq!(reader.lag(&held), Some(0), "what is held back is not behind");
    let all = self::reader(&client, &held, Isolation::ReadUncommitted, 0);
    assert_eq!(texts(&all, 3).await, ["before", "inside", "behind"]);
    transaction.commit().await.unwrap();
    assert_eq!(texts(&reader, 2).await, ["inside", "behind"]);
}

/// 18: a transaction in which nothing was done ends without an error, and without a request that a broker would refuse.
pub(crate) async fn s18_an_empty_transaction_commits(stage: Stage) {
    let ends = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&ends);
    let client = stage.watched(move |last, _| {
        count.fetch_add(usize::from(last == END_TXN), Ordering::SeqCst);
        Seen::Pass
    });
    let client = client.await;
    let partition = TopicPartition::new(stage.topic(&client, 1).await, 0);
    let mut producer = client.producer().transactional(stage.name("id")).await.unwrap();
    for _ in 0..2 {
        producer.begin().await.unwrap().commit().await.unwrap();
        producer.begin().await.unwrap().abort().await.unwrap();
        drop(producer.begin().await.unwrap());
    }
    assert_eq!(ends.load(Ordering::SeqCst), 0, "nothing was to be ended");
    let transaction = producer.begin().await.unwrap();
    write(&transaction, &partition, &["something".to_owned()]).await;
    transaction.commit().await.unwrap();
    assert!(ends.load(Ordering::SeqCst) > 0, "something was");
    let reader = reader(&client, &partition, Isolation::ReadCommitted, 0);
    assert_eq!(texts(&reader, 1).await, ["something"]);
}

/// 19: a second producer with the same id fences the first, for good, and what the first left open is aborted.
pub(crate) async fn s19_a_second_instance_fences_the_first(stage: Stage) {
    let client = stage.client().await;
    let partition = TopicPartition::new(stage.topic(&client, 1).await, 0);
    let id = stage.name("id");
    let mut first = client.producer().transactional(id.as_str()).await.unwrap();
    let open = first.begin().await.unwrap();
    write(&open, &partition, &["lost".to_owned()]).await;

    let mut second = client.producer().transactional(id.as_str()).await.unwrap();
    let transaction = second.begin().await.unwrap();
    write(&transaction, &partition, &["kept".to_owned()]).await;
    let error = open.commit().await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Fenced { .. }) && error.is_fatal(), "{error}");
    let error = first.begin().await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Fenced { .. }) && error.is_fatal(), "{error}");
    transaction.commit().await.unwrap();
    let reader = reader(&client, &partition, Isolation::ReadCommitted, 0);
    assert_eq!(texts(&reader, 1).await, ["kept"]);
}

/// 21: a transaction that was open for too long is aborted, and says so; the next one is as good as any.
pub(crate) async fn s21_a_transaction_that_timed_out_can_be_followed_by_another(stage: Stage) {
    let client = stage.client().await;
    let partition = TopicPartition::new(stage.topic(&client, 1).await, 0);
    let builder = client.producer().transaction_timeout(Duration::from_secs(2));
    let mut producer = builder.transactional(stage.name("id")).await.unwrap();
    for round in 0..2 {
        let transaction = producer.begin().await.unwrap();
        write(&transaction, &partition, &[format!("late {round}")]).await;
        let error = eventually("it is over", async || {
            transaction.try_enqueue(Record::new(&partition.topic, "late too").partition(0)).err()
        })
        .await
        .error;
        assert!(error.requires_abort() && !error.is_fatal(), "{error}");
        let error = transaction.commit().await.unwrap_err();
        let ErrorKind::TransactionAborted { cause: Some(cause), .. } = error.kind() else {
            panic!("{error}")
        };
        assert!(matches!(cause.kind(), ErrorKind::Timeout { setting: "transaction_timeout", .. }), "{error}");
        let transaction = producer.begin().await.unwrap();
        write(&transaction, &partition, &[format!("in time {round}")]).await;
        transaction.commit().await.unwrap();
    }
    let reader = reader(&client, &partition, Isolation::ReadCommitted, 0);
    assert_eq!(texts(&reader, 2).await, ["in time 0", "in time 1"]);
}

/// 22: answers to ends of transactions are lost with their connections, after they were carried out: each end is told as
/// it was, and nothing of one transaction gets into the next.
pub(crate) async fn s22_ends_of_transactions_are_certain_though_answers_are_lost(stage: Stage) {
    let answers = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&answers);
    let client = stage.watched(move |last, _| {
        let is_lost = last == END_TXN && count.fetch_add(1, Ordering::SeqCst).is_multiple_of(2);
        if is_lost { Seen::Cut } else { Seen::Pass }
    });
    let client = client.await;
    let partition = TopicPartition::new(stage.topic(&client, 1).await, 0);
    let mut producer = client.producer().transactional(stage.name("id")).await.unwrap();
    let mut expected = Vec::new();
    for round in 0..6 {
        let transaction = producer.begin().await.unwrap();
        let values = [0, 1].map(|number| format!("{round} {number}"));
        write(&transaction, &partition, &values).await;
        if round % 3 == 1 {
            transaction.abort().await.unwrap();
        } else {
            transaction.commit().await.unwrap();
            expected.extend(values);
        }
    }
    assert!(answers.load(Ordering::SeqCst) >= 6, "{answers:?} answers");
    let reader = reader(&client, &partition, Isolation::ReadCommitted, 0);
    assert_eq!(texts(&reader, expected.len()).await, expected);
    assert_nothing_before(&reader, &partition, 18).await;
}

/// 22: every node, and so the coordinator, is killed while a transaction ends: its outcome is certain, and is what is read.
pub(crate) async fn s22_the_coordinator_moves_during_the_end_of_a_transaction(stage: Stage) {
    let client = stage.client().await;
    let topic = stage.topic(&client, 3).await;
    let mut producer = client.producer().transactional(stage.name("id")).await.unwrap();
    let mut expected = Vec::new();
    for node in 1..=3 {
        for commit in [true, false] {
            let transaction = producer.begin().await.unwrap();
            let values = (0..3).map(|partition| format!("{partition}: {node} {commit}"));
            let values: Vec<String> = values.collect();
            for (partition, value) in (0..3).zip(&values) {
                let delivery =
                    transaction.enqueue(Record::new(&topic, value).partition(partition)).await.unwrap();
                drop(delivery);
            }
            let end = async { if commit { transaction.commit().await } else { transaction.abort().await } };
            if commit {
                let (ended, killed) = tokio::join!(end, stage.cluster().kill(node));
                killed.unwrap();
                ended.unwrap();
                expected.extend(values);
            } else {
                end.await.unwrap();
            }
        }
        stage.cluster().start_again(node).await.unwrap();
    }
    expected.sort_unstable();
    let reader = client.reader().topics([topic.as_str()]).build().unwrap();
    let mut read = texts(&reader, expected.len()).await;
    read.sort_unstable();
    assert_eq!(read, expected);
}

/// 24: versions 1 and 2 of transactions are spoken, each with the brokers that want it: with the second no partition and
/// no group is announced, and ends bring the next epoch (KIP-890).
pub(crate) async fn s24_both_versions_of_transactions_are_spoken(stage: Stage) {
    let is_first = match stage.target() {
        Target::Kafka { version, .. } => *version == Version::V3_9_1,
        Target::Embedded { .. } => false,
        // Anything may stand there.
        Target::Given { .. } => return,
    };
    let (client, recording) = stage.recorded(stage.config()).await;
    let partition = TopicPartition::new(stage.topic(&client, 1).await, 0);
    let mut producer = client.producer().transactional(stage.name("id")).await.unwrap();
    let group = milena::GroupMetadata::of_group(stage.name("group"));
    for round in 0..3 {
        let transaction = producer.begin().await.unwrap();
        write(&transaction, &partition, &[round.to_string()]).await;
        let offsets = [(partition.clone(), milena::OffsetAndMetadata::new(round))].into();
        transaction.commit_offsets(&group, offsets).await.unwrap();
        transaction.commit().await.unwrap();
    }
    let requests = recording.requests();
    let seen = |api: i16| requests.iter().filter(|(key, _)| *key == api).count();
    let announced = if is_first { 3 } else { 0 };
    assert!(
        seen(ADD_PARTITIONS_TO_TXN) >= announced && seen(ADD_OFFSETS_TO_TXN) >= announced,
        "{requests:?}"
    );
    let versions: Vec<i16> =
        requests.iter().filter(|(key, _)| *key == END_TXN).map(|(_, version)| *version).collect();
    assert!(versions.len() >= 3, "{requests:?}");
    if is_first {
        assert!(versions.iter().all(|version| *version < 5), "{versions:?}");
    } else {
        assert_eq!((seen(ADD_PARTITIONS_TO_TXN), seen(ADD_OFFSETS_TO_TXN)), (0, 0), "{requests:?}");
        assert!(versions.iter().all(|version| *version >= 5), "{versions:?}");
    }
    let reader = reader(&client, &partition, Isolation::ReadCommitted, 0);
    assert_eq!(texts(&reader, 3).await, ["0", "1", "2"]);
}

/// 25: transactions of three producers, each with a codec of its own, lie between each other in one partition; from
/// whichever offset one begins, the committed records are read and nothing else.
pub(crate) async fn s25_interleaved_transactions_read_from_any_offset(stage: Stage) {
    const ROUNDS: usize = 5;
    let client = stage.client().await;
    let partition = TopicPartition::new(stage.topic(&client, 1).await, 0);
    let codecs = [Compression::gzip(6), Compression::Lz4, Compression::zstd(3)];
    let mut producers = Vec::new();
    for (number, codec) in codecs.into_iter().enumerate() {
        let builder = client.producer().compression(codec).linger(Duration::from_millis(5));
        producers.push(builder.transactional(stage.name(&number.to_string())).await.unwrap());
    }
    // What lies at each offset, and whether it is committed.
    let mut log: BTreeMap<i64, (String, bool)> = BTreeMap::new();
    for round in 0..ROUNDS {
        let mut open = Vec::new();
        for producer in &mut producers {
            open.push(producer.begin().await.unwrap());
        }
        for turn in 0..2 {
            for (number, transaction) in open.iter().enumerate() {
                let commit = (round + number) % 3 != 0;
                let values: Vec<String> = (0..4).map(|n| format!("{round} {number} {turn} {n}")).collect();
                for (offset, value) in write(transaction, &partition, &values).await.into_iter().zip(values) {
                    log.insert(offset, (value, commit));
                }
            }
        }
        for (number, transaction) in open.into_iter().enumerate() {
            let commit = (round + number) % 3 != 0;
            if commit { transaction.commit().await } else { transaction.abort().await }.unwrap();
        }
    }
    let last = *log.keys().next_back().unwrap();
    for from in 0..=last {
        for isolation in [Isolation::ReadCommitted, Isolation::ReadUncommitted] {
            let all = isolation == Isolation::ReadUncommitted;
            let visible = log.range(from..).filter(|(_, (_, commit))| all || *commit);
            let expected: Vec<String> = visible.map(|(_, (value, _))| value.clone()).collect();
            let reader = reader(&client, &partition, isolation, from);
            assert_eq!(texts(&reader, expected.len()).await, expected, "{isolation:?} from {from}");
        }
    }
    let reader = reader(&client, &partition, Isolation::ReadCommitted, last + 1);
    assert_nothing_before(&reader, &partition, last + 4).await;
}

/// Writes values to a partition in a transaction, and tells where they are.
pub(super) async fn write(
    transaction: &Transaction<'_>,
    partition: &TopicPartition,
    values: &[String],
) -> Vec<i64> {
    let mut deliveries = Vec::new();
    for value in values {
        let record = Record::new(&partition.topic, value).partition(partition.partition);
        deliveries.push(transaction.enqueue(record).await.expect("there is room"));
    }
    let mut offsets = Vec::new();
    for delivery in deliveries {
        offsets.push(delivery.await.expect("it is written").offset.expect("all replicas tell the offset").0);
    }
    offsets
}

fn reader(client: &Client, partition: &TopicPartition, isolation: Isolation, from: i64) -> Consumer {
    let start = [(partition.clone(), Position::At(Offset(from)))];
    client.reader().partitions(start).isolation(isolation).build().unwrap()
}

async fn texts(reader: &Consumer, count: usize) -> Vec<String> {
    take(reader, count).await.iter().map(text).collect()
}

/// Reads to an offset, before which there is no record any more. The marks at the ends of transactions are written after
/// the ends were answered.
async fn assert_nothing_before(reader: &Consumer, partition: &TopicPartition, end: i64) {
    eventually("all is passed", async || {
        let next = tokio::time::timeout(Duration::from_millis(20), reader.next()).await;
        assert!(next.is_err(), "there is {next:?}");
        reader.position(partition).filter(|position| position.0 >= end)
    })
    .await;
}
