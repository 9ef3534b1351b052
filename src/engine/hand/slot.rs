//! One assigned partition, as the user's side sees it.

use std::{collections::VecDeque, sync::Arc, task::Waker};

use super::{item::Item, types::Progress};
use crate::{
    engine::partition::{Claim, Spot},
    message::{Desk, Ledger, Receipt},
    types::TopicPartition,
};

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) partition: TopicPartition,
    pub(super) claim: Claim,
    /// Which of all stays of partitions with the consumer this is.
    pub(super) stay: u64,
    /// How many streams of this partition alone there are; while there are any, its records go to them.
    pub(super) streams: usize,
    /// Those of them that wait.
    pub(super) waiters: Vec<Waker>,
    /// Behind what was handed out; `None` until it is known where to start.
    pub(super) position: Option<Spot>,
    /// Behind what is done with, where nothing is acknowledged.
    pub(super) done: Option<Spot>,
    /// What is acknowledged of what was handed out since reading started here, where users acknowledge.
    pub(super) ledger: Option<Arc<Ledger>>,
    /// Whether the user works on what was handed out last.
    pub(super) is_outstanding: bool,
    /// Whether a batch is being opened without the lock; what follows it waits.
    pub(super) is_opening: bool,
    pub(super) is_paused: bool,
    /// Nothing is handed out any more under this claim.
    pub(super) is_stopped: bool,
    /// Nothing will ever be handed out any more.
    pub(super) is_given_up: bool,
    /// Whether it is read beside what the group assigns: the user alone says how far it is done with.
    pub(super) is_companion: bool,
    /// A batch is to be fetched again, under a new claim: what comes under this one lies behind it.
    pub(super) is_suspended: bool,
    /// What waits while the partition is paused.
    pub(super) parked: VecDeque<Item>,
    /// Where a batch did not read, and how often it was fetched again.
    pub(super) suspect: Option<(i64, u32)>,
    /// The timestamp of what was handed out last.
    pub(super) timestamp: Option<i64>,
    /// Where the records that may be read end.
    pub(super) end: Option<i64>,
}

impl Slot {
    pub(super) fn new(partition: TopicPartition, claim: Claim, stay: u64) -> Self {
        Self {
            partition,
            claim,
            stay,
            streams: 0,
            waiters: Vec::new(),
            position: None,
            done: None,
            ledger: None,
            is_outstanding: false,
            is_opening: false,
            is_paused: false,
            is_stopped: false,
            is_given_up: false,
            is_companion: false,
            is_suspended: false,
            parked: VecDeque::new(),
            suspect: None,
            timestamp: None,
            end: None,
        }
    }

    /// Whether what was fetched under `claim` is to be handed out.
    pub(super) fn takes(&self, claim: Claim) -> bool {
        self.claim == claim && !self.is_stopped && !self.is_suspended
    }

    /// Reading starts here.
    pub(super) fn start(&mut self, spot: Spot, desk: Option<&Arc<Desk>>) {
        self.position = Some(spot);
        self.done = Some(spot);
        let ledger =
            |desk: &Arc<Desk>| Arc::new(Ledger::new(Arc::clone(desk), spot.offset, spot.leader_epoch));
        self.ledger = desk.filter(|_| !self.is_companion).map(ledger);
    }

    /// Reading goes on here, in front of what was handed out.
    pub(super) fn rewind(&mut self, spot: Spot) {
        self.position = Some(spot);
        self.done = self.done.filter(|done| done.offset < spot.offset).or(Some(spot));
        if let Some(ledger) = &self.ledger {
            ledger.restart(spot.offset, spot.leader_epoch);
        }
    }

    /// Hands out records from `first` on, the newest of this time; reading goes on at `next`.
    #[inline]
    pub(super) fn hand_out(&mut self, first: i64, next: Spot, timestamp: i64) -> Option<Receipt> {
        self.position = Some(next);
        self.timestamp = Some(timestamp);
        let ledger = self.ledger.as_ref()?;
        Some(ledger.hand_out(first, next.offset, next.leader_epoch))
    }

    /// Whether so much is not acknowledged that nothing more may be handed out.
    pub(super) fn is_full(&self) -> bool {
        self.ledger.as_ref().is_some_and(|ledger| ledger.is_full())
    }

    /// Steps over what holds nothing for the user.
    pub(super) fn pass(&mut self, spot: Spot) {
        if let Some(ledger) = &self.ledger {
            ledger.pass(spot.offset, spot.leader_epoch);
        }
        if self.position.is_none_or(|position| position.offset < spot.offset) {
            self.position = Some(spot);
        }
        if !self.is_outstanding {
            self.done = self.position;
        }
    }

    pub(super) fn lag(&self) -> Option<u64> {
        Some(u64::try_from(self.end?.saturating_sub(self.position?.offset)).unwrap_or(0))
    }

    /// How many milliseconds before `unix_ms` the record was written that was handed out last; none once all are.
    pub(super) fn time_lag(&self, unix_ms: i64) -> Option<u64> {
        if self.lag()? == 0 {
            return Some(0);
        }
        let timestamp = self.timestamp.filter(|timestamp| *timestamp >= 0)?;
        Some(u64::try_from(unix_ms.saturating_sub(timestamp)).unwrap_or(0))
    }

    /// How far the user has got, unless the user alone says so.
    pub(super) fn progress(&self) -> Option<Progress> {
        let position = self.position.filter(|_| !self.is_companion)?;
        let done = match &self.ledger {
            Some(ledger) => {
                let (offset, leader_epoch) = ledger.prefix();
                Spot { offset, leader_epoch }
            }
            None => self.done?,
        };
        Some(Progress { partition: self.partition.clone(), position, done })
    }
}
