//! The cluster and its topics, as an administrator sees them.

use milena::{Admin, Code, ErrorKind, NewTopic, NodeId, TopicName};

use crate::suite::{Stage, eventually};
use crate::target::Target;

pub(crate) async fn a_cluster_is_described(stage: Stage) {
    let client = stage.client().await;
    let cluster = client.admin().describe_cluster().await.unwrap();
    let ids: Vec<_> = cluster.brokers.iter().map(|broker| broker.id.0).collect();
    let nodes = match stage.target() {
        Target::Embedded { nodes } | Target::Kafka { nodes, .. } => *nodes,
        _ => ids.len(),
    };
    assert!(ids.is_sorted() && ids.len() == nodes, "{ids:?}");
    assert!(cluster.controller.is_some_and(|controller| ids.contains(&controller.0)));
    assert_eq!(cluster.id.as_deref().map(str::len), Some(22), "Kafka's own form of an id");
}

pub(crate) async fn a_topic_is_created_described_and_deleted(stage: Stage) {
    let client = stage.client().await;
    let admin = client.admin();
    let (numbers, defaults) = (stage.name("numbers"), stage.name("defaults"));
    let topics = [
        NewTopic::new(numbers.as_str()).partitions(4).replication(1).config("retention.ms", "60000"),
        NewTopic::new(defaults.as_str()),
    ];
    for (topic, result) in admin.create_topics(topics).await.unwrap() {
        assert!(result.is_ok(), "{topic}: {result:?}");
    }
    let description = stage.described(&client, &numbers).await;
    assert_eq!(description.partitions.len(), 4);
    for partition in &description.partitions {
        assert_eq!((partition.replicas.len(), partition.offline.len()), (1, 0), "{partition:?}");
        assert!(partition.leader.is_some_and(|leader| partition.isr.contains(&leader)));
        assert!(partition.leader_epoch.is_some());
    }
    assert!(description.id.is_some_and(|id| id.len() == 22) && !description.internal);
    assert_eq!(stage.described(&client, &defaults).await.partitions.len(), 1, "num.partitions");
    let ours = |name: &TopicName| [numbers.as_str(), defaults.as_str()].contains(&name.as_str());
    let listed = admin.list_topics().await.unwrap();
    let listed: Vec<_> =
        listed.into_iter().filter(|t| ours(&t.name) && !t.internal).map(|t| t.name).collect();
    assert_eq!(listed, [TopicName::from(defaults.as_str()), TopicName::from(numbers.as_str())]);

    for (topic, result) in admin.delete_topics([numbers.as_str(), &defaults]).await.unwrap() {
        assert!(result.is_ok(), "{topic}: {result:?}");
    }
    let deleted = admin.delete_topics([numbers.as_str()]).await.unwrap();
    assert_eq!(code(&deleted[numbers.as_str()]), Some(Code::UNKNOWN_TOPIC_OR_PARTITION));
    is_gone(&admin, &numbers).await;
}

async fn is_gone(admin: &Admin, topic: &str) {
    eventually("the topic is gone", async || {
        let described = admin.describe_topics([topic]).await.unwrap();
        code(&described[topic]).filter(|code| *code == Code::UNKNOWN_TOPIC_OR_PARTITION)
    })
    .await;
}

pub(crate) async fn a_topic_is_placed_on_the_nodes_that_are_named(stage: Stage) {
    let client = stage.client().await;
    let topic = stage.name("explicit");
    let assignments = [[NodeId(3), NodeId(1)], [NodeId(2), NodeId(3)]];
    stage.create(&client, NewTopic::new(topic.as_str()).assignments(assignments)).await;
    let description = stage.described(&client, &topic).await;
    let replicas: Vec<_> = description.partitions.iter().map(|p| p.replicas.clone()).collect();
    assert_eq!(replicas, assignments, "in the order that was said");
}

pub(crate) async fn each_topic_is_refused_for_its_own_reason(stage: Stage) {
    let client = stage.client().await;
    let admin = client.admin();
    let dotted = stage.name("like.this");
    let [underscored, no_partitions, many_replicas, no_replicas, bad_config, nobody, good] =
        ["like_this", "no-partitions", "many-replicas", "no-replicas", "bad-config", "nobody", "good"]
            .map(|name| stage.name(name));
    stage.create(&client, NewTopic::new(dotted.as_str())).await;
    let topics = [
        NewTopic::new(dotted.as_str()),
        NewTopic::new(underscored.as_str()),
        NewTopic::new("a/b"),
        NewTopic::new(no_partitions.as_str()).partitions(0),
        NewTopic::new(many_replicas.as_str()).replication(100),
        NewTopic::new(no_replicas.as_str()).replication(0),
        NewTopic::new(bad_config.as_str()).config("max.message.bytes", "many"),
        NewTopic::new(nobody.as_str()).assignments([[NodeId(999)]]),
        NewTopic::new(good.as_str()),
    ];
    let created = admin.create_topics(topics).await.unwrap();
    for (topic, expected) in [
        (&dotted, Code::TOPIC_ALREADY_EXISTS),
        (&no_partitions, Code::INVALID_PARTITIONS),
        (&many_replicas, Code::INVALID_REPLICATION_FACTOR),
        (&no_replicas, Code::INVALID_REPLICATION_FACTOR),
        (&bad_config, Code::INVALID_CONFIG),
        (&nobody, Code::INVALID_REPLICA_ASSIGNMENT),
    ] {
        let result = &created[topic.as_str()];
        assert_eq!(code(result), Some(expected), "{topic}: {result:?}");
        let message = result.as_ref().unwrap_err().to_string();
        assert!(message.len() > topic.len() + 40, "with the broker's words: {message}");
    }
    for topic in [underscored.as_str(), "a/b"] {
        let error = created[topic].as_ref().unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::InvalidTopic { .. }), "{topic}: {error}");
    }
    assert!(created[good.as_str()].is_ok());
    admin.delete_topics([dotted, good]).await.unwrap();
}

pub(crate) async fn a_validation_creates_nothing(stage: Stage) {
    let client = stage.client().await;
    let (valid, invalid) = (stage.name("valid"), stage.name("invalid"));
    for _ in 0..2 {
        let topics =
            [NewTopic::new(valid.as_str()).partitions(2), NewTopic::new(invalid.as_str()).partitions(0)];
        let results = client.admin().validate_topics(topics).await.unwrap();
        assert!(results[valid.as_str()].is_ok(), "{results:?}");
        assert_eq!(code(&results[invalid.as_str()]), Some(Code::INVALID_PARTITIONS));
    }
}

fn code<T>(result: &milena::Result<T>) -> Option<Code> {
    result.as_ref().err().and_then(milena::Error::code)
}
