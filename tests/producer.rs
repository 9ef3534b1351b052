//! The producer against the embedded cluster, in memory and on virtual time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests"
)]

use std::time::Duration;

use milena::{
    Acks, BatchDelivery, Client, Code, Compression, Config, Delivery, Error, ErrorKind, Offset, Partition,
    Producer, ProducerInterceptor, Record, RecreatedTopics, Resource,
    testing::{Api, Cluster, Fault, Rule},
};

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

#[tokio::test(start_paused = true)]
async fn bad_records_are_refused_with_their_facts_and_others_go_on() {
    let (_cluster, client) = cluster(1, 2).await;
    let producer = client.producer().max_request_size(1_000).build().unwrap();

    let error = producer.send(Record::new("t", "x").partition(2)).await.unwrap_err();
    let ErrorKind::UnknownPartition { partition, count, .. } = error.kind() else { panic!("{error}") };
    assert_eq!((*partition, *count), (Partition(2), 2));

    let large = vec![b'x'; 2_000];
    let error = producer.send(Record::new("t", &large)).await.unwrap_err();
    let ErrorKind::RecordTooLarge { size, limit: Some(1_000), setting: "max_request_size", .. } =
        error.kind()
    else {
        panic!("{error}")
    };
    assert!(*size > 2_000);

    for name in ["", "a/b", ".."] {
        let error = producer.send(Record::new(name, "x")).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::InvalidTopic { topic, .. } if topic.as_str() == name));
    }
    assert_eq!(producer.send(Record::new("t", "fine").partition(1)).await.unwrap().offset, Some(Offset(0)));
    assert_eq!(producer.buffered_bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_allowed_is_told_with_its_resource() {
    let (cluster, client) = cluster(1, 1).await;
    let refused = |error: &Error, expected: Resource| matches!(error.kind(), ErrorKind::NotAuthorized { resource, .. } if *resource == expected);
    cluster.deny(Resource::Cluster, "").await.unwrap();
    let producer = client.producer().build().unwrap();
    let error = producer.send(Record::new("t", "x")).await.unwrap_err();
    assert!(refused(&error, Resource::Cluster), "an idempotent producer needs the cluster: {error}");
    cluster.allow(Resource::Cluster, "").await.unwrap();
    producer.send(Record::new("t", "x")).await.unwrap();

    cluster.deny(Resource::Topic, "t").await.unwrap();
    let error = producer.send(Record::new("t", "x")).await.unwrap_err();
    assert!(refused(&error, Resource::Topic), "{error}");
    assert!(matches!(error.kind(), ErrorKind::NotAuthorized { name, .. } if name == "t"), "{error}");
    cluster.allow(Resource::Topic, "t").await.unwrap();
    assert_eq!(producer.send(Record::new("t", "y")).await.unwrap().offset, Some(Offset(1)));
}

#[tokio::test(start_paused = true)]
async fn contradicting_settings_are_all_told() {
    let (_cluster, client) = cluster(1, 1).await;
    let builder = client.producer().acks(Acks::Leader).idempotence(true).max_in_flight(6).buffer_memory(10);
    let error = builder.delivery_timeout(Duration::from_secs(1)).rack_aware(true).build().unwrap_err();
    let ErrorKind::Config { problems, .. } = error.kind() else { panic!("{error}") };
    let settings: Vec<_> = problems.iter().map(|problem| problem.setting).collect();
    assert_eq!(settings, ["acks", "max_in_flight", "buffer_memory", "delivery_timeout", "rack_aware"]);
}

#[tokio::test(start_paused = true)]
async fn trying_never_waits_and_hands_the_record_back() {
    let (_cluster, client) = cluster(1, 1).await;
    let producer = client.producer().buffer_memory(2_000).max_request_size(1_500).build().unwrap();
    let record = Record::new("t", "x");
    let refused = producer.try_enqueue(record).unwrap_err();
    assert!(matches!(refused.error.kind(), ErrorKind::MetadataPending { .. }) && refused.record == record);
    producer.send(record).await.unwrap();

    let large = vec![b'x'; 1_200];
    let first = producer.try_enqueue(Record::new("t", &large)).unwrap();
    let refused = producer.try_enqueue(Record::new("t", &large)).unwrap_err();
    let ErrorKind::Full { limit: 2_000, setting: "buffer_memory", .. } = refused.error.kind() else {
        panic!("{refused}")
    };
    // Waiting for room works where trying does not.
    let second = producer.enqueue(Record::new("t", &large)).await.unwrap();
    assert_eq!(first.await.unwrap().offset, Some(Offset(1)));
    assert_eq!(second.await.unwrap().offset, Some(Offset(2)));
}

#[tokio::test(start_paused = true)]
async fn trying_again_finds_a_topic_that_was_created_or_granted_meanwhile() {
    let (cluster, client) = cluster(1, 1).await;
    let producer = client.producer().build().unwrap();
    let producer = &producer;
    let attempt = |topic: &'static str| async move {
        tokio::time::sleep(Duration::from_secs(2)).await;
        producer.try_enqueue(Record::new(topic, "x")).map(drop).map_err(|refused| refused.error)
    };
    cluster.deny(Resource::Topic, "t").await.unwrap();
    for topic in ["t", "late"] {
        let error = attempt(topic).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::MetadataPending { .. }), "{error}");
    }
    let error = attempt("t").await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::NotAuthorized { name, .. } if name == "t"), "{error}");
    cluster.allow(Resource::Topic, "t").await.unwrap();
    cluster.create_topic("late", 1).await.unwrap();
    for topic in ["t", "late"] {
        let _ = attempt(topic).await;
        attempt(topic).await.unwrap();
    }
    let error = attempt("no/name").await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::InvalidTopic { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_never_larger_than_a_request_may_be() {
    let (cluster, client) = cluster(1, 1).await;
    let builder = client.producer().batch_size(1 << 30).compression(Compression::None);
    let producer = builder.linger(Duration::from_secs(1)).build().unwrap();
    let value = vec![b'x'; 100 << 10];
    let mut deliveries = Vec::new();
    for _ in 0..40 {
        deliveries.push(producer.enqueue(Record::new("t", &value)).await.unwrap());
    }
    for delivery in deliveries {
        delivery.await.unwrap();
    }
    assert_eq!(cluster.log_end_offset("t", 0).await.unwrap(), Some(40));
}

#[tokio::test(start_paused = true)]
async fn times_without_measure_do_no_harm() {
    let (_cluster, client) = cluster(1, 1).await;
    let builder = client.producer().max_block(Duration::MAX).delivery_timeout(Duration::MAX);
    let producer = builder.linger(Duration::MAX - Duration::from_secs(60)).build().unwrap();
    let delivery = producer.enqueue(Record::new("t", "x")).await.unwrap();
    producer.flush().await.unwrap();
    assert!(delivery.await.is_ok());
    producer.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_takes_too_long_says_whether_it_may_have_been_written() {
    for (fault, maybe) in [(Fault::Refuse(Code::NOT_ENOUGH_REPLICAS), false), (Fault::DropAnswer, true)] {
        let (cluster, client) = cluster(1, 1).await;
        let producer = client.producer().delivery_timeout(Duration::from_secs(45)).build().unwrap();
        producer.send(Record::new("t", "before")).await.unwrap();
        let rule = cluster.fault(Rule::new(fault).on(Api::Produce)).await.unwrap();
        let error = producer.send(Record::new("t", "x")).await.unwrap_err();
        let ErrorKind::Undelivered { maybe_written, after, cause, .. } = error.kind() else {
            panic!("{error}")
        };
        assert_eq!((*maybe_written, error.maybe_written()), (maybe, maybe), "{error}");
        assert!(*after >= Duration::from_secs(45) && cause.is_some() && error.is_retriable(), "{error}");
        rule.remove().await.unwrap();
        producer.send(Record::new("t", "after")).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_enqueue_takes_nothing_and_a_dropped_delivery_cancels_nothing() {
    let (cluster, client) = cluster(1, 1).await;
    let producer = client.producer().buffer_memory(1_500).max_request_size(1_500).build().unwrap();
    let large = vec![b'x'; 1_200];
    drop(producer.enqueue(Record::new("t", &large)).await.unwrap());
    // There is no room: this one waits, and is dropped while it does.
    let waiting = tokio::time::timeout(Duration::ZERO, producer.enqueue(Record::new("t", &large)));
    assert!(waiting.await.is_err());
    producer.close().await.unwrap();
    assert_eq!(cluster.log_end_offset("t", 0).await.unwrap(), Some(1));
}

#[tokio::test(start_paused = true)]
async fn the_last_handle_may_go_and_what_was_enqueued_is_still_sent() {
    let (cluster, client) = cluster(3, 1).await;
    let producer = client.producer().linger(Duration::from_secs(3)).build().unwrap();
    let delivery = producer.enqueue(Record::new("t", "x")).await.unwrap();
    drop(producer);
    drop(client);
    assert_eq!(delivery.await.unwrap().offset, Some(Offset(0)));
    assert_eq!(cluster.log_end_offset("t", 0).await.unwrap(), Some(1));
}

#[test]
fn a_runtime_that_ends_in_the_middle_hangs_nothing() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (cluster, delivery, producer) = runtime.block_on(async {
        let (cluster, client) = cluster(1, 1).await;
        let producer = client.producer().linger(Duration::from_secs(60)).build().unwrap();
        let delivery = producer.enqueue(Record::new("t", "x")).await.unwrap();
        (cluster, delivery, producer)
    });
    drop(runtime);
    let other = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let error = other.block_on(delivery).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Closed { .. }), "{error}");
    assert!(other.block_on(producer.flush()).is_err());
    drop(cluster);
}

#[tokio::test(start_paused = true)]
async fn acks_0_tells_no_offset_and_acks_1_does() {
    let (cluster, client) = cluster(1, 1).await;
    for (acks, offset) in [(Acks::None, None), (Acks::Leader, Some(Offset(1)))] {
        let producer = client.producer().acks(acks).build().unwrap();
        assert_eq!(producer.send(Record::new("t", "x")).await.unwrap().offset, offset);
        // The answer of a later call on the same node shows that the first was carried out.
        while cluster.log_end_offset("t", 0).await.unwrap() < Some(1) {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn records_outlive_the_crash_of_their_leader() {
    let (cluster, client) = cluster(3, 1).await;
    let producer = client.producer().build().unwrap();
    producer.send(Record::new("t", "before")).await.unwrap();
    let leader = cluster.leader("t", 0).await.unwrap().unwrap();
    cluster.stop_node(leader).await.unwrap();
    assert_eq!(producer.send(Record::new("t", "after")).await.unwrap().offset, Some(Offset(1)));
}

#[tokio::test(start_paused = true)]
async fn records_of_a_batch_that_is_too_large_learn_where_its_parts_were_written() {
    let cluster = Cluster::builder().topic_with("t", 1, &[("max.message.bytes", "1000")]);
    let cluster = cluster.in_memory().start().await.unwrap();
    let client = Client::connect_over(cluster.transport(), Config::new(cluster.bootstrap())).await.unwrap();
    let producer = client.producer().compression(Compression::None).build().unwrap();
    let value = "x".repeat(300);
    // The first goes alone, and the others wait together; some of them are awaited before it is known.
    let mut tasks = Vec::new();
    for _ in 0..20 {
        tasks.push(tokio::spawn(producer.enqueue(Record::new("t", &value)).await.unwrap()));
    }
    tokio::task::yield_now().await;
    producer.flush().await.unwrap();
    for (expected, task) in (0..).zip(tasks) {
        assert_eq!(task.await.unwrap().unwrap().offset, Some(Offset(expected)));
    }
    assert_eq!(producer.buffered_bytes(), 0);
    assert_eq!(cluster.log_end_offset("t", 0).await.unwrap(), Some(20));
}

#[tokio::test(start_paused = true)]
async fn records_of_any_two_times_are_written() {
    // The broker replaces the times, and so does not judge them.
    let cluster = Cluster::builder().topic_with("t", 1, &[("message.timestamp.type", "LogAppendTime")]);
    let cluster = cluster.in_memory().start().await.unwrap();
    let client = Client::connect_over(cluster.transport(), Config::new(cluster.bootstrap())).await.unwrap();
    let producer = client.producer().linger(Duration::from_millis(10)).build().unwrap();
    let mut deliveries = Vec::new();
    for time in [-1_000, i64::MAX, 0, i64::MIN, 5] {
        deliveries.push(producer.enqueue(Record::new("t", "x").timestamp(time)).await.unwrap());
    }
    for (delivery, expected) in deliveries.into_iter().zip(0..) {
        assert_eq!(delivery.await.unwrap().offset, Some(Offset(expected)));
    }
    assert_eq!(producer.buffered_bytes(), 0);
}

/// The deliveries of `count` records, which were enqueued one after the other without waiting for anything.
async fn deliveries(producer: &Producer, count: usize) -> Vec<Delivery> {
    let mut deliveries = Vec::new();
    for _ in 0..count {
        deliveries.push(producer.enqueue(Record::new("t", &[7; 100])).await.unwrap());
    }
    deliveries
}

#[tokio::test(start_paused = true)]
async fn a_loop_that_only_enqueues_lets_the_producer_send() {
    let (_cluster, client) = cluster(1, 1).await;
    let producer = client.producer().batch_size(2_000).build().unwrap();
    // A batch holds less than 20 of them, and the budget all.
    let deliveries = deliveries(&producer, 10_000).await;
    let sent = deliveries.iter().filter(|delivery| delivery.try_outcome().is_some()).count();
    assert!(sent > 5_000, "{sent} records were acknowledged meanwhile");
    producer.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn keyless_records_fill_the_batches_of_one_partition_after_the_other() {
    let (_cluster, client) = cluster(1, 6).await;
    let linger = Duration::from_secs(10);
    let producer = client.producer().compression(Compression::None).batch_size(16 << 10).linger(linger);
    let producer = producer.build().unwrap();
    let deliveries = deliveries(&producer, 10_000).await;
    producer.flush().await.unwrap();
    let partitions: Vec<_> =
        deliveries.iter().map(|delivery| delivery.try_outcome().unwrap().unwrap().partition).collect();
    let stays: Vec<usize> = partitions.chunk_by(|one, other| one == other).map(<[_]>::len).collect();
    let (_last, stays) = stays.split_last().unwrap();
    // Where the same partition is chosen again, a stay is a multiple.
    let records = *stays.iter().min().unwrap();
    assert!(stays.iter().all(|stay| stay.is_multiple_of(records)), "{stays:?}");
    // They take less than 110 bytes each.
    assert!(records > 145, "a batch of 16 KiB holds {records}");
}

#[tokio::test(start_paused = true)]
async fn an_observer_hears_of_every_batch_before_its_records_do() {
    let (cluster, client) = cluster(1, 2).await;
    let (told, heard) = std::sync::mpsc::channel();
    let builder =
        client.producer().linger(Duration::from_millis(10)).delivery_timeout(Duration::from_secs(31));
    let observer = move |batch: &BatchDelivery<'_>| {
        let outcome = batch.outcome.map_err(Error::clone);
        told.send((
            batch.partition.partition,
            batch.records,
            batch.first_timestamp,
            batch.max_timestamp,
            outcome,
        ))
        .unwrap();
        assert_ne!(batch.records, 3, "a panic of the observer is its own");
    };
    let producer = builder.on_delivery(observer).build().unwrap();
    let send = async |partition: i32, times: &[i64]| {
        let mut deliveries = Vec::new();
        for time in times {
            let record = Record::new("t", "x").partition(partition).timestamp(*time);
            deliveries.push(producer.enqueue(record).await.unwrap());
        }
        for delivery in deliveries {
            drop(delivery.await);
        }
    };
    let now = 1_700_000_000_000;
    send(1, &[now + 1, now + 7, now]).await;
    let (partition, records, first, max, outcome) = heard.try_recv().expect("before the deliveries");
    assert_eq!((partition, records, first - now, max - now), (Partition(1), 3, 1, 7));
    assert_eq!(outcome.unwrap(), Some(Offset(0)));
    send(1, &[now]).await;
    assert_eq!(heard.try_recv().unwrap().4.unwrap(), Some(Offset(3)));
    let refuse = Rule::new(Fault::Refuse(Code::NOT_ENOUGH_REPLICAS)).on(Api::Produce);
    cluster.fault(refuse).await.unwrap();
    send(0, &[now, now]).await;
    let (partition, records, .., outcome) = heard.try_recv().unwrap();
    assert_eq!((partition, records), (Partition(0), 2));
    assert!(matches!(outcome.unwrap_err().kind(), ErrorKind::Undelivered { .. }));
    assert!(heard.try_recv().is_err(), "once for each batch");
}

#[tokio::test]
async fn batches_that_are_compressed_aside_keep_their_order_and_fill_their_size_on_the_wire() {
    const RECORDS: u64 = 40_000;
    const SIZE: usize = 64 << 10;
    let (_cluster, client) = cluster(1, 1).await;
    let (told, heard) = std::sync::mpsc::channel();
    let observer = move |batch: &BatchDelivery<'_>| told.send((batch.records, batch.bytes)).unwrap();
    let builder = client.producer().compression(Compression::Lz4).batch_size(SIZE);
    let producer = builder.on_delivery(observer).build().unwrap();
    // A third of it cannot be compressed.
    let value =
        |number: u64| format!("{:016x}{}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15), "x".repeat(80));
    let mut deliveries = Vec::new();
    for number in 0..RECORDS {
        deliveries.push(producer.enqueue(Record::new("t", &value(number))).await.unwrap());
    }
    producer.flush().await.unwrap();
    for (expected, delivery) in (0..).zip(deliveries) {
        assert_eq!(delivery.await.unwrap().offset, Some(Offset(expected)));
    }
    let batches: Vec<(u32, usize)> = heard.try_iter().collect();
    assert_eq!(batches.iter().map(|(records, _)| u64::from(*records)).sum::<u64>(), RECORDS);
    let largest = batches.iter().map(|(_, bytes)| *bytes).max().unwrap();
    assert!((SIZE * 3 / 4..=SIZE * 9 / 8).contains(&largest), "{batches:?}");
    let reader = client.reader().topics(["t"]).build().unwrap();
    for number in 0..RECORDS {
        assert_eq!(reader.next().await.unwrap().unwrap().value(), Some(value(number).as_bytes()));
    }
}

/// Sends what has no key to a partition of its own, and gives everything a header.
#[derive(Debug)]
struct Sorter;

impl ProducerInterceptor for Sorter {
    fn on_send<'a>(&self, record: Record<'a>) -> Record<'a> {
        assert!(record.header_fields().is_empty() && record.given_timestamp().is_none());
        let record = record.headers(&[("sorted", None)]);
        let is_free = record.key_bytes().is_none() && record.given_partition().is_none();
        if is_free { record.partition(1) } else { record }
    }
}

#[tokio::test(start_paused = true)]
async fn an_interceptor_may_replace_what_is_sent() {
    let (_cluster, client) = cluster(1, 4).await;
    let producer = client.producer().interceptor(Sorter).build().unwrap();
    assert_eq!(producer.send(Record::new("t", "x")).await.unwrap().partition, Partition(1));
    let placed = Record::new("t", "x").partition(3);
    assert_eq!(producer.try_enqueue(placed).unwrap().await.unwrap().partition, Partition(3));
    let reader = client.reader().topics(["t"]).build().unwrap();
    for _ in 0..2 {
        let message = reader.next().await.unwrap().unwrap();
        assert_eq!(message.headers().collect::<Vec<_>>(), [("sorted", None)]);
    }
}

#[tokio::test(start_paused = true)]
async fn topics_are_created_if_that_is_wanted_and_allowed() {
    let builder = Cluster::builder().in_memory().settings(|settings| settings.auto_create_topics = true);
    let cluster = builder.start().await.unwrap();
    let client = Client::connect_over(cluster.transport(), Config::new(cluster.bootstrap())).await.unwrap();
    let strict = client.producer().max_block(Duration::from_secs(3)).build().unwrap();
    let error = strict.send(Record::new("new", "x")).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::UnknownTopic { .. }), "{error}");
    let generous = client.producer().max_block(Duration::from_secs(3)).create_topics(true).build().unwrap();
    assert_eq!(generous.send(Record::new("new", "x")).await.unwrap().offset, Some(Offset(0)));
    let invalid = generous.send(Record::new("a/b", "x")).await.unwrap_err();
    assert!(matches!(invalid.kind(), ErrorKind::InvalidTopic { .. }), "{invalid}");
    let delivery = loop {
        match generous.try_enqueue(Record::new("newer", "x")) {
            Ok(delivery) => break delivery,
            Err(refused) => assert!(matches!(refused.error.kind(), ErrorKind::MetadataPending { .. })),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(delivery.await.unwrap().offset, Some(Offset(0)));
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_brokers_do_not_create_is_unknown_after_the_time_that_was_set() {
    let (_cluster, client) = cluster(1, 1).await;
    let wait = Duration::from_millis(3_500);
    let producer = client.producer().max_block(wait).create_topics(true).build().unwrap();
    let before = tokio::time::Instant::now();
    let error = producer.send(Record::new("new", "x")).await.unwrap_err();
    let ErrorKind::UnknownTopic { waited, .. } = error.kind() else { panic!("{error}") };
    assert_eq!((*waited, before.elapsed().as_secs()), (wait, 3));
}

#[tokio::test(start_paused = true)]
async fn records_for_a_topic_that_was_created_anew_fail_or_follow() {
    for (policy, follows) in [(RecreatedTopics::Fail, false), (RecreatedTopics::Follow, true)] {
        let (cluster, client) = cluster(1, 1).await;
        let producer = client.producer().recreated_topics(policy).build().unwrap();
        producer.send(Record::new("t", "old")).await.unwrap();
        cluster.delete_topic("t").await.unwrap();
        let caught = producer.enqueue(Record::new("t", "caught")).await.unwrap();
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(caught.try_outcome().is_none(), "it may come back");
        cluster.create_topic("t", 1).await.unwrap();
        match caught.await {
            Ok(delivered) if follows => assert_eq!(delivered.offset, Some(Offset(0))),
            Err(error) if !follows => {
                assert!(matches!(error.kind(), ErrorKind::TopicRecreated { .. }), "{error}");
            }
            other => panic!("{policy:?}: {other:?}"),
        }
        let expected = Some(Offset(i64::from(follows)));
        assert_eq!(producer.send(Record::new("t", "new")).await.unwrap().offset, expected);
    }
}
