//! What the leader of a classic group pays for an assignment by the sticky assignor, from 2,000 to 200,000 partitions.
//!
//! `cargo bench --bench assign --features testing`. Sizes are measured in turn within each round, and the best round of
//! each counts. The process fails if the time for all partitions grows by more than n log n, times [`SLACK`].

#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench reads the clock and prints what it measured"
)]

#[path = "support/cpu.rs"]
mod cpu;

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Duration;

use cpu::thread_time;
use milena::doors::{AssignedGroup, GroupShape};

const MEMBERS: usize = 200;
const SIZES: [usize; 3] = [2_000, 20_000, 200_000];
const ROUNDS: usize = 5;
/// What a large group pays beside the work itself: its partitions are in no cache any more.
const SLACK: f64 = 2.0;

const SHAPES: [(GroupShape, &str); 3] = [
    (GroupShape::Alike, "all want the same topics"),
    (GroupShape::Different, "each wants two thirds of the topics"),
    (GroupShape::Racks, "members and replicas in three racks"),
];

fn main() -> ExitCode {
    println!(
        "{MEMBERS} members, cooperative-sticky; microseconds per 1,000 partitions, best of {ROUNDS} rounds"
    );
    println!("{:<42} {:>9} {:>9} {:>9} {:>14}", "partitions", SIZES[0], SIZES[1], SIZES[2], "of n log n");
    let mut passed = true;
    for (shape, name) in SHAPES {
        let mut fresh = [Duration::MAX; SIZES.len()];
        let mut settled = fresh;
        for _ in 0..ROUNDS {
            for (at, size) in SIZES.into_iter().enumerate() {
                let mut group = AssignedGroup::new(shape, MEMBERS, size);
                fresh[at] = fresh[at].min(time(|| group.assign()));
                let shares = group.assign();
                group.lose_one(shares);
                settled[at] = settled[at].min(time(|| group.assign()));
            }
        }
        passed &= row(&format!("{name}: at first"), fresh);
        passed &= row(&format!("{name}: one leaves"), settled);
    }
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn time<T>(work: impl FnOnce() -> T) -> Duration {
    let start = thread_time();
    let done = work();
    let took = thread_time().saturating_sub(start);
    black_box(done);
    took
}

/// Prints a line; whether it grows as it may.
fn row(name: &str, took: [Duration; SIZES.len()]) -> bool {
    let each: Vec<f64> =
        took.iter().zip(SIZES).map(|(took, size)| took.as_secs_f64() * 1e6 / (size as f64 / 1e3)).collect();
    let logarithms = (SIZES[2] as f64).ln() / (SIZES[0] as f64).ln();
    let growth = each[2] / each[0] / logarithms;
    println!("{name:<55} {:>9.0} {:>9.0} {:>9.0} {growth:>10.2}", each[0], each[1], each[2]);
    growth <= SLACK
}
