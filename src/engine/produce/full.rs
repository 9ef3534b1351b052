//! A batch that takes no more records and waits to be sent, in one of three states: as it was written, compressed, or
//! away to be compressed.

use std::{mem, sync::Arc, time::Instant};

use super::outcome::BatchDone;
use crate::{
    error::{Error, ErrorKind},
    wire::batch::{BatchBuilder, SealedBatch},
};

/// A batch that waits to be sent.
#[derive(Debug)]
pub(crate) struct FullBatch {
    content: Content,
    pub(crate) done: Arc<BatchDone>,
    pub(crate) opened_at: Instant,
    /// The bytes that its records took from the budget.
    pub(crate) charged: usize,
    /// What is known of it wherever its content is.
    summary: Summary,
}

#[derive(Debug)]
enum Content {
    Raw(BatchBuilder),
    /// Somebody compresses it, and brings it back.
    Away,
    Sealed(Result<SealedBatch, Error>),
}

/// A batch in numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Summary {
    pub(crate) records: u32,
    /// Its bytes before compression.
    pub(crate) len: usize,
    /// Of its first record, and the largest.
    pub(crate) timestamps: (i64, i64),
}

impl FullBatch {
    pub(crate) fn new(
        builder: BatchBuilder,
        done: Arc<BatchDone>,
        opened_at: Instant,
        charged: usize,
    ) -> Self {
        let (records, len, timestamps) = (builder.count(), builder.len(), builder.timestamps());
        let summary = Summary { records, len, timestamps };
        Self { content: Content::Raw(builder), done, opened_at, charged, summary }
    }

    pub(crate) fn summary(&self) -> Summary {
        self.summary
    }

    /// Its bytes as far as it is compressed.
    pub(crate) fn len(&self) -> usize {
        match &self.content {
            Content::Sealed(Ok(sealed)) => sealed.bytes().len(),
            _ => self.summary.len,
        }
    }

    /// Whether it is away to be compressed.
    pub(crate) fn is_away(&self) -> bool {
        matches!(self.content, Content::Away)
    }

    /// Whether nobody has begun to compress it.
    pub(crate) fn is_raw(&self) -> bool {
        matches!(self.content, Content::Raw(_))
    }

    /// Gives its content away to be compressed, if it is not yet and takes at least `least` bytes.
    pub(crate) fn give(&mut self, least: usize) -> Option<BatchBuilder> {
        if !self.is_raw() || self.summary.len < least {
            return None;
        }
        match mem::replace(&mut self.content, Content::Away) {
            Content::Raw(builder) => Some(builder),
            Content::Away | Content::Sealed(_) => None,
        }
    }

    /// Takes its content back.
    pub(crate) fn take_back(&mut self, sealed: Result<SealedBatch, Error>) {
        debug_assert!(self.is_away(), "a batch comes back that was not away");
        self.content = Content::Sealed(sealed);
    }

    /// Its content, compressed and with a checksum; `seal` does so where nobody has.
    pub(crate) fn sealed(
        &mut self,
        seal: impl FnOnce(BatchBuilder) -> Result<SealedBatch, Error>,
    ) -> Result<SealedBatch, Error> {
        match mem::replace(&mut self.content, Content::Away) {
            Content::Raw(builder) => seal(builder),
            Content::Sealed(sealed) => sealed,
            Content::Away => {
                debug_assert!(false, "a batch is taken that is away");
                Err(ErrorKind::Closed { what: "batch" }.into())
            }
        }
    }
}
