//! The open transaction: what is in it, and what is still to be told to brokers.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use super::{protocol::Protocol, verdict::Step};
use crate::{
    engine::machine::Now,
    error::{Error, ErrorKind},
    types::{GroupMetadata, OffsetAndMetadata, TopicName, TopicPartition},
    wire::{str::Str, uuid::Uuid},
};

/// Names one set of offsets; whoever sends it gives it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Ticket(pub(crate) u64);

/// Offsets of a group that become a part of the transaction.
#[derive(Clone, Debug)]
pub(crate) struct OffsetsOf {
    pub(crate) group: GroupMetadata,
    pub(crate) offsets: BTreeMap<TopicPartition, OffsetAndMetadata>,
    /// The ids of the topics, where they are known: so the offsets are not taken for those of a topic of the same name
    /// that was created later (KIP-1319).
    pub(crate) topic_ids: BTreeMap<TopicName, Uuid>,
}

/// No more sets of offsets wait at once.
const LIMIT: usize = 1_000;

/// No more than this before the timeout a transaction is given up.
const AHEAD: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Open {
    pub(super) protocol: Protocol,
    /// When the coordinator may have heard of the transaction first.
    touched: Option<Instant>,
    /// Whether it certainly has.
    pub(super) certain: bool,
    pub(super) failed: bool,
    /// What was not answered may still arrive, so that the next transaction needs another epoch.
    pub(super) renew: bool,
    /// The coordinator does not know the producer id.
    pub(super) unknown_id: bool,
    /// To be taken in.
    applying: BTreeSet<TopicPartition>,
    /// Groups that the coordinator was told of.
    groups: BTreeSet<Str>,
    offsets: VecDeque<(Ticket, OffsetsOf)>,
}

impl Open {
    pub(super) fn new(protocol: Protocol) -> Self {
        Self {
            protocol,
            touched: None,
            certain: false,
            failed: false,
            renew: false,
            unknown_id: false,
            applying: BTreeSet::new(),
            groups: BTreeSet::new(),
            offsets: VecDeque::new(),
        }
    }

    pub(super) fn join(&mut self, partition: TopicPartition) {
        if !self.failed {
            self.applying.insert(partition);
        }
    }

    pub(super) fn touch(&mut self, now: Now) {
        self.touched.get_or_insert(now.instant);
    }

    pub(super) fn is_untouched(&self) -> bool {
        self.touched.is_none()
    }

    /// When it has been open for too long: a little before its coordinator thinks so, which would fence the producer.
    pub(super) fn until(&self, timeout: Duration) -> Option<Instant> {
        let ahead = (timeout / 10).min(AHEAD);
        self.touched.filter(|_| !self.failed)?.checked_add(timeout.saturating_sub(ahead))
    }

    pub(super) fn add_offsets(&mut self, ticket: Ticket, offsets: OffsetsOf) -> Result<(), Error> {
        if self.failed {
            return Err(ErrorKind::TransactionAborted { cause: None }.into());
        }
        if self.offsets.len() >= LIMIT {
            let needed = self.offsets.len() + 1;
            return Err(ErrorKind::Full { needed, limit: LIMIT, setting: "offsets that wait at once" }.into());
        }
        self.offsets.push_back((ticket, offsets));
        Ok(())
    }

    /// What a broker is to be told next.
    pub(super) fn pending(&self) -> Option<Step> {
        if self.failed {
            return None;
        }
        if !self.applying.is_empty() {
            return Some(Step::AddPartitions);
        }
        let group = self.group()?;
        if self.protocol == Protocol::V1 && !self.groups.contains(&group) {
            return Some(Step::AddOffsets);
        }
        Some(Step::CommitOffsets)
    }

    pub(super) fn applying(&self) -> &BTreeSet<TopicPartition> {
        &self.applying
    }

    pub(super) fn taken_in(&mut self, partitions: &[TopicPartition]) {
        partitions.iter().for_each(|partition| drop(self.applying.take(partition)));
    }

    /// The group whose offsets are next.
    pub(super) fn group(&self) -> Option<Str> {
        self.next_offsets().map(|offsets| Str::from(offsets.group.group()))
    }

    pub(super) fn next_offsets(&self) -> Option<&OffsetsOf> {
        self.offsets.front().map(|(_, offsets)| offsets)
    }

    pub(super) fn group_added(&mut self) {
        self.groups.extend(self.group());
    }

    pub(super) fn offsets_done(&mut self) -> Option<Ticket> {
        self.offsets.pop_front().map(|(ticket, _)| ticket)
    }

    /// Gives up all that has not been told. Names the sets of offsets that were.
    pub(super) fn fail(&mut self) -> Vec<Ticket> {
        self.failed = true;
        self.applying.clear();
        self.offsets.drain(..).map(|(ticket, _)| ticket).collect()
    }

    pub(super) fn check(&self) {
        debug_assert!(self.offsets.len() <= LIMIT, "the offsets that wait are bounded");
        debug_assert!(
            !self.failed || self.pending().is_none(),
            "a transaction that has failed goes no further"
        );
    }
}
