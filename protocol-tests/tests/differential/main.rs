//! The embedded broker answers as Kafka does: the same scripts of raw requests, recorded on both and compared field by
//! field. Where they differ, the embedded broker is wrong.
//!
//! `DIFFERENTIAL=fetch cargo test -p protocol-tests --test differential` runs the scripts whose name has `fetch` in it.
//!
//! The rules that are written in a script are those that were measured on Kafka 4.4.0, and hold on both.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "tests")]

mod cluster;
mod commits;
mod consumers;
mod coordinators;
mod epochs;
mod fetch;
mod groups;
mod ids;
mod kit;
mod list_offsets;
mod members;
mod metadata;
mod migrations;
mod produce;
mod recreated;
mod sequences;
mod sessions;
mod shares;
mod topics;
mod transactional;
mod txn;
mod txn_first;
mod txn_offsets;
mod txn_timeouts;
mod versions;

use std::thread;

use milena::Code;
use milena::testing::{Api, Cluster, Fault, Rule};
use protocol_tests::broker::{RealCluster, Version, or_skip};
use protocol_tests::raw::{Allowed, Talk, compare};
use tokio::runtime::Runtime;

use kit::Script;

/// All that is compared with the newest Kafka.
const SCRIPTS: &[Script] = &[
    cluster::SCRIPT,
    commits::SCRIPT,
    consumers::SCRIPT,
    coordinators::SCRIPT,
    epochs::SCRIPT,
    fetch::SCRIPT,
    groups::SCRIPT,
    ids::SCRIPT,
    list_offsets::SCRIPT,
    members::SCRIPT,
    metadata::SCRIPT,
    migrations::SCRIPT,
    produce::SCRIPT,
    recreated::SCRIPT,
    sequences::SCRIPT,
    sessions::SCRIPT,
    shares::SCRIPT,
    topics::SCRIPT,
    txn::SCRIPT,
    versions::SCRIPT,
];

/// What older versions answer in the same way: the parts whose versions and rules have not changed since.
const OLD_SCRIPTS: &[Script] = &[sequences::OLD_SCRIPT, sessions::SCRIPT, epochs::SCRIPT, txn::OLD_SCRIPT];

#[test]
fn embedded_answers_as_kafka_4_4_0() {
    compare_with(Version::V4_4_0, SCRIPTS);
}

#[test]
fn embedded_answers_as_kafka_4_0_0_where_nothing_has_changed() {
    compare_with(Version::V4_0_0, OLD_SCRIPTS);
}

#[test]
fn embedded_answers_as_kafka_3_9_1_where_nothing_has_changed() {
    compare_with(Version::V3_9_1, OLD_SCRIPTS);
}

#[test]
fn a_planted_difference_is_found() {
    let runtime = Runtime::new().unwrap();
    let right = runtime.block_on(embedded());
    let one = run(&sequences::SCRIPT, "right", &right.bootstrap()[0]);
    assert_eq!(one.failures(), [""; 0]);
    let again = runtime.block_on(embedded());
    let other = run(&sequences::SCRIPT, "again", &again.bootstrap()[0]);
    assert_eq!(compare(one.steps(), other.steps(), &[]), [""; 0]);

    let wrong = runtime.block_on(async {
        let cluster = embedded().await;
        let rule = Rule::new(Fault::Refuse(Code::CORRUPT_MESSAGE)).on(Api::Produce).skip(3).times(1);
        cluster.fault(rule).await.unwrap();
        cluster
    });
    let other = run(&sequences::SCRIPT, "wrong", &wrong.bootstrap()[0]);
    let found = compare(one.steps(), other.steps(), &[]);
    let at = "/Responses/0/PartitionResponses/0/ErrorCode: Kafka 0, embedded 2";
    assert!(found.iter().any(|difference| difference.contains(at)), "{found:#?}");
    assert!(!other.failures().is_empty(), "a rule of the table is broken too");
}

fn compare_with(version: Version, scripts: &[Script]) {
    let wanted = std::env::var("DIFFERENTIAL").unwrap_or_default();
    let scripts: Vec<&Script> = scripts.iter().filter(|script| script.name.contains(&wanted)).collect();
    if scripts.is_empty() {
        return;
    }
    let kafka = RealCluster::builder(version)
        .with_property("auto.create.topics.enable", "true")
        // Transactions that last too long are looked for so often.
        .with_property("transaction.abort.timed.out.transaction.cleanup.interval.ms", "200")
        // As every broker has it that was told nothing.
        .with_property("group.consumer.heartbeat.interval.ms", "5000")
        // Its records are old: no retention while the scripts run.
        .with_property("log.initial.task.delay.ms", "86400000")
        .with_property("log.retention.check.interval.ms", "86400000");
    let Some(kafka) = or_skip(kafka.start()) else { return };
    let name = format!("Kafka {version}");
    kit::warm_up(&mut Talk::with(&name, &kafka.bootstrap()));
    let runtime = Runtime::new().unwrap();
    let found: Vec<String> = thread::scope(|scope| {
        let compared = scripts.iter().map(|script| {
            let (name, address, runtime) = (&name, kafka.bootstrap(), &runtime);
            scope.spawn(move || {
                let of_kafka = run(script, name, &address);
                let embedded = runtime.block_on(embedded());
                let of_embedded = run(script, "embedded", &embedded.bootstrap()[0]);
                found_in(script, &of_kafka, &of_embedded)
            })
        });
        let compared: Vec<_> = compared.collect();
        compared.into_iter().flat_map(|script| script.join().unwrap()).collect()
    });
    assert!(found.is_empty(), "{} differences\n\n{}\n", found.len(), found.join("\n\n"));
}

fn run(script: &Script, broker: &str, address: &str) -> Talk {
    let mut talk = Talk::with(broker, address);
    (script.run)(&mut talk);
    assert!(talk.steps().len() > 3 || !talk.failures().is_empty(), "{}: a script without steps", script.name);
    talk
}

fn found_in(script: &Script, kafka: &Talk, embedded: &Talk) -> Vec<String> {
    let allowed: &[Allowed] = script.allowed;
    let all = kafka.failures().into_iter().chain(embedded.failures());
    let all = all.chain(compare(kafka.steps(), embedded.steps(), allowed));
    all.map(|found| format!("{}: {found}", script.name)).collect()
}

/// An embedded cluster that is set as the real ones are.
async fn embedded() -> Cluster {
    Cluster::builder().settings(|settings| settings.auto_create_topics = true).start().await.unwrap()
}
