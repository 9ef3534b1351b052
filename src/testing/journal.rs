//! What the cluster was asked.

use std::collections::VecDeque;

use super::api::Api;
use crate::types::{NodeId, TopicPartition};

/// One request, as a broker saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// When it was begun, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// The node that was asked.
    pub node: NodeId,
    /// Tells the connections apart: they are numbered as they were opened.
    pub connection: u64,
    /// What was asked.
    pub api: Api,
    /// In which version of the protocol.
    pub version: i16,
    /// Who asked; empty if it did not say.
    pub client_id: String,
    /// The partitions it is about, those of topics that are not there left out; where it is about whole topics, partition
    /// -1 of each.
    pub partitions: Vec<TopicPartition>,
    /// The groups it is about.
    pub groups: Vec<String>,
    /// The transactional ids it is about, but those whose coordinator is looked for, which stand among the groups.
    pub transactional_ids: Vec<String>,
}

/// The newest requests, oldest first.
#[derive(Debug)]
pub(super) struct Journal {
    entries: VecDeque<Entry>,
    limit: usize,
}

impl Journal {
    pub(super) fn new(limit: usize) -> Self {
        Self { entries: VecDeque::new(), limit }
    }

    pub(super) fn write(&mut self, entry: Entry) {
        if self.entries.len() >= self.limit {
            self.entries.pop_front();
        }
        if self.limit > 0 {
            self.entries.push_back(entry);
        }
    }

    pub(super) fn read(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }
}
