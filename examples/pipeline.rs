//! The main job: every line of a text file travels from a producer through a cluster to a group of two consumers,
//! who check that all of them arrive, once, unchanged, and in order per key.
//!
//! ```text
//! cargo run --release --example pipeline [FILE]
//! ```
//!
//! Without `MILENA_BOOTSTRAP` (`host:port,host:port`) an embedded cluster of three brokers is started. `RUST_LOG` shows
//! what the client does (`RUST_LOG=milena=debug`).

#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "a program that measures and reports to a person"
)]

use std::{
    collections::HashMap,
    env, fs,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use milena::{Client, Config, Consumer, NewTopic, Position, Producer, Record, RecordRef, testing::Cluster};
use tokio::{sync::Barrier, task::JoinSet};
use tracing_subscriber::filter::{EnvFilter, LevelFilter};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A sizeable text that the repository holds anyway, and how often it is sent to make the run worth measuring.
const DEFAULT_FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/golden/java-4.4.0.tsv");
const DEFAULT_PASSES: u64 = 300;

const PARTITIONS: u32 = 6;
/// No record for this long means that records were lost.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::WARN.into()).from_env_lossy();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let job = Arc::new(Job::from_arguments()?);
    let cluster = match env::var("MILENA_BOOTSTRAP") {
        Ok(_) => None,
        Err(_) => Some(Cluster::builder().nodes(3).start().await?),
    };
    let bootstrap = match &cluster {
        Some(cluster) => cluster.bootstrap(),
        None => env::var("MILENA_BOOTSTRAP")?.split(',').map(str::to_owned).collect(),
    };
    let client = Client::connect(Config::new(&bootstrap).client_id("pipeline")).await?;
    let replication = client.admin().describe_cluster().await?.brokers.len().min(3);
    let topic =
        NewTopic::new(job.topic.as_str()).partitions(PARTITIONS).replication(u16::try_from(replication)?);
    for (_, created) in client.admin().create_topics([topic]).await? {
        created?;
    }

    let bars = MultiProgress::new();
    let style = ProgressStyle::with_template("{prefix:>9} {bar:40} {pos}/{len} {per_sec}")?;
    let bar = |name: &'static str| {
        bars.add(ProgressBar::new(job.total()).with_style(style.clone()).with_prefix(name))
    };
    let (sent, received) = (bar("produced"), bar("consumed"));
    let started = Instant::now();
    let ready = Barrier::new(3);
    let progress = Arc::new(Progress { started, received: AtomicU64::new(0), bar: received, ready });

    let mut members = JoinSet::new();
    for _ in 0..2 {
        members.spawn(consume(client.clone(), Arc::clone(&job), Arc::clone(&progress)));
    }
    let producer = client.producer().build()?;
    // A member that joins later would take partitions over, and what the first had in hand would come twice.
    tokio::select! {
        _ = progress.ready.wait() => {}
        Some(ended) = members.join_next() => {
            ended??;
            return Err("a member ended before it had anything to read".into());
        }
    }
    produce(&producer, &job, started, &sent).await?;
    producer.close().await?;
    let produced_in = started.elapsed();
    let mut tally = Tally::default();
    while let Some(member) = members.join_next().await {
        tally.merge(member??);
    }
    let consumed_in = started.elapsed();
    sent.finish();
    progress.bar.finish();

    report(&job, &client, &mut tally, produced_in, consumed_in);
    client.admin().delete_topics([job.topic.as_str()]).await?;
    client.close();
    if let Some(cluster) = cluster {
        cluster.shutdown().await;
    }
    tally.verify(&job)
}

/// What is to be sent.
struct Job {
    file: String,
    lines: Vec<String>,
    passes: u64,
    topic: String,
}

impl Job {
    fn from_arguments() -> Result<Self, Failure> {
        let (file, passes) = match env::args().nth(1) {
            Some(file) => (file, 1),
            None => (DEFAULT_FILE.to_owned(), DEFAULT_PASSES),
        };
        let text = fs::read_to_string(&file).map_err(|error| format!("{file}: {error}"))?;
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        if lines.is_empty() {
            return Err(format!("{file} holds no line").into());
        }
        let topic = format!("pipeline-{:08x}", RandomState::new().hash_one(std::process::id()) >> 32);
        Ok(Self { file, lines, passes, topic })
    }

    fn total(&self) -> u64 {
        self.lines.len() as u64 * self.passes
    }

    /// The sum of the checksums of all values: the same in any order, another for a lost, doubled or changed one.
    fn checksum(&self) -> u64 {
        let once = self.lines.iter().map(|line| u64::from(crc32c::crc32c(line.as_bytes()))).sum::<u64>();
        once.wrapping_mul(self.passes)
    }
}

struct Progress {
    started: Instant,
    received: AtomicU64,
    bar: ProgressBar,
    /// Passed when both members have their partitions.
    ready: Barrier,
}

/// Sends every line, keyed by its first word, with its number and the time in a header.
async fn produce(producer: &Producer, job: &Job, started: Instant, bar: &ProgressBar) -> Result<(), Failure> {
    let mut number = 0_u64;
    for _ in 0..job.passes {
        for line in &job.lines {
            let nanos = u64::try_from(started.elapsed().as_nanos())?;
            let origin = (u128::from(number) << 64 | u128::from(nanos)).to_be_bytes();
            let headers: [(&str, Option<&[u8]>); 1] = [("origin", Some(&origin))];
            let record = Record::new(&job.topic, line).key(key_of(line)).headers(&headers);
            // Each record's fate is told by the consumers below, so its delivery need not be awaited here.
            drop(producer.enqueue(record).await?);
            number += 1;
            if number.is_multiple_of(1_000) {
                bar.set_position(number);
            }
        }
    }
    producer.flush().await?;
    bar.set_position(number);
    Ok(())
}

fn key_of(line: &str) -> &str {
    line.split_whitespace().next().unwrap_or_default()
}

/// One member of the group: reads until both members together have seen everything.
async fn consume(client: Client, job: Arc<Job>, progress: Arc<Progress>) -> Result<Tally, Failure> {
    let consumer: Consumer = client
        .consumer(format!("{}-group", job.topic))
        .topics([job.topic.as_str()])
        .start_at(Position::Earliest)
        .build()?;
    let mut patience = tokio::time::interval(Duration::from_millis(10));
    while consumer.assignment().len() != PARTITIONS as usize / 2 {
        patience.tick().await;
        if progress.started.elapsed() > PATIENCE {
            return Err(format!("no even share of the partitions after {PATIENCE:?}").into());
        }
    }
    progress.ready.wait().await;
    let mut tally = Tally::default();
    let mut last = Instant::now();
    while progress.received.load(Ordering::Relaxed) < job.total() {
        let Ok(next) = tokio::time::timeout(Duration::from_millis(100), consumer.next_batch()).await else {
            if last.elapsed() > PATIENCE {
                return Err(format!(
                    "no record for {PATIENCE:?}, {} are missing",
                    job.total() - tally.records
                )
                .into());
            }
            continue;
        };
        let Some(batch) = next else { break };
        let batch = batch?;
        let now = u64::try_from(progress.started.elapsed().as_nanos())?;
        let before = tally.records;
        for record in batch.records() {
            tally.add(&record?, now)?;
        }
        progress.received.fetch_add(tally.records - before, Ordering::Relaxed);
        progress.bar.inc(tally.records - before);
        last = Instant::now();
    }
    consumer.close().await?;
    Ok(tally)
}

/// What one member saw.
#[derive(Default)]
struct Tally {
    records: u64,
    bytes: u64,
    checksum: u64,
    /// The highest line number by key: it must rise.
    newest: HashMap<Vec<u8>, u64>,
    out_of_order: u64,
    latencies: Vec<u64>,
}

impl Tally {
    fn add(&mut self, record: &RecordRef<'_>, now: u64) -> Result<(), Failure> {
        let (key, value) = (record.key().unwrap_or_default(), record.value().unwrap_or_default());
        let origin = record.headers().find_map(|(name, value)| value.filter(|_| name == "origin"));
        let origin = u128::from_be_bytes(origin.ok_or("a record without its origin")?.try_into()?);
        let (number, sent) = ((origin >> 64) as u64, origin as u64);
        self.records += 1;
        self.bytes += (key.len() + value.len()) as u64;
        self.checksum = self.checksum.wrapping_add(u64::from(crc32c::crc32c(value)));
        match self.newest.get_mut(key) {
            Some(newest) => {
                self.out_of_order += u64::from(*newest >= number);
                *newest = number;
            }
            None => {
                self.newest.insert(key.to_vec(), number);
            }
        }
        self.latencies.push(now.saturating_sub(sent));
        Ok(())
    }

    fn merge(&mut self, other: Self) {
        self.records += other.records;
        self.bytes += other.bytes;
        self.checksum = self.checksum.wrapping_add(other.checksum);
        self.out_of_order += other.out_of_order;
        self.latencies.extend(other.latencies);
    }

    fn percentile(&mut self, percent: usize) -> Duration {
        let place = (self.latencies.len() * percent / 100).min(self.latencies.len().saturating_sub(1));
        match self.latencies.is_empty() {
            true => Duration::ZERO,
            false => Duration::from_nanos(*self.latencies.select_nth_unstable(place).1),
        }
    }

    fn verify(&self, job: &Job) -> Result<(), Failure> {
        let expected = (job.total(), 0, job.checksum());
        let found = (self.records, self.out_of_order, self.checksum);
        if expected == found {
            println!("checked: every record arrived once, unchanged, in order per key");
            return Ok(());
        }
        Err(format!("expected (records, out of order, checksum) {expected:?}, found {found:?}").into())
    }
}

fn report(job: &Job, client: &Client, tally: &mut Tally, produced_in: Duration, consumed_in: Duration) {
    let rate = |took: Duration| job.total() as f64 / took.as_secs_f64();
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let metrics = client.metrics();
    let brokers = metrics.brokers.values().chain([&metrics.other_brokers]);
    println!("file       {} × {}", job.file, job.passes);
    println!("records    {}", tally.records);
    println!("bytes      {:.1} MiB of keys and values", mib(tally.bytes));
    println!("produced   {:.0} records/s", rate(produced_in));
    println!("consumed   {:.0} records/s", rate(consumed_in));
    println!("latency    p50 {:.1?}, p99 {:.1?} end to end", tally.percentile(50), tally.percentile(99));
    println!(
        "on wire    {:.1} MiB sent, {:.1} MiB received",
        mib(brokers.clone().map(|broker| broker.bytes_out).sum()),
        mib(brokers.map(|broker| broker.bytes_in).sum())
    );
}
