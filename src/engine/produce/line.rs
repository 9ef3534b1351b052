//! What is under way to one broker, and which partitions stand in line for it.

use std::{
    collections::{BTreeSet, VecDeque},
    mem,
    time::Instant,
};

use super::{
    config::{Linger, SenderConfig},
    lane::{Lane, Next},
    queue::LaneId,
};
use crate::engine::machine::Now;

/// What is under way to one broker.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// Requests without an answer.
    pub(super) in_flight: usize,
    /// Lanes with a batch to send now, each once.
    pub(super) ready: VecDeque<LaneId>,
    /// Lanes whose batch lingers only because something is in flight.
    pub(super) lingering: BTreeSet<LaneId>,
    /// From when on the broker has had something to answer and answered nothing.
    pub(super) silent_since: Option<Instant>,
}

impl Line {
    /// A request goes out.
    pub(super) fn sent(&mut self, now: Now) {
        self.in_flight += 1;
        self.silent_since.get_or_insert(now.instant);
    }

    /// A request has ended, with an answer or without. Where it was the last, the lanes that lingered for it may go.
    pub(super) fn ended(&mut self, now: Now, answered: bool) -> BTreeSet<LaneId> {
        self.in_flight = self.in_flight.saturating_sub(1);
        if answered {
            self.silent_since = (self.in_flight > 0).then_some(now.instant);
        }
        if self.in_flight == 0 { mem::take(&mut self.lingering) } else { BTreeSet::new() }
    }

    /// Whether a lane has something to send, or from when on.
    pub(super) fn ready(&self, lane: &Lane, config: &SenderConfig, now: Now) -> Ready {
        let backlog = match lane.next(config.per_partition()) {
            Next::Nothing => return Ready::Not,
            Next::Again { .. } => return Ready::Now,
            Next::Fresh(backlog) => backlog,
        };
        let linger = match config.linger {
            Linger::Adaptive(_) if self.in_flight == 0 => return Ready::Now,
            Linger::Adaptive(linger) | Linger::Fixed(linger) => linger,
        };
        match backlog.since.checked_add(linger) {
            _ if backlog.full => Ready::Now,
            Some(later) if later > now.instant => Ready::At(later),
            _ => Ready::Now,
        }
    }
}

/// When a lane may be sent from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ready {
    Now,
    At(Instant),
    Not,
}
