//! The brokers that the suite can run on, by name, and which of them a run uses.

mod pool;
mod running;

use std::{env, fmt, str::FromStr};

pub use pool::{Pool, Ran};
pub use running::{Failure, Running};

use crate::broker::Version;
use crate::suite::Needs;

/// Names the targets of a run, separated by commas; `all` means every one that this machine can start.
pub const TARGETS: &str = "MILENA_TARGETS";
/// The address of a cluster that the user has started; without [`TARGETS`] it alone is tested.
pub const BOOTSTRAP: &str = "MILENA_BOOTSTRAP";

/// What the suite can run on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Target {
    /// The embedded cluster, over TCP.
    Embedded {
        /// How many nodes.
        nodes: usize,
    },
    /// Apache Kafka from its jars.
    Kafka {
        /// Which.
        version: Version,
        /// How many nodes.
        nodes: usize,
    },
    /// A cluster that somebody else runs: its nodes cannot be stopped.
    Given {
        /// Its addresses, separated by commas.
        bootstrap: String,
    },
}

impl Target {
    /// Every target that this crate can start itself, in the order in which a run takes them.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let embedded = [1, 3].map(|nodes| Self::Embedded { nodes });
        let newest_first = Version::ALL.into_iter().rev();
        let kafka = newest_first.flat_map(|version| [1, 3].map(|nodes| Self::Kafka { version, nodes }));
        embedded.into_iter().chain(kafka).collect()
    }

    /// What a run uses that was told nothing: all but the older versions' clusters of three, which cost a minute each.
    #[must_use]
    pub fn usual() -> Vec<Self> {
        let is_usual = |target: &Self| match target {
            Self::Kafka { version, nodes } => *version == Version::V4_4_0 || *nodes == 1,
            _ => true,
        };
        Self::all().into_iter().filter(is_usual).collect()
    }

    /// What the environment asks for.
    ///
    /// # Errors
    /// The name that is no target's, with those that are.
    pub fn chosen() -> Result<Vec<Self>, String> {
        let named = env::var(TARGETS).ok();
        let given = env::var(BOOTSTRAP).ok().map(|bootstrap| Self::Given { bootstrap });
        match (named.as_deref(), given) {
            (Some("all"), _) => Ok(Self::all()),
            (Some(names), given) => names
                .split(',')
                .map(|name| match (name, &given) {
                    ("given", Some(given)) => Ok(given.clone()),
                    ("given", None) => Err(format!("the target `given` needs {BOOTSTRAP}=host:port")),
                    _ => name.parse(),
                })
                .collect(),
            (None, Some(given)) => Ok(vec![given]),
            (None, None) => Ok(Self::usual()),
        }
    }

    /// Whether a scenario with these needs can run on it. What a given cluster has is not known before it is asked.
    #[must_use]
    pub fn fits(&self, needs: Needs) -> bool {
        match self {
            Self::Embedded { nodes } => needs.nodes <= *nodes,
            Self::Kafka { nodes, version } => {
                let migrates = *version != Version::V3_9_1;
                needs.nodes <= *nodes
                    && !needs.faults
                    && (cfg!(unix) || !needs.pauses)
                    && (migrates || !needs.migrates)
            }
            Self::Given { .. } => needs == Needs::NOTHING,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes = match self {
            Self::Embedded { nodes } => {
                f.write_str("embedded")?;
                *nodes
            }
            Self::Kafka { version, nodes } => {
                write!(f, "kafka-{version}")?;
                *nodes
            }
            Self::Given { .. } => return f.write_str("given"),
        };
        if nodes == 1 { Ok(()) } else { write!(f, "-x{nodes}") }
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let all = Self::all();
        let known = all.iter().find(|target| target.to_string() == name);
        known.cloned().ok_or_else(|| {
            let names: Vec<String> = all.iter().map(ToString::to_string).collect();
            format!("unknown target `{name}`; known are all, given, {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for target in Target::all() {
            assert_eq!(target.to_string().parse(), Ok(target));
        }
        let error = "kafka-1".parse::<Target>().err().unwrap_or_default();
        assert!(error.contains("`kafka-1`") && error.contains("kafka-4.4.0-x3"), "{error}");
    }

    #[test]
    fn a_run_that_was_told_nothing_has_the_newest_in_both_sizes() {
        let names: Vec<String> = Target::usual().iter().map(ToString::to_string).collect();
        let expected =
            ["embedded", "embedded-x3", "kafka-4.4.0", "kafka-4.4.0-x3", "kafka-4.0.0", "kafka-3.9.1"];
        assert_eq!(names, expected);
    }
}
