use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use std::{env, fmt, io};

/// Why there is no broker or no foreign client, or why it did not do what it was told.
#[derive(Debug)]
#[non_exhaustive]
pub enum BrokerError {
    /// This machine lacks what it needs: Java, Maven, Python, or access to what they fetch.
    Unavailable {
        /// What is missing and how that showed.
        reason: String,
    },
    /// Everything is there, and still it failed. The directory with the logs is kept.
    Failed {
        /// What was tried.
        what: String,
        /// What came of it, with the end of the log.
        reason: String,
        /// Where the configuration and the logs lie.
        directory: PathBuf,
    },
    /// There is no node with this id.
    UnknownNode {
        /// The id that was asked for.
        node: i32,
        /// How many nodes there are; their ids begin at 1.
        nodes: usize,
    },
    /// The operating system refused something.
    Io {
        /// What was tried.
        what: String,
        /// Its answer.
        source: io::Error,
    },
}

impl BrokerError {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        |source| Self::Io { what: what.into(), source }
    }
}

impl fmt::Display for BrokerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable { reason } => write!(f, "not on this machine: {reason}"),
            Self::Failed { what, reason, directory } => {
                write!(f, "{what}: {reason}\nsee {}", directory.display())
            }
            Self::UnknownNode { node, nodes } => {
                write!(f, "no node {node}: the cluster has the nodes 1 to {nodes}")
            }
            Self::Io { what, source } => write!(f, "{what}: {source}"),
        }
    }
}

impl Error for BrokerError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// What a test does with a broker or a foreign client that it may have to do without: at a desk a machine that lacks what
/// it needs skips the test and says so; with `CI=true` that is a failure. What is there and fails is always a failure.
///
/// # Panics
/// When the test must fail.
#[expect(clippy::panic, reason = "this is how a test fails")]
pub fn or_skip<T>(broker: Result<T, BrokerError>) -> Option<T> {
    match broker {
        Ok(broker) => Some(broker),
        Err(error @ BrokerError::Unavailable { .. }) if env::var_os("CI").is_none_or(|ci| ci != "true") => {
            // Not by `eprintln!`, which a test program swallows where the test passes.
            let _ = writeln!(io::stderr(), "\n=== SKIPPED, NOT TESTED: {error} ===\n");
            None
        }
        Err(error) => panic!("{error}"),
    }
}
