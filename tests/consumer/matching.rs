//! Topics that are read because their names match.

use std::time::Duration;

use milena::{
    Client, Code, Config, Consumer, ConsumerBuilder, ErrorKind, GroupProtocol, Position, Record,
    testing::Cluster,
};

use crate::groups::settle;
use crate::support::{LONG, cluster, error, take, take_sorted};

const AGE: Duration = Duration::from_secs(30);

/// A client that asks for the names of topics twice a minute.
async fn connect(cluster: &Cluster) -> Client {
    let config = Config::new(cluster.bootstrap()).metadata_max_age(AGE);
    Client::connect_over(cluster.transport(), config).await.unwrap()
}

async fn write(cluster: &Cluster, topic: &str, values: &[i32]) {
    let producer = connect(cluster).await.producer().build().unwrap();
    for value in values {
        producer.send(Record::new(topic, &value.to_string())).await.unwrap();
    }
    producer.close().await.unwrap();
}

/// The three ways to read: as a member by either protocol, or in no group.
fn ways(client: &Client) -> [ConsumerBuilder; 3] {
    let member = |protocol| client.consumer("g").protocol(protocol);
    [member(GroupProtocol::Classic), member(GroupProtocol::Consumer), client.reader()]
}

async fn reads(consumer: &Consumer, partitions: usize) {
    let settles = async {
        while consumer.assignment().len() != partitions {
            if let Ok(Some(Ok(message))) =
                tokio::time::timeout(Duration::from_millis(100), consumer.next()).await
            {
                panic!("{message:?}");
            }
        }
    };
    tokio::time::timeout(LONG, settles).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn all_topics_that_match_are_read_and_those_that_appear_later() {
    for way in 0..3 {
        let (cluster, _) = cluster(2, 2).await;
        for topic in ["orders.1", "orders.2", "old.orders.1", "refunds"] {
            cluster.create_topic(topic, 2).await.unwrap();
        }
        let client = connect(&cluster).await;
        write(&cluster, "orders.1", &[1]).await;
        write(&cluster, "orders.2", &[2]).await;
        write(&cluster, "old.orders.1", &[3]).await;
        write(&cluster, "refunds", &[4]).await;
        write(&cluster, "t", &[5]).await;
        let [.., reader] = ways(&client);
        let builder = ways(&client).into_iter().nth(way).unwrap_or(reader);
        let consumer = builder.topics(["t"]).topics_matching(r"orders\..*|refunds").build().unwrap();
        assert_eq!(take_sorted(&consumer, 4).await, [1, 2, 4, 5], "way {way}");
        assert_eq!(consumer.assignment().len(), 8);

        cluster.create_topic("orders.3", 3).await.unwrap();
        write(&cluster, "orders.3", &[6]).await;
        assert_eq!(take(&consumer, 1).await, [6], "way {way}");
        assert_eq!(consumer.assignment().len(), 11);
        cluster.delete_topic("orders.1").await.unwrap();
        reads(&consumer, 9).await;
        cluster.create_topic("orders.1", 1).await.unwrap();
        reads(&consumer, 10).await;
        consumer.close().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_of_a_topic_that_appears_later_is_missed() {
    for way in 0..3 {
        let (cluster, _) = cluster(1, 1).await;
        write(&cluster, "t", &[1]).await;
        let client = connect(&cluster).await;
        let builder = ways(&client).into_iter().nth(way).unwrap().start_at(Position::Latest);
        let builder = builder.topic_timeout(LONG * 10);
        let reader = builder.topics(["named"]).topics_matching("t|matching").build().unwrap();
        reads(&reader, 1).await;
        for (topic, value) in [("matching", 2), ("named", 3)] {
            cluster.create_topic(topic, 1).await.unwrap();
            write(&cluster, topic, &[value]).await;
            assert_eq!(
                take(&reader, 1).await,
                [value],
                "way {way}: of what was there before, nothing is read"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_pattern_that_matches_nothing_waits_for_its_topics() {
    for way in 0..3 {
        let (cluster, _) = cluster(1, 1).await;
        let client = connect(&cluster).await;
        let builder = ways(&client).into_iter().nth(way).unwrap();
        let consumer = builder.topics_matching("later.*").build().unwrap();
        let next = tokio::time::timeout(10 * AGE, consumer.next()).await;
        assert!(next.is_err(), "way {way}: {next:?}");
        cluster.create_topic("later", 1).await.unwrap();
        write(&cluster, "later", &[1]).await;
        assert_eq!(take(&consumer, 1).await, [1], "way {way}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_expression_that_is_none_is_refused_by_name() {
    let (_cluster, client) = cluster(1, 1).await;
    let refused = client.consumer("g").topics_matching("orders(").build().unwrap_err();
    let ErrorKind::Config { problems, .. } = refused.kind() else { panic!("{refused}") };
    let [problem] = &problems[..] else { panic!("{refused}") };
    assert_eq!((problem.setting, problem.value.as_str()), ("topics_matching", "orders("));
}

#[tokio::test(start_paused = true)]
async fn the_coordinator_says_which_topics_match() {
    let (cluster, client) = cluster(2, 2).await;
    for topic in ["orders.1", "orders.2", "old.orders.1"] {
        cluster.create_topic(topic, 2).await.unwrap();
    }
    for (topic, value) in [("orders.1", 1), ("orders.2", 2), ("old.orders.1", 3), ("t", 4)] {
        write(&cluster, topic, &[value]).await;
    }
    let member = client.consumer("g").topics(["t"]).topics_matched_by_brokers(r"orders\..*");
    let first = member.clone().build().unwrap();
    assert_eq!(take_sorted(&first, 3).await, [1, 2, 4]);
    assert_eq!(first.assignment().len(), 6);
    let second = member.build().unwrap();
    settle(&[(&first, 3), (&second, 3)]).await;

    cluster.create_topic("orders.3", 4).await.unwrap();
    write(&cluster, "orders.3", &[5]).await;
    let read = settle(&[(&first, 5), (&second, 5)]).await;
    let read = if read.is_empty() { vec![either(&first, &second).await] } else { read };
    assert_eq!(read, [5]);
    // A view that is taken much later still has what is read.
    for _ in 0..60 {
        for member in [&first, &second] {
            let quiet = tokio::time::timeout(Duration::from_secs(30), member.next()).await;
            assert!(quiet.is_err(), "{quiet:?}");
        }
    }
    write(&cluster, "orders.3", &[6]).await;
    assert_eq!(either(&first, &second).await, 6);
    cluster.delete_topic("orders.1").await.unwrap();
    settle(&[(&first, 4), (&second, 4)]).await;
    first.close().await.unwrap();
    second.close().await.unwrap();
}

/// What one of the two reads next.
async fn either(first: &Consumer, second: &Consumer) -> i32 {
    tokio::select! {
        read = take(first, 1) => read[0],
        read = take(second, 1) => read[0],
    }
}

#[tokio::test(start_paused = true)]
async fn an_expression_that_no_coordinator_takes_is_told() {
    let (_cluster, client) = cluster(1, 1).await;
    let member = client.consumer("g").topics_matched_by_brokers("orders(").build().unwrap();
    let told = error(&member).await;
    assert_eq!(told.code(), Some(Code::INVALID_REGULAR_EXPRESSION), "{told}");
    assert!(told.to_string().contains("orders("), "{told}");

    let settings = |builder: ConsumerBuilder| -> Vec<&'static str> {
        match builder.build().unwrap_err().kind() {
            ErrorKind::Config { problems, .. } => problems.iter().map(|problem| problem.setting).collect(),
            other => panic!("{other:?}"),
        }
    };
    let setting = ["topics_matched_by_brokers"];
    let member = || client.consumer("g").topics_matched_by_brokers("orders");
    assert_eq!(settings(member().protocol(GroupProtocol::Classic)), setting);
    assert_eq!(settings(member().topics_matching("orders")), setting);
    assert_eq!(settings(member().topics_matched_by_brokers("")), setting);
    assert_eq!(settings(client.reader().topics(["t"]).topics_matched_by_brokers("orders")), setting);
}
