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
