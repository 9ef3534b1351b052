//! Replicas: reading from one that is nearer (KIP-392), and logs that lost what was read when another came to lead them
//! (KIP-320).

use std::time::Duration;

use milena::{
    Client, Commit, Config, ErrorKind, Offset, OnTruncation, Position,
    testing::{Api, Cluster},
};

use crate::support::{cluster, connect, error, produce, take, tp};

/// A while of virtual time, in which everything has happened.
const LATER: Duration = Duration::from_secs(3);

/// Who was asked for records last.
async fn fetched_from(cluster: &Cluster) -> i32 {
    let journal = cluster.journal().await.unwrap();
    journal.iter().rev().find(|entry| entry.api == Api::Fetch).unwrap().node.0
}

#[tokio::test(start_paused = true)]
async fn the_replica_in_the_readers_rack_is_read_from_and_the_leader_when_it_is_down() {
    let racks = Cluster::builder().nodes(3).racks(["a", "b"]).topic("t", 1);
    let cluster = racks.settings(|s| s.rack_aware_replicas = true).in_memory().start().await.unwrap();
    cluster.move_leader("t", 0, 1).await.unwrap();
    let config = Config::new(cluster.bootstrap()).client_rack("b");
    let client = Client::connect_over(cluster.transport(), config).await.unwrap();
    let writer = connect(&cluster).await;
    let reader = client.reader().topics(["t"]).build().unwrap();
    let mut from = 0;
    let mut goes_on = async || {
        produce(&writer, from..from + 10, 1).await;
        assert_eq!(take(&reader, 10).await, (from..from + 10).collect::<Vec<_>>());
        from += 10;
        fetched_from(&cluster).await
    };
    goes_on().await;
    assert_eq!(goes_on().await, 2);
    cluster.stop_node(2).await.unwrap();
    assert_eq!(goes_on().await, 1, "the leader");
    cluster.start_node(2).await.unwrap();
    tokio::time::sleep(LATER).await;
    assert_eq!(goes_on().await, 2, "the leader sends the reader there again");
    cluster.move_leader("t", 0, 3).await.unwrap();
    goes_on().await;
    assert_eq!(goes_on().await, 2, "so does the next leader");
}

#[tokio::test(start_paused = true)]
async fn where_the_log_has_lost_what_was_read_the_reader_goes_back() {
    let (cluster, client) = cluster(3, 1).await;
    produce(&client, 0..6, 1).await;
    produce(&client, 6..10, 1).await;
    let reader = client.reader().topics(["t"]).build().unwrap();
    assert_eq!(take(&reader, 10).await.len(), 10);
    cluster.lose_records("t", 0, 6).await.unwrap();
    produce(&client, 100..120, 1).await;
    assert_eq!(take(&reader, 20).await, (100..120).collect::<Vec<_>>(), "none is passed over");
    assert_eq!(reader.position(&tp(0)), Some(Offset(26)));
}

#[tokio::test(start_paused = true)]
async fn where_the_log_has_lost_what_was_read_the_reader_is_told_if_it_wants_to() {
    let (cluster, client) = cluster(3, 1).await;
    produce(&client, 0..6, 1).await;
    produce(&client, 6..10, 1).await;
    let reader = client.reader().topics(["t"]).on_truncation(OnTruncation::Fail).build().unwrap();
    assert_eq!(take(&reader, 10).await.len(), 10);
    cluster.lose_records("t", 0, 6).await.unwrap();
    produce(&client, 100..120, 1).await;
    let error = error(&reader).await;
    let ErrorKind::LogTruncated { offset: 10, diverges_at: 6, setting: "on_truncation", .. } = error.kind()
    else {
        panic!("{error}")
    };
    assert!(error.to_string().contains("seek to 6"), "{error}");
    reader.seek(&[(tp(0), Position::At(Offset(6)))]).await.unwrap();
    assert_eq!(take(&reader, 20).await, (100..120).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn what_was_fetched_and_is_lost_before_it_is_handed_out_is_nobodys_concern() {
    let (cluster, client) = cluster(3, 1).await;
    produce(&client, 0..6, 1).await;
    produce(&client, 6..10, 1).await;
    let reader = client.reader().topics(["t"]).on_truncation(OnTruncation::Fail).build().unwrap();
    assert_eq!(take(&reader, 1).await, [0]);
    cluster.lose_records("t", 0, 6).await.unwrap();
    produce(&client, 100..104, 1).await;
    tokio::time::sleep(LATER).await;
    assert_eq!(take(&reader, 9).await, [1, 2, 3, 4, 5, 100, 101, 102, 103]);
}

#[tokio::test(start_paused = true)]
async fn a_member_that_takes_over_notices_what_was_lost_since_the_commit() {
    let (cluster, client) = cluster(3, 1).await;
    produce(&client, 0..6, 1).await;
    produce(&client, 6..10, 1).await;
    let member = || client.consumer("g").topics(["t"]).commit(Commit::Manual).build().unwrap();
    let first = member();
    assert_eq!(take(&first, 10).await.len(), 10);
    first.commit().await.unwrap();
    first.close().await.unwrap();
    cluster.lose_records("t", 0, 6).await.unwrap();
    produce(&client, 100..120, 1).await;
    assert_eq!(take(&member(), 20).await, (100..120).collect::<Vec<_>>());
}
