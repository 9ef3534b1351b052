//! What users and clusters get wrong, each with its typed error.

use std::time::Duration;

use milena::{Commit, ErrorKind, Offset, Position, Resource, TopicPartition};

use crate::support::{cluster, connect, error, produce, take, tp};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn all_problems_of_a_consumer_come_at_once() {
    let (_cluster, client) = cluster(1, 1).await;
    let group = client
        .consumer("")
        .topics(["a/b"])
        .partitions([(tp(0), Position::Earliest)])
        .heartbeat_interval(Duration::from_secs(40))
        .commit(Commit::Every(Duration::ZERO))
        .buffered_bytes(5)
        .fetch_max_bytes(1 << 30);
    let reader = client.reader().commit(Commit::Manual).start_at(Position::Committed).group_instance_id("x");
    let settings = |error: milena::Error| match error.kind() {
        ErrorKind::Config { problems, .. } => problems.iter().map(|p| p.setting).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    let expected = [
        "group",
        "partitions",
        "heartbeat_interval",
        "commit",
        "topics",
        "topics",
        "fetch_max_bytes",
        "buffered_bytes",
    ];
    let mut found = settings(group.build().unwrap_err());
    found.sort_unstable();
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    expected.dedup();
    found.dedup();
    assert_eq!(found, expected);
    assert_eq!(settings(reader.build().unwrap_err()), ["topics", "commit", "group_instance_id", "start_at"]);
}

#[test]
fn a_consumer_needs_a_runtime() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let (_cluster, client) = runtime.block_on(cluster(1, 1));
    let error = client.reader().topics(["t"]).build().unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::NoRuntime { call: "ConsumerBuilder::build", .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_missing_topic_is_reported_after_its_time_and_read_when_it_appears() {
    let (cluster, client) = cluster(1, 1).await;
    let reader = client.reader().topics(["late"]).topic_timeout(7 * SECOND).build().unwrap();
    for _ in 0..2 {
        let error = error(&reader).await;
        let ErrorKind::UnknownTopic { topic, waited, setting: "topic_timeout", .. } = error.kind() else {
            panic!("{error}")
        };
        assert!(topic.as_str() == "late" && *waited >= 7 * SECOND);
    }
    cluster.create_topic("late", 1).await.unwrap();
    let producer = client.producer().build().unwrap();
    producer.send(milena::Record::new("late", "5")).await.unwrap();
    assert_eq!(take(&reader, 1).await, [5]);
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_does_not_exist_is_reported_and_the_others_are_read() {
    let (_cluster, client) = cluster(1, 2).await;
    produce(&client, 0..4, 2).await;
    let chosen = [0, 1, 9, -1].map(|index| (tp(index), Position::Earliest));
    let reader = client.reader().partitions(chosen).build().unwrap();
    let mut missing = Vec::new();
    let mut records = 0;
    while missing.len() < 2 || records < 4 {
        match reader.next().await.unwrap() {
            Ok(_) => records += 1,
            Err(error) => match error.kind() {
                ErrorKind::UnknownPartition { partition, count: 2, .. } => missing.push(partition.0),
                _ => panic!("{error}"),
            },
        }
    }
    missing.sort_unstable();
    assert_eq!(missing, [-1, 9]);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_authorized_is_named_again_and_again_until_it_is() {
    let (cluster, client) = cluster(2, 1).await;
    produce(&client, 0..1, 1).await;
    let denied = |kind: &ErrorKind, wanted: Resource, called: &str| matches!(kind, ErrorKind::NotAuthorized { resource, name, .. } if *resource == wanted && name == called);

    cluster.deny(Resource::Group, "g").await.unwrap();
    let member = connect(&cluster).await.consumer("g").topics(["t"]).build().unwrap();
    for _ in 0..3 {
        assert!(denied(error(&member).await.kind(), Resource::Group, "g"));
    }
    cluster.allow(Resource::Group, "g").await.unwrap();
    while !matches!(member.next().await, Some(Ok(_))) {}

    let reader = client.reader().topics(["t"]).build().unwrap();
    take(&reader, 1).await;
    cluster.deny(Resource::Topic, "t").await.unwrap();
    for _ in 0..3 {
        assert!(denied(error(&reader).await.kind(), Resource::Topic, "t"));
    }
    cluster.allow(Resource::Topic, "t").await.unwrap();
    produce(&client, 1..2, 1).await;
    while !matches!(reader.next().await, Some(Ok(_))) {}

    // From the start on.
    cluster.deny(Resource::Topic, "t").await.unwrap();
    let reader = connect(&cluster).await.reader().topics(["t"]).build().unwrap();
    assert!(denied(error(&reader).await.kind(), Resource::Topic, "t"));
}

#[tokio::test(start_paused = true)]
async fn a_reader_in_no_group_has_nothing_to_commit() {
    let (_cluster, client) = cluster(1, 1).await;
    let reader = client.reader().topics(["t"]).build().unwrap();
    for error in [reader.commit().await.unwrap_err(), reader.committed(&[tp(0)]).await.unwrap_err()] {
        assert!(matches!(error.kind(), ErrorKind::Config { .. }), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn to_refuse_to_guess_is_an_error_until_a_seek() {
    let (_cluster, client) = cluster(1, 1).await;
    produce(&client, 0..3, 1).await;
    let member = client.consumer("g").topics(["t"]).start_at(Position::Committed).build().unwrap();
    let error = error(&member).await;
    assert!(
        matches!(error.kind(), ErrorKind::NoPosition { partition, .. } if *partition == tp(0)),
        "{error}"
    );
    member.seek(&[(tp(0), Position::At(Offset(1)))]).await.unwrap();
    assert_eq!(take(&member, 2).await, [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn use_after_close_is_refused() {
    let (_cluster, client) = cluster(1, 1).await;
    let member = client.consumer("g").topics(["t"]).build().unwrap();
    member.close().await.unwrap();
    assert!(member.next().await.is_none() && member.next_batch().await.is_none());
    let closed = |error: milena::Error| matches!(error.kind(), ErrorKind::Closed { what: "consumer", .. });
    assert!(closed(member.commit().await.unwrap_err()));
    assert!(closed(member.seek(&[(tp(0), Position::Earliest)]).await.unwrap_err()));
    assert!(closed(member.close().await.unwrap_err()));
    assert_eq!(member.assignment(), Vec::<TopicPartition>::new());
}
