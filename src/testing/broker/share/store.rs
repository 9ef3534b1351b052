//! The share groups of the cluster: their members, their sessions, and what they have done with which partitions.

use std::collections::BTreeMap;
use std::time::Instant;

use super::group::ShareGroup;
use super::partition::SharePartition;
use super::session::{Key, ShareSessions};
use crate::engine::machine::{Now, earlier};
use crate::wire::str::Str;
use crate::wire::uuid::Uuid;

/// All that concerns share groups.
#[derive(Debug, Default)]
pub(in crate::testing::broker) struct Shares {
    groups: BTreeMap<Str, ShareGroup>,
    pub(in crate::testing::broker) sessions: ShareSessions,
    /// By group. Fetches do not ask the coordinator whether there is one.
    partitions: BTreeMap<Str, BTreeMap<Key, SharePartition>>,
}

impl Shares {
    pub(in crate::testing::broker) fn groups(&self) -> impl Iterator<Item = (&Str, &ShareGroup)> {
        self.groups.iter()
    }

    pub(in crate::testing::broker) fn count(&self) -> usize {
        self.groups.len()
    }

    pub(in crate::testing::broker) fn has_group(&self, id: &Str) -> bool {
        self.groups.contains_key(id)
    }

    pub(in crate::testing::broker) fn add_group(&mut self, id: &Str) {
        self.groups.entry(id.clone()).or_default();
    }

    pub(in crate::testing::broker) fn group_mut(&mut self, id: &Str) -> Option<&mut ShareGroup> {
        self.groups.get_mut(id)
    }

    /// What a group has done with a partition, if it has ever fetched it.
    pub(in crate::testing::broker) fn partition_mut(
        &mut self,
        group: &Str,
        key: Key,
    ) -> Option<&mut SharePartition> {
        self.partitions.get_mut(group)?.get_mut(&key)
    }

    /// The same, to look at.
    pub(in crate::testing::broker) fn partition(&self, group: &Str, key: Key) -> Option<&SharePartition> {
        self.partitions.get(group)?.get(&key)
    }

    /// The same, made if it is not there; nothing if there are `limit` groups already.
    pub(in crate::testing::broker) fn ensure_partition(
        &mut self,
        group: &Str,
        key: Key,
        limit: usize,
        make: impl FnOnce() -> SharePartition,
    ) -> Option<&mut SharePartition> {
        if !self.partitions.contains_key(group) && self.partitions.len() >= limit {
            return None;
        }
        let of_group = self.partitions.entry(group.clone()).or_default();
        Some(of_group.entry(key).or_insert_with(make))
    }

    /// The partitions that a group has fetched.
    pub(in crate::testing::broker) fn of_group(
        &mut self,
        group: &Str,
    ) -> impl Iterator<Item = (&Key, &mut SharePartition)> {
        self.partitions.get_mut(group).into_iter().flatten()
    }

    /// Forgets what was done with a topic that is deleted.
    pub(in crate::testing::broker) fn topic_deleted(&mut self, id: Uuid) {
        for of_group in self.partitions.values_mut() {
            of_group.retain(|(topic, _), _| *topic != id);
        }
        self.partitions.retain(|_, of_group| !of_group.is_empty());
    }

    /// When [`Shares::tick`] has something to do.
    pub(in crate::testing::broker) fn deadline(&self) -> Option<Instant> {
        let members = self.groups.values().filter_map(ShareGroup::deadline).min();
        let locks = self.partitions.values().flat_map(BTreeMap::values);
        earlier(members, locks.filter_map(SharePartition::deadline).min())
    }

    /// Throws out the members that are late, and releases what was held for too long; whether anything is free that was
    /// not before.
    pub(in crate::testing::broker) fn tick(&mut self, now: Now, deliveries: u16) -> bool {
        let mut any = false;
        for (id, group) in &mut self.groups {
            let late = group.tick(now);
            let of_group = self.partitions.get_mut(id).into_iter().flatten();
            for (_, partition) in of_group.filter(|_| !late.is_empty()) {
                late.iter().for_each(|member| any |= partition.release_all(member, deliveries));
            }
        }
        for partition in self.partitions.values_mut().flat_map(BTreeMap::values_mut) {
            any |= partition.tick(now, deliveries);
        }
        any
    }

    /// Asserts what must hold between two requests.
    pub(in crate::testing::broker) fn check(&self, limit: usize) {
        debug_assert!(self.partitions.len() <= limit, "the groups that fetch are bounded");
        self.partitions.values().flat_map(BTreeMap::values).for_each(SharePartition::check);
    }
}
