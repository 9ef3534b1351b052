//! Users who say themselves what they are done with.

use super::*;

fn message(bench: &Bench) -> Message {
    match bench.next() {
        Poll::Ready(Some(Ok(message))) => message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_what_is_acknowledged_is_done_with() {
    let mut bench = Bench::acknowledging(10);
    let claim = bench.assign(0, 0);
    bench.deliver(0, claim, &[script::batch(0, 3, 9)]);
    let messages = [message(&bench), message(&bench), message(&bench)];
    bench.hand.settle();
    assert_eq!(bench.progress(), (3, 0));
    let calls = bench.hand.activity().pulls;
    messages[1].clone().detach().ack();
    assert_eq!(bench.progress(), (3, 0));
    messages[0].ack();
    assert_eq!(bench.progress(), (3, 2));
    assert_eq!(bench.hand.activity().pulls, calls + 2, "who acknowledges is there");
}

#[test]
fn what_nobody_gets_to_see_is_done_with() {
    let mut bench = Bench::acknowledging(10);
    let claim = bench.assign(0, 0);
    let batches = [
        transactional(0, 2, 1),
        marker(2, 1, false),
        transactional(3, 1, 1),
        marker(4, 1, true),
        script::batch(7, 1, 9),
    ];
    bench.deliver_with(0, claim, &batches, vec![(1, 0)]);
    let first = message(&bench);
    assert_eq!(bench.progress(), (4, 3), "behind what was aborted");
    let second = message(&bench);
    second.ack();
    assert_eq!(bench.progress(), (8, 3));
    first.ack();
    assert_eq!(bench.progress(), (8, 8), "behind the marker and what was compacted away");
}

#[test]
fn a_batch_is_acknowledged_whole_or_record_by_record() {
    let mut bench = Bench::acknowledging(10);
    let claim = bench.assign(0, 0);
    bench.deliver(0, claim, &[script::batch(0, 3, 9), script::batch(3, 3, 9)]);
    let batches: Vec<Batch> = std::iter::from_fn(|| match bench.next_batch() {
        Poll::Ready(batch) => batch.transpose().unwrap(),
        Poll::Pending => None,
    })
    .collect();
    let [first, second] = &batches[..] else { panic!("{batches:?}") };
    second.messages().for_each(|message| message.unwrap().ack());
    assert_eq!(bench.progress(), (6, 0));
    first.ack();
    assert_eq!(bench.progress(), (6, 6));
}

#[test]
fn what_was_read_before_a_seek_or_another_owner_counts_for_nothing() {
    let mut bench = Bench::acknowledging(10);
    let claim = bench.assign(0, 0);
    bench.deliver(0, claim, &[script::batch(0, 2, 9)]);
    let before = message(&bench);
    let claim = bench.claims.next();
    bench.hand.reset(&tp(0), claim);
    bench.hand.start(&tp(0), claim, Spot { offset: 0, leader_epoch: None });
    bench.deliver(0, claim, &[script::batch(0, 2, 9)]);
    let after = message(&bench);
    before.ack();
    assert_eq!(bench.progress(), (1, 0));
    after.ack();
    assert_eq!(bench.progress(), (1, 1));
}

#[test]
fn with_too_many_holes_a_partition_waits_alone() {
    let mut bench = Bench::acknowledging(1);
    let claims = [bench.assign(0, 0), bench.assign(1, 0)];
    bench.deliver(0, claims[0], &[script::batch(0, 3, 9)]);
    bench.deliver(1, claims[1], &[script::batch(0, 3, 9)]);
    let first = message(&bench);
    message(&bench).ack();
    let other = message(&bench);
    assert_eq!(other.topic_partition(), &tp(1), "the first has a hole, and no more are allowed");
    message(&bench).ack();

    let waker = Arc::new(CountingWaker::default());
    let mut waits = pin!(bench.hand.next());
    assert!(poll_once(waits.as_mut(), &waker).is_pending());
    assert!(!bench.rung());
    first.ack();
    assert!(bench.rung(), "the driver is to wake who waits");
    drop(bench.hand.take_requests());
    assert_eq!(waker.count(), 1);
    let Poll::Ready(Some(Ok(next))) = poll_once(waits, &waker) else { panic!("nothing came") };
    assert_eq!((next.topic_partition(), next.offset()), (&tp(0), Offset(2)));
}

#[test]
fn the_driver_learns_when_nobody_works_on_partitions_any_more() {
    let mut bench = Bench::acknowledging(10);
    let claims = [bench.assign(0, 0), bench.assign(1, 0)];
    bench.deliver(0, claims[0], &[script::batch(0, 1, 9)]);
    bench.deliver(1, claims[1], &[script::batch(0, 1, 9)]);
    let messages = [message(&bench), message(&bench)];
    bench.hand.stop(&tp(0));
    bench.hand.stop(&tp(1));
    assert!(bench.hand.awaits(&[tp(0), tp(1)]));
    messages[0].ack();
    assert!(bench.rung(), "of one of them");
    assert!(bench.hand.awaits(&[tp(0), tp(1)]));
    drop(messages);
    assert!(bench.rung(), "nobody could acknowledge it any more");
    assert!(!bench.hand.awaits(&[tp(0), tp(1)]));
    assert!(!Bench::new().hand.awaits(&[tp(0)]), "where nothing is acknowledged");
}
