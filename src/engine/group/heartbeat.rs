//! When a member lets itself be heard, and until when the coordinator takes it for alive.

use std::time::{Duration, Instant};

use crate::engine::machine::{Now, Token, deadline_after};

#[derive(Debug)]
pub(super) struct Heartbeat {
    interval: Duration,
    session_timeout: Duration,
    due: Instant,
    /// The call under way, and when it was made.
    asked: Option<(Token, Instant)>,
    /// When the last call was made that the coordinator has confirmed: its own count starts no earlier.
    confirmed: Instant,
    /// The same, of those after which the group did not wait for the member: it has not begun to earlier.
    at_rest: Instant,
}

impl Heartbeat {
    pub(super) fn new(now: Now, interval: Duration, session_timeout: Duration) -> Self {
        Self {
            interval,
            session_timeout,
            due: now.instant,
            asked: None,
            confirmed: now.instant,
            at_rest: now.instant,
        }
    }

    /// A session begins with a call that was made then.
    pub(super) fn begin(&mut self, sent: Instant) {
        self.asked = None;
        self.confirmed = sent;
        self.at_rest = sent;
        self.due = sent.checked_add(self.interval).unwrap_or(sent);
    }

    /// What a call of this session may still bring says nothing about the next.
    pub(super) fn end(&mut self) {
        self.asked = None;
    }

    /// When the coordinator takes the member for dead.
    pub(super) fn expires(&self) -> Instant {
        self.confirmed.checked_add(self.session_timeout).unwrap_or(self.due)
    }

    /// Whether a call is to be made now. The next one is due an interval later.
    pub(super) fn is_due(&mut self, now: Now) -> bool {
        let is_due = self.due <= now.instant && self.asked.is_none();
        if is_due {
            self.due = deadline_after(now, self.interval);
        }
        is_due
    }

    /// As the coordinator wants it; 0 leaves it as it is. One lost call is no end of a session.
    pub(super) fn set_interval(&mut self, interval: Duration) {
        if !interval.is_zero() {
            self.interval = interval;
            self.session_timeout = self.session_timeout.max(interval.saturating_mul(3));
        }
    }

    /// Whether no call is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.asked.is_none()
    }

    pub(super) fn asked(&mut self, now: Now, token: Token) {
        self.asked = Some((token, now.instant));
    }

    /// When the call was made that this answer belongs to, if it is one.
    pub(super) fn answered(&mut self, token: Token) -> Option<Instant> {
        self.asked.take_if(|(asked, _)| *asked == token).map(|(_, sent)| sent)
    }

    /// The coordinator has confirmed a call that was made then.
    pub(super) fn confirm(&mut self, sent: Instant) {
        self.confirmed = self.confirmed.max(sent);
    }

    /// And the group did not wait for the member at that time.
    pub(super) fn confirm_at_rest(&mut self, sent: Instant) {
        self.confirm(sent);
        self.at_rest = self.at_rest.max(sent);
    }

    /// A join has been answered: the group has been waiting for all to synchronise since then, not earlier than the last call
    /// that was confirmed.
    pub(super) fn confirm_joined(&mut self) {
        self.at_rest = self.at_rest.max(self.confirmed);
    }

    /// When the coordinator goes on without a member that has not joined a rebalance, or has not synchronised after.
    pub(super) fn rejoin_by(&self, rebalance_timeout: Duration) -> Instant {
        self.at_rest.checked_add(rebalance_timeout).unwrap_or(self.due)
    }

    pub(super) fn deadline(&self) -> Instant {
        let expires = self.expires();
        if self.asked.is_none() { self.due.min(expires) } else { expires }
    }
}
