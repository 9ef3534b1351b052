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
    assert_eq!(result.configs.unwrap().len(), 2);

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
    let mut odd = topic("t", 1, 1);
    odd.configs = vec![CreatableTopicConfig { name: "no.such".into(), ..Default::default() }];
    assert_eq!(code(&mut world, odd), Code::INVALID_CONFIG);
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
    let topics = vec![
        state(Some("a"), Uuid::ZERO),
        state(None, b),
        state(Some("a"), Uuid::ZERO),
        state(None, b),
        state(Some("c"), Uuid::ZERO),
        state(Some("c"), b),
    ];
    let response: DeleteTopicsResponse =
        world.ask(1, 6, DeleteTopicsRequest { topics, ..Default::default() });
    let codes: Vec<Code> = response.responses.iter().map(|topic| Code::new(topic.error_code)).collect();
    let expected = [
        Code::NONE,
        Code::NONE,
        Code::UNKNOWN_TOPIC_OR_PARTITION,
        Code::UNKNOWN_TOPIC_ID,
        Code::TOPIC_AUTHORIZATION_FAILED,
        Code::INVALID_REQUEST,
    ];
    assert_eq!(codes, expected);
    assert_eq!(response.responses[1].name.as_deref(), Some("b"));
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
}
