//! One assigned partition, as the user's side sees it.

use std::collections::VecDeque;

use super::{item::Item, types::Progress};
use crate::{
    engine::partition::{Claim, Spot},
    types::TopicPartition,
};

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) partition: TopicPartition,
    pub(super) claim: Claim,
    /// Behind what was handed out; `None` until it is known where to start.
    pub(super) position: Option<Spot>,
    /// Behind what is done with.
    pub(super) done: Option<Spot>,
    /// Whether the user works on what was handed out last.
    pub(super) is_outstanding: bool,
    /// Whether a batch is being opened without the lock; what follows it waits.
    pub(super) is_opening: bool,
    pub(super) is_paused: bool,
    /// Nothing is handed out any more under this claim.
    pub(super) is_stopped: bool,
    /// A batch is to be fetched again, under a new claim: what comes under this one lies behind it.
    pub(super) is_suspended: bool,
    /// What waits while the partition is paused.
    pub(super) parked: VecDeque<Item>,
    /// Where a batch did not read, and how often it was fetched again.
    pub(super) suspect: Option<(i64, u32)>,
    /// Where the records that may be read end.
    pub(super) end: Option<i64>,
}

impl Slot {
    pub(super) fn new(partition: TopicPartition, claim: Claim) -> Self {
        Self {
            partition,
            claim,
            position: None,
            done: None,
            is_outstanding: false,
            is_opening: false,
            is_paused: false,
            is_stopped: false,
            is_suspended: false,
            parked: VecDeque::new(),
            suspect: None,
            end: None,
        }
    }

    /// Whether what was fetched under `claim` is to be handed out.
    pub(super) fn takes(&self, claim: Claim) -> bool {
        self.claim == claim && !self.is_stopped && !self.is_suspended
    }

    /// Steps over what holds nothing for the user.
    pub(super) fn pass(&mut self, spot: Spot) {
        if self.position.is_none_or(|position| position.offset < spot.offset) {
            self.position = Some(spot);
        }
        if !self.is_outstanding {
            self.done = self.position;
        }
    }

    pub(super) fn progress(&self) -> Option<Progress> {
        let (position, done) = (self.position?, self.done?);
        Some(Progress { partition: self.partition.clone(), position, done })
    }
}
