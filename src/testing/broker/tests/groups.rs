//! The classic group: joining, rebalances, sessions, static members.

use super::*;
use crate::error::{Code, Resource};
use crate::wire::messages::find_coordinator_response::Coordinator;
use crate::wire::messages::join_group_request::JoinGroupRequestProtocol;
use crate::wire::messages::leave_group_request::MemberIdentity;
use crate::wire::messages::sync_group_request::SyncGroupRequestAssignment;
use crate::wire::messages::*;

mod static_members;

/// A member of group `g`, with a connection of its own.
struct Peer {
    connection: ConnectionId,
    id: Str,
    instance: Option<Str>,
    protocols: Vec<&'static str>,
    generation: i32,
    /// What was chosen.
    protocol: Option<Str>,
    version: i16,
}

impl Peer {
    fn new(world: &mut World) -> Self {
        Self::at(world, 1)
    }

    fn at(world: &mut World, node: i32) -> Self {
        let connection = world.connect(node);
        let protocols = vec!["range"];
        let (id, protocol) = (Str::default(), Some("range".into()));
        Self { connection, id, instance: None, protocols, generation: -1, protocol, version: 9 }
    }

    fn fixed(world: &mut World, instance: &str) -> Self {
        Self { instance: Some(instance.into()), ..Self::new(world) }
    }

    fn join_request(&self) -> JoinGroupRequest {
        let protocols = self.protocols.iter().map(|name| JoinGroupRequestProtocol {
            name: (*name).into(),
            metadata: Bytes::from_static(b"topics"),
            ..Default::default()
        });
        JoinGroupRequest {
            group_id: "g".into(),
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: if self.version == 0 { -1 } else { 60_000 },
            member_id: self.id.clone(),
            group_instance_id: self.instance.clone(),
            protocol_type: "consumer".into(),
            protocols: protocols.collect(),
            ..Default::default()
        }
    }

    fn send_join(&self, world: &mut World) {
        world.send(self.connection, self.version, self.join_request());
    }

    /// Takes the answer to a join, and what it says about this member.
    fn joined(&mut self, world: &mut World) -> Option<JoinGroupResponse> {
        let response: JoinGroupResponse = world.answer(self.connection)?;
        if !response.member_id.is_empty() {
            self.id = response.member_id.clone();
        }
        if response.error_code == 0 {
            self.generation = response.generation_id;
            self.protocol = response.protocol_name.clone();
        }
        Some(response)
    }

    /// Joins as a new member does: once for an id, once with it.
    fn enter(&mut self, world: &mut World) {
        self.send_join(world);
        let response = self.joined(world).unwrap();
        assert_eq!(Code::new(response.error_code), Code::MEMBER_ID_REQUIRED);
        assert!(response.member_id.starts_with("test-"));
        self.send_join(world);
    }

    fn send_sync(&self, world: &mut World, assignments: &[(&Self, &'static str)]) {
        let assignments = assignments.iter().map(|(peer, assignment)| SyncGroupRequestAssignment {
            member_id: peer.id.clone(),
            assignment: Bytes::from_static(assignment.as_bytes()),
            ..Default::default()
        });
        let request = SyncGroupRequest {
            group_id: "g".into(),
            generation_id: self.generation,
            member_id: self.id.clone(),
            group_instance_id: self.instance.clone(),
            protocol_type: Some("consumer".into()),
            protocol_name: self.protocol.clone(),
            assignments: assignments.collect(),
            ..Default::default()
        };
        world.send(self.connection, 5, request);
    }

    fn synced(&self, world: &mut World) -> Option<(Code, Bytes)> {
        let response: SyncGroupResponse = world.answer(self.connection)?;
        Some((Code::new(response.error_code), response.assignment))
    }

    fn beat(&self, world: &mut World) -> Code {
        let request = HeartbeatRequest {
            group_id: "g".into(),
            generation_id: self.generation,
            member_id: self.id.clone(),
            group_instance_id: self.instance.clone(),
            ..Default::default()
        };
        Code::new(world.ask::<HeartbeatResponse>(1, 4, request).error_code)
    }

    fn leave(&self, world: &mut World) -> Code {
        let member = MemberIdentity {
            member_id: self.id.clone(),
            group_instance_id: self.instance.clone(),
            ..Default::default()
        };
        let request = LeaveGroupRequest { group_id: "g".into(), members: vec![member], ..Default::default() };
        let response: LeaveGroupResponse = world.ask(1, 5, request);
        assert_eq!(response.error_code, 0);
        Code::new(response.members[0].error_code)
    }
}

fn state(world: &mut World) -> (Str, Vec<Str>) {
    let request = DescribeGroupsRequest { groups: vec!["g".into()], ..Default::default() };
    let mut response: DescribeGroupsResponse = world.ask(1, 6, request);
    let group = response.groups.remove(0);
    (group.group_state, group.members.into_iter().map(|member| member.member_id).collect())
}

/// Two members in generation 2, the first leading, with an assignment each.
fn pair() -> (World, Peer, Peer) {
    let mut world = World::new(1);
    let (mut a, mut b) = (Peer::new(&mut world), Peer::new(&mut world));
    a.enter(&mut world);
    assert_eq!(a.joined(&mut world).unwrap().generation_id, 1);
    a.send_sync(&mut world, &[(&a, "all")]);
    assert_eq!(a.synced(&mut world).unwrap(), (Code::NONE, Bytes::from_static(b"all")));
    b.enter(&mut world);
    assert!(b.joined(&mut world).is_none(), "the newcomer waits");
    assert_eq!(a.beat(&mut world), Code::REBALANCE_IN_PROGRESS);
    a.send_join(&mut world);
    settle(&mut world, &mut a, &mut b);
    (world, a, b)
}

/// Both have asked to join, the first leads.
fn settle(world: &mut World, a: &mut Peer, b: &mut Peer) {
    let (lead, follow) = (a.joined(world).unwrap(), b.joined(world).unwrap());
    assert_eq!((lead.error_code, follow.error_code), (0, 0));
    assert_eq!(lead.leader, a.id);
    assert_eq!((follow.leader, follow.generation_id), (a.id.clone(), lead.generation_id));
    assert_eq!(lead.members.len(), 2);
    assert!(follow.members.is_empty());
    b.send_sync(world, &[]);
    assert!(b.synced(world).is_none(), "the leader has not assigned yet");
    a.send_sync(world, &[(a, "first half"), (b, "second half")]);
    assert_eq!(a.synced(world).unwrap(), (Code::NONE, Bytes::from_static(b"first half")));
    assert_eq!(b.synced(world).unwrap(), (Code::NONE, Bytes::from_static(b"second half")));
}

#[test]
fn two_members_share_the_work() {
    let (mut world, a, b) = pair();
    assert_eq!((a.beat(&mut world), b.beat(&mut world)), (Code::NONE, Code::NONE));
    assert_eq!(state(&mut world), ("Stable".into(), vec![a.id.clone(), b.id.clone()]));
    assert_eq!(a.generation, 2);
    // Asked again, the assignment is the same.
    b.send_sync(&mut world, &[]);
    assert_eq!(b.synced(&mut world).unwrap(), (Code::NONE, Bytes::from_static(b"second half")));
}

#[test]
fn a_member_that_leaves_has_the_others_rebalance() {
    let (mut world, mut a, b) = pair();
    assert_eq!(b.leave(&mut world), Code::NONE);
    assert_eq!(b.leave(&mut world), Code::UNKNOWN_MEMBER_ID);
    assert_eq!(b.beat(&mut world), Code::UNKNOWN_MEMBER_ID);
    assert_eq!(a.beat(&mut world), Code::REBALANCE_IN_PROGRESS);
    a.send_join(&mut world);
    let alone = a.joined(&mut world).unwrap();
    assert_eq!((alone.generation_id, alone.members.len()), (3, 1));
    a.send_sync(&mut world, &[(&a, "all")]);
    assert_eq!(a.synced(&mut world).unwrap().0, Code::NONE);
    assert_eq!(a.leave(&mut world), Code::NONE);
    assert_eq!(state(&mut world), ("Empty".into(), Vec::new()));
    assert_eq!(world.broker.deadline(), None);
}

#[test]
fn the_leader_that_leaves_is_followed_by_the_next() {
    let (mut world, a, mut b) = pair();
    a.leave(&mut world);
    b.send_join(&mut world);
    let response = b.joined(&mut world).unwrap();
    assert_eq!((response.leader, response.members.len()), (b.id.clone(), 1));
}

#[test]
fn a_silent_member_is_thrown_out_when_its_session_ends() {
    let (mut world, a, b) = pair();
    world.pass(Duration::from_secs(6));
    assert_eq!(a.beat(&mut world), Code::NONE);
    world.pass(Duration::from_secs(4));
    assert_eq!(b.beat(&mut world), Code::UNKNOWN_MEMBER_ID);
    assert_eq!(a.beat(&mut world), Code::REBALANCE_IN_PROGRESS);
    // Nobody comes back: the rebalance ends without members.
    world.pass(Duration::from_secs(60));
    assert_eq!(state(&mut world).0, "Empty");
}

#[test]
fn who_does_not_join_in_time_is_left_behind() {
    let (mut world, mut a, b) = pair();
    // The leader may always ask for a rebalance.
    a.send_join(&mut world);
    assert!(a.joined(&mut world).is_none());
    for _ in 0..59 {
        world.pass(Duration::from_secs(1));
        assert_eq!(b.beat(&mut world), Code::REBALANCE_IN_PROGRESS);
    }
    assert!(a.joined(&mut world).is_none());
    world.pass(Duration::from_secs(1));
    assert_eq!(a.joined(&mut world).unwrap().members.len(), 1);
    assert_eq!(b.beat(&mut world), Code::UNKNOWN_MEMBER_ID);
}

#[test]
fn who_does_not_ask_for_its_assignment_is_thrown_out() {
    let (mut world, mut a, mut b) = pair();
    a.send_join(&mut world);
    b.send_join(&mut world);
    a.joined(&mut world).unwrap();
    b.joined(&mut world).unwrap();
    a.send_sync(&mut world, &[(&a, "mine")]);
    assert_eq!(a.synced(&mut world).unwrap().0, Code::NONE);
    for _ in 0..60 {
        assert_eq!((a.beat(&mut world), b.beat(&mut world)), (Code::NONE, Code::NONE));
        world.pass(Duration::from_secs(1));
    }
    assert_eq!(b.beat(&mut world), Code::UNKNOWN_MEMBER_ID);
    assert_eq!(a.beat(&mut world), Code::REBALANCE_IN_PROGRESS);
}

#[test]
fn a_rebalance_sends_those_back_who_wait_for_their_assignment() {
    let (mut world, mut a, mut b) = pair();
    a.send_join(&mut world);
    b.send_join(&mut world);
    a.joined(&mut world).unwrap();
    b.joined(&mut world).unwrap();
    b.send_sync(&mut world, &[]);
    let mut c = Peer::new(&mut world);
    c.enter(&mut world);
    assert_eq!(b.synced(&mut world).unwrap().0, Code::REBALANCE_IN_PROGRESS);
    a.send_sync(&mut world, &[(&a, "late")]);
    assert_eq!(a.synced(&mut world).unwrap().0, Code::REBALANCE_IN_PROGRESS);
    a.send_join(&mut world);
    b.send_join(&mut world);
    assert_eq!(a.joined(&mut world).unwrap().members.len(), 3);
}

#[test]
fn a_lost_answer_to_a_join_is_given_again() {
    let (mut world, mut a, mut b) = pair();
    a.send_join(&mut world);
    b.send_join(&mut world);
    let first = a.joined(&mut world).unwrap();
    a.send_join(&mut world);
    assert_eq!(a.joined(&mut world).unwrap(), first);
    // In a stable group a follower without news is told the generation at once.
    b.joined(&mut world).unwrap();
    b.send_sync(&mut world, &[]);
    a.send_sync(&mut world, &[]);
    b.synced(&mut world).unwrap();
    b.send_join(&mut world);
    assert_eq!(b.joined(&mut world).unwrap().generation_id, first.generation_id);
    // With other protocols there is news.
    b.protocols = vec!["range", "sticky"];
    b.send_join(&mut world);
    assert!(b.joined(&mut world).is_none());
}

#[test]
fn old_generations_and_strangers_are_refused() {
    let (mut world, mut a, mut b) = pair();
    let generation = std::mem::replace(&mut a.generation, 1);
    assert_eq!(a.beat(&mut world), Code::ILLEGAL_GENERATION);
    a.send_sync(&mut world, &[]);
    assert_eq!(a.synced(&mut world).unwrap().0, Code::ILLEGAL_GENERATION);
    a.generation = generation;
    b.id = "stranger".into();
    assert_eq!(b.beat(&mut world), Code::UNKNOWN_MEMBER_ID);
    b.send_sync(&mut world, &[]);
    assert_eq!(b.synced(&mut world).unwrap().0, Code::UNKNOWN_MEMBER_ID);
    b.send_join(&mut world);
    assert_eq!(Code::new(b.joined(&mut world).unwrap().error_code), Code::UNKNOWN_MEMBER_ID);
    assert_eq!(b.leave(&mut world), Code::UNKNOWN_MEMBER_ID);
    let request = SyncGroupRequest {
        group_id: "g".into(),
        generation_id: a.generation,
        member_id: a.id.clone(),
        protocol_type: Some("consumer".into()),
        protocol_name: Some("sticky".into()),
        ..Default::default()
    };
    let response: SyncGroupResponse = world.ask(1, 5, request);
    assert_eq!(Code::new(response.error_code), Code::INCONSISTENT_GROUP_PROTOCOL);
}

#[test]
fn members_agree_on_a_protocol_that_all_speak() {
    let mut world = World::new(1);
    let (mut a, mut b) = (Peer::new(&mut world), Peer::new(&mut world));
    a.protocols = vec!["sticky", "range"];
    a.enter(&mut world);
    assert_eq!(a.joined(&mut world).unwrap().protocol_name.as_deref(), Some("sticky"));
    b.protocols = vec!["roundrobin"];
    b.send_join(&mut world);
    assert_eq!(Code::new(b.joined(&mut world).unwrap().error_code), Code::INCONSISTENT_GROUP_PROTOCOL);
    b.protocols = vec!["roundrobin", "range"];
    b.id = Str::default();
    b.enter(&mut world);
    a.send_join(&mut world);
    assert_eq!(a.joined(&mut world).unwrap().protocol_name.as_deref(), Some("range"));
}

#[test]
fn old_versions_join_in_one_step() {
    for version in [0, 1, 3] {
        let mut world = World::new(1);
        let mut a = Peer { version, ..Peer::new(&mut world) };
        a.send_join(&mut world);
        let response = a.joined(&mut world).unwrap();
        assert_eq!((response.error_code, response.generation_id), (0, 1), "{version}");
        assert_eq!(response.members.len(), 1);
        let request =
            LeaveGroupRequest { group_id: "g".into(), member_id: a.id.clone(), ..Default::default() };
        assert_eq!(world.ask::<LeaveGroupResponse>(1, 2, request.clone()).error_code, 0);
        let again = world.ask::<LeaveGroupResponse>(1, 2, request).error_code;
        assert_eq!(Code::new(again), Code::UNKNOWN_MEMBER_ID);
    }
}

#[test]
fn an_id_that_is_not_used_lapses_and_does_not_hold_up_the_others() {
    let (mut world, mut a, b) = pair();
    let mut ghost = Peer::new(&mut world);
    ghost.send_join(&mut world);
    assert_eq!(Code::new(ghost.joined(&mut world).unwrap().error_code), Code::MEMBER_ID_REQUIRED);
    a.send_join(&mut world);
    b.send_join(&mut world);
    assert!(a.joined(&mut world).is_none(), "the ghost may still come");
    world.pass(Duration::from_secs(10));
    assert_eq!(a.joined(&mut world).unwrap().members.len(), 2);
    ghost.send_join(&mut world);
    assert_eq!(Code::new(ghost.joined(&mut world).unwrap().error_code), Code::UNKNOWN_MEMBER_ID);
}

#[test]
fn an_empty_group_waits_a_little_for_more_members() {
    let mut world = World::with(1, |settings, _| {
        settings.group_initial_rebalance_delay = Duration::from_secs(3);
    });
    let (mut a, mut b) = (Peer::new(&mut world), Peer::new(&mut world));
    a.enter(&mut world);
    world.pass(Duration::from_secs(2));
    b.enter(&mut world);
    assert!(a.joined(&mut world).is_none());
    world.pass(Duration::from_secs(1));
    assert!(a.joined(&mut world).is_none(), "somebody came: it waits once more");
    world.pass(Duration::from_secs(3));
    let response = a.joined(&mut world).unwrap();
    assert_eq!((response.generation_id, response.members.len()), (1, 2));
}

#[test]
fn sessions_have_limits_and_groups_have_names() {
    let mut world = World::with(1, |settings, _| settings.group_max_size = 1);
    let mut code = |change: &dyn Fn(&mut JoinGroupRequest)| {
        let mut request = Peer::new(&mut world).join_request();
        change(&mut request);
        Code::new(world.ask::<JoinGroupResponse>(1, 9, request).error_code)
    };
    assert_eq!(code(&|request| request.session_timeout_ms = 5_999), Code::INVALID_SESSION_TIMEOUT);
    assert_eq!(code(&|request| request.session_timeout_ms = 1_800_001), Code::INVALID_SESSION_TIMEOUT);
    assert_eq!(code(&|request| request.group_id = Str::default()), Code::INVALID_GROUP_ID);
    assert_eq!(code(&|request| request.protocols.clear()), Code::INCONSISTENT_GROUP_PROTOCOL);
    assert_eq!(code(&|request| request.member_id = "x".into()), Code::UNKNOWN_MEMBER_ID);
    assert_eq!(code(&|_| {}), Code::MEMBER_ID_REQUIRED);
    assert_eq!(code(&|_| {}), Code::GROUP_MAX_SIZE_REACHED);
    world.broker.deny(Resource::Group, "g");
    let request = Peer::new(&mut world).join_request();
    let response: JoinGroupResponse = world.ask(1, 9, request);
    assert_eq!(Code::new(response.error_code), Code::GROUP_AUTHORIZATION_FAILED);
}

fn find(world: &mut World, node: i32, key_type: i8) -> Coordinator {
    let request =
        FindCoordinatorRequest { key_type, coordinator_keys: vec!["g".into()], ..Default::default() };
    world.ask::<FindCoordinatorResponse>(node, 6, request).coordinators.remove(0)
}

#[test]
fn only_the_coordinator_answers_and_another_takes_over() {
    let mut world = World::new(3);
    let coordinator = find(&mut world, 1, 0);
    assert_eq!(world.broker.coordinator("g"), Some(NodeId(coordinator.node_id)));
    assert_eq!(coordinator.error_code, 0);
    let old: FindCoordinatorResponse =
        world.ask(2, 3, FindCoordinatorRequest { key: "g".into(), ..Default::default() });
    assert_eq!(old.node_id, coordinator.node_id);
    let here = coordinator.node_id;
    let elsewhere = here % 3 + 1;
    let mut lost = Peer::at(&mut world, elsewhere);
    lost.send_join(&mut world);
    assert_eq!(Code::new(lost.joined(&mut world).unwrap().error_code), Code::NOT_COORDINATOR);

    let mut a = Peer::at(&mut world, here);
    a.enter(&mut world);
    assert_eq!(a.joined(&mut world).unwrap().error_code, 0);
    world.broker.stop_node(world.now, NodeId(here));
    world.collect();
    let next = find(&mut world, elsewhere, 0).node_id;
    assert_ne!(next, here);
    // The member finds its group again, and has to rebalance.
    a.connection = world.connect(next);
    let beat = HeartbeatRequest {
        group_id: "g".into(),
        generation_id: a.generation,
        member_id: a.id.clone(),
        ..Default::default()
    };
    let response: HeartbeatResponse = world.ask(next, 4, beat);
    assert_eq!(Code::new(response.error_code), Code::REBALANCE_IN_PROGRESS);
    a.send_join(&mut world);
    assert_eq!(a.joined(&mut world).unwrap().generation_id, 2);
    // When the first one is back, it coordinates again, and whoever waits is sent there.
    let mut b = Peer::at(&mut world, next);
    b.enter(&mut world);
    world.broker.start_node(world.now, NodeId(here));
    world.collect();
    assert_eq!(Code::new(b.joined(&mut world).unwrap().error_code), Code::NOT_COORDINATOR);
}

#[test]
fn coordinators_are_of_groups_and_transactions_that_one_may_use() {
    let mut world = World::new(1);
    assert_eq!(find(&mut world, 1, 1).error_code, 0);
    assert_eq!(Code::new(find(&mut world, 1, 9).error_code), Code::INVALID_REQUEST);
    world.broker.deny(Resource::Group, "g");
    world.broker.deny(Resource::TransactionalId, "g");
    assert_eq!(Code::new(find(&mut world, 1, 0).error_code), Code::GROUP_AUTHORIZATION_FAILED);
    let code = Code::new(find(&mut world, 1, 1).error_code);
    assert_eq!(code, Code::TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
}

#[test]
fn groups_are_listed_and_described() {
    let (mut world, _, _) = pair();
    let list = |world: &mut World, states: &[&str], types: &[&str]| {
        let request = ListGroupsRequest {
            states_filter: states.iter().copied().map(Str::from).collect(),
            types_filter: types.iter().copied().map(Str::from).collect(),
            ..Default::default()
        };
        world.ask::<ListGroupsResponse>(1, 5, request).groups.len()
    };
    assert_eq!(list(&mut world, &[], &[]), 1);
    assert_eq!(list(&mut world, &["stable"], &["Classic"]), 1);
    assert_eq!(list(&mut world, &["Empty"], &[]), 0);
    assert_eq!(list(&mut world, &[], &["share"]), 0);
    let describe = |world: &mut World, version| {
        let groups = vec!["g".into(), "nobody".into()];
        let request = DescribeGroupsRequest { groups, ..Default::default() };
        world.ask::<DescribeGroupsResponse>(1, version, request).groups
    };
    let groups = describe(&mut world, 6);
    let (known, unknown) = (&groups[0], &groups[1]);
    assert_eq!((known.protocol_type.as_str(), known.protocol_data.as_str()), ("consumer", "range"));
    assert_eq!(known.members[1].member_assignment, "second half");
    assert_eq!(Code::new(unknown.error_code), Code::GROUP_ID_NOT_FOUND);
    let old = &describe(&mut world, 5)[1];
    assert_eq!((old.error_code, old.group_state.as_str()), (0, "Dead"));
}

#[test]
fn a_member_that_joins_again_speaks_a_protocol_that_it_spoke() {
    let mut world = World::new(1);
    let mut peer = Peer::new(&mut world);
    peer.version = 3;
    peer.send_join(&mut world);
    assert_eq!(peer.joined(&mut world).unwrap().error_code, 0);
    peer.protocols = vec!["other"];
    peer.send_join(&mut world);
    let refused = peer.joined(&mut world).unwrap();
    assert_eq!(Code::new(refused.error_code), Code::INCONSISTENT_GROUP_PROTOCOL);
    assert_eq!(refused.protocol_name.as_deref(), Some(""), "an old version has no null");
    peer.version = 9;
    peer.send_join(&mut world);
    assert_eq!(peer.joined(&mut world).unwrap().protocol_name, None);
}

#[test]
fn from_version_five_on_a_sync_says_which_protocol_was_chosen() {
    let mut world = World::new(1);
    let request = SyncGroupRequest { group_id: "g".into(), member_id: "m".into(), ..Default::default() };
    let response: SyncGroupResponse = world.ask(1, 5, request.clone());
    assert_eq!(Code::new(response.error_code), Code::INCONSISTENT_GROUP_PROTOCOL);
    let response: SyncGroupResponse = world.ask(1, 4, request);
    assert_eq!(Code::new(response.error_code), Code::UNKNOWN_MEMBER_ID);
}

#[test]
fn a_member_that_asks_again_over_another_connection_leaves_no_request_waiting() {
    let mut world = World::new(1);
    let mut first = Peer::new(&mut world);
    first.enter(&mut world);
    first.joined(&mut world).unwrap();
    let mut second = Peer::new(&mut world);
    second.enter(&mut world);
    let mut again = Peer { connection: world.connect(1), id: second.id.clone(), ..Peer::new(&mut world) };
    again.send_join(&mut world);
    let displaced = second.joined(&mut world).unwrap();
    assert_eq!(Code::new(displaced.error_code), Code::REBALANCE_IN_PROGRESS);
    first.send_join(&mut world);
    first.joined(&mut world).unwrap();
    assert_eq!(again.joined(&mut world).unwrap().error_code, 0);
    second.generation = again.generation;
    second.send_sync(&mut world, &[]);
    again.send_sync(&mut world, &[]);
    assert_eq!(second.synced(&mut world), Some((Code::REBALANCE_IN_PROGRESS, Bytes::new())));
    first.send_sync(&mut world, &[(&again, "a")]);
    assert_eq!(again.synced(&mut world), Some((Code::NONE, Bytes::from_static(b"a"))));
}
