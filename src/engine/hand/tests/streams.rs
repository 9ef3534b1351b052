//! Streams of single partitions.

use super::*;

fn offsets_of(bench: &Bench, stay: Stay) -> Vec<i64> {
    std::iter::from_fn(|| match poll_once(pin!(bench.hand.next_of(stay)), &Arc::default()) {
        Poll::Ready(Some(Ok(message))) => Some(message.offset().0),
        Poll::Ready(Some(Err(error))) => panic!("{error}"),
        Poll::Ready(None) | Poll::Pending => None,
    })
    .collect()
}

fn is_over(bench: &Bench, stay: Stay) -> bool {
    matches!(poll_once(pin!(bench.hand.next_of(stay)), &Arc::default()), Poll::Ready(None))
}

#[test]
fn a_stream_has_its_partition_alone_and_the_others_are_handed_out_as_ever() {
    let mut bench = Bench::new();
    let claims = [bench.assign(0, 0), bench.assign(1, 0)];
    bench.deliver(0, claims[0], &[script::batch(0, 2, 9)]);
    bench.deliver(1, claims[1], &[script::batch(0, 3, 9)]);
    let stay = bench.hand.open_stream(&tp(0)).unwrap();
    assert_eq!(bench.offsets(), [0, 1, 2]);
    assert_eq!(offsets_of(&bench, stay), [0, 1]);
    assert!(bench.hand.open_stream(&tp(7)).is_none());
    bench.hand.close_stream(stay);
    bench.deliver(0, claims[0], &[script::batch(2, 2, 9)]);
    assert_eq!(bench.offsets(), [2, 3], "without a stream it is like the others");
}

#[test]
fn a_call_on_a_stream_says_nothing_of_other_partitions() {
    let mut bench = Bench::new();
    let claims = [bench.assign(0, 0), bench.assign(1, 0), bench.assign(2, 0)];
    (0..3).zip(claims).for_each(|(index, claim)| bench.deliver(index, claim, &[script::batch(0, 2, 9)]));
    let stays = [0, 1].map(|index| bench.hand.open_stream(&tp(index)).unwrap());
    let done = |index: i32| {
        let progress = bench.hand.progress();
        progress.iter().find(|progress| progress.partition == tp(index)).unwrap().done.offset
    };
    for stay in stays {
        assert!(poll_once(pin!(bench.hand.next_of(stay)), &Arc::default()).is_ready());
    }
    assert!(bench.next().is_ready());
    assert_eq!([done(0), done(1), done(2)], [0, 0, 0]);
    assert!(poll_once(pin!(bench.hand.next_of(stays[1])), &Arc::default()).is_ready());
    assert_eq!([done(0), done(1), done(2)], [0, 1, 0]);
    assert!(bench.next().is_ready());
    assert_eq!([done(0), done(1), done(2)], [0, 1, 1]);
    bench.hand.settle();
    assert_eq!([done(0), done(1), done(2)], [1, 2, 2], "when the user commits all");
}

#[test]
fn a_stream_ends_with_its_partitions_stay() {
    let mut bench = Bench::new();
    let claim = bench.assign(0, 0);
    let stay = bench.hand.open_stream(&tp(0)).unwrap();
    bench.deliver(0, claim, &[script::batch(0, 2, 9)]);
    let waker = Arc::new(CountingWaker::default());
    assert_eq!(offsets_of(&bench, stay), [0, 1]);
    let mut waits = Box::pin(bench.hand.next_of(stay));
    assert!(poll_once(waits.as_mut(), &waker).is_pending());
    bench.hand.stop(&tp(0));
    assert_eq!(waker.count(), 1);
    assert!(matches!(poll_once(waits.as_mut(), &waker), Poll::Ready(None)));
    drop(waits);
    assert!(bench.hand.open_stream(&tp(0)).is_none(), "it is given up");
    bench.hand.remove(&tp(0));
    // It comes back, in the same place: the stream of before is over all the same.
    let claim = bench.assign(0, 2);
    bench.deliver(0, claim, &[script::batch(2, 1, 9)]);
    assert!(is_over(&bench, stay));
    bench.hand.close_stream(stay);
    assert_eq!(bench.offsets(), [2]);
    let stay = bench.hand.open_stream(&tp(0)).unwrap();
    bench.hand.close();
    assert!(is_over(&bench, stay));
}

#[test]
fn a_stream_is_woken_by_what_concerns_it() {
    let mut bench = Bench::new();
    bench.assign(0, 0);
    let claim = bench.assign(1, 0);
    let stays = [0, 1].map(|index| bench.hand.open_stream(&tp(index)).unwrap());
    let wakers = [(); 3].map(|()| Arc::new(CountingWaker::default()));
    let counts = || wakers.each_ref().map(|waker| waker.count());
    let mut first = Box::pin(bench.hand.next_of(stays[0]));
    let mut second = Box::pin(bench.hand.next_of(stays[1]));
    let mut all = Box::pin(bench.hand.next());
    let mut wait = || {
        [
            poll_once(first.as_mut(), &wakers[0]).is_pending(),
            poll_once(second.as_mut(), &wakers[1]).is_pending(),
            poll_once(all.as_mut(), &wakers[2]).is_pending(),
        ]
    };
    assert_eq!(wait(), [true; 3]);
    assert!(bench.hand.activity().is_waiting);
    bench.deliver(1, claim, &[script::batch(0, 1, 9)]);
    assert_eq!((counts()[0], counts()[1]), (0, 1));
    assert_eq!(wait(), [true, false, true]);
    let error = Error::broker(Code::TOPIC_AUTHORIZATION_FAILED, "Fetch", "t");
    bench.hand.fail(Some(tp(0)), error.clone());
    assert_eq!(counts()[0], 1);
    assert!(!wait()[0], "its own error");
    bench.hand.fail(None, error);
    assert_eq!(wait(), [true, true, false], "that of the consumer is not for them");
    bench.hand.block(Error::from(ErrorKind::Closed { what: "client" }));
    assert_eq!(wait(), [false, false, false], "but what ends everything is");
    drop((first, second, all));
    assert!(!bench.hand.activity().is_waiting);
}
