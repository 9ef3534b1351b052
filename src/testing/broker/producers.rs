//! What a partition remembers of its idempotent producers, to tell a repeated batch from a new one (KIP-98).

use std::collections::{BTreeMap, VecDeque};

use crate::error::Code;
use crate::wire::batch::BatchHeader;

/// How many batches of each producer are remembered: a client has no more in flight.
const REMEMBERED: usize = 5;

/// The producers of one partition.
#[derive(Debug, Default)]
pub(super) struct Producers {
    known: BTreeMap<i64, Producer>,
    /// Counts appends, to find the producer that was silent longest.
    clock: u64,
}

#[derive(Debug)]
struct Producer {
    epoch: i16,
    /// The newest batches of this epoch, oldest first.
    batches: VecDeque<Sent>,
    used: u64,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    first: i32,
    last: i32,
    base_offset: i64,
    append_time: i64,
}

/// What to do with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is new.
    Append,
    /// It was written before: answer as then.
    Duplicate { base_offset: i64, append_time: i64 },
    /// It must not be written.
    Refuse(Code),
}

impl Producers {
    /// Judges a batch by its producer id, epoch and sequence.
    pub(super) fn judge(&self, header: &BatchHeader) -> Verdict {
        // A producer that the partition does not know may begin with any sequence.
        let Some(producer) = self.known.get(&header.producer_id) else { return Verdict::Append };
        let (first, last) = sequences(header);
        let same = |sent: &&Sent| sent.first == first && sent.last == last;
        if header.producer_epoch == producer.epoch
            && let Some(sent) = producer.batches.iter().find(same)
        {
            return Verdict::Duplicate { base_offset: sent.base_offset, append_time: sent.append_time };
        }
        if header.producer_epoch < producer.epoch {
            return Verdict::Refuse(Code::INVALID_PRODUCER_EPOCH);
        }
        let expected = if header.producer_epoch > producer.epoch {
            0
        } else {
            producer.batches.back().map_or(0, |sent| after(sent.last, 1))
        };
        if first == expected { Verdict::Append } else { Verdict::Refuse(Code::OUT_OF_ORDER_SEQUENCE_NUMBER) }
    }

    /// Remembers a batch that has been appended.
    pub(super) fn appended(&mut self, header: &BatchHeader, base_offset: i64, append_time: Option<i64>) {
        // A batch that comes again is answered with its time, whoever has set it.
        let append_time = append_time.unwrap_or(header.max_timestamp);
        let (first, last) = sequences(header);
        let producer = self.in_epoch(header.producer_id, header.producer_epoch);
        if producer.batches.len() == REMEMBERED {
            producer.batches.pop_front();
        }
        producer.batches.push_back(Sent { first, last, base_offset, append_time });
    }

    /// Remembers a marker that has been appended: what comes under an older epoch comes too late.
    pub(super) fn marked(&mut self, producer_id: i64, epoch: i16) {
        self.in_epoch(producer_id, epoch);
    }

    fn in_epoch(&mut self, producer_id: i64, epoch: i16) -> &mut Producer {
        self.clock += 1;
        let new = || Producer { epoch, batches: VecDeque::with_capacity(REMEMBERED), used: 0 };
        let producer = self.known.entry(producer_id).or_insert_with(new);
        producer.used = self.clock;
        if producer.epoch != epoch {
            producer.epoch = epoch;
            producer.batches.clear();
        }
        producer
    }

    /// The epoch under which a producer has written.
    pub(super) fn epoch(&self, producer_id: i64) -> Option<i16> {
        self.known.get(&producer_id).map(|producer| producer.epoch)
    }

    /// Forgets the producers that were silent longest until there are no more than `limit`, but none of those that are
    /// needed still.
    pub(super) fn forget_down_to(&mut self, limit: usize, is_needed: impl Fn(i64) -> bool) {
        while self.known.len() > limit {
            let idle = self.known.iter().filter(|(id, _)| !is_needed(**id));
            let Some(silent) = idle.min_by_key(|(_, producer)| producer.used).map(|(id, _)| *id) else {
                return;
            };
            self.known.remove(&silent);
        }
    }
}

/// The sequences of a batch's first and last record.
fn sequences(header: &BatchHeader) -> (i32, i32) {
    (header.base_sequence, after(header.base_sequence, header.last_offset_delta))
}

/// The sequence `by` further: they wrap from the largest number to 0.
fn after(sequence: i32, by: i32) -> i32 {
    let sum = i64::from(sequence) + i64::from(by);
    let wrapped = if sum > i64::from(i32::MAX) { sum - i64::from(i32::MAX) - 1 } else { sum };
    // Between 0 and the largest number, since both summands are.
    i32::try_from(wrapped).unwrap_or(0)
}
