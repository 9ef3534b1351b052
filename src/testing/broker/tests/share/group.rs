//! The members of share groups.

use super::*;
use crate::wire::messages::consumer_group_heartbeat_request::ConsumerGroupHeartbeatRequest;
use crate::wire::messages::join_group_request::JoinGroupRequestProtocol;
use crate::wire::messages::{ConsumerGroupHeartbeatResponse, DescribeGroupsRequest, DescribeGroupsResponse};

fn beats(id: &str, member_epoch: i32) -> ShareGroupHeartbeatRequest {
    ShareGroupHeartbeatRequest {
        group_id: "g".into(),
        member_id: id.into(),
        member_epoch,
        ..ShareGroupHeartbeatRequest::default()
    }
}

fn joins(id: &str) -> ShareGroupHeartbeatRequest {
    ShareGroupHeartbeatRequest { subscribed_topic_names: Some(vec!["t".into()]), ..beats(id, 0) }
}

/// The code, the epoch, and what is assigned if that is said.
fn ask(world: &mut World, request: ShareGroupHeartbeatRequest) -> (Code, i32, Option<Vec<i32>>) {
    let response: ShareGroupHeartbeatResponse = world.ask(1, 1, request);
    let assigned = response.assignment.map(|assignment| {
        assignment.topic_partitions.into_iter().flat_map(|topic| topic.partitions).collect()
    });
    (Code::new(response.error_code), response.member_epoch, assigned)
}

fn code(world: &mut World, request: ShareGroupHeartbeatRequest) -> Code {
    ask(world, request).0
}

#[test]
fn partitions_are_dealt_and_shared_where_they_are_few() {
    let mut world = world();
    assert_eq!(ask(&mut world, joins("a")), (Code::NONE, 1, Some(vec![0, 1])));
    assert_eq!(ask(&mut world, beats("a", 1)), (Code::NONE, 1, None), "said once");
    assert_eq!(ask(&mut world, joins("b")), (Code::NONE, 2, Some(vec![1])));
    assert_eq!(ask(&mut world, beats("a", 1)), (Code::NONE, 2, Some(vec![0])));
    assert_eq!(ask(&mut world, joins("c")), (Code::NONE, 3, Some(vec![0])), "that of another too");
    assert_eq!(ask(&mut world, beats("a", 2)), (Code::NONE, 3, None));
    world.topic("u", 1, &[]);
    let both = Some(vec!["t".into(), "u".into()]);
    let more = ShareGroupHeartbeatRequest { subscribed_topic_names: both, ..beats("c", 3) };
    assert_eq!(ask(&mut world, more).2.map(|partitions| partitions.len()), Some(2));
}

#[test]
fn epochs_are_checked() {
    let mut world = world();
    assert_eq!(code(&mut world, beats("a", 1)), Code::GROUP_ID_NOT_FOUND);
    ask(&mut world, joins("a"));
    ask(&mut world, joins("b"));
    assert_eq!(ask(&mut world, beats("a", 1)).1, 2);
    assert_eq!(ask(&mut world, beats("a", 1)), (Code::NONE, 2, Some(vec![0])), "the answer was lost");
    assert_eq!(ask(&mut world, joins("c")).1, 3);
    assert_eq!(ask(&mut world, beats("a", 2)).1, 3);
    assert_eq!(code(&mut world, beats("a", 1)), Code::FENCED_MEMBER_EPOCH);
    assert_eq!(code(&mut world, beats("a", 4)), Code::FENCED_MEMBER_EPOCH);
    assert_eq!(code(&mut world, beats("x", 3)), Code::UNKNOWN_MEMBER_ID);
    assert_eq!(code(&mut world, beats("x", -1)), Code::UNKNOWN_MEMBER_ID);
    assert_eq!(ask(&mut world, joins("a")), (Code::NONE, 3, Some(vec![0])), "it may join again");
}

#[test]
fn what_no_member_may_say_is_refused() {
    let mut world = world();
    let nameless = ShareGroupHeartbeatRequest { group_id: "".into(), ..joins("a") };
    for request in [beats("a", 0), joins(""), beats("a", -2), nameless] {
        assert_eq!(code(&mut world, request), Code::INVALID_REQUEST);
    }
    let mut world = World::with(1, |settings, _| settings.share_version = 0);
    assert_eq!(code(&mut world, joins("a")), Code::UNSUPPORTED_VERSION);
    let mut world = World::new(2);
    let elsewhere = if world.broker.coordinator("g") == Some(NodeId(1)) { 2 } else { 1 };
    let response: ShareGroupHeartbeatResponse = world.ask(elsewhere, 1, joins("a"));
    assert_eq!(Code::new(response.error_code), Code::NOT_COORDINATOR);
}

#[test]
fn a_member_that_leaves_or_is_silent_is_followed_and_its_records_are_free() {
    for leaves in [true, false] {
        let mut world = world();
        world.produce(0, batch(&["a"]));
        let (mut a, mut b) = (Member::new(&mut world, "a"), Member::new(&mut world, "b"));
        ask(&mut world, joins("a"));
        if leaves {
            ask(&mut world, joins("b"));
            assert_eq!(a.fetch(&mut world), [(0, 0, 1)]);
            assert_eq!(ask(&mut world, beats("a", -1)), (Code::NONE, -1, None));
        } else {
            world.pass(40 * SECOND);
            assert_eq!(a.fetch(&mut world), [(0, 0, 1)]);
            ask(&mut world, joins("b"));
            world.pass(5 * SECOND);
        }
        assert_eq!(ask(&mut world, beats("b", 2)), (Code::NONE, 3, Some(vec![0, 1])));
        assert_eq!(b.fetch(&mut world), [(0, 0, 2)]);
        assert_eq!(code(&mut world, beats("a", 1)), Code::UNKNOWN_MEMBER_ID);
    }
}

#[test]
fn a_group_is_of_one_kind() {
    let mut world = world();
    let classic = |group: &str| JoinGroupRequest {
        group_id: group.into(),
        session_timeout_ms: 10_000,
        protocol_type: "consumer".into(),
        protocols: vec![JoinGroupRequestProtocol { name: "range".into(), ..Default::default() }],
        ..Default::default()
    };
    ask(&mut world, joins("a"));
    let response: JoinGroupResponse = world.ask(1, 9, classic("g"));
    assert_eq!(Code::new(response.error_code), Code::INCONSISTENT_GROUP_PROTOCOL);
    let consumer = ConsumerGroupHeartbeatRequest {
        group_id: "g".into(),
        member_id: "b".into(),
        rebalance_timeout_ms: 10_000,
        subscribed_topic_names: Some(Vec::new()),
        topic_partitions: Some(Vec::new()),
        ..Default::default()
    };
    let response: ConsumerGroupHeartbeatResponse = world.ask(1, 1, consumer);
    assert_eq!(Code::new(response.error_code), Code::GROUP_ID_NOT_FOUND);
    // The id that it is given makes it a member that is about to be one.
    let response: JoinGroupResponse = world.ask(1, 9, classic("other"));
    assert_eq!(Code::new(response.error_code), Code::MEMBER_ID_REQUIRED);
    let taken = ShareGroupHeartbeatRequest { group_id: "other".into(), ..joins("a") };
    assert_eq!(code(&mut world, taken.clone()), Code::GROUP_ID_NOT_FOUND);
    world.pass(10 * SECOND);
    assert_eq!(code(&mut world, taken), Code::NONE, "nobody is there any more");
}

#[test]
fn admins_see_share_groups() {
    let mut world = world();
    ask(&mut world, joins("a"));
    let response: ListGroupsResponse = world.ask(1, 5, ListGroupsRequest::default());
    let group = &response.groups[0];
    let shown = (&*group.group_id, &*group.group_type, &*group.protocol_type, &*group.group_state);
    assert_eq!(shown, ("g", "share", "share", "Stable"));
    let of_type = |kind: &str| ListGroupsRequest { types_filter: vec![kind.into()], ..Default::default() };
    assert!(world.ask::<ListGroupsResponse>(1, 5, of_type("classic")).groups.is_empty());
    assert_eq!(world.ask::<ListGroupsResponse>(1, 5, of_type("Share")).groups.len(), 1);
    let request = DescribeGroupsRequest { groups: vec!["g".into()], ..Default::default() };
    let response: DescribeGroupsResponse = world.ask(1, 6, request);
    assert_eq!(Code::new(response.groups[0].error_code), Code::GROUP_ID_NOT_FOUND);
}
