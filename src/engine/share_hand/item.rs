//! What was got of one partition, on its way to the user.

use std::{collections::VecDeque, time::Instant};

use crate::{
    engine::share::{Acquired, Decision, Fetched, Stay, Verdict},
    message::Message,
    types::TopicPartition,
    wire::batch::{BatchError, Batches, RecordCursor},
};

#[derive(Debug)]
pub(super) struct Item {
    pub(super) stay: Stay,
    pub(super) partition: TopicPartition,
    /// When the locks end.
    pub(super) until: Instant,
    /// What was acquired and not passed yet.
    acquired: VecDeque<Acquired>,
    batches: Batches,
    /// The batch that is being read, and its size as it was fetched.
    open: Option<(RecordCursor, usize)>,
}

#[derive(Debug)]
pub(super) enum Taken {
    Record {
        message: Message,
        deliveries: u16,
    },
    /// No batch is open.
    Nothing,
    Fault(BatchError),
}

impl Item {
    pub(super) fn new(fetched: Fetched) -> Self {
        let Fetched { stay, partition, records, acquired, until } = fetched;
        let acquired = acquired.into_iter().filter(|run| run.first <= run.last).collect();
        Self { stay, partition, until, acquired, batches: Batches::new(records), open: None }
    }

    /// How many offsets are left that were acquired.
    pub(super) fn left(&self) -> usize {
        let count = |run: &Acquired| usize::try_from(run.last - run.first + 1).unwrap_or(0);
        self.acquired.iter().map(count).sum()
    }

    /// The verdict on all that is left.
    pub(super) fn rest(&self, verdict: Verdict) -> impl Iterator<Item = Decision> {
        let stay = self.stay;
        self.acquired.iter().map(move |run| Decision { stay, first: run.first, last: run.last, verdict })
    }

    /// The next record that was acquired. Offsets that hold none are decided.
    pub(super) fn take(&mut self, decisions: &mut Vec<Decision>) -> Taken {
        let Some((cursor, _)) = &mut self.open else { return Taken::Nothing };
        loop {
            match cursor.next() {
                Some(Ok(record)) => {
                    let Some(deliveries) = pass(&mut self.acquired, self.stay, record.offset, decisions)
                    else {
                        continue;
                    };
                    let buffer = cursor.buffer().clone();
                    let message = Message::new(self.partition.clone(), buffer, record, None);
                    return Taken::Record { message, deliveries };
                }
                Some(Err(error)) => return Taken::Fault(error),
                None => {
                    self.open = None;
                    return Taken::Nothing;
                }
            }
        }
    }

    /// Checks and decompresses the next batch that holds something of what was acquired, to at most `limit` bytes. Whether
    /// there is one. Not to be done under a lock.
    pub(super) fn open_next(&mut self, limit: usize) -> Result<bool, BatchError> {
        let Some(first) = self.acquired.front().map(|run| run.first) else { return Ok(false) };
        for batch in self.batches.by_ref() {
            let batch = batch?;
            let header = batch.header();
            if header.last_offset() < first || header.attributes.is_control() || header.count == 0 {
                continue;
            }
            batch.verify_crc()?;
            let size = batch.bytes().len();
            self.open = Some((batch.cursor(limit)?, size));
            return Ok(true);
        }
        Ok(false)
    }

    /// The size of the batch that was opened last, as it was fetched.
    pub(super) fn opened_size(&self) -> Option<usize> {
        self.open.as_ref().map(|(_, size)| *size)
    }

    pub(super) fn opened_records(&self) -> u64 {
        self.open.as_ref().map_or(0, |(cursor, _)| cursor.left().into())
    }
}

/// Passes up to `offset`, which holds a record: how often it was delivered, if it was acquired.
fn pass(
    acquired: &mut VecDeque<Acquired>,
    stay: Stay,
    offset: i64,
    decisions: &mut Vec<Decision>,
) -> Option<u16> {
    let mut gap = |first: i64, last: i64| {
        if first <= last {
            decisions.push(Decision { stay, first, last, verdict: Verdict::Gap });
        }
    };
    while let Some(run) = acquired.front().copied().filter(|run| run.last < offset) {
        gap(run.first, run.last);
        acquired.pop_front();
    }
    let run = acquired.front_mut().filter(|run| run.first <= offset)?;
    gap(run.first, offset - 1);
    let deliveries = run.deliveries;
    run.first = offset + 1;
    if run.first > run.last {
        acquired.pop_front();
    }
    Some(deliveries)
}
