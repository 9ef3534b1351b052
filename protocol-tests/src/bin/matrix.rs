//! Runs every scenario on every target and writes what came of it to `protocol-tests/MATRIX.md`.
//!
//! `cargo run -p protocol-tests --bin matrix` takes all targets that this machine can start; `MILENA_TARGETS` names
//! others. `-- --table` prints the table of scenarios for the README instead.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program speaks on its standard streams")]

use std::collections::BTreeMap;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::{env, fs, thread};

use protocol_tests::suite::{SCENARIOS, Scenario, State, table};
use protocol_tests::target::{Pool, Ran, TARGETS, Target};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/MATRIX.md");
/// Scenarios wait more than they compute.
const THREADS: usize = 6;

type Results = BTreeMap<(&'static str, Target), Ran>;

fn main() -> ExitCode {
    if env::args().any(|argument| argument == "--table") {
        print!("{}", table());
        return ExitCode::SUCCESS;
    }
    let targets = if env::var_os(TARGETS).is_some() { Target::chosen() } else { Ok(Target::all()) };
    let targets = match targets {
        Ok(targets) => targets,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    let results = run(&targets);
    if let Err(error) = fs::write(PAGE, page(&targets, &results)) {
        eprintln!("error: write {PAGE}: {error}");
        return ExitCode::FAILURE;
    }
    let bad: Vec<_> = results.iter().filter(|(_, ran)| **ran != Ran::Passed).collect();
    for ((name, target), ran) in &bad {
        eprintln!("{target}::{name}: {ran:?}");
    }
    println!("{} of {} passed; see {PAGE}", results.len() - bad.len(), results.len());
    if bad.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs what fits, a few at a time, target after target.
fn run(targets: &[Target]) -> Results {
    let mut plan = Vec::new();
    let mut expected = BTreeMap::new();
    for target in targets {
        let ready = SCENARIOS.iter().filter(|scenario| matches!(scenario.state, State::Ready(_)));
        let mut fitting: Vec<_> = ready.filter(|scenario| target.fits(scenario.needs)).collect();
        fitting.sort_by_key(|scenario| scenario.needs.alone());
        expected.insert(target.clone(), fitting.len());
        plan.extend(fitting.into_iter().map(|scenario| (target, scenario)));
    }
    let pool = Pool::new(expected);
    let (next, results) = (AtomicUsize::new(0), Mutex::new(Results::new()));
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(&(target, scenario)) = plan.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let ran = pool.run(target, scenario);
                    println!("{target}::{}: {}", scenario.name, word(&ran));
                    let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
                    results.insert((scenario.name, target.clone()), ran);
                }
            });
        }
    });
    results.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn page(targets: &[Target], results: &Results) -> String {
    let mut page = format!(
        "# Conformance\n\nThe scenarios of [README.md](README.md) on each target: {}, on {}, {}/{}. Made by `cargo run \
         -p protocol-tests --bin matrix`.\n\nEmpty: the target lacks what the scenario needs, such as a third node.\n\n",
        first_line(Command::new("git").args(["describe", "--always", "--dirty"])),
        first_line(Command::new("date").args(["-u", "+%Y-%m-%d"])),
        env::consts::OS,
        env::consts::ARCH,
    );
    let names: Vec<String> = targets.iter().map(|target| format!(" {target} |")).collect();
    page += &format!("| scenario |{}\n| --- |{}\n", names.concat(), " --- |".repeat(targets.len()));
    for scenario in SCENARIOS {
        let cells: Vec<String> = targets.iter().map(|target| cell(scenario, target, results)).collect();
        page += &format!("| `{}` |{}\n", scenario.name, cells.concat());
    }
    page
}

fn cell(scenario: &Scenario, target: &Target, results: &Results) -> String {
    let word = match scenario.state {
        State::Pending(awaits) => format!("pending ({awaits})"),
        _ => {
            results.get(&(scenario.name, target.clone())).map_or_else(String::new, |ran| word(ran).to_owned())
        }
    };
    format!(" {word} |")
}

fn word(ran: &Ran) -> &'static str {
    match ran {
        Ran::Passed => "pass",
        Ran::Missing(_) => "missing",
        _ => "**FAIL**",
    }
}

/// The first line that a command says; nothing where there is no such command.
fn first_line(command: &mut Command) -> String {
    let said = command.output().map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    said.ok().and_then(|said| said.lines().next().map(str::to_owned)).unwrap_or_default()
}
