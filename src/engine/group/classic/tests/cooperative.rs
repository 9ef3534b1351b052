//! A member that goes on reading while its group rebalances.

use super::*;

/// A member of a cooperative group that does not lead it.
struct Follower(Bench);

/// A member of a cooperative group, which is about to join.
fn cooperative(instance_id: Option<&str>) -> Bench {
    let settings = GroupSettings {
        assignors: vec![Arc::new(CooperativeStickyAssignor)],
        ..GroupSettings::of_tests(instance_id)
    };
    let mut bench = Bench::new(None);
    bench.group = Classic::new(settings, bench.now, Tokens::default(), Random::new(1));
    bench.group.set_coordinator(Some(NodeId(1)));
    bench.group.join(bench.now, "test");
    bench
}

impl Follower {
    /// It owns these partitions of `t`, in generation 1.
    fn owning(numbers: &[i32]) -> Self {
        let mut follower = Self(cooperative(None));
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

/// A heartbeat goes by another connection while a join waits, and may come behind the end of the rebalance.
#[test]
fn what_is_said_of_a_generation_that_has_passed_counts_no_more() {
    for code in [Code::ILLEGAL_GENERATION, Code::REBALANCE_IN_PROGRESS] {
        let mut follower = Follower::owning(&[0]);
        follower.0.heartbeat(Code::REBALANCE_IN_PROGRESS);
        let join = follower.0.tick().unwrap();
        follower.0.advance(3 * SECOND);
        let heartbeat = follower.0.tick().unwrap();
        assert!(matches!(heartbeat.request, Request::Heartbeat(_)), "{heartbeat:?}");
        follower.joined(&join, 2);
        follower.syncs(&[0]);
        follower.0.respond(&heartbeat, heartbeat_response(code));
        assert_eq!(follower.events(), ["renewed", "assigned"]);
        assert!(follower.0.tick().is_none(), "it stays where it is");
        follower.0.heartbeat(code);
        assert!(follower.0.tick().is_some(), "of this generation it counts");
    }
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

/// The coordinator goes on without it then, and gives its partitions to others.
#[test]
fn a_member_that_is_heard_but_not_let_in_within_the_rebalance_timeout_loses_all() {
    let mut follower = Follower::owning(&[0, 1]);
    let until = follower.0.now.instant + 300 * SECOND;
    follower.0.heartbeat(Code::REBALANCE_IN_PROGRESS);
    let join = follower.0.tick().unwrap();
    for _ in 0..97 {
        follower.0.advance(3 * SECOND);
        let call = follower.0.tick().unwrap();
        follower.0.respond(&call, heartbeat_response(Code::REBALANCE_IN_PROGRESS));
        assert_eq!(follower.events(), [""; 0]);
    }
    // With one more heartbeat under way nothing else is due.
    follower.0.advance(3 * SECOND);
    assert!(follower.0.tick().is_some());
    assert_eq!(follower.0.group.deadline(), Some(until));
    follower.0.now.instant = until;
    let leaves = follower.0.tick().unwrap();
    assert_eq!(follower.events(), ["lost 0 1"]);
    assert!(follower.0.group.identity().is_none());
    follower.joined(&join, 2);
    assert_eq!(follower.events(), [""; 0], "it comes too late");
    follower.0.leaves_to_come_back(&leaves);
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

/// What it had sent before the loss could still be committed in the generation that the answer leads into.
#[test]
fn an_assignment_in_the_generation_in_which_all_was_lost_is_not_taken() {
    let mut follower = Follower::owning(&[0]);
    follower.0.heartbeat(Code::REBALANCE_IN_PROGRESS);
    follower.joins(2);
    let sync = follower.0.out.calls.pop().or_else(|| follower.0.tick()).unwrap();
    follower.0.heartbeat(Code::UNKNOWN_MEMBER_ID);
    assert_eq!(follower.events(), ["renewed", "lost 0"]);
    let assignment = wire::assignment(&partitions(&[0]));
    follower.0.respond(&sync, SyncGroupResponse { assignment, ..Default::default() });
    assert_eq!(follower.events(), [""; 0]);
    follower.0.advance(SECOND);
    let leave = follower.0.tick().unwrap();
    follower.0.leaves_to_come_back(&leave);
}

#[test]
fn a_generation_after_a_loss_is_taken_part_in() {
    let mut follower = Follower::owning(&[0]);
    follower.0.heartbeat(Code::REBALANCE_IN_PROGRESS);
    let join = follower.0.tick().unwrap();
    follower.0.heartbeat(Code::UNKNOWN_MEMBER_ID);
    follower.joined(&join, 2);
    follower.syncs(&[0]);
    assert_eq!(follower.events(), ["lost 0", "assigned 0"]);
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

/// It comes back with nothing, so that a plan without what the assignment gives it might give it something else.
#[test]
fn a_static_leader_that_comes_back_lets_any_assignment_stand_that_fits_the_topics() {
    for numbers in [[0, 1], [0, 2], [1, 3], [2, 3]] {
        let mut bench = cooperative(Some("i"));
        bench.join_to_find_the_assignment_standing("cooperative-sticky", &["other", "me"]);
        bench.out.events.clear();
        let mut leader = Follower(bench);
        leader.syncs(&numbers);
        assert_eq!(leader.events(), [format!("assigned {} {}", numbers[0], numbers[1])]);
    }
}
