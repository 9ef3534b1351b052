#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::*;
use crate::{
    engine::{machine::Now, script, share::Acquired},
    error::ErrorKind,
    wire::{batch::BatchBuilder, compress::Compression},
};

const STAY: Stay = Stay(1);

struct Bench {
    hand: ShareHand,
    wake: Arc<Wake>,
    now: Now,
}

/// `count` records from `offset` on.
fn batch(offset: i64, count: u32) -> Bytes {
    let mut builder = BatchBuilder::new(0, 0);
    for _ in 0..count {
        builder.append(1, None, Some(b"v"), &[]).unwrap();
    }
    script::placed(builder.seal(Compression::NONE).unwrap().bytes(), offset)
}

impl Bench {
    fn new(is_explicit: bool) -> Self {
        let wake = Arc::new(Wake::default());
        let hand = ShareHand::new(Arc::clone(&wake), 100_000, 10, is_explicit, Arc::default());
        Self { hand, wake, now: script::start() }
    }

    /// Delivers batches, and which of their offsets were acquired, how often delivered.
    fn deliver(&self, stay: Stay, batches: &[Bytes], acquired: &[(i64, i64, u16)]) {
        let run = |&(first, last, deliveries): &(i64, i64, u16)| Acquired { first, last, deliveries };
        self.hand.deliver(Fetched {
            stay,
            partition: TopicPartition::new("t", 0),
            records: batches.concat().into(),
            acquired: acquired.iter().map(run).collect(),
            until: self.now.instant + Duration::from_secs(30),
        });
    }

    fn next(&self) -> Poll<Option<Result<Handed>>> {
        let mut stage = ShareStage::default();
        let next = self.hand.poll_next(&mut stage, &Context::from_waker(Waker::noop()));
        self.hand.end_call(&mut stage);
        next
    }

    /// Offsets and deliveries that are handed out until there is nothing more.
    fn offsets(&self) -> Vec<(i64, u16)> {
        std::iter::from_fn(|| match self.next() {
            Poll::Ready(Some(Ok(handed))) => Some((handed.message.offset().0, handed.deliveries)),
            Poll::Ready(other) => panic!("{other:?}"),
            Poll::Pending => None,
        })
        .collect()
    }

    fn decisions(&self) -> Vec<(i64, i64, Verdict)> {
        let decisions = self.hand.take_decisions().into_iter();
        decisions.map(|decision| (decision.first, decision.last, decision.verdict)).collect()
    }

    fn is_rung(&self) -> bool {
        let mut rung = std::pin::pin!(self.wake.rung());
        rung.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }
}

#[test]
fn what_was_acquired_is_handed_out_and_what_holds_no_record_is_a_gap() {
    let bench = Bench::new(true);
    // 3 and 4 were compacted away, 8 and 9 come behind the last record.
    let batches = [batch(0, 3), batch(5, 3)];
    bench.deliver(STAY, &batches, &[(1, 1, 1), (2, 5, 2), (7, 9, 3)]);
    assert_eq!(bench.offsets(), [(1, 1), (2, 2), (5, 2), (7, 3)]);
    assert_eq!(bench.decisions(), [(3, 4, Verdict::Gap), (8, 9, Verdict::Gap)]);
}

#[test]
fn the_next_call_accepts_what_was_handed_out_unless_users_decide() {
    let bench = Bench::new(false);
    bench.deliver(STAY, &[batch(0, 5)], &[(0, 4, 1)]);
    for _ in 0..3 {
        assert!(matches!(bench.next(), Poll::Ready(Some(Ok(_)))));
    }
    assert_eq!(bench.decisions(), [(0, 1, Verdict::Accept)]);
    bench.hand.decide(STAY, 2, Verdict::Reject);
    bench.hand.decide(STAY, 2, Verdict::Accept);
    assert!(matches!(bench.next(), Poll::Ready(Some(Ok(_)))));
    assert_eq!(bench.decisions(), [(2, 2, Verdict::Reject)], "once is enough");
    bench.hand.dropped(STAY, 3);
    bench.hand.settle();
    assert_eq!(bench.decisions(), [(3, 3, Verdict::Accept)]);
}

#[test]
fn where_users_decide_what_is_dropped_is_released() {
    let bench = Bench::new(true);
    bench.deliver(STAY, &[batch(0, 4)], &[(0, 3, 1)]);
    assert_eq!(bench.offsets().len(), 4);
    assert!(bench.decisions().is_empty() && bench.is_rung());
    bench.hand.decide(STAY, 1, Verdict::Renew);
    bench.hand.decide(STAY, 1, Verdict::Accept);
    bench.hand.dropped(STAY, 1);
    bench.hand.dropped(STAY, 2);
    bench.hand.settle();
    assert!(bench.is_rung());
    let expected = [(1, 1, Verdict::Renew), (1, 1, Verdict::Accept), (2, 2, Verdict::Release)];
    assert_eq!(bench.decisions(), expected);
}

#[test]
fn what_waits_is_released_when_its_stay_ends_and_dropped_when_its_locks_do() {
    let mut bench = Bench::new(true);
    bench.deliver(STAY, &[batch(0, 4)], &[(0, 3, 1)]);
    bench.deliver(Stay(2), &[batch(0, 2)], &[(0, 1, 1)]);
    assert!(matches!(bench.next(), Poll::Ready(Some(Ok(_)))));
    bench.hand.end(STAY, true);
    assert_eq!(bench.decisions(), [(1, 3, Verdict::Release)]);
    let until = bench.hand.deadline().unwrap();
    bench.now = bench.now.after(Duration::from_secs(29));
    bench.hand.expire(bench.now.instant);
    assert_eq!(bench.hand.deadline(), Some(until));
    bench.hand.expire(until);
    assert!(bench.hand.deadline().is_none() && bench.offsets().is_empty() && bench.decisions().is_empty());
    bench.deliver(Stay(3), &[batch(0, 2)], &[(0, 1, 1)]);
    bench.hand.end(Stay(3), false);
    assert!(bench.offsets().is_empty() && bench.decisions().is_empty(), "its session is over");
}

#[test]
fn more_is_wanted_when_users_ask_and_little_is_left() {
    let bench = Bench::new(true);
    assert!(!bench.hand.wants(), "nobody has asked");
    assert!(bench.next().is_pending() && bench.is_rung() && bench.hand.wants());
    bench.hand.has_asked();
    assert!(!bench.hand.wants());
    bench.deliver(STAY, &[batch(0, 8)], &[(0, 7, 1)]);
    for left in (0..8).rev() {
        assert!(matches!(bench.next(), Poll::Ready(Some(Ok(_)))));
        assert_eq!(bench.hand.wants(), left <= 5, "{left}");
    }
    bench.hand.close();
    assert!(matches!(bench.next(), Poll::Ready(None)) && !bench.hand.wants());
}

#[test]
fn a_batch_that_does_not_read_is_told_and_released() {
    let bench = Bench::new(true);
    let mut broken = BytesMut::from(&batch(0, 3)[..]);
    *broken.last_mut().unwrap() ^= 1;
    bench.deliver(STAY, &[broken.freeze(), batch(3, 2)], &[(0, 4, 1)]);
    let Poll::Ready(Some(Err(error))) = bench.next() else { panic!() };
    assert!(matches!(error.kind(), ErrorKind::CorruptBatch { offset: 0, .. }), "{error}");
    assert_eq!(bench.decisions(), [(0, 4, Verdict::Release)]);
    assert!(bench.offsets().is_empty());
}
