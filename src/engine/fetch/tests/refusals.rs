//! What brokers refuse, and those that fail.

use super::*;

#[test]
fn a_moved_leader_refreshes_the_view_and_its_hint_is_passed_on() {
    for code in [3, 5, 6, 9, 56, 74, 75, 100, 103].map(Code::new) {
        let mut bench = Bench::with(1, 1);
        let call = bench.call();
        let current_leader =
            LeaderIdAndEpoch { leader_id: 2, leader_epoch: 9, ..LeaderIdAndEpoch::default() };
        let events = bench.answer(call.token, vec![PartitionData { current_leader, ..refusal(0, code) }]);
        let [Event::LeaderHint(LeaderHint { leader: NodeId(2), leader_epoch: 9, .. }), Event::Refresh] =
            events.as_slice()
        else {
            panic!("{code}: {events:?}")
        };
        assert!(bench.calls().is_empty(), "{code}: backing off");
        bench.fetcher.set_leader(&tp(0), Some(script::leader(2)), &mut bench.out);
        assert_eq!(bench.call().node, node(2), "{code}: the new leader is asked at once");
    }
}

#[test]
fn an_offset_out_of_range_waits_until_the_buffer_is_empty() {
    let mut bench = Bench::with(1, 1);
    let call = bench.call();
    let kept = bench.fetched(call.token, vec![data(0, script::batch(0, 4, 9))]);
    let call = bench.call();
    assert!(bench.answer(call.token, vec![refusal(0, Code::OFFSET_OUT_OF_RANGE)]).is_empty());
    drop(kept);
    bench.wait(1000);
    let call = bench.call();
    let events = bench.answer(call.token, vec![refusal(0, Code::OFFSET_OUT_OF_RANGE)]);
    assert!(matches!(events[..], [Event::OutOfRange { offset: 4, .. }]), "{events:?}");
    bench.wait(5000);
    assert!(bench.calls().is_empty(), "until there is a new position");
}

#[test]
fn an_unknown_code_is_reported_and_tried_again_slowly() {
    let mut bench = Bench::with(1, 1);
    let call = bench.call();
    let events = bench.answer(call.token, vec![refusal(0, Code::new(31_000))]);
    let [Event::Failed { error, .. }] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!(error.code(), Some(Code::new(31_000)));
    bench.wait(500);
    assert!(bench.calls().is_empty());
    bench.wait(1000);
    bench.call();
}

#[test]
fn a_broker_that_fails_is_backed_off_from_alone() {
    let mut bench = Bench::with(1, 1);
    bench.add(1, 2);
    let calls = bench.calls();
    bench.fetcher.answer(bench.now, calls[0].token, script::failure(), &mut bench.out);
    assert!(matches!(mem::take(&mut bench.out.events)[..], [Event::Refresh]));
    bench.answer(calls[1].token, vec![]);
    assert_eq!(bench.call().node, node(2));
    assert!(bench.fetcher.deadline().unwrap() > bench.now.instant);
    bench.wait(120);
    assert_eq!(bench.call().node, node(1));
}

#[test]
fn refusals_do_not_count_as_answers_that_lead_nowhere() {
    let mut bench = Bench::with(1, 1);
    for _ in 0..2 * MAX_STALLS {
        let call = bench.call();
        bench.answer(call.token, vec![refusal(0, Code::NOT_LEADER_OR_FOLLOWER)]);
        bench.wait(1500);
    }
    let (claim, stale) = (bench.claims.next(), script::batch(0, 4, 9));
    bench.fetcher.reset(bench.now, &tp(0), claim);
    bench.fetcher.start(&tp(0), claim, spot(100));
    for refused in [false, true] {
        if refused {
            for _ in 0..2 * MAX_STALLS {
                let call = bench.call();
                bench.answer(call.token, vec![refusal(0, Code::NOT_LEADER_OR_FOLLOWER)]);
                bench.wait(1500);
            }
        }
        let call = bench.call();
        assert!(bench.answer(call.token, vec![data(0, stale.clone())]).is_empty(), "the first of its kind");
        bench.wait(1500);
        let call = bench.call();
        assert!(bench.answer(call.token, vec![data(0, Bytes::new())]).is_empty(), "all is well again");
        bench.wait(1500);
    }
    // And the wait after a refusal is short again once the broker has served the partition.
    let call = bench.call();
    bench.wait(500);
    bench.answer(call.token, vec![refusal(0, Code::NOT_LEADER_OR_FOLLOWER)]);
    bench.wait(120);
    bench.call();
}
