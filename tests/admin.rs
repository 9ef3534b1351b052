//! Admin calls against the embedded cluster, in memory and on virtual time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests"
)]

use std::time::Duration;

use milena::{
    Admin, Client, Code, Config, ErrorKind, NewTopic, NodeId, Partition, Resource,
    testing::{Api, Cluster, Fault, Rule},
};

async fn cluster(nodes: u16) -> (Cluster, Admin) {
    let cluster = Cluster::builder().nodes(nodes).in_memory().start().await.unwrap();
    let client = Client::connect_over(cluster.transport(), Config::new(cluster.bootstrap())).await.unwrap();
    (cluster, client.admin())
}

/// The code that one topic was refused with.
async fn refused(admin: &Admin, topic: NewTopic) -> Option<Code> {
    let results = admin.create_topics([topic]).await.unwrap();
    results.into_values().next().unwrap().unwrap_err().code()
}

#[tokio::test(start_paused = true)]
async fn topics_come_and_go() {
    let (_cluster, admin) = cluster(3).await;
    let explicit = [[NodeId(3), NodeId(1)], [NodeId(2), NodeId(3)]];
    let topics = [
        NewTopic::new("numbers").partitions(4).replication(2),
        NewTopic::new("defaults"),
        NewTopic::new("explicit").assignments(explicit),
    ];
    let created = admin.create_topics(topics).await.unwrap();
    assert!(created.len() == 3 && created.values().all(Result::is_ok), "{created:?}");

    let listed: Vec<_> = admin.list_topics().await.unwrap().into_iter().map(|topic| topic.name).collect();
    assert_eq!(listed, ["defaults".into(), "explicit".into(), "numbers".into()]);

    let mut described = admin.describe_topics(["numbers", "explicit", "nowhere"]).await.unwrap();
    let numbers = described.remove("numbers").unwrap().unwrap();
    assert_eq!((numbers.partitions.len(), numbers.partitions[0].replicas.len()), (4, 2));
    assert_eq!(numbers.id.as_deref().map(str::len), Some(22));
    let explicit = described.remove("explicit").unwrap().unwrap();
    let last = explicit.partitions.last().unwrap();
    assert_eq!((last.partition, last.leader), (Partition(1), Some(NodeId(2))));
    assert_eq!(last.replicas, [NodeId(2), NodeId(3)]);
    let nowhere = described.remove("nowhere").unwrap().unwrap_err();
    assert_eq!(nowhere.code(), Some(Code::UNKNOWN_TOPIC_OR_PARTITION));

    let deleted = admin.delete_topics(["numbers", "nowhere"]).await.unwrap();
    assert!(deleted["numbers"].is_ok());
    let nowhere = deleted["nowhere"].as_ref().unwrap_err();
    assert_eq!(nowhere.code(), Some(Code::UNKNOWN_TOPIC_OR_PARTITION));
    assert_eq!(admin.list_topics().await.unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn each_topic_is_refused_for_its_own_reason() {
    let (_cluster, admin) = cluster(1).await;
    let topic = || NewTopic::new("t");
    assert!(admin.create_topics([topic()]).await.unwrap()["t"].is_ok());
    assert_eq!(refused(&admin, topic()).await, Some(Code::TOPIC_ALREADY_EXISTS));
    let other = || NewTopic::new("other");
    assert_eq!(refused(&admin, other().partitions(0)).await, Some(Code::INVALID_PARTITIONS));
    assert_eq!(refused(&admin, other().replication(2)).await, Some(Code::INVALID_REPLICATION_FACTOR));
    let unknown = other().config("max.message.bytes", "many");
    assert_eq!(refused(&admin, unknown).await, Some(Code::INVALID_CONFIG));
    let nobody = other().assignments([[NodeId(7)]]);
    assert_eq!(refused(&admin, nobody).await, Some(Code::INVALID_REPLICA_ASSIGNMENT));

    let results = admin.create_topics([NewTopic::new("a b"), other().partitions(0)]).await.unwrap();
    assert!(matches!(results["a b"].as_ref().unwrap_err().kind(), ErrorKind::InvalidTopic { .. }));
    let other = results["other"].as_ref().unwrap_err();
    let ErrorKind::Broker { request: "CreateTopics", subject, message: Some(words), .. } = other.kind()
    else {
        panic!("{other}")
    };
    assert!(subject == "other" && words.contains('0'), "{words}");
}

#[tokio::test(start_paused = true)]
async fn a_validation_creates_nothing() {
    let (_cluster, admin) = cluster(1).await;
    let topics = || [NewTopic::new("good"), NewTopic::new("bad").partitions(0)];
    for _ in 0..2 {
        let results = admin.validate_topics(topics()).await.unwrap();
        assert!(results["good"].is_ok());
        assert_eq!(results["bad"].as_ref().unwrap_err().code(), Some(Code::INVALID_PARTITIONS));
    }
    assert!(admin.list_topics().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_is_forbidden_is_said_for_each_topic() {
    let (cluster, admin) = cluster(1).await;
    admin.create_topics([NewTopic::new("secret"), NewTopic::new("open")]).await.unwrap();
    cluster.deny(Resource::Topic, "secret").await.unwrap();
    let denied = |error: &milena::Error| matches!(error.kind(), ErrorKind::NotAuthorized { resource: Resource::Topic, name, .. } if name == "secret");
    let described = admin.describe_topics(["secret", "open"]).await.unwrap();
    assert!(denied(described["secret"].as_ref().unwrap_err()) && described["open"].is_ok());
    let deleted = admin.delete_topics(["secret", "open"]).await.unwrap();
    assert!(denied(deleted["secret"].as_ref().unwrap_err()) && deleted["open"].is_ok());
    let created = admin.create_topics([NewTopic::new("secret")]).await.unwrap();
    assert!(denied(created["secret"].as_ref().unwrap_err()));
    assert!(admin.list_topics().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_cluster_is_described_as_it_is_now() {
    let (cluster, admin) = cluster(3).await;
    let ids = |description: milena::ClusterDescription| -> Vec<i32> {
        description.brokers.iter().map(|broker| broker.id.0).collect()
    };
    let all = admin.describe_cluster().await.unwrap();
    assert!(all.id.is_some() && all.controller.is_some());
    assert_eq!(ids(all), [1, 2, 3]);
    cluster.stop_node(2).await.unwrap();
    assert_eq!(ids(admin.describe_cluster().await.unwrap()), [1, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_call_outlives_a_broker_but_not_its_time() {
    let (cluster, admin) = cluster(3).await;
    let controller = admin.describe_cluster().await.unwrap().controller.unwrap();
    cluster.stop_node(controller).await.unwrap();
    let created = admin.create_topics([NewTopic::new("t").replication(2)]).await.unwrap();
    assert!(created["t"].is_ok());

    for node in 1..=3 {
        cluster.stop_node(node).await.unwrap();
    }
    let started = tokio::time::Instant::now();
    let limit = Duration::from_secs(5);
    let error = admin.timeout(limit).create_topics([NewTopic::new("u")]).await.unwrap_err();
    assert!(error.is_retriable(), "{error}");
    assert!(started.elapsed() <= limit, "{:?}", started.elapsed());
}

/// What a broker may do after it has carried a request out.
fn after_the_fact() -> [Fault; 4] {
    [
        Fault::CloseAfter,
        Fault::DropAnswer,
        Fault::ApplyThenRefuse(Code::REQUEST_TIMED_OUT),
        Fault::ApplyThenRefuse(Code::NOT_CONTROLLER),
    ]
}

#[tokio::test(start_paused = true)]
async fn a_topic_whose_answer_was_lost_counts_as_created() {
    for fault in after_the_fact() {
        let (cluster, admin) = cluster(2).await;
        let rule = cluster.fault(Rule::new(fault.clone()).on(Api::CreateTopics).times(1)).await.unwrap();
        let created = admin.create_topics([NewTopic::new("t").partitions(3)]).await.unwrap();
        assert!(created["t"].is_ok(), "{fault:?}: {created:?}");
        assert_eq!((rule.hits(), admin.list_topics().await.unwrap().len()), (1, 1), "{fault:?}");
        assert_eq!(refused(&admin, NewTopic::new("t")).await, Some(Code::TOPIC_ALREADY_EXISTS), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_topic_whose_answer_was_lost_counts_as_deleted() {
    for fault in after_the_fact() {
        let (cluster, admin) = cluster(2).await;
        cluster.create_topic("t", 1).await.unwrap();
        let rule = cluster.fault(Rule::new(fault.clone()).on(Api::DeleteTopics).times(1)).await.unwrap();
        let deleted = admin.delete_topics(["t"]).await.unwrap();
        assert!(deleted["t"].is_ok(), "{fault:?}: {deleted:?}");
        assert_eq!((rule.hits(), admin.list_topics().await.unwrap().len()), (1, 0), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_exhausted_quota_is_waited_for_and_hides_nothing() {
    let (cluster, admin) = cluster(1).await;
    cluster.create_topic("there", 1).await.unwrap();
    let refuse = Rule::new(Fault::Refuse(Code::THROTTLING_QUOTA_EXCEEDED)).on(Api::CreateTopics).times(3);
    let rule = cluster.fault(refuse).await.unwrap();
    let created = admin.create_topics([NewTopic::new("there"), NewTopic::new("new")]).await.unwrap();
    assert_eq!(rule.hits(), 3);
    assert!(created["new"].is_ok());
    assert_eq!(created["there"].as_ref().unwrap_err().code(), Some(Code::TOPIC_ALREADY_EXISTS));
}

#[tokio::test(start_paused = true)]
async fn what_is_known_when_time_is_up_is_told() {
    let (cluster, admin) = cluster(1).await;
    let refuse = Rule::new(Fault::Refuse(Code::THROTTLING_QUOTA_EXCEEDED)).on(Api::CreateTopics);
    let rule = cluster.fault(refuse.topic("late")).await.unwrap();
    let admin = admin.timeout(Duration::from_secs(3));
    let created = admin.create_topics([NewTopic::new("late"), NewTopic::new("early")]).await.unwrap();
    assert!(created["early"].is_ok() && rule.hits() > 1);
    assert_eq!(created["late"].as_ref().unwrap_err().code(), Some(Code::THROTTLING_QUOTA_EXCEEDED));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_leaves_the_others_alone() {
    let (cluster, admin) = cluster(1).await;
    let delay = Rule::new(Fault::Delay(Duration::from_secs(2))).on(Api::CreateTopics).times(1);
    cluster.fault(delay).await.unwrap();
    tokio::select! {
        biased;
        created = admin.create_topics([NewTopic::new("t")]) => panic!("{created:?}"),
        () = tokio::time::sleep(Duration::from_secs(1)) => {}
    }
    assert_eq!(admin.list_topics().await.unwrap().len(), 1, "what was sent was carried out");
}
