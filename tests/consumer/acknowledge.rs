//! Records that are acknowledged one by one, and commits of what is.

use std::{collections::BTreeMap, time::Duration};

use milena::{Client, Commit, Consumer, ConsumerBuilder, ErrorKind, GroupProtocol, Message};

use crate::groups::settle;
use crate::support::{LONG, cluster, number, produce, take, tp};

const EVERY: Duration = Duration::from_secs(1);

fn member(client: &Client) -> ConsumerBuilder {
    client.consumer("g").topics(["t"]).commit(Commit::Acknowledged(EVERY))
}

async fn messages(consumer: &Consumer, count: usize) -> Vec<Message> {
    let mut messages = Vec::new();
    while messages.len() < count {
        let next = tokio::time::timeout(LONG, consumer.next()).await.expect("no record came");
        messages.push(next.unwrap().unwrap());
    }
    messages
}

/// What the group has committed of partition 0.
async fn committed(consumer: &Consumer) -> Option<i64> {
    consumer.committed(&[tp(0)]).await.unwrap().get(&tp(0)).map(|committed| committed.offset.0)
}

#[tokio::test(start_paused = true)]
async fn the_contiguous_prefix_of_what_is_acknowledged_is_committed_in_time() {
    let (_cluster, client) = cluster(1, 1).await;
    produce(&client, 0..10, 1).await;
    let member = member(&client).build().unwrap();
    let read = messages(&member, 10).await;
    tokio::time::sleep(3 * EVERY).await;
    assert_eq!(committed(&member).await, Some(0), "where it started");
    for index in [1, 2, 5, 9] {
        read[index].ack();
    }
    tokio::time::sleep(3 * EVERY).await;
    assert_eq!(committed(&member).await, Some(0));
    read[0].ack();
    tokio::time::sleep(3 * EVERY).await;
    assert_eq!(committed(&member).await, Some(3));
    // From whatever task, and of whatever clone.
    let clones = read.clone();
    tokio::spawn(async move { clones[3..9].iter().for_each(Message::ack) }).await.unwrap();
    member.commit().await.unwrap();
    assert_eq!(committed(&member).await, Some(10), "when the user says so");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_acknowledged_is_read_again() {
    let (_cluster, client) = cluster(1, 1).await;
    produce(&client, 0..10, 1).await;
    let first = member(&client).build().unwrap();
    let read = messages(&first, 10).await;
    [0, 1, 5].iter().for_each(|index: &usize| read[*index].ack());
    drop(read);
    first.close().await.unwrap();
    let second = member(&client).build().unwrap();
    assert_eq!(take(&second, 8).await, (2..10).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn closing_waits_for_those_who_hold_records_but_not_for_ever() {
    let (_cluster, client) = cluster(1, 1).await;
    produce(&client, 0..10, 1).await;
    let first = member(&client).build().unwrap();
    let read = messages(&first, 4).await;
    let worker = tokio::spawn(async move {
        tokio::time::sleep(5 * EVERY).await;
        read.iter().for_each(Message::ack);
    });
    first.close().await.unwrap();
    assert!(worker.is_finished(), "it had its time");

    let second = member(&client).drain_timeout(5 * EVERY).build().unwrap();
    let held = messages(&second, 6).await;
    assert_eq!(number(&held[0]), 4);
    held[0].ack();
    let begun = tokio::time::Instant::now();
    second.close().await.unwrap();
    assert!(begun.elapsed() >= 5 * EVERY, "as long as it was told to");
    held.iter().for_each(Message::ack);
    let third = member(&client).build().unwrap();
    assert_eq!(take(&third, 5).await, (5..10).collect::<Vec<_>>(), "what comes too late does not count");
}

#[tokio::test(start_paused = true)]
async fn partitions_go_to_others_when_the_work_on_them_is_done() {
    for protocol in [GroupProtocol::Classic, GroupProtocol::Consumer] {
        let (_cluster, client) = cluster(1, 2).await;
        produce(&client, 0..20, 2).await;
        let first = member(&client).protocol(protocol).build().unwrap();
        let read = messages(&first, 20).await;
        let second = member(&client).protocol(protocol).build().unwrap();
        let worker = tokio::spawn(async move {
            tokio::time::sleep(10 * EVERY).await;
            read.iter().for_each(Message::ack);
        });
        // Whoever had read them again would be told here.
        assert_eq!(settle(&[(&first, 1), (&second, 1)]).await, [], "{protocol:?}");
        worker.await.unwrap();
        produce(&client, 20..22, 2).await;
        let last = [take(&first, 1).await, take(&second, 1).await].concat();
        assert_eq!(last.iter().sum::<i32>(), 41, "{protocol:?}: {last:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn acknowledging_keeps_a_member_in_its_group() {
    let (_cluster, client) = cluster(1, 1).await;
    produce(&client, 0..10, 1).await;
    let member = member(&client).max_poll_interval(10 * EVERY).build().unwrap();
    let read = messages(&member, 10).await;
    for message in &read {
        tokio::time::sleep(7 * EVERY).await;
        message.ack();
    }
    member.commit().await.unwrap();
    assert_eq!(committed(&member).await, Some(10));
    assert!(tokio::time::timeout(EVERY, member.next()).await.is_err(), "it was never out of its group");
}

#[tokio::test(start_paused = true)]
async fn who_does_not_acknowledge_commits_as_ever() {
    let (_cluster, client) = cluster(1, 1).await;
    produce(&client, 0..10, 1).await;
    let member = client.consumer("g").topics(["t"]).commit(Commit::Every(EVERY)).build().unwrap();
    let read = messages(&member, 10).await;
    read.iter().for_each(Message::ack);
    tokio::time::sleep(3 * EVERY).await;
    assert_eq!(committed(&member).await, Some(9), "the last one may still be worked on");
}

#[tokio::test(start_paused = true)]
async fn settings_that_make_no_sense_are_refused_by_name() {
    let (_cluster, client) = cluster(1, 1).await;
    let wrong = member(&client).commit(Commit::Acknowledged(Duration::ZERO));
    let refused = wrong.max_poll_interval(10 * EVERY).drain_timeout(10 * EVERY).build().unwrap_err();
    let ErrorKind::Config { problems, .. } = refused.kind() else { panic!("{refused}") };
    let named: BTreeMap<_, _> = problems.iter().map(|p| (p.setting, p.value.as_str())).collect();
    assert_eq!(named, [("commit", "Acknowledged(0ns)"), ("drain_timeout", "10s")].into());
}
