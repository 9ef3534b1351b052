//! Which requests a broker takes, in which versions, and what it does with all others.

use bytes::BytesMut;

use super::*;
use crate::error::Code;
use crate::wire::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use crate::wire::messages::create_topics_request::CreatableTopic;
use crate::wire::messages::delete_topics_request::DeleteTopicState;
use crate::wire::messages::leave_group_request::MemberIdentity;
use crate::wire::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use crate::wire::messages::metadata_request::MetadataRequestTopic;
use crate::wire::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use crate::wire::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopic};
use crate::wire::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use crate::wire::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use crate::wire::messages::*;

/// The header of a request, and no body.
fn header(key: i16, version: i16) -> Bytes {
    let mut frame = BytesMut::new();
    frame.extend_from_slice(&key.to_be_bytes());
    frame.extend_from_slice(&version.to_be_bytes());
    frame.extend_from_slice(&9_i32.to_be_bytes());
    frame.extend_from_slice(&[0; 64]);
    frame.freeze()
}

#[test]
fn an_api_or_version_that_is_not_known_closes_the_connection_without_a_byte() {
    let mut world = World::new(1);
    for (key, version) in [(300, 0), (-1, 0), (0, 0), (0, 2), (0, 14), (1, 3), (3, 99), (3, -1), (68, 1)] {
        let connection = world.connect(1);
        world.send_bytes(connection, header(key, version));
        assert!(world.is_closed(connection), "{key} in version {version}");
        assert!(world.answer::<MetadataResponse>(connection).is_none());
    }
}

#[test]
fn an_unknown_version_of_api_versions_is_answered_in_version_zero_with_the_known_ones() {
    let mut world = World::new(1);
    let connection = world.connect(1);
    world.asked.entry(connection).or_default().push_back((ApiKey::ApiVersions, 0));
    world.send_bytes(connection, header(18, 99));
    let response: ApiVersionsResponse = world.answer(connection).unwrap();
    assert_eq!(Code::new(response.error_code), Code::UNSUPPORTED_VERSION);
    let keys: Vec<_> =
        response.api_keys.iter().map(|api| (api.api_key, api.min_version, api.max_version)).collect();
    assert_eq!(keys, [(18, 0, 5)]);
    // The connection lives on.
    world.send(connection, 2, ApiVersionsRequest::default());
    let response: ApiVersionsResponse = world.answer(connection).unwrap();
    assert_eq!(response.error_code, 0);
}

fn api_versions(name: &str) -> ApiVersionsRequest {
    ApiVersionsRequest {
        client_software_name: name.into(),
        client_software_version: "1.0-a".into(),
        ..Default::default()
    }
}

#[test]
fn produce_is_advertised_from_zero_and_features_with_level_zero_from_version_four() {
    let mut world = World::new(1);
    for version in 0..=5 {
        let response: ApiVersionsResponse = world.ask(1, version, api_versions("milena"));
        assert_eq!(response.error_code, 0, "{version}");
        let produce = response.api_keys.iter().find(|api| api.api_key == 0).unwrap();
        assert_eq!((produce.min_version, produce.max_version), (0, 13));
        assert!(response.api_keys.iter().all(|api| !matches!(api.api_key, 71 | 72)));
        let supported: Vec<&str> =
            response.supported_features.iter().map(|feature| feature.name.as_str()).collect();
        match version {
            0..=2 => assert!(supported.is_empty() && response.finalized_features.is_empty()),
            3 => assert_eq!(supported, ["metadata.version"]),
            _ => assert_eq!(supported.len(), 7),
        }
    }
}

#[test]
fn the_version_of_transactions_is_finalized_as_the_cluster_is_set() {
    for version in 0..=2 {
        let mut world = World::with(1, |settings, _| settings.transaction_version = version);
        let response: ApiVersionsResponse = world.ask(1, 4, api_versions("milena"));
        let mut levels = response.finalized_features.iter();
        let level = levels.find(|feature| feature.name == "transaction.version");
        assert_eq!(level.map_or(0, |feature| feature.max_version_level), i16::from(version));
    }
}

#[test]
fn the_clients_software_must_have_a_proper_name() {
    let mut world = World::new(1);
    for (name, code) in [
        ("milena", Code::NONE),
        ("a", Code::NONE),
        ("", Code::INVALID_REQUEST),
        ("mi lena", Code::INVALID_REQUEST),
        ("-milena", Code::INVALID_REQUEST),
        ("milena.", Code::INVALID_REQUEST),
    ] {
        let response: ApiVersionsResponse = world.ask(1, 3, api_versions(name));
        assert_eq!(Code::new(response.error_code), code, "{name:?}");
    }
    let response: ApiVersionsResponse = world.ask(1, 2, api_versions(""));
    assert_eq!(response.error_code, 0);
}

#[test]
fn a_client_at_the_wrong_broker_is_told_so() {
    let mut world = World::new(2);
    let cluster = world.broker.cluster_id().clone();
    let mut code = |cluster_id: Option<&Str>, node_id| {
        let request =
            ApiVersionsRequest { cluster_id: cluster_id.cloned(), node_id, ..api_versions("milena") };
        let response: ApiVersionsResponse = world.ask(1, 5, request);
        assert_eq!(response.error_code == 0, !response.api_keys.is_empty());
        Code::new(response.error_code)
    };
    assert_eq!(code(None, -1), Code::NONE);
    assert_eq!(code(Some(&cluster), 1), Code::NONE);
    assert_eq!(code(Some(&cluster), 2), Code::REBOOTSTRAP_REQUIRED);
    assert_eq!(code(Some(&"another".into()), 1), Code::REBOOTSTRAP_REQUIRED);
    assert_eq!(code(Some(&cluster), -1), Code::INVALID_REQUEST);
    assert_eq!(code(None, 1), Code::INVALID_REQUEST);
}

/// A request of each API that makes the broker fill what it can.
fn sample(world: &World, key: ApiKey, version: i16) -> Option<Request> {
    Some(match key {
        ApiKey::ApiVersions => api_versions("milena").into(),
        ApiKey::CreateTopics => {
            let name = format!("created-{version}").into();
            let topic = |name| CreatableTopic {
                name,
                num_partitions: 1,
                replication_factor: 1,
                ..Default::default()
            };
            CreateTopicsRequest { topics: vec![topic(name), topic("t".into())], ..Default::default() }.into()
        }
        ApiKey::DeleteTopics if version < 6 => {
            DeleteTopicsRequest { topic_names: vec!["nowhere".into()], ..Default::default() }.into()
        }
        ApiKey::DeleteTopics => {
            let topic = DeleteTopicState { name: Some("nowhere".into()), ..Default::default() };
            DeleteTopicsRequest { topics: vec![topic], ..Default::default() }.into()
        }
        ApiKey::DescribeCluster => DescribeClusterRequest::default().into(),
        ApiKey::Fetch => fetch_request(world, "t", 0, 0).into(),
        ApiKey::InitProducerId => InitProducerIdRequest::default().into(),
        ApiKey::ListOffsets => {
            let partition = ListOffsetsPartition { timestamp: -1, ..Default::default() };
            let topic =
                ListOffsetsTopic { name: "t".into(), partitions: vec![partition], ..Default::default() };
            ListOffsetsRequest { topics: vec![topic], ..Default::default() }.into()
        }
        ApiKey::Metadata => {
            let named = |name: &str| MetadataRequestTopic { name: Some(name.into()), ..Default::default() };
            MetadataRequest { topics: Some(vec![named("t"), named("no")]), ..Default::default() }.into()
        }
        ApiKey::OffsetForLeaderEpoch => {
            let partition = OffsetForLeaderPartition { leader_epoch: 0, ..Default::default() };
            let topic =
                OffsetForLeaderTopic { topic: "t".into(), partitions: vec![partition], ..Default::default() };
            OffsetForLeaderEpochRequest { topics: vec![topic], ..Default::default() }.into()
        }
        ApiKey::Produce => produce_request(world, "t", 0, Bytes::from_static(b"bad"), -1).into(),
        _ => return sample_of_groups(world, key, version),
    })
}

fn sample_of_groups(world: &World, key: ApiKey, version: i16) -> Option<Request> {
    Some(match key {
        ApiKey::OffsetCommit => {
            let partition = OffsetCommitRequestPartition::default();
            let topic = OffsetCommitRequestTopic {
                name: "t".into(),
                topic_id: world.broker.topic_id("t").unwrap(),
                partitions: vec![partition],
                ..Default::default()
            };
            OffsetCommitRequest { group_id: "g".into(), topics: vec![topic], ..Default::default() }.into()
        }
        ApiKey::OffsetFetch if version < 8 => {
            let topic = OffsetFetchRequestTopic {
                name: "t".into(),
                partition_indexes: vec![0],
                ..Default::default()
            };
            OffsetFetchRequest { group_id: "g".into(), topics: Some(vec![topic]), ..Default::default() }
                .into()
        }
        ApiKey::OffsetFetch => {
            let group = OffsetFetchRequestGroup { group_id: "g".into(), topics: None, ..Default::default() };
            OffsetFetchRequest { groups: vec![group], ..Default::default() }.into()
        }
        ApiKey::FindCoordinator if version < 4 => {
            FindCoordinatorRequest { key: "g".into(), ..Default::default() }.into()
        }
        ApiKey::FindCoordinator => {
            FindCoordinatorRequest { coordinator_keys: vec!["g".into()], ..Default::default() }.into()
        }
        ApiKey::JoinGroup => JoinGroupRequest { group_id: "g".into(), ..Default::default() }.into(),
        ApiKey::ConsumerGroupHeartbeat => {
            ConsumerGroupHeartbeatRequest { group_id: "g".into(), ..Default::default() }.into()
        }
        ApiKey::Heartbeat => HeartbeatRequest { group_id: "g".into(), ..Default::default() }.into(),
        ApiKey::SyncGroup => SyncGroupRequest { group_id: "g".into(), ..Default::default() }.into(),
        ApiKey::LeaveGroup if version < 3 => {
            LeaveGroupRequest { group_id: "g".into(), member_id: "x".into(), ..Default::default() }.into()
        }
        ApiKey::LeaveGroup => {
            let member = MemberIdentity { member_id: "x".into(), ..Default::default() };
            LeaveGroupRequest { group_id: "g".into(), members: vec![member], ..Default::default() }.into()
        }
        ApiKey::DescribeGroups => {
            DescribeGroupsRequest { groups: vec!["g".into(), "no".into()], ..Default::default() }.into()
        }
        ApiKey::ListGroups => ListGroupsRequest::default().into(),
        ApiKey::AddPartitionsToTxn => {
            let topic =
                AddPartitionsToTxnTopic { name: "t".into(), partitions: vec![0], ..Default::default() };
            let v3_and_below_topics = vec![topic];
            AddPartitionsToTxnRequest { v3_and_below_topics, ..Default::default() }.into()
        }
        ApiKey::AddOffsetsToTxn => {
            AddOffsetsToTxnRequest { group_id: "g".into(), ..Default::default() }.into()
        }
        ApiKey::EndTxn => EndTxnRequest::default().into(),
        ApiKey::TxnOffsetCommit => {
            let partitions = vec![TxnOffsetCommitRequestPartition::default()];
            let name = if version < 6 { "t".into() } else { Str::default() };
            let topic = TxnOffsetCommitRequestTopic { name, partitions, ..Default::default() };
            TxnOffsetCommitRequest { group_id: "g".into(), topics: vec![topic], ..Default::default() }.into()
        }
        _ => return sample_of_share_groups(world, key),
    })
}

fn sample_of_share_groups(world: &World, key: ApiKey) -> Option<Request> {
    Some(match key {
        ApiKey::ShareFetch => {
            let topic = share_fetch_request::FetchTopic {
                topic_id: world.broker.topic_id("t").unwrap(),
                partitions: vec![Default::default()],
                ..Default::default()
            };
            let (group_id, member_id) = (Some("s".into()), Some("m".into()));
            ShareFetchRequest { group_id, member_id, topics: vec![topic], ..Default::default() }.into()
        }
        ApiKey::ShareGroupHeartbeat => {
            ShareGroupHeartbeatRequest { group_id: "s".into(), ..Default::default() }.into()
        }
        ApiKey::ShareAcknowledge => {
            let topic = share_acknowledge_request::AcknowledgeTopic {
                topic_id: world.broker.topic_id("t").unwrap(),
                partitions: vec![Default::default()],
                ..Default::default()
            };
            ShareAcknowledgeRequest { group_id: Some("s".into()), topics: vec![topic], ..Default::default() }
                .into()
        }
        _ => return None,
    })
}

#[test]
fn every_advertised_version_is_answered() {
    let mut world = World::new(2);
    world.topic("t", 1, &[]);
    world.broker.move_leader(world.now, "t", 0, NodeId(1));
    world.produce(0, batch(&["value"]));
    for &(key, min, max) in super::super::versions::ADVERTISED {
        let lowest = min.max(key.supported().min);
        // The newest of one API are for brokers.
        let max = if key == ApiKey::AddPartitionsToTxn { 3 } else { max };
        assert!(max <= key.supported().max, "{key}");
        // Node 2 leads nothing, so that the answers hold errors and hints.
        for (version, node) in (lowest..=max).flat_map(|version| [(version, 1), (version, 2)]) {
            let request = sample(&world, key, version).unwrap_or_else(|| panic!("no sample of {key}"));
            let connection = world.connect(node);
            world.send(connection, version, request);
            assert!(!world.is_closed(connection), "{key} in version {version}");
            assert!(world.answers.remove(&connection).is_some(), "{key} in version {version}");
        }
    }
}
