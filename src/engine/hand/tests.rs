#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
};

use bytes::{Bytes, BytesMut};

use super::*;
use crate::{
    engine::{
        fetch::{Buffered, Fetched},
        partition::{Claim, Claims, Spot},
        script,
    },
    error::{Code, Error, ErrorKind, Result},
    message::{Batch, Desk, Message},
    sync::{
        done::tests::{CountingWaker, poll_once},
        lock,
        wake::Wake,
    },
    types::{Offset, TopicPartition},
    wire::{
        batch::{
            BatchBuilder, Marker, Stamp, end_transaction_marker,
            old::{Old, wrapped},
        },
        compress::{Codec, Compression},
    },
};

const CAP: usize = 100_000;

struct Bench {
    hand: Hand,
    wake: Arc<Wake>,
    buffered: Arc<Buffered>,
    claims: Claims,
}

impl Bench {
    fn new() -> Self {
        Self::with_desk(|_| None)
    }

    /// Of users who acknowledge.
    fn acknowledging(max_holes: usize) -> Self {
        Self::with_desk(|wake| Some(Desk::with_max_holes(Arc::clone(wake), max_holes)))
    }

    fn with_desk(desk: impl FnOnce(&Arc<Wake>) -> Option<Desk>) -> Self {
        let wake = Arc::new(Wake::default());
        let hand = Hand::new(Arc::clone(&wake), CAP, desk(&wake), Arc::default());
        let buffered = Buffered::new(1 << 20, Arc::default());
        Self { hand, wake, buffered, claims: Claims::default() }
    }

    /// Assigns partition `index`, to be read from `offset` on.
    fn assign(&mut self, index: i32, offset: i64) -> Claim {
        let claim = self.claims.next();
        self.hand.assign(tp(index), claim);
        self.hand.start(&tp(index), claim, Spot { offset, leader_epoch: None });
        claim
    }

    fn deliver(&self, index: i32, claim: Claim, batches: &[Bytes]) {
        self.deliver_with(index, claim, batches, vec![]);
    }

    fn deliver_with(&self, index: i32, claim: Claim, batches: &[Bytes], aborted: Vec<(i64, i64)>) {
        let records = Bytes::from(batches.concat());
        let held = self.buffered.hold(&Arc::new(AtomicUsize::new(0)), records.len());
        let partition = tp(index);
        self.hand.deliver(Fetched {
            partition,
            claim,
            offset: 0,
            records,
            aborted,
            high_watermark: 99,
            held,
        });
    }

    fn next(&self) -> Poll<Option<Result<Message>>> {
        poll_once(pin!(self.hand.next()), &Arc::default())
    }

    fn next_batch(&self) -> Poll<Option<Result<Batch>>> {
        poll_once(pin!(self.hand.next_batch()), &Arc::default())
    }

    /// The offsets that are handed out until there is nothing more.
    fn offsets(&self) -> Vec<i64> {
        std::iter::from_fn(|| match self.next() {
            Poll::Ready(Some(Ok(message))) => Some(message.offset().0),
            Poll::Ready(other) => panic!("{other:?}"),
            Poll::Pending => None,
        })
        .collect()
    }

    fn rung(&self) -> bool {
        poll_once(pin!(self.wake.rung()), &Arc::default()).is_ready()
    }

    fn error(&self) -> Error {
        match self.next() {
            Poll::Ready(Some(Err(error))) => error,
            other => panic!("{other:?}"),
        }
    }

    fn progress(&self) -> (i64, i64) {
        let progress = self.hand.progress();
        let [Progress { position, done, .. }] = progress.as_slice() else { panic!("{progress:?}") };
        (position.offset, done.offset)
    }
}

fn tp(index: i32) -> TopicPartition {
    TopicPartition::new("t", index)
}

fn flipped(batch: &Bytes) -> Bytes {
    let mut bytes = BytesMut::from(&batch[..]);
    *bytes.last_mut().unwrap() ^= 1;
    bytes.freeze()
}

fn transactional(offset: i64, count: u32, producer_id: i64) -> Bytes {
    let mut builder = BatchBuilder::new(0, 0);
    for _ in 0..count {
        builder.append(1, None, Some(b"v"), &[]).unwrap();
    }
    let mut sealed = builder.seal(Compression::NONE).unwrap();
    sealed.stamp(Stamp { producer_id, producer_epoch: 0, base_sequence: 0, transactional: true });
    script::placed(sealed.bytes(), offset)
}

fn marker(offset: i64, producer_id: i64, commit: bool) -> Bytes {
    let marker = Marker { producer_id, producer_epoch: 0, coordinator_epoch: 0, commit, timestamp: 1 };
    script::placed(&end_transaction_marker(marker).unwrap(), offset)
}

#[test]
fn records_come_in_order_and_the_position_advances_with_them() {
    let mut bench = Bench::new();
    let claim = bench.assign(0, 0);
    bench.deliver(0, claim, &[script::batch(0, 2, 9), script::batch(2, 1, 9)]);
    assert_eq!(bench.offsets(), [0, 1, 2]);
    assert_eq!(bench.hand.position(&tp(0)), Some(Spot { offset: 3, leader_epoch: Some(3) }));
    assert_eq!(bench.buffered.used(), 0);
}

#[test]
fn reading_starts_in_the_middle_of_a_batch_and_goes_on_behind_its_gap() {
    let mut bench = Bench::new();
    let claim = bench.assign(0, 7);
    // Compaction has taken the last records of the first batch: it reaches up to offset 9.
    let mut compacted = BytesMut::from(&script::batch(5, 5, 9)[..]);
    compacted[23..27].copy_from_slice(&9_i32.to_be_bytes());
    let crc = crc32c::crc32c(&compacted[21..]);
    compacted[17..21].copy_from_slice(&crc.to_be_bytes());
    bench.deliver(0, claim, &[compacted.freeze()]);
    assert_eq!(bench.offsets(), [7, 8, 9]);
    assert_eq!(bench.progress(), (15, 15));
}

#[test]
fn overlapping_batches_give_each_offset_once() {
    let mut bench = Bench::new();
    let claim = bench.assign(0, 0);
    let batches =
        [script::batch(0, 4, 9), script::batch(2, 4, 9), script::batch(0, 6, 9), script::batch(6, 1, 9)];
    bench.deliver(0, claim, &batches);
    assert_eq!(bench.offsets(), [0, 1, 2, 3, 4, 5, 6]);
}

#[test]
fn a_record_is_done_with_when_the_next_call_begins() {
    let mut bench = Bench::new();
    let claim = bench.assign(0, 0);
    bench.deliver(0, claim, &[script::batch(0, 2, 9)]);
    assert!(bench.next().is_ready());
    assert_eq!(bench.progress(), (1, 0));
    assert!(bench.next().is_ready());
    assert_eq!(bench.progress(), (2, 1));
    assert!(bench.next().is_pending(), "and it does not matter what the call finds");
    assert_eq!(bench.progress(), (2, 2));
}

#[test]
fn a_call_that_is_dropped_takes_nothing() {
    let mut bench = Bench::new();
    let claim = bench.assign(0, 0);
    let counter = Arc::new(CountingWaker::default());
    {
        let mut call = pin!(bench.hand.next());
        assert!(poll_once(call.as_mut(), &counter).is_pending());
        assert!(bench.hand.activity().is_waiting);
        bench.deliver(0, claim, &[script::batch(0, 1, 9)]);
        assert_eq!(counter.count(), 1);
    }
    assert!(!bench.hand.activity().is_waiting);
    assert_eq!(bench.offsets(), [0]);
}

#[test]
fn a_batch_is_what_is_left_of_the_one_that_is_being_read() {
    let mut bench = Bench::new();
    let claim = bench.assign(0, 0);
    bench.deliver(0, claim, &[script::batch(0, 3, 9), script::batch(3, 2, 9)]);
    assert!(bench.next().is_ready());
    let Poll::Ready(Some(Ok(batch))) = bench.next_batch() else { panic!() };
    assert_eq!((batch.first_offset(), batch.next_offset()), (Offset(1), Offset(3)));
    assert_eq!((batch.records().count(), batch.high_watermark()), (2, Offset(99)));
    assert_eq!(bench.progress(), (3, 1));
    let Poll::Ready(Some(Ok(batch))) = bench.next_batch() else { panic!() };
    assert_eq!(batch.next_offset(), Offset(5));
    assert_eq!(bench.buffered.used(), 0, "what is handed out leaves the budget at once");
    assert!(bench.next_batch().is_pending());
    assert_eq!(bench.progress(), (5, 5));
}

/// Brokers hand out logs of before Kafka 0.11 as they are.
#[test]
fn messages_that_are_older_than_batches_come_as_records() {
    let mut bench = Bench::new();
    let claim = bench.assign(0, 2);
    let held = |magic, offsets: [i64; 3]| offsets.map(|offset| Old::new(magic, offset, "held"));
    let log = [
        wrapped(0, 3, 0, Codec::Gzip, &held(0, [1, 2, 3])),
        Old { key: None, ..Old::new(0, 4, "alone") }.write(),
        wrapped(1, 7, 0, Codec::Gzip, &held(1, [0, 1, 2])),
        Old { value: None, ..Old::new(1, 8, "") }.write(),
        script::batch(9, 1, 1).to_vec(),
        Old::new(1, 10, "cut off").write()[..30].to_vec(),
    ];
    bench.deliver(0, claim, &log.map(Bytes::from));
    let text = |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap());
    let mut read = Vec::new();
    while let Poll::Ready(Some(message)) = bench.next() {
        let message = message.unwrap();
        assert_eq!(message.headers().count(), 0);
        let (key, value) = (text(message.key()), text(message.value()));
        read.push((message.offset().0, message.timestamp(), key, value));
    }
    let some = |text: &str| Some(text.to_owned());
    let expected = [
        (2, -1, some("key"), some("held")),
        (3, -1, some("key"), some("held")),
        (4, -1, None, some("alone")),
        (5, 1_000, some("key"), some("held")),
        (6, 1_001, some("key"), some("held")),
        (7, 1_002, some("key"), some("held")),
        (8, 1_008, some("key"), None),
        (9, 1_000, some("key"), some("v")),
    ];
    assert_eq!(read, expected);
    assert_eq!(bench.progress(), (10, 10));
}

#[test]
fn a_message_that_is_older_than_batches_and_does_not_read_can_be_passed() {
    let mut bench = Bench::new();
    let claim = bench.assign(0, 5);
    // Its offsets do not rise.
    let wrong = wrapped(1, 7, 0, Codec::Gzip, &[Old::new(1, 1, "a"), Old::new(1, 1, "b")]);
    bench.deliver(0, claim, &[Bytes::from(wrong)]);
    let error = bench.error();
    let ErrorKind::CorruptBatch { offset: 7, next_offset: Some(8), detail, .. } = error.kind() else {
        panic!("{error}")
    };
    assert!(detail.contains("record 1: offset 1 is not within 2 to 7"), "{detail}");
}

#[test]
fn a_batch_that_does_not_read_is_fetched_again_and_then_reported() {
    let mut bench = Bench::new();
    let (mut claim, other) = (bench.assign(0, 0), bench.assign(1, 0));
    let bad = flipped(&script::batch(2, 3, 9));
    bench.deliver(0, claim, &[script::batch(0, 2, 9), bad.clone()]);
    bench.deliver(1, other, &[script::batch(0, 1, 9)]);
    assert_eq!(bench.offsets(), [0, 1, 0], "the other partition goes on");
    let mut found = Poll::Pending;
    for _ in 0..2 {
        assert!(found.is_pending());
        let from = Spot { offset: 2, leader_epoch: Some(3) };
        assert_eq!(bench.hand.take_requests(), [Request::Refetch { partition: tp(0), claim, from }]);
        claim = bench.claims.next();
        bench.hand.renew(&tp(0), claim);
        bench.deliver(0, claim, std::slice::from_ref(&bad));
        found = bench.next();
    }
    let Poll::Ready(Some(Err(error))) = found else { panic!("{found:?}") };
    let ErrorKind::CorruptBatch { partition, offset: 2, next_offset: Some(5), detail } = error.kind() else {
        panic!("{error}")
    };
    assert!(*partition == tp(0) && detail.contains("CRC"), "{detail}");
    assert_eq!(bench.hand.take_requests(), [Request::Stop { partition: tp(0), claim }]);
    bench.deliver(0, claim, &[script::batch(2, 1, 9)]);
    assert!(bench.next().is_pending(), "reported once, and stopped until a new position");
    let claim = bench.claims.next();
    bench.hand.reset(&tp(0), claim);
    bench.hand.start(&tp(0), claim, Spot { offset: 5, leader_epoch: None });
    bench.deliver(0, claim, &[script::batch(5, 1, 9)]);
    assert_eq!(bench.offsets(), [5]);
}

#[test]
fn a_fault_of_transit_heals() {
    let mut bench = Bench::new();
    let claim = bench.assign(0, 0);
    let good = script::batch(0, 2, 9);
    bench.deliver(0, claim, &[flipped(&good)]);
    assert!(bench.next().is_pending());
    assert!(poll_once(pin!(bench.wake.rung()), &Arc::default()).is_ready(), "the driver hears of it");
    let claim = bench.claims.next();
    bench.hand.renew(&tp(0), claim);
    bench.deliver(0, claim, &[good]);
    assert_eq!(bench.offsets(), [0, 1]);
}

#[test]
fn a_bomb_is_reported_at_once() {
    let mut bench = Bench::new();
    let claim = bench.assign(0, 0);
    let mut builder = BatchBuilder::new(0, 0);
    builder.append(1, None, Some(&vec![0; CAP * 10]), &[]).unwrap();
    let bomb = builder.seal(Compression::new(Codec::Lz4)).unwrap();
    bench.deliver(0, claim, &[script::placed(bomb.bytes(), 0)]);
    let error = bench.error();
    let ErrorKind::CorruptBatch { next_offset: Some(1), detail, .. } = error.kind() else {
        panic!("{error}")
    };
    assert!(detail.contains("100000"), "{detail}");
}

#[test]
fn aborted_records_and_markers_are_passed() {
    let mut bench = Bench::new();
    let claim = bench.assign(0, 0);
    let batches = [
        transactional(0, 2, 7),
        transactional(2, 1, 8),
        marker(3, 7, false),
        transactional(4, 1, 7),
        marker(5, 8, true),
        marker(6, 7, true),
    ];
    bench.deliver_with(0, claim, &batches, vec![(7, 0)]);
    assert_eq!(bench.offsets(), [2, 4]);
    assert_eq!(bench.progress(), (7, 7));
    assert_eq!(bench.buffered.used(), 0);
}

#[test]
fn a_paused_partition_keeps_what_it_has() {
    let mut bench = Bench::new();
    let (first, second) = (bench.assign(0, 0), bench.assign(1, 0));
    bench.deliver(0, first, &[script::batch(0, 3, 9)]);
    assert!(bench.next().is_ready());
    bench.hand.pause(&tp(0), true);
    bench.deliver(0, first, &[script::batch(3, 1, 9)]);
    bench.deliver(1, second, &[script::batch(0, 1, 9)]);
    assert_eq!(bench.offsets(), [0], "of the other partition");
    assert!(bench.hand.take_requests().contains(&Request::Pause { partition: tp(0), paused: true }));
    assert!(bench.hand.take_requests().is_empty(), "told once");
    bench.hand.pause(&tp(0), false);
    assert_eq!(bench.offsets(), [1, 2, 3]);
}

#[test]
fn what_belongs_to_an_older_claim_is_dropped() {
    let mut bench = Bench::new();
    let old = bench.assign(0, 0);
    bench.deliver(0, old, &[script::batch(0, 3, 9)]);
    assert!(bench.next().is_ready());
    let new = bench.claims.next();
    bench.hand.reset(&tp(0), new);
    assert_eq!((bench.buffered.used(), bench.hand.position(&tp(0))), (0, None));
    bench.deliver(0, old, &[script::batch(3, 3, 9)]);
    bench.hand.start(&tp(0), old, Spot { offset: 1, leader_epoch: None });
    assert!(bench.next().is_pending() && bench.hand.progress().is_empty());
    bench.hand.start(&tp(0), new, Spot { offset: 9, leader_epoch: None });
    bench.deliver(0, new, &[script::batch(9, 1, 9)]);
    assert_eq!(bench.offsets(), [9]);
}

#[test]
fn a_removed_partition_leaves_nothing_and_its_place_is_used_again() {
    let mut bench = Bench::new();
    let old = bench.assign(0, 0);
    bench.deliver(0, old, &[script::batch(0, 3, 9)]);
    assert!(bench.next().is_ready());
    bench.hand.remove(&tp(0));
    assert_eq!(bench.buffered.used(), 0);
    let new = bench.assign(5, 0);
    bench.deliver(0, old, &[script::batch(3, 3, 9)]);
    bench.deliver(5, new, &[script::batch(0, 1, 9)]);
    assert_eq!(bench.offsets(), [0]);
    assert_eq!(bench.buffered.used(), 0);
}

#[test]
fn a_stopped_partition_still_says_how_far_it_got() {
    let mut bench = Bench::new();
    let claim = bench.assign(0, 0);
    bench.deliver(0, claim, &[script::batch(0, 3, 9)]);
    assert!(bench.next().is_ready());
    assert!(bench.next().is_ready());
    bench.hand.stop(&tp(0));
    assert!(bench.next().is_pending());
    assert_eq!((bench.progress(), bench.buffered.used()), ((2, 2), 0));
}

/// A call that is cut in two: what the driver does happens while the call opens a batch without the lock.
fn while_a_batch_is_opened(bench: &Bench, meanwhile: impl FnOnce(&Hand)) {
    let (mut open, mut garbage) = (None, Vec::new());
    let step = lock(&bench.hand.state).step(state::take_record, None, &mut open, &mut garbage);
    let (state::Step::Open(from), Some(mut item)) = (step, open) else { panic!("there is a batch to open") };
    meanwhile(&bench.hand);
    let opening = item.open_next(from, CAP);
    lock(&bench.hand.state).put_back(item, opening, &mut garbage);
}

#[test]
fn what_is_being_opened_when_reading_ends_is_not_handed_out() {
    let mut bench = Bench::new();
    let claim = bench.assign(0, 0);
    bench.deliver(0, claim, &[script::batch(0, 3, 9)]);
    while_a_batch_is_opened(&bench, |hand| hand.stop(&tp(0)));
    assert!(bench.next().is_pending(), "it is being given up");
    assert_eq!((bench.progress(), bench.buffered.used()), ((0, 0), 0));

    let claim = bench.assign(1, 0);
    bench.deliver(1, claim, &[script::batch(0, 3, 9)]);
    while_a_batch_is_opened(&bench, Hand::close);
    assert!(matches!(bench.next(), Poll::Ready(None)), "it is closed");
    bench.deliver(1, claim, &[script::batch(3, 3, 9)]);
    assert!(matches!(bench.next(), Poll::Ready(None)));
    assert_eq!(bench.buffered.used(), 0);
}

#[test]
fn nothing_behind_a_batch_that_is_fetched_again_is_handed_out_before_it() {
    let mut bench = Bench::new();
    let claim = bench.assign(0, 0);
    let good = script::batch(0, 2, 9);
    bench.deliver(0, claim, &[flipped(&good)]);
    assert!(bench.next().is_pending());
    // The next answer is on its way before the driver learns of the fault.
    bench.deliver(0, claim, &[script::batch(2, 2, 9)]);
    assert!(bench.next().is_pending());
    assert_eq!(bench.buffered.used(), 0);
    let claim = bench.claims.next();
    bench.hand.renew(&tp(0), claim);
    bench.deliver(0, claim, &[good, script::batch(2, 2, 9)]);
    assert_eq!(bench.offsets(), [0, 1, 2, 3]);
}

#[test]
fn what_calls_side_by_side_took_is_all_done_with_at_the_next_call() {
    let mut bench = Bench::new();
    let claims = [bench.assign(0, 0), bench.assign(1, 0)];
    let mut early = pin!(bench.hand.next());
    assert!(poll_once(early.as_mut(), &Arc::default()).is_pending());
    bench.deliver(0, claims[0], &[script::batch(0, 2, 9)]);
    assert!(bench.next().is_ready());
    bench.hand.pause(&tp(0), true);
    bench.deliver(1, claims[1], &[script::batch(0, 2, 9)]);
    assert!(poll_once(early.as_mut(), &Arc::default()).is_ready());
    let done = |bench: &Bench| bench.hand.progress().iter().map(|progress| progress.done.offset).sum::<i64>();
    assert_eq!(done(&bench), 0, "both are being worked on");
    bench.hand.settle();
    assert_eq!(done(&bench), 2);
}

#[test]
fn errors_come_once_and_a_block_stays() {
    let mut bench = Bench::new();
    let claim = bench.assign(0, 0);
    let error = |code| Error::broker(code, "Fetch", "t-0");
    bench.hand.fail(Some(tp(0)), error(Code::TOPIC_AUTHORIZATION_FAILED));
    bench.hand.fail(Some(tp(0)), error(Code::UNKNOWN_SERVER_ERROR));
    bench.hand.fail(None, error(Code::GROUP_AUTHORIZATION_FAILED));
    assert_eq!(bench.error().code(), Some(Code::UNKNOWN_SERVER_ERROR), "the newest about a partition");
    assert!(matches!(bench.error().kind(), ErrorKind::NotAuthorized { .. }));
    assert!(bench.next().is_pending());
    bench.hand.block(ErrorKind::Fenced { identity: "me".into() }.into());
    bench.deliver(0, claim, &[script::batch(0, 1, 9)]);
    assert!(matches!(bench.next(), Poll::Ready(Some(Ok(_)))), "what is there is handed out");
    assert!(bench.error().is_fatal() && bench.error().is_fatal());
    bench.hand.close();
    assert!(matches!(bench.next(), Poll::Ready(None)));
    assert!(matches!(bench.next_batch(), Poll::Ready(None)));
}

#[test]
fn the_driver_is_rung_by_the_next_call_if_it_asks() {
    let bench = Bench::new();
    assert!(bench.next().is_pending() && !bench.rung());
    bench.hand.ring_on_pull();
    assert!(bench.next().is_pending() && bench.rung());
    assert!(bench.next().is_pending() && !bench.rung());
    assert_eq!(bench.hand.activity(), Activity { pulls: 3, is_waiting: false });
}

#[test]
fn several_tasks_share_a_consumer_and_lose_nothing() {
    let mut bench = Bench::new();
    let claims: Vec<_> = (0..3).map(|index| (index, bench.assign(index, 0))).collect();
    let taken = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while taken.load(Ordering::SeqCst) < 300 {
                    match bench.next() {
                        Poll::Ready(Some(Ok(_))) => drop(taken.fetch_add(1, Ordering::SeqCst)),
                        Poll::Ready(other) => panic!("{other:?}"),
                        Poll::Pending => std::thread::yield_now(),
                    }
                }
            });
        }
        for round in 0..20 {
            for (index, claim) in &claims {
                bench.deliver(*index, *claim, &[script::batch(round * 5, 5, 100)]);
            }
        }
    });
    let positions: Vec<_> = bench.hand.progress().iter().map(|progress| progress.position.offset).collect();
    assert_eq!(positions, [100, 100, 100]);
    assert_eq!(bench.buffered.used(), 0);
}

mod acknowledge;
mod streams;
