//! Whether a service is live and ready.

use std::{fmt, sync::Arc};

use super::shared::Shared;
use crate::clock;

/// A check that is asked for readiness: `Err` tells why not.
pub(super) type Check = (String, Arc<dyn Fn() -> Result<(), String> + Send + Sync>);

/// Tells whether a service is live and ready. It is cheap to clone, and asks nobody over the network.
#[derive(Clone)]
pub struct Health {
    shared: Arc<Shared>,
    checks: Arc<[Check]>,
}

impl Health {
    pub(super) fn new(shared: Arc<Shared>, checks: Vec<Check>) -> Self {
        Self { shared, checks: checks.into() }
    }

    /// Whether the service's task runs. A service that is not live does not become so again: restart the process.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.shared.standing().is_alive
    }

    /// Whether all is as it should be.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.problems().is_empty()
    }

    /// Why the service is not ready: it stops, is no member of its group yet, has lanes that are halted or cannot
    /// publish, partitions that cannot be read, or [tasks](crate::Service::task) that fail; or a
    /// [check](crate::Service::ready_when) says so. Empty if it is.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let standing = self.shared.standing();
        if standing.is_leaving || self.shared.is_stopping() {
            problems.push("the service is stopping".to_owned());
        }
        if !standing.has_joined {
            problems.push(format!("not yet a member of the group {:?}", self.shared.group));
        }
        problems.extend(standing.trouble.clone());
        problems.extend(
            standing.unreadable.iter().map(|(partition, why)| format!("{partition} cannot be read: {why}")),
        );
        problems.extend(
            standing.failing.iter().map(|(task, why)| format!("the task {task:?} has failed: {why}")),
        );
        drop(standing);
        problems.extend(self.halted().iter().map(ToString::to_string));
        let lanes = self.shared.lanes();
        let stuck: Vec<&str> = lanes
            .waiting()
            .filter(|record| record.stuck > 0)
            .filter_map(|record| record.trouble.as_deref())
            .collect();
        if let Some(first) = stuck.first() {
            problems.push(format!("{} records wait; one {first}", stuck.len()));
        }
        drop(stuck);
        drop(lanes);
        let checked =
            self.checks.iter().filter_map(|(name, check)| check().err().map(|why| format!("{name}: {why}")));
        problems.extend(checked);
        problems
    }

    /// The records that cannot be handled, and have no dead-letter topic to go to. Nothing behind them with their key is
    /// handled either.
    #[must_use]
    pub fn halted(&self) -> Vec<HaltedLane> {
        let lanes = self.shared.lanes();
        lanes
            .halted()
            .map(|record| HaltedLane {
                partition: record.message.topic_partition().clone(),
                offset: record.message.offset(),
                handler: record.target.place.handler.clone(),
                error: record.trouble.clone().unwrap_or_default(),
            })
            .collect()
    }

    /// Has the lanes that have halted try again: after what stopped them is mended.
    pub fn retry_halted(&self) {
        self.shared.lanes().retry_halted(clock::now());
        self.shared.bell.notify_one();
    }
}

/// A record that cannot be handled.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HaltedLane {
    /// Its partition.
    pub partition: milena::TopicPartition,
    /// Its offset.
    pub offset: milena::Offset,
    /// The handler.
    pub handler: String,
    /// Why.
    pub error: String,
}

impl fmt::Display for HaltedLane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { partition, offset, handler, error } = self;
        write!(f, "{handler} has halted at {partition}@{offset}: {error}")
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health").field("problems", &self.problems()).finish()
    }
}
