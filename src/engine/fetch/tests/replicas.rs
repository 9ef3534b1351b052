//! Reading from the replica that the leader prefers (KIP-392).

use super::*;

/// What a leader answers that knows a nearer replica.
fn prefers(index: i32, replica: i32) -> PartitionData {
    PartitionData { preferred_read_replica: replica, ..data(index, Bytes::new()) }
}

/// Partition 0 of leader 1, which is read from replica 2.
fn redirected() -> Bench {
    let mut bench = Bench::with(1, 1);
    let call = bench.call();
    assert_eq!((call.node, &*call.request.rack_id), (node(1), "near"));
    assert!(bench.answer(call.token, vec![prefers(0, 2)]).is_empty());
    bench
}

#[test]
fn the_replica_that_the_leader_prefers_is_asked_at_once() {
    let mut bench = redirected();
    let call = bench.call();
    assert_eq!((call.node, call.partitions), (node(2), vec![(0, 0)]));
    assert_eq!(bench.fetched(call.token, vec![data(0, script::batch(0, 4, 9))]).len(), 1);
    let call = bench.call();
    assert_eq!((call.node, call.partitions), (node(2), vec![(0, 4)]));
}

#[test]
fn a_leader_that_names_itself_is_read_from() {
    let mut bench = Bench::with(1, 1);
    let call = bench.call();
    let itself = PartitionData { preferred_read_replica: 1, ..data(0, script::batch(0, 4, 9)) };
    assert_eq!(bench.fetched(call.token, vec![itself]).len(), 1);
    assert_eq!(bench.call().node, node(1));
}

#[test]
fn what_a_replica_refuses_is_asked_of_the_leader_and_nobody_is_told() {
    for code in [1, 2, 6, 9, 29, 56, 74, 76, 77, 999].map(Code::new) {
        let mut bench = redirected();
        let call = bench.call();
        let events = bench.answer(call.token, vec![refusal(0, code)]);
        assert!(events.iter().all(|event| matches!(event, Event::Refresh)), "{code}: {events:?}");
        assert!(
            bench.calls().is_empty(),
            "{code}: a leader that sends it back at once would be asked without end"
        );
        bench.wait(1000);
        let call = bench.call();
        assert_eq!((call.node, call.partitions), (node(1), vec![(0, 0)]), "{code}");
    }
}

#[test]
fn the_leaders_word_counts_where_a_replica_has_lost_the_offset() {
    let mut bench = redirected();
    let call = bench.call();
    bench.answer(call.token, vec![refusal(0, Code::OFFSET_OUT_OF_RANGE)]);
    bench.wait(1000);
    let call = bench.call();
    let events = bench.answer(call.token, vec![refusal(0, Code::OFFSET_OUT_OF_RANGE)]);
    assert!(matches!(events[..], [Event::OutOfRange { offset: 0, .. }]), "{events:?}");
}

#[test]
fn a_replica_that_refuses_again_and_again_is_tried_ever_more_slowly() {
    let mut bench = redirected();
    for round in 0..4 {
        let call = bench.call();
        assert_eq!(call.node, node(2));
        bench.answer(call.token, vec![refusal(0, Code::OFFSET_OUT_OF_RANGE)]);
        assert!(bench.calls().is_empty());
        let rest = bench.fetcher.deadline().unwrap() - bench.now.instant;
        assert!(rest >= RETRY.first * 2_u32.pow(round) / 2, "{rest:?} in round {round}");
        bench.wait(1000);
        let call = bench.call();
        bench.answer(call.token, vec![prefers(0, 2)]);
    }
}

#[test]
fn a_replica_that_cannot_be_asked_is_left_for_the_leader() {
    let mut bench = redirected();
    let call = bench.call();
    assert_eq!(call.node, node(2));
    bench.fetcher.answer(bench.now, call.token, script::failure(), &mut bench.out);
    let call = bench.call();
    assert_eq!((call.node, call.partitions), (node(1), vec![(0, 0)]));
}

#[test]
fn after_some_time_the_leader_is_asked_whom_it_prefers_now() {
    let mut bench = redirected();
    let call = bench.call();
    bench.now = bench.now.after(REPLICA_MAX_AGE);
    assert!(bench.calls().is_empty(), "what is under way is waited for");
    assert_eq!(bench.fetched(call.token, vec![data(0, script::batch(0, 4, 9))]).len(), 1);
    let call = bench.call();
    assert_eq!((call.node, call.partitions), (node(1), vec![(0, 4)]));
    bench.answer(call.token, vec![prefers(0, 3)]);
    assert_eq!(bench.call().node, node(3));
}

#[test]
fn a_new_leader_is_asked_itself() {
    let mut bench = redirected();
    let call = bench.call();
    bench.fetcher.set_leader(&tp(0), Some(script::leader(3)), &mut bench.out);
    let events = bench.answer(call.token, vec![refusal(0, Code::OFFSET_OUT_OF_RANGE)]);
    assert!(events.is_empty(), "the former leader's replica has no say: {events:?}");
    bench.wait(1000);
    assert_eq!(bench.call().node, node(3));
}

#[test]
fn where_the_view_is_renewed_and_nothing_has_changed_the_replica_stays() {
    let mut bench = redirected();
    bench.fetcher.set_leader(&tp(0), Some(script::leader(1)), &mut bench.out);
    assert_eq!(bench.call().node, node(2));
}
