//! Metadata, CreateTopics, DeleteTopics and DescribeCluster.

use super::*;
use crate::error::{Code, Resource};
use crate::wire::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use crate::wire::messages::create_topics_response::CreatableTopicResult;
use crate::wire::messages::delete_topics_request::DeleteTopicState;
use crate::wire::messages::metadata_request::MetadataRequestTopic;
use crate::wire::messages::metadata_response::MetadataResponseTopic;
use crate::wire::messages::{
    CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest, DeleteTopicsResponse,
    DescribeClusterRequest, DescribeClusterResponse, MetadataRequest, MetadataResponse,
};
use crate::wire::uuid::Uuid;

fn create(world: &mut World, topics: Vec<CreatableTopic>) -> Vec<CreatableTopicResult> {
    let request = CreateTopicsRequest { topics, ..Default::default() };
    world.ask::<CreateTopicsResponse>(1, 7, request).topics
}

fn topic(name: &str, num_partitions: i32, replication_factor: i16) -> CreatableTopic {
    CreatableTopic { name: name.into(), num_partitions, replication_factor, ..Default::default() }
}

fn code(world: &mut World, topic: CreatableTopic) -> Code {
    Code::new(create(world, vec![topic]).remove(0).error_code)
}

#[test]
fn a_topic_is_created_as_it_is_asked_for() {
    let mut world = World::new(3);
    let mut wanted = topic("t", 4, 2);
    let config = |name: &str, value: &str| CreatableTopicConfig {
        name: name.into(),
        value: Some(value.into()),
        ..Default::default()
    };
    wanted.configs = vec![config("retention.ms", "1000"), config("max.message.bytes", "5000")];
    let result = create(&mut world, vec![wanted]).remove(0);
    assert_eq!((result.error_code, result.num_partitions, result.replication_factor), (0, 4, 2));
    assert_eq!(Some(result.topic_id), world.broker.topic_id("t"));
    let configs = result.configs.unwrap();
    let config = |name: &str| {
        let found = configs.iter().find(|config| config.name == name).unwrap();
        (found.value.as_deref().unwrap(), found.config_source)
    };
    assert_eq!(config("retention.ms"), ("1000", 1));
    assert_eq!(config("max.message.bytes"), ("5000", 1));
    assert_eq!(config("segment.bytes"), ("1073741824", 5));

    let defaults = create(&mut world, vec![topic("d", -1, -1)]).remove(0);
    assert_eq!((defaults.num_partitions, defaults.replication_factor), (1, 3));
}

#[test]
fn what_cannot_be_created_says_why() {
    let mut world = World::new(2);
    world.topic("there", 1, &[]);
    world.topic("over.there", 1, &[]);
    for (wanted, expected) in [
        (topic("there", 1, 1), Code::TOPIC_ALREADY_EXISTS),
        (topic("over_there", 1, 1), Code::INVALID_TOPIC_EXCEPTION),
        (topic("a/b", 1, 1), Code::INVALID_TOPIC_EXCEPTION),
        (topic("", 1, 1), Code::INVALID_TOPIC_EXCEPTION),
        (topic("t", 0, 1), Code::INVALID_PARTITIONS),
        (topic("t", -2, 1), Code::INVALID_PARTITIONS),
        (topic("t", 1_000_000, 1), Code::INVALID_PARTITIONS),
        (topic("t", 1, 0), Code::INVALID_REPLICATION_FACTOR),
        (topic("t", 1, 3), Code::INVALID_REPLICATION_FACTOR),
    ] {
        assert_eq!(code(&mut world, wanted.clone()), expected, "{wanted:?}");
    }
    for (name, value) in [
        ("no.such", Some("1")),
        ("retention.ms", None),
        ("retention.ms", Some("soon")),
        ("retention.ms", Some("-2")),
        ("segment.bytes", Some("1")),
        ("cleanup.policy", Some("nothing")),
        ("compression.type", Some("rar")),
        ("min.cleanable.dirty.ratio", Some("2")),
        ("preallocate", Some("perhaps")),
    ] {
        let mut odd = topic("t", 1, 1);
        let value = value.map(Str::from);
        odd.configs = vec![CreatableTopicConfig { name: name.into(), value, ..Default::default() }];
        assert_eq!(code(&mut world, odd), Code::INVALID_CONFIG, "{name}");
    }
    let twice = create(&mut world, vec![topic("t", 1, 1), topic("t", 1, 1)]);
    assert_eq!(twice.len(), 1);
    assert_eq!(Code::new(twice[0].error_code), Code::INVALID_REQUEST);
    world.broker.deny(Resource::Topic, "t");
    assert_eq!(code(&mut world, topic("t", 1, 1)), Code::TOPIC_AUTHORIZATION_FAILED);
    assert!(world.broker.topic_id("t").is_none());
}

#[test]
fn nodes_may_be_assigned_by_hand() {
    let mut world = World::new(3);
    let by_hand = |nodes: &[&[i32]]| {
        let mut wanted = topic("t", -1, -1);
        let assignments = nodes.iter().zip(0..).map(|(nodes, partition_index)| CreatableReplicaAssignment {
            partition_index,
            broker_ids: nodes.to_vec(),
            ..Default::default()
        });
        wanted.assignments = assignments.collect();
        wanted
    };
    for nodes in [&[&[1, 2][..], &[1][..]][..], &[&[1, 1]], &[&[9]], &[&[]]] {
        assert_eq!(code(&mut world, by_hand(nodes)), Code::INVALID_REPLICA_ASSIGNMENT, "{nodes:?}");
    }
    let mut both = by_hand(&[&[1]]);
    both.num_partitions = 1;
    assert_eq!(code(&mut world, both), Code::INVALID_REQUEST);
    assert_eq!(code(&mut world, by_hand(&[&[3, 1], &[2, 3]])), Code::NONE);
    assert_eq!(world.broker.leader("t", 0), Some((NodeId(3), 0)));
    assert_eq!(world.broker.leader("t", 1), Some((NodeId(2), 0)));
}

#[test]
fn a_request_to_validate_creates_nothing() {
    let mut world = World::new(1);
    let request =
        CreateTopicsRequest { topics: vec![topic("t", 2, 1)], validate_only: true, ..Default::default() };
    let response: CreateTopicsResponse = world.ask(1, 7, request);
    assert_eq!((response.topics[0].error_code, response.topics[0].num_partitions), (0, 2));
    assert!(!response.topics[0].topic_id.is_zero(), "it shows an id that might have been");
    assert_eq!(world.broker.topic_id("t"), None);
}

#[test]
fn topics_are_deleted_by_name_or_id() {
    let mut world = World::new(1);
    world.topic("a", 1, &[]);
    world.topic("b", 1, &[]);
    world.topic("c", 1, &[]);
    world.broker.deny(Resource::Topic, "c");
    let b = world.broker.topic_id("b").unwrap();
    let state = |name: Option<&str>, topic_id| DeleteTopicState {
        name: name.map(Str::from),
        topic_id,
        ..Default::default()
    };
    let delete = |world: &mut World, topics| -> DeleteTopicsResponse {
        world.ask(1, 6, DeleteTopicsRequest { topics, ..Default::default() })
    };
    let codes = |response: &DeleteTopicsResponse| {
        response.responses.iter().map(|topic| Code::new(topic.error_code)).collect::<Vec<_>>()
    };
    // What is not named clearly is refused once, and nothing of it is deleted.
    let unclear = vec![
        state(Some("a"), b),
        state(None, Uuid::ZERO),
        state(Some("a"), Uuid::ZERO),
        state(Some("a"), Uuid::ZERO),
        state(Some("b"), Uuid::ZERO),
        state(None, b),
    ];
    assert_eq!(codes(&delete(&mut world, unclear)), [Code::INVALID_REQUEST; 4]);
    let topics = vec![
        state(Some("a"), Uuid::ZERO),
        state(None, b),
        state(Some("c"), Uuid::ZERO),
        state(Some("d"), Uuid::ZERO),
        state(None, Uuid::from_bytes([9; 16])),
    ];
    let response = delete(&mut world, topics);
    let expected = [
        Code::NONE,
        Code::NONE,
        Code::TOPIC_AUTHORIZATION_FAILED,
        Code::UNKNOWN_TOPIC_OR_PARTITION,
        Code::UNKNOWN_TOPIC_ID,
    ];
    assert_eq!(codes(&response), expected);
    assert_eq!(response.responses[1].name.as_deref(), Some("b"));
    let said = response.responses.iter().map(|topic| topic.error_message.is_some());
    assert_eq!(said.collect::<Vec<_>>(), [false, false, true, true, true]);
    let old = DeleteTopicsRequest { topic_names: vec!["a".into()], ..Default::default() };
    let response: DeleteTopicsResponse = world.ask(1, 5, old);
    assert_eq!(Code::new(response.responses[0].error_code), Code::UNKNOWN_TOPIC_OR_PARTITION);
}

fn metadata(world: &mut World, version: i16, topics: Option<Vec<MetadataRequestTopic>>) -> MetadataResponse {
    world.ask(1, version, MetadataRequest { topics, allow_auto_topic_creation: true, ..Default::default() })
}

fn named(name: &str) -> MetadataRequestTopic {
    MetadataRequestTopic { name: Some(name.into()), ..Default::default() }
}

fn summary(topic: &MetadataResponseTopic) -> (Code, Option<&str>, usize) {
    (Code::new(topic.error_code), topic.name.as_deref(), topic.partitions.len())
}

#[test]
fn metadata_lists_all_some_or_no_topics() {
    let mut world = World::new(2);
    world.topic("a", 1, &[]);
    world.topic("b", 2, &[]);
    let names = |response: &MetadataResponse| response.topics.len();
    assert_eq!(names(&metadata(&mut world, 0, Some(Vec::new()))), 2);
    assert_eq!(names(&metadata(&mut world, 1, Some(Vec::new()))), 0);
    assert_eq!(names(&metadata(&mut world, 13, None)), 2);
    world.broker.deny(Resource::Topic, "a");
    assert_eq!(names(&metadata(&mut world, 13, None)), 1);

    let response =
        metadata(&mut world, 13, Some(vec![named("b"), named("a"), named("c"), named("not/legal")]));
    let topics: Vec<_> = response.topics.iter().map(summary).collect();
    let expected = [
        (Code::NONE, Some("b"), 2),
        (Code::TOPIC_AUTHORIZATION_FAILED, Some("a"), 0),
        (Code::UNKNOWN_TOPIC_OR_PARTITION, Some("c"), 0),
        (Code::INVALID_TOPIC_EXCEPTION, Some("not/legal"), 0),
    ];
    assert_eq!(topics, expected);
    assert_eq!(response.brokers.iter().map(|node| node.node_id).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(response.cluster_id.as_ref(), Some(world.broker.cluster_id()));
    // Nothing was created by asking.
    assert_eq!(world.broker.topic_id("c"), None);
}

#[test]
fn metadata_finds_topics_by_id_from_version_twelve_on() {
    let mut world = World::new(1);
    world.topic("t", 3, &[]);
    let id = world.broker.topic_id("t").unwrap();
    let by_id = |topic_id| MetadataRequestTopic { topic_id, name: None, ..Default::default() };
    let unknown = Uuid::from_bytes([9; 16]);
    let response = metadata(&mut world, 12, Some(vec![by_id(id), by_id(unknown)]));
    let topics: Vec<_> = response.topics.iter().map(summary).collect();
    assert_eq!(topics, [(Code::NONE, Some("t"), 3), (Code::UNKNOWN_TOPIC_ID, None, 0)]);
    assert_eq!(response.topics[0].topic_id, id);
    // An id goes before a name, and before topics that have none.
    let both = MetadataRequestTopic { name: Some("u".into()), ..by_id(id) };
    let response = metadata(&mut world, 12, Some(vec![both, by_id(id), named("u")]));
    assert_eq!(response.topics.iter().map(summary).collect::<Vec<_>>(), [(Code::NONE, Some("t"), 3)]);
    for (version, wanted, code) in [
        (11, MetadataRequestTopic { name: Some("t".into()), ..by_id(id) }, Code::INVALID_REQUEST),
        (12, by_id(Uuid::ZERO), Code::UNKNOWN_SERVER_ERROR),
    ] {
        let response = metadata(&mut world, version, Some(vec![wanted]));
        assert_eq!((Code::new(response.topics[0].error_code), response.brokers.len()), (code, 0));
    }
}

#[test]
fn a_topic_that_is_asked_for_twice_is_answered_once() {
    let mut world = World::new(1);
    world.topic("t", 1, &[]);
    assert_eq!(metadata(&mut world, 9, Some(vec![named("t"), named("t")])).topics.len(), 1);
}

#[test]
fn who_asks_is_told_what_may_be_done() {
    let mut world = World::new(1);
    world.topic("t", 1, &[]);
    for (asked, topic, cluster) in [(true, 3_576, 8_096), (false, i32::MIN, i32::MIN)] {
        let request = MetadataRequest {
            topics: Some(vec![named("t"), named("u")]),
            include_topic_authorized_operations: asked,
            include_cluster_authorized_operations: asked,
            ..Default::default()
        };
        let response: MetadataResponse = world.ask(1, 10, request);
        let operations = response.topics.iter().map(|topic| topic.topic_authorized_operations);
        assert_eq!(operations.collect::<Vec<_>>(), [topic, i32::MIN]);
        assert_eq!(response.cluster_authorized_operations, cluster);
        let request =
            DescribeClusterRequest { include_cluster_authorized_operations: asked, ..Default::default() };
        let response: DescribeClusterResponse = world.ask(1, 2, request);
        assert_eq!(response.cluster_authorized_operations, cluster);
    }
}

#[test]
fn a_partition_without_a_live_replica_has_no_leader() {
    let mut world = World::with(2, |settings, _| settings.default_replication_factor = 1);
    world.topic("t", 2, &[]);
    world.broker.stop_node(world.now, NodeId(2));
    let response = metadata(&mut world, 13, Some(vec![named("t")]));
    assert_eq!(response.brokers.len(), 1);
    let orphan = response.topics[0].partitions.iter().find(|p| p.replica_nodes == [2]).unwrap();
    assert_eq!(Code::new(orphan.error_code), Code::LEADER_NOT_AVAILABLE);
    assert_eq!((orphan.leader_id, orphan.leader_epoch), (-1, 1));
    assert_eq!(orphan.offline_replicas, [2]);
}

#[test]
fn topics_appear_by_asking_where_that_is_allowed() {
    let mut world = World::with(1, |settings, _| settings.auto_create_topics = true);
    let first = metadata(&mut world, 13, Some(vec![named("new"), named("not/legal")]));
    assert_eq!(summary(&first.topics[0]), (Code::UNKNOWN_TOPIC_OR_PARTITION, Some("new"), 0));
    let second = metadata(&mut world, 13, Some(vec![named("new")]));
    assert_eq!(summary(&second.topics[0]), (Code::NONE, Some("new"), 1));
    let request = MetadataRequest { topics: Some(vec![named("other")]), ..Default::default() };
    let _: MetadataResponse =
        world.ask(1, 13, MetadataRequest { allow_auto_topic_creation: false, ..request });
    assert_eq!(world.broker.topic_id("other"), None);
}

#[test]
fn the_cluster_describes_itself() {
    let mut world = World::new(2);
    world.broker.stop_node(world.now, NodeId(2));
    let ask = |world: &mut World, include_fenced_brokers, endpoint_type| -> DescribeClusterResponse {
        let request = DescribeClusterRequest { include_fenced_brokers, endpoint_type, ..Default::default() };
        world.ask(1, 2, request)
    };
    let nodes = |response: &DescribeClusterResponse| {
        response.brokers.iter().map(|node| (node.broker_id, node.is_fenced)).collect::<Vec<_>>()
    };
    assert_eq!(nodes(&ask(&mut world, false, 1)), [(1, false)]);
    assert_eq!(nodes(&ask(&mut world, true, 1)), [(1, false), (2, true)]);
    assert_eq!(ask(&mut world, false, 1).controller_id, 1);
    assert_eq!(ask(&mut world, false, 2).error_code, Code::MISMATCHED_ENDPOINT_TYPE.get());
    assert_eq!(ask(&mut world, false, 3).error_code, Code::UNSUPPORTED_ENDPOINT_TYPE.get());
}
