//! The log of one partition: its batches, its offsets, its leader epochs.

mod compact;
pub(super) mod spans;
mod stable;
pub(super) mod transactions;

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use self::transactions::Transactions;
use crate::wire::batch::{Batch, Batches, set_base_offset, set_leader_epoch};

/// Where the fields lie that a broker changes when it stamps its own time: attributes, largest timestamp, checksum.
const ATTRIBUTES: usize = 21;
const MAX_TIMESTAMP: usize = 35;
const CRC: usize = 17;
const LOG_APPEND_TIME: u8 = 1 << 3;

/// What a partition holds.
#[derive(Debug)]
pub(super) struct Log {
    batches: VecDeque<Stored>,
    start: i64,
    end: i64,
    /// Where each leader epoch began, oldest first.
    epochs: Vec<EpochStart>,
    transactions: Transactions,
    bytes: usize,
}

/// A batch as it is served.
#[derive(Clone, Debug)]
struct Stored {
    base: i64,
    last: i64,
    epoch: i32,
    max_timestamp: i64,
    bytes: Bytes,
}

/// The first offset that was written under an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct EpochStart {
    epoch: i32,
    offset: i64,
}

/// A record found by its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) timestamp: i64,
    pub(super) offset: i64,
    pub(super) epoch: i32,
}

impl Log {
    pub(super) fn new() -> Self {
        Self {
            batches: VecDeque::new(),
            start: 0,
            end: 0,
            epochs: Vec::new(),
            transactions: Transactions::default(),
            bytes: 0,
        }
    }

    /// The oldest offset that is still there.
    pub(super) fn start(&self) -> i64 {
        self.start
    }

    /// The offset that the next record gets. All that is written is replicated at once, so this is the high watermark
    /// too.
    pub(super) fn end(&self) -> i64 {
        self.end
    }

    /// How many bytes the batches take.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends a batch that has been checked and returns its base offset. `append_time` is stamped on it where the topic
    /// wants the broker's time, and the true largest timestamp where it does not.
    pub(super) fn append(
        &mut self,
        batch: &Batch,
        epoch: i32,
        append_time: Option<i64>,
        max_timestamp: i64,
    ) -> i64 {
        let base = self.write(batch, epoch, append_time, max_timestamp);
        self.transactions.appended(batch.header(), base);
        base
    }

    /// Appends the marker that ends a producer's transaction.
    pub(super) fn append_marker(
        &mut self,
        marker: &Batch,
        epoch: i32,
        append_time: Option<i64>,
        commit: bool,
    ) {
        let header = *marker.header();
        let base = self.write(marker, epoch, append_time, header.max_timestamp);
        self.transactions.marked(header.producer_id, base, !commit);
    }

    fn write(&mut self, batch: &Batch, epoch: i32, append_time: Option<i64>, max_timestamp: i64) -> i64 {
        let base = self.end;
        let mut bytes = BytesMut::from(&batch.bytes()[..]);
        set_base_offset(&mut bytes, base);
        set_leader_epoch(&mut bytes, epoch);
        let max_timestamp = append_time.unwrap_or(max_timestamp);
        stamp_time(&mut bytes, append_time.is_some(), max_timestamp);
        let last = base + i64::from(batch.header().last_offset_delta);
        self.bytes += bytes.len();
        self.batches.push_back(Stored { base, last, epoch, max_timestamp, bytes: bytes.freeze() });
        self.end = last + 1;
        base
    }

    /// The bytes from the batch that holds `offset` to before `end`, at most `max` of them: the last batch may be cut off,
    /// as Kafka cuts it. With `whole_first` the first batch comes whole, however long it is; without, a first batch that
    /// does not fit gives nothing.
    pub(super) fn read(&self, offset: i64, end: i64, max: usize, whole_first: bool) -> Bytes {
        let from = self.batches.partition_point(|batch| batch.last < offset);
        let to = self.batches.partition_point(|batch| batch.base < end);
        let Some(first) = self.batches.get(from).filter(|_| from < to) else { return Bytes::new() };
        if first.bytes.len() > max && !whole_first {
            return Bytes::new();
        }
        if first.bytes.len() >= max || from + 1 == to {
            return first.bytes.clone();
        }
        let rest = self.batches.range(from..to);
        let size = rest.clone().map(|batch| batch.bytes.len()).take_while_sum(max);
        let mut read = BytesMut::with_capacity(size);
        for batch in rest {
            let room = size - read.len();
            if room == 0 {
                break;
            }
            read.extend_from_slice(&batch.bytes[..batch.bytes.len().min(room)]);
        }
        read.freeze()
    }

    /// The first record whose timestamp is `timestamp` or later.
    pub(super) fn find_time(&self, timestamp: i64, decompressed: usize) -> Option<Found> {
        let late = self.batches.iter().filter(|batch| batch.max_timestamp >= timestamp);
        late.into_iter().find_map(|batch| batch.find(decompressed, |time| time >= timestamp))
    }

    /// The first record with the largest timestamp.
    pub(super) fn find_max_time(&self, decompressed: usize) -> Option<Found> {
        let mut newest: Option<&Stored> = None;
        for batch in &self.batches {
            if newest.is_none_or(|newest| newest.max_timestamp < batch.max_timestamp) {
                newest = Some(batch);
            }
        }
        let newest = newest?;
        newest.find(decompressed, |time| time == newest.max_timestamp)
    }

    /// A leader begins to write.
    pub(super) fn begin_epoch(&mut self, epoch: i32) {
        self.epochs.retain(|start| start.epoch < epoch && start.offset < self.end);
        self.epochs.push(EpochStart { epoch, offset: self.end });
    }

    /// The epoch under which the oldest record was written, or will be.
    pub(super) fn first_epoch(&self) -> Option<i32> {
        self.epochs.first().map(|start| start.epoch)
    }

    /// The newest epoch up to `epoch`, and the offset at which it ended (KIP-101). Nothing for an epoch that the log does
    /// not know yet.
    pub(super) fn end_of_epoch(&self, epoch: i32) -> Option<(i32, i64)> {
        let newest = self.epochs.last()?;
        if epoch == newest.epoch {
            return Some((epoch, self.end));
        }
        let next = self.epochs.iter().position(|start| start.epoch > epoch)?;
        let found = next.checked_sub(1).and_then(|index| self.epochs.get(index)).map_or(epoch, |s| s.epoch);
        Some((found, self.epochs.get(next)?.offset))
    }

    /// Forgets everything from `offset` on, as an unclean election does. Whole batches only.
    pub(super) fn truncate(&mut self, offset: i64) {
        while self.batches.back().is_some_and(|batch| batch.last >= offset) {
            let Some(batch) = self.batches.pop_back() else { break };
            self.bytes -= batch.bytes.len();
            self.end = batch.base;
        }
        self.end = self.end.min(offset.max(self.start));
        // A batch that went whole may have begun below the start.
        self.start = self.start.min(self.end);
        self.epochs.retain(|start| start.offset < self.end || start.offset == 0);
        self.transactions.truncated(self.end);
    }

    /// Asserts what must hold between two changes.
    pub(super) fn check(&self) {
        debug_assert!(self.start <= self.end, "a log from {} to {}", self.start, self.end);
        let bytes: usize = self.batches.iter().map(|batch| batch.bytes.len()).sum();
        debug_assert_eq!(bytes, self.bytes, "the bytes are those of the batches");
        let mut next = 0;
        for batch in &self.batches {
            debug_assert!(next <= batch.base && batch.base <= batch.last, "offsets rise");
            next = batch.last + 1;
        }
        debug_assert!(next <= self.end, "the log ends behind its batches");
        let rises = |(a, b): (&EpochStart, &EpochStart)| a.epoch < b.epoch && a.offset <= b.offset;
        debug_assert!(self.epochs.iter().zip(self.epochs.iter().skip(1)).all(rises), "epochs rise");
        debug_assert!(
            self.epochs.iter().all(|start| start.offset <= self.end),
            "no epoch begins behind the end"
        );
        self.transactions.check(self.end);
    }

    /// Forgets everything below `offset`, as retention does. The batch that holds it stays in the log.
    pub(super) fn delete_before(&mut self, offset: i64) {
        self.start = offset.clamp(self.start, self.end);
        while self.batches.front().is_some_and(|batch| batch.last < self.start) {
            let Some(batch) = self.batches.pop_front() else { break };
            self.bytes -= batch.bytes.len();
        }
        self.transactions.deleted_before(self.start);
    }
}

impl Stored {
    fn find(&self, decompressed: usize, wanted: impl Fn(i64) -> bool) -> Option<Found> {
        let batch = Batches::new(self.bytes.clone()).next()?.ok()?;
        let mut cursor = batch.cursor(decompressed).ok()?;
        let record = cursor.records().flatten().find(|record| wanted(record.timestamp))?;
        Some(Found { timestamp: record.timestamp, offset: record.offset, epoch: self.epoch })
    }
}

/// Sums until a limit is reached.
trait TakeWhileSum {
    fn take_while_sum(self, limit: usize) -> usize;
}

impl<I: Iterator<Item = usize>> TakeWhileSum for I {
    fn take_while_sum(mut self, limit: usize) -> usize {
        let mut sum = 0;
        while sum < limit
            && let Some(next) = self.next()
        {
            sum += next;
        }
        sum.min(limit)
    }
}

/// Writes whether the timestamp of all records is the broker's, and the largest one, as the broker knows them.
fn stamp_time(batch: &mut [u8], is_brokers: bool, largest: i64) {
    // The bit lies in the lower byte of the two.
    let attributes = batch[ATTRIBUTES + 1] & !LOG_APPEND_TIME | if is_brokers { LOG_APPEND_TIME } else { 0 };
    let before = (batch[ATTRIBUTES + 1], &batch[MAX_TIMESTAMP..MAX_TIMESTAMP + 8]);
    if before == (attributes, &largest.to_be_bytes()[..]) {
        return;
    }
    batch[ATTRIBUTES + 1] = attributes;
    batch[MAX_TIMESTAMP..MAX_TIMESTAMP + 8].copy_from_slice(&largest.to_be_bytes());
    let crc = crc32c::crc32c(&batch[ATTRIBUTES..]);
    batch[CRC..CRC + 4].copy_from_slice(&crc.to_be_bytes());
}
