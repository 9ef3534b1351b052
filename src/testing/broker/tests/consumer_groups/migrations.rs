//! Groups that go from one protocol to the other while they have members.

use bytes::Bytes;

use super::*;
use crate::wire::codec::{Decode, Encode, Reader, Writer};
use crate::wire::messages::consumer_protocol_subscription::TopicPartition;
use crate::wire::messages::join_group_request::JoinGroupRequestProtocol;
use crate::wire::messages::leave_group_request::MemberIdentity;
use crate::wire::messages::sync_group_request::SyncGroupRequestAssignment;
use crate::wire::messages::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, HeartbeatRequest, HeartbeatResponse,
    JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse, SyncGroupRequest,
    SyncGroupResponse, consumer_protocol_assignment,
};

/// A member by the classic protocol, cooperative.
struct Classic {
    id: Str,
    generation: i32,
    owned: Vec<i32>,
}

impl Classic {
    /// Joins as a new member does: once for an id, once with it.
    fn enter(world: &mut World) -> Self {
        let mut member = Self { id: Str::default(), generation: -1, owned: Vec::new() };
        assert_eq!(member.join(world), Code::MEMBER_ID_REQUIRED);
        assert_eq!(member.join(world), Code::NONE);
        member
    }

    fn join(&mut self, world: &mut World) -> Code {
        let owned = TopicPartition { topic: "t".into(), partitions: self.owned.clone() };
        let said = ConsumerProtocolSubscription {
            topics: vec!["t".into()],
            owned_partitions: vec![owned],
            generation_id: self.generation,
            ..ConsumerProtocolSubscription::default()
        };
        let (name, metadata) = ("cooperative-sticky".into(), message(&said, 3));
        let request = JoinGroupRequest {
            group_id: "g".into(),
            member_id: self.id.clone(),
            protocol_type: "consumer".into(),
            protocols: vec![JoinGroupRequestProtocol { name, metadata, ..Default::default() }],
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: 10_000,
            ..JoinGroupRequest::default()
        };
        let response: JoinGroupResponse = world.ask(1, 9, request);
        self.id = response.member_id;
        if response.error_code == 0 {
            self.generation = response.generation_id;
        }
        Code::new(response.error_code)
    }

    /// Synchronises, as leader with all partitions for itself.
    fn sync(&mut self, world: &mut World, leads: bool) -> Code {
        let all =
            consumer_protocol_assignment::TopicPartition { topic: "t".into(), partitions: vec![0, 1, 2, 3] };
        let all = ConsumerProtocolAssignment { assigned_partitions: vec![all], ..Default::default() };
        let given = SyncGroupRequestAssignment {
            member_id: self.id.clone(),
            assignment: message(&all, 0),
            ..Default::default()
        };
        let request = SyncGroupRequest {
            group_id: "g".into(),
            generation_id: self.generation,
            member_id: self.id.clone(),
            protocol_type: Some("consumer".into()),
            protocol_name: Some("cooperative-sticky".into()),
            assignments: if leads { vec![given] } else { Vec::new() },
            ..SyncGroupRequest::default()
        };
        let response: SyncGroupResponse = world.ask(1, 5, request);
        if response.error_code == 0 {
            let mut reader = Reader::new(response.assignment);
            reader.i16("version").unwrap();
            let assigned = ConsumerProtocolAssignment::decode(&mut reader, 0).unwrap().assigned_partitions;
            self.owned = assigned.into_iter().flat_map(|topic| topic.partitions).collect();
        }
        Code::new(response.error_code)
    }

    fn beat(&self, world: &mut World) -> Code {
        let request = HeartbeatRequest {
            group_id: "g".into(),
            generation_id: self.generation,
            member_id: self.id.clone(),
            ..HeartbeatRequest::default()
        };
        let response: HeartbeatResponse = world.ask(1, 4, request);
        Code::new(response.error_code)
    }

    fn leave(self, world: &mut World) {
        let member = MemberIdentity { member_id: self.id, ..MemberIdentity::default() };
        let request =
            LeaveGroupRequest { group_id: "g".into(), members: vec![member], ..LeaveGroupRequest::default() };
        let response: LeaveGroupResponse = world.ask(1, 5, request);
        assert_eq!(response.members[0].error_code, 0);
    }
}

fn message(message: &impl Encode, version: i16) -> Bytes {
    let mut writer = Writer::new();
    writer.i16(version);
    message.encode(&mut writer, version).unwrap();
    writer.finish().into_bytes()
}

#[test]
fn a_classic_group_is_taken_over_member_by_member_and_given_back() {
    let mut world = world();
    let mut old = Classic::enter(&mut world);
    assert_eq!((old.sync(&mut world, true), old.owned.len()), (Code::NONE, 4));
    // The first of the consumer protocol: what the old one has stays its own until it has given it up.
    let (code, epoch, assigned) = ask(&mut world, joins("a"));
    assert_eq!((code, epoch, assigned), (Code::NONE, 2, Some(vec![])));
    assert_eq!(old.beat(&mut world), Code::REBALANCE_IN_PROGRESS);
    assert_eq!((old.join(&mut world), old.generation), (Code::NONE, 1), "in its generation until then");
    assert_eq!((old.sync(&mut world, false), old.owned.len()), (Code::NONE, 2));
    assert_eq!(old.beat(&mut world), Code::NONE, "who gives up joins again by itself");
    assert_eq!(ask(&mut world, beats("a", 2)).2, None);
    assert_eq!((old.join(&mut world), old.generation), (Code::NONE, 2));
    assert_eq!((old.sync(&mut world, false), old.owned.len()), (Code::NONE, 2));
    assert_eq!(old.beat(&mut world), Code::NONE);
    let (_, _, assigned) = ask(&mut world, beats("a", 2));
    let all: std::collections::BTreeSet<i32> =
        assigned.unwrap().into_iter().chain(old.owned.clone()).collect();
    assert_eq!(all.len(), 4);
    // Another classic one joins such a group, and hears when there is something for it.
    let mut late = Classic::enter(&mut world);
    assert_eq!((late.sync(&mut world, false), late.owned.len()), (Code::NONE, 0));
    old.leave(&mut world);
    assert_eq!(late.beat(&mut world), Code::REBALANCE_IN_PROGRESS);
    assert_eq!(late.join(&mut world), Code::NONE);
    assert_eq!((late.sync(&mut world, false), late.owned.is_empty()), (Code::NONE, false));
    // The last of the consumer protocol goes: the group is a classic one, which rebalances.
    assert_eq!(ask(&mut world, beats("a", -1)).0, Code::NONE);
    assert_eq!(late.beat(&mut world), Code::REBALANCE_IN_PROGRESS);
    assert_eq!(late.join(&mut world), Code::NONE);
    assert_eq!((late.sync(&mut world, true), late.owned.len()), (Code::NONE, 4));
    assert_eq!(late.beat(&mut world), Code::NONE);
}

#[test]
fn a_classic_member_that_does_not_join_again_in_time_is_thrown_out() {
    let mut world = world();
    let mut old = Classic::enter(&mut world);
    old.sync(&mut world, true);
    ask(&mut world, joins("a"));
    for _ in 0..3 {
        assert_eq!(old.beat(&mut world), Code::REBALANCE_IN_PROGRESS);
        world.pass(3 * SECOND);
        assert_eq!(ask(&mut world, beats("a", 2)).2, None);
    }
    world.pass(2 * SECOND);
    assert_eq!(old.beat(&mut world), Code::UNKNOWN_MEMBER_ID);
    assert_eq!(ask(&mut world, beats("a", 2)).2.unwrap().len(), 4);
}

#[test]
fn a_group_of_another_kind_is_not_taken_over() {
    let mut world = world();
    let request = JoinGroupRequest {
        group_id: "g".into(),
        protocol_type: "connect".into(),
        protocols: vec![JoinGroupRequestProtocol { name: "x".into(), ..Default::default() }],
        session_timeout_ms: 10_000,
        ..JoinGroupRequest::default()
    };
    let first: JoinGroupResponse = world.ask(1, 9, request.clone());
    let second: JoinGroupResponse =
        world.ask(1, 9, JoinGroupRequest { member_id: first.member_id, ..request });
    assert_eq!(second.error_code, 0);
    assert_eq!(code(&mut world, joins("a")), Code::GROUP_ID_NOT_FOUND);
}
