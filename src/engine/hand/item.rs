//! One partition's share of a response, on its way to the user.

use super::aborted::Aborted;
use crate::{
    engine::{
        fetch::{Fetched, Held},
        partition::{Claim, Spot, epoch_from_wire},
    },
    types::TopicPartition,
    wire::batch::{BatchError, Batches, RecordCursor},
};

/// Batches of one partition, and where reading stands in them.
#[derive(Debug)]
pub(super) struct Item {
    /// The place of the partition in the table of partitions.
    pub(super) slot: usize,
    pub(super) partition: TopicPartition,
    pub(super) claim: Claim,
    pub(super) high_watermark: i64,
    pub(super) open: Option<Open>,
    /// Whether no batch follows the open one.
    is_last: bool,
    batches: Batches,
    aborted: Aborted,
    _held: Held,
}

/// A batch that is being read.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) cursor: RecordCursor,
    /// Behind the batch.
    pub(super) end: Spot,
    /// The newest timestamp in it.
    pub(super) max_timestamp: i64,
    /// Its size as it was fetched, in bytes.
    pub(super) size: usize,
}

/// What came of opening the next batch.
#[derive(Debug)]
pub(super) struct Opening {
    /// Batches that hold nothing for the user were passed, up to here.
    pub(super) passed: Option<Spot>,
    pub(super) found: Found,
}

#[derive(Debug)]
pub(super) enum Found {
    Batch,
    Nothing,
    /// A batch that cannot be read; if `in_transit`, another copy of it may be whole.
    Fault {
        error: BatchError,
        in_transit: bool,
    },
}

impl Item {
    pub(super) fn new(slot: usize, fetched: Fetched) -> Self {
        Self {
            slot,
            partition: fetched.partition,
            claim: fetched.claim,
            high_watermark: fetched.high_watermark,
            open: None,
            is_last: false,
            batches: Batches::new(fetched.records),
            aborted: Aborted::new(fetched.aborted),
            _held: fetched.held,
        }
    }

    /// Whether nothing is left to be taken behind `position`. A batch may reach further than its last record.
    #[inline]
    pub(super) fn is_used_up(&self, position: Option<Spot>) -> bool {
        let is_behind = |open: &Open| position.is_some_and(|spot| spot.offset >= open.end.offset);
        self.is_last && self.open.as_ref().is_none_or(is_behind)
    }

    /// Checks and decompresses the next batch that holds something from offset `from` on, to at most `limit` bytes. It
    /// costs as much as reading and decompressing that many bytes: not to be done under a lock.
    pub(super) fn open_next(&mut self, from: i64, limit: usize) -> Opening {
        let mut opening = Opening { passed: None, found: Found::Nothing };
        for batch in self.batches.by_ref() {
            let fault = |error, in_transit| Found::Fault { error, in_transit };
            let batch = match batch {
                Ok(batch) => batch,
                Err(error) => return Opening { found: fault(error, true), ..opening },
            };
            let header = batch.header();
            let offset = header.last_offset().saturating_add(1);
            let end = Spot { offset, leader_epoch: epoch_from_wire(header.leader_epoch) };
            if offset <= from {
                continue;
            }
            if let Err(error) = batch.verify_crc() {
                return Opening { found: fault(error, true), ..opening };
            }
            if self.aborted.contains(&batch) || header.attributes.is_control() || header.count == 0 {
                opening.passed = Some(end);
                continue;
            }
            match batch.cursor(limit) {
                Ok(cursor) => {
                    let (max_timestamp, size) = (header.max_timestamp, batch.bytes().len());
                    self.open = Some(Open { cursor, end, max_timestamp, size });
                }
                Err(error) => return Opening { found: fault(error, false), ..opening },
            }
            self.is_last = self.batches.clone().next().is_none();
            return Opening { found: Found::Batch, ..opening };
        }
        opening
    }
}
