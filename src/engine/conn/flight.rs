//! Requests that were sent on a connection and have no answer yet.

use std::{collections::VecDeque, time::Instant};

use crate::{engine::machine::earlier, wire::versions::ApiKey};

/// A request on its way.
#[derive(Debug)]
pub(crate) struct Sent<R> {
    pub(crate) correlation_id: i32,
    pub(crate) key: ApiKey,
    pub(crate) version: i16,
    /// `false` for Produce with acks = 0: the broker says nothing to it.
    pub(crate) answered: bool,
    /// Who wants the outcome. `None` once the caller has been told that its time is over, and for the handshake's
    /// own requests; the answer is read and dropped then.
    pub(crate) reply: Option<R>,
    /// When the request was submitted and when it was sent.
    pub(crate) since: Instant,
    pub(crate) sent: Instant,
    /// When the caller no longer waits.
    pub(crate) deadline: Instant,
    /// When an answer is so late that the connection must be taken for dead.
    pub(crate) overdue: Instant,
    /// Its length in bytes.
    pub(crate) length: usize,
}

/// A request, and where it stands in all that the connection sends.
#[derive(Debug)]
struct Flying<R> {
    sent: Sent<R>,
    first: u64,
    end: u64,
}

/// The requests in flight, in the order in which they were sent, which is the order in which a broker answers.
#[derive(Debug)]
pub(crate) struct Flight<R> {
    flying: VecDeque<Flying<R>>,
    /// Bytes of all requests so far, and how many of them the operating system has taken.
    queued: u64,
    written: u64,
    /// No request in flight has an earlier deadline; it may be earlier than all of them.
    earliest: Option<Instant>,
}

impl<R> Flight<R> {
    pub(crate) fn new() -> Self {
        Self { flying: VecDeque::new(), queued: 0, written: 0, earliest: None }
    }

    /// Adds a request behind all others.
    pub(crate) fn push(&mut self, sent: Sent<R>) {
        let first = self.queued;
        self.queued = first.saturating_add(u64::try_from(sent.length).unwrap_or(u64::MAX));
        self.earliest = earlier(self.earliest, Some(sent.deadline.min(sent.overdue)));
        self.flying.push_back(Flying { sent, first, end: self.queued });
    }

    /// Notes that `count` more bytes are written, and takes out the requests to which no answer will come and which
    /// are now written whole.
    pub(crate) fn written(&mut self, count: usize) -> Vec<Sent<R>> {
        self.written = self.written.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        let mut complete = Vec::new();
        // An answer to a later request cannot come before an earlier one is written, so those without an answer are
        // taken out in time and never stand before one whose answer is here.
        while let Some(at) = self.flying.iter().position(|f| !f.sent.answered && f.end <= self.written) {
            complete.extend(self.flying.remove(at).map(|f| f.sent));
        }
        complete
    }

    /// Takes out the request that an answer belongs to. A broker answers in order, so this is the oldest.
    pub(crate) fn answer(&mut self, correlation_id: i32) -> Result<Sent<R>, Unexpected> {
        let unexpected = |due| Err(Unexpected { correlation_id, due });
        match self.flying.front() {
            None => return unexpected(None),
            Some(front) if front.sent.correlation_id != correlation_id || !front.sent.answered => {
                return unexpected(Some(front.sent.correlation_id));
            }
            Some(front) if front.end > self.written => return unexpected(None),
            Some(_) => {}
        }
        let oldest = self.flying.pop_front();
        if self.flying.is_empty() {
            self.earliest = None;
        }
        oldest.map(|flying| flying.sent).ok_or(Unexpected { correlation_id, due: None })
    }

    /// Whose deadline has come: the caller's part of each such request. The requests stay, since their answers are
    /// still to be read.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<(R, ApiKey, Instant)> {
        if self.earliest.is_none_or(|earliest| now < earliest) {
            return Vec::new();
        }
        let late = self.flying.iter_mut().filter(|f| f.sent.deadline <= now);
        let expired =
            late.filter_map(|f| f.sent.reply.take().map(|reply| (reply, f.sent.key, f.sent.since))).collect();
        let next = |f: &Flying<R>| match f.sent.reply {
            Some(_) => f.sent.deadline.min(f.sent.overdue),
            None => f.sent.overdue,
        };
        self.earliest = self.flying.iter().map(next).min();
        expired
    }

    /// A request whose answer is so late that the connection must be taken for dead.
    pub(crate) fn overdue(&self, now: Instant) -> Option<&Sent<R>> {
        if self.earliest.is_none_or(|earliest| now < earliest) {
            return None;
        }
        self.flying.iter().map(|f| &f.sent).find(|sent| sent.overdue <= now)
    }

    /// Takes out everything, because the connection is gone, with whether a part of each was written. The next
    /// connection counts from 0.
    pub(crate) fn drain(&mut self) -> Vec<(Sent<R>, bool)> {
        let written = self.written;
        let all = std::mem::replace(self, Self::new());
        all.flying.into_iter().map(|f| (f.sent, f.first < written)).collect()
    }

    /// When to look for what [`expire`](Self::expire) and [`overdue`](Self::overdue) find, at the latest.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.earliest
    }

    /// Whether an answer is due that its caller does not wait for any more.
    pub(crate) fn is_late(&self) -> bool {
        self.flying.front().is_some_and(|f| f.sent.answered && f.sent.reply.is_none())
    }

    pub(crate) fn len(&self) -> usize {
        self.flying.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.flying.is_empty()
    }

    /// Asserts what must always hold.
    pub(crate) fn check(&self) {
        debug_assert!(self.written <= self.queued, "nothing is written that was not queued");
        let mut end = 0;
        for flying in &self.flying {
            debug_assert!(end <= flying.first && flying.first <= flying.end, "requests do not overlap");
            debug_assert!(flying.sent.answered || flying.end > self.written, "a written acks=0 is complete");
            end = flying.end;
        }
    }
}

/// An answer that belongs to no request, or to another one than is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unexpected {
    correlation_id: i32,
    due: Option<i32>,
}

impl std::fmt::Display for Unexpected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "an answer with correlation id {}, where ", self.correlation_id)?;
        match self.due {
            Some(due) => write!(f, "{due} is due"),
            None => f.write_str("none is due"),
        }
    }
}
