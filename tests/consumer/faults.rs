//! Faults of brokers and of the way to them: nothing is lost and nothing comes twice.

use std::time::Duration;

use milena::{
    Client, Code, Config, ErrorKind, GroupProtocol, Offset, OnOutOfRange, OnRecreated, Position, Record,
    testing::{Api, Fault, Rule},
};

use crate::support::{LONG, cluster, connect, error, produce, take, take_sorted, tp};

#[tokio::test(start_paused = true)]
async fn reading_follows_the_leader() {
    let (cluster, client) = cluster(3, 2).await;
    let reader = client.reader().topics(["t"]).build().unwrap();
    for round in 0..6 {
        let numbers = round * 100..(round + 1) * 100;
        produce(&client, numbers.clone(), 2).await;
        assert_eq!(take_sorted(&reader, 50).await.len(), 50);
        for partition in 0..2 {
            let leader = cluster.leader("t", partition).await.unwrap().unwrap();
            cluster.move_leader("t", partition, leader.0 % 3 + 1).await.unwrap();
        }
        take(&reader, 50).await;
        assert_eq!(reader.position(&tp(0)), Some(Offset(i64::from(numbers.end) / 2)));
    }
}

#[tokio::test(start_paused = true)]
async fn reading_goes_on_when_brokers_come_and_go() {
    let (cluster, client) = cluster(3, 3).await;
    let reader = client.reader().topics(["t"]).build().unwrap();
    for node in 1..=3 {
        produce(&client, 0..30, 3).await;
        cluster.stop_node(node).await.unwrap();
        produce(&client, 30..60, 3).await;
        assert_eq!(take_sorted(&reader, 60).await, (0..60).collect::<Vec<_>>());
        cluster.start_node(node).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn lost_answers_and_lost_connections_lose_and_repeat_nothing() {
    let faults = [
        Fault::CloseBefore,
        Fault::CloseAfter,
        Fault::Delay(Duration::from_secs(2)),
        Fault::Throttle(Duration::from_millis(700)),
        Fault::Refuse(Code::NOT_LEADER_OR_FOLLOWER),
        Fault::Refuse(Code::UNKNOWN_LEADER_EPOCH),
        Fault::Refuse(Code::UNKNOWN_TOPIC_ID),
        Fault::Refuse(Code::KAFKA_STORAGE_ERROR),
    ];
    for fault in faults {
        let (cluster, client) = cluster(2, 4).await;
        let rule = |api| Rule::new(fault.clone()).on(api).chance(0.4);
        let hits = [
            cluster.fault(rule(Api::Fetch)).await.unwrap(),
            cluster.fault(rule(Api::ListOffsets)).await.unwrap(),
        ];
        let reader =
            client.reader().topics(["t"]).partition_max_bytes(1000).fetch_max_bytes(2000).build().unwrap();
        for round in 0..10 {
            let numbers = round * 40..(round + 1) * 40;
            produce(&connect(&cluster).await, numbers.clone(), 4).await;
            assert_eq!(take_sorted(&reader, 40).await, numbers.collect::<Vec<_>>(), "{fault:?}");
        }
        assert!(
            hits.iter().map(milena::testing::FaultHandle::hits).sum::<u64>() > 0,
            "{fault:?} was never met"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_broker_is_given_up_after_the_request_timeout() {
    let (cluster, _) = cluster(1, 1).await;
    let config = Config::new(cluster.bootstrap()).request_timeout(Duration::from_secs(5));
    let client = Client::connect_over(cluster.transport(), config).await.unwrap();
    produce(&client, 0..10, 1).await;
    let ignored = cluster.fault(Rule::new(Fault::Ignore).on(Api::Fetch).times(2)).await.unwrap();
    let reader = client.reader().topics(["t"]).build().unwrap();
    assert_eq!(take(&reader, 10).await.len(), 10);
    assert_eq!(ignored.hits(), 2);
}

#[tokio::test(start_paused = true)]
async fn records_that_are_deleted_before_they_are_read_are_passed_or_reported() {
    let (cluster, client) = cluster(1, 1).await;
    produce(&client, 0..100, 1).await;
    cluster.delete_records("t", 0, 60).await.unwrap();
    let from = |policy| {
        let builder = client.reader().partitions([(tp(0), Position::At(Offset(10)))]);
        builder.on_out_of_range(policy).build().unwrap()
    };
    assert_eq!(take(&from(OnOutOfRange::Earliest), 1).await, [60], "the oldest that is there, not the end");
    let at_end = from(OnOutOfRange::Latest);
    while at_end.position(&tp(0)) != Some(Offset(100)) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let refusing = from(OnOutOfRange::Fail);
    let error = error(&refusing).await;
    let ErrorKind::OffsetOutOfRange { offset: 10, setting: "on_out_of_range", .. } = error.kind() else {
        panic!("{error}")
    };
    refusing.seek(&[(tp(0), Position::At(Offset(99)))]).await.unwrap();
    assert_eq!(take(&refusing, 1).await, [99]);
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_is_created_anew_is_not_read_at_the_old_position() {
    let (cluster, client) = cluster(1, 1).await;
    produce(&client, 0..10, 1).await;
    let reader = client.reader().topics(["t"]).build().unwrap();
    take(&reader, 10).await;
    cluster.delete_topic("t").await.unwrap();
    cluster.create_topic("t", 1).await.unwrap();
    produce(&connect(&cluster).await, 50..70, 1).await;
    let error = error(&reader).await;
    assert!(matches!(error.kind(), ErrorKind::TopicRecreated { .. }), "{error}");
    reader.seek(&[(tp(0), Position::Earliest)]).await.unwrap();
    assert_eq!(take(&reader, 3).await, [50, 51, 52]);
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_is_created_anew_is_read_from_its_beginning_where_that_is_wanted() {
    for protocol in [None, Some(GroupProtocol::Classic), Some(GroupProtocol::Consumer)] {
        let (cluster, client) = cluster(1, 1).await;
        produce(&client, 0..10, 1).await;
        let reader = match protocol {
            Some(protocol) => client.consumer("g").protocol(protocol),
            None => client.reader(),
        };
        // Where it starts is not where it goes on.
        let reader = reader.topics(["t"]).start_at(Position::Latest).on_recreated(OnRecreated::Follow);
        let reader = reader.build().unwrap();
        let reads = async {
            while reader.position(&tp(0)) != Some(Offset(10)) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(LONG, reads).await.unwrap();
        cluster.delete_topic("t").await.unwrap();
        cluster.create_topic("t", 1).await.unwrap();
        produce(&connect(&cluster).await, 50..70, 1).await;
        assert_eq!(take(&reader, 20).await, (50..70).collect::<Vec<_>>(), "{protocol:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_hangs_keeps_nobody_from_finding_the_coordinator_elsewhere() {
    let (cluster, client) = cluster(3, 1).await;
    produce(&client, 0..5, 1).await;
    cluster.fault(Rule::new(Fault::Ignore).on(Api::FindCoordinator).times(1)).await.unwrap();
    let begun = tokio::time::Instant::now();
    let member = client.consumer("g").topics(["t"]).build().unwrap();
    assert_eq!(take(&member, 5).await.len(), 5);
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}

/// Also where reading begins at the end: what was written to them before anybody knew of them is new.
#[tokio::test(start_paused = true)]
async fn partitions_that_are_added_are_read_from_their_beginning() {
    for protocol in [None, Some(GroupProtocol::Classic), Some(GroupProtocol::Consumer)] {
        let (cluster, _) = cluster(3, 1).await;
        let config = Config::new(cluster.bootstrap()).metadata_max_age(Duration::from_secs(10));
        let client = Client::connect_over(cluster.transport(), config).await.unwrap();
        produce(&client, 0..10, 1).await;
        let reader = match protocol {
            Some(protocol) => client.consumer("g").protocol(protocol),
            None => client.reader(),
        };
        let reader = reader.topics(["t"]).start_at(Position::Latest).build().unwrap();
        let reads = async {
            while reader.position(&tp(0)) != Some(Offset(10)) {
                let _ = tokio::time::timeout(Duration::from_millis(10), reader.next()).await;
            }
        };
        tokio::time::timeout(LONG, reads).await.unwrap();
        cluster.add_partitions("t", 3).await.unwrap();
        produce(&connect(&cluster).await, 10..40, 3).await;
        assert_eq!(take_sorted(&reader, 30).await, (10..40).collect::<Vec<_>>(), "{protocol:?}");
        assert_eq!(reader.assignment().len(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_broker_delays_nobody() {
    let (cluster, client) = cluster(2, 2).await;
    assert_ne!(cluster.leader("t", 0).await.unwrap(), cluster.leader("t", 1).await.unwrap());
    let reader = client.reader().topics(["t"]).build().unwrap();
    let producer = client.producer().build().unwrap();
    producer.send(Record::new("t", "0").partition(0)).await.unwrap();
    take(&reader, 1).await;
    let start = tokio::time::Instant::now();
    for _ in 0..100 {
        producer.send(Record::new("t", "0").partition(0)).await.unwrap();
        take(&reader, 1).await;
    }
    assert!(start.elapsed() < Duration::from_millis(100), "{:?}", start.elapsed());
}
