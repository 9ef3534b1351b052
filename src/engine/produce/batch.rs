//! A batch that the sender owns: closed, sealed, and stamped when it is sent for the first time.

pub(crate) mod divide;

use std::{sync::Arc, time::Instant};

use bytes::{Bytes, BytesMut};

use super::{
    outcome::{BatchDone, NOWHERE, Written},
    queue::OpenBatch,
};
use crate::{
    config::Problems,
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
    /// Closes an open batch: compresses it and computes its checksum. The codec was checked when the producer was
    /// built; one that fails all the same fails this batch.
    pub(crate) fn seal(
        open: OpenBatch,
        compression: Compression,
        order: u64,
    ) -> Result<Self, Box<Completion>> {
        let facts = Facts::unsent(&open);
        let OpenBatch { builder, done, opened_at, charged } = open;
        match builder.seal(compression) {
            Ok(sealed) => Ok(Self {
                sealed,
                done,
                charged,
                created: opened_at,
                order,
                stamp: None,
                maybe_written: false,
                last_error: None,
                sent_at: None,
            }),
            Err(error) => {
                let mut problems = Problems::default();
                problems.add("compression", &format!("{compression:?}"), error.to_string());
                let outcome = problems.into_result().map(|()| NOWHERE);
                Err(Box::new(Completion { done, outcome, charged, facts, spare: None }))
            }
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
    /// The end of a batch that was never closed.
    pub(crate) fn of_open(open: OpenBatch, outcome: Result<Written, Error>) -> Self {
        let facts = Facts::unsent(&open);
        Self { done: open.done, outcome, charged: open.charged, facts, spare: None }
    }
}

impl Facts {
    fn unsent(open: &OpenBatch) -> Self {
        let (records, timestamps) = (open.builder.count(), open.builder.timestamps());
        Self { records, bytes: 0, timestamps, opened_at: open.opened_at, sent_at: None }
    }
}
