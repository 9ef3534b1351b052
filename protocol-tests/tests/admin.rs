//! Admin calls against the embedded cluster and against real brokers: both must answer the same.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::{future::Future, time::Duration};

use milena::{Admin, Client, Code, Config, ErrorKind, NewTopic, NodeId, TopicName, testing::Cluster};
use protocol_tests::broker::{RealCluster, Version, or_skip};

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().unwrap().block_on(future)
}

async fn conforms(bootstrap: impl IntoIterator<Item = String>) {
    let client = Client::connect(Config::new(bootstrap)).await.unwrap();
    let admin = client.admin();
    the_cluster_is_described(&admin).await;
    topics_come_and_go(&admin).await;
    each_topic_is_refused_for_its_own_reason(&admin).await;
    a_validation_creates_nothing(&admin).await;
    client.close();
}

#[test]
fn the_embedded_cluster_conforms() {
    block_on(async {
        let cluster = Cluster::builder().nodes(3).start().await.unwrap();
        conforms(cluster.bootstrap()).await;
    });
}

#[test]
fn kafka_conforms() {
    for version in [Version::V3_9_1, Version::V4_0_0, Version::V4_4_0] {
        let Some(cluster) = or_skip(RealCluster::start(version, 3)) else { return };
        block_on(conforms(cluster.bootstrap().split(',').map(str::to_owned)));
    }
}

async fn the_cluster_is_described(admin: &Admin) {
    let cluster = admin.describe_cluster().await.unwrap();
    let ids: Vec<_> = cluster.brokers.iter().map(|broker| broker.id).collect();
    assert_eq!(ids, [NodeId(1), NodeId(2), NodeId(3)]);
    assert!(cluster.controller.is_some_and(|controller| ids.contains(&controller)));
    assert_eq!(cluster.id.as_deref().map(str::len), Some(22), "Kafka's own form of an id");
}

async fn topics_come_and_go(admin: &Admin) {
    let explicit = [[NodeId(3), NodeId(1)], [NodeId(2), NodeId(3)]];
    let topics = [
        NewTopic::new("numbers").partitions(4).replication(2).config("retention.ms", "60000"),
        NewTopic::new("defaults"),
        NewTopic::new("explicit").assignments(explicit),
    ];
    for (topic, result) in admin.create_topics(topics).await.unwrap() {
        assert!(result.is_ok(), "{topic}: {result:?}");
    }
    for (topic, partitions, replicas) in [("numbers", 4, 2), ("explicit", 2, 2)] {
        let description = known(admin, topic).await;
        assert_eq!(description.partitions.len(), partitions);
        for partition in &description.partitions {
            assert_eq!((partition.replicas.len(), partition.offline.len()), (replicas, 0), "{partition:?}");
            assert!(partition.leader.is_some_and(|leader| partition.isr.contains(&leader)));
            assert!(partition.leader_epoch.is_some());
        }
        assert!(description.id.is_some_and(|id| id.len() == 22) && !description.internal);
    }
    let explicit = known(admin, "explicit").await;
    assert_eq!(explicit.partitions[0].replicas, [NodeId(3), NodeId(1)], "in the order that was said");
    let listed: Vec<TopicName> =
        admin.list_topics().await.unwrap().into_iter().filter(|t| !t.internal).map(|t| t.name).collect();
    assert_eq!(listed, ["defaults".into(), "explicit".into(), "numbers".into()]);

    for (topic, result) in admin.delete_topics(["numbers", "defaults", "explicit"]).await.unwrap() {
        assert!(result.is_ok(), "{topic}: {result:?}");
    }
    let deleted = admin.delete_topics(["numbers"]).await.unwrap();
    assert_eq!(code(&deleted["numbers"]), Some(Code::UNKNOWN_TOPIC_OR_PARTITION));
    eventually(async || {
        let described = admin.describe_topics(["numbers"]).await.unwrap();
        code(&described["numbers"]).filter(|code| *code == Code::UNKNOWN_TOPIC_OR_PARTITION)
    })
    .await;
}

async fn each_topic_is_refused_for_its_own_reason(admin: &Admin) {
    let created = admin.create_topics([NewTopic::new("like.this")]).await.unwrap();
    assert!(created["like.this"].is_ok());
    let topics = [
        NewTopic::new("like.this"),
        NewTopic::new("like_this"),
        NewTopic::new("a/b"),
        NewTopic::new("no-partitions").partitions(0),
        NewTopic::new("many-replicas").replication(4),
        NewTopic::new("no-replicas").replication(0),
        NewTopic::new("bad-config").config("max.message.bytes", "many"),
        NewTopic::new("nobody").assignments([[NodeId(9)]]),
        NewTopic::new("good"),
    ];
    let created = admin.create_topics(topics).await.unwrap();
    for (topic, expected) in [
        ("like.this", Code::TOPIC_ALREADY_EXISTS),
        ("no-partitions", Code::INVALID_PARTITIONS),
        ("many-replicas", Code::INVALID_REPLICATION_FACTOR),
        ("no-replicas", Code::INVALID_REPLICATION_FACTOR),
        ("bad-config", Code::INVALID_CONFIG),
        ("nobody", Code::INVALID_REPLICA_ASSIGNMENT),
    ] {
        assert_eq!(code(&created[topic]), Some(expected), "{topic}: {:?}", created[topic]);
        let message = created[topic].as_ref().unwrap_err().to_string();
        assert!(message.len() > 60, "with the broker's words: {message}");
    }
    for topic in ["like_this", "a/b"] {
        let error = created[topic].as_ref().unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::InvalidTopic { .. }), "{topic}: {error}");
    }
    assert!(created["good"].is_ok());
    admin.delete_topics(["like.this", "good"]).await.unwrap();
}

async fn a_validation_creates_nothing(admin: &Admin) {
    for _ in 0..2 {
        let topics = [NewTopic::new("valid").partitions(2), NewTopic::new("invalid").partitions(0)];
        let results = admin.validate_topics(topics).await.unwrap();
        assert!(results["valid"].is_ok(), "{results:?}");
        assert_eq!(code(&results["invalid"]), Some(Code::INVALID_PARTITIONS));
    }
}

fn code<T>(result: &milena::Result<T>) -> Option<Code> {
    result.as_ref().err().and_then(milena::Error::code)
}

/// The description of a topic, as soon as the broker that is asked knows all its leaders.
async fn known(admin: &Admin, topic: &str) -> milena::TopicDescription {
    eventually(async || {
        let mut described = admin.describe_topics([topic]).await.unwrap();
        let description = described.remove(topic)?.ok()?;
        description.partitions.iter().all(|p| p.leader.is_some()).then_some(description)
    })
    .await
}

/// Brokers learn of changes one after the other.
async fn eventually<T>(look: impl AsyncFn() -> Option<T>) -> T {
    for _ in 0..600 {
        if let Some(found) = look().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    look().await.expect("it has come to this in 30 s")
}
