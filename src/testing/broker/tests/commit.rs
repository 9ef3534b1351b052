//! OffsetCommit and OffsetFetch.

use super::*;
use crate::error::{Code, Resource};
use crate::wire::messages::join_group_request::JoinGroupRequestProtocol;
use crate::wire::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use crate::wire::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use crate::wire::messages::*;

fn world() -> World {
    let mut world = World::new(1);
    world.topic("t", 2, &[]);
    world
}

/// A commit of offset 5 for partition 0 of a topic, by nobody in particular.
fn commit_request(world: &World, topic: &str) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition {
        committed_offset: 5,
        committed_leader_epoch: 3,
        committed_metadata: Some("note".into()),
        ..Default::default()
    };
    let topic = OffsetCommitRequestTopic {
        name: topic.into(),
        topic_id: world.broker.topic_id(topic).unwrap_or_default(),
        partitions: vec![partition],
        ..Default::default()
    };
    OffsetCommitRequest {
        group_id: "g".into(),
        generation_id_or_member_epoch: -1,
        topics: vec![topic],
        ..Default::default()
    }
}

fn commit(world: &mut World, version: i16, request: OffsetCommitRequest) -> Code {
    let response: OffsetCommitResponse = world.ask(1, version, request);
    Code::new(response.topics[0].partitions[0].error_code)
}

/// The offset, its epoch, and the code.
fn fetch(world: &mut World, version: i16, topic: &str) -> (i64, i32, Code) {
    let id = world.broker.topic_id(topic).unwrap_or_default();
    if version < 8 {
        let topic =
            OffsetFetchRequestTopic { name: topic.into(), partition_indexes: vec![0], ..Default::default() };
        let request =
            OffsetFetchRequest { group_id: "g".into(), topics: Some(vec![topic]), ..Default::default() };
        let response: OffsetFetchResponse = world.ask(1, version, request);
        let fetched = &response.topics[0].partitions[0];
        return (fetched.committed_offset, fetched.committed_leader_epoch, Code::new(fetched.error_code));
    }
    let topic = OffsetFetchRequestTopics {
        name: topic.into(),
        topic_id: id,
        partition_indexes: vec![0],
        ..Default::default()
    };
    let group =
        OffsetFetchRequestGroup { group_id: "g".into(), topics: Some(vec![topic]), ..Default::default() };
    let response: OffsetFetchResponse =
        world.ask(1, version, OffsetFetchRequest { groups: vec![group], ..Default::default() });
    let group = &response.groups[0];
    if group.error_code != 0 {
        return (-1, -1, Code::new(group.error_code));
    }
    let fetched = &group.topics[0].partitions[0];
    (fetched.committed_offset, fetched.committed_leader_epoch, Code::new(fetched.error_code))
}

#[test]
fn what_is_committed_is_fetched_in_every_version() {
    let mut world = world();
    for version in 1..=10 {
        assert_eq!(fetch(&mut world, version, "t"), (-1, -1, Code::NONE), "{version}");
    }
    for version in 2..=10 {
        let mut request = commit_request(&world, "t");
        request.topics[0].partitions[0].committed_offset = i64::from(version);
        if version < 6 {
            request.topics[0].partitions[0].committed_leader_epoch = -1;
        }
        assert_eq!(commit(&mut world, version, request), Code::NONE, "{version}");
        let epoch = if version < 6 { -1 } else { 3 };
        assert_eq!(fetch(&mut world, 10, "t"), (i64::from(version), epoch, Code::NONE), "{version}");
    }
    for version in 1..=10 {
        let epoch = if version < 5 { -1 } else { 3 };
        assert_eq!(fetch(&mut world, version, "t"), (10, epoch, Code::NONE), "{version}");
    }
}

#[test]
fn all_offsets_of_a_group_are_fetched_at_once() {
    let mut world = world();
    world.topic("hidden", 1, &[]);
    for topic in ["t", "hidden"] {
        let request = commit_request(&world, topic);
        assert_eq!(commit(&mut world, 9, request), Code::NONE);
    }
    world.broker.deny(Resource::Topic, "hidden");
    let group = OffsetFetchRequestGroup { group_id: "g".into(), topics: None, ..Default::default() };
    let request = OffsetFetchRequest { groups: vec![group], ..Default::default() };
    let response: OffsetFetchResponse = world.ask(1, 9, request);
    let names: Vec<&str> = response.groups[0].topics.iter().map(|topic| topic.name.as_str()).collect();
    assert_eq!(names, ["t"]);
}

#[test]
fn commits_are_checked() {
    let mut world = world();
    for (topic, partition, version, code) in [
        ("nowhere", 0, 9, Code::UNKNOWN_TOPIC_OR_PARTITION),
        ("nowhere", 0, 10, Code::UNKNOWN_TOPIC_ID),
        ("t", 2, 10, Code::UNKNOWN_TOPIC_OR_PARTITION),
    ] {
        let mut request = commit_request(&world, topic);
        request.topics[0].partitions[0].partition_index = partition;
        assert_eq!(commit(&mut world, version, request), code);
    }
    for (length, code) in [(4096, Code::NONE), (4097, Code::OFFSET_METADATA_TOO_LARGE)] {
        let mut request = commit_request(&world, "t");
        request.topics[0].partitions[0].committed_metadata = Some("x".repeat(length).into());
        assert_eq!(commit(&mut world, 9, request), code);
    }
    world.broker.deny(Resource::Topic, "t");
    let request = commit_request(&world, "t");
    assert_eq!(commit(&mut world, 9, request.clone()), Code::TOPIC_AUTHORIZATION_FAILED);
    assert_eq!(fetch(&mut world, 9, "t").2, Code::TOPIC_AUTHORIZATION_FAILED);
    world.broker.deny(Resource::Group, "g");
    assert_eq!(commit(&mut world, 9, request), Code::GROUP_AUTHORIZATION_FAILED);
    for version in [1, 9] {
        assert_eq!(fetch(&mut world, version, "t").2, Code::GROUP_AUTHORIZATION_FAILED);
    }
}

#[test]
fn a_topic_created_again_has_no_offsets_and_its_old_id_is_unknown() {
    let mut world = world();
    let old = commit_request(&world, "t");
    assert_eq!(commit(&mut world, 10, old.clone()), Code::NONE);
    world.broker.delete_topic(world.now, "t");
    world.topic("t", 1, &[]);
    assert_eq!(commit(&mut world, 10, old), Code::UNKNOWN_TOPIC_ID);
    assert_eq!(fetch(&mut world, 10, "t"), (-1, -1, Code::NONE));
}

#[test]
fn a_group_with_members_takes_commits_of_its_generation_only() {
    let mut world = world();
    let as_member = |world: &World, generation, member: &str| OffsetCommitRequest {
        generation_id_or_member_epoch: generation,
        member_id: member.into(),
        ..commit_request(world, "t")
    };
    let request = as_member(&world, 1, "x");
    assert_eq!(commit(&mut world, 8, request.clone()), Code::ILLEGAL_GENERATION);
    assert_eq!(commit(&mut world, 9, request), Code::GROUP_ID_NOT_FOUND);

    let protocol = JoinGroupRequestProtocol { name: "range".into(), ..Default::default() };
    let join = JoinGroupRequest {
        group_id: "g".into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: "consumer".into(),
        protocols: vec![protocol],
        ..Default::default()
    };
    let joined: JoinGroupResponse = world.ask(1, 3, join);
    let member = joined.member_id.as_str();
    let cases = |world: &mut World, settled: Code| {
        for (generation, id, code) in [
            (-1, "", Code::UNKNOWN_MEMBER_ID),
            (1, "x", Code::UNKNOWN_MEMBER_ID),
            (0, member, Code::ILLEGAL_GENERATION),
            (2, member, Code::ILLEGAL_GENERATION),
            (1, member, settled),
        ] {
            let request = as_member(world, generation, id);
            assert_eq!(commit(world, 9, request), code, "{generation} {id}");
        }
    };
    cases(&mut world, Code::REBALANCE_IN_PROGRESS);
    let sync = SyncGroupRequest {
        group_id: "g".into(),
        generation_id: 1,
        member_id: member.into(),
        ..Default::default()
    };
    assert_eq!(world.ask::<SyncGroupResponse>(1, 4, sync).error_code, 0);
    cases(&mut world, Code::NONE);
    // A commit is a sign of life.
    for _ in 0..3 {
        world.pass(Duration::from_secs(6));
        let request = as_member(&world, 1, member);
        assert_eq!(commit(&mut world, 9, request), Code::NONE);
    }
    world.pass(Duration::from_secs(10));
    let request = as_member(&world, 1, member);
    assert_eq!(commit(&mut world, 9, request), Code::UNKNOWN_MEMBER_ID);
}

#[test]
fn offsets_survive_their_coordinator() {
    let mut world = World::new(2);
    world.topic("t", 1, &[]);
    let coordinator = world.broker.coordinator("g").unwrap();
    let other = 3 - coordinator.0;
    let request = commit_request(&world, "t");
    let response: OffsetCommitResponse = world.ask(other, 9, request.clone());
    assert_eq!(Code::new(response.topics[0].partitions[0].error_code), Code::NOT_COORDINATOR);
    let response: OffsetCommitResponse = world.ask(coordinator.0, 9, request);
    assert_eq!(response.topics[0].partitions[0].error_code, 0);
    world.broker.stop_node(world.now, coordinator);
    let group = OffsetFetchRequestGroup { group_id: "g".into(), topics: None, ..Default::default() };
    let fetch = OffsetFetchRequest { groups: vec![group], ..Default::default() };
    let response: OffsetFetchResponse = world.ask(other, 9, fetch);
    assert_eq!(response.groups[0].topics[0].partitions[0].committed_offset, 5);
}

#[test]
fn a_group_has_a_limit_of_offsets() {
    let mut world = World::with(1, |_, limits| limits.offsets_per_group = 1);
    world.topic("t", 2, &[]);
    let mut request = commit_request(&world, "t");
    assert_eq!(commit(&mut world, 9, request.clone()), Code::NONE);
    assert_eq!(commit(&mut world, 9, request.clone()), Code::NONE);
    request.topics[0].partitions[0].partition_index = 1;
    assert_eq!(commit(&mut world, 9, request), Code::POLICY_VIOLATION);
}

#[test]
fn a_group_without_a_name_may_have_offsets_but_no_members() {
    let mut world = world();
    let request = OffsetCommitRequest { group_id: "".into(), ..commit_request(&world, "t") };
    assert_eq!(commit(&mut world, 8, request), Code::NONE);
    let beat = HeartbeatRequest { group_id: "".into(), member_id: "m".into(), ..Default::default() };
    let response: HeartbeatResponse = world.ask(1, 4, beat);
    assert_eq!(Code::new(response.error_code), Code::INVALID_GROUP_ID);
}

#[test]
fn a_partition_that_is_not_there_is_said_before_who_asks_is_judged() {
    let mut world = world();
    let stranger = OffsetCommitRequest {
        generation_id_or_member_epoch: 3,
        member_id: "somebody".into(),
        ..commit_request(&world, "t")
    };
    let mut nowhere = stranger.clone();
    nowhere.topics[0].partitions[0].partition_index = 9;
    assert_eq!(commit(&mut world, 9, stranger), Code::GROUP_ID_NOT_FOUND);
    assert_eq!(commit(&mut world, 9, nowhere), Code::UNKNOWN_TOPIC_OR_PARTITION);
}
