//! One broker, as the fetcher sees it.

use std::time::Instant;

use super::session::Session;
use crate::{engine::machine::Token, types::TopicPartition};

/// One broker.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// The partitions that it is asked for, in the order in which it shall serve them. Those that have moved are dropped at
    /// the next pass.
    pub(super) order: Vec<TopicPartition>,
    pub(super) session: Session,
    pub(super) in_flight: Option<InFlight>,
    /// The last request, where the next one may be the same.
    pub(super) standing: Option<Standing>,
    pub(super) failures: u32,
    /// Answers in a row that held nothing and came before their time.
    pub(super) early: u32,
    pub(super) not_before: Option<Instant>,
    /// When a partition that was left out may be asked for again.
    pub(super) retry_at: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) token: Token,
    /// The token of the first request for just these partitions and offsets.
    pub(super) order: Token,
    pub(super) reserved: usize,
    /// A broker without data is not expected to answer before.
    pub(super) patience: Instant,
}

/// A request that left out nothing that would have been asked for later.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    pub(super) order: Token,
    /// [`Cursors::changes`](super::cursors::Cursors::changes) when it was made.
    pub(super) changes: u64,
}
