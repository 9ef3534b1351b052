//! Tells when a rebalance begins and ends, as the member sees it.

use std::time::Instant;

use super::{Membership, Phase};
use crate::engine::{consumer::reading::Reading, hand::ConsumerEvent, machine::Now};

impl Membership {
    /// Something about the member's share changes, or will.
    pub(super) fn rebalances(&mut self, now: Now, reading: &Reading) {
        if self.rebalance_since.is_none() {
            self.rebalance_since = Some(now.instant);
            reading.hand().tell(ConsumerEvent::RebalanceStarted);
        }
    }

    /// Looks whether a rebalance has begun or ended.
    pub(super) fn look_at_rebalance(&mut self, now: Now, reading: &Reading) {
        if self.closing.is_some() {
            return;
        }
        if self.group.is_rebalancing() {
            return self.rebalances(now, reading);
        }
        // The listener has its time, and so has who works on what is given up.
        let is_over = matches!(self.phase, Phase::Running) && self.assigning.is_empty();
        if let Some(since) = self.rebalance_since.take_if(|_| is_over) {
            self.tell_end(now, since, reading);
        }
    }

    fn tell_end(&self, now: Now, since: Instant, reading: &Reading) {
        // Who has left is no member that has got its share.
        if self.group.identity().is_some() {
            let took = now.instant.saturating_duration_since(since);
            let assignment = reading.partitions().cloned().collect();
            reading.hand().tell(ConsumerEvent::RebalanceFinished { took, assignment });
        }
    }
}
