//! What a broker remembers of the last request (KIP-227).

use super::*;

#[test]
fn a_session_is_told_only_what_changes() {
    let mut bench = Bench::with(3, 1);
    let call = bench.call();
    assert_eq!((call.session, call.partitions.len()), ((0, 0), 3));
    bench.answer_in(9, call.token, vec![data(1, script::batch(0, 4, 9))]);
    let call = bench.call();
    assert_eq!((call.session, call.partitions), ((9, 1), vec![(1, 4)]));
    // An answer holds only what is new, and may hold what the request did not name.
    let fetched = bench.answer_in(9, call.token, vec![data(0, script::batch(0, 2, 9))]);
    assert!(matches!(fetched[..], [Event::Fetched(_)]), "{fetched:?}");
    bench.fetcher.pause(&tp(2), true);
    let call = bench.call();
    assert_eq!((call.session, call.partitions, call.forgotten), ((9, 2), vec![(0, 2)], vec![2]));
    bench.answer_in(9, call.token, vec![]);
    bench.fetcher.pause(&tp(2), false);
    let call = bench.call();
    assert_eq!((call.session, call.partitions, call.forgotten), ((9, 3), vec![(2, 0)], vec![]));
}

#[test]
fn a_session_that_was_evicted_is_begun_anew_at_once() {
    let mut bench = Bench::with(1, 1);
    let call = bench.call();
    bench.answer_in(9, call.token, vec![]);
    let call = bench.call();
    let response =
        FetchResponse { error_code: Code::FETCH_SESSION_ID_NOT_FOUND.get(), ..FetchResponse::default() };
    bench.fetcher.answer(bench.now, call.token, script::answer(17, response.clone()), &mut bench.out);
    assert!(bench.out.events.is_empty(), "nobody is told of it");
    let call = bench.call();
    assert_eq!((call.session, call.partitions), ((0, 0), vec![(0, 0)]));
    // A broker that knows no session where none was named is waited for.
    bench.fetcher.answer(bench.now, call.token, script::answer(17, response), &mut bench.out);
    assert!(bench.calls().is_empty());
}

#[test]
fn a_lost_answer_ends_the_session_for_another() {
    let mut bench = Bench::with(2, 1);
    let call = bench.call();
    bench.answer_in(9, call.token, vec![]);
    let call = bench.call();
    assert_eq!((call.session, call.partitions), ((9, 1), vec![]));
    bench.fetcher.answer(bench.now, call.token, script::failure(), &mut bench.out);
    bench.wait(1000);
    let call = bench.call();
    assert_eq!((call.session, call.partitions.len()), ((9, 0), 2));
}

#[test]
fn a_partition_that_was_refused_is_forgotten_while_it_waits_and_named_again_then() {
    let mut bench = Bench::with(2, 1);
    let call = bench.call();
    bench.answer_in(9, call.token, vec![]);
    let call = bench.call();
    assert_eq!((call.session, call.partitions, call.forgotten), ((9, 1), vec![], vec![]));
    bench.answer_in(9, call.token, vec![refusal(0, Code::KAFKA_STORAGE_ERROR)]);
    let call = bench.call();
    assert_eq!((call.session, call.partitions, call.forgotten), ((9, 2), vec![], vec![0]));
    bench.wait(1000);
    bench.answer_in(9, call.token, vec![]);
    // To the broker it is a new one: without its name it would not be read again.
    let call = bench.call();
    assert_eq!((call.session, call.partitions, call.forgotten), ((9, 3), vec![(0, 0)], vec![]));
    let fetched = bench.answer_in(9, call.token, vec![data(0, script::batch(0, 4, 9))]);
    assert!(matches!(fetched[..], [Event::Fetched(_)]), "{fetched:?}");
}

/// A broker whose quota was exceeded answers at once, with nothing (KIP-219): it has not looked at the partitions, nor
/// begun a session.
#[test]
fn a_throttled_answer_with_nothing_in_it_begins_no_session_and_ends_none() {
    let mut bench = Bench::with(2, 1);
    let throttle = |bench: &mut Bench, token: Token, session_id: i32| {
        let response = FetchResponse { session_id, throttle_time_ms: 700, ..FetchResponse::default() };
        bench.fetcher.answer(bench.now, token, script::answer(17, response), &mut bench.out);
        assert!(matches!(mem::take(&mut bench.out.events)[..], [Event::Throttled { .. }]));
        bench.wait(700);
    };
    for _ in 0..2 {
        let call = bench.call();
        assert_eq!((call.session, call.partitions.len()), ((0, 0), 2));
        throttle(&mut bench, call.token, 0);
    }
    let call = bench.call();
    bench.answer_in(9, call.token, vec![]);
    for epoch in 1..3 {
        let call = bench.call();
        assert_eq!((call.session, call.partitions, call.forgotten), ((9, epoch), vec![], vec![]));
        throttle(&mut bench, call.token, 9);
    }
}

#[test]
fn a_partition_that_comes_back_is_told_where_its_log_ends() {
    let mut bench = Bench::with(2, 1);
    let call = bench.call();
    bench.answer_in(9, call.token, vec![data(0, Bytes::new()), data(1, Bytes::new())]);
    bench.fetcher.remove(&tp(1));
    bench.add(1, 1);
    let call = bench.call();
    assert_eq!((call.session, call.partitions.len()), ((9, 0), 2), "the session would not say it again");
}

#[test]
fn the_session_ends_with_a_topic_that_was_created_anew() {
    let mut bench = Bench::with(2, 1);
    let call = bench.call();
    bench.answer_in(9, call.token, vec![]);
    let call = bench.call();
    bench.answer_in(9, call.token, vec![refusal(0, Code::INCONSISTENT_TOPIC_ID)]);
    assert_eq!(bench.call().session, (9, 0), "it would be refused for ever");
}

#[test]
fn a_request_that_is_repeated_walks_no_partitions_and_its_answers_count() {
    let mut bench = Bench::with(3, 1);
    let call = bench.call();
    bench.answer_in(9, call.token, vec![data(0, Bytes::new()), data(1, Bytes::new()), data(2, Bytes::new())]);
    let call = bench.call();
    let passes = bench.fetcher.passes;
    bench.answer_in(9, call.token, vec![]);
    let call = bench.call();
    assert_eq!((call.session, call.partitions, call.forgotten), ((9, 2), vec![], vec![]));
    bench.wait(500);
    bench.answer_in(9, call.token, vec![]);
    let call = bench.call();
    assert_eq!((call.session.1, bench.fetcher.passes), (3, passes), "nothing had changed");
    // What comes for a request that repeats another is what that one asked for.
    let fetched = bench.answer_in(9, call.token, vec![data(1, script::batch(0, 4, 9))]);
    assert!(matches!(fetched[..], [Event::Fetched(_)]), "{fetched:?}");
    let call = bench.call();
    assert_eq!((call.session, call.partitions), ((9, 4), vec![(1, 4)]));
    assert!(bench.fetcher.passes > passes);
}

#[test]
fn a_request_is_not_repeated_when_anything_has_changed() {
    let changes: [fn(&mut Bench); 6] = [
        |bench| bench.fetcher.pause(&tp(1), true),
        |bench| bench.fetcher.remove(&tp(1)),
        |bench| {
            bench.add(3, 1);
        },
        |bench| bench.fetcher.set_leader(&tp(1), Some(script::leader(2)), &mut bench.out),
        |bench| {
            let claim = bench.claims.next();
            bench.fetcher.reset(bench.now, &tp(1), claim);
            bench.fetcher.start(&tp(1), claim, spot(7));
        },
        |bench| bench.wait(0),
    ];
    let asked = changes.map(|change| {
        let mut bench = Bench::with(3, 1);
        for _ in 0..3 {
            let call = bench.calls().remove(0);
            bench.answer_in(9, call.token, vec![]);
        }
        change(&mut bench);
        let calls = bench.calls();
        let call = calls.into_iter().find(|call| call.node == node(1)).unwrap();
        (call.session.1, call.partitions, call.forgotten)
    });
    let expected = [
        (3, vec![], vec![1]),
        (3, vec![], vec![1]),
        (3, vec![(3, 0)], vec![]),
        (3, vec![], vec![1]),
        (3, vec![(1, 7)], vec![]),
        (3, vec![], vec![]),
    ];
    assert_eq!(asked, expected);
}
