//! The words of an error.

use std::fmt;

use super::{Attempt, ConfigProblem, ErrorKind, Resource};

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { .. } | Self::Config { .. } | Self::Broker { .. } => self.fmt_lists(f),
            Self::Undelivered { .. }
            | Self::TransactionAborted { .. }
            | Self::TransactionEnded { .. }
            | Self::ProducerFailed { .. }
            | Self::Timeout { .. }
            | Self::Closed { .. }
            | Self::NoRuntime { .. } => self.fmt_outcome(f),
            Self::Io { .. }
            | Self::NotKafka { .. }
            | Self::FrameSize { .. }
            | Self::Malformed { .. }
            | Self::UnsupportedVersion { .. } => self.fmt_connection(f),
            _ => self.fmt_subject(f),
        }
    }
}

impl ErrorKind {
    fn fmt_lists(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broker { code, request, subject, message } => {
                write!(f, "the broker answered {request}")?;
                if !subject.is_empty() {
                    write!(f, " for {subject}")?;
                }
                write!(f, " with {code}")?;
                message.as_ref().map_or(Ok(()), |m| write!(f, ": {m}"))
            }
            Self::Unreachable { attempts, waited, setting } => {
                write!(f, "no broker could be reached in {waited:?} ({setting})")?;
                for Attempt { address, reason } in attempts {
                    write!(f, "; {address}: {reason}")?;
                }
                Ok(())
            }
            Self::Config { problems } => {
                f.write_str("the settings cannot stand as they are")?;
                for ConfigProblem { setting, value, reason } in problems {
                    write!(f, "; {setting} = {value:?}: {reason}")?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn fmt_outcome(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Undelivered { maybe_written, after, cause } => {
                let written = if *maybe_written { "it may have been written" } else { "it was not written" };
                write!(f, "the record was not acknowledged in {after:?} (delivery_timeout); {written}")?;
                cause.as_ref().map_or(Ok(()), |c| write!(f, "; last error: {c}"))
            }
            Self::Timeout { what, after, setting } => {
                write!(f, "{what}: no answer in {after:?} ({setting})")
            }
            Self::TransactionAborted { cause } => {
                f.write_str("the transaction was aborted")?;
                cause.as_ref().map_or(Ok(()), |cause| write!(f, ": {cause}"))
            }
            Self::TransactionEnded { transactional_id } => {
                write!(f, "the transaction of {transactional_id:?} that this handle belongs to is over")
            }
            Self::ProducerFailed { transactional_id, cause } => {
                write!(f, "the transactional producer {transactional_id:?} cannot go on: {cause}")
            }
            Self::Closed { what } => write!(f, "the {what} is closed"),
            Self::NoRuntime { call } => {
                write!(f, "{call} needs a tokio runtime, and there is none on this thread")
            }
            _ => Ok(()),
        }
    }

    fn fmt_connection(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { peer, detail, .. } => write!(f, "connection to {peer}: {detail}"),
            Self::NotKafka { peer, looks_like } => {
                write!(f, "{peer} does not speak Kafka's protocol here: it looks like {looks_like}")
            }
            Self::FrameSize { peer, length, limit, setting } => {
                write!(f, "{peer} announced an answer of {length} bytes; the limit is {limit} ({setting})")
            }
            Self::Malformed { peer, detail } => write!(f, "bytes from {peer} do not parse: {detail}"),
            Self::UnsupportedVersion { request, ours, theirs } => {
                write!(f, "{request}: this client speaks versions {} to {}, the broker ", ours.0, ours.1)?;
                match theirs {
                    Some((min, max)) => write!(f, "{min} to {max}"),
                    None => f.write_str("does not offer the request"),
                }
            }
            _ => Ok(()),
        }
    }

    fn fmt_subject(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAuthorized { resource, name } => match resource {
                Resource::Cluster => f.write_str("not authorized for the cluster"),
                Resource::Topic => write!(f, "not authorized for topic {name:?}"),
                Resource::Group => write!(f, "not authorized for group {name:?}"),
                Resource::TransactionalId => write!(f, "not authorized for transactional id {name:?}"),
            },
            Self::InvalidTopic { topic, reason } => write!(f, "{topic:?} cannot be a topic's name: {reason}"),
            Self::UnknownTopic { topic, waited, setting } => {
                write!(f, "topic {topic:?} does not exist; it was waited for {waited:?} ({setting})")
            }
            Self::TopicRecreated { topic, setting } => {
                write!(f, "topic {topic:?} was deleted, and another created under its name ({setting})")
            }
            Self::UnknownPartition { topic, partition, count } => {
                write!(
                    f,
                    "topic {topic:?} has {count} partitions, counted from 0; {partition} is none of them"
                )
            }
            Self::MetadataPending { topic } => {
                write!(f, "the partitions of topic {topic:?} are not known yet; they have been asked for")
            }
            Self::RecordTooLarge { size, limit, setting } => {
                write!(f, "the record takes {size} bytes")?;
                match limit {
                    Some(limit) => write!(f, "; the limit is {limit} ({setting})"),
                    None => write!(f, " in a batch of its own; the topic takes less ({setting})"),
                }
            }
            Self::Full { needed, limit, setting } => {
                write!(
                    f,
                    "no room for {needed} bytes now; the limit of buffered bytes is {limit} ({setting})"
                )
            }
            Self::NoPosition { partition } => {
                write!(f, "{partition} has no committed offset and no start position (start_at)")
            }
            Self::OffsetOutOfRange { partition, offset, setting } => {
                write!(f, "offset {offset} lies outside the log of {partition} ({setting})")
            }
            Self::LogTruncated { partition, offset, diverges_at, setting } => write!(
                f,
                "{partition} was read up to offset {offset}, but its log has lost what was read from {diverges_at} on; \
                 seek to {diverges_at} to go on ({setting})"
            ),
            Self::CorruptBatch { partition, offset, next_offset, detail } => {
                write!(f, "the batch at offset {offset} of {partition} cannot be read: {detail}")?;
                next_offset.map_or(Ok(()), |next| write!(f, "; seek to {next} to skip it"))
            }
            Self::NotMember { group } => write!(f, "the consumer is not a member of group {group:?} yet"),
            Self::NotAssigned { partition } => write!(f, "{partition} is not assigned to this consumer"),
            Self::Fenced { identity } => write!(f, "another instance has taken over {identity}"),
            _ => Ok(()),
        }
    }
}
