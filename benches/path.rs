//! What a record costs on its whole way through the client: its processor time and allocations, and the bytes on the
//! wire, against the least that any client needs: one copy and one CRC-32C of the same bytes.
//!
//! `cargo bench --bench path --features testing`. The client runs alone on this thread and speaks over loopback TCP to a
//! broker that does next to nothing, then to the embedded one; both have threads of their own, and only this thread is
//! measured. Each case is measured in turn with the floor, and the best round of each counts. The process fails if
//! the client allocates more than the limit.

#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a bench")]
#![allow(clippy::disallowed_methods, reason = "a bench reads the clock and starts threads")]

#[path = "support/cpu.rs"]
mod cpu;
#[path = "support/events.rs"]
mod events;
#[path = "support/null_broker.rs"]
mod null_broker;

use std::collections::VecDeque;
use std::fmt;
use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use events::events;
use milena::testing::Cluster;
use milena::{Client, Compression, Config, Consumer, Delivery, Isolation, Producer, Record};
use null_broker::NullBroker;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Notify, watch};

const TOPIC: &str = "bench";
const PARTITIONS: i32 = 6;
/// Bytes of values in a round: many batches, so that what is done once for each is seen too.
const ROUND: usize = 32 << 20;
const ROUNDS: usize = 8;
/// The embedded broker keeps what it is sent.
const EMBEDDED_ROUNDS: usize = 2;
/// Deliveries that wait, in the case that awaits each one.
const BEHIND: usize = 16_384;
const TASKS: usize = 10_000;
/// Different values: enough that the copy does not come from the innermost cache.
const VALUES: usize = 4096;
/// Allocations per record of [`LIMITED`] bytes. What is allocated is allocated per batch and per request, so larger
/// records share it with fewer.
const ALLOCATION_LIMIT: f64 = 0.02;
const LIMITED: usize = 100;

const LOADS: [Load; 4] = [
    Load { bytes: 100, codec: Compression::None },
    Load { bytes: 100, codec: Compression::Lz4 },
    Load { bytes: 1024, codec: Compression::None },
    Load { bytes: 1024, codec: Compression::Lz4 },
];

const CASES: [&str; 5] = [
    "produce: enqueue, flush",
    "produce: enqueue, await behind",
    "produce: 10,000 × send",
    "consume: next_batch",
    "consume: next",
];

#[derive(Clone, Copy)]
struct Load {
    bytes: usize,
    codec: Compression,
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} B, {:?}", self.bytes, self.codec)
    }
}

fn main() -> ExitCode {
    // `cargo bench -- "1024 B"` measures what has this in its name.
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let null = NullBroker::start(PARTITIONS, None).expect("a free port on loopback");
    let mut passed = true;
    for load in LOADS {
        let title = format!("null broker, {load}");
        if is_asked_for(&title, &only) {
            null.forget();
            passed &= Bench::new(title, load, &[null.address()], ROUNDS, &only).run(1);
        }
    }
    for load in LOADS {
        let title = format!("embedded broker, {load}");
        if is_asked_for(&title, &only) {
            let embedded = Embedded::start();
            let mut bench = Bench::new(title, load, &embedded.bootstrap, EMBEDDED_ROUNDS, &only);
            passed &= bench.run(EMBEDDED_ROUNDS + 1);
        }
    }
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn is_asked_for(title: &str, only: &str) -> bool {
    CASES.iter().any(|case| format!("{title}, {case}").contains(only))
}

/// The embedded broker, on a thread of its own.
struct Embedded {
    bootstrap: Vec<String>,
    _runtime: Runtime,
    _cluster: Cluster,
}

impl Embedded {
    fn start() -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let topic = Cluster::builder().topic(TOPIC, PARTITIONS as usize);
        let cluster = runtime.block_on(topic.start()).unwrap();
        Self { bootstrap: cluster.bootstrap(), _runtime: runtime, _cluster: cluster }
    }
}

/// One load on one broker.
struct Bench<'a> {
    title: String,
    only: &'a str,
    rounds: usize,
    values: Values,
    runtime: Runtime,
    client: Client,
    producer: Producer,
    floor: Case,
    cases: Vec<Case>,
}

impl<'a> Bench<'a> {
    fn new(title: String, load: Load, bootstrap: &[String], rounds: usize, only: &'a str) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let (client, producer) = runtime.block_on(async {
            let client = Client::connect(Config::new(bootstrap)).await.unwrap();
            let producer = client.producer().compression(load.codec).build().unwrap();
            (client, producer)
        });
        Self {
            title,
            only,
            rounds,
            values: Values::new(load.bytes),
            runtime,
            client,
            producer,
            floor: Case::new("copy and checksum"),
            cases: Vec::new(),
        }
    }

    /// All cases, after `fill` rounds' worth of records were sent to be read. Whether all kept the limits.
    fn run(&mut self, fill: usize) -> bool {
        for _ in 0..fill {
            self.runtime.block_on(enqueue(&self.producer, &self.values));
        }
        let [enqueueing, awaiting, sending, borrowing, owning] = CASES;
        let (producer, values) = (self.producer.clone(), self.values.clone());
        self.case(enqueueing, |runtime| runtime.block_on(enqueue(&producer, &values)));
        self.case(awaiting, |runtime| runtime.block_on(await_behind(&producer, &values)));
        let mut senders = Senders::start(&self.runtime, &producer, &values);
        self.case(sending, |runtime| runtime.block_on(senders.send()));
        let consumer = self.consumer();
        self.case(borrowing, |runtime| runtime.block_on(borrow(&consumer, &values)));
        drop(consumer);
        let consumer = self.consumer();
        self.case(owning, |runtime| runtime.block_on(own(&consumer, &values)));
        println!("\n{}: {} records in each of {} rounds", self.title, values.count, self.rounds);
        self.floor.report(&self.floor, &values, self.rounds);
        let mut passed = true;
        for case in &self.cases {
            passed &= case.report(&self.floor, &values, self.rounds);
        }
        passed
    }

    fn case(&mut self, name: &'static str, mut work: impl FnMut(&Runtime)) {
        if !format!("{}, {name}", self.title).contains(self.only) {
            return;
        }
        let mut case = Case::new(name);
        for round in 0..=self.rounds {
            self.floor.measure(round, &self.client, || self.values.copy_and_checksum());
            case.measure(round, &self.client, || work(&self.runtime));
        }
        self.cases.push(case);
    }

    /// One that fetches ahead much less than a round reads, so that each round fetches what it reads.
    fn consumer(&self) -> Consumer {
        let reader = self.client.reader().topics([TOPIC]).isolation(Isolation::ReadUncommitted);
        let _inside = self.runtime.enter();
        reader.buffered_bytes(ROUND / 4).build().unwrap()
    }
}

/// What is sent in a round.
#[derive(Clone)]
struct Values {
    bytes: Arc<[u8]>,
    size: usize,
    count: usize,
}

impl Values {
    fn new(size: usize) -> Self {
        Self { bytes: events(size * VALUES).into(), size, count: ROUND / size / TASKS * TASKS }
    }

    fn get(&self, index: usize) -> &[u8] {
        let at = index % VALUES * self.size;
        &self.bytes[at..at + self.size]
    }

    /// The least that any client does with these values, batch by batch.
    fn copy_and_checksum(&self) {
        let mut batch = Vec::with_capacity(256 << 10);
        for index in 0..self.count {
            let value = self.get(index);
            if batch.len() + value.len() > batch.capacity() {
                black_box(crc32c::crc32c(black_box(&batch)));
                batch.clear();
            }
            batch.extend_from_slice(value);
        }
        black_box(crc32c::crc32c(black_box(&batch)));
    }
}

/// As a user does who lets the budget alone hold him back.
async fn enqueue(producer: &Producer, values: &Values) {
    for index in 0..values.count {
        let _delivery = producer.enqueue(Record::new(TOPIC, values.get(index))).await.unwrap();
    }
    producer.flush().await.unwrap();
}

/// As a user does who wants to know of each record, and works on meanwhile.
async fn await_behind(producer: &Producer, values: &Values) {
    let mut deliveries: VecDeque<Delivery> = VecDeque::with_capacity(BEHIND);
    for index in 0..values.count {
        if deliveries.len() == BEHIND {
            deliveries.pop_front().unwrap().await.unwrap();
        }
        deliveries.push_back(producer.enqueue(Record::new(TOPIC, values.get(index))).await.unwrap());
    }
    for delivery in deliveries {
        delivery.await.unwrap();
    }
}

async fn borrow(consumer: &Consumer, values: &Values) {
    let (mut count, mut bytes) = (0, 0);
    while count < values.count {
        let batch = consumer.next_batch().await.unwrap().unwrap();
        for record in batch.records() {
            bytes += record.unwrap().value().map_or(0, <[u8]>::len);
            count += 1;
        }
    }
    assert_eq!(black_box(bytes), count * values.size);
}

async fn own(consumer: &Consumer, values: &Values) {
    let mut bytes = 0;
    for _ in 0..values.count {
        let message = consumer.next().await.unwrap().unwrap();
        bytes += message.value().map_or(0, <[u8]>::len);
    }
    assert_eq!(black_box(bytes), values.count * values.size);
}

/// Many tasks that each send one record after the other, as the handlers of a server do.
struct Senders {
    start: watch::Sender<()>,
    done: Arc<(AtomicUsize, Notify)>,
}

impl Senders {
    fn start(runtime: &Runtime, producer: &Producer, values: &Values) -> Self {
        let (start, _) = watch::channel(());
        let done = Arc::<(AtomicUsize, Notify)>::default();
        for task in 0..TASKS {
            let (producer, values) = (producer.clone(), values.clone());
            let (mut start, done) = (start.subscribe(), Arc::clone(&done));
            runtime.spawn(async move {
                while start.changed().await.is_ok() {
                    for index in 0..values.count / TASKS {
                        producer.send(Record::new(TOPIC, values.get(task + index))).await.unwrap();
                    }
                    if done.0.fetch_add(1, Ordering::Relaxed) + 1 == TASKS {
                        done.1.notify_one();
                    }
                }
            });
        }
        Self { start, done }
    }

    async fn send(&mut self) {
        self.done.0.store(0, Ordering::Relaxed);
        self.start.send(()).unwrap();
        self.done.1.notified().await;
    }
}

/// What was measured of one way to do it: the time of the best round, and the rest of all rounds together.
struct Case {
    name: &'static str,
    time: Duration,
    allocations: u64,
    bytes_out: u64,
    bytes_in: u64,
}

impl Case {
    fn new(name: &'static str) -> Self {
        Self { name, time: Duration::MAX, allocations: 0, bytes_out: 0, bytes_in: 0 }
    }

    /// Does a round's work. Round 0 warms up and does not count.
    fn measure(&mut self, round: usize, client: &Client, work: impl FnOnce()) {
        let (before, start) = (on_the_wire(client), cpu::thread_time());
        let allocated = allocation_counter::measure(work);
        let time = cpu::thread_time().saturating_sub(start);
        let after = on_the_wire(client);
        if round > 0 {
            self.time = self.time.min(time);
            self.allocations += allocated.count_total;
            self.bytes_out += after.0 - before.0;
            self.bytes_in += after.1 - before.1;
        }
    }

    /// Prints a line; whether the limit on allocations was kept.
    fn report(&self, floor: &Self, values: &Values, rounds: usize) -> bool {
        let micros = self.time.as_secs_f64() * 1e6 / values.count as f64;
        let ratio = self.time.as_secs_f64() / floor.time.as_secs_f64();
        let per_record = |sum: u64| sum as f64 / (values.count * rounds) as f64;
        let (allocations, out, inward) =
            (per_record(self.allocations), per_record(self.bytes_out), per_record(self.bytes_in));
        let passed = values.size > LIMITED || allocations <= ALLOCATION_LIMIT;
        let verdict = if passed { "PASS" } else { "FAIL" };
        println!(
            "{verdict}  {:<32} {micros:>7.3} µs {ratio:>7.2} x {allocations:>8.4} allocations \
             {out:>8.1} B out {inward:>8.1} B in",
            self.name
        );
        passed
    }
}

/// The bytes that a client has written and read.
fn on_the_wire(client: &Client) -> (u64, u64) {
    let metrics = client.metrics();
    metrics.brokers.values().fold((0, 0), |sum, broker| (sum.0 + broker.bytes_out, sum.1 + broker.bytes_in))
}
