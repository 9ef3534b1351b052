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
    pub(super) reserved: usize,
    /// A broker without data is not expected to answer before.
    pub(super) patience: Instant,
}
