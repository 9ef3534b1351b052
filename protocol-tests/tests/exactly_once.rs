//! Consume, transform, produce, exactly once: two copiers in one group on a real cluster, while brokers and copiers are
//! killed (-9) and started again at random.
//!
//! On Kafka 4.4.0 for 20 s by default. `MILENA_EOS_SECONDS=180` goes on for so long, on 4.4.0 and then on 3.9.1;
//! `MILENA_EOS_PROTOCOL=consumer` has the copiers' group use the consumer protocol (KIP-848).
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests"
)]

use std::{
    collections::BTreeSet,
    env, fs,
    hash::{BuildHasher, Hasher, RandomState},
    path::PathBuf,
    process::{self, Command},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use milena::{Client, Config, NewTopic};
use protocol_tests::broker::{RealCluster, Version, or_skip};
use protocol_tests::verify::{Log, Program, Transactions, differences, read_committed, wait_until};
use serde_json::Value;

const INPUT: &str = "in";
const OUTPUT: &str = "out";
const PARTITIONS: u32 = 4;
const COPIERS: usize = 2;
const SHORT: Duration = Duration::from_secs(20);
/// Far longer than a failover and a restart take.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two kills, in milliseconds. A copier that was killed is missed after its session, three seconds.
const COPIER_LIVES: u64 = 5_000;
const NODE_LIVES: u64 = 8_000;
const NODE_IS_DOWN: u64 = 4_000;

#[test]
fn what_is_read_is_written_exactly_once_while_all_are_killed() {
    let seconds = env::var("MILENA_EOS_SECONDS").ok().map(|seconds| seconds.parse().expect("a number"));
    let (duration, versions) = match seconds {
        Some(seconds) => (Duration::from_secs(seconds), &[Version::V4_4_0, Version::V3_9_1][..]),
        None => (SHORT, &[Version::V4_4_0][..]),
    };
    for version in versions {
        // A node, and a copier, is missed sooner than by default.
        let cluster = RealCluster::builder(*version)
            .nodes(3)
            .with_property("broker.session.timeout.ms", "3000")
            .with_property("group.min.session.timeout.ms", "1000")
            .with_property("group.consumer.min.session.timeout.ms", "1000")
            .with_property("group.consumer.session.timeout.ms", "3000")
            .with_property("group.consumer.min.heartbeat.interval.ms", "300")
            .with_property("group.consumer.heartbeat.interval.ms", "300");
        let Some(cluster) = or_skip(cluster.start()) else { return };
        Trial::new(cluster).run(duration);
    }
}

/// A program that copies, which is started anew whenever it has ended, as a supervisor does.
struct Copier {
    number: usize,
    program: Option<Program>,
}

struct Trial {
    cluster: RealCluster,
    runtime: tokio::runtime::Runtime,
    client: Client,
    properties: PathBuf,
    transactions: Arc<Mutex<Transactions>>,
    is_over: AtomicBool,
    nodes_killed: AtomicU64,
}

impl Trial {
    fn new(cluster: RealCluster) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let client = runtime.block_on(Client::connect(Config::new(cluster.bootstrap().split(',')))).unwrap();
        let topics = [INPUT, OUTPUT].map(|topic| NewTopic::new(topic).partitions(PARTITIONS).replication(3));
        let created = runtime.block_on(client.admin().create_topics(topics)).unwrap();
        created.into_values().for_each(Result::unwrap);
        let properties = env::temp_dir().join(format!("milena-eos-{}.properties", process::id()));
        // After an abort it waits for a fetch that is under way.
        let protocol = env::var("MILENA_EOS_PROTOCOL").unwrap_or_else(|_| "classic".to_owned());
        let settings = format!(
            "session.timeout.ms=3000\nheartbeat.interval.ms=300\nfetch.max.wait.ms=50\ngroup.protocol={protocol}\n"
        );
        fs::write(&properties, settings).unwrap();
        let (transactions, is_over, nodes_killed) = Default::default();
        Self { cluster, runtime, client, properties, transactions, is_over, nodes_killed }
    }

    fn run(self, duration: Duration) {
        let acked = Arc::new(AtomicU64::new(0));
        let producer = self.produce(&acked);
        let mut copiers: Vec<Copier> =
            (0..COPIERS).map(|number| Copier { number, program: Some(self.copy(number)) }).collect();
        let copied = || self.transactions.lock().unwrap().records;
        assert!(wait_until(PATIENCE, || copied() > 0), "nothing is copied at the start");
        let started = Instant::now();
        let (mut copiers_killed, mut copiers_ended) = (0, 0);
        let killing = || started.elapsed() < duration;
        thread::scope(|scope| {
            let nodes = scope.spawn(|| self.kill_nodes());
            let mut next = Instant::now();
            while killing() {
                copiers_ended += self.start_anew(&mut copiers);
                if Instant::now() >= next {
                    let victim = usize::try_from(random(COPIERS as u64)).unwrap();
                    copiers[victim].program = None;
                    copiers_killed += 1;
                    next = Instant::now() + Duration::from_millis(COPIER_LIVES / 2 + random(COPIER_LIVES));
                }
                let soon = Instant::now() + Duration::from_millis(50);
                wait_until(PATIENCE, || Instant::now() >= soon);
            }
            self.is_over.store(true, Ordering::Relaxed);
            nodes.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        });

        producer.terminate().unwrap();
        assert!(producer.wait(PATIENCE).unwrap().expect("the producer ends").success());
        let original = self.read(INPUT);
        let count = |log: &Log| log.values().map(Vec::len).sum::<usize>();
        // What a killed copier has committed is not among what was told.
        let deadline = Instant::now() + PATIENCE;
        while count(&self.read(OUTPUT)) < count(&original) && Instant::now() < deadline {
            copiers_ended += self.start_anew(&mut copiers);
        }
        for program in copiers.into_iter().filter_map(|copier| copier.program) {
            program.terminate().unwrap();
            assert!(program.wait(PATIENCE).unwrap().expect("the copier ends").success());
        }
        let copy = self.read(OUTPUT);
        let transactions = self.transactions.lock().unwrap();
        println!(
            "Kafka {}, {:?}: {} records in, {} out; {} brokers and {copiers_killed} copiers killed, \
             {copiers_ended} copiers ended by themselves; {} transactions committed, {} aborted at will, {} failed {:#?}, \
             fatal {:#?}",
            self.cluster.version(),
            started.elapsed(),
            count(&original),
            count(&copy),
            self.nodes_killed.load(Ordering::Relaxed),
            transactions.committed,
            transactions.aborted,
            transactions.failed.values().sum::<u64>(),
            transactions.failed,
            transactions.fatal
        );
        let values: BTreeSet<&String> = original.values().flatten().collect();
        assert_eq!(values.len(), count(&original), "the values are unique");
        assert!(count(&original) as u64 >= acked.load(Ordering::Relaxed), "what was acknowledged is there");
        let wrong = differences(&original, &copy);
        if !wrong.is_empty() {
            // Whether it is the copy that is wrong, or the reading of it.
            let again = differences(&original, &self.read(OUTPUT));
            assert!(
                wrong.is_empty(),
                "{} differences, {} when read again: {:#?}",
                wrong.len(),
                again.len(),
                &wrong[..wrong.len().min(20)]
            );
        }
    }

    fn produce(&self, acked: &Arc<AtomicU64>) -> Program {
        let line = ["producer", "--topic", INPUT, "--idempotent", "--throughput", "400"];
        let mut command = Command::new(env!("CARGO_BIN_EXE_verifiable"));
        command.args(line).args(["--bootstrap-server", &self.cluster.bootstrap(), "--repeating-keys", "50"]);
        let acked = Arc::clone(acked);
        let take = move |line: Value| {
            if line["name"] == "producer_send_success" {
                acked.fetch_add(1, Ordering::Relaxed);
            }
        };
        Program::start(&mut command, take).unwrap()
    }

    fn copy(&self, number: usize) -> Program {
        let mut command = Command::new(env!("CARGO_BIN_EXE_verifiable"));
        command.args(["copier", "--input-topic", INPUT, "--output-topic", OUTPUT, "--consumer-group", "g"]);
        command.args(["--group-mode", "--use-group-metadata", "--transaction-size", "100"]);
        command.args(["--transaction-timeout", "20000", "--idle-exit", "100000"]);
        command.args(["--broker-list", &self.cluster.bootstrap(), "--command-config"]).arg(&self.properties);
        command.arg("--transactional-id").arg(format!("copier-{number}"));
        if number == 0 {
            command.arg("--enable-random-aborts");
        }
        let transactions = Arc::clone(&self.transactions);
        Program::start(&mut command, move |line| transactions.lock().unwrap().take(&line)).unwrap()
    }

    /// Starts the copiers that are not there; how many had ended without being killed.
    fn start_anew(&self, copiers: &mut [Copier]) -> u64 {
        let mut ended = 0;
        for copier in copiers {
            match copier.program.as_mut().map(|program| program.has_ended().unwrap()) {
                Some(false) => continue,
                Some(true) => ended += 1,
                None => {}
            }
            copier.program = Some(self.copy(copier.number));
        }
        ended
    }

    /// One at a time, and each only when all replicas are in sync: two that are down would stop everything.
    fn kill_nodes(&self) {
        while !self.is_over.load(Ordering::Relaxed) {
            assert!(wait_until(PATIENCE, || self.all_in_sync()), "they do not catch up");
            self.pause_for(random(NODE_LIVES));
            let node = 1 + i32::try_from(random(3)).unwrap();
            self.cluster.kill(node).unwrap();
            self.nodes_killed.fetch_add(1, Ordering::Relaxed);
            self.pause_for(random(NODE_IS_DOWN));
            self.cluster.restart(node).unwrap();
        }
    }

    fn pause_for(&self, millis: u64) {
        let end = Instant::now() + Duration::from_millis(millis);
        wait_until(PATIENCE, || Instant::now() >= end || self.is_over.load(Ordering::Relaxed));
    }

    fn all_in_sync(&self) -> bool {
        let described = self.runtime.block_on(self.client.admin().describe_topics([INPUT, OUTPUT]));
        let Ok(described) = described else { return false };
        described.into_values().all(|topic| {
            topic.is_ok_and(|topic| topic.partitions.iter().all(|partition| partition.isr.len() == 3))
        })
    }

    fn read(&self, topic: &str) -> Log {
        self.runtime.block_on(read_committed(&self.client, topic, PARTITIONS)).unwrap()
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.properties);
    }
}

/// Below `limit`, another one every time.
fn random(limit: u64) -> u64 {
    RandomState::new().build_hasher().finish() % limit
}
