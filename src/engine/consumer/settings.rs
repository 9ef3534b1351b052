//! How a consumer reads, and which partitions.

use std::{collections::BTreeSet, time::Duration};

use super::lookout::{self, TopicPattern};
use crate::{
    engine::{commit, coordinator, fetch, group::GroupSettings, position},
    types::{Position, TopicName, TopicPartition},
};

/// What to do when the log no longer holds, or does not yet hold, the offset to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OutOfRange {
    Earliest,
    Latest,
    Fail,
}

/// What to do when the log has lost records that were handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Truncated {
    /// Go back to where the log parts from what was read.
    Rewind,
    Fail,
}

/// All of a consumer's settings.
#[derive(Clone, Debug)]
pub(crate) struct CoreSettings {
    pub(crate) positions: position::Settings,
    pub(crate) fetch: fetch::Settings,
    pub(crate) out_of_range: OutOfRange,
    pub(crate) truncated: Truncated,
    /// Whether a topic is read from its beginning that was created in place of another, or it is an error.
    pub(crate) follows_recreated: bool,
    pub(crate) start_at: Position,
    /// How long a topic may be missing before that is reported.
    pub(crate) topic_timeout: Duration,
    pub(crate) source: Source,
    /// Read are also the topics whose names match.
    pub(crate) pattern: Option<(TopicPattern, lookout::Settings)>,
}

/// Which partitions to read.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// Chosen ones, and all of these topics.
    Chosen { partitions: Vec<(TopicPartition, Position)>, topics: BTreeSet<TopicName> },
    /// What the group assigns.
    Group(Box<MembershipSettings>),
}

/// By which protocol the members of a group and its coordinator agree on who reads what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GroupProtocol {
    /// That of KIP-848 where the coordinator speaks it, or else the classic one.
    Auto,
    Classic,
    Consumer,
}

/// How to be a member of a group.
#[derive(Clone, Debug)]
pub(crate) struct MembershipSettings {
    pub(crate) group: GroupSettings,
    pub(crate) protocol: GroupProtocol,
    pub(crate) coordinator: coordinator::Settings,
    pub(crate) commits: commit::Settings,
    /// `None`: only the user commits.
    pub(crate) auto_commit: Option<Duration>,
    /// How long the user may go without asking for records.
    pub(crate) max_poll_interval: Duration,
    /// How long partitions that are given up wait for users to acknowledge what they hold.
    pub(crate) drain_timeout: Duration,
    /// How long closing may take beyond that.
    pub(crate) close_timeout: Duration,
    /// Whether rebalances wait for a listener.
    pub(crate) has_listener: bool,
}

impl CoreSettings {
    /// The topics that are read, as far as they are known beforehand.
    pub(crate) fn topics(&self) -> BTreeSet<TopicName> {
        match &self.source {
            Source::Chosen { topics, .. } => topics.clone(),
            Source::Group(membership) => membership.group.topics.clone(),
        }
    }

    /// The group, if it is read as a member of one.
    pub(crate) fn group(&self) -> Option<&str> {
        match &self.source {
            Source::Chosen { .. } => None,
            Source::Group(membership) => Some(&membership.group.group),
        }
    }
}
