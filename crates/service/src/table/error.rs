//! Why a table does not go on, or a wait for it has ended.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use milena::TopicName;

use super::position::LogPosition;

/// Why a [`Table`](crate::Table) could not start, does not go on, or a wait for it has ended. Cheap to clone.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum TableError {
    /// A setting cannot stand.
    #[non_exhaustive]
    Setting {
        /// The setting.
        setting: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The topic cannot be read, or not any further: what the client says.
    #[non_exhaustive]
    Client {
        /// The topic.
        topic: TopicName,
        /// Why.
        error: milena::Error,
    },
    /// A record could not be decoded, and the table is not to [skip](crate::OnUndecodable::Skip) it.
    #[non_exhaustive]
    Undecodable {
        /// The record.
        at: LogPosition,
        /// What the decoder says.
        error: Arc<dyn Error + Send + Sync>,
    },
    /// There are more keys than the table may have.
    #[non_exhaustive]
    Full {
        /// The record whose key was too many.
        at: LogPosition,
        /// How many keys the table may have.
        limit: usize,
        /// The setting that holds the limit.
        setting: &'static str,
    },
    /// What was waited for stands in a topic or a partition that the table does not read.
    #[non_exhaustive]
    NotRead {
        /// What was waited for.
        position: LogPosition,
        /// The topic that the table reads.
        topic: TopicName,
    },
    /// What was waited for did not come in time.
    #[non_exhaustive]
    Timeout {
        /// What was waited for.
        position: LogPosition,
        /// How long.
        after: Duration,
    },
    /// The table was stopped; or its task has ended by itself, since its decoder panicked or its runtime has ended.
    #[non_exhaustive]
    Stopped {
        /// The topic that it has read.
        topic: TopicName,
    },
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setting { setting, value, reason } => write!(f, "{setting} cannot be {value}: {reason}"),
            Self::Client { topic, .. } => write!(f, "the table of {topic} cannot read"),
            Self::Undecodable { at, .. } => write!(f, "the record {at} cannot be decoded"),
            Self::Full { at, limit, setting } => {
                write!(f, "the record {at} has a key more than the {limit} that {setting} allows")
            }
            Self::NotRead { position, topic } => {
                write!(f, "a table of {topic} never gets to {position}: it does not read there")
            }
            Self::Timeout { position, after } => {
                write!(f, "the table has not got to {position} in {after:?}")
            }
            Self::Stopped { topic } => write!(f, "the table of {topic} has stopped"),
        }
    }
}

impl Error for TableError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Client { error, .. } => Some(error),
            Self::Undecodable { error, .. } => Some(&**error),
            _ => None,
        }
    }
}
