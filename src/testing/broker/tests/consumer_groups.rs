//! Groups under the consumer protocol (KIP-848).

use std::time::Duration;

use super::World;
use crate::error::Code;
use crate::wire::messages::consumer_group_heartbeat_request::TopicPartitions;
use crate::wire::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use crate::wire::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, OffsetCommitRequest, OffsetCommitResponse,
};
use crate::wire::str::Str;

mod migrations;

const SECOND: Duration = Duration::from_secs(1);

fn world() -> World {
    let mut world = World::new(1);
    world.topic("t", 4, &[]);
    world
}

fn joins(id: &str) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        group_id: "g".into(),
        member_id: id.into(),
        rebalance_timeout_ms: 10_000,
        subscribed_topic_names: Some(vec!["t".into()]),
        topic_partitions: Some(Vec::new()),
        ..ConsumerGroupHeartbeatRequest::default()
    }
}

fn beats(id: &str, epoch: i32) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        group_id: "g".into(),
        member_id: id.into(),
        member_epoch: epoch,
        ..ConsumerGroupHeartbeatRequest::default()
    }
}

/// A heartbeat that says what is owned.
fn owns(world: &World, id: &str, epoch: i32, partitions: &[i32]) -> ConsumerGroupHeartbeatRequest {
    let topic_id = world.broker.topic_id("t").unwrap();
    let owned = TopicPartitions { topic_id, partitions: partitions.to_vec(), ..TopicPartitions::default() };
    ConsumerGroupHeartbeatRequest { topic_partitions: Some(vec![owned]), ..beats(id, epoch) }
}

/// The code, the epoch, and what is assigned if that is said.
fn ask(world: &mut World, request: ConsumerGroupHeartbeatRequest) -> (Code, i32, Option<Vec<i32>>) {
    let response: ConsumerGroupHeartbeatResponse = world.ask(1, 1, request);
    let assigned = response.assignment.map(|assignment| {
        assignment.topic_partitions.into_iter().flat_map(|topic| topic.partitions).collect()
    });
    (Code::new(response.error_code), response.member_epoch, assigned)
}

fn code(world: &mut World, request: ConsumerGroupHeartbeatRequest) -> Code {
    ask(world, request).0
}

#[test]
fn who_joins_is_assigned_what_nobody_has() {
    let mut world = world();
    assert_eq!(ask(&mut world, joins("a")), (Code::NONE, 1, Some(vec![0, 1, 2, 3])));
    assert_eq!(ask(&mut world, beats("a", 1)), (Code::NONE, 1, None), "said once");
    assert_eq!(ask(&mut world, joins("b")), (Code::NONE, 2, Some(vec![])), "all are somebody's");
}

#[test]
fn who_joins_for_nothing_is_a_member_all_the_same() {
    let mut world = world();
    let nothing = ConsumerGroupHeartbeatRequest { subscribed_topic_names: Some(vec![]), ..joins("a") };
    assert_eq!(ask(&mut world, nothing), (Code::NONE, 1, Some(vec![])));
    assert_eq!(ask(&mut world, beats("a", 1)), (Code::NONE, 1, None));
}

#[test]
fn a_partition_goes_on_when_its_owner_has_said_that_it_gave_it_up() {
    let mut world = world();
    ask(&mut world, joins("a"));
    ask(&mut world, joins("b"));
    assert_eq!(
        ask(&mut world, beats("a", 1)),
        (Code::NONE, 1, Some(vec![0, 1])),
        "in its old epoch until then"
    );
    assert_eq!(ask(&mut world, beats("b", 2)), (Code::NONE, 2, None));
    let still = owns(&world, "a", 1, &[0, 1, 2, 3]);
    assert_eq!(ask(&mut world, still), (Code::NONE, 1, None));
    let given_up = owns(&world, "a", 1, &[0, 1]);
    assert_eq!(ask(&mut world, given_up), (Code::NONE, 2, None));
    assert_eq!(ask(&mut world, beats("b", 2)), (Code::NONE, 2, Some(vec![2, 3])));
}

#[test]
fn a_member_that_does_not_give_up_in_time_is_thrown_out() {
    let mut world = world();
    ask(&mut world, joins("a"));
    ask(&mut world, joins("b"));
    ask(&mut world, beats("a", 1));
    for _ in 0..3 {
        world.pass(3 * SECOND);
        assert_eq!(code(&mut world, beats("a", 1)), Code::NONE);
    }
    world.pass(SECOND);
    assert_eq!(code(&mut world, beats("a", 1)), Code::UNKNOWN_MEMBER_ID);
    assert_eq!(ask(&mut world, beats("b", 2)), (Code::NONE, 3, Some(vec![0, 1, 2, 3])));
}

#[test]
fn a_member_that_is_silent_or_leaves_is_followed() {
    let mut world = world();
    ask(&mut world, joins("a"));
    world.pass(30 * SECOND);
    ask(&mut world, joins("b"));
    world.pass(15 * SECOND);
    assert_eq!(ask(&mut world, beats("b", 2)), (Code::NONE, 3, Some(vec![0, 1, 2, 3])));
    assert_eq!(ask(&mut world, beats("b", -1)), (Code::NONE, -1, None));
    assert_eq!(code(&mut world, beats("b", 3)), Code::UNKNOWN_MEMBER_ID);
    assert_eq!(ask(&mut world, joins("c")), (Code::NONE, 5, Some(vec![0, 1, 2, 3])));
}

#[test]
fn epochs_fence_who_missed_something() {
    let mut world = world();
    ask(&mut world, joins("a"));
    ask(&mut world, joins("b"));
    ask(&mut world, beats("a", 1));
    let given_up = owns(&world, "a", 1, &[0, 1]);
    assert_eq!(ask(&mut world, given_up.clone()), (Code::NONE, 2, None));
    assert_eq!(ask(&mut world, given_up).1, 2, "the answer may have been lost");
    for epoch in [1, 3] {
        assert_eq!(code(&mut world, beats("a", epoch)), Code::FENCED_MEMBER_EPOCH, "{epoch}");
    }
    assert_eq!(ask(&mut world, joins("a")), (Code::NONE, 2, Some(vec![0, 1])));
}

#[test]
fn a_static_member_comes_back_to_what_it_had_and_a_double_is_refused() {
    let named = |request| ConsumerGroupHeartbeatRequest { instance_id: Some("i".into()), ..request };
    let mut world = world();
    assert_eq!(ask(&mut world, named(joins("a"))).2, Some(vec![0, 1, 2, 3]));
    assert_eq!(code(&mut world, named(joins("b"))), Code::UNRELEASED_INSTANCE_ID);
    assert_eq!(ask(&mut world, named(beats("a", -2))), (Code::NONE, -2, None));
    world.pass(44 * SECOND);
    assert_eq!(ask(&mut world, named(joins("b"))), (Code::NONE, 1, Some(vec![0, 1, 2, 3])));
    assert_eq!(code(&mut world, named(beats("a", 1))), Code::FENCED_INSTANCE_ID);
    assert_eq!(code(&mut world, beats("b", -2)), Code::INVALID_REQUEST, "without its name");
}

#[test]
fn what_no_member_may_say_is_refused() {
    let mut world = world();
    for (request, expected) in [
        (ConsumerGroupHeartbeatRequest { group_id: Str::default(), ..joins("a") }, Code::INVALID_REQUEST),
        (joins(""), Code::INVALID_REQUEST),
        (ConsumerGroupHeartbeatRequest { rebalance_timeout_ms: -1, ..joins("a") }, Code::INVALID_REQUEST),
        (ConsumerGroupHeartbeatRequest { topic_partitions: None, ..joins("a") }, Code::INVALID_REQUEST),
        (ConsumerGroupHeartbeatRequest { subscribed_topic_names: None, ..joins("a") }, Code::INVALID_REQUEST),
        (
            ConsumerGroupHeartbeatRequest { server_assignor: Some("x".into()), ..joins("a") },
            Code::UNSUPPORTED_ASSIGNOR,
        ),
        (beats("a", 1), Code::GROUP_ID_NOT_FOUND),
        (beats("a", -3), Code::INVALID_REQUEST),
    ] {
        assert_eq!(code(&mut world, request.clone()), expected, "{request:?}");
    }
}

#[test]
fn partitions_that_are_added_are_assigned() {
    let mut world = world();
    ask(&mut world, joins("a"));
    world.broker.delete_topic(world.now, "t");
    world.topic("t", 6, &[]);
    assert_eq!(
        ask(&mut world, beats("a", 1)),
        (Code::NONE, 1, Some(vec![])),
        "the old ones are given up first"
    );
    let none = ConsumerGroupHeartbeatRequest { topic_partitions: Some(Vec::new()), ..beats("a", 1) };
    assert_eq!(ask(&mut world, none), (Code::NONE, 2, Some(vec![0, 1, 2, 3, 4, 5])));
}

#[test]
fn members_commit_in_their_epoch() {
    let mut world = world();
    ask(&mut world, joins("a"));
    let mut commit = |member: &str, epoch| {
        let partition = OffsetCommitRequestPartition { committed_offset: 1, ..Default::default() };
        let topic =
            OffsetCommitRequestTopic { name: "t".into(), partitions: vec![partition], ..Default::default() };
        let request = OffsetCommitRequest {
            group_id: "g".into(),
            generation_id_or_member_epoch: epoch,
            member_id: member.into(),
            topics: vec![topic],
            ..OffsetCommitRequest::default()
        };
        let response: OffsetCommitResponse = world.ask(1, 9, request);
        Code::new(response.topics[0].partitions[0].error_code)
    };
    assert_eq!(commit("a", 1), Code::NONE);
    assert_eq!(commit("a", 0), Code::STALE_MEMBER_EPOCH);
    assert_eq!(commit("b", 1), Code::UNKNOWN_MEMBER_ID);
    assert_eq!(commit("", -1), Code::UNKNOWN_MEMBER_ID);
}

#[test]
fn what_a_member_has_kept_it_may_commit_in_an_older_epoch() {
    commit_in_an_older_epoch(true, Code::NONE);
}

#[test]
fn before_kafka_4_3_a_member_may_commit_nothing_in_an_older_epoch() {
    commit_in_an_older_epoch(false, Code::STALE_MEMBER_EPOCH);
}

fn commit_in_an_older_epoch(assignment_epochs: bool, of_what_is_kept: Code) {
    let mut world = World::with(1, |settings, _| settings.group_assignment_epochs = assignment_epochs);
    world.topic("t", 4, &[]);
    ask(&mut world, joins("a"));
    ask(&mut world, joins("b"));
    let commit = |world: &mut World, version, index| {
        let partition = OffsetCommitRequestPartition {
            partition_index: index,
            committed_offset: 1,
            ..OffsetCommitRequestPartition::default()
        };
        let topic =
            OffsetCommitRequestTopic { name: "t".into(), partitions: vec![partition], ..Default::default() };
        let request = OffsetCommitRequest {
            group_id: "g".into(),
            generation_id_or_member_epoch: 1,
            member_id: "a".into(),
            topics: vec![topic],
            ..OffsetCommitRequest::default()
        };
        let response: OffsetCommitResponse = world.ask(1, version, request);
        Code::new(response.topics[0].partitions[0].error_code)
    };
    let (_, _, kept) = ask(&mut world, beats("a", 1));
    let kept = kept.unwrap();
    assert_eq!(
        [0, 1, 2, 3].map(|index| commit(&mut world, 9, index)),
        [Code::NONE; 4],
        "nothing is given up yet"
    );
    let owned = owns(&world, "a", 1, &kept);
    assert_eq!(ask(&mut world, owned).1, 2);
    for index in 0..4 {
        let expected = if kept.contains(&index) { of_what_is_kept } else { Code::STALE_MEMBER_EPOCH };
        assert_eq!(commit(&mut world, 9, index), expected);
        assert_eq!(commit(&mut world, 8, index), Code::UNSUPPORTED_VERSION);
    }
}

#[test]
fn a_cluster_without_the_feature_does_not_speak_the_protocol() {
    let mut world = World::with(1, |settings, _| settings.group_version = 0);
    world.topic("t", 4, &[]);
    assert_eq!(code(&mut world, joins("a")), Code::UNSUPPORTED_VERSION);
}
