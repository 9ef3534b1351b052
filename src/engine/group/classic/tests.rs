#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, reason = "tests")]

use bytes::Bytes;

use super::*;
use crate::{
    engine::{
        assign::{CooperativeStickyAssignor, wire},
        catalog::snapshot::{PartitionInfo, Topic},
        machine::{Answer, Failure},
    },
    error::ErrorKind,
    wire::messages::{
        HeartbeatResponse, JoinGroupRequest, LeaveGroupResponse, join_group_response::JoinGroupResponseMember,
    },
};

mod cooperative;
mod session;

/// An assignment in bytes that is none.
const GARBAGE: Bytes = Bytes::from_static(&[0, 3, 255, 255]);

const SECOND: Duration = Duration::from_secs(1);

struct Bench {
    group: Classic,
    now: Now,
    snapshot: Arc<Snapshot>,
    out: Outbox<Event>,
}

fn subscription() -> Bytes {
    let topics = ["t".into()].into();
    let said = wire::Subscription {
        topics: &topics,
        user_data: Bytes::new(),
        owned: &[],
        generation: -1,
        rack: None,
    };
    said.encode()
}

impl Bench {
    fn new(instance_id: Option<&str>) -> Self {
        let settings = GroupSettings::of_tests(instance_id);
        let now = Now { instant: Instant::now(), unix_ms: 0 };
        let mut group = Classic::new(settings, now, Tokens::default(), Random::new(1));
        group.set_coordinator(Some(NodeId(1)));
        group.join(now, "test");
        Self { group, now, snapshot: snapshot(4), out: Outbox::default() }
    }

    /// One that is alone in its group and owns the four partitions of `t`.
    fn stable() -> Self {
        let mut bench = Self::new(None);
        bench.join_as_leader(1);
        bench.finish_sync();
        bench.out.events.clear();
        bench
    }

    fn tick(&mut self) -> Option<Call> {
        self.group.tick(self.now, &self.snapshot, &mut self.out);
        self.group.check();
        assert!(self.group.deadline().is_none_or(|at| at > self.now.instant), "a driver would spin");
        self.out.calls.pop()
    }

    fn respond(&mut self, call: &Call, response: impl Into<Response>) {
        let answer = Answer { node: NodeId(1), version: 4, response: response.into() };
        self.group.answer(self.now, call.token, Ok(answer), &mut self.out);
        self.group.check();
    }

    /// The coordinator wants the member to join by an id that it gives.
    fn gives_an_id(&mut self, call: &Call) {
        let required = JoinGroupResponse {
            error_code: Code::MEMBER_ID_REQUIRED.get(),
            member_id: "me".into(),
            ..Default::default()
        };
        self.respond(call, required);
    }

    fn lose(&mut self, call: &Call) {
        let error = ErrorKind::Timeout { what: "x".into(), after: SECOND, setting: "s" }.into();
        self.group.answer(self.now, call.token, Err(Failure { maybe_sent: true, error }), &mut self.out);
        self.group.check();
    }

    fn advance(&mut self, duration: Duration) {
        self.now = self.now.after(duration);
    }

    fn join_as_leader(&mut self, generation: i32) {
        let call = self.tick().unwrap();
        self.lead(&call, generation);
    }

    /// Lets it in by this call, alone in its group.
    fn lead(&mut self, call: &Call, generation: i32) {
        assert!(matches!(call.request, Request::JoinGroup(_)), "{call:?}");
        let member = JoinGroupResponseMember {
            member_id: "me".into(),
            metadata: subscription(),
            ..Default::default()
        };
        let response = JoinGroupResponse {
            generation_id: generation,
            leader: "me".into(),
            member_id: "me".into(),
            protocol_name: Some("range".into()),
            members: vec![member],
            ..Default::default()
        };
        self.respond(call, response);
        self.group.catalog(self.now, &self.snapshot.clone(), &mut self.out);
    }

    /// As a static member that comes back to lead these static members, which use this assignor.
    fn join_to_find_the_assignment_standing(&mut self, assignor: &str, members: &[&str]) {
        let call = self.tick().unwrap();
        let member = |id: &&str| JoinGroupResponseMember {
            member_id: (*id).into(),
            group_instance_id: Some((*id).into()),
            metadata: subscription(),
            ..Default::default()
        };
        let response = JoinGroupResponse {
            generation_id: 1,
            leader: "me".into(),
            member_id: "me".into(),
            skip_assignment: true,
            protocol_name: Some(assignor.into()),
            members: members.iter().map(member).collect(),
            ..Default::default()
        };
        self.respond(&call, response);
        self.group.catalog(self.now, &snapshot(4), &mut self.out);
    }

    /// Answers the sync with what the leader itself planned.
    fn finish_sync(&mut self) {
        let call = self.out.calls.pop().or_else(|| self.tick()).unwrap();
        let Request::SyncGroup(request) = &call.request else { panic!("{call:?}") };
        let assignment = request.assignments[0].assignment.clone();
        self.respond(&call, SyncGroupResponse { assignment, ..Default::default() });
    }

    fn heartbeat(&mut self, code: Code) {
        self.advance(3 * SECOND);
        let call = self.tick().unwrap();
        assert!(matches!(call.request, Request::Heartbeat(_)), "{call:?}");
        self.respond(&call, HeartbeatResponse { error_code: code.get(), ..Default::default() });
    }

    /// It leaves by this call, and joins as another member.
    fn leaves_to_come_back(&mut self, call: &Call) {
        let Request::LeaveGroup(leave) = &call.request else { panic!("{call:?}") };
        assert_eq!(&*leave.members[0].member_id, "me");
        self.respond(call, LeaveGroupResponse::default());
        let call = self.tick().unwrap();
        let Request::JoinGroup(join) = &call.request else { panic!("{call:?}") };
        assert!(join.member_id.is_empty(), "{join:?}");
    }

    fn event(&mut self) -> Event {
        assert_eq!(self.out.events.len(), 1, "{:?}", self.out.events);
        self.out.events.remove(0)
    }
}

fn snapshot(partitions: i32) -> Arc<Snapshot> {
    let info = PartitionInfo {
        leader: Some(NodeId(1)),
        leader_epoch: Some(0),
        replicas: Vec::new(),
        isr: Vec::new(),
        offline: Vec::new(),
    };
    let partitions = (0..partitions).map(|index| (index, info.clone())).collect();
    Arc::new(Snapshot::of_topics([Topic { name: "t".into(), id: None, internal: false, partitions }]))
}

#[test]
fn a_member_joins_with_the_id_that_it_is_given_and_owns_its_share() {
    let mut bench = Bench::new(None);
    let first = bench.tick().unwrap();
    bench.gives_an_id(&first);
    bench.join_as_leader(1);
    assert!(matches!(bench.event(), Event::Want(topics) if topics.len() == 1));
    bench.finish_sync();
    assert!(matches!(bench.event(), Event::Assigned(partitions) if partitions.len() == 4));
    let identity = bench.group.identity().unwrap();
    assert_eq!((&*identity.member_id, identity.generation), ("me", 1));
}

/// KIP-800.
#[test]
fn why_a_member_joins_and_leaves_is_told_to_the_coordinator() {
    let mut bench = Bench::new(None);
    let first = bench.tick().unwrap();
    bench.gives_an_id(&first);
    let again = bench.tick().unwrap();
    assert_eq!([reason(&first), reason(&again)], ["test"; 2], "that an id was wanted is no reason");
    bench.lead(&again, 1);
    bench.finish_sync();

    bench.heartbeat(Code::REBALANCE_IN_PROGRESS);
    bench.group.revoked(bench.now);
    let join = bench.tick().unwrap();
    assert_eq!(reason(&join), "the group rebalances");
    bench.lead(&join, 2);
    bench.finish_sync();

    bench.group.catalog(bench.now, &snapshot(6), &mut bench.out);
    bench.snapshot = snapshot(6);
    bench.group.revoked(bench.now);
    let join = bench.tick().unwrap();
    assert_eq!(reason(&join), "the partitions of a topic have changed");
    bench.lead(&join, 3);
    bench.finish_sync();

    bench.advance(45 * SECOND);
    let leave = bench.tick().unwrap();
    assert!(matches!(leave.request, Request::LeaveGroup(_)), "{leave:?}");
    bench.respond(&leave, LeaveGroupResponse::default());
    let join = bench.tick().unwrap();
    assert_eq!([reason(&leave), reason(&join)], ["the session timed out"; 2]);
    bench.lead(&join, 4);
    bench.finish_sync();

    bench.group.leave(bench.now, "done", &mut bench.out);
    assert_eq!(reason(&bench.out.calls.pop().unwrap()), "done");
}

/// Why it joins or leaves, as the request says.
fn reason(call: &Call) -> &str {
    let reason = match &call.request {
        Request::JoinGroup(join) => join.reason.as_deref(),
        Request::LeaveGroup(leave) => leave.members[0].reason.as_deref(),
        request => panic!("{request:?}"),
    };
    reason.unwrap()
}

#[test]
fn a_join_waits_for_as_long_as_the_other_members_may_take_and_a_little_longer() {
    let mut bench = Bench::new(None);
    let join = bench.tick().unwrap();
    assert!(
        matches!(&join.request, Request::JoinGroup(join) if join.rebalance_timeout_ms == 300_000),
        "{join:?}"
    );
    assert_eq!(join.deadline, bench.now.instant + 305 * SECOND);

    // But no less long than any other request.
    let settings = GroupSettings { rebalance_timeout: 10 * SECOND, ..GroupSettings::of_tests(None) };
    bench.group = Classic::new(settings, bench.now, Tokens::default(), Random::new(1));
    bench.group.set_coordinator(Some(NodeId(1)));
    bench.group.join(bench.now, "test");
    assert_eq!(bench.tick().unwrap().deadline, bench.now.instant + 30 * SECOND);
}

#[test]
fn the_leader_waits_for_the_topics_but_not_for_ever() {
    let mut bench = Bench::new(None);
    bench.snapshot = Arc::default();
    bench.join_as_leader(1);
    assert!(bench.tick().is_none());
    bench.advance(15 * SECOND);
    let call = bench.tick().unwrap();
    assert!(matches!(&call.request, Request::SyncGroup(sync) if sync.assignments.len() == 1));
}

#[test]
fn a_rebalance_gives_everything_up_and_heartbeats_go_on_meanwhile() {
    let mut bench = Bench::stable();
    bench.heartbeat(Code::REBALANCE_IN_PROGRESS);
    assert!(matches!(bench.event(), Event::Revoke(partitions) if partitions.len() == 4));
    assert!(bench.group.identity().is_some(), "what is given up may be committed");
    bench.heartbeat(Code::REBALANCE_IN_PROGRESS);
    assert!(bench.out.events.is_empty(), "revoked once");
    bench.group.revoked(bench.now);
    bench.join_as_leader(2);
    bench.finish_sync();
    assert_eq!(bench.group.identity().unwrap().generation, 2);
}

#[test]
fn partitions_that_are_not_given_up_in_time_are_lost() {
    let mut bench = Bench::stable();
    bench.heartbeat(Code::REBALANCE_IN_PROGRESS);
    bench.event();
    for _ in 0..98 {
        bench.heartbeat(Code::NONE);
    }
    bench.advance(3 * SECOND);
    // In the same turn: a driver that is told to come back at once would spin.
    let call = bench.tick().unwrap();
    bench.leaves_to_come_back(&call);
    assert!(matches!(bench.event(), Event::Lost(partitions) if partitions.len() == 4));
    assert!(bench.group.identity().is_none());
}

#[test]
fn whom_the_group_went_on_without_loses_all_and_comes_back_as_another_member() {
    for code in [Code::ILLEGAL_GENERATION, Code::UNKNOWN_MEMBER_ID] {
        let mut bench = Bench::stable();
        bench.heartbeat(code);
        assert!(matches!(bench.event(), Event::Lost(partitions) if partitions.len() == 4));
        let call = bench.tick().unwrap();
        if code == Code::ILLEGAL_GENERATION {
            bench.leaves_to_come_back(&call);
        } else {
            // Whom the coordinator does not know has nothing to leave.
            assert!(matches!(&call.request, Request::JoinGroup(join) if join.member_id.is_empty()));
        }
    }
}

#[test]
fn a_fenced_static_member_is_dead() {
    let mut bench = Bench::new(Some("i"));
    bench.join_as_leader(1);
    bench.finish_sync();
    bench.out.events.clear();
    bench.heartbeat(Code::FENCED_INSTANCE_ID);
    assert!(matches!(bench.out.events[..], [Event::Lost(_), Event::Fatal(_)]));
    bench.advance(60 * SECOND);
    assert!(bench.tick().is_none() && bench.group.deadline().is_none());
}

/// A follower that only joins again is let into the same generation, where what it had sent could still be committed,
/// while it has read the same again.
#[test]
fn who_has_lost_partitions_comes_back_as_another_member() {
    let mut bench = Bench::stable();
    bench.advance(45 * SECOND);
    let call = bench.tick().unwrap();
    assert!(matches!(bench.event(), Event::Lost(_)));
    // Until it is known to have left.
    bench.lose(&call);
    assert!(matches!(bench.event(), Event::CoordinatorLost(NodeId(1))));
    bench.group.set_coordinator(Some(NodeId(2)));
    bench.advance(2 * SECOND);
    let call = bench.tick().unwrap();
    bench
        .respond(&call, LeaveGroupResponse { error_code: Code::NOT_COORDINATOR.get(), ..Default::default() });
    assert!(matches!(bench.event(), Event::CoordinatorLost(NodeId(2))));
    bench.group.set_coordinator(Some(NodeId(1)));
    bench.advance(2 * SECOND);
    let call = bench.tick().unwrap();
    bench.leaves_to_come_back(&call);
    assert!(bench.out.events.is_empty(), "the user has not asked for it");
}

#[test]
fn a_static_member_that_has_lost_partitions_takes_its_own_place() {
    let mut bench = Bench::new(Some("i"));
    bench.join_as_leader(1);
    bench.finish_sync();
    bench.advance(45 * SECOND);
    let call = bench.tick().unwrap();
    let Request::JoinGroup(join) = &call.request else { panic!("{call:?}") };
    assert_eq!((&*join.member_id, join.group_instance_id.as_deref()), ("", Some("i")));
}

#[test]
fn who_closes_before_it_has_come_back_leaves_once() {
    let mut bench = Bench::stable();
    bench.group.set_coordinator(None);
    bench.advance(45 * SECOND);
    assert!(bench.tick().is_none());
    assert!(matches!(bench.event(), Event::Lost(_)));
    bench.group.set_coordinator(Some(NodeId(1)));
    bench.group.leave(bench.now, "done", &mut bench.out);
    let call = bench.out.calls.pop().unwrap();
    bench.respond(&call, LeaveGroupResponse::default());
    assert!(matches!(bench.event(), Event::Left));
    assert!(bench.tick().is_none() && bench.group.deadline().is_none());
}

#[test]
fn the_leader_rebalances_when_partitions_are_added() {
    let mut bench = Bench::stable();
    bench.group.catalog(bench.now, &snapshot(4), &mut bench.out);
    assert!(bench.out.events.is_empty());
    bench.group.catalog(bench.now, &snapshot(6), &mut bench.out);
    assert!(matches!(bench.event(), Event::Revoke(_)));
}

#[test]
fn garbage_for_an_assignment_makes_the_member_join_again() {
    let mut bench = Bench::new(None);
    bench.join_as_leader(1);
    let call = bench.out.calls.pop().unwrap();
    bench.respond(&call, SyncGroupResponse { assignment: GARBAGE, ..Default::default() });
    assert!(matches!(bench.tick().unwrap().request, Request::JoinGroup(_)));
    bench.out.events.clear();
}

#[test]
fn a_dynamic_member_leaves_and_a_static_one_only_stops() {
    let mut bench = Bench::stable();
    bench.group.leave(bench.now, "done", &mut bench.out);
    assert!(matches!(bench.event(), Event::Lost(_)));
    let call = bench.out.calls.pop().unwrap();
    bench.respond(&call, LeaveGroupResponse::default());
    assert!(matches!(bench.event(), Event::Left));

    let mut bench = Bench::new(Some("i"));
    bench.join_as_leader(1);
    bench.finish_sync();
    bench.out.events.clear();
    bench.group.leave(bench.now, "done", &mut bench.out);
    assert!(bench.out.calls.is_empty() && matches!(bench.out.events[..], [Event::Lost(_), Event::Left]));
}

#[test]
fn a_refusal_is_told_and_tried_again_slowly() {
    let mut bench = Bench::new(None);
    let call = bench.tick().unwrap();
    let refused =
        JoinGroupResponse { error_code: Code::GROUP_AUTHORIZATION_FAILED.get(), ..Default::default() };
    bench.respond(&call, refused);
    assert!(
        matches!(bench.event(), Event::Refused(error) if matches!(error.kind(), ErrorKind::NotAuthorized { .. }))
    );
    assert!(bench.tick().is_none());
    bench.advance(2 * SECOND);
    assert!(bench.tick().is_some());
}

#[test]
fn who_is_asked_to_join_while_leaving_joins_when_it_has_left() {
    let mut bench = Bench::stable();
    bench.group.leave(bench.now, "the user is away", &mut bench.out);
    let call = bench.out.calls.pop().unwrap();
    bench.group.join(bench.now, "the user is back");
    assert!(bench.tick().is_none());
    bench.lose(&call);
    let call = bench.tick().unwrap();
    assert!(matches!(&call.request, Request::JoinGroup(join) if join.member_id.is_empty()), "{call:?}");
}

#[test]
fn joining_again_and_again_for_nothing_slows_down() {
    let mut bench = Bench::new(None);
    for round in 0..4 {
        bench.join_as_leader(1);
        let call = bench.out.calls.pop().unwrap();
        bench.respond(&call, SyncGroupResponse { assignment: GARBAGE, ..Default::default() });
        bench.out.events.clear();
        let at = bench.group.deadline().unwrap();
        assert_eq!(at > bench.now.instant, round > 0, "only the first comes at once");
        bench.advance(2 * SECOND);
    }
}

#[test]
fn another_coordinator_is_none_the_worse_for_a_call_that_fails() {
    let mut bench = Bench::stable();
    bench.advance(3 * SECOND);
    let call = bench.tick().unwrap();
    bench.group.set_coordinator(Some(NodeId(2)));
    bench.lose(&call);
    assert!(bench.out.events.is_empty() && !bench.group.needs_coordinator());
}

#[test]
fn a_leader_whose_assignment_stands_still_looks_after_the_topics() {
    let mut bench = Bench::new(Some("i"));
    bench.join_to_find_the_assignment_standing("range", &["me"]);
    let call = bench.out.calls.pop().unwrap();
    assert!(matches!(&call.request, Request::SyncGroup(sync) if sync.assignments.is_empty()), "{call:?}");
    let all: Vec<_> = (0..4).map(|index| TopicPartition::new("t", index)).collect();
    let assignment = wire::assignment(&all);
    bench.respond(&call, SyncGroupResponse { assignment, ..Default::default() });
    assert!(matches!(&bench.out.events[..], [Event::Want(_), Event::Assigned(_)]), "{:?}", bench.out.events);
    bench.out.events.clear();
    bench.group.catalog(bench.now, &snapshot(6), &mut bench.out);
    assert!(matches!(bench.event(), Event::Revoke(_)));
}

#[test]
fn a_leader_learns_too_of_what_changes_while_its_plan_is_under_way() {
    let mut bench = Bench::new(None);
    bench.join_as_leader(1);
    bench.snapshot = snapshot(6);
    bench.group.catalog(bench.now, &snapshot(6), &mut bench.out);
    bench.finish_sync();
    bench.out.events.clear();
    bench.tick();
    assert!(matches!(bench.event(), Event::Revoke(partitions) if partitions.len() == 4));
}

#[test]
fn a_member_that_wants_other_topics_joins_with_them_once_the_group_stands_still() {
    let mut bench = Bench::new(None);
    let topics = |names: &[&str]| names.iter().map(|name| TopicName::from(*name)).collect();
    bench.group.subscribe(topics(&["t"]));
    bench.join_as_leader(1);
    // While it joins.
    bench.group.subscribe(topics(&["t", "u"]));
    bench.finish_sync();
    bench.out.events.clear();
    bench.tick();
    assert!(matches!(bench.event(), Event::Revoke(partitions) if partitions.len() == 4));
    bench.group.revoked(bench.now);
    let call = bench.tick().unwrap();
    let Request::JoinGroup(join) = &call.request else { panic!("{call:?}") };
    let told = wire::read_subscription("me".into(), None, join.protocols[0].metadata.clone()).unwrap();
    assert_eq!(told.topics, topics(&["t", "u"]));
}

#[test]
fn a_leader_does_not_let_an_assignment_stand_that_is_out_of_date() {
    // Partitions were added, or the topic was created, while the leader was away.
    let mut bench = Bench::new(Some("i"));
    bench.join_to_find_the_assignment_standing("range", &["me"]);
    let call = bench.out.calls.pop().unwrap();
    let assignment = wire::assignment(&[TopicPartition::new("t", 0)]);
    bench.respond(&call, SyncGroupResponse { assignment, ..Default::default() });
    assert!(matches!(bench.event(), Event::Want(_)), "it is not taken");
    let call = bench.tick().unwrap();
    assert!(matches!(&call.request, Request::JoinGroup(join) if &*join.member_id == "me"), "{call:?}");
}

#[test]
fn a_static_member_that_ends_in_a_rebalance_does_not_keep_the_others_waiting() {
    let mut bench = Bench::new(Some("i"));
    bench.join_as_leader(1);
    bench.finish_sync();
    bench.heartbeat(Code::REBALANCE_IN_PROGRESS);
    bench.group.leave(bench.now, "done", &mut bench.out);
    let call = bench.out.calls.pop().unwrap();
    let Request::LeaveGroup(leave) = &call.request else { panic!("{call:?}") };
    assert_eq!(leave.members[0].group_instance_id.as_deref(), Some("i"));
    assert_eq!(call.purpose, Purpose::General, "no join holds it up");
}
