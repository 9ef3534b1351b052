//! The program `verifiable`: it says what Kafka's own verifiable clients say, and accounts for every value.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read, Write},
    net::TcpListener,
    process::{Command, ExitStatus, Output},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use milena::{Client, Config, NewTopic, testing::Cluster};
use protocol_tests::broker::{RealCluster, Version, java, or_skip, tools};
use protocol_tests::verify::{Ledger, Program, Transactions, differences, read_committed, wait_until};
use serde_json::Value;

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(90);

fn ours(command: &str, line: &[&str]) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_verifiable"));
    program.arg(command).args(line);
    program
}

/// When to ask a program to stop: when its lines say so, or never where it stops by itself.
type StopWhen = Option<fn(&[Value]) -> bool>;

fn run(mut command: Command, stop_when: StopWhen) -> (Vec<Value>, ExitStatus) {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let taken = Arc::clone(&lines);
    let program = Program::start(&mut command, move |line| taken.lock().unwrap().push(line)).unwrap();
    if let Some(enough) = stop_when {
        let stopped = wait_until(PATIENCE, || enough(&lines.lock().unwrap()));
        assert!(stopped, "{command:?} said {:?}", lines.lock().unwrap());
        program.terminate().unwrap();
    }
    let status = program.wait(PATIENCE).unwrap();
    let lines = std::mem::take(&mut *lines.lock().unwrap());
    (lines, status.unwrap_or_else(|| panic!("{command:?} does not end")))
}

fn count(lines: &[Value], name: &str) -> usize {
    lines.iter().filter(|line| line["name"] == name).count()
}

/// The fields of each kind of line, with the types of their values; of lists and objects, what is in them.
fn shapes(lines: &[Value]) -> BTreeMap<String, BTreeSet<String>> {
    let mut shapes: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in lines {
        let name = line["name"].as_str().unwrap_or_else(|| panic!("a line without a name: {line}"));
        add_fields(line, "", shapes.entry(name.to_owned()).or_default());
    }
    shapes
}

fn add_fields(value: &Value, path: &str, fields: &mut BTreeSet<String>) {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(items) => {
            return items.iter().for_each(|item| add_fields(item, &format!("{path}[]"), fields));
        }
        Value::Object(members) => {
            return members
                .iter()
                .for_each(|(key, member)| add_fields(member, &format!("{path}.{key}"), fields));
        }
    };
    fields.insert(format!("{path}: {kind}"));
}

fn create(bootstrap: &str, topic: &str, partitions: u32) {
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let client = Client::connect(Config::new(bootstrap.split(','))).await.unwrap();
        let topic = NewTopic::new(topic).partitions(partitions);
        client.admin().create_topics([topic]).await.unwrap().into_iter().for_each(|(_, result)| {
            result.unwrap();
        });
    });
}

/// The same command lines against the same broker: the same kinds of lines, with the same fields.
#[test]
fn kafkas_own_programs_say_the_same() {
    let Some(cluster) = or_skip(RealCluster::start(Version::V4_4_0, 1)) else { return };
    let Some(jars) = or_skip(tools()) else { return };
    let bootstrap = cluster.bootstrap();
    create(&bootstrap, "compared", 2);
    let compare = |command: &str, line: &[&str], stop_when: StopWhen| {
        let class =
            format!("org.apache.kafka.tools.Verifiable{}{}", command[..1].to_uppercase(), &command[1..]);
        let line = [&["--bootstrap-server", bootstrap.as_str()], line].concat();
        // Two members of one group would share the records.
        let [ours, original] = [ours(command, &line), {
            let mut original = java();
            original
                .args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp"])
                .arg(jars.join("*"))
                .arg(class)
                .args(&line);
            original
        }]
        .map(|mut program| {
            if command == "consumer" {
                let group = format!("{} {}", program.get_program().display(), line.join(" "));
                program.args(["--group-id", &group]);
            }
            run(program, stop_when)
        });
        assert!(ours.1.success(), "{command} {line:?} ended with {}", ours.1);
        assert_eq!(shapes(&ours.0), shapes(&original.0), "{command} {line:?}");
        ours.0
    };

    let keyed =
        ["--topic", "compared", "--max-messages", "20", "--value-prefix", "3", "--repeating-keys", "4"];
    let lines = compare("producer", &keyed, None);
    let outcome = lines.iter().find(|line| line["value"] == "3.6").unwrap();
    assert_eq!((outcome["key"].as_str(), count(&lines, "producer_send_success")), (Some("2"), 20));

    let endless = ["--topic", "compared", "--throughput", "50", "--acks", "1"];
    compare("producer", &endless, Some(|lines| count(lines, "producer_send_success") > 5));

    let lines = compare("producer", &["--topic", "bad/name", "--max-messages", "2"], None);
    assert_eq!(count(&lines, "producer_send_error"), 2);

    let lines = compare("consumer", &["--topic", "compared", "--verbose", "--max-messages", "40"], None);
    assert_eq!(count(&lines, "record_data"), 40);
    assert!(count(&lines, "offsets_committed") > 0);

    let automatic = ["--topic", "compared", "--enable-autocommit", "--reset-policy", "earliest"];
    let lines = compare("consumer", &automatic, Some(|lines| count(lines, "records_consumed") > 0));
    assert_eq!(count(&lines, "offsets_committed"), 0);
}

/// The same of the copier, whose lines have a stage for a name; and no time but for people.
#[test]
fn kafkas_own_copier_says_the_same() {
    const RECORDS: &str = "100";
    let Some(cluster) = or_skip(RealCluster::start(Version::V4_4_0, 1)) else { return };
    let Some(jars) = or_skip(tools()) else { return };
    let bootstrap = cluster.bootstrap();
    ["from", "to"].iter().for_each(|topic| create(&bootstrap, topic, 2));
    let at = ["--bootstrap-server", bootstrap.as_str(), "--topic", "from", "--repeating-keys", "7"];
    let (_, status) = run(ours("producer", &[&at[..], &["--max-messages", RECORDS]].concat()), None);
    assert!(status.success());

    let line = |group| {
        let at = ["--broker-list", bootstrap.as_str(), "--input-topic", "from", "--output-topic", "to"];
        let copy = ["--input-partition", "0", "--group-mode", "--use-group-metadata"];
        let ids = ["--consumer-group", group, "--transactional-id", group, "--transaction-size", "30"];
        [&at[..], &copy, &ids].concat()
    };
    let (ours, status) = run(ours("copier", &[&line("ours")[..], &["--idle-exit", "0"]].concat()), None);
    assert!(status.success(), "{ours:?}");
    let mut original = java();
    original.args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp"]).arg(jars.join("*"));
    original.arg("org.apache.kafka.tools.TransactionalMessageCopier").args(line("original"));
    let (original, status) = run(original, None);
    assert!(status.success(), "{original:?}");

    let named = |lines: &[Value]| -> Vec<Value> {
        let lines = lines.iter().filter_map(Value::as_object).filter_map(|line| {
            let mut line = line.clone();
            line.remove("timestamp");
            line.insert("name".to_owned(), line.get("stage")?.clone());
            Some(Value::Object(line))
        });
        lines.collect()
    };
    let (ours, original) = (named(&ours), named(&original));
    assert_eq!(shapes(&ours), shapes(&original));
    for lines in [ours, original] {
        let last = lines.last().unwrap();
        assert_eq!((&last["totalProcessed"], &last["remaining"]), (&100.into(), &0.into()), "{last}");
    }
    // Each has copied all of it.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let [from, to] = runtime.block_on(async {
        let client = Client::connect(Config::new([bootstrap])).await.unwrap();
        [read_committed(&client, "from", 2).await.unwrap(), read_committed(&client, "to", 2).await.unwrap()]
    });
    for (partition, values) in from {
        assert_eq!(to[&partition], [&values[..], &values].concat(), "partition {partition}");
    }
}

/// Two copiers of one group on the embedded cluster, which abort at random, while a node goes down and comes back.
#[test]
fn copiers_copy_every_record_once() {
    const PARTITIONS: u32 = 4;
    const RECORDS: usize = 5_000;
    // After an abort it waits for a fetch that is under way.
    let file = std::env::temp_dir().join(format!("milena-copiers-{}.properties", std::process::id()));
    std::fs::write(&file, "fetch.max.wait.ms=20\n").unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let builder = Cluster::builder().nodes(3).topic("from", 4).topic("to", 4);
    let cluster = runtime.block_on(builder.start()).unwrap();
    let bootstrap = cluster.bootstrap().join(",");
    let at = ["--topic", "from", "--bootstrap-server", &bootstrap, "--max-messages", "5000"];
    let producer = start(ours("producer", &at), drop);
    let transactions = Arc::new(Mutex::new(Transactions::default()));
    let copier = |id| {
        let at = ["--broker-list", &bootstrap, "--input-topic", "from", "--output-topic", "to"];
        let ids = ["--consumer-group", "g", "--transactional-id", id, "--transaction-size", "20"];
        let group = ["--group-mode", "--use-group-metadata", "--enable-random-aborts"];
        let taken = Arc::clone(&transactions);
        let mut program = ours("copier", &[&at[..], &ids, &group].concat());
        program.arg("--command-config").arg(&file);
        start(program, move |line| taken.lock().unwrap().take(&line))
    };
    let copiers = [copier("one"), copier("two")];
    let records = || transactions.lock().unwrap().records;
    assert!(wait_until(PATIENCE, || records() > 500), "{:?}", transactions.lock().unwrap());
    runtime.block_on(cluster.stop_node(1)).unwrap();
    assert!(wait_until(PATIENCE, || records() > 1_500), "{:?}", transactions.lock().unwrap());
    runtime.block_on(cluster.start_node(1)).unwrap();
    assert!(producer.wait(PATIENCE).unwrap().expect("it ends").success());

    let client = runtime.block_on(Client::connect(Config::new(cluster.bootstrap()))).unwrap();
    let read = |topic| runtime.block_on(read_committed(&client, topic, PARTITIONS)).unwrap();
    let copied = || read("to").values().map(Vec::len).sum::<usize>();
    assert!(wait_until(PATIENCE, || copied() >= RECORDS), "{} copied", copied());
    for copier in copiers {
        copier.terminate().unwrap();
        assert!(copier.wait(PATIENCE).unwrap().expect("it ends").success());
    }
    let (from, to) = (read("from"), read("to"));
    assert_eq!(from.values().map(Vec::len).sum::<usize>(), RECORDS);
    assert_eq!(differences(&from, &to), Vec::<String>::new());
    std::fs::remove_file(&file).unwrap();
    let transactions = transactions.lock().unwrap();
    assert!(transactions.aborted > 0 && transactions.committed > 0, "{transactions:?}");
}

/// A producer that writes in transactions, of which it aborts every third, while a node goes down and comes back.
#[test]
fn what_is_read_is_what_committed_transactions_wrote() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let cluster = runtime.block_on(Cluster::builder().nodes(3).topic("t", 4).start()).unwrap();
    let bootstrap = cluster.bootstrap().join(",");
    let at = ["--topic", "t", "--bootstrap-server", &bootstrap, "--max-messages", "2995"];
    let ids = ["--transactional-id", "x", "--transaction-size", "10", "--abort-every", "3"];
    let rate = ["--throughput", "1500", "--repeating-keys", "7"];
    let lines = Arc::new(Mutex::new(Vec::new()));
    let taken = Arc::clone(&lines);
    let producer = ours("producer", &[&at[..], &ids, &rate].concat());
    let producer = start(producer, move |line| taken.lock().unwrap().push(line));
    let ends = || count(&lines.lock().unwrap(), "transaction_end");
    for (number, change) in [(50, true), (120, false)] {
        assert!(wait_until(PATIENCE, || ends() >= number), "{} transactions", ends());
        if change {
            runtime.block_on(cluster.stop_node(1)).unwrap();
        } else {
            runtime.block_on(cluster.start_node(1)).unwrap();
        }
    }
    assert!(producer.wait(PATIENCE).unwrap().expect("it ends").success());

    let lines = std::mem::take(&mut *lines.lock().unwrap());
    let ends = |outcome: &str| {
        let ends =
            lines.iter().filter(|line| line["name"] == "transaction_end" && line["outcome"] == outcome);
        ends.map(|line| line["txn"].as_u64().unwrap()).collect::<BTreeSet<_>>()
    };
    let (committed, aborted) = (ends("committed"), ends("aborted"));
    assert_eq!(committed.len() + aborted.len(), 300, "what became of each is known");
    assert!((0..100).all(|third| aborted.contains(&(3 * third + 2))), "{aborted:?}");
    let outcomes = lines.iter().filter(|line| line["name"].as_str().unwrap().starts_with("producer_send"));
    let mut expected = BTreeSet::new();
    let mut values = BTreeSet::new();
    for line in outcomes {
        let value = line["value"].as_str().unwrap().to_owned();
        let committed = committed.contains(&line["txn"].as_u64().unwrap());
        assert!(!committed || line["name"] == "producer_send_success", "{line}");
        assert!(values.insert(value.clone()), "two outcomes of {value}");
        expected.extend(committed.then_some(value));
    }
    let client = runtime.block_on(Client::connect(Config::new(cluster.bootstrap()))).unwrap();
    let read = runtime.block_on(read_committed(&client, "t", 4)).unwrap();
    let read: Vec<String> = read.into_values().flatten().collect();
    assert_eq!((read.len(), read.into_iter().collect::<BTreeSet<_>>()), (expected.len(), expected));
}

/// A producer and a consumer, stopped in the middle, against the embedded cluster.
#[test]
fn every_value_has_one_outcome_and_every_acked_one_is_read() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let cluster = runtime.block_on(Cluster::builder().nodes(3).topic("t", 4).start()).unwrap();
    let bootstrap = cluster.bootstrap().join(",");
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let at = ["--topic", "t", "--bootstrap-server", &bootstrap];
    let taken = Arc::clone(&ledger);
    let consumer = ours("consumer", &[&at[..], &["--group-id", "g", "--verbose"]].concat());
    let consumer = start(consumer, move |line| taken.lock().unwrap().consumed(&line));
    let taken = Arc::clone(&ledger);
    let producer = ours("producer", &[&at[..], &["--idempotent", "--repeating-keys", "50"]].concat());
    let producer = start(producer, move |line| taken.lock().unwrap().produced(&line));

    let acked = |least: u64| {
        let acked = || ledger.lock().unwrap().acked_by_partition().values().sum::<u64>();
        assert!(wait_until(PATIENCE, || acked() >= least), "{} acked", acked());
    };
    acked(5_000);
    runtime.block_on(cluster.stop_node(1)).unwrap();
    acked(10_000);
    runtime.block_on(cluster.start_node(1)).unwrap();
    producer.terminate().unwrap();
    assert!(producer.wait(PATIENCE).unwrap().expect("it ends").success());
    assert!(wait_until(PATIENCE, || ledger.lock().unwrap().unread() == 0));
    consumer.terminate().unwrap();
    assert!(consumer.wait(PATIENCE).unwrap().expect("it ends").success());
    let ledger = ledger.lock().unwrap();
    assert_eq!(ledger.violations(true), Vec::<String>::new());
    assert!(ledger.report().commits > 0);
}

fn start(mut command: Command, take: impl FnMut(Value) + Send + 'static) -> Program {
    Program::start(&mut command, take).unwrap()
}

#[test]
fn what_milena_lacks_is_refused_with_the_reason() {
    let at = ["--topic", "t", "--bootstrap-server", "127.0.0.1:1"];
    let file = std::env::temp_dir().join(format!("milena-verifiable-{}.properties", std::process::id()));
    std::fs::write(&file, "lingre.ms=5\nsecurity.protocol=SSL\n").unwrap();
    let file = file.to_str().unwrap();
    for (command, line, reason) in [
        ("producer", &["--transaction-size", "5"][..], "need a --transactional-id"),
        ("producer", &["--transactional-id", "x", "--abort-every", "0"], "at least 1"),
        ("producer", &["--command-config", file], "the nearest is linger.ms"),
        ("producer", &["--command-config", file], "neither TLS nor SASL"),
        ("producer", &["--thruoghput", "5"], "the nearest is --throughput"),
        ("producer", &["--acks", "2"], "must be -1, 0 or 1"),
        ("consumer", &["--group-id", "g", "--group-protocol", "eager"], "classic or consumer"),
        (
            "consumer",
            &["--group-id", "g", "--group-remote-assignor", "range"],
            "only --group-protocol consumer",
        ),
        ("consumer", &["--group-id", "g", "--assignment-strategy", "range,fair"], "fair: must be range"),
        ("consumer", &[], "--group-id is missing"),
    ] {
        let Output { status, stdout, stderr } = ours(command, &[&at[..], line].concat()).output().unwrap();
        let said = String::from_utf8(stderr).unwrap();
        assert_eq!((status.code(), stdout.len()), (Some(2), 0), "{command} {line:?}: {said}");
        assert!(said.contains(reason), "{command} {line:?}: {said}");
    }
    std::fs::remove_file(file).unwrap();
}

#[test]
fn a_client_that_cannot_be_used_is_fatal() {
    // Not a broker, and nothing else to ask.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            // Unread bytes would turn its end into a reset.
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let at = ["--topic", "t", "--bootstrap-server", &address];
    for (command, line) in [("producer", at.to_vec()), ("consumer", [&at[..], &["--group-id", "g"]].concat())]
    {
        let (lines, status) = run(ours(command, &line), None);
        let names: Vec<&str> = lines.iter().filter_map(|line| line["name"].as_str()).collect();
        assert_eq!(names, ["fatal", "shutdown_complete"], "{lines:?}");
        assert!(lines[0]["message"].as_str().unwrap().contains("HTTP"), "{lines:?}");
        assert_eq!(status.code(), Some(1));
    }
}
