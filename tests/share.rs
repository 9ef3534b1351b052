//! Members of share groups against the embedded cluster, in memory and on virtual time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "virtual time")]

use std::{collections::BTreeSet, ops::Range, sync::Arc, time::Duration};

use milena::{
    Acknowledge, AcquireMode, Client, Code, Config, ConsumerEvent, ErrorKind, Record, ShareConsumer,
    ShareConsumerBuilder, ShareMessage, TopicPartition,
    testing::{Api, Cluster, Fault, Rule, Settings},
};
use tokio::task::JoinSet;

/// Virtual time that nothing should take.
const LONG: Duration = Duration::from_secs(120);
const SECOND: Duration = Duration::from_secs(1);

async fn cluster(nodes: u16, partitions: usize) -> (Cluster, Client) {
    let from_the_beginning = |settings: &mut Settings| settings.share_from_earliest = true;
    let cluster = Cluster::builder().nodes(nodes).settings(from_the_beginning).topic("t", partitions);
    let cluster = cluster.in_memory().start().await.unwrap();
    let client = connect(&cluster).await;
    (cluster, client)
}

async fn connect(cluster: &Cluster) -> Client {
    Client::connect_over(cluster.transport(), Config::new(cluster.bootstrap())).await.unwrap()
}

async fn produce(client: &Client, numbers: Range<i32>, partitions: i32) {
    let producer = client.producer().build().unwrap();
    for number in numbers {
        let value = number.to_string();
        drop(producer.enqueue(Record::new("t", &value).partition(number % partitions)).await.unwrap());
    }
    producer.close().await.unwrap();
}

fn explicit(client: &Client) -> ShareConsumerBuilder {
    client.share_consumer("g").topics(["t"]).acknowledge(Acknowledge::Explicit)
}

fn number(message: &ShareMessage) -> i32 {
    std::str::from_utf8(message.value().unwrap()).unwrap().parse().unwrap()
}

async fn next(consumer: &ShareConsumer) -> ShareMessage {
    tokio::time::timeout(LONG, consumer.next()).await.expect("no record came").unwrap().unwrap()
}

async fn take(consumer: &ShareConsumer, count: usize) -> Vec<ShareMessage> {
    let mut taken = Vec::with_capacity(count);
    while taken.len() < count {
        taken.push(next(consumer).await);
    }
    taken
}

async fn none_comes(consumer: &ShareConsumer, within: Duration) {
    let next = tokio::time::timeout(within, consumer.next()).await;
    assert!(next.is_err(), "{next:?}");
}

/// The error of the next call that has one.
async fn error(consumer: &ShareConsumer) -> milena::Error {
    loop {
        if let Err(error) = tokio::time::timeout(LONG, consumer.next()).await.unwrap().unwrap() {
            return error;
        }
    }
}

fn tp(index: i32) -> TopicPartition {
    TopicPartition::new("t", index)
}

#[tokio::test(start_paused = true)]
async fn tasks_side_by_side_decide_in_no_order_and_every_record_is_worked_on() {
    let (_cluster, client) = cluster(3, 4).await;
    produce(&client, 0..400, 4).await;
    let members: Vec<_> =
        (0..3).map(|_| Arc::new(explicit(&client).max_records(20).build().unwrap())).collect();
    let (sender, mut accepted) = tokio::sync::mpsc::channel(1);
    let mut tasks = JoinSet::new();
    for (place, member) in (0..).zip(members.iter().flat_map(|member| [member, member])) {
        let (member, sender) = (Arc::clone(member), sender.clone());
        tasks.spawn(async move {
            while let Some(message) = member.next().await {
                let message = message.unwrap();
                tokio::time::sleep(Duration::from_millis(u64::from(place * 7 % 5 + 1u32))).await;
                let number = number(&message);
                // Some are given back at first.
                if message.delivery_count() == 1 && number % 7 == 0 {
                    message.release();
                } else {
                    message.accept();
                    sender.send(number).await.unwrap();
                }
            }
        });
    }
    drop(sender);
    let mut worked_on = BTreeSet::new();
    while worked_on.len() < 400 {
        let number = tokio::time::timeout(LONG, accepted.recv()).await.unwrap().unwrap();
        assert!(worked_on.insert(number), "{number} twice");
    }
    for member in &members {
        member.commit().await.unwrap();
        member.close().await.unwrap();
    }
    assert!(accepted.recv().await.is_none());
    let rest = explicit(&client).build().unwrap();
    none_comes(&rest, 60 * SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_handed_out_is_accepted_by_the_next_call_or_a_commit() {
    let (_cluster, client) = cluster(1, 1).await;
    produce(&client, 0..5, 1).await;
    let implicit = || client.share_consumer("g").topics(["t"]).build().unwrap();
    let first = implicit();
    let read = take(&first, 3).await;
    assert_eq!(read.iter().map(number).collect::<Vec<_>>(), [0, 1, 2]);
    // The last one is not: nothing has superseded it.
    first.close().await.unwrap();
    assert!(first.next().await.is_none());
    let second = implicit();
    let read = take(&second, 3).await;
    assert_eq!(read.iter().map(number).collect::<Vec<_>>(), [2, 3, 4]);
    assert_eq!(read.iter().map(ShareMessage::delivery_count).collect::<Vec<_>>(), [2, 2, 2]);
    second.commit().await.unwrap();
    second.close().await.unwrap();
    none_comes(&implicit(), 40 * SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_ends_gives_the_record_to_others_and_the_decision_does_not_count() {
    let (_cluster, client) = cluster(1, 1).await;
    produce(&client, 0..2, 1).await;
    let (first, second) = (explicit(&client).build().unwrap(), explicit(&client).build().unwrap());
    let mut held = take(&first, 2).await;
    let renewed = held.pop().unwrap();
    for _ in 0..4 {
        tokio::time::sleep(10 * SECOND).await;
        renewed.renew();
        first.commit().await.unwrap();
    }
    let other = next(&second).await;
    assert_eq!((number(&other), other.delivery_count()), (0, 2));
    none_comes(&second, 5 * SECOND).await;
    held.pop().unwrap().accept();
    let refused = first.commit().await.unwrap_err();
    assert_eq!(refused.code(), Some(Code::INVALID_RECORD_STATE), "{refused}");
    let told = loop {
        if let ConsumerEvent::NotSettled { partition, first, last, .. } = first.next_event().await.unwrap() {
            break (partition, first, last);
        }
    };
    assert_eq!(told, (tp(0), 0, 0));
    renewed.accept();
    other.accept();
    first.commit().await.unwrap();
    second.commit().await.unwrap();
    none_comes(&second, 60 * SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn a_record_that_nobody_can_work_on_comes_five_times() {
    let (_cluster, client) = cluster(1, 1).await;
    produce(&client, 0..1, 1).await;
    let member = explicit(&client).build().unwrap();
    for count in 1..=5 {
        let message = next(&member).await;
        assert_eq!(message.delivery_count(), count);
        // Dropped, as by a task that has panicked.
    }
    none_comes(&member, 60 * SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn no_more_records_are_locked_than_was_said() {
    let (_cluster, client) = cluster(1, 1).await;
    produce(&client, 0..100, 1).await;
    let strict = explicit(&client).max_records(10).acquire_mode(AcquireMode::RecordLimit);
    let (first, second) = (strict.clone().build().unwrap(), strict.build().unwrap());
    let held = take(&first, 5).await;
    let others = take(&second, 10).await;
    let read: BTreeSet<i32> = held.iter().chain(&others).map(number).collect();
    assert_eq!(read.len(), 15, "the second has what the first has not locked");
    assert!(others.iter().all(|message| message.delivery_count() == 1));
}

#[tokio::test(start_paused = true)]
async fn members_go_on_through_faults_and_nothing_is_lost() {
    for fault in [
        Fault::CloseBefore,
        Fault::CloseAfter,
        Fault::Delay(3 * SECOND),
        Fault::Throttle(Duration::from_millis(700)),
        Fault::Refuse(Code::SHARE_SESSION_NOT_FOUND),
        Fault::Refuse(Code::INVALID_SHARE_SESSION_EPOCH),
    ] {
        let (cluster, client) = cluster(3, 3).await;
        for api in [Api::ShareFetch, Api::ShareAcknowledge, Api::ShareGroupHeartbeat] {
            cluster.fault(Rule::new(fault.clone()).on(api).chance(0.3)).await.unwrap();
        }
        produce(&client, 0..60, 3).await;
        let member = explicit(&client).max_records(10).build().unwrap();
        let mut read = BTreeSet::new();
        while read.len() < 60 {
            match tokio::time::timeout(LONG, member.next()).await.expect("no record came").unwrap() {
                Ok(message) => {
                    read.insert(number(&message));
                    message.accept();
                }
                Err(error) => assert!(!error.is_fatal(), "{fault:?}: {error}"),
            }
        }
        member.close().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn leaders_and_coordinators_move_and_members_follow() {
    let (cluster, client) = cluster(3, 3).await;
    let member = explicit(&client).build().unwrap();
    let mut read = BTreeSet::new();
    for round in 0..6 {
        produce(&client, round * 9..round * 9 + 9, 3).await;
        let coordinator = cluster.coordinator("g").await.unwrap().unwrap();
        if round % 2 == 0 {
            for partition in 0..3 {
                let leader = cluster.leader("t", partition).await.unwrap().unwrap();
                cluster.move_leader("t", partition, leader.0 % 3 + 1).await.unwrap();
            }
        } else {
            cluster.stop_node(coordinator).await.unwrap();
        }
        let count = usize::try_from(round * 9 + 9).unwrap();
        while read.len() < count {
            let message = next(&member).await;
            read.insert(number(&message));
            message.accept();
        }
        if round % 2 == 1 {
            cluster.start_node(coordinator).await.unwrap();
        }
    }
    let mut assignment = member.assignment().await.unwrap();
    assignment.sort();
    assert_eq!(assignment, [tp(0), tp(1), tp(2)]);
    member.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn markers_of_transactions_are_no_records_and_hold_up_nothing() {
    let (_cluster, client) = cluster(1, 1).await;
    let mut producer = client.producer().transactional("tx").await.unwrap();
    for number in 0..6 {
        let transaction = producer.begin().await.unwrap();
        let value = number.to_string();
        transaction.send(Record::new("t", &value).partition(0)).await.unwrap();
        if number % 2 == 0 {
            transaction.commit().await.unwrap();
        } else {
            transaction.abort().await.unwrap();
        }
    }
    let member = explicit(&client).build().unwrap();
    // What was aborted is read too, unless the group is set to read what is committed.
    let read = take(&member, 6).await;
    assert_eq!(read.iter().map(number).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
    read.into_iter().for_each(ShareMessage::accept);
    member.commit().await.unwrap();
    member.close().await.unwrap();
    none_comes(&explicit(&client).build().unwrap(), 60 * SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn what_goes_wrong_is_told() {
    let (cluster, client) = cluster(1, 1).await;
    let wrong = client.share_consumer("").topics([""; 0]).max_records(0).build().unwrap_err();
    let ErrorKind::Config { problems, .. } = wrong.kind() else { panic!("{wrong}") };
    let settings: Vec<_> = problems.iter().map(|problem| problem.setting).collect();
    assert_eq!(settings, ["group", "topics", "max_records"]);

    let lost = client.share_consumer("g").topics(["nowhere"]).topic_timeout(SECOND).build().unwrap();
    assert!(matches!(error(&lost).await.kind(), ErrorKind::UnknownTopic { .. }));
    cluster.create_topic("nowhere", 1).await.unwrap();
    let producer = client.producer().build().unwrap();
    producer.send(Record::new("nowhere", "7")).await.unwrap();
    assert_eq!(number(&next(&lost).await), 7);

    let denied = Rule::new(Fault::Refuse(Code::GROUP_AUTHORIZATION_FAILED)).on(Api::ShareGroupHeartbeat);
    let denied = cluster.fault(denied.group("denied").times(2)).await.unwrap();
    let member = client.share_consumer("denied").topics(["t"]).build().unwrap();
    assert!(matches!(error(&member).await.kind(), ErrorKind::NotAuthorized { .. }));
    produce(&client, 0..1, 1).await;
    let message = loop {
        if let Some(Ok(message)) = member.next().await {
            break message;
        }
    };
    assert_eq!((number(&message), denied.hits()), (0, 2), "it goes on by itself");
    client.close();
    assert!(matches!(error(&member).await.kind(), ErrorKind::Closed { .. }));
    assert!(matches!(member.commit().await.unwrap_err().kind(), ErrorKind::Closed { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_has_taken_nothing_and_a_dropped_member_leaves() {
    let (_cluster, client) = cluster(1, 1).await;
    let member = explicit(&client).build().unwrap();
    for _ in 0..20 {
        let _ = tokio::time::timeout(Duration::from_millis(37), member.next()).await;
    }
    produce(&client, 0..10, 1).await;
    let mut read = Vec::new();
    while read.len() < 10 {
        if let Ok(Some(message)) = tokio::time::timeout(Duration::from_millis(1), member.next()).await {
            read.push(message.unwrap());
        }
    }
    assert_eq!(read.iter().map(number).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
    read.drain(..4).for_each(ShareMessage::accept);
    drop(member);
    let other = explicit(&client).build().unwrap();
    let rest = take(&other, 6).await;
    assert_eq!(rest.iter().map(number).collect::<Vec<_>>(), (4..10).collect::<Vec<_>>());
}
