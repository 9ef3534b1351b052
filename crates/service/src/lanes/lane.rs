//! The records of one key.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// How many records a lane hands out at once: `None` for one.
pub(crate) type Batching = Option<crate::route::Batching>;

/// Records that are handled together: one, or a batch.
#[derive(Debug)]
pub(crate) struct Job<T> {
    pub(crate) first: T,
    pub(crate) rest: Vec<T>,
}

impl<T> Job<T> {
    pub(crate) fn len(&self) -> usize {
        1 + self.rest.len()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        std::iter::once(&mut self.first).chain(&mut self.rest)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        std::iter::once(&self.first).chain(&self.rest)
    }

    /// Last first.
    fn into_reversed(self) -> impl Iterator<Item = T> {
        self.rest.into_iter().rev().chain([self.first])
    }
}

/// How a job has ended.
#[derive(Debug)]
pub(crate) enum End<T> {
    /// It is done with.
    Done,
    /// It comes again, at this time.
    Again(Job<T>, Instant),
    /// It comes again at once, each record alone.
    Apart(Job<T>),
    /// Nothing in the lane goes on.
    Halted(Job<T>),
    /// It was not done, and does not come again, and so nothing that is behind it may be done either.
    GivenBack,
}

/// What a lane is up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nobody has been told of it.
    Idle,
    /// It stands among those that are ready.
    Queued,
    /// It waits for more records of a batch, until then.
    Gathering(Instant),
    /// Its job runs.
    Running,
    /// Its first record is tried again then.
    Waiting(Instant),
    /// Its first record cannot be handled.
    Halted,
}

/// Where a lane is to be put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    None,
    Ready,
    At(Instant),
}

/// What is held of a lane, or of a partition: what runs included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) records: usize,
    pub(crate) bytes: usize,
    /// Lanes that wait to try again, or have halted.
    pub(crate) blocked_lanes: usize,
}

#[derive(Debug)]
struct Entry<T> {
    item: T,
    size: usize,
    since: Instant,
}

/// The records of one key, oldest first; those that run are away.
#[derive(Debug)]
pub(super) struct Lane<T> {
    waiting: VecDeque<Entry<T>>,
    /// The sizes of the records that run, and since when they are here.
    away: Vec<(usize, Instant)>,
    /// Of all of them.
    bytes: usize,
    /// How many of the first records go alone.
    alone: usize,
    /// Of how many records the job was that is to be tried again; 0 if none is.
    together: usize,
    /// Whether what runs goes alone.
    is_lone: bool,
    state: State,
}

impl<T> Lane<T> {
    pub(super) fn new() -> Self {
        Self {
            waiting: VecDeque::new(),
            away: Vec::new(),
            bytes: 0,
            alone: 0,
            together: 0,
            is_lone: false,
            state: State::Idle,
        }
    }

    pub(super) fn push(&mut self, item: T, size: usize, now: Instant) {
        self.waiting.push_back(Entry { item, size, since: now });
        self.bytes += size;
    }

    /// Where the lane is to be put, now that something has changed; once until something changes again.
    pub(super) fn queue_up(&mut self, now: Instant, batching: Batching) -> Turn {
        if !matches!(self.state, State::Idle | State::Gathering(_)) {
            return match self.state {
                State::Waiting(at) => Turn::At(at),
                _ => Turn::None,
            };
        }
        let Some(first) = self.waiting.front() else { return Turn::None };
        let until = first.since + wait_of(batching);
        if until <= now || self.alone > 0 || self.together > 0 || self.waiting.len() >= most(batching) {
            self.state = State::Queued;
            return Turn::Ready;
        }
        let turn = if self.state == State::Gathering(until) { Turn::None } else { Turn::At(until) };
        self.state = State::Gathering(until);
        turn
    }

    /// The next job, if it is the lane's turn.
    pub(super) fn take(&mut self, batching: Batching) -> Option<Job<T>> {
        if self.state != State::Queued {
            return None;
        }
        self.is_lone = self.alone > 0;
        self.alone = self.alone.saturating_sub(1);
        let count = match self.together {
            _ if self.is_lone => 1,
            0 => most(batching),
            together => together,
        };
        self.together = 0;
        let mut taken = (0..count).map_while(|_| {
            let entry = self.waiting.pop_front()?;
            self.away.push((entry.size, entry.since));
            Some(entry.item)
        });
        let job = Job { first: taken.next()?, rest: taken.collect() };
        self.state = State::Running;
        Some(job)
    }

    /// The job that ran has ended; if nothing may begin any more, it does not come again.
    pub(super) fn finish(&mut self, end: End<T>, drained: bool) {
        if self.state != State::Running {
            return;
        }
        self.state = State::Idle;
        let comes_back = match end {
            End::Done => None,
            End::GivenBack => {
                self.drop_waiting();
                None
            }
            End::Again(job, at) => {
                self.state = State::Waiting(at);
                Some((job, self.is_lone))
            }
            End::Apart(job) => Some((job, true)),
            End::Halted(job) => {
                self.state = State::Halted;
                Some((job, self.is_lone))
            }
        };
        match comes_back {
            Some((job, alone)) if !drained => {
                (self.alone, self.together) =
                    if alone { (self.alone + job.len(), 0) } else { (self.alone, job.len()) };
                for (item, (size, since)) in job.into_reversed().zip(self.away.drain(..).rev()) {
                    self.waiting.push_front(Entry { item, size, since });
                }
            }
            dropped => {
                if dropped.is_some() {
                    self.state = State::Idle;
                }
                self.bytes = self.bytes.saturating_sub(self.bytes_away());
                self.away.clear();
            }
        }
    }

    /// The lane's time may have come.
    pub(super) fn wake(&mut self, now: Instant) {
        if matches!(self.state, State::Waiting(at) if at <= now) {
            self.state = State::Idle;
        }
    }

    pub(super) fn unhalt(&mut self) {
        if self.is_halted() {
            self.state = State::Idle;
        }
    }

    /// Drops what does not run.
    pub(super) fn drop_waiting(&mut self) {
        self.waiting.clear();
        self.bytes = self.bytes_away();
    }

    fn bytes_away(&self) -> usize {
        self.away.iter().map(|(size, _)| *size).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.state != State::Running
    }

    pub(super) const fn is_blocked(&self) -> bool {
        matches!(self.state, State::Waiting(_) | State::Halted)
    }

    pub(super) fn is_halted(&self) -> bool {
        self.state == State::Halted
    }

    /// Since when its oldest record is here.
    pub(super) fn oldest(&self) -> Option<Instant> {
        let away = self.away.first().map(|(_, since)| *since);
        away.or_else(|| self.waiting.front().map(|entry| entry.since))
    }

    pub(super) fn held(&self) -> Held {
        let records = self.waiting.len() + self.away.len();
        Held { records, bytes: self.bytes, blocked_lanes: usize::from(self.is_blocked()) }
    }

    pub(super) fn front(&self) -> Option<&T> {
        self.waiting.front().map(|entry| &entry.item)
    }
}

/// How many records a job has at most.
const fn most(batching: Batching) -> usize {
    match batching {
        Some(batching) => batching.max,
        None => 1,
    }
}

/// How long the first record of a batch may wait for more.
const fn wait_of(batching: Batching) -> Duration {
    match batching {
        Some(batching) => batching.wait,
        None => Duration::ZERO,
    }
}
