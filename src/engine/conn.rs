//! One connection to one broker: its life, and the requests on it.
//!
//! ```text
//! Idle --submit--> Dialing --dialed--> Handshaking --versions--> Ready
//!   ^                 |                     |                      |
//!   +---backoff over, +------- failed ------+---- connection lost -+
//!       nothing waits           v                                  |
//!       ................... Backoff <------------------------------+
//! ```
//! Calls that wait while an attempt to connect fails, fail with it, and so do those that come before the next attempt is
//! due: nothing of them was sent, so whoever made them can ask elsewhere. Calls that wait when an established
//! connection is lost ride on the next attempt.

mod effect;
mod flight;
mod handshake;
mod peer;
mod queue;
mod settings;

use std::{
    mem,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};

use crate::{
    engine::{
        backoff::Random,
        machine::{Answer, Call, Failure, Now, Outcome, Purpose, deadline_after, earlier},
    },
    error::{Error, ErrorKind},
    types::NodeId,
    wire::{
        calls::{Request, Response, correlation_id},
        codec::Segments,
        frame::FrameDecoder,
        messages::ProduceResponse,
        versions::Versions,
    },
};

pub(crate) use effect::{Count, Effect};
pub(crate) use peer::{Address, Expected, Place};
pub(crate) use settings::LinkSettings;

use flight::{Flight, Sent};
use handshake::{Handshake, Step};
use peer::Peer;
use queue::{Queue, Waiting};

/// The machine of one connection. `R` is the return address of a call; the machine gives it back with the outcome.
#[derive(Debug)]
pub(crate) struct Link<R> {
    settings: LinkSettings,
    node: NodeId,
    purpose: Purpose,
    place: Place,
    peer: Peer,
    state: State,
    queue: Queue<R>,
    flight: Flight<R>,
    outgoing: Segments,
    frames: FrameDecoder,
    versions: Versions,
    next_correlation_id: i32,
    /// Attempts and connections in a row that brought no answer to a call.
    failures: u32,
    /// Until when the broker wants nothing more (KIP-219).
    muted_until: Option<Instant>,
    /// Whether the last answer asked for silence: only the first of many is worth a warning.
    throttled: bool,
    last_used: Now,
    random: Random,
    effects: Vec<Effect<R>>,
}

#[derive(Debug)]
enum State {
    Idle,
    Backoff {
        until: Instant,
        /// Why the last attempt came to nothing; `None` after a connection that was established.
        refused: Option<Error>,
    },
    Dialing {
        since: Instant,
        until: Instant,
    },
    Handshaking {
        handshake: Handshake,
        since: Instant,
        until: Instant,
    },
    Ready,
    /// For ever.
    Shut,
}

/// No more is encoded ahead while this much waits to be written: what is not encoded can still expire unsent.
const WRITE_AHEAD: usize = 64 << 10;

/// The longest that a link is silent because a broker asks for it: an absurd number must not stop the client. Where a
/// quota is far exceeded Kafka asks for more than the ten seconds that its windows span; 34 s were seen.
const MAX_THROTTLE: Duration = Duration::from_secs(300);

/// What may be wrong with a listener that takes a connection and closes it without a word.
const UNGREETED: &str =
    "it was closed before the first answer, as a listener for TLS does that is spoken to in plain text";

/// What the time for connecting grows up to when it fails again and again (KIP-601).
const MAX_CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

impl<R> Link<R> {
    pub(crate) fn new(
        settings: LinkSettings,
        node: NodeId,
        purpose: Purpose,
        place: Place,
        now: Now,
        random: Random,
    ) -> Self {
        Self {
            frames: FrameDecoder::new(settings.max_frame),
            peer: Peer::from(&place.address),
            settings,
            node,
            purpose,
            place,
            state: State::Idle,
            queue: Queue::new(),
            flight: Flight::new(),
            outgoing: Segments::default(),
            versions: Versions::default(),
            next_correlation_id: 0,
            failures: 0,
            muted_until: None,
            throttled: false,
            last_used: now,
            random,
            effects: Vec::new(),
        }
    }

    /// Takes a call. Its outcome comes as [`Effect::Done`], at its deadline at the latest.
    pub(crate) fn submit(&mut self, now: Now, call: Call, reply: R) {
        if matches!(self.state, State::Shut) {
            let error = ErrorKind::Closed { what: "client" }.into();
            return self.done(reply, Err(Failure { maybe_sent: false, error }));
        }
        if self.queue.is_full() {
            let detail = format!("{} calls wait for this connection already", Queue::<R>::LIMIT);
            let error = self.peer.io(std::io::ErrorKind::WouldBlock, detail);
            return self.done(reply, Err(Failure { maybe_sent: false, error }));
        }
        if let State::Backoff { until, refused: Some(error) } = &self.state
            && now.instant < *until
        {
            // To wait for the next attempt would hide a new leader from whoever asks, for as long as the backoff.
            let error = error.clone();
            return self.done(reply, Err(Failure { maybe_sent: false, error }));
        }
        self.last_used = now;
        self.queue.push(Waiting { call, reply, since: now.instant });
        match self.state {
            State::Idle => self.dial(now),
            State::Ready => self.send(now),
            _ => {}
        }
    }

    /// The broker is somewhere else now. The connection to where it was is closed.
    pub(crate) fn moved(&mut self, now: Now, place: Place) {
        if self.place == place || matches!(self.state, State::Shut) {
            return;
        }
        tracing::info!(broker = %self.node, purpose = ?self.purpose, from = %self.place.address, to = %place.address, "broker moved");
        let detail = format!("the broker moved to {}", place.address);
        let error = self.peer.io(std::io::ErrorKind::ConnectionAborted, detail);
        self.fail_flight(&error);
        self.peer = Peer::from(&place.address);
        self.place = place;
        self.failures = 0;
        self.effects.push(Effect::Close);
        self.state = State::Idle;
        if !self.queue.is_empty() {
            self.dial(now);
        }
    }

    /// What came of [`Effect::Dial`]: the address that was reached.
    pub(crate) fn dialed(&mut self, now: Now, result: Result<String, Error>) {
        let State::Dialing { since, until } = self.state else { return };
        match result {
            Ok(peer) => {
                self.peer = peer.into();
                let (handshake, step) = Handshake::start(self.place.expected.clone());
                self.state = State::Handshaking { handshake, since, until };
                self.take_step(now, step);
            }
            Err(error) => self.fail_attempt(now, error),
        }
    }

    /// What is left to write on the connection.
    pub(crate) fn outgoing(&self) -> &Segments {
        &self.outgoing
    }

    /// The operating system took `count` bytes of [`outgoing`](Self::outgoing).
    pub(crate) fn written(&mut self, now: Now, count: usize) {
        bytes::Buf::advance(&mut self.outgoing, count);
        for sent in self.flight.written(count) {
            let response = Response::Produce(ProduceResponse::default());
            self.count_answer(now, &sent, Duration::ZERO);
            self.answered(sent, response);
        }
        self.send(now);
    }

    /// How much room to make in `buf` for the next read.
    pub(crate) fn want(&self, buf: &[u8]) -> usize {
        self.frames.want(buf)
    }

    /// Takes whole frames out of what was read.
    pub(crate) fn received(&mut self, now: Now, buf: &mut BytesMut) {
        while matches!(self.state, State::Handshaking { .. } | State::Ready) {
            match self.frames.next(buf) {
                Ok(Some(frame)) => self.take_frame(now, frame),
                Ok(None) => break,
                Err(error) => {
                    let error = self.peer.bad_frame(error);
                    return self.lose(now, error);
                }
            }
        }
        self.send(now);
    }

    /// The connection is gone. `in_frame` tells whether an answer was cut off.
    pub(crate) fn closed(&mut self, now: Now, error: &std::io::Error, in_frame: bool) {
        let eof = error.kind() == std::io::ErrorKind::UnexpectedEof;
        let detail = match &self.state {
            State::Handshaking { .. } if eof => UNGREETED.to_owned(),
            _ if eof && in_frame => "it was closed in the middle of an answer".to_owned(),
            _ if eof => "it was closed by the broker".to_owned(),
            _ => error.to_string(),
        };
        let error = self.peer.io(error.kind(), detail);
        self.lose(now, error);
    }

    /// Does what has become due.
    pub(crate) fn tick(&mut self, now: Now) {
        for waiting in self.queue.expire(now.instant) {
            self.expire_waiting(now, waiting);
        }
        for (reply, key, since) in self.flight.expire(now.instant) {
            let error = self.peer.timeout(key, now.instant.saturating_duration_since(since), "");
            self.done(reply, Err(Failure { maybe_sent: true, error }));
        }
        if let Some(late) = self.flight.overdue(now.instant) {
            let after = now.instant.saturating_duration_since(late.sent);
            let error = self.peer.timeout(late.key, after, "");
            self.lose(now, error);
        }
        match self.state {
            State::Dialing { since, until } | State::Handshaking { since, until, .. }
                if until <= now.instant =>
            {
                let error = self.peer.connect_timeout(now.instant.saturating_duration_since(since));
                self.fail_attempt(now, error);
            }
            State::Backoff { until, .. } if until <= now.instant => {
                self.state = State::Idle;
                if !self.queue.is_empty() {
                    self.dial(now);
                }
            }
            State::Ready if self.idle_until().is_some_and(|until| until <= now.instant) => {
                tracing::debug!(broker = %self.node, purpose = ?self.purpose, peer = %self.peer, "closing an idle connection");
                self.effects.push(Effect::Close);
                self.state = State::Idle;
            }
            _ => {}
        }
        if self.muted_until.is_some_and(|until| until <= now.instant) {
            self.muted_until = None;
        }
        self.send(now);
    }

    /// When to [`tick`](Self::tick) at the latest.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let state = match self.state {
            State::Backoff { until, .. }
            | State::Dialing { until, .. }
            | State::Handshaking { until, .. } => Some(until),
            State::Idle | State::Ready => self.idle_until(),
            State::Shut => None,
        };
        let calls = earlier(self.queue.deadline(), self.flight.deadline());
        earlier(earlier(state, calls), self.muted_until.filter(|_| !self.queue.is_empty()))
    }

    /// Whether nobody has used the link for so long that it can be forgotten.
    pub(crate) fn is_forgotten(&self, now: Now) -> bool {
        let is_unused = || self.idle_until().is_some_and(|until| until <= now.instant);
        matches!(self.state, State::Shut) || matches!(self.state, State::Idle if is_unused())
    }

    /// Whether there is a connection, and nobody has waited in vain for an answer that is due on it.
    pub(crate) fn is_answering(&self) -> bool {
        matches!(self.state, State::Ready) && !self.flight.is_late()
    }

    /// Ends the link: everything fails because the client is closed.
    pub(crate) fn shut(&mut self) {
        let error = Error::from(ErrorKind::Closed { what: "client" });
        self.fail_flight(&error);
        self.fail_queue(&error);
        self.effects.push(Effect::Close);
        self.state = State::Shut;
    }

    /// What the driver has to do, in this order.
    pub(crate) fn effects(&mut self) -> Vec<Effect<R>> {
        mem::take(&mut self.effects)
    }

    /// Asserts what must always hold.
    pub(crate) fn check(&self) {
        self.queue.check();
        self.flight.check();
        let connected = matches!(self.state, State::Handshaking { .. } | State::Ready);
        debug_assert!(connected || self.flight.is_empty(), "nothing is in flight without a connection");
        debug_assert!(connected || self.outgoing.is_empty(), "nothing is written without a connection");
        debug_assert!(self.flight.len() <= self.settings.in_flight.max(1), "the limit in flight holds");
        let waits = !self.queue.is_empty();
        let dead = matches!(self.state, State::Idle | State::Shut);
        debug_assert!(!(waits && dead), "a call that waits has a connection attempt to wait for");
    }

    fn dial(&mut self, now: Now) {
        let growth = 1_u32.checked_shl(self.failures.min(8)).unwrap_or(1);
        let limit = MAX_CONNECT_TIMEOUT.max(self.settings.connect_timeout);
        let patience = self.settings.connect_timeout.saturating_mul(growth).min(limit);
        self.state = State::Dialing { since: now.instant, until: deadline_after(now, patience) };
        tracing::debug!(broker = %self.node, purpose = ?self.purpose, address = %self.place.address, attempt = self.failures, "connecting");
        self.effects.push(Effect::Dial { address: self.place.address.clone(), attempt: self.failures });
    }

    /// Sends as much of the queue as may be sent now.
    fn send(&mut self, now: Now) {
        while matches!(self.state, State::Ready)
            && self.muted_until.is_none_or(|until| until <= now.instant)
            && self.flight.len() < self.settings.in_flight
            && self.outgoing.len() < WRITE_AHEAD
        {
            let Some(waiting) = self.queue.pop() else { break };
            if waiting.call.deadline <= now.instant {
                self.expire_waiting(now, waiting);
                continue;
            }
            let key = waiting.call.request.key();
            let Some(version) = self.versions.pick(key, waiting.call.max_version) else {
                let error = self.peer.unsupported(key, waiting.call.max_version, &self.versions);
                self.done(waiting.reply, Err(Failure { maybe_sent: false, error }));
                continue;
            };
            let answered = !matches!(&waiting.call.request, Request::Produce(produce) if produce.acks == 0);
            let Waiting { call, reply, since } = waiting;
            let order = Order { version, answered, since, deadline: call.deadline };
            if let Err((Some(reply), error)) = self.encode(now, &call.request, order, Some(reply)) {
                self.done(reply, Err(Failure { maybe_sent: false, error }));
            }
        }
    }

    /// Puts a request behind what is to be written, or gives the reply back with the reason why not.
    fn encode(
        &mut self,
        now: Now,
        request: &Request,
        order: Order,
        reply: Option<R>,
    ) -> Result<(), (Option<R>, Error)> {
        let Order { version, answered, since, deadline } = order;
        let correlation_id = self.next_correlation_id;
        let frame = match request.encode_frame(version, correlation_id, Some(&self.settings.client_id)) {
            Ok(frame) => frame,
            Err(error) => {
                return Err((reply, self.peer.unencodable(request.key(), version, &error, &self.versions)));
            }
        };
        self.next_correlation_id = correlation_id.checked_add(1).unwrap_or(0);
        let overdue = deadline.max(deadline_after(now, self.settings.request_timeout));
        self.flight.push(Sent {
            correlation_id,
            key: request.key(),
            version,
            answered,
            reply,
            since,
            sent: now.instant,
            deadline,
            overdue,
            length: frame.len(),
        });
        for part in frame.parts() {
            self.outgoing.push(part.clone());
        }
        self.effects.push(Effect::Count(Count::Sent));
        Ok(())
    }

    fn take_frame(&mut self, now: Now, frame: Bytes) {
        let sent = match correlation_id(&frame) {
            Ok(id) => self.flight.answer(id).map_err(|unexpected| unexpected.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let sent = match sent {
            Ok(sent) => sent,
            Err(detail) => {
                let error = self.peer.malformed(detail);
                return self.lose(now, error);
            }
        };
        let response = match Response::decode_frame(sent.key, sent.version, frame) {
            Ok(response) => response,
            Err(error) => {
                let detail = format!("{} version {}: {error}", sent.key, sent.version);
                let error = self.peer.malformed(detail);
                self.effects.push(Effect::Count(Count::Unanswered(1)));
                if let Some(reply) = sent.reply {
                    self.done(reply, Err(Failure { maybe_sent: true, error: error.clone() }));
                }
                return self.lose(now, error);
            }
        };
        let throttle = self.mute(now, &response);
        self.count_answer(now, &sent, throttle);
        if let State::Handshaking { handshake, .. } = &mut self.state {
            return match handshake.answer(&self.peer, response) {
                Ok(step) => self.take_step(now, step),
                Err(error) => self.lose(now, error),
            };
        }
        // The broker really works: from here on a lost connection is nothing that is getting worse.
        self.failures = 0;
        self.last_used = now;
        self.answered(sent, response);
    }

    fn take_step(&mut self, now: Now, step: Step) {
        match step {
            Step::Ask(request, version) => {
                let deadline = deadline_after(now, self.settings.request_timeout);
                let order = Order { version, answered: true, since: now.instant, deadline };
                if let Err((_, error)) = self.encode(now, &request, order, None) {
                    self.lose(now, error);
                }
            }
            Step::Done(versions) => {
                tracing::debug!(broker = %self.node, purpose = ?self.purpose, peer = %self.peer, "connected");
                self.versions = versions;
                self.state = State::Ready;
                self.last_used = now;
                self.send(now);
            }
        }
    }

    /// Since Kafka 2.0 a broker answers first and says for how long it wants nothing more; a client that sends on
    /// only fills the broker's socket buffers. Older brokers hold the answer back instead and say so in the same
    /// field; waiting twice does no harm.
    fn mute(&mut self, now: Now, response: &Response) -> Duration {
        let ms = u64::try_from(response.throttle_time_ms()).unwrap_or(0);
        let before = mem::replace(&mut self.throttled, ms > 0);
        if ms == 0 {
            return Duration::ZERO;
        }
        let silence = Duration::from_millis(ms).min(MAX_THROTTLE);
        if before {
            tracing::debug!(broker = %self.node, purpose = ?self.purpose, peer = %self.peer, throttle_ms = ms, "throttled");
        } else {
            tracing::warn!(broker = %self.node, purpose = ?self.purpose, peer = %self.peer, throttle_ms = ms, "throttled: a quota is exceeded");
        }
        self.muted_until = Some(now.instant + silence);
        silence
    }

    fn count_answer(&mut self, now: Now, sent: &Sent<R>, throttle: Duration) {
        let latency = now.instant.saturating_duration_since(sent.sent);
        self.effects.push(Effect::Count(Count::Answered { latency, throttle }));
    }

    fn answered(&mut self, sent: Sent<R>, response: Response) {
        if let Some(reply) = sent.reply {
            self.done(reply, Ok(Answer { node: self.node, version: sent.version, response }));
        }
    }

    /// The connection is of no more use, for whichever reason.
    fn lose(&mut self, now: Now, error: Error) {
        if matches!(self.state, State::Handshaking { .. }) {
            return self.fail_attempt(now, error);
        }
        if !matches!(self.state, State::Ready) {
            return;
        }
        let (unanswered, failures) = (self.flight.len(), self.failures);
        if unanswered > 0 {
            tracing::warn!(broker = %self.node, purpose = ?self.purpose, peer = %self.peer, unanswered, %error, "connection lost");
        } else {
            tracing::debug!(broker = %self.node, purpose = ?self.purpose, peer = %self.peer, %error, "connection closed");
        }
        self.fail_flight(&error);
        self.effects.push(Effect::Close);
        self.failures = failures.saturating_add(1);
        // A broker closes connections that it finds idle: nothing went wrong.
        if unanswered == 0 && failures == 0 && self.queue.is_empty() {
            self.failures = 0;
            self.state = State::Idle;
        } else {
            self.back_off(now, None);
        }
    }

    /// An attempt to connect came to nothing, and with it every call that waited for it.
    fn fail_attempt(&mut self, now: Now, error: Error) {
        tracing::debug!(broker = %self.node, purpose = ?self.purpose, peer = %self.peer, attempt = self.failures, %error, "no connection");
        self.fail_flight(&error);
        self.fail_queue(&error);
        self.effects.push(Effect::Close);
        self.failures = self.failures.saturating_add(1);
        self.back_off(now, Some(error));
    }

    fn back_off(&mut self, now: Now, refused: Option<Error>) {
        let attempt = self.failures.saturating_sub(1);
        let wait = self.settings.reconnect.delay(attempt, &mut self.random);
        self.state = State::Backoff { until: deadline_after(now, wait), refused };
    }

    /// Nothing that was on the connection will be answered.
    fn fail_flight(&mut self, error: &Error) {
        self.outgoing = Segments::default();
        self.muted_until = None;
        if !self.flight.is_empty() {
            self.effects.push(Effect::Count(Count::Unanswered(self.flight.len())));
        }
        for (sent, maybe_sent) in self.flight.drain() {
            if let Some(reply) = sent.reply {
                self.done(reply, Err(Failure { maybe_sent, error: error.clone() }));
            }
        }
    }

    fn fail_queue(&mut self, error: &Error) {
        for waiting in self.queue.drain() {
            self.done(waiting.reply, Err(Failure { maybe_sent: false, error: error.clone() }));
        }
    }

    fn expire_waiting(&mut self, now: Now, waiting: Waiting<R>) {
        let reason = match self.state {
            State::Ready if self.muted_until.is_some() => "; it was not sent, because the broker throttles",
            State::Ready => "; it was not sent, because too many requests before it are unanswered",
            _ => "; it was not sent, because there was no connection yet",
        };
        let after = now.instant.saturating_duration_since(waiting.since);
        let error = self.peer.timeout(waiting.call.request.key(), after, reason);
        self.done(waiting.reply, Err(Failure { maybe_sent: false, error }));
    }

    fn done(&mut self, reply: R, outcome: Outcome) {
        self.effects.push(Effect::Done(reply, outcome));
    }

    /// When a connection that is used for nothing is closed.
    fn idle_until(&self) -> Option<Instant> {
        let idle = self.flight.is_empty() && self.queue.is_empty();
        idle.then(|| deadline_after(self.last_used, self.settings.max_idle))
    }
}

/// How a request is to be sent.
#[derive(Clone, Copy, Debug)]
struct Order {
    version: i16,
    answered: bool,
    since: Instant,
    deadline: Instant,
}

#[cfg(test)]
mod tests;
