//! A batch that the sender owns: closed, sealed, and stamped when it is sent for the first time.

pub(crate) mod divide;

use std::{sync::Arc, time::Instant};

use bytes::{Bytes, BytesMut};

use super::{
    full::{FullBatch, Summary},
    outcome::{BatchDone, Written},
    packing,
};
use crate::{
    engine::producer_id::ProducerId,
    error::Error,
    wire::{
        batch::{SealedBatch, Stamp},
        compress::Compression,
    },
};

/// A closed batch on its way.
#[derive(Debug)]
pub(crate) struct Batch {
    sealed: SealedBatch,
    pub(crate) done: Arc<BatchDone>,
    pub(crate) charged: usize,
    pub(crate) created: Instant,
    /// The place of its first record among all that its partition was given: kept over every retry, so that order is.
    pub(crate) order: u64,
    /// The identity and sequence that it was sent under. Kept while it may have been written, so that a broker
    /// recognises it; taken off only when it was certainly not written.
    pub(crate) stamp: Option<(ProducerId, i32)>,
    /// Whether an earlier attempt may have written it.
    pub(crate) maybe_written: bool,
    /// What the last attempt ran into.
    pub(crate) last_error: Option<Error>,
    /// When it was sent for the first time.
    sent_at: Option<Instant>,
}

impl Batch {
    /// Completes a full batch: compresses it, where that was not done, and computes its checksum.
    pub(crate) fn seal(
        mut full: FullBatch,
        compression: Compression,
        order: u64,
    ) -> Result<Self, Box<Completion>> {
        match full.sealed(|builder| packing::seal(builder, compression)) {
            Ok(sealed) => Ok(Self {
                sealed,
                done: full.done,
                charged: full.charged,
                created: full.opened_at,
                order,
                stamp: None,
                maybe_written: false,
                last_error: None,
                sent_at: None,
            }),
            Err(error) => Err(Box::new(Completion::of_full(full, Err(error)))),
        }
    }

    /// The batch's end.
    pub(crate) fn complete(self, outcome: Result<Written, Error>) -> Completion {
        let (done, facts, charged) = (Arc::clone(&self.done), self.facts(), self.charged);
        Completion { done, outcome, charged, facts, spare: self.into_spare() }
    }

    /// Its end as far as its records are concerned: its bytes stay charged until it has left the connection.
    pub(crate) fn complete_early(&self, outcome: Result<Written, Error>) -> Completion {
        Completion { done: Arc::clone(&self.done), outcome, charged: 0, facts: self.facts(), spare: None }
    }

    /// Its memory, where nobody else holds it.
    pub(crate) fn into_spare(mut self) -> Option<BytesMut> {
        self.sealed.take_spare().or_else(|| self.sealed.into_buffer())
    }

    pub(crate) fn facts(&self) -> Facts {
        Facts {
            records: self.sealed.count(),
            bytes: self.sealed.bytes().len(),
            timestamps: (self.sealed.base_timestamp(), self.sealed.max_timestamp()),
            opened_at: self.created,
            sent_at: self.sent_at,
        }
    }

    /// The number of records, which is how far the sequence moves.
    pub(crate) fn count(&self) -> i32 {
        self.sealed.count().cast_signed()
    }

    /// Its size before compression.
    pub(crate) fn uncompressed_len(&self) -> usize {
        self.sealed.uncompressed_len()
    }

    pub(crate) fn stamp(&mut self, producer: ProducerId, sequence: i32, transactional: bool) {
        self.stamp = Some((producer, sequence));
        self.sealed.stamp(Stamp {
            producer_id: producer.id,
            producer_epoch: producer.epoch,
            base_sequence: sequence,
            transactional,
        });
    }

    /// The bytes to send now, shared with whoever still writes an earlier attempt.
    pub(crate) fn send(&mut self, now: Instant) -> Bytes {
        self.sent_at.get_or_insert(now);
        self.sealed.bytes().clone()
    }
}

/// What became of a batch, for the driver to tell its records and to give its bytes back.
#[derive(Debug)]
pub(crate) struct Completion {
    pub(crate) done: Arc<BatchDone>,
    pub(crate) outcome: Result<Written, Error>,
    pub(crate) charged: usize,
    pub(crate) facts: Facts,
    /// Its memory, where nobody else holds it.
    pub(crate) spare: Option<BytesMut>,
}

/// What is counted of a batch at its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    pub(crate) records: u32,
    /// Its size as it was sent; 0 if it never was.
    pub(crate) bytes: usize,
    /// Of its first record, and the largest.
    pub(crate) timestamps: (i64, i64),
    pub(crate) opened_at: Instant,
    /// When it was sent for the first time.
    pub(crate) sent_at: Option<Instant>,
}

impl Completion {
    /// The end of a batch that was never sent.
    pub(crate) fn of_full(full: FullBatch, outcome: Result<Written, Error>) -> Self {
        let Summary { records, timestamps, .. } = full.summary();
        let facts = Facts { records, bytes: 0, timestamps, opened_at: full.opened_at, sent_at: None };
        Self { done: full.done, outcome, charged: full.charged, facts, spare: None }
    }
}
