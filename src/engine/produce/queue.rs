//! The tail of one partition: the open batch that callers append to, and the full ones behind it.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Instant,
};

use super::{
    expansion::Expansion,
    full::FullBatch,
    gate::{Barred, Gate, Pass},
    outcome::BatchDone,
    spares::Spares,
};
use crate::{
    error::Error,
    record::Record,
    sync::lock,
    types::{Partition, TopicName, TopicPartition},
    wire::batch::{BatchBuilder, SealedBatch},
};

/// A batch in which less than this part of its size is free may be closed before a record comes that finds no room.
const LAST_PART: usize = 16;

/// Names a partition within one producer: its place among all partitions that the producer has written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct LaneId(pub(crate) usize);

/// A batch that grows.
#[derive(Debug)]
struct OpenBatch {
    builder: BatchBuilder,
    done: Arc<BatchDone>,
    opened_at: Instant,
    /// The bytes that its records took from the budget.
    charged: usize,
}

/// When a batch is full.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchSize {
    /// The bytes of a full batch, as it is sent.
    pub(crate) sent: usize,
    /// What no batch of more than one record takes before it is compressed, however much smaller it may become.
    pub(crate) raw: usize,
}

/// Where a record went.
#[derive(Debug)]
pub(crate) struct Appended {
    pub(crate) done: Arc<BatchDone>,
    /// The record's place in its batch.
    pub(crate) index: u32,
    /// What it takes there, in bytes.
    pub(crate) bytes: usize,
    /// The sender has something new to look at: a batch was opened, or filled.
    pub(crate) news: bool,
    /// A batch was filled.
    pub(crate) filled: bool,
    /// The bytes at which a batch is full now, before compression.
    pub(crate) full_at: usize,
}

/// Why a record was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The producer is closed.
    Closed,
    /// The record's transaction is not, or no longer, open.
    Ended,
    /// The record's lengths do not fit a batch at all.
    TooLarge,
}

/// What waits in a queue, as the sender sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Backlog {
    /// Whether a batch is full and waits for nothing more.
    pub(crate) full: bool,
    /// When the oldest batch was opened.
    pub(crate) since: Instant,
    /// The bytes of the oldest batch, as far as it is compressed.
    pub(crate) bytes: usize,
    /// Whether the oldest batch is away to be compressed.
    pub(crate) is_away: bool,
    /// Whether it is neither away nor back.
    pub(crate) is_raw: bool,
}

/// The queue of one partition.
#[derive(Debug)]
pub(crate) struct PartitionQueue {
    pub(crate) id: LaneId,
    pub(crate) topic: TopicName,
    pub(crate) partition: Partition,
    spares: Arc<Spares>,
    gate: Arc<Gate>,
    /// Whether the accumulator's list of news already names this queue.
    listed: AtomicBool,
    /// How many batches wait, open or full: written under the lock of the tail, and read without it.
    waiting: AtomicUsize,
    tail: Mutex<Tail>,
}

#[derive(Debug, Default)]
struct Tail {
    open: Option<OpenBatch>,
    full: VecDeque<FullBatch>,
    expansion: Expansion,
    /// The size of the batch before: the next one most likely needs as much.
    last_len: usize,
    /// The most that a batch takes, once the broker has refused a larger one.
    limit: Option<usize>,
}

impl PartitionQueue {
    pub(crate) fn new(
        id: LaneId,
        topic: TopicName,
        partition: Partition,
        spares: Arc<Spares>,
        gate: Arc<Gate>,
    ) -> Self {
        let (listed, waiting) = (AtomicBool::new(false), AtomicUsize::new(0));
        Self { id, topic, partition, spares, gate, listed, waiting, tail: Mutex::default() }
    }

    /// Copies a record into the open batch, which is closed and replaced when the record would grow it past its size, as
    /// far as one can tell before it is compressed, or past what the broker takes, or is too far from its first in time,
    /// and closed when the next one like it most likely would. `charge` is what the record took from the budget, an upper bound of its encoded size.
    pub(crate) fn append(
        &self,
        pass: Pass,
        now: Instant,
        timestamp: i64,
        record: &Record<'_>,
        charge: usize,
        size: BatchSize,
    ) -> Result<Appended, Refused> {
        let mut tail = lock(&self.tail);
        self.gate.check(pass)?;
        let batch_size = tail.expansion.limit(size.sent).min(size.raw);
        let batch_size = tail.limit.map_or(batch_size, |limit| limit.min(batch_size));
        let (mut news, mut filled) = (false, false);
        let has_room = |open: &OpenBatch| {
            open.builder.len() + charge <= batch_size && open.builder.takes_timestamp(timestamp)
        };
        if tail.open.as_ref().is_some_and(|open| !has_room(open)) {
            tail.fill();
            filled = true;
        }
        let expected = tail.last_len.min(batch_size).max(charge);
        let open = match &mut tail.open {
            Some(open) => open,
            none => {
                news = true;
                none.insert(self.open_batch(now, expected, batch_size))
            }
        };
        let before = open.builder.len();
        let index = open
            .builder
            .append(timestamp, record.key, record.value, record.headers)
            .map_err(|_| Refused::TooLarge)?;
        open.charged += charge;
        let done = Arc::clone(&open.done);
        let len = open.builder.len();
        // Large records leave their room to smaller ones.
        if len + charge.min(batch_size / LAST_PART) >= batch_size {
            tail.fill();
            filled = true;
        }
        let news = news || filled;
        if news {
            self.waiting.store(tail.full.len() + usize::from(tail.open.is_some()), Ordering::Relaxed);
        }
        Ok(Appended { done, index, bytes: len - before, news, filled, full_at: batch_size })
    }

    /// The partition whose queue this is.
    pub(crate) fn topic_partition(&self) -> TopicPartition {
        TopicPartition { topic: self.topic.clone(), partition: self.partition }
    }

    fn open_batch(&self, now: Instant, expected: usize, batch_size: usize) -> OpenBatch {
        // A batch that stays small is better off with little memory of its own.
        let spare = if expected * 2 > batch_size { self.spares.take() } else { None };
        let builder = match spare {
            Some(spare) => BatchBuilder::reuse(spare, batch_size),
            None => BatchBuilder::new(expected, batch_size),
        };
        OpenBatch { builder, done: BatchDone::new(self.topic_partition()), opened_at: now, charged: 0 }
    }

    /// Marks the queue as listed; `false` where it already was.
    pub(crate) fn list(&self) -> bool {
        !self.listed.swap(true, Ordering::AcqRel)
    }

    /// Unmarks it: news from now on list it again.
    pub(crate) fn unlist(&self) {
        self.listed.store(false, Ordering::Release);
    }

    pub(crate) fn backlog(&self) -> Option<Backlog> {
        let tail = lock(&self.tail);
        let of_full = |batch: &FullBatch| Backlog {
            full: true,
            since: batch.opened_at,
            bytes: batch.len(),
            is_away: batch.is_away(),
            is_raw: batch.is_raw(),
        };
        let of_open = |batch: &OpenBatch| Backlog {
            full: false,
            since: batch.opened_at,
            bytes: batch.builder.len(),
            is_away: false,
            is_raw: true,
        };
        tail.full.front().map(of_full).or_else(|| tail.open.as_ref().map(of_open))
    }

    /// Takes the oldest batch, the open one where no full one waits.
    pub(crate) fn take(&self) -> Option<FullBatch> {
        let mut tail = lock(&self.tail);
        if tail.full.is_empty() {
            tail.fill();
        }
        let oldest = tail.full.pop_front();
        self.waiting.store(tail.full.len() + usize::from(tail.open.is_some()), Ordering::Relaxed);
        oldest
    }

    /// How many batches wait to be taken. Another moment, another number.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// From now on batches of more than one record take no more than `bytes`, before compression, and no more than they
    /// were limited to before; tells what that is.
    pub(crate) fn limit(&self, bytes: usize) -> usize {
        let mut tail = lock(&self.tail);
        let limit = tail.limit.map_or(bytes, |limit| limit.min(bytes));
        tail.limit = Some(limit);
        limit
    }

    /// Gives away the oldest batch that is full, takes at least `least` bytes and is not compressed, for somebody to
    /// compress it. Its place is kept.
    pub(crate) fn give(&self, least: usize) -> Option<(Arc<BatchDone>, BatchBuilder)> {
        let mut tail = lock(&self.tail);
        tail.full.iter_mut().find_map(|batch| Some((Arc::clone(&batch.done), batch.give(least)?)))
    }

    /// Takes back a batch that was given away, unless it has ended meanwhile.
    pub(crate) fn take_back(&self, done: &Arc<BatchDone>, sealed: Result<SealedBatch, Error>) {
        let mut tail = lock(&self.tail);
        if let Some(batch) = tail.full.iter_mut().find(|batch| Arc::ptr_eq(&batch.done, done)) {
            batch.take_back(sealed);
        }
    }

    /// A batch of `raw` bytes has become one of `sealed` by compression: the next ones most likely will.
    pub(crate) fn learn(&self, raw: usize, sealed: usize) {
        lock(&self.tail).expansion.learn(raw, sealed);
    }

    /// Closes the open batch, so that it waits for nothing more, and names the batches that wait.
    pub(crate) fn fill(&self) -> Vec<Arc<BatchDone>> {
        let mut tail = lock(&self.tail);
        tail.fill();
        tail.full.iter().map(|batch| Arc::clone(&batch.done)).collect()
    }
}

impl From<Barred> for Refused {
    fn from(barred: Barred) -> Self {
        match barred {
            Barred::Closed => Self::Closed,
            Barred::Ended => Self::Ended,
        }
    }
}

impl Tail {
    fn fill(&mut self) {
        if let Some(open) = self.open.take() {
            // A batch opened for a record that was refused is empty, and nobody waits for it.
            if !open.builder.is_empty() {
                self.last_len = open.builder.len();
                let OpenBatch { builder, done, opened_at, charged } = open;
                self.full.push_back(FullBatch::new(builder, done, opened_at, charged));
            }
        }
    }
}
