//! The vocabulary: topics, partitions, offsets, brokers and positions as types of their own.

use std::{borrow::Borrow, fmt, ops::Deref, sync::Arc, time::Duration};

/// The name of a topic. Cheap to clone.
///
/// Any string can be wrapped, because a broker has the last word; [`TopicName::check`] tells whether Kafka
/// would take it, and every call that sends a name to a broker checks it first.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicName(Arc<str>);

impl TopicName {
    /// The longest legal name, in characters.
    pub const MAX_LEN: usize = 249;

    /// The name as a string slice.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text itself, to be shared with what is written to a broker.
    pub(crate) fn shared(&self) -> &Arc<str> {
        &self.0
    }

    /// Tells whether `name` is a legal topic name: 1 to 249 of the characters `a-z A-Z 0-9 . _ -`, and neither
    /// `.` nor `..`.
    ///
    /// # Errors
    /// [`InvalidTopicName`] with the name and the rule that it breaks.
    pub fn check(name: &str) -> Result<(), InvalidTopicName> {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let reason = if name.is_empty() {
            "it is empty".to_owned()
        } else if name == "." || name == ".." {
            "`.` and `..` are reserved".to_owned()
        } else if name.len() > Self::MAX_LEN {
            format!("it has {} bytes, the limit is {}", name.len(), Self::MAX_LEN)
        } else if let Some(c) = name.chars().find(|c| !legal(*c)) {
            format!("it holds {c:?}; only a-z, A-Z, 0-9, '.', '_' and '-' are allowed")
        } else {
            return Ok(());
        };
        Err(InvalidTopicName { topic: name.into(), reason })
    }
}

/// A name that Kafka does not take for a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidTopicName {
    /// The name.
    pub topic: TopicName,
    /// The rule that it breaks.
    pub reason: String,
}

impl std::error::Error for InvalidTopicName {}

impl fmt::Display for InvalidTopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} cannot be a topic's name: {}", self.topic, self.reason)
    }
}

impl Deref for TopicName {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for TopicName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for TopicName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for TopicName {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl From<String> for TopicName {
    fn from(name: String) -> Self {
        Self(name.into())
    }
}

impl From<Arc<str>> for TopicName {
    fn from(name: Arc<str>) -> Self {
        Self(name)
    }
}

impl From<&Self> for TopicName {
    fn from(name: &Self) -> Self {
        name.clone()
    }
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub $inner);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl From<$inner> for $name {
            fn from(number: $inner) -> Self {
                Self(number)
            }
        }
    };
}

number! {
    /// The index of a partition within its topic.
    Partition(i32)
}
number! {
    /// The place of a record in its partition's log.
    Offset(i64)
}
number! {
    /// The id of a broker.
    NodeId(i32)
}

/// One partition of one topic.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(clippy::exhaustive_structs, reason = "a topic and an index, for ever")]
pub struct TopicPartition {
    /// The topic.
    pub topic: TopicName,
    /// The partition's index.
    pub partition: Partition,
}

impl TopicPartition {
    /// A partition of a topic.
    pub fn new(topic: impl Into<TopicName>, partition: impl Into<Partition>) -> Self {
        Self { topic: topic.into(), partition: partition.into() }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

impl fmt::Debug for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where reading starts.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// The oldest record that the partition still holds.
    Earliest,
    /// The end: only what is written from now on.
    Latest,
    /// This offset.
    At(Offset),
    /// The first record with this timestamp (milliseconds since the Unix epoch) or a later one.
    Timestamp(i64),
    /// As [`Position::Timestamp`], counted back from now (KIP-1106).
    Ago(Duration),
    /// Where the group has committed; an error where it has not.
    Committed,
}

/// Which records of transactions are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Isolation {
    /// All records, of open and aborted transactions too.
    ReadUncommitted,
    /// Only records of no transaction, or of one that was committed. Reading stops in front of an open transaction until
    /// it ends.
    #[default]
    ReadCommitted,
}

/// Which offset of a log is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OffsetSpec {
    /// That of the oldest record that is there.
    Earliest,
    /// One behind the last record that may be read: the high watermark, or, of what is committed, the last stable offset.
    Latest,
    /// That of the first record with this timestamp, in milliseconds since the Unix epoch, or a later one.
    Timestamp(i64),
}

impl OffsetSpec {
    pub(crate) fn to_wire(self) -> i64 {
        match self {
            Self::Latest => -1,
            Self::Earliest => -2,
            // Brokers take negative ones for other names.
            Self::Timestamp(ms) => ms.max(0),
        }
    }
}

/// An offset of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OffsetAndTimestamp {
    /// The offset.
    pub offset: Offset,
    /// The timestamp of the record there, in milliseconds since the Unix epoch, if a timestamp was asked for.
    pub timestamp: Option<i64>,
    /// The leader epoch under which the record was written (KIP-320), where it is known.
    pub leader_epoch: Option<i32>,
}

/// What is committed for a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OffsetAndMetadata {
    /// The next offset to read.
    pub offset: Offset,
    /// The leader epoch of the last record read (KIP-320), where it is known.
    pub leader_epoch: Option<i32>,
    /// Free text kept beside the offset; a broker takes 4,096 bytes by default.
    pub metadata: String,
}

impl OffsetAndMetadata {
    /// An offset with neither epoch nor text.
    pub fn new(offset: impl Into<Offset>) -> Self {
        Self { offset: offset.into(), leader_epoch: None, metadata: String::new() }
    }
}

/// Who commits offsets: a member of a group in its generation, or, without one, the group alone, as a tool or a relay
/// does that is no member (KIP-447).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMetadata {
    pub(crate) group: Arc<str>,
    pub(crate) member: Option<MemberMetadata>,
}

/// A member and its generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MemberMetadata {
    pub(crate) member_id: Arc<str>,
    pub(crate) instance_id: Option<Arc<str>>,
    /// Its generation, or its epoch.
    pub(crate) generation: i32,
}

impl GroupMetadata {
    /// A group without a member. Nothing fences such a commit: whoever makes it sees to it that nobody else does.
    pub fn of_group(group: impl Into<Arc<str>>) -> Self {
        Self { group: group.into(), member: None }
    }

    /// The group's id.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.group
    }

    /// The member's id and generation, where it is a member that commits.
    #[must_use]
    pub fn member(&self) -> Option<(&str, i32)> {
        self.member.as_ref().map(|member| (&*member.member_id, member.generation))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_kafka_refuses_are_told_with_their_reason() {
        for name in ["a", "Az0._-", &"x".repeat(249), "...", "__consumer_offsets"] {
            assert!(TopicName::check(name).is_ok(), "{name}");
        }
        for (name, reason) in [
            ("", "it is empty"),
            ("..", "reserved"),
            (&*"x".repeat(250), "it has 250 bytes, the limit is 249"),
            ("a/b", "it holds '/'"),
            ("größe", "it holds 'ö'"),
        ] {
            let error = TopicName::check(name).err().map(|e| e.to_string()).unwrap_or_default();
            assert!(error.contains(reason), "{name}: {error}");
        }
    }
}
