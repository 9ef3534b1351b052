//! The deterministic simulation: clients' machines and the broker machine on one seed, with virtual time, real bytes
//! and faults.
//!
//! ```text
//! cargo test --lib sim                                   a few dozen seeds
//! MILENA_SIM_SEEDS=100000 cargo test --release --lib sim as many as that
//! MILENA_SIM_SEED=42 cargo test --lib sim -- --nocapture one seed, with its trace
//! ```
//! The same seed gives the same trace. A failure names the seed and the command that replays it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test, which stops at the first thing that is wrong"
)]

mod client;
mod faults;
mod network;
mod produce;
mod world;

use std::{
    collections::BTreeMap,
    env,
    panic::{self, AssertUnwindSafe},
};

use world::World;

/// How many seeds a plain test run tries.
const SEEDS: u64 = 60;

/// Runs a world for every seed, and says how often each fault and path was met.
fn run_seeds(name: &str, scenario: impl Fn(&mut World)) {
    let number = |name: &str| env::var(name).ok().map(|value| value.parse::<u64>().expect("a number"));
    let replay = number("MILENA_SIM_SEED");
    let seeds = match replay {
        Some(seed) => seed..seed + 1,
        None => 0..number("MILENA_SIM_SEEDS").unwrap_or(SEEDS),
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
        *met.entry("steps").or_insert(0) += world.steps();
        for (path, count) in world.met() {
            *met.entry(path).or_insert(0_u64) += count;
        }
    }
    println!("{name}: {} seeds", seeds.end - seeds.start);
    for (path, count) in &met {
        println!("  {count:>9} {path}");
    }
    if replay.is_none() {
        for path in faults::EXPECTED {
            assert!(met.contains_key(path), "no seed met: {path}");
        }
    }
}

#[test]
fn an_idempotent_producer_keeps_its_promises_under_faults() {
    run_seeds("sim::an_idempotent_producer_keeps_its_promises_under_faults", produce::scenario);
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let trace = |seed| {
        let mut world = World::new(seed, false);
        produce::scenario(&mut world);
        world.fingerprint()
    };
    for seed in 0..5 {
        assert_eq!(trace(seed), trace(seed), "seed {seed}");
    }
    assert_ne!(trace(1), trace(2));
}
