//! The offsets that a group has committed.

use std::collections::BTreeMap;

use super::committer::Committer;
use super::{Committed, Group, Phase};
use crate::engine::machine::Now;
use crate::error::Code;
use crate::wire::str::Str;

impl Group {
    /// Whether somebody may commit: a member of the current generation, or anybody while there are no members.
    pub(in crate::testing::broker) fn check_commit(
        &mut self,
        now: Now,
        by: Committer<'_>,
    ) -> Result<(), Code> {
        if !self.consumers.is_empty() {
            return self.consumers.check_commit(by);
        }
        if by.generation < 0 && self.phase == Phase::Empty {
            return Ok(());
        }
        if let Some(index) = self.committer(by)? {
            if self.phase == Phase::Completing {
                return Err(Code::REBALANCE_IN_PROGRESS);
            }
            self.is_alive(now, index);
            Ok(())
        } else {
            // A group that manages its members itself does not take commits from aside.
            Err(Code::UNKNOWN_MEMBER_ID)
        }
    }

    /// Whether somebody may commit in a transaction: who does not say that it is a member may, and the phase does not
    /// matter.
    pub(in crate::testing::broker) fn check_commit_in_transaction(
        &self,
        by: Committer<'_>,
    ) -> Result<(), Code> {
        let is_member = by.generation >= 0 || !by.member_id.is_empty() || by.instance.is_some();
        if !self.consumers.is_empty() && is_member {
            return self.consumers.check_commit(by);
        }
        if by.generation < 0 && self.phase == Phase::Empty { Ok(()) } else { self.committer(by).map(drop) }
    }

    /// The member that commits, in its generation; nothing if it does not say that it is one.
    fn committer(&self, by: Committer<'_>) -> Result<Option<usize>, Code> {
        if by.generation < 0 && by.member_id.is_empty() && by.instance.is_none() {
            return Ok(None);
        }
        let index = self.member(by.member_id, by.instance)?;
        if by.generation == self.generation { Ok(Some(index)) } else { Err(Code::ILLEGAL_GENERATION) }
    }

    /// Commits an offset, with the end of a producer's transaction if one is named; whether there was room for it.
    pub(in crate::testing::broker) fn commit(
        &mut self,
        (topic, partition): (&Str, i32),
        committed: Committed,
        producer_id: Option<i64>,
        limit: usize,
    ) -> bool {
        let key = (topic.clone(), partition);
        let held = self.held_offsets();
        self.commits += 1;
        let committed = Committed { number: self.commits, ..committed };
        let offsets = match producer_id {
            None => &mut self.offsets,
            Some(id) => self.in_transactions.entry(id).or_default(),
        };
        let fits = held < limit || offsets.contains_key(&key);
        if fits {
            offsets.insert(key, committed);
        }
        fits
    }

    fn held_offsets(&self) -> usize {
        self.offsets.len() + self.in_transactions.values().map(BTreeMap::len).sum::<usize>()
    }

    /// The producer's transaction has ended.
    pub(in crate::testing::broker) fn complete(&mut self, producer_id: i64, commit: bool) {
        let offsets = self.in_transactions.remove(&producer_id).filter(|_| commit);
        for (key, committed) in offsets.into_iter().flatten() {
            let newer = |known: &Committed| known.number > committed.number;
            if !self.offsets.get(&key).is_some_and(newer) {
                self.offsets.insert(key, committed);
            }
        }
    }

    /// Whether a transaction that is not ended may change what is committed for a partition.
    pub(in crate::testing::broker) fn is_unstable(&self, topic: &Str, partition: i32) -> bool {
        let key = (topic.clone(), partition);
        self.in_transactions.values().any(|offsets| offsets.contains_key(&key))
    }

    /// Asserts that what is committed is bounded.
    pub(in crate::testing::broker) fn check(&self, limit: usize) {
        debug_assert!(self.held_offsets() <= limit, "{}: the offsets are bounded", self.id);
    }

    pub(in crate::testing::broker) fn committed(&self, topic: &Str, partition: i32) -> Option<&Committed> {
        self.offsets.get(&(topic.clone(), partition))
    }

    /// The partitions for which something is committed.
    pub(in crate::testing::broker) fn all_committed(&self) -> impl Iterator<Item = &(Str, i32)> {
        self.offsets.keys()
    }

    /// Forgets what was committed for a topic that is deleted.
    pub(in crate::testing::broker) fn topic_deleted(&mut self, topic: &str) {
        let all = self.in_transactions.values_mut().chain([&mut self.offsets]);
        all.for_each(|offsets| offsets.retain(|(name, _), _| name != topic));
    }
}
