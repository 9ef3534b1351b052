//! What a consumer tells of itself beside its records.

use std::time::Duration;

use milena::{
    Client, Code, Commit, Consumer, ConsumerEvent, ConsumerEvents, ErrorKind, GroupProtocol, NodeId, Offset,
    OnRecreated, Position,
    testing::{Api, Cluster, Fault, Rule, Settings},
};

use crate::groups::settle;
use crate::support::{LONG, cluster, connect, produce, take, tp};

const SECOND: Duration = Duration::from_secs(1);

/// The next event that is looked for; the consumer is asked for records meanwhile, which are passed.
async fn find<T>(
    consumer: &Consumer,
    events: &mut ConsumerEvents,
    what: &str,
    is_it: impl Fn(&ConsumerEvent) -> Option<T>,
) -> T {
    let look = async {
        loop {
            tokio::select! {
                event = events.next() => {
                    let event = event.expect("the consumer has ended");
                    if let Some(found) = is_it(&event) {
                        return found;
                    }
                }
                next = consumer.next() => drop(next),
            }
        }
    };
    tokio::time::timeout(LONG, look).await.unwrap_or_else(|_| panic!("nothing told of {what}"))
}

async fn finished(consumer: &Consumer, events: &mut ConsumerEvents) -> (Duration, Vec<i32>) {
    find(consumer, events, "the rebalance's end", |event| match event {
        ConsumerEvent::RebalanceFinished { took, assignment, .. } => {
            Some((*took, assignment.iter().map(|partition| partition.partition.0).collect()))
        }
        _ => None,
    })
    .await
}

async fn started(consumer: &Consumer, events: &mut ConsumerEvents) {
    let is_it = |event: &ConsumerEvent| matches!(event, ConsumerEvent::RebalanceStarted).then_some(());
    find(consumer, events, "a rebalance", is_it).await;
}

fn member(client: &Client, protocol: GroupProtocol) -> milena::ConsumerBuilder {
    client.consumer("g").topics(["t"]).protocol(protocol)
}

#[tokio::test(start_paused = true)]
async fn rebalances_are_told_with_the_time_they_took() {
    for protocol in [GroupProtocol::Classic, GroupProtocol::Consumer] {
        let (_cluster, client) = cluster(1, 2).await;
        let first = member(&client, protocol).build().unwrap();
        let mut events = first.events();
        started(&first, &mut events).await;
        assert_eq!(finished(&first, &mut events).await.1, [0, 1], "{protocol:?}");
        let second = member(&client, protocol).build().unwrap();
        settle(&[(&first, 1), (&second, 1)]).await;
        started(&first, &mut events).await;
        let (took, share) = finished(&first, &mut events).await;
        assert!(share.len() == 1 && took < 10 * SECOND, "{protocol:?}: {share:?} after {took:?}");
        let mut of_second = second.events();
        started(&second, &mut of_second).await;
        while finished(&second, &mut of_second).await.1.len() != 1 {}
        second.close().await.unwrap();
        while of_second.next().await.is_some() {}
        settle(&[(&first, 2)]).await;
        while finished(&first, &mut events).await.1.len() != 2 {}
        first.close().await.unwrap();
        assert!(events.next().await.is_none(), "{protocol:?}: closing is no rebalance");
    }
}

#[tokio::test(start_paused = true)]
async fn what_keeps_records_away_is_told() {
    let (cluster, client) = cluster(1, 1).await;
    produce(&client, 0..5, 1).await;
    let reader = client.reader().topics(["t", "nowhere"]).topic_timeout(SECOND).build().unwrap();
    let mut events = reader.events();
    let told = find(&reader, &mut events, "the topic", |event| match event {
        ConsumerEvent::Failed { topic, partition, error, .. } => {
            Some((topic.clone().unwrap(), *partition, error.clone()))
        }
        _ => None,
    });
    let (topic, partition, error) = told.await;
    assert!(topic == "nowhere".into() && partition.is_none(), "{topic} {partition:?}");
    assert!(matches!(error.kind(), ErrorKind::UnknownTopic { .. }));

    cluster.fault(Rule::new(Fault::Throttle(7 * SECOND)).on(Api::Fetch).times(1)).await.unwrap();
    let throttled = find(&reader, &mut events, "throttling", |event| match event {
        ConsumerEvent::Throttled { broker, delay, .. } => Some((*broker, *delay)),
        _ => None,
    });
    assert_eq!(throttled.await, (NodeId(1), 7 * SECOND));

    let denied = client.reader().partitions([(tp(0), Position::At(Offset(77)))]).build().unwrap();
    let mut events = denied.events();
    let out_of_range = find(&denied, &mut events, "the offset", |event| match event {
        ConsumerEvent::OffsetOutOfRange { partition, offset, .. } => Some((partition.clone(), *offset)),
        _ => None,
    });
    assert_eq!(out_of_range.await, (tp(0), 77));
}

#[tokio::test(start_paused = true)]
async fn a_log_that_loses_what_was_read_is_told() {
    let (cluster, client) = cluster(3, 1).await;
    produce(&client, 0..6, 1).await;
    produce(&client, 6..10, 1).await;
    let reader = client.reader().topics(["t"]).build().unwrap();
    let mut events = reader.events();
    take(&reader, 10).await;
    cluster.lose_records("t", 0, 6).await.unwrap();
    let truncated = find(&reader, &mut events, "the loss", |event| match event {
        ConsumerEvent::LogTruncated { partition, offset, diverges_at, .. } => {
            Some((partition.clone(), *offset, *diverges_at))
        }
        _ => None,
    });
    assert_eq!(truncated.await, (tp(0), 10, 6));
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_is_created_anew_is_told() {
    for policy in [OnRecreated::Follow, OnRecreated::Fail] {
        let (cluster, client) = cluster(1, 1).await;
        produce(&client, 0..10, 1).await;
        let reader = client.reader().topics(["t"]).on_recreated(policy).build().unwrap();
        let mut events = reader.events();
        take(&reader, 10).await;
        cluster.delete_topic("t").await.unwrap();
        cluster.create_topic("t", 1).await.unwrap();
        let recreated = find(&reader, &mut events, "the other topic", |event| match event {
            ConsumerEvent::TopicRecreated { partition, .. } => Some(partition.clone()),
            _ => None,
        });
        assert_eq!(recreated.await, tp(0), "{policy:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn work_that_is_not_done_in_time_when_a_partition_is_given_up_is_told() {
    for protocol in [GroupProtocol::Classic, GroupProtocol::Consumer] {
        let (_cluster, client) = cluster(1, 2).await;
        produce(&client, 0..2, 2).await;
        let builder =
            member(&client, protocol).commit(Commit::Acknowledged(SECOND)).drain_timeout(5 * SECOND);
        let first = builder.clone().build().unwrap();
        let mut events = first.events();
        let held = [first.next().await.unwrap().unwrap(), first.next().await.unwrap().unwrap()];
        let second = builder.build().unwrap();
        let undone = find(&first, &mut events, "the work", |event| match event {
            ConsumerEvent::NotAcknowledged { partitions, after, .. } => Some((partitions.clone(), *after)),
            _ => None,
        });
        let (partitions, after) = undone.await;
        assert_eq!(after, 5 * SECOND, "{protocol:?}");
        settle(&[(&first, 1), (&second, 1)]).await;
        assert_eq!(partitions, second.assignment(), "{protocol:?}");
        drop(held);
    }
}

#[tokio::test(start_paused = true)]
async fn a_partition_without_a_leader_is_told_once() {
    let alone = |settings: &mut Settings| settings.default_replication_factor = 1;
    let cluster =
        Cluster::builder().nodes(2).settings(alone).topic("t", 1).in_memory().start().await.unwrap();
    let client = connect(&cluster).await;
    let reader = client.reader().topics(["t"]).build().unwrap();
    let mut events = reader.events();
    for round in 0..2 {
        produce(&client, round..round + 1, 1).await;
        assert_eq!(take(&reader, 1).await, [round]);
        let leader = cluster.leader("t", 0).await.unwrap().unwrap();
        cluster.stop_node(leader).await.unwrap();
        let mut count = 0;
        let look = async {
            while let Some(event) = events.next().await {
                count += u32::from(matches!(event, ConsumerEvent::NoLeader { .. }));
            }
        };
        assert!(tokio::time::timeout(60 * SECOND, look).await.is_err());
        assert_eq!(count, 1);
        cluster.start_node(leader).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn what_happens_to_a_member_is_told() {
    let (cluster, client) = cluster(1, 1).await;
    produce(&client, 0..10, 1).await;
    let member = member(&client, GroupProtocol::Classic).commit(Commit::Every(SECOND));
    let member = member.max_poll_interval(30 * SECOND).build().unwrap();
    let mut events = member.events();
    take(&member, 5).await;
    let refused = Rule::new(Fault::Refuse(Code::TOPIC_AUTHORIZATION_FAILED)).on(Api::OffsetCommit).times(1);
    cluster.fault(refused).await.unwrap();
    let failed = find(&member, &mut events, "the commit", |event| match event {
        ConsumerEvent::CommitFailed { error, .. } => Some(error.clone()),
        _ => None,
    });
    assert!(matches!(failed.await.kind(), ErrorKind::NotAuthorized { .. }));

    let refused = Rule::new(Fault::Refuse(Code::UNKNOWN_MEMBER_ID)).on(Api::Heartbeat).times(1);
    cluster.fault(refused).await.unwrap();
    let lost = find(&member, &mut events, "the loss", |event| match event {
        ConsumerEvent::PartitionsLost { partitions, .. } => Some(partitions.clone()),
        _ => None,
    });
    assert_eq!(lost.await, [tp(0)]);
    finished(&member, &mut events).await;
    let exceeded = async {
        loop {
            if let Some(ConsumerEvent::PollIntervalExceeded { after, .. }) = events.next().await {
                return after;
            }
        }
    };
    assert!(tokio::time::timeout(LONG, exceeded).await.unwrap() >= 30 * SECOND);
}
