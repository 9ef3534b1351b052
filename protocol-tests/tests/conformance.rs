//! The conformance suite: every scenario on every target that it fits, each a test of its own, named
//! `target::scenario`. The README of this crate tells how to choose.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test program speaks on its standard streams"
)]

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use protocol_tests::suite::{SCENARIOS, Scenario, State};
use protocol_tests::target::{Pool, Ran, Target};
use tracing_subscriber::filter::{EnvFilter, LevelFilter};

/// Scenarios wait more than they compute, so that more of them than cores are under way.
const THREADS: usize = 6;

fn main() -> ExitCode {
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::OFF.into()).from_env_lossy();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(THREADS);
    let targets = match Target::chosen() {
        Ok(targets) => targets,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    let plan: Vec<Planned> =
        targets.iter().flat_map(of).filter(|planned| planned.is_asked_for(&arguments)).collect();
    let mut expected = BTreeMap::new();
    for planned in &plan {
        *expected.entry(planned.target.clone()).or_insert(0) += 1;
    }
    let pool = Arc::new(Pool::new(expected));
    let trials = plan.into_iter().map(|planned| planned.trial(&pool)).collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    let pending: Vec<_> = SCENARIOS.iter().filter_map(pending).collect();
    if !arguments.list && !pending.is_empty() {
        println!("{} scenarios are pending: {}\n", pending.len(), pending.join(", "));
    }
    conclusion.exit_code()
}

/// One scenario on one target.
struct Planned {
    target: Target,
    scenario: &'static Scenario,
}

/// The scenarios for a target; those that want it to themselves come last.
fn of(target: &Target) -> Vec<Planned> {
    let ready = SCENARIOS.iter().filter(|scenario| matches!(scenario.state, State::Ready(_)));
    let fitting = ready.filter(|scenario| target.fits(scenario.needs));
    let mut planned: Vec<_> = fitting.map(|scenario| Planned { target: target.clone(), scenario }).collect();
    planned.sort_by_key(|planned| planned.scenario.needs.alone());
    planned
}

impl Planned {
    fn name(&self) -> String {
        format!("{}::{}", self.target, self.scenario.name)
    }

    /// What the test library decides too, but tells nobody; a cluster is stopped after its last scenario.
    fn is_asked_for(&self, arguments: &Arguments) -> bool {
        let name = self.name();
        let fits = |filter: &String| if arguments.exact { name == *filter } else { name.contains(filter) };
        arguments.filter.as_ref().is_none_or(fits) && !arguments.skip.iter().any(fits)
    }

    fn trial(self, pool: &Arc<Pool>) -> Trial {
        let pool = Arc::clone(pool);
        Trial::test(self.name(), move || match pool.run(&self.target, self.scenario) {
            Ran::Passed => Ok(()),
            Ran::Missing(reason) => {
                eprintln!("\n=== SKIPPED, NOT TESTED: {}: {reason} ===\n", self.name());
                Ok(())
            }
            Ran::Failed(reason) => Err(Failed::from(reason)),
            other => Err(Failed::from(format!("{other:?}"))),
        })
    }
}

fn pending(scenario: &Scenario) -> Option<String> {
    match scenario.state {
        State::Pending(awaits) => Some(format!("{} ({awaits})", scenario.name)),
        _ => None,
    }
}
