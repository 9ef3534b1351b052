//! The offsets that a group has committed.

use super::{Committed, Group, Phase};
use crate::engine::machine::Now;
use crate::error::Code;
use crate::wire::str::Str;

impl Group {
    /// Whether somebody may commit: a member of the current generation, or anybody while there are no members.
    pub(in crate::testing::broker) fn check_commit(
        &mut self,
        now: Now,
        generation: i32,
        member_id: &Str,
        instance: Option<&Str>,
    ) -> Result<(), Code> {
        if generation < 0 && self.phase == Phase::Empty {
            return Ok(());
        }
        if generation < 0 && member_id.is_empty() && instance.is_none() {
            // A group that manages its members itself does not take commits from aside.
            return Err(Code::UNKNOWN_MEMBER_ID);
        }
        let index = self.member(member_id, instance)?;
        if generation != self.generation {
            return Err(Code::ILLEGAL_GENERATION);
        }
        if self.phase == Phase::Completing {
            return Err(Code::REBALANCE_IN_PROGRESS);
        }
        self.is_alive(now, index);
        Ok(())
    }

    /// Commits an offset; whether there was room for it.
    pub(in crate::testing::broker) fn commit(
        &mut self,
        topic: &Str,
        partition: i32,
        committed: Committed,
        limit: usize,
    ) -> bool {
        let key = (topic.clone(), partition);
        let fits = self.offsets.len() < limit || self.offsets.contains_key(&key);
        if fits {
            self.offsets.insert(key, committed);
        }
        fits
    }

    pub(in crate::testing::broker) fn committed(&self, topic: &Str, partition: i32) -> Option<&Committed> {
        self.offsets.get(&(topic.clone(), partition))
    }

    /// All that is committed, by topic and partition.
    pub(in crate::testing::broker) fn all_committed(
        &self,
    ) -> impl Iterator<Item = (&(Str, i32), &Committed)> {
        self.offsets.iter()
    }

    /// Forgets what was committed for a topic that is deleted.
    pub(in crate::testing::broker) fn topic_deleted(&mut self, topic: &str) {
        self.offsets.retain(|(name, _), _| name != topic);
    }
}
