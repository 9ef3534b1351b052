//! The clusters of a run: each is started when its first scenario comes, shared by all, and stopped after its last.

use std::collections::BTreeMap;
use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use super::{Running, Target};
use crate::broker::BrokerError;
use crate::suite::{Scenario, Stage, State};

/// Far more than any scenario takes: what takes longer hangs.
const SCENARIO_TIMEOUT: Duration = Duration::from_secs(180);

/// What became of a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ran {
    /// All that it claims held.
    Passed,
    /// Why it did not.
    Failed(String),
    /// The target is missing on this machine, and why.
    Missing(String),
}

/// The clusters of a run.
#[derive(Debug)]
pub struct Pool {
    slots: BTreeMap<Target, Slot>,
}

#[derive(Debug)]
struct Slot {
    cluster: Mutex<Cluster>,
    /// Scenarios that stop nodes hold it alone.
    gate: RwLock<()>,
    /// Scenarios that are still to come.
    left: Mutex<usize>,
}

#[derive(Debug)]
enum Cluster {
    NotStarted,
    Up(Arc<Running>),
    Missing(String),
    Failed(String),
}

impl Pool {
    /// A pool for this run: how many scenarios each target has to expect.
    #[must_use]
    pub fn new(expected: BTreeMap<Target, usize>) -> Self {
        let slot = |left| Slot {
            cluster: Mutex::new(Cluster::NotStarted),
            gate: RwLock::new(()),
            left: Mutex::new(left),
        };
        Self { slots: expected.into_iter().map(|(target, left)| (target, slot(left))).collect() }
    }

    /// Runs one scenario on one target, and blocks until it is over.
    pub fn run(&self, target: &Target, scenario: &'static Scenario) -> Ran {
        let Some(slot) = self.slots.get(target) else {
            return Ran::Failed(format!("{target} was not announced to the pool"));
        };
        let ran = slot.run(target, scenario);
        slot.count_down();
        ran
    }
}

impl Slot {
    fn run(&self, target: &Target, scenario: &'static Scenario) -> Ran {
        let cluster = match self.cluster(target) {
            Ok(cluster) => cluster,
            Err(ran) => return ran,
        };
        if scenario.needs.alone() {
            let _alone = self.gate.write().unwrap_or_else(PoisonError::into_inner);
            let ran = play(target, &cluster, scenario);
            match heal(&cluster) {
                Ok(()) => ran,
                Err(error) => {
                    cluster.keep_logs();
                    Ran::Failed(format!("{ran:?}, and then the cluster does not recover: {error}"))
                }
            }
        } else {
            let _shared = self.gate.read().unwrap_or_else(PoisonError::into_inner);
            play(target, &cluster, scenario)
        }
    }

    /// The running cluster; whoever comes first starts it, and the others wait.
    fn cluster(&self, target: &Target) -> Result<Arc<Running>, Ran> {
        let mut cluster = self.cluster.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*cluster, Cluster::NotStarted) {
            *cluster = match Running::start(target) {
                Ok(running) => Cluster::Up(Arc::new(running)),
                Err(error @ BrokerError::Unavailable { .. }) => Cluster::Missing(error.to_string()),
                Err(error) => Cluster::Failed(error.to_string()),
            };
        }
        match &*cluster {
            Cluster::Up(running) => Ok(Arc::clone(running)),
            // A missing broker is a failure where every broker must be there.
            Cluster::Missing(reason) if env::var_os("CI").is_none_or(|ci| ci != "true") => {
                Err(Ran::Missing(reason.clone()))
            }
            Cluster::Missing(reason) | Cluster::Failed(reason) => Err(Ran::Failed(reason.clone())),
            Cluster::NotStarted => Err(Ran::Failed("it was not started".to_owned())),
        }
    }

    fn count_down(&self) {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        *left = left.saturating_sub(1);
        if *left == 0 {
            *self.cluster.lock().unwrap_or_else(PoisonError::into_inner) = Cluster::NotStarted;
        }
    }
}

/// Plays a scenario on a runtime of its own, so that nothing of it goes on when it is over.
fn play(target: &Target, cluster: &Arc<Running>, scenario: &'static Scenario) -> Ran {
    let State::Ready(run) = scenario.state else {
        return Ran::Failed(format!("{} is not written yet", scenario.name));
    };
    let stage = Stage::new(target.clone(), Arc::clone(cluster), scenario.name);
    let played = catch_unwind(AssertUnwindSafe(|| {
        let runtime = runtime()?;
        let outcome = runtime.block_on(async { tokio::time::timeout(SCENARIO_TIMEOUT, run(stage)).await });
        // What still blocks must not hold the run up.
        runtime.shutdown_background();
        outcome.map_err(|_| format!("it was not over after {SCENARIO_TIMEOUT:?}"))
    }));
    let ran = match played {
        Ok(Ok(())) => Ran::Passed,
        Ok(Err(reason)) => Ran::Failed(reason),
        Err(panic) => Ran::Failed(said(&*panic)),
    };
    if ran != Ran::Passed {
        cluster.keep_logs();
    }
    ran
}

fn heal(cluster: &Running) -> Result<(), String> {
    runtime()?.block_on(cluster.heal()).map_err(|error| error.to_string())
}

fn runtime() -> Result<tokio::runtime::Runtime, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.map_err(|error| format!("no runtime: {error}"))
}

/// What a panic said.
fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
    text.unwrap_or_else(|| "it panicked".to_owned())
}
