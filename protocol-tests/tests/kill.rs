//! A verifiable producer and consumer on a real cluster whose leaders are killed (-9) and restarted.
//!
//! Two kills by default. `MILENA_KILL_SECONDS=120` goes on for so long, with a kill every 15 s.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests"
)]

use std::{
    collections::BTreeMap,
    env,
    process::Command,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use milena::{Client, Config, NewTopic, NodeId, PartitionDescription};
use protocol_tests::broker::{RealCluster, Version, or_skip};
use protocol_tests::verify::{Ledger, Program, wait_until};
use serde_json::Value;

const TOPIC: &str = "soak";
const PARTITIONS: u32 = 6;
const KILL_EVERY: Duration = Duration::from_secs(15);
/// Far longer than a failover and a restart take.
const PATIENCE: Duration = Duration::from_secs(120);

struct Soak {
    cluster: RealCluster,
    runtime: tokio::runtime::Runtime,
    client: Client,
    ledger: Arc<Mutex<Ledger>>,
}

#[test]
fn nothing_acked_is_lost_while_leaders_are_killed() {
    // A node is missed sooner than by default, so that a failover, a restart and the catching up take less than 15 s.
    let cluster =
        RealCluster::builder(Version::V4_4_0).nodes(3).with_property("broker.session.timeout.ms", "3000");
    let Some(cluster) = or_skip(cluster.start()) else { return };
    let soak = Soak::new(cluster);
    let consumer = soak.start(&["consumer", "--group-id", "g", "--verbose"], Ledger::consumed);
    let producer = ["producer", "--idempotent", "--throughput", "2000", "--repeating-keys", "60"];
    let producer = soak.start(&producer, Ledger::produced);
    soak.until_all_are_acked_again("at the start");

    let duration = env::var("MILENA_KILL_SECONDS").ok().map(|seconds| seconds.parse().expect("a number"));
    let duration = duration.map(Duration::from_secs);
    let started = Instant::now();
    let mut kills = 0;
    while duration.map_or(kills < 2, |duration| started.elapsed() < duration) {
        soak.kill_a_leader(kills);
        kills += 1;
        if duration.is_some() {
            let next = started + KILL_EVERY * kills;
            wait_until(PATIENCE, || Instant::now() >= next);
        }
    }

    producer.terminate().unwrap();
    let status = producer.wait(PATIENCE).unwrap().expect("the producer ends");
    assert!(status.success(), "the producer ended with {status}");
    wait_until(PATIENCE, || soak.ledger().unread() == 0);
    consumer.terminate().unwrap();
    let status = consumer.wait(PATIENCE).unwrap().expect("the consumer ends");
    assert!(status.success(), "the consumer ended with {status}");
    let ledger = soak.ledger();
    println!("{kills} kills in {:?}: {}", started.elapsed(), ledger.report());
    let violations = ledger.violations(true);
    assert!(
        violations.is_empty(),
        "{} violations: {:#?}",
        violations.len(),
        &violations[..violations.len().min(20)]
    );
    assert!(ledger.report().failed.is_empty(), "a restart takes less than the delivery timeout");
}

impl Soak {
    fn new(cluster: RealCluster) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let client = runtime.block_on(Client::connect(Config::new(cluster.bootstrap().split(',')))).unwrap();
        let topic = NewTopic::new(TOPIC).partitions(PARTITIONS).replication(3);
        let created = runtime.block_on(client.admin().create_topics([topic])).unwrap();
        created.into_values().for_each(Result::unwrap);
        Self { cluster, runtime, client, ledger: Arc::default() }
    }

    fn start(&self, line: &[&str], take: fn(&mut Ledger, &Value)) -> Program {
        let mut command = Command::new(env!("CARGO_BIN_EXE_verifiable"));
        command.args(line).args(["--topic", TOPIC, "--bootstrap-server", &self.cluster.bootstrap()]);
        let ledger = Arc::clone(&self.ledger);
        Program::start(&mut command, move |line| take(&mut ledger.lock().unwrap(), &line)).unwrap()
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap()
    }

    /// Waits until all replicas are in sync, kills the leader of a partition, waits until all partitions are written to
    /// again, and starts the node.
    fn kill_a_leader(&self, round: u32) {
        let in_sync = || self.partitions().iter().all(|partition| partition.isr.len() == 3);
        assert!(wait_until(PATIENCE, in_sync), "they do not catch up: {:?}", self.partitions());
        let partition = usize::try_from(round % PARTITIONS).unwrap();
        let NodeId(leader) = self.partitions()[partition].leader.expect("a leader");
        let killed = Instant::now();
        self.cluster.kill(leader).unwrap();
        self.until_all_are_acked_again("while a node is down");
        let again = killed.elapsed();
        self.cluster.restart(leader).unwrap();
        let back = killed.elapsed();
        println!(
            "node {leader} killed: all partitions acked again after {again:?}, the node back after {back:?}"
        );
    }

    fn until_all_are_acked_again(&self, when: &str) {
        let acked = || self.ledger().acked_by_partition();
        let before: BTreeMap<i64, u64> = acked();
        let grown = || {
            let now = acked();
            (0..i64::from(PARTITIONS)).all(|partition| now.get(&partition) > before.get(&partition))
        };
        assert!(wait_until(PATIENCE, grown), "{when}: {before:?}, and still only {:?}", acked());
    }

    fn partitions(&self) -> Vec<PartitionDescription> {
        let described = self.runtime.block_on(self.client.admin().describe_topics([TOPIC])).unwrap();
        described.into_values().flat_map(|described| described.unwrap().partitions).collect()
    }
}
