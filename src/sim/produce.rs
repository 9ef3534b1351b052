//! An idempotent producer under faults: nothing acknowledged is lost, nothing is there twice, the order is kept, and
//! all is settled in time.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    answers,
    book::{Book, Logged},
    client::SimClient,
    packer::Packer,
    world::{PARTITIONS, TOPIC, World},
};
use crate::{
    engine::{
        backoff::{Backoff, Random},
        machine::{Now, Outbox, Tokens, earlier},
        produce::{
            accumulator::Accumulator,
            config::{Linger, Partitioning, SenderConfig},
            gate::Pass,
            outcome::{BatchDone, Fate, Written},
            queue::BatchSize,
            sender::{Event, Sender},
        },
    },
    error::{Code, Error, ErrorKind},
    record::Record,
    types::TopicName,
    wire::compress::{Codec, Compression},
};

pub(super) const BUDGET: usize = 64 << 10;
pub(super) const BATCH_SIZE: BatchSize = BatchSize { sent: 400, raw: 4 << 10 };
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// No delivery takes longer; many worlds have less patience.
pub(super) const DELIVERY_TIMEOUT: Duration = Duration::from_secs(30);
/// When an outcome has to be known, beyond the delivery timeout: time moves in steps.
const SLACK: Duration = Duration::from_millis(1);

/// A record that was taken.
#[derive(Debug)]
struct Taken {
    partition: usize,
    value: String,
    done: Arc<BatchDone>,
    index: u32,
    /// When its outcome has to be known.
    until: Instant,
}

/// The producer and its workload.
#[derive(Debug)]
pub(super) struct Producer {
    /// Tells its records from those of others.
    id: u64,
    delivery_timeout: Duration,
    /// The first record whose outcome was not known when it was last looked for.
    first_open: usize,
    sender: Sender,
    accumulator: Arc<Accumulator>,
    tokens: Tokens,
    random: Random,
    taken: Vec<Taken>,
    left: usize,
    next: Instant,
    packer: Packer,
}

impl Producer {
    pub(super) fn new(world: &mut World, client: &mut SimClient, records: usize) -> Self {
        client.want(world.now, &TopicName::from(TOPIC));
        let mut random = Random::new(world.random.next_u64());
        let config = config(&mut random);
        let delivery_timeout = config.delivery_timeout;
        let accumulator = Arc::new(Accumulator::new(BUDGET, Arc::default()));
        accumulator.prepare(&TOPIC.into(), PARTITIONS as u32);
        let seed = Random::new(random.next_u64());
        let sender = Sender::new(config, Arc::clone(&accumulator), client.snapshot(), seed);
        let (tokens, taken, next) = (Tokens::default(), Vec::new(), world.now.instant);
        let (id, left) = (client.owner(), records);
        let (first_open, packer) = (0, Packer::default());
        Self {
            id,
            delivery_timeout,
            first_open,
            sender,
            accumulator,
            tokens,
            random,
            taken,
            left,
            next,
            packer,
        }
    }

    /// Offers a burst of records, as far as there is room.
    fn offer(&mut self, now: Now) {
        let topic = self.accumulator.topic(TOPIC).unwrap();
        for _ in 0..1 + self.random.below(8) {
            let partition = match self.random.below(2) {
                0 => self.random.below(PARTITIONS as u64) as usize,
                _ => topic.pick(&mut self.random).map_or(0, |partition| partition.0 as usize),
            };
            let value = format!("{partition}/{}/{}", self.id, self.taken.len());
            let queue = &topic.partitions[partition];
            if self.left == 0 || !self.accumulator.budget.try_take(100) {
                break;
            }
            let record = match self.random.below(16) {
                // A compacted topic does not take it.
                0 => Record::new(TOPIC, &value),
                _ => Record::new(TOPIC, &value).key("key"),
            };
            let appended =
                queue.append(Pass::FREE, now.instant, now.unix_ms, &record, 100, BATCH_SIZE).unwrap();
            if appended.news {
                self.accumulator.announce(queue);
            }
            self.left -= 1;
            let until = now.instant + self.delivery_timeout + SLACK;
            self.taken.push(Taken { partition, value, done: appended.done, index: appended.index, until });
        }
        self.next = now.instant + Duration::from_millis(1 + self.random.below(700));
    }

    /// Takes outcomes and news from its client, does what is due, and makes calls.
    pub(super) fn tick(&mut self, now: Now, client: &mut SimClient, met: &mut Vec<String>) {
        if self.left > 0 && self.next <= now.instant {
            self.offer(now);
        }
        self.packer.tick(now, &mut self.random, true, met);
        let mut out = Outbox::default();
        if client.take_changed() {
            self.sender.catalog(now, client.snapshot());
        }
        while let Some((token, outcome)) = client.take_outcome() {
            answers::note(&outcome, met);
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
                    if completion.done.fate.set(Fate::Ended(completion.outcome)) {
                        met.push(path.to_owned());
                    }
                }
                Event::Divided(divided) => {
                    self.accumulator.budget.give(divided.charged);
                    divided.done.fate.set(Fate::Divided(divided.stretches));
                    met.push("produce: a batch is taken apart".to_owned());
                }
                Event::RefreshMetadata => client.refresh(now),
                Event::LeaderChanged(hint) => client.leader_changed(now, hint),
                Event::Pack(packing) => self.packer.pack(now, &mut self.random, packing),
                Event::Join(..) => {}
                Event::Retried(_) => met.push("produce: a batch is sent again".to_owned()),
            }
        }
        self.check_deadlines(now);
    }

    /// Every delivery ends in time, whatever goes wrong.
    fn check_deadlines(&mut self, now: Now) {
        while let Some(taken) = self.taken.get(self.first_open) {
            if taken.done.of(taken.index).is_none() {
                assert!(now.instant <= taken.until, "{} has no outcome in time", taken.value);
                return;
            }
            self.first_open += 1;
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let next = (self.left > 0).then_some(self.next);
        earlier(earlier(next, self.packer.deadline()), self.sender.deadline())
    }

    /// Whether everything that was asked for has been answered.
    pub(super) fn is_settled(&self) -> bool {
        self.left == 0 && self.sender.is_idle()
    }

    /// Compares what the producer was told with what the partitions hold.
    pub(super) fn judge(&self, logs: &[Vec<Logged>]) {
        for (partition, log) in logs.iter().enumerate() {
            let own: Vec<&Logged> = log.iter().filter(|logged| producer(&logged.value) == self.id).collect();
            let places: HashMap<&str, i64> =
                own.iter().map(|logged| (logged.value.as_str(), logged.offset)).collect();
            assert_eq!(places.len(), own.len(), "a record is in partition {partition} twice");
            let order: Vec<usize> = own.iter().map(|logged| number(&logged.value)).collect();
            assert!(order.is_sorted(), "partition {partition} is out of order: {order:?}");
            for taken in self.taken.iter().filter(|taken| taken.partition == partition) {
                taken.judge(places.get(taken.value.as_str()).copied());
            }
        }
        assert_eq!(self.accumulator.budget.used(), 0, "the budget is not given back");
        assert_eq!(self.left, 0, "not all records were taken");
    }
}

impl Taken {
    fn judge(&self, place: Option<i64>) {
        let value = &self.value;
        match self.done.of(self.index).expect("an outcome") {
            Ok(Written { base_offset: Some(offset), .. }) => {
                assert_eq!(place, Some(offset), "{value} is not where it was acked");
            }
            Ok(Written { base_offset: None, .. }) => {
                assert!(place.is_some(), "{value} was acked and is not there");
            }
            Err(error) if error.maybe_written() => {}
            Err(error) => assert_eq!(place, None, "{value} is there and was failed: {error}"),
        }
    }
}

/// How a producer writes.
pub(super) fn config(random: &mut Random) -> SenderConfig {
    let second = Duration::from_secs(1);
    let delivery_timeout = REQUEST_TIMEOUT + Duration::from_secs(1 + random.below(25));
    SenderConfig {
        acks: -1,
        idempotent: true,
        transactional_id: None,
        follow_recreated: false,
        partitioning: Partitioning { adaptive: true, availability_timeout: Some(second), rack: None },
        linger: if random.below(2) == 0 {
            Linger::Fixed(Duration::from_millis(random.below(20)))
        } else {
            Linger::Adaptive(Duration::from_millis(5))
        },
        compression: Compression::new([Codec::None, Codec::Lz4, Codec::Snappy][random.below(3) as usize]),
        packed_aside: 100 + random.below(300) as usize,
        max_request_size: 4 << 10,
        max_in_flight: 1 + random.below(5) as usize,
        delivery_timeout,
        request_timeout: REQUEST_TIMEOUT,
        backoff: Backoff { first: second / 10, max: second },
    }
}

fn path(outcome: &Result<Written, Error>) -> &'static str {
    match outcome {
        Ok(Written { base_offset: Some(_), .. }) => "produce: acked",
        Ok(Written { base_offset: None, .. }) => "produce: acked without an offset",
        Err(error) if error.maybe_written() => "produce: failed, maybe written",
        Err(error) if error.code() == Some(Code::OUT_OF_ORDER_SEQUENCE_NUMBER) => {
            "produce: failed, out of order"
        }
        Err(error) if error.code() == Some(Code::INVALID_RECORD) => "produce: a record is refused",
        Err(error) if matches!(error.kind(), ErrorKind::RecordTooLarge { .. }) => {
            "produce: a record is too large"
        }
        Err(_) => "produce: failed, not written",
    }
}

/// Judges all producers.
pub(super) fn judge<'a>(world: &mut World, producers: impl Iterator<Item = &'a Producer>) {
    let logs: Vec<Vec<Logged>> = (0..PARTITIONS as i32).map(|index| Book::log(world, index)).collect();
    producers.for_each(|producer| producer.judge(&logs));
    if logs.iter().flatten().any(|logged| logged.epoch > 0) {
        world.meet("produce: an epoch was bumped");
    }
}

/// The parts of a value: partition, producer, number.
fn part(value: &str, place: usize) -> &str {
    value.split('/').nth(place).expect("a value of ours")
}

fn producer(value: &str) -> u64 {
    part(value, 1).parse().expect("a producer")
}

fn number(value: &str) -> usize {
    part(value, 2).parse().expect("a number")
}
