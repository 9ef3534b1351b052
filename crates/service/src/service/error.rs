//! Why a service cannot start, or has ended.

use std::{error::Error, fmt};

use milena::TopicName;

/// Why a service cannot start, or has ended.
#[non_exhaustive]
#[derive(Debug)]
pub enum ServiceError {
    /// The service is not put together as it should be. All problems are listed.
    Setup {
        /// Each problem on its own.
        problems: Vec<String>,
    },
    /// Topics are missing that the service is not to create ([`create_topics`](crate::Service::create_topics)), for 5 s, or
    /// that it may not create.
    MissingTopics {
        /// Each topic, with its number of partitions where that is known.
        topics: Vec<(TopicName, Option<u32>)>,
        /// Why they were not created, if that was tried.
        cause: Option<milena::Error>,
    },
    /// The client could not do what was needed.
    Client(milena::Error),
    /// The consumer has ended though nobody told it to: its client was closed.
    Ended,
    /// Something of the service has panicked.
    Panicked,
    /// Serving HTTP has failed.
    Http(std::io::Error),
}

impl fmt::Display for ServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setup { problems } => write!(f, "the service cannot start: {}", problems.join("; ")),
            Self::MissingTopics { topics, cause } => {
                f.write_str("topics are missing; create them, or allow it by `create_topics`:")?;
                for (index, (topic, partitions)) in topics.iter().enumerate() {
                    write!(f, "{} {topic}", if index == 0 { "" } else { "," })?;
                    if let Some(partitions) = partitions {
                        write!(f, " ({partitions} partitions)")?;
                    }
                }
                cause.iter().try_for_each(|cause| write!(f, " ({cause})"))
            }
            Self::Client(error) => write!(f, "{error}"),
            Self::Ended => f.write_str("the consumer has ended: its client was closed"),
            Self::Panicked => f.write_str("the service has panicked"),
            Self::Http(error) => write!(f, "serving HTTP has failed: {error}"),
        }
    }
}

impl Error for ServiceError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::MissingTopics { cause: Some(error), .. } => Some(error),
            // It is told as the error itself.
            Self::Client(error) => error.source(),
            _ => None,
        }
    }
}

impl From<milena::Error> for ServiceError {
    fn from(error: milena::Error) -> Self {
        Self::Client(error)
    }
}
