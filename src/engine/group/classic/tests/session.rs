//! How long a membership lasts, by the member's own count.

use super::*;

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
