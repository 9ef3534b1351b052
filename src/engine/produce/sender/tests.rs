#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests"
)]

use std::{collections::BTreeMap as Map, time::Duration};

use bytes::Bytes;

use super::{super::config::Partitioning, *};
use crate::{
    engine::{
        backoff::Backoff,
        catalog::snapshot::{PartitionInfo, Snapshot, Topic},
        machine::{Answer, Failure},
        produce::{
            gate::Pass,
            outcome::{Fate, NOWHERE, Written},
            queue::BatchSize,
        },
    },
    error::{Code, Error, ErrorKind},
    record::Record,
    wire::{
        batch::{BatchHeader, Batches},
        calls::{Request, Response},
        compress::{Codec, Compression},
        messages::{
            init_producer_id_response::InitProducerIdResponse,
            produce_response::{PartitionProduceResponse, ProduceResponse, TopicProduceResponse},
        },
    },
};

/// A sender with one topic `t`, driven by hand on virtual time.
struct Bench {
    sender: Sender,
    accumulator: Arc<Accumulator>,
    tokens: Tokens,
    now: Now,
    out: Outbox<Event>,
    deliveries: Vec<(Arc<BatchDone>, u32)>,
    /// Batches that are to be compressed.
    packings: Vec<Packing>,
}

impl Bench {
    fn new(change: impl FnOnce(&mut SenderConfig)) -> Self {
        let second = Duration::from_secs(1);
        let mut config = SenderConfig {
            acks: -1,
            idempotent: true,
            transactional_id: None,
            follow_recreated: false,
            partitioning: Partitioning::default(),
            linger: Linger::Fixed(Duration::ZERO),
            compression: Compression::new(Codec::None),
            packed_aside: 32 << 10,
            max_request_size: 1 << 20,
            max_in_flight: 5,
            delivery_timeout: 120 * second,
            request_timeout: 30 * second,
            backoff: Backoff { first: second / 10, max: second },
        };
        change(&mut config);
        let accumulator = Arc::new(Accumulator::new(1 << 20, Arc::default()));
        let snapshot = leaders(&[Some(1), Some(1), Some(2)]);
        let sender = Sender::new(config, Arc::clone(&accumulator), snapshot, Random::new(1));
        let now = Now { instant: Instant::now() + 1_000 * second, unix_ms: 1_000_000 };
        let bench = Self {
            sender,
            accumulator,
            tokens: Tokens::default(),
            now,
            out: Outbox::default(),
            deliveries: vec![],
            packings: vec![],
        };
        bench.accumulator.prepare(&"t".into(), 3);
        bench
    }

    /// One that has its producer id, 77, already, and had a record acknowledged in partition 0.
    fn ready(change: impl FnOnce(&mut SenderConfig)) -> Self {
        let mut bench = Self::identified(change);
        bench.append(0, "first");
        bench.advance(Duration::from_secs(1));
        let call = bench.tick().pop().expect("a call with the record");
        bench.answer(&call, &[(0, Code::NONE, 0)]);
        bench.completed();
        bench
    }

    /// One that has its producer id, 77, and has sent nothing.
    fn identified(change: impl FnOnce(&mut SenderConfig)) -> Self {
        let mut bench = Self::new(change);
        let call = bench.sender.identity.ask(bench.now, &mut bench.tokens).expect("a call for an id");
        bench.give_identity(&call, 77);
        bench.advance(Duration::from_secs(1));
        bench
    }

    fn give_identity(&mut self, call: &Call, id: i64) {
        assert!(matches!(call.request, Request::InitProducerId(_)));
        let response = InitProducerIdResponse { producer_id: id, producer_epoch: 0, ..Default::default() };
        self.respond(call.token, response.into());
    }

    fn append(&mut self, partition: usize, value: &str) {
        let queue = Arc::clone(&self.accumulator.topic("t").unwrap().partitions[partition]);
        assert!(self.accumulator.budget.try_take(100));
        let record = Record::new("t", value);
        let size = BatchSize { sent: 64 << 10, raw: 1 << 20 };
        let appended =
            queue.append(Pass::FREE, self.now.instant, self.now.unix_ms, &record, 100, size).unwrap();
        self.deliveries.push((appended.done, appended.index));
        if appended.news {
            self.accumulator.announce(&queue);
        }
    }

    fn tick(&mut self) -> Vec<Call> {
        self.sender.tick(self.now, &mut self.tokens, &mut self.out);
        self.sender.check();
        let due = self.sender.deadline();
        assert!(due.is_none_or(|due| due > self.now.instant), "a tick does what is due");
        mem::take(&mut self.out.calls)
    }

    /// Appends and sends one batch.
    fn send(&mut self, partition: usize, value: &str) -> Call {
        self.append(partition, value);
        let mut calls = self.tick();
        assert_eq!(calls.len(), 1, "{calls:?}");
        calls.remove(0)
    }

    fn respond(&mut self, token: Token, response: Response) {
        let answer = Answer { node: NodeId(1), version: 13, response };
        self.sender.answer(self.now, token, Ok(answer), &mut self.out);
        self.sender.check();
    }

    fn answer(&mut self, call: &Call, partitions: &[(i32, Code, i64)]) {
        let partition_responses =
            partitions.iter().map(|(index, code, base_offset)| PartitionProduceResponse {
                index: *index,
                error_code: code.get(),
                base_offset: *base_offset,
                ..Default::default()
            });
        self.answer_with(call, partition_responses.collect());
    }

    fn answer_with(&mut self, call: &Call, partition_responses: Vec<PartitionProduceResponse>) {
        self.answer_about(TOPIC_ID, call, partition_responses);
    }

    fn answer_about(
        &mut self,
        topic_id: Uuid,
        call: &Call,
        partition_responses: Vec<PartitionProduceResponse>,
    ) {
        let topic = TopicProduceResponse { topic_id, partition_responses, ..Default::default() };
        self.respond(call.token, ProduceResponse { responses: vec![topic], ..Default::default() }.into());
    }

    fn lose(&mut self, call: &Call, maybe_sent: bool) {
        let error = ErrorKind::Timeout { what: "x".into(), after: Duration::ZERO, setting: "s" }.into();
        self.sender.answer(self.now, call.token, Err(Failure { maybe_sent, error }), &mut self.out);
        self.sender.check();
    }

    fn advance(&mut self, duration: Duration) {
        self.now = self.now.after(duration);
    }

    /// Carries out the events, as a driver does.
    fn completed(&mut self) -> Vec<Result<Written, Error>> {
        let mut outcomes = Vec::new();
        for event in self.out.events.drain(..) {
            match event {
                Event::Completed(done) => {
                    self.accumulator.budget.give(done.charged);
                    if done.done.fate.set(Fate::Ended(done.outcome.clone())) {
                        outcomes.push(done.outcome);
                    }
                }
                Event::Divided(divided) => {
                    self.accumulator.budget.give(divided.charged);
                    divided.done.fate.set(Fate::Divided(divided.stretches));
                }
                Event::Pack(packing) => self.packings.push(packing),
                Event::Retried(_) | Event::RefreshMetadata | Event::LeaderChanged(_) | Event::Join(..) => {}
            }
        }
        outcomes
    }

    fn refreshed(&self) -> bool {
        self.out.events.iter().any(|event| matches!(event, Event::RefreshMetadata))
    }
}

mod divide;
mod identity;
mod packing;
mod recreate;
mod weigh;

const TOPIC_ID: Uuid = Uuid::from_bytes([7; 16]);

fn leaders(leaders: &[Option<i32>]) -> Arc<Snapshot> {
    let partitions = leaders.iter().enumerate().map(|(index, leader)| {
        let (replicas, isr, offline) = (Vec::new(), Vec::new(), Vec::new());
        let leader = leader.map(NodeId);
        let info = PartitionInfo { leader, leader_epoch: Some(1), replicas, isr, offline };
        (i32::try_from(index).unwrap(), info)
    });
    let partitions = partitions.collect();
    let topic = Topic { name: "t".into(), id: Some(TOPIC_ID), internal: false, partitions };
    Arc::new(Snapshot::of_topics([topic]))
}

fn produce(call: &Call) -> Map<i32, Bytes> {
    let Request::Produce(request) = &call.request else { panic!("{call:?}") };
    let partitions = request.topic_data.iter().flat_map(|topic| &topic.partition_data);
    partitions.map(|partition| (partition.index, partition.records.clone().unwrap())).collect()
}

fn header(call: &Call, partition: i32) -> BatchHeader {
    *Batches::new(produce(call)[&partition].clone()).next().unwrap().unwrap().header()
}

/// Epoch and first sequence of the batch for a partition.
fn stamp(call: &Call, partition: i32) -> (i16, i32) {
    let header = header(call, partition);
    (header.producer_epoch, header.base_sequence)
}

fn code(outcome: &Result<Written, Error>) -> Option<Code> {
    outcome.as_ref().err().and_then(Error::code)
}

mod transactions;

#[test]
fn garbage_from_a_broker_is_no_reason_to_give_a_record_up() {
    let garbage: [ErrorKind; 3] = [
        ErrorKind::NotKafka { peer: "p".into(), looks_like: "HTTP" },
        ErrorKind::Malformed { peer: "p".into(), detail: "d".into() },
        ErrorKind::FrameSize { peer: "p".into(), length: -1, limit: 9, setting: "s" },
    ];
    let mut bench = Bench::new(|_| {});
    bench.append(0, "a");
    for kind in &garbage {
        let call = bench.tick().remove(0);
        let failure = Failure { maybe_sent: true, error: kind.clone().into() };
        bench.sender.answer(bench.now, call.token, Err(failure), &mut bench.out);
        bench.advance(Duration::from_secs(1));
    }
    let call = bench.tick().remove(0);
    bench.give_identity(&call, 5);
    for kind in &garbage {
        let call = bench.tick().remove(0);
        let failure = Failure { maybe_sent: false, error: kind.clone().into() };
        bench.sender.answer(bench.now, call.token, Err(failure), &mut bench.out);
        bench.advance(Duration::from_secs(2));
    }
    let call = bench.tick().remove(0);
    assert!(bench.completed().is_empty());
    bench.answer(&call, &[(0, Code::NONE, 0)]);
    assert!(matches!(bench.completed()[..], [Ok(_)]));
}

#[test]
fn partitions_of_one_leader_share_a_request() {
    let mut bench = Bench::ready(|_| {});
    for partition in 0..3 {
        bench.append(partition, "x");
    }
    let calls = bench.tick();
    let targets: Vec<_> = calls.iter().map(|call| (call.target, produce(call).len())).collect();
    assert_eq!(targets, [(Target::Broker(NodeId(1)), 2), (Target::Broker(NodeId(2)), 1)]);
}

#[test]
fn sequences_follow_the_records_and_five_batches_are_in_flight_at_most() {
    let mut bench = Bench::ready(|_| {});
    let calls: Vec<Call> = (0..5).map(|n| bench.send(0, &format!("{n}"))).collect();
    assert_eq!(
        calls.iter().map(|call| stamp(call, 0)).collect::<Vec<_>>(),
        [(0, 1), (0, 2), (0, 3), (0, 4), (0, 5)]
    );
    bench.append(0, "sixth");
    assert!(bench.tick().is_empty());
    bench.answer(&calls[0], &[(0, Code::NONE, 10)]);
    assert_eq!(stamp(&bench.tick()[0], 0), (0, 6));
    assert_eq!(bench.completed(), [Ok(Written { base_offset: Some(10), log_append_time: None })]);
}

/// Compares written places only; errors are compared by their facts elsewhere.
impl PartialEq for Error {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

#[test]
fn retries_keep_their_stamp_and_order_one_at_a_time() {
    let mut bench = Bench::ready(|_| {});
    let calls: Vec<Call> = (0..3).map(|n| bench.send(0, &format!("{n}"))).collect();
    bench.answer(&calls[0], &[(0, Code::NOT_LEADER_OR_FOLLOWER, -1)]);
    assert!(bench.refreshed());
    bench.answer(&calls[2], &[(0, Code::OUT_OF_ORDER_SEQUENCE_NUMBER, -1)]);
    bench.answer(&calls[1], &[(0, Code::OUT_OF_ORDER_SEQUENCE_NUMBER, -1)]);
    assert!(bench.tick().is_empty(), "backing off");
    for sequence in 1..=3 {
        bench.advance(Duration::from_secs(2));
        let calls = bench.tick();
        assert_eq!((calls.len(), stamp(&calls[0], 0)), (1, (0, sequence)));
        bench.answer(&calls[0], &[(0, Code::NONE, 20)]);
    }
    assert_eq!(bench.completed().len(), 3);
}

#[test]
fn a_lost_answer_is_asked_again_under_the_same_stamp() {
    let mut bench = Bench::ready(|_| {});
    let call = bench.send(0, "a");
    bench.lose(&call, true);
    bench.advance(Duration::from_secs(2));
    let again = bench.tick().remove(0);
    assert_eq!(produce(&again), produce(&call), "the same bytes");
    bench.answer(&again, &[(0, Code::DUPLICATE_SEQUENCE_NUMBER, -1)]);
    assert_eq!(bench.completed(), [Ok(NOWHERE)]);
}

/// franz-go #1484: after a failed batch, one with the same count and sequence would be taken for a duplicate.
#[test]
fn a_failed_batch_never_gives_its_sequence_to_another() {
    let mut bench = Bench::ready(|config| config.delivery_timeout = Duration::from_secs(40));
    let call = bench.send(0, "lost");
    bench.lose(&call, true);
    bench.advance(Duration::from_secs(50));
    bench.tick();
    assert!(bench.completed()[0].as_ref().unwrap_err().maybe_written());
    assert_eq!(stamp(&bench.send(0, "next"), 0), (1, 0));
}

#[test]
fn a_batch_that_failed_in_flight_keeps_its_sequence_until_its_fate_is_known() {
    let mut bench = Bench::ready(|config| config.delivery_timeout = Duration::from_secs(40));
    let overdue = bench.send(0, "overdue");
    bench.advance(Duration::from_secs(50));
    bench.tick();
    assert!(bench.completed()[0].as_ref().unwrap_err().maybe_written());
    let next = bench.send(0, "next");
    assert_eq!(stamp(&next, 0), (0, 2));
    bench.lose(&overdue, true);
    bench.append(0, "last");
    assert!(bench.tick().is_empty(), "the sequence may be broken");
    bench.answer(&next, &[(0, Code::OUT_OF_ORDER_SEQUENCE_NUMBER, -1)]);
    let again = bench.tick().remove(0);
    assert_eq!((stamp(&again, 0), header(&again, 0).count), ((1, 0), 1));
}

#[test]
fn an_overdue_batch_that_was_written_leaves_no_hole() {
    let mut bench = Bench::ready(|config| config.delivery_timeout = Duration::from_secs(40));
    let call = bench.send(0, "slow");
    bench.advance(Duration::from_secs(50));
    bench.tick();
    assert_eq!(bench.completed().len(), 1);
    assert!(bench.accumulator.budget.used() > 0, "its bytes are still in the connection");
    bench.answer(&call, &[(0, Code::NONE, 3)]);
    bench.completed();
    assert_eq!(bench.accumulator.budget.used(), 0);
    assert_eq!(stamp(&bench.send(0, "next"), 0), (0, 2));
}

#[test]
fn a_rejected_batch_fails_alone_and_the_rest_goes_on_under_a_new_epoch() {
    let mut bench = Bench::ready(|_| {});
    let bad = bench.send(0, "bad");
    let behind = bench.send(0, "behind");
    bench.answer(&bad, &[(0, Code::INVALID_RECORD, -1)]);
    bench.answer(&behind, &[(0, Code::OUT_OF_ORDER_SEQUENCE_NUMBER, -1)]);
    let outcomes = bench.completed();
    assert_eq!((outcomes.len(), code(&outcomes[0])), (1, Some(Code::INVALID_RECORD)));
    assert!(!outcomes[0].as_ref().unwrap_err().maybe_written());
    let again = bench.tick().remove(0);
    assert_eq!(stamp(&again, 0), (1, 0));
}

#[test]
fn unsent_records_expire_as_not_written_with_the_reason() {
    let mut bench = Bench::ready(|_| {});
    bench.sender.catalog(bench.now, leaders(&[None, Some(1), Some(2)]));
    bench.append(0, "nowhere to go");
    assert!(bench.tick().is_empty());
    assert_eq!(bench.sender.deadline(), Some(bench.now.instant + Duration::from_secs(120)));
    bench.advance(Duration::from_secs(120));
    bench.tick();
    let error = bench.completed().remove(0).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Undelivered { maybe_written: false, .. }), "{error}");
    assert_eq!(bench.accumulator.budget.used(), 0);
}

#[test]
fn a_new_leader_gets_what_waits() {
    let mut bench = Bench::ready(|_| {});
    let call = bench.send(0, "a");
    bench.answer(&call, &[(0, Code::NOT_LEADER_OR_FOLLOWER, -1)]);
    bench.sender.catalog(bench.now, leaders(&[Some(2), Some(1), Some(2)]));
    bench.advance(Duration::from_secs(2));
    assert_eq!(bench.tick()[0].target, Target::Broker(NodeId(2)));
}

#[test]
fn an_answer_that_misses_the_partition_acknowledges_nothing() {
    let mut bench = Bench::ready(|_| {});
    let call = bench.send(0, "a");
    bench.answer(&call, &[(1, Code::NONE, 0)]);
    assert!(bench.completed().is_empty());
    bench.advance(Duration::from_secs(2));
    assert_eq!(bench.tick().len(), 1);
}

#[test]
fn without_idempotence_one_batch_is_in_flight_and_acks_0_is_never_sent_twice() {
    let mut bench = Bench::new(|config| {
        config.idempotent = false;
        config.acks = 0;
    });
    let first = bench.send(0, "a");
    assert_eq!(stamp(&first, 0), (-1, -1));
    bench.append(0, "b");
    assert!(bench.tick().is_empty());
    bench.lose(&first, true);
    assert!(bench.completed()[0].as_ref().unwrap_err().maybe_written());
    let second = bench.tick().remove(0);
    bench.lose(&second, false);
    bench.advance(Duration::from_secs(2));
    assert_eq!(bench.tick().len(), 1, "not sent at all, so it may be sent");
}

#[test]
fn an_adaptive_batch_lingers_only_while_something_is_in_flight() {
    let linger = Duration::from_millis(5);
    let mut bench = Bench::ready(|config| config.linger = Linger::Adaptive(linger));
    let first = bench.send(0, "at once");
    bench.append(0, "grows");
    assert!(bench.tick().is_empty());
    assert_eq!(bench.sender.deadline(), Some(bench.now.instant + linger));
    bench.answer(&first, &[(0, Code::NONE, 1)]);
    let second = bench.tick().remove(0);
    bench.append(0, "and again");
    bench.advance(linger);
    assert_eq!(bench.tick().len(), 1, "never longer than the linger");
    bench.answer(&second, &[(0, Code::NONE, 2)]);
}

#[test]
fn a_set_linger_is_kept_and_a_flush_ends_it() {
    let mut bench = Bench::ready(|config| config.linger = Linger::Fixed(Duration::from_millis(50)));
    bench.append(0, "a");
    bench.append(2, "b");
    assert!(bench.tick().is_empty());
    let outstanding = bench.sender.flush(bench.now);
    assert_eq!(outstanding.len(), 2);
    let calls = bench.tick();
    assert_eq!(calls.len(), 2);
    assert_eq!(bench.sender.flush(bench.now).len(), 2, "in flight counts");
    for call in &calls {
        let partition = *produce(call).keys().next().unwrap();
        bench.answer(call, &[(partition, Code::NONE, 0)]);
    }
    assert!(bench.sender.is_idle());
}

#[test]
fn a_request_takes_no_more_than_its_size() {
    let mut bench = Bench::ready(|config| config.max_request_size = 300);
    let value = "x".repeat(150);
    bench.append(0, &value);
    bench.append(1, &value);
    let calls = bench.tick();
    assert_eq!(calls.iter().map(|call| produce(call).len()).collect::<Vec<_>>(), [1, 1]);
}

#[test]
fn abandoning_ends_everything_and_frees_the_budget() {
    let mut bench = Bench::ready(|_| {});
    let sent = bench.send(0, "in flight");
    bench.lose(&sent, false);
    bench.send(1, "also in flight");
    bench.sender.catalog(bench.now, leaders(&[None, None, None]));
    bench.append(2, "waiting");
    let closed: Error = ErrorKind::Closed { what: "producer" }.into();
    bench.sender.abandon(bench.now, &closed, &mut bench.out);
    let outcomes = bench.completed();
    let maybe: Vec<bool> =
        outcomes.iter().map(|outcome| outcome.as_ref().unwrap_err().maybe_written()).collect();
    assert_eq!(maybe.iter().filter(|maybe| **maybe).count(), 1, "{outcomes:?}");
    assert_eq!((outcomes.len(), bench.accumulator.budget.used()), (3, 0));
}

#[test]
fn a_second_batch_goes_only_to_a_leader_that_knows_the_producer() {
    let mut bench = Bench::identified(|_| {});
    let first = bench.send(0, "first");
    bench.append(0, "second");
    assert!(
        bench.tick().is_empty(),
        "a leader that never heard of the producer would take it without the first"
    );
    bench.lose(&first, true);
    bench.advance(Duration::from_secs(2));
    let again = bench.tick().remove(0);
    assert_eq!(stamp(&again, 0), (0, 0));
    bench.answer(&again, &[(0, Code::NONE, 0)]);
    assert_eq!(stamp(&bench.tick()[0], 0), (0, 1));
    assert_eq!(stamp(&bench.send(0, "third"), 0), (0, 2), "now it knows");
}

#[test]
fn a_gap_that_comes_back_is_not_tried_again_at_once() {
    let mut bench = Bench::ready(|_| {});
    let call = bench.send(0, "a");
    bench.answer(&call, &[(0, Code::OUT_OF_ORDER_SEQUENCE_NUMBER, -1)]);
    let again = bench.tick().remove(0);
    bench.answer(&again, &[(0, Code::OUT_OF_ORDER_SEQUENCE_NUMBER, -1)]);
    assert!(bench.tick().is_empty(), "a broker that refuses everything is not asked in a loop");
    bench.advance(Duration::from_secs(2));
    assert_eq!(stamp(&bench.tick()[0], 0), (2, 0));
}

#[test]
fn batches_that_are_lost_together_back_off_once() {
    let mut bench = Bench::ready(|_| {});
    let calls: Vec<Call> = (0..5).map(|n| bench.send(0, &format!("{n}"))).collect();
    for call in &calls {
        bench.lose(call, true);
    }
    bench.advance(Duration::from_millis(120));
    assert_eq!(bench.tick().len(), 1, "100 ms, and the jitter");
}

#[test]
fn a_lane_in_line_for_a_deposed_leader_lines_up_for_the_new_one() {
    let mut bench = Bench::ready(|config| config.max_in_flight = 1);
    let first = bench.send(1, "holds the line");
    bench.append(0, "in line");
    assert!(bench.tick().is_empty());
    bench.sender.catalog(bench.now, leaders(&[Some(2), Some(1), Some(2)]));
    let call = bench.tick().remove(0);
    assert_eq!((call.target, produce(&call).len()), (Target::Broker(NodeId(2)), 1));
    bench.answer(&first, &[(1, Code::NONE, 0)]);
}

#[test]
fn partitions_that_are_added_take_records() {
    let mut bench = Bench::ready(|_| {});
    bench.sender.catalog(bench.now, leaders(&[Some(1), Some(1), Some(2), Some(2)]));
    assert_eq!(bench.accumulator.topic("t").unwrap().partitions.len(), 4);
    assert_eq!(bench.send(3, "new").target, Target::Broker(NodeId(2)));
}
