//! Calls that wait to be sent.

use std::{collections::VecDeque, time::Instant};

use crate::engine::machine::{Call, earlier};

/// A call, who wants its outcome, and since when it waits.
#[derive(Debug)]
pub(crate) struct Waiting<R> {
    pub(crate) call: Call,
    pub(crate) reply: R,
    pub(crate) since: Instant,
}

/// Calls in the order in which they were submitted. Bounded.
#[derive(Debug)]
pub(crate) struct Queue<R> {
    waiting: VecDeque<Waiting<R>>,
    /// No call in the queue has an earlier deadline. May be earlier than all of them, since it is not recomputed
    /// for each call that leaves.
    earliest: Option<Instant>,
}

impl<R> Queue<R> {
    /// The most calls that may wait for one connection.
    pub(crate) const LIMIT: usize = 4096;

    pub(crate) fn new() -> Self {
        Self { waiting: VecDeque::new(), earliest: None }
    }

    /// Adds a call behind all others. Only for a queue that is not [full](Self::is_full).
    pub(crate) fn push(&mut self, waiting: Waiting<R>) {
        self.earliest = earlier(self.earliest, Some(waiting.call.deadline));
        self.waiting.push_back(waiting);
    }

    pub(crate) fn is_full(&self) -> bool {
        self.waiting.len() >= Self::LIMIT
    }

    pub(crate) fn pop(&mut self) -> Option<Waiting<R>> {
        let next = self.waiting.pop_front();
        if self.waiting.is_empty() {
            self.earliest = None;
        }
        next
    }

    /// Takes out every call whose deadline has come.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<Waiting<R>> {
        if self.earliest.is_none_or(|earliest| now < earliest) {
            return Vec::new();
        }
        let (expired, left): (Vec<_>, Vec<_>) =
            self.waiting.drain(..).partition(|waiting| waiting.call.deadline <= now);
        self.waiting = left.into();
        self.earliest = self.waiting.iter().map(|waiting| waiting.call.deadline).min();
        expired
    }

    /// Takes out every call.
    pub(crate) fn drain(&mut self) -> VecDeque<Waiting<R>> {
        self.earliest = None;
        std::mem::take(&mut self.waiting)
    }

    /// When to call [`expire`](Self::expire) at the latest.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.earliest
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Asserts what must always hold.
    pub(crate) fn check(&self) {
        debug_assert!(self.waiting.len() <= Self::LIMIT, "the queue is bounded");
        let first = self.waiting.iter().map(|waiting| waiting.call.deadline).min();
        debug_assert!(self.earliest <= first || first.is_none(), "no deadline is missed");
    }
}
