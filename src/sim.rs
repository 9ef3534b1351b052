//! The deterministic simulation: the machines of producers, readers and group members, and the broker machine, on one
//! seed, with virtual time, real bytes and faults.
//!
//! ```text
//! cargo test --lib sim::                                        some seeds of each scenario
//! MILENA_SIM_SEEDS=20000 cargo test --profile sim --lib sim::   as many as that
//! MILENA_SIM_FIRST=1000 cargo test --lib sim::                  from that one on
//! MILENA_SIM_SEED=42 cargo test --lib sim:: -- --nocapture      one seed, with its trace
//! tests/plants/run                                              whether it finds bugs
//! ```
//! The same seed gives the same trace. A failure names the seed and the command that replays it. A run prints how often
//! each fault and path was met, and fails if one that is expected was not; what is rare is expected of 200 seeds and more.
//!
//! - `scenario` plays: faults for a while, then peace, in which all must settle, and the judgement.
//! - `world` holds time, cluster and network, and runs the `cast`: processes of a `client` and a role, `produce`,
//!   `writer` or `consume` with its `user`. They run like tasks, when something comes for them or they are due.
//! - `network` cuts, delays, stalls and loses; `faults` decides what goes wrong; the cast decides who comes and goes.
//! - `book` remembers what was handed out and committed, over all consumers; `ledger`, what was done in
//!   transactions.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test, which stops at the first thing that is wrong"
)]

mod answers;
mod book;
mod cast;
mod client;
mod consume;
mod faults;
mod ledger;
mod network;
mod packer;
mod paths;
mod produce;
mod scenario;
mod user;
mod world;
mod writer;

use std::{
    collections::BTreeMap,
    env,
    panic::{self, AssertUnwindSafe},
};

use world::World;

/// How many seeds meet what is rare.
const ENOUGH: u64 = 200;

/// Runs a world for every seed, and says how often each fault and path was met. A plain test run tries `seeds` of them.
fn run_seeds(name: &str, seeds: u64, expected: &[&[&str]], scenario: impl Fn(&mut World)) {
    let number = |name: &str| env::var(name).ok().map(|value| value.parse::<u64>().expect("a number"));
    let replay = number("MILENA_SIM_SEED");
    let first = number("MILENA_SIM_FIRST").unwrap_or(0);
    let seeds = match replay {
        Some(seed) => seed..seed + 1,
        None => first..first + number("MILENA_SIM_SEEDS").unwrap_or(seeds),
    };
    let mut met = BTreeMap::new();
    for seed in seeds.clone() {
        let mut world = World::new(seed, replay.is_some());
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| scenario(&mut world)));
        if let Err(cause) = outcome {
            println!("seed {seed} fails at {:?}; replay it:", world.elapsed());
            println!("    MILENA_SIM_SEED={seed} cargo test --lib {name} -- --nocapture");
            panic::resume_unwind(cause);
        }
        *met.entry("steps".to_owned()).or_insert(0) += world.steps();
        for (path, count) in world.met() {
            *met.entry(path.to_owned()).or_insert(0_u64) += count;
        }
    }
    println!("{name}: {} seeds", seeds.end - seeds.start);
    for (path, count) in &met {
        println!("  {count:>9} {path}");
    }
    if replay.is_none() {
        let is_rare = |path: &str| paths::RARE.contains(&path) && seeds.end - seeds.start < ENOUGH;
        let expected =
            paths::EVERYWHERE.iter().chain(expected.iter().copied().flatten()).filter(|path| !is_rare(path));
        let missing: Vec<&&str> = expected.filter(|path| !met.contains_key(**path)).collect();
        assert!(missing.is_empty(), "no seed met: {missing:?}");
    }
}

#[test]
fn an_idempotent_producer_keeps_its_promises_under_faults() {
    let name = "sim::an_idempotent_producer_keeps_its_promises_under_faults";
    run_seeds(name, 40, &[paths::OF_PRODUCERS], scenario::producers);
}

#[test]
fn readers_get_every_record_once_and_in_order_under_faults() {
    let name = "sim::readers_get_every_record_once_and_in_order_under_faults";
    run_seeds(name, 12, &[paths::OF_READERS], scenario::readers);
}

#[test]
fn a_group_reads_every_record_under_faults() {
    let name = "sim::a_group_reads_every_record_under_faults";
    run_seeds(name, 12, &[paths::OF_ANY_GROUP, paths::OF_CLASSIC_GROUPS], scenario::group);
}

#[test]
fn a_cooperative_group_reads_every_record_under_faults() {
    let name = "sim::a_cooperative_group_reads_every_record_under_faults";
    run_seeds(name, 12, &[paths::OF_ANY_GROUP, paths::OF_CLASSIC_GROUPS], scenario::cooperative_group);
}

#[test]
fn a_group_of_the_consumer_protocol_reads_every_record_under_faults() {
    let name = "sim::a_group_of_the_consumer_protocol_reads_every_record_under_faults";
    run_seeds(name, 12, &[paths::OF_ANY_GROUP, paths::OF_CONSUMER_GROUPS], scenario::consumer_group);
}

#[test]
fn transactions_are_all_or_nothing_under_faults() {
    let name = "sim::transactions_are_all_or_nothing_under_faults";
    run_seeds(name, 16, &[paths::OF_TRANSACTIONS], scenario::transactions);
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for scenario in [
        scenario::producers,
        scenario::readers,
        scenario::group,
        scenario::cooperative_group,
        scenario::consumer_group,
        scenario::transactions,
    ] {
        let trace = |seed| {
            let mut world = World::new(seed, false);
            scenario(&mut world);
            world.fingerprint()
        };
        let first = trace(0);
        assert_eq!(first, trace(0));
        assert_ne!(first, trace(1));
    }
}
