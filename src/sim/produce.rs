//! An idempotent producer under faults: nothing acknowledged is lost, nothing is there twice, the order is kept.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    client::SimClient,
    faults,
    world::{PARTITIONS, Role, TOPIC, World},
};
use crate::{
    engine::{
        backoff::{Backoff, Random},
        machine::{Answer, Now, Outbox, Outcome, Tokens, earlier},
        produce::{
            accumulator::Accumulator,
            config::{Linger, SenderConfig},
            queue::{BatchDone, Written},
            sender::{Event, Sender},
        },
    },
    error::{Code, Error},
    record::Record,
    types::TopicName,
    wire::{
        batch::Batches,
        calls::Response,
        compress::{Codec, Compression},
    },
};

const BUDGET: usize = 64 << 10;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// No delivery takes longer; many worlds have less patience.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(30);

/// A record that was taken.
#[derive(Debug)]
struct Taken {
    partition: usize,
    value: String,
    done: Arc<BatchDone>,
    index: u32,
}

/// The producer and its workload.
#[derive(Debug)]
struct Workload {
    sender: Sender,
    accumulator: Arc<Accumulator>,
    tokens: Tokens,
    random: Random,
    taken: Vec<Taken>,
    left: usize,
    next: Instant,
}

/// Sends records while things go wrong, then lets everything come to rest, and judges.
pub(super) fn scenario(world: &mut World) {
    let mut client = world.client();
    let topic = TopicName::from(TOPIC);
    client.want(world.now, &topic);
    let mut workload = Workload::new(world, &client);
    let end = world.now.instant + Duration::from_secs(120);
    world.run(&mut workload, &mut client, end, true);
    faults::heal(world);
    // Liveness: once nothing goes wrong, everything is settled within the delivery timeout and a request.
    let limit = world.now.instant + DELIVERY_TIMEOUT + Duration::from_secs(120);
    world.run(&mut workload, &mut client, limit, false);
    assert!(workload.is_settled(), "not everything is settled once nothing goes wrong any more");
    judge(world, &workload);
}

impl Workload {
    fn new(world: &mut World, client: &SimClient) -> Self {
        let mut random = Random::new(world.random.next_u64());
        let second = Duration::from_secs(1);
        let config = SenderConfig {
            acks: -1,
            idempotent: true,
            linger: if random.below(2) == 0 {
                Linger::Fixed(Duration::from_millis(random.below(20)))
            } else {
                Linger::Adaptive(Duration::from_millis(5))
            },
            compression: Compression::new(Codec::None),
            max_request_size: 4 << 10,
            max_in_flight: 1 + random.below(5) as usize,
            delivery_timeout: REQUEST_TIMEOUT + Duration::from_secs(1 + random.below(25)),
            request_timeout: REQUEST_TIMEOUT,
            backoff: Backoff { first: second / 10, max: second },
        };
        let accumulator = Arc::new(Accumulator::new(BUDGET));
        accumulator.prepare(&TOPIC.into(), PARTITIONS as u32);
        let seed = Random::new(random.next_u64());
        let sender = Sender::new(config, Arc::clone(&accumulator), client.snapshot(), seed);
        let (tokens, taken, next) = (Tokens::default(), Vec::new(), world.now.instant);
        Self { sender, accumulator, tokens, random, taken, left: 400, next }
    }

    /// Offers a burst of records, as far as there is room.
    fn offer(&mut self, now: Now) {
        let topic = self.accumulator.topic(TOPIC).unwrap();
        for _ in 0..1 + self.random.below(8) {
            let partition = self.random.below(PARTITIONS as u64) as usize;
            let value = format!("{partition}/{}", self.taken.len());
            let queue = &topic.partitions[partition];
            if self.left == 0 || !self.accumulator.budget.try_take(100) {
                break;
            }
            let record = Record::new(TOPIC, &value);
            let appended = queue.append(now.instant, now.unix_ms, &record, 100, 400).unwrap();
            if appended.news {
                self.accumulator.announce(queue);
            }
            self.left -= 1;
            self.taken.push(Taken { partition, value, done: appended.done, index: appended.index });
        }
        self.next = now.instant + Duration::from_millis(self.random.below(700));
    }
}

impl Role for Workload {
    fn tick(&mut self, now: Now, client: &mut SimClient, met: &mut dyn FnMut(&'static str)) {
        if self.left > 0 && self.next <= now.instant {
            self.offer(now);
        }
        let mut out = Outbox::default();
        if client.take_changed() {
            self.sender.catalog(now, client.snapshot());
        }
        while let Some((token, outcome)) = client.take_outcome() {
            note_answer(&outcome, met);
            self.sender.answer(now, token, outcome, &mut out);
            self.sender.check();
        }
        self.sender.tick(now, &mut self.tokens, &mut out);
        self.sender.check();
        for call in out.calls {
            client.submit(now, call);
        }
        for event in out.events {
            match event {
                Event::Completed(completion) => {
                    self.accumulator.budget.give(completion.charged);
                    if let Some(spare) = completion.spare {
                        self.accumulator.recycle(spare);
                    }
                    let path = path(&completion.outcome);
                    if completion.done.outcome.set(completion.outcome) {
                        met(path);
                    }
                }
                Event::RefreshMetadata => client.refresh(now),
                Event::LeaderChanged(hint) => client.leader_changed(now, hint),
                Event::Retried(_) => met("a batch is sent again"),
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let next = (self.left > 0).then_some(self.next);
        earlier(next, self.sender.deadline())
    }

    fn is_settled(&self) -> bool {
        self.left == 0 && self.sender.is_idle()
    }
}

/// Notes what an answer said, or how it was missed.
fn note_answer(outcome: &Outcome, met: &mut dyn FnMut(&'static str)) {
    match outcome {
        Ok(Answer { response: Response::Produce(response), .. }) => {
            let partitions = response.responses.iter().flat_map(|topic| &topic.partition_responses);
            let codes = partitions.map(|partition| Code::new(partition.error_code));
            codes.filter_map(Code::name).for_each(met);
        }
        Ok(_) => met("an answer to another request"),
        Err(failure) if failure.maybe_sent => met("no answer: maybe sent"),
        Err(_) => met("no answer: not sent"),
    }
}

fn path(outcome: &Result<Written, Error>) -> &'static str {
    match outcome {
        Ok(Written { base_offset: Some(_), .. }) => "acked",
        Ok(Written { base_offset: None, .. }) => "acked without an offset",
        Err(error) if error.maybe_written() => "failed: maybe written",
        Err(error) if error.code() == Some(Code::OUT_OF_ORDER_SEQUENCE_NUMBER) => "failed: out of order",
        Err(_) => "failed: not written",
    }
}

/// Compares what the producer was told with what the partitions hold.
fn judge(world: &mut World, workload: &Workload) {
    let mut epochs = 0;
    for partition in 0..PARTITIONS {
        let log = world.broker.log_bytes(TOPIC, partition as i32).expect("a log");
        let mut found: Vec<(i64, String)> = Vec::new();
        for batch in Batches::new(log) {
            let batch = batch.expect("a batch");
            batch.verify_crc().expect("its checksum");
            epochs = epochs.max(batch.header().producer_epoch);
            let mut cursor = batch.cursor(usize::MAX).expect("its records");
            for record in cursor.records() {
                let record = record.expect("a record");
                let value = String::from_utf8(record.value.expect("a value").to_vec()).expect("text");
                found.push((record.offset, value));
            }
        }
        let places: HashMap<&str, i64> =
            found.iter().map(|(offset, value)| (value.as_str(), *offset)).collect();
        assert_eq!(places.len(), found.len(), "a record is in partition {partition} twice");
        let order: Vec<usize> = found.iter().map(|(_, value)| number(value)).collect();
        assert!(order.is_sorted(), "partition {partition} is out of order: {order:?}");
        for taken in workload.taken.iter().filter(|taken| taken.partition == partition) {
            let place = places.get(taken.value.as_str()).copied();
            match taken.done.outcome.get().expect("an outcome") {
                Ok(Written { base_offset: Some(base), .. }) => {
                    assert_eq!(
                        place,
                        Some(base + i64::from(taken.index)),
                        "{} is not where it was acked",
                        taken.value
                    );
                }
                Ok(Written { base_offset: None, .. }) => {
                    assert!(place.is_some(), "{} was acked and is not there", taken.value);
                }
                Err(error) if error.maybe_written() => {}
                Err(error) => assert_eq!(place, None, "{} is there and was failed: {error}", taken.value),
            }
        }
    }
    if epochs > 0 {
        world.meet("path: an epoch was bumped");
    }
    assert_eq!(workload.accumulator.budget.used(), 0, "the budget is not given back");
    let by_partition = workload.taken.iter().fold(BTreeMap::new(), |mut counts, taken| {
        *counts.entry(taken.partition).or_insert(0) += 1;
        counts
    });
    assert_eq!(by_partition.values().sum::<usize>(), 400);
}

fn number(value: &str) -> usize {
    value.split_once('/').and_then(|(_, number)| number.parse().ok()).expect("a number")
}
