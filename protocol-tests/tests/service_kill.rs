//! Two instances of a service in one group, which are killed (-9) and started again at random while records flow. Every
//! record is handled at least once, those of a key in order, and none is dead-lettered. What a record has led to has the
//! same id however often it was handled.
//!
//! On Kafka 4.4.0 for 60 s by default, or for `MILENA_SERVICE_SECONDS`, and for 15 s on the embedded cluster.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    hash::{BuildHasher, Hasher, RandomState},
    process::Command,
    time::{Duration, Instant},
};

use milena::{Client, Config, Isolation, NewTopic, OffsetSpec, TopicPartition, testing::Cluster};
use protocol_tests::broker::{RealCluster, Version, or_skip, orders};
use protocol_tests::verify::{Keyed, Program, misses, read_ids, read_keyed, wait_until};

const PARTITIONS: u32 = 6;
const INSTANCES: usize = 2;
/// Far longer than a session and a rebalance take.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two kills, in milliseconds, on the average. An instance that was killed is missed after its session, three
/// seconds; one that comes back sooner waits for its predecessor's end.
const LIVES: u64 = 4_000;

#[test]
fn instances_of_a_service_are_killed_and_every_record_is_handled_in_order() {
    let seconds = env::var("MILENA_SERVICE_SECONDS").map_or(60, |seconds| seconds.parse().expect("a number"));
    let cluster = RealCluster::builder(Version::V4_4_0)
        .with_property("group.min.session.timeout.ms", "1000")
        .with_property("group.consumer.min.session.timeout.ms", "1000")
        .with_property("group.consumer.session.timeout.ms", "3000")
        .with_property("group.consumer.min.heartbeat.interval.ms", "300")
        .with_property("group.consumer.heartbeat.interval.ms", "300");
    let Some(cluster) = or_skip(cluster.start()) else { return };
    // Half of the time by each protocol of groups.
    for protocol in ["auto", "classic"] {
        Trial::new(cluster.bootstrap().to_owned(), protocol).run(Duration::from_secs(seconds) / 2);
    }
}

#[test]
fn the_same_holds_on_the_embedded_cluster() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let cluster = runtime.block_on(
        Cluster::builder()
            .settings(|settings| {
                settings.group_min_session_timeout = Duration::from_secs(1);
                settings.group_consumer_session_timeout = Duration::from_secs(3);
                settings.group_consumer_heartbeat_interval = Duration::from_millis(300);
            })
            .start(),
    );
    let cluster = cluster.unwrap();
    Trial::new(cluster.bootstrap().join(","), "auto").run(Duration::from_secs(15));
}

struct Trial {
    bootstrap: String,
    /// The name of the group, and of its protocol.
    group: &'static str,
    input: String,
    output: String,
    runtime: tokio::runtime::Runtime,
    client: Client,
}

/// How instances have ended.
#[derive(Debug, Default)]
struct Ends {
    killed: u64,
    by_themselves: u64,
}

impl Trial {
    fn new(bootstrap: String, group: &'static str) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let client = runtime.block_on(Client::connect(Config::new(bootstrap.split(',')))).unwrap();
        let [input, output] = ["in", "out"].map(|what| format!("{group}.{what}"));
        let topics = [&input, &output].map(|topic| NewTopic::new(topic.as_str()).partitions(PARTITIONS));
        let created = runtime.block_on(client.admin().create_topics(topics)).unwrap();
        created.into_values().for_each(Result::unwrap);
        Self { bootstrap, group, input, output, runtime, client }
    }

    fn run(self, duration: Duration) {
        let producer = self.produce();
        let mut instances: [Option<Program>; INSTANCES] = std::array::from_fn(|_| Some(self.instance()));
        assert!(wait_until(PATIENCE, || self.length(&self.output) > 0), "nothing is handled at the start");
        let (started, mut ends) = (Instant::now(), Ends::default());
        while started.elapsed() < duration {
            let next = Instant::now() + Duration::from_millis(LIVES / 2 + random(LIVES));
            wait_until(PATIENCE, || {
                self.start_anew(&mut instances, &mut ends);
                Instant::now() >= next
            });
            let victim = usize::try_from(random(INSTANCES as u64)).unwrap();
            instances[victim] = None;
            ends.killed += 1;
        }
        producer.terminate().unwrap();
        assert!(producer.wait(PATIENCE).unwrap().expect("the producer ends").success());

        let committed =
            || orders::committed(&self.bootstrap, self.group, &self.input, PARTITIONS).unwrap_or_default();
        let all_done = wait_until(PATIENCE, || {
            self.start_anew(&mut instances, &mut ends);
            committed() == self.ends(&self.input)
        });
        assert!(all_done, "committed is {:?} of {:?}", committed(), self.ends(&self.input));
        for program in instances.into_iter().flatten() {
            program.terminate().unwrap();
            assert!(program.wait(PATIENCE).unwrap().expect("the instance ends").success());
        }
        self.check(started.elapsed(), &ends);
    }

    fn check(&self, took: Duration, ends: &Ends) {
        let (written, handled) = (self.read(&self.input), self.read(&self.output));
        let count = |keyed: &Keyed| keyed.values().map(Vec::len).sum::<usize>();
        let distinct: BTreeSet<&String> = handled.values().flatten().collect();
        let repeated = count(&handled) - distinct.len();
        println!(
            "{}, {took:?}: {} records of {} keys; {} instances killed, {} ended by themselves; {repeated} handled again",
            self.group,
            count(&written),
            written.len(),
            ends.killed,
            ends.by_themselves
        );
        let wrong = misses(&written, &handled);
        assert!(wrong.is_empty(), "{} misses: {:#?}", wrong.len(), &wrong[..wrong.len().min(20)]);
        assert_eq!(self.length(&format!("{}.{}.dlq", self.input, self.group)), 0, "no dead letters");
        assert_eq!(ends.by_themselves, 0, "nobody but us ends them");
        assert!(repeated > 0, "they were killed in the midst of their work");
        let ids = self.runtime.block_on(read_ids(&self.client, &self.output, PARTITIONS)).unwrap();
        let several: Vec<_> = ids.iter().filter(|(_, ids)| ids.len() != 1).collect();
        assert!(several.is_empty(), "who handles a record again emits the same event: {several:?}");
        assert_eq!(
            ids.values().flatten().collect::<BTreeSet<_>>().len(),
            ids.len(),
            "and no other has its id"
        );
    }

    fn produce(&self) -> Program {
        let mut command = Command::new(env!("CARGO_BIN_EXE_verifiable"));
        command.args(["producer", "--idempotent", "--throughput", "400", "--repeating-keys", "50"]);
        command.args(["--topic", &self.input, "--bootstrap-server", &self.bootstrap]);
        Program::start(&mut command, |_| {}).unwrap()
    }

    fn instance(&self) -> Program {
        let mut command = Command::new(env!("CARGO_BIN_EXE_service"));
        Program::start(command.args([&*self.bootstrap, self.group]), |_| {}).unwrap()
    }

    /// Starts the instances that are not there, as a supervisor does.
    fn start_anew(&self, instances: &mut [Option<Program>], ends: &mut Ends) {
        for instance in instances {
            match instance.as_mut().map(|program| program.has_ended().unwrap()) {
                Some(false) => continue,
                Some(true) => ends.by_themselves += 1,
                None => {}
            }
            *instance = Some(self.instance());
        }
    }

    fn read(&self, topic: &str) -> Keyed {
        self.runtime.block_on(read_keyed(&self.client, topic, PARTITIONS)).unwrap()
    }

    fn length(&self, topic: &str) -> i64 {
        self.ends(topic).values().sum()
    }

    fn ends(&self, topic: &str) -> BTreeMap<i32, i64> {
        let partitions = (0..PARTITIONS.cast_signed()).map(|index| TopicPartition::new(topic, index));
        let all = partitions.map(|partition| (partition, OffsetSpec::Latest));
        let admin = self.client.admin();
        let ends = self.runtime.block_on(admin.list_offsets(all, Isolation::ReadUncommitted)).unwrap();
        ends.into_iter().map(|(one, end)| (one.partition.0, end.unwrap().unwrap().offset.0)).collect()
    }
}

/// Below `limit`, another one every time.
fn random(limit: u64) -> u64 {
    RandomState::new().build_hasher().finish() % limit
}
