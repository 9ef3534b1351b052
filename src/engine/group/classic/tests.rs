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
        self.respond(&call, response);
        self.group.catalog(self.now, &self.snapshot.clone(), &mut self.out);
    }

    /// As a static member that comes back to lead.
    fn join_to_find_the_assignment_standing(&mut self) {
        let call = self.tick().unwrap();
        let member = JoinGroupResponseMember {
            member_id: "me".into(),
            metadata: subscription(),
            ..Default::default()
        };
        let response = JoinGroupResponse {
            generation_id: 1,
            leader: "me".into(),
            member_id: "me".into(),
            skip_assignment: true,
            protocol_name: Some("range".into()),
            members: vec![member],
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
    let required = JoinGroupResponse {
        error_code: Code::MEMBER_ID_REQUIRED.get(),
        member_id: "me".into(),
        ..Default::default()
    };
    bench.respond(&first, required);
    bench.join_as_leader(1);
    assert!(matches!(bench.event(), Event::Want(topics) if topics.len() == 1));
    bench.finish_sync();
    assert!(matches!(bench.event(), Event::Assigned(partitions) if partitions.len() == 4));
    let identity = bench.group.identity().unwrap();
    assert_eq!((&*identity.member_id, identity.generation), ("me", 1));
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

#[test]
fn a_lost_coordinator_costs_no_membership_until_the_session_ends() {
    let mut bench = Bench::stable();
    bench.advance(3 * SECOND);
    let call = bench.tick().unwrap();
    bench.lose(&call);
    assert!(matches!(bench.event(), Event::CoordinatorLost(NodeId(1))));
    assert!(bench.group.needs_coordinator() && bench.group.identity().is_some());
    bench.advance(42 * SECOND);
    assert!(bench.tick().is_none());
    assert!(matches!(bench.event(), Event::Lost(_)));
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
fn a_heartbeat_of_the_last_generation_says_nothing_about_the_next() {
    let mut bench = Bench::stable();
    bench.advance(3 * SECOND);
    let old = bench.tick().unwrap();
    bench.group.catalog(bench.now, &snapshot(6), &mut bench.out);
    bench.group.revoked(bench.now);
    bench.out.events.clear();
    bench.join_as_leader(2);
    bench.finish_sync();
    bench.out.events.clear();
    bench.advance(3 * SECOND);
    let call = bench.tick().unwrap();
    assert!(matches!(&call.request, Request::Heartbeat(beat) if beat.generation_id == 2), "{call:?}");
    bench.lose(&old);
    assert!(bench.out.events.is_empty() && !bench.group.needs_coordinator());
}

#[test]
fn the_session_counts_from_when_a_heartbeat_was_sent() {
    let mut bench = Bench::stable();
    bench.advance(3 * SECOND);
    let call = bench.tick().unwrap();
    assert_eq!(call.deadline, bench.now.instant + 15 * SECOND, "a third of the session");
    bench.advance(14 * SECOND);
    bench.respond(&call, HeartbeatResponse::default());
    assert!(bench.tick().is_some(), "the next is due");
    bench.advance(31 * SECOND);
    let call = bench.tick().unwrap();
    bench.leaves_to_come_back(&call);
    assert!(matches!(bench.event(), Event::Lost(_)));
}

#[test]
fn the_session_counts_from_when_the_sync_was_sent() {
    // The assignment is long under way: the coordinator may give the member up 45 seconds after it was asked.
    let mut bench = Bench::new(None);
    bench.join_as_leader(1);
    let sync = bench.out.calls.pop().unwrap();
    bench.advance(40 * SECOND);
    bench.out.calls.push(sync);
    bench.finish_sync();
    bench.out.events.clear();
    let beat = bench.tick().unwrap();
    assert!(matches!(beat.request, Request::Heartbeat(_)), "due at once: {beat:?}");
    bench.advance(5 * SECOND);
    let call = bench.tick().unwrap();
    bench.leaves_to_come_back(&call);
    assert!(matches!(bench.event(), Event::Lost(partitions) if partitions.len() == 4));
}

#[test]
fn an_assignment_that_comes_after_the_session_is_not_taken() {
    let mut bench = Bench::new(None);
    bench.join_as_leader(1);
    let sync = bench.out.calls.pop().unwrap();
    bench.out.events.clear();
    bench.advance(45 * SECOND);
    bench.out.calls.push(sync);
    bench.finish_sync();
    assert!(bench.out.events.is_empty(), "{:?}", bench.out.events);
    assert!(matches!(bench.tick().unwrap().request, Request::JoinGroup(_)));
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
    bench.join_to_find_the_assignment_standing();
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
fn a_leader_does_not_let_an_assignment_stand_that_is_out_of_date() {
    // Partitions were added, or the topic was created, while the leader was away.
    let mut bench = Bench::new(Some("i"));
    bench.join_to_find_the_assignment_standing();
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

/// A member of a cooperative group that does not lead it.
struct Follower(Bench);

impl Follower {
    /// It owns these partitions of `t`, in generation 1.
    fn owning(numbers: &[i32]) -> Self {
        let settings = GroupSettings {
            assignors: vec![Arc::new(CooperativeStickyAssignor)],
            ..GroupSettings::of_tests(None)
        };
        let mut bench = Bench::new(None);
        bench.group = Classic::new(settings, bench.now, Tokens::default(), Random::new(1));
        bench.group.set_coordinator(Some(NodeId(1)));
        bench.group.join(bench.now, "test");
        let mut follower = Self(bench);
        follower.joins(1);
        follower.syncs(numbers);
        follower.0.out.events.clear();
        follower
    }

    /// What it says that it owns, and since when, when it joins.
    fn joins(&mut self, generation: i32) -> (Vec<TopicPartition>, i32) {
        let call = self.0.tick().unwrap();
        let said = self.claims(&call);
        self.joined(&call, generation);
        said
    }

    fn claims(&self, call: &Call) -> (Vec<TopicPartition>, i32) {
        let Request::JoinGroup(JoinGroupRequest { protocols, .. }) = &call.request else {
            panic!("{call:?}")
        };
        assert_eq!((protocols.len(), &*protocols[0].name), (1, "cooperative-sticky"));
        let said = wire::read_subscription("me".into(), None, protocols[0].metadata.clone()).unwrap();
        (said.owned, said.generation)
    }

    fn joined(&mut self, call: &Call, generation: i32) {
        let response = JoinGroupResponse {
            generation_id: generation,
            leader: "other".into(),
            member_id: "me".into(),
            protocol_name: Some("cooperative-sticky".into()),
            ..Default::default()
        };
        self.0.respond(call, response);
    }

    fn syncs(&mut self, numbers: &[i32]) {
        let call = self.0.out.calls.pop().or_else(|| self.0.tick()).unwrap();
        assert!(matches!(call.request, Request::SyncGroup(_)), "{call:?}");
        let assignment = wire::assignment(&partitions(numbers));
        self.0.respond(&call, SyncGroupResponse { assignment, ..Default::default() });
    }

    fn events(&mut self) -> Vec<String> {
        let numbers = |partitions: &[TopicPartition]| {
            partitions.iter().map(|partition| format!(" {}", partition.partition.0)).collect::<String>()
        };
        let event = |event: &Event| match event {
            Event::Assigned(partitions) => format!("assigned{}", numbers(partitions)),
            Event::Revoke(partitions) => format!("revoke{}", numbers(partitions)),
            Event::Lost(partitions) => format!("lost{}", numbers(partitions)),
            Event::Renewed => "renewed".to_owned(),
            event => panic!("{event:?}"),
        };
        let events = self.0.out.events.iter().map(event).collect();
        self.0.out.events.clear();
        events
    }
}

fn heartbeat_response(code: Code) -> HeartbeatResponse {
    HeartbeatResponse { error_code: code.get(), ..Default::default() }
}

fn partitions(numbers: &[i32]) -> Vec<TopicPartition> {
    numbers.iter().map(|number| TopicPartition::new("t", *number)).collect()
}

#[test]
fn a_cooperative_member_reads_on_while_the_group_rebalances() {
    let mut follower = Follower::owning(&[0, 1]);
    follower.0.heartbeat(Code::REBALANCE_IN_PROGRESS);
    assert_eq!(follower.events(), [""; 0], "nothing is given up");
    assert_eq!(follower.joins(2), (partitions(&[0, 1]), 1));
    assert_eq!(follower.events(), ["renewed"]);
    let identity = follower.0.group.identity().unwrap();
    assert_eq!((identity.generation, identity.keeps), (2, true));
    follower.syncs(&[0, 1]);
    assert_eq!(follower.events(), ["assigned"]);
    assert!(follower.0.tick().is_none(), "nothing is to be joined for");
}

#[test]
fn what_goes_to_others_is_given_up_and_the_member_joins_once_more() {
    let mut follower = Follower::owning(&[0, 1]);
    follower.0.heartbeat(Code::REBALANCE_IN_PROGRESS);
    follower.joins(2);
    follower.syncs(&[1, 2]);
    assert_eq!(follower.events(), ["renewed", "revoke 0", "assigned 2"]);
    follower.0.advance(SECOND);
    assert!(follower.0.tick().is_none(), "the user is waited for");
    follower.0.group.revoked(follower.0.now);
    assert_eq!(follower.joins(3), (partitions(&[1, 2]), 2));
    follower.syncs(&[1, 2]);
    assert_eq!(follower.events(), ["renewed", "assigned"]);
}

#[test]
fn a_member_that_joins_for_long_is_heard_meanwhile() {
    let mut follower = Follower::owning(&[0]);
    follower.0.heartbeat(Code::REBALANCE_IN_PROGRESS);
    let join = follower.0.tick().unwrap();
    for _ in 0..40 {
        follower.0.advance(3 * SECOND);
        let call = follower.0.tick().unwrap();
        assert!(matches!(call.request, Request::Heartbeat(_)), "{call:?}");
        assert_eq!(call.purpose, Purpose::General, "the join holds its own connection up");
        follower.0.respond(&call, heartbeat_response(Code::REBALANCE_IN_PROGRESS));
    }
    follower.joined(&join, 2);
    follower.syncs(&[0]);
    assert_eq!(follower.events(), ["renewed", "assigned"]);
}

#[test]
fn a_member_that_is_not_heard_while_it_joins_loses_all() {
    for answered in [Some(Code::ILLEGAL_GENERATION), None] {
        let mut follower = Follower::owning(&[0]);
        follower.0.heartbeat(Code::REBALANCE_IN_PROGRESS);
        let join = follower.0.tick().unwrap();
        let mut leaves = None;
        for _ in 0..45 {
            assert!(leaves.is_none());
            follower.0.advance(SECOND);
            match (follower.0.tick(), answered) {
                (Some(call), _) if matches!(call.request, Request::LeaveGroup(_)) => leaves = Some(call),
                (Some(call), Some(code)) => follower.0.respond(&call, heartbeat_response(code)),
                _ => {}
            }
        }
        assert_eq!(follower.events(), ["lost 0"]);
        assert!(follower.0.group.identity().is_none());
        // The join may still lead into the generation in which it was lost.
        follower.joined(&join, 2);
        assert_eq!(follower.events(), [""; 0]);
        follower.0.leaves_to_come_back(&leaves.unwrap());
    }
}

#[test]
fn a_member_that_was_thrown_out_while_it_joined_loses_all() {
    let mut follower = Follower::owning(&[0]);
    follower.0.heartbeat(Code::REBALANCE_IN_PROGRESS);
    let join = follower.0.tick().unwrap();
    follower.0.heartbeat(Code::UNKNOWN_MEMBER_ID);
    assert_eq!(follower.events(), ["lost 0"]);
    let refused = JoinGroupResponse { error_code: Code::UNKNOWN_MEMBER_ID.get(), ..Default::default() };
    follower.0.respond(&join, refused);
    assert_eq!(follower.events(), [""; 0]);
    let call = follower.0.tick().unwrap();
    assert_eq!(follower.claims(&call), (Vec::new(), -1));
}

#[test]
fn a_join_that_fails_is_tried_again_with_what_is_owned() {
    let mut follower = Follower::owning(&[0, 3]);
    follower.0.heartbeat(Code::REBALANCE_IN_PROGRESS);
    let join = follower.0.tick().unwrap();
    follower.0.lose(&join);
    follower.0.out.events.clear();
    follower.0.group.set_coordinator(Some(NodeId(2)));
    follower.0.advance(SECOND);
    assert_eq!(follower.joins(2), (partitions(&[0, 3]), 1));
    // The others were faster.
    let sync = follower.0.out.calls.pop().or_else(|| follower.0.tick()).unwrap();
    let refused = SyncGroupResponse { error_code: Code::REBALANCE_IN_PROGRESS.get(), ..Default::default() };
    follower.0.respond(&sync, refused);
    assert_eq!(follower.events(), ["renewed"]);
    follower.0.advance(SECOND);
    assert_eq!(follower.joins(3), (partitions(&[0, 3]), 1), "since the generation in which it was assigned");
}
