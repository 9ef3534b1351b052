//! What 10,000 partitions cost that a member of a group is assigned and nobody writes to: processor time and bytes.
//!
//! `cargo bench --bench idle --features testing`. The client runs alone on this thread and speaks over loopback TCP to the
//! embedded broker, which has a thread of its own. It is measured for [`TIME`], once it has joined, knows where to read, and has
//! committed that. The process fails if a limit is passed.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a bench")]
#![allow(clippy::disallowed_methods, reason = "a bench reads the clock")]

#[path = "support/cpu.rs"]
mod cpu;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use cpu::thread_time;
use milena::testing::Cluster;
use milena::{Client, Config, Consumer, TopicPartition};
use tokio::runtime::Builder;

const TOPIC: &str = "idle";
const PARTITIONS: usize = 10_000;
const TIME: Duration = Duration::from_secs(30);
/// Of both ways together.
const BYTES_PER_SECOND: f64 = 2_000.0;
/// Of one core.
const CORE: f64 = 0.01;

fn main() -> ExitCode {
    let broker = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let cluster = broker.block_on(Cluster::builder().topic(TOPIC, PARTITIONS).start()).unwrap();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let (client, consumer) = runtime.block_on(async {
        let client = Client::connect(Config::new(cluster.bootstrap())).await.unwrap();
        let consumer = client.consumer("idle").topics([TOPIC]).build().unwrap();
        (client, consumer)
    });
    runtime.block_on(until_all_are_read(&consumer));
    // Where it starts is committed once.
    runtime.block_on(consumer.commit()).unwrap();
    let (bytes, worked, start) = (bytes_of(&client), thread_time(), Instant::now());
    runtime.block_on(async {
        assert!(tokio::time::timeout(TIME, consumer.next()).await.is_err(), "nobody has written anything");
    });
    let seconds = start.elapsed().as_secs_f64();
    let rate = bytes_of(&client).saturating_sub(bytes) as f64 / seconds;
    let core = thread_time().saturating_sub(worked).as_secs_f64() / seconds;
    println!("{PARTITIONS} idle partitions of one member, for {seconds:.0} s:");
    let passed =
        [judge("bytes per second, both ways", rate, BYTES_PER_SECOND), judge("of a core", core, CORE)];
    if passed.iter().all(|kept| *kept) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn judge(what: &str, value: f64, limit: f64) -> bool {
    let kept = value <= limit;
    println!("  {} {value:.4} {what}, limit {limit}", if kept { "PASS" } else { "FAIL" });
    kept
}

async fn until_all_are_read(consumer: &Consumer) {
    let all: Vec<_> = (0..PARTITIONS as i32).map(|index| TopicPartition::new(TOPIC, index)).collect();
    while !all.iter().all(|partition| consumer.lag(partition).is_some()) {
        assert!(tokio::time::timeout(Duration::from_millis(200), consumer.next()).await.is_err());
    }
}

fn bytes_of(client: &Client) -> u64 {
    client.metrics().brokers.values().map(|broker| broker.bytes_in + broker.bytes_out).sum()
}
