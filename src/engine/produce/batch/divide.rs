//! Taking apart a batch that a broker refused as a whole: because it is too large, or for some of its records.

use std::{collections::BTreeMap, sync::Arc};

use bytes::BytesMut;

use super::Batch;
use crate::{
    engine::produce::outcome::{BatchDone, Stretch},
    error::{Error, ErrorKind},
    record::Header,
    wire::{
        batch::{BatchBuilder, Batches, RecordRef, size_bound},
        compress::Compression,
    },
};

/// What takes a batch's place.
#[derive(Debug)]
pub(crate) struct Division {
    /// In the order of the records.
    pub(crate) batches: Vec<Batch>,
    /// Where the records are now.
    pub(crate) stretches: Vec<Stretch>,
    /// What the records that are in none of the batches took from the budget.
    pub(crate) charged: usize,
}

/// A batch that was taken apart, for the driver to tell its records where they are now.
#[derive(Debug)]
pub(crate) struct Divided {
    pub(crate) done: Arc<BatchDone>,
    pub(crate) stretches: Vec<Stretch>,
    /// What records took that are in none of the new batches.
    pub(crate) charged: usize,
    pub(crate) spare: Option<BytesMut>,
}

/// Records that the batch was refused for, by their index, and what tells them.
pub(crate) type Refused = BTreeMap<u32, Arc<BatchDone>>;

impl Batch {
    /// Puts the records into batches of up to `size` bytes uncompressed, or of one record each; those that were refused
    /// into none.
    ///
    /// Together the new batches have the sequences of the old one: it was not written, and nothing behind it was. Where
    /// records are left out that cannot be, and they have no stamp.
    pub(crate) fn divide(
        &self,
        size: usize,
        refused: &Refused,
        compression: Compression,
    ) -> Result<Division, Error> {
        self.repack(size, refused, compression).map_err(|fault| {
            let peer = self.done.partition.to_string();
            ErrorKind::Malformed { peer, detail: format!("a batch to be sent: {fault}") }.into()
        })
    }

    fn repack(&self, size: usize, refused: &Refused, compression: Compression) -> Result<Division, String> {
        let limit = self.sealed.uncompressed_len();
        let batch = Batches::new(self.sealed.bytes().clone()).next().ok_or("it is empty")?;
        let batch = batch.map_err(|error| error.to_string())?;
        let mut cursor = batch.cursor(limit).map_err(|error| error.to_string())?;
        let mut pieces = Pieces { size: size.min(limit), filled: Vec::new(), stretches: Vec::new() };
        for (index, record) in (0..).zip(cursor.records()) {
            let record = record.map_err(|error| error.to_string())?;
            match refused.get(&index) {
                Some(done) => pieces.note(index, done, 0),
                None => pieces.append(index, &record, &self.done)?,
            }
        }
        let (whole, stretches) = (refused.is_empty(), pieces.stretches);
        let mut division = Division { batches: Vec::new(), stretches, charged: self.charged };
        for piece in pieces.filled {
            let first = piece.first.cast_signed();
            let mut part = self.successor(piece, &mut division.charged, compression)?;
            if let Some((producer, sequence)) = self.stamp.filter(|_| whole) {
                let transactional = batch.header().attributes.is_transactional();
                part.stamp(producer, sequence.wrapping_add(first) & i32::MAX, transactional);
            }
            division.batches.push(part);
        }
        if whole && let Some(last) = division.batches.last_mut() {
            last.charged += std::mem::take(&mut division.charged);
        }
        Ok(division)
    }

    /// A batch of some of the records, which takes its share of `left`.
    fn successor(&self, piece: Piece, left: &mut usize, compression: Compression) -> Result<Self, String> {
        let part = piece.builder.len() as f64 / self.sealed.uncompressed_len() as f64;
        let charged = ((self.charged as f64 * part) as usize).min(*left);
        *left -= charged;
        Ok(Self {
            sealed: piece.builder.seal(compression).map_err(|error| error.to_string())?,
            done: piece.done,
            charged,
            created: self.created,
            order: self.order + u64::from(piece.first),
            stamp: None,
            maybe_written: self.maybe_written,
            last_error: self.last_error.clone(),
            sent_at: self.sent_at,
        })
    }
}

/// The new batches while they are filled, the last of which may take more records.
struct Pieces {
    size: usize,
    filled: Vec<Piece>,
    stretches: Vec<Stretch>,
}

struct Piece {
    builder: BatchBuilder,
    done: Arc<BatchDone>,
    /// The index of its first record in the batch that was.
    first: u32,
}

impl Pieces {
    fn append(&mut self, index: u32, record: &RecordRef<'_>, was: &BatchDone) -> Result<(), String> {
        let headers = record.headers.clone().collect::<Result<Vec<Header<'_>>, _>>();
        let headers = headers.map_err(|fault| format!("{fault:?}"))?;
        let bound = size_bound(record.key, record.value, &headers);
        let append =
            |piece: &mut Piece| piece.builder.append(record.timestamp, record.key, record.value, &headers);
        // One whose time is too far from that of the first begins a batch of its own.
        let open = self.filled.last_mut().filter(|piece| piece.builder.len() + bound <= self.size);
        if let Some(open) = open
            && let Ok(at) = append(open)
        {
            let done = Arc::clone(&open.done);
            self.note(index, &done, at);
            return Ok(());
        }
        let done = BatchDone::new(was.partition.clone());
        let builder = BatchBuilder::new(self.size.max(bound), self.size);
        let mut piece = Piece { builder, done: Arc::clone(&done), first: index };
        let at = append(&mut piece).map_err(|error| error.to_string())?;
        self.filled.push(piece);
        self.note(index, &done, at);
        Ok(())
    }

    /// Notes where a record is now.
    fn note(&mut self, index: u32, done: &Arc<BatchDone>, at: u32) {
        let goes_on = self.stretches.last().is_some_and(|last| {
            let follows = at == 0 || at - last.at == index - last.first;
            Arc::ptr_eq(&last.done, done) && follows
        });
        if !goes_on {
            self.stretches.push(Stretch { first: index, done: Arc::clone(done), at });
        }
    }
}
