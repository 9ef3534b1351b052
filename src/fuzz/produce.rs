//! The producer's accumulator and sender, whatever brokers answer and whenever.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::input::{Input, start};
use crate::engine::backoff::{Backoff, Random};
use crate::engine::catalog::snapshot::{PartitionInfo, Snapshot, Topic};
use crate::engine::machine::{Answer, Call, Failure, Now, Outbox, Outcome, Tokens};
use crate::engine::produce::accumulator::Accumulator;
use crate::engine::produce::config::{Linger, Partitioning, SenderConfig};
use crate::engine::produce::gate::Pass;
use crate::engine::produce::outcome::{BatchDone, Fate};
use crate::engine::produce::packing::Packing;
use crate::engine::produce::queue::BatchSize;
use crate::engine::produce::sender::{Event, Sender};
use crate::error::{Code, Error, ErrorKind};
use crate::record::Record;
use crate::types::NodeId;
use crate::wire::batch::{Batch, Batches};
use crate::wire::calls::{Request, Response};
use crate::wire::compress::{Codec, Compression};
use crate::wire::messages::produce_response::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, PartitionProduceResponse, TopicProduceResponse,
};
use crate::wire::messages::{InitProducerIdResponse, MetadataResponse, ProduceResponse};
use crate::wire::uuid::Uuid;

const STEPS: usize = 300;
const PARTITIONS: usize = 3;
const TOPIC: &str = "t";
const TOPIC_ID: Uuid = Uuid::from_bytes([7; 16]);
const BUDGET: usize = 10_000;
const CHARGE: usize = 100;
const BATCH_SIZE: BatchSize = BatchSize { sent: 250, raw: 500 };
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(20);

/// Feeds the sender: every batch has one end, the budget is given back, and no two batches get the same sequence.
///
/// Input: a byte for each of acks and linger, then steps, each a byte for its kind and what the kind needs; see
/// `Bench::step`.
pub fn produce(input: &[u8]) {
    let mut input = Input::new(input);
    let mut bench = Bench::new(&mut input);
    for _ in 0..STEPS {
        if input.is_empty() {
            break;
        }
        bench.step(&mut input);
    }
    bench.settle();
}

/// A sender, and the calls that it made.
struct Bench {
    sender: Sender,
    accumulator: Arc<Accumulator>,
    tokens: Tokens,
    now: Now,
    idempotent: bool,
    calls: Vec<Call>,
    /// Batches that are away to be compressed.
    packings: Vec<Packing>,
    batches: Vec<Arc<BatchDone>>,
    /// What was sent under each partition, producer id, epoch and sequence.
    stamped: HashMap<Stamped, Bytes>,
    /// Those of which an attempt has no answer, so that it may come to a broker at any time.
    lost: HashSet<Stamped>,
    next_producer: i64,
    appended: u32,
    abandoned: bool,
}

impl Bench {
    fn new(input: &mut Input<'_>) -> Self {
        let acks = input.pick(&[-1, -1, -1, 1, 0]);
        let idempotent = acks == -1;
        let config = SenderConfig {
            acks,
            idempotent,
            transactional_id: None,
            follow_recreated: false,
            partitioning: Partitioning::default(),
            linger: input.pick(&[
                Linger::Fixed(Duration::ZERO),
                Linger::Fixed(Duration::from_millis(50)),
                Linger::Adaptive(Duration::from_millis(5)),
            ]),
            compression: Compression::new(input.pick(&[Codec::None, Codec::None, Codec::Lz4])),
            packed_aside: 120,
            max_request_size: 500,
            max_in_flight: 3,
            delivery_timeout: DELIVERY_TIMEOUT,
            request_timeout: REQUEST_TIMEOUT,
            backoff: Backoff { first: Duration::from_millis(100), max: Duration::from_secs(1) },
        };
        let accumulator = Arc::new(Accumulator::new(BUDGET, Arc::default()));
        accumulator.prepare(&TOPIC.into(), u32::try_from(PARTITIONS).unwrap_or(0));
        let snapshot = leaders([Some(1), Some(1), Some(2)]);
        Self {
            sender: Sender::new(config, Arc::clone(&accumulator), snapshot, Random::new(1)),
            accumulator,
            tokens: Tokens::default(),
            now: start().after(DELIVERY_TIMEOUT * 2),
            idempotent,
            calls: Vec::new(),
            packings: Vec::new(),
            batches: Vec::new(),
            stamped: HashMap::new(),
            lost: HashSet::new(),
            next_producer: 0,
            appended: 0,
            abandoned: false,
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.below(10) {
            0 | 1 => self.append(input.below(PARTITIONS)),
            2..=4 if !self.calls.is_empty() => {
                let call = self.calls.remove(input.below(self.calls.len()));
                let outcome = self.outcome(&call, input);
                self.answer(&call, outcome);
            }
            5 => self.pass(Duration::from_millis(u64::from(input.byte()) * 4)),
            6 => self.pass(Duration::from_millis(u64::from(input.i16().unsigned_abs()))),
            7 => {
                let leader = |input: &mut Input<'_>| input.pick(&[Some(1), Some(2), None]);
                let snapshot = leaders([leader(input), leader(input), leader(input)]);
                self.sender.catalog(self.now, snapshot);
            }
            8 => {
                let waiting = self.sender.flush(self.now);
                assert!(
                    waiting.iter().all(|done| self.knows(done)),
                    "a flush waits for a batch from nowhere"
                );
            }
            9 if input.byte() == 255 => {
                self.abandoned = true;
                let mut out = Outbox::default();
                self.sender.abandon(self.now, &ErrorKind::Closed { what: "producer" }.into(), &mut out);
                self.take(out);
            }
            _ => {}
        }
        self.tick();
    }

    fn append(&mut self, partition: usize) {
        if !self.accumulator.budget.try_take(CHARGE) {
            return;
        }
        let topic = self.accumulator.topic(TOPIC).expect("it was prepared");
        let queue = &topic.partitions[partition];
        self.appended += 1;
        let value = self.appended.to_be_bytes();
        let record = Record::new(TOPIC, &value[..]);
        match queue.append(Pass::FREE, self.now.instant, self.now.unix_ms, &record, CHARGE, BATCH_SIZE) {
            Ok(appended) => {
                if appended.news {
                    self.accumulator.announce(queue);
                }
                if !self.knows(&appended.done) {
                    self.batches.push(appended.done);
                }
            }
            Err(refused) => {
                assert!(self.abandoned, "{refused:?} before the end");
                self.accumulator.budget.give(CHARGE);
            }
        }
    }

    fn knows(&self, done: &Arc<BatchDone>) -> bool {
        self.batches.iter().any(|known| Arc::ptr_eq(known, done))
    }

    fn pass(&mut self, duration: Duration) {
        self.now = self.now.after(duration);
        std::mem::take(&mut self.packings).into_iter().rev().for_each(Packing::run);
        // As the link does, each call is failed at its deadline.
        let (late, left) =
            std::mem::take(&mut self.calls).into_iter().partition(|call| call.deadline <= self.now.instant);
        self.calls = left;
        let late: Vec<Call> = late;
        for call in late {
            self.answer(&call, Err(failure(true, true)));
        }
    }

    fn tick(&mut self) {
        let mut out = Outbox::default();
        self.sender.tick(self.now, &mut self.tokens, &mut out);
        self.take(out);
    }

    fn answer(&mut self, call: &Call, outcome: Outcome) {
        for (stamped, _) in stamps(call) {
            match &outcome {
                Err(failure) if !failure.maybe_sent => {}
                // Refused for its size, it may come in parts, of which the first has its sequence.
                Ok(answer) if is_too_large(answer, stamped.0) && !self.lost.contains(&stamped) => {
                    self.stamped.remove(&stamped);
                }
                Ok(answer) if matches!(answer.response, Response::Produce(_)) => {}
                _ => drop(self.lost.insert(stamped)),
            }
        }
        let mut out = Outbox::default();
        self.sender.answer(self.now, call.token, outcome, &mut out);
        self.take(out);
    }

    /// What a broker answers, or that it does not.
    fn outcome(&mut self, call: &Call, input: &mut Input<'_>) -> Outcome {
        let kind = input.below(8);
        if kind < 2 {
            return Err(failure(kind == 1, input.is()));
        }
        let response: Response = match &call.request {
            Request::InitProducerId(_) if kind < 7 => {
                // No id is given out twice: that is all that a producer relies on.
                self.next_producer += 1;
                InitProducerIdResponse {
                    error_code: code(input),
                    producer_id: if input.byte() == 255 { -1 } else { self.next_producer },
                    producer_epoch: input.pick(&[0, 0, 0, i16::MAX - 2, i16::MAX]),
                    ..Default::default()
                }
                .into()
            }
            Request::Produce(request) if kind < 7 => {
                let asked = request.topic_data.iter().flat_map(|topic| &topic.partition_data);
                let answers: Vec<PartitionProduceResponse> =
                    asked.filter_map(|asked| judged(asked.index, input)).collect();
                let topic = TopicProduceResponse {
                    topic_id: TOPIC_ID,
                    partition_responses: answers,
                    ..Default::default()
                };
                ProduceResponse { responses: vec![topic], ..Default::default() }.into()
            }
            _ => MetadataResponse::default().into(),
        };
        Ok(Answer { node: NodeId(1), version: 13, response })
    }

    fn take(&mut self, out: Outbox<Event>) {
        self.sender.check();
        for call in out.calls {
            self.note(&call);
            self.calls.push(call);
        }
        for event in out.events {
            if let Event::Divided(divided) = event {
                let parts = divided.stretches.iter().map(|stretch| Arc::clone(&stretch.done));
                self.batches.extend(parts);
                self.accumulator.budget.give(divided.charged);
                divided.done.fate.set(Fate::Divided(divided.stretches));
                continue;
            }
            let completion = match event {
                Event::Completed(completion) => completion,
                Event::Pack(packing) => {
                    self.packings.push(packing);
                    continue;
                }
                _ => continue,
            };
            assert!(self.knows(&completion.done), "a batch from nowhere has ended");
            self.accumulator.budget.give(completion.charged);
            if let Some(spare) = completion.spare {
                self.accumulator.recycle(spare);
            }
            completion.done.fate.set(Fate::Ended(completion.outcome));
        }
    }

    /// A sequence stands for the same batch however often it is sent.
    fn note(&mut self, call: &Call) {
        for (stamped, batch) in stamps(call) {
            batch.verify_crc().expect("the right checksum");
            assert_eq!(stamped.1 >= 0, self.idempotent, "a stamp where none belongs, or none");
            if self.idempotent {
                let sent = self.stamped.entry(stamped).or_insert_with(|| batch.bytes().clone());
                assert_eq!(sent, batch.bytes(), "two batches under {stamped:?}");
            }
        }
    }

    /// Without another answer everything ends, at its delivery timeout and a request later at the latest.
    fn settle(&mut self) {
        let end = self.now.after(DELIVERY_TIMEOUT + REQUEST_TIMEOUT * 2);
        while self.now.instant < end.instant {
            self.pass(Duration::from_millis(500));
            self.tick();
        }
        assert!(self.sender.is_idle(), "something is outstanding for ever");
        let ended = self.batches.iter().all(|done| done.of(0).is_some());
        assert!(ended, "a batch never ends");
        assert_eq!(self.accumulator.budget.used(), 0, "the budget is not given back");
    }
}

/// Partition, producer id, epoch and sequence of a batch.
type Stamped = (i32, i64, i16, i32);

/// The batches in a call.
fn stamps(call: &Call) -> Vec<(Stamped, Batch)> {
    let Request::Produce(request) = &call.request else { return Vec::new() };
    let partitions = request.topic_data.iter().flat_map(|topic| &topic.partition_data);
    let stamps = partitions.map(|partition| {
        let records = partition.records.clone().unwrap_or_default();
        let batch = Batches::new(records).next().expect("a batch").expect("a legal batch");
        let header = batch.header();
        let stamped = (partition.index, header.producer_id, header.producer_epoch, header.base_sequence);
        (stamped, batch)
    });
    stamps.collect()
}

/// Whether an answer says of a partition that its batch is too large.
fn is_too_large(answer: &Answer, index: i32) -> bool {
    let Response::Produce(response) = &answer.response else { return false };
    let mut partitions = response.responses.iter().flat_map(|topic| &topic.partition_responses);
    let codes = [Code::MESSAGE_TOO_LARGE, Code::RECORD_LIST_TOO_LARGE];
    partitions
        .find(|partition| partition.index == index)
        .is_some_and(|partition| codes.contains(&Code::new(partition.error_code)))
}

/// An answer for one partition; none at all, or one for another.
fn judged(index: i32, input: &mut Input<'_>) -> Option<PartitionProduceResponse> {
    let index = match input.below(16) {
        0 => return None,
        1 => index + 1,
        _ => index,
    };
    let current_leader = LeaderIdAndEpoch {
        leader_id: input.pick(&[-1, -1, 1, 2]),
        leader_epoch: i32::from(input.byte()),
        ..Default::default()
    };
    Some(PartitionProduceResponse {
        index,
        error_code: code(input),
        base_offset: i64::from(input.byte()) - 1,
        log_append_time_ms: -1,
        current_leader,
        record_errors: record_errors(input),
        ..Default::default()
    })
}

/// Now and then some records are to blame, and not all of them are there.
fn record_errors(input: &mut Input<'_>) -> Vec<BatchIndexAndErrorMessage> {
    let count = input.byte().saturating_sub(252);
    let record = |_| BatchIndexAndErrorMessage {
        batch_index: i32::from(input.byte() % 4) - 1,
        batch_index_error_message: None,
        ..Default::default()
    };
    (0..count).map(record).collect()
}

/// Half of all answers are good, and the others have any code.
fn code(input: &mut Input<'_>) -> i16 {
    match input.byte() {
        0..128 => 0,
        code => i16::from(code) - 129,
    }
}

fn failure(maybe_sent: bool, is_retriable: bool) -> Failure {
    let error: Error = if is_retriable {
        ErrorKind::Timeout { what: "Produce".into(), after: REQUEST_TIMEOUT, setting: "request_timeout" }
            .into()
    } else {
        ErrorKind::Closed { what: "client" }.into()
    };
    Failure { maybe_sent, error }
}

fn leaders(leaders: [Option<i32>; PARTITIONS]) -> Arc<Snapshot> {
    let partitions = leaders.into_iter().zip(0..).map(|(leader, index)| {
        let (replicas, isr, offline) = (Vec::new(), Vec::new(), Vec::new());
        let leader = leader.map(NodeId);
        (index, PartitionInfo { leader, leader_epoch: Some(1), replicas, isr, offline })
    });
    let partitions = partitions.collect();
    let topic = Topic { name: TOPIC.into(), id: Some(TOPIC_ID), internal: false, partitions };
    Arc::new(Snapshot::of_topics([topic]))
}
