//! The one error of the crate: a kind with its facts, and the questions a caller asks of it.

mod code;
mod display;

use std::{fmt, sync::Arc, time::Duration};

pub use code::Code;
pub(crate) use code::Disposition;

use crate::types::{InvalidTopicName, Partition, TopicName, TopicPartition};

/// A result with the crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong. Small and cheap to clone, so that every record of a failed batch can have it.
///
/// Ask [`kind`](Self::kind) for the facts and the `is_…` methods for what to do. The text of the message is for
/// people and may change between versions.
#[derive(Clone)]
pub struct Error(Arc<ErrorKind>);

/// The facts of an [`Error`]: what happened, the value, the limit, and the setting to change.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A broker answered with an error code.
    #[non_exhaustive]
    Broker {
        /// The code.
        code: Code,
        /// The request that it answered, such as `Produce`.
        request: &'static str,
        /// What it was about: a topic, a partition, a group; empty where it concerns the request as a whole.
        subject: String,
        /// The broker's own words, where it gave any.
        message: Option<String>,
    },
    /// The broker does not let this principal do that.
    #[non_exhaustive]
    NotAuthorized {
        /// What is protected.
        resource: Resource,
        /// Its name; empty for the cluster.
        name: String,
    },
    /// No broker of those tried could be reached for as long as the setting allows.
    #[non_exhaustive]
    Unreachable {
        /// Every address tried, with the last reason why it failed.
        attempts: Vec<Attempt>,
        /// How long was tried.
        waited: Duration,
        /// The setting that bounds the wait.
        setting: &'static str,
    },
    /// A connection failed.
    #[non_exhaustive]
    Io {
        /// The peer's address.
        peer: String,
        /// What the operating system said.
        kind: std::io::ErrorKind,
        /// Its words.
        detail: String,
    },
    /// The peer does not speak Kafka's protocol in the way that was expected, such as HTTP, or TLS on a plain port.
    #[non_exhaustive]
    NotKafka {
        /// The peer's address.
        peer: String,
        /// What it looks like.
        looks_like: &'static str,
    },
    /// An answer announced a length outside the limits. The connection was closed.
    #[non_exhaustive]
    FrameSize {
        /// The peer's address.
        peer: String,
        /// The announced length in bytes.
        length: i64,
        /// The limit in bytes.
        limit: usize,
        /// The setting that holds the limit.
        setting: &'static str,
    },
    /// Bytes from a broker did not parse. The connection was closed.
    #[non_exhaustive]
    Malformed {
        /// The peer's address, or the partition the bytes belong to.
        peer: String,
        /// What did not parse, and where.
        detail: String,
    },
    /// The broker offers no version of a request that this crate speaks.
    #[non_exhaustive]
    UnsupportedVersion {
        /// The request.
        request: &'static str,
        /// The versions of this crate.
        ours: (i16, i16),
        /// The versions of the broker; `None` where it does not know the request.
        theirs: Option<(i16, i16)>,
    },
    /// No answer came in time.
    #[non_exhaustive]
    Timeout {
        /// What was waited for.
        what: String,
        /// How long.
        after: Duration,
        /// The setting that bounds the wait.
        setting: &'static str,
    },
    /// A record was not acknowledged in time.
    #[non_exhaustive]
    Undelivered {
        /// Whether the record may be in the log all the same.
        maybe_written: bool,
        /// How long delivery was tried.
        after: Duration,
        /// The last thing that went wrong, where something did.
        cause: Option<Error>,
    },
    /// The name cannot be a topic's.
    #[non_exhaustive]
    InvalidTopic {
        /// The name.
        topic: TopicName,
        /// The rule that it breaks.
        reason: String,
    },
    /// The topic does not exist, as far as the brokers know.
    #[non_exhaustive]
    UnknownTopic {
        /// The topic.
        topic: TopicName,
        /// How long was waited for it to appear.
        waited: Duration,
        /// The setting that bounds the wait.
        setting: &'static str,
    },
    /// The topic was deleted, and another created under its name, while a record was on its way to it, or while it was
    /// read. Whether the new one is meant as well is for the user to say, record by record, by a seek, or with the setting.
    #[non_exhaustive]
    TopicRecreated {
        /// The topic.
        topic: TopicName,
        /// The setting with which the new topic takes the old one's place.
        setting: &'static str,
    },
    /// The topic has no such partition.
    #[non_exhaustive]
    UnknownPartition {
        /// The topic.
        topic: TopicName,
        /// The partition asked for.
        partition: Partition,
        /// How many partitions the topic has, counted from 0.
        count: u32,
    },
    /// The topic's partitions are not known yet; they have been asked for. Try again soon, or use a call that waits.
    #[non_exhaustive]
    MetadataPending {
        /// The topic.
        topic: TopicName,
    },
    /// The record cannot be sent, because it is too large.
    #[non_exhaustive]
    RecordTooLarge {
        /// Its size in bytes, encoded.
        size: usize,
        /// The limit in bytes; `None` where it is the broker's, which does not tell it.
        limit: Option<usize>,
        /// The setting that holds the limit: one of this client's, or of the topic (`max.message.bytes`).
        setting: &'static str,
    },
    /// There is no room for the record now.
    #[non_exhaustive]
    Full {
        /// The bytes that the record takes.
        needed: usize,
        /// The limit of all buffered bytes.
        limit: usize,
        /// The setting that holds the limit.
        setting: &'static str,
    },
    /// Settings contradict each other or are out of range. All problems are listed.
    #[non_exhaustive]
    Config {
        /// Each problem on its own.
        problems: Vec<ConfigProblem>,
    },
    /// The client, producer or consumer was closed.
    #[non_exhaustive]
    Closed {
        /// Which of them.
        what: &'static str,
    },
    /// The call needs a tokio runtime and there is none on this thread.
    #[non_exhaustive]
    NoRuntime {
        /// The call.
        call: &'static str,
    },
    /// A partition has neither a committed offset nor a start position.
    #[non_exhaustive]
    NoPosition {
        /// The partition.
        partition: TopicPartition,
    },
    /// The position lies outside the partition's log.
    #[non_exhaustive]
    OffsetOutOfRange {
        /// The partition.
        partition: TopicPartition,
        /// The position.
        offset: i64,
        /// The setting that says what to do then.
        setting: &'static str,
    },
    /// The log has lost records that were handed out already, as it may when a replica that lagged behind became the
    /// leader (KIP-320). What is there now from `diverges_at` on was not read.
    #[non_exhaustive]
    LogTruncated {
        /// The partition.
        partition: TopicPartition,
        /// The position: the records in front of it were handed out.
        offset: i64,
        /// The first offset whose record is another now, or is not there; seek to it to go on.
        diverges_at: i64,
        /// The setting that says what to do then.
        setting: &'static str,
    },
    /// A record batch cannot be read. Other partitions go on; seek to `next_offset` to skip it.
    #[non_exhaustive]
    CorruptBatch {
        /// The partition.
        partition: TopicPartition,
        /// The batch's first offset.
        offset: i64,
        /// The offset behind the batch, where it is known.
        next_offset: Option<i64>,
        /// What is wrong with it.
        detail: String,
    },
    /// The consumer is not a member of its group yet.
    #[non_exhaustive]
    NotMember {
        /// The group.
        group: String,
    },
    /// The partition is not, or no longer, assigned to this consumer.
    #[non_exhaustive]
    NotAssigned {
        /// The partition.
        partition: TopicPartition,
    },
    /// Another producer or consumer with the same identity has taken over. This one cannot go on.
    #[non_exhaustive]
    Fenced {
        /// The identity.
        identity: String,
    },
    /// The transaction failed and was aborted: nothing that was written in it counts. The producer stays usable.
    #[non_exhaustive]
    TransactionAborted {
        /// Why; `None` where its user has aborted it.
        cause: Option<Error>,
    },
    /// The transaction that a handle belongs to is over.
    #[non_exhaustive]
    TransactionEnded {
        /// The id of the producer's transactions.
        transactional_id: String,
    },
    /// The transactional producer cannot go on, and every call on it says so. Build a new one.
    #[non_exhaustive]
    ProducerFailed {
        /// The id of its transactions.
        transactional_id: String,
        /// Why.
        cause: Error,
    },
}

/// What an authorizer protects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Resource {
    /// A topic.
    Topic,
    /// A consumer group.
    Group,
    /// The cluster itself.
    Cluster,
    /// A transactional id.
    TransactionalId,
}

/// One address that was tried, and why it failed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attempt {
    /// Host and port as configured, and the resolved address where resolving worked.
    pub address: String,
    /// Why it failed.
    pub reason: String,
}

/// One setting that cannot stand as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigProblem {
    /// The setting.
    pub setting: &'static str,
    /// Its value.
    pub value: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Error {
    /// The facts.
    #[must_use]
    pub fn kind(&self) -> &ErrorKind {
        &self.0
    }

    /// The broker's error code, where a broker's answer is the reason.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        match self.kind() {
            ErrorKind::Broker { code, .. } => Some(*code),
            ErrorKind::Undelivered { cause: Some(cause), .. }
            | ErrorKind::TransactionAborted { cause: Some(cause) }
            | ErrorKind::ProducerFailed { cause, .. } => cause.code(),
            _ => None,
        }
    }

    /// Whether the same call may succeed if it is made again.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self.kind() {
            ErrorKind::Broker { code, .. } => code.is_retriable(),
            ErrorKind::Unreachable { .. }
            | ErrorKind::Io { .. }
            | ErrorKind::Timeout { .. }
            | ErrorKind::Undelivered { .. }
            | ErrorKind::UnknownTopic { .. }
            | ErrorKind::MetadataPending { .. }
            | ErrorKind::NotMember { .. }
            | ErrorKind::Full { .. } => true,
            _ => false,
        }
    }

    /// Whether another attempt, later or at another broker, may fare better: also where a peer has sent garbage.
    pub(crate) fn may_pass(&self) -> bool {
        let garbage = |kind: &ErrorKind| {
            matches!(
                kind,
                ErrorKind::NotKafka { .. } | ErrorKind::FrameSize { .. } | ErrorKind::Malformed { .. }
            )
        };
        self.is_retriable() || garbage(self.kind())
    }

    /// Whether this client, producer or consumer can never succeed again and a new one must be built.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        matches!(
            self.kind(),
            ErrorKind::Fenced { .. } | ErrorKind::Closed { .. } | ErrorKind::ProducerFailed { .. }
        )
    }

    /// Whether the transaction that the call was made in is lost, and with it all that was written in it: nothing of it
    /// will be seen by who reads only what is committed. The producer stays usable; what was to be done can be tried
    /// in a new transaction.
    #[must_use]
    pub fn requires_abort(&self) -> bool {
        matches!(self.kind(), ErrorKind::TransactionAborted { .. })
    }

    /// Whether a record that failed with this error may be in the log all the same.
    #[must_use]
    pub fn maybe_written(&self) -> bool {
        matches!(self.kind(), ErrorKind::Undelivered { maybe_written: true, .. })
    }

    /// A broker's error code, with the request that it answered and what it was about: for tests of what is done about
    /// errors. Authorization failures become [`ErrorKind::NotAuthorized`].
    ///
    /// ```
    /// use milena::{Code, Error};
    ///
    /// let error = Error::broker(Code::NOT_ENOUGH_REPLICAS, "Produce", "orders-0");
    /// assert!(error.is_retriable());
    /// ```
    #[must_use]
    pub fn broker(code: Code, request: &'static str, subject: impl Into<String>) -> Self {
        Self::broker_saying(code, request, subject, None)
    }

    /// As [`Self::broker`], with the broker's own words.
    pub(crate) fn broker_saying(
        code: Code,
        request: &'static str,
        subject: impl Into<String>,
        message: Option<String>,
    ) -> Self {
        let subject = subject.into();
        let resource = match code {
            Code::TOPIC_AUTHORIZATION_FAILED => Resource::Topic,
            Code::GROUP_AUTHORIZATION_FAILED => Resource::Group,
            Code::CLUSTER_AUTHORIZATION_FAILED => Resource::Cluster,
            Code::TRANSACTIONAL_ID_AUTHORIZATION_FAILED => Resource::TransactionalId,
            _ => return ErrorKind::Broker { code, request, subject, message }.into(),
        };
        // There is one cluster, whatever was to be done with it.
        let name = if resource == Resource::Cluster { String::new() } else { subject };
        ErrorKind::NotAuthorized { resource, name }.into()
    }
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Self {
        Self(Arc::new(kind))
    }
}

impl From<InvalidTopicName> for Error {
    fn from(InvalidTopicName { topic, reason }: InvalidTopicName) -> Self {
        ErrorKind::InvalidTopic { topic, reason }.into()
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self.kind() {
            ErrorKind::Undelivered { cause: Some(cause), .. }
            | ErrorKind::TransactionAborted { cause: Some(cause) }
            | ErrorKind::ProducerFailed { cause, .. } => Some(cause),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&*self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authorization_code_names_the_resource() {
        let error = Error::broker(Code::GROUP_AUTHORIZATION_FAILED, "JoinGroup", "g1");
        assert!(
            matches!(error.kind(), ErrorKind::NotAuthorized { resource: Resource::Group, name } if name == "g1")
        );
        assert!(!error.is_retriable());
    }

    #[test]
    fn an_unreachable_cluster_lists_every_address() {
        let attempt = |address: &str| Attempt { address: address.into(), reason: "refused".into() };
        let kind = ErrorKind::Unreachable {
            attempts: vec![attempt("a:1"), attempt("b:2")],
            waited: Duration::from_secs(3),
            setting: "connect_deadline",
        };
        let text = Error::from(kind).to_string();
        assert_eq!(text, "no broker could be reached in 3s (connect_deadline); a:1: refused; b:2: refused");
    }

    #[test]
    fn the_cause_of_a_failed_delivery_is_its_source() {
        let cause = Error::broker(Code::NOT_ENOUGH_REPLICAS, "Produce", "t-0");
        let error = Error::from(ErrorKind::Undelivered {
            maybe_written: true,
            after: Duration::from_secs(120),
            cause: Some(cause),
        });
        assert!(error.maybe_written() && std::error::Error::source(&error).is_some());
        assert_eq!(error.code(), Some(Code::NOT_ENOUGH_REPLICAS));
    }
}
