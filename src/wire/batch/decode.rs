//! Reading batches: a fetch response's bytes are cut into batches, a batch's records are read one by one.

use bytes::Bytes;

use super::error::{BatchError, BatchFault};
use super::header::{BatchHeader, HEADER_LEN, PREFIX_LEN, at, field};
use super::legacy::{self, Messages};
use super::record::{Base, RawRecord, RecordRef, Span, read_record};
use crate::wire::compress::{self, Codec};
use crate::wire::crc;

/// Decompressed records never exceed this many bytes, whatever the caller's limit: [`Span`]s count with 32 bits.
const MAX_BODY: usize = i32::MAX as usize;
/// Length from the base offset to the magic, the same in every message format.
const MAGIC_END: usize = at::MAGIC + 1;

/// The batches of one partition in a fetch response. A message of magic 0 or 1 counts as one, with those that it may hold.
///
/// The last one may be cut off, since brokers fill a response by bytes, not batches: iteration ends in front of it,
/// and [`Batches::remaining`] tells. A batch that cannot be read is an error, and iteration goes on behind it where
/// its length can be trusted.
#[derive(Clone, Debug)]
pub(crate) struct Batches {
    rest: Bytes,
    lost: bool,
}

impl Batches {
    pub(crate) const fn new(records: Bytes) -> Self {
        Self { rest: records, lost: false }
    }

    /// How many bytes have not been read; at the end, those of a batch that is cut off.
    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }
}

impl Iterator for Batches {
    type Item = Result<Batch, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.lost || self.rest.len() < PREFIX_LEN {
            return None;
        }
        let base_offset = i64::from_be_bytes(field(&self.rest, at::BASE_OFFSET));
        let length = i32::from_be_bytes(field(&self.rest, at::LENGTH));
        let total = usize::try_from(length).unwrap_or(0).saturating_add(PREFIX_LEN);
        if total < MAGIC_END {
            self.lost = true;
            let fault = BatchFault::LengthTooSmall { length, min: HEADER_LEN - PREFIX_LEN };
            return Some(Err(BatchError { base_offset, last_offset: None, fault }));
        }
        if self.rest.len() < total {
            return None;
        }
        let bytes = self.rest.split_to(total);
        let header = match legacy::is_message(&bytes) {
            true => legacy::read_header(&bytes),
            false => BatchHeader::read(&bytes),
        };
        Some(match header {
            Ok(header) => Ok(Batch { header, bytes }),
            Err(fault) => Err(BatchError { base_offset, last_offset: None, fault }),
        })
    }
}

/// One whole batch, its header read and its records not yet.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    header: BatchHeader,
    bytes: Bytes,
}

impl Batch {
    pub(crate) const fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The batch as it came.
    pub(crate) const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Checks the bytes against the checksum; a difference is more likely a fault of transit than of storage.
    pub(crate) fn verify_crc(&self) -> Result<(), BatchError> {
        let computed = match legacy::is_message(&self.bytes) {
            true => legacy::checksum(&self.bytes),
            false => crc::crc32c(self.bytes.get(at::ATTRIBUTES..).unwrap_or_default()),
        };
        let stored = self.header.crc;
        if computed == stored { Ok(()) } else { Err(self.error(BatchFault::Crc { stored, computed })) }
    }

    /// Decompresses the records, to at most `limit` bytes, and starts reading them.
    ///
    /// The limit is for decompression: records that are not compressed are shared with the fetch response.
    pub(crate) fn cursor(&self, limit: usize) -> Result<RecordCursor, BatchError> {
        let limit = limit.min(MAX_BODY);
        let (buf, walk) = match legacy::is_message(&self.bytes) {
            true => Messages::open(&self.bytes, &self.header, limit)
                .map(|(buf, messages)| (buf, Walk::Messages(messages))),
            false => self.body(limit).map(|buf| (buf, Walk::Records(Steps::new(&self.header)))),
        }
        .map_err(|fault| self.error(fault))?;
        Ok(RecordCursor { buf, walk })
    }

    /// The records of a batch of magic 2, decompressed.
    fn body(&self, limit: usize) -> Result<Bytes, BatchFault> {
        let body = self.bytes.slice(HEADER_LEN.min(self.bytes.len())..);
        let codec = self.header.attributes.codec()?;
        // A batch that compaction has emptied holds no stream of its codec.
        if codec == Codec::None || (self.header.count == 0 && body.is_empty()) {
            return Ok(body);
        }
        let mut out = Vec::new();
        compress::decompress(codec, &body, limit, &mut out).map_err(BatchFault::Compression)?;
        Ok(compress::shrunk(out))
    }

    const fn error(&self, fault: BatchFault) -> BatchError {
        let header = &self.header;
        BatchError { base_offset: header.base_offset, last_offset: Some(header.last_offset()), fault }
    }
}

/// A position among a batch's records, with shared ownership of their bytes.
#[derive(Clone, Debug)]
pub(crate) struct RecordCursor {
    buf: Bytes,
    walk: Walk,
}

impl RecordCursor {
    /// The next record, as stretches of [`RecordCursor::buffer`]; nothing after an error.
    #[inline]
    pub(crate) fn next(&mut self) -> Option<Result<RawRecord, BatchError>> {
        self.walk.step(&self.buf)
    }

    /// The records from here on, borrowed; they advance the cursor.
    pub(crate) fn records(&mut self) -> Records<'_> {
        Records { buf: &self.buf, walk: &mut self.walk }
    }

    /// The decompressed records.
    pub(crate) const fn buffer(&self) -> &Bytes {
        &self.buf
    }

    /// Shares the bytes of a stretch.
    pub(crate) fn share(&self, span: Span) -> Bytes {
        // The span was made for this buffer; a foreign one gives nothing rather than a panic.
        if span.range().end <= self.buf.len() { self.buf.slice(span.range()) } else { Bytes::new() }
    }

    /// How many records the batch announces that have not been read.
    pub(crate) const fn left(&self) -> u32 {
        match &self.walk {
            Walk::Records(steps) => steps.left,
            Walk::Messages(messages) => messages.left(),
        }
    }
}

/// Iterator over borrowed records.
#[derive(Debug)]
pub(crate) struct Records<'a> {
    buf: &'a [u8],
    walk: &'a mut Walk,
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<RecordRef<'a>, BatchError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let record = self.walk.step(self.buf)?;
        Some(record.map(|record| record.resolve(self.buf)))
    }
}

/// Where reading stands.
#[derive(Clone, Copy, Debug)]
enum Walk {
    Records(Steps),
    Messages(Messages),
}

impl Walk {
    #[inline]
    fn step(&mut self, buf: &[u8]) -> Option<Result<RawRecord, BatchError>> {
        match self {
            Self::Records(steps) => steps.next(buf),
            Self::Messages(messages) => messages.next(buf).map(Ok),
        }
    }
}

/// The same in a batch of magic 2.
#[derive(Clone, Copy, Debug)]
struct Steps {
    pos: usize,
    left: u32,
    count: u32,
    base: Base,
    ended: bool,
}

impl Steps {
    fn new(header: &BatchHeader) -> Self {
        let base = Base {
            offset: header.base_offset,
            timestamp: header.base_timestamp,
            append_time: header.append_time(),
            min_delta: 0,
            max_delta: header.last_offset_delta,
        };
        Self { pos: 0, left: header.count, count: header.count, base, ended: false }
    }

    #[inline]
    fn next(&mut self, buf: &[u8]) -> Option<Result<RawRecord, BatchError>> {
        if self.left == 0 || self.pos >= buf.len() {
            return self.end(buf).map(Err);
        }
        match read_record(buf, &mut self.pos, &self.base) {
            Ok((record, delta)) => {
                self.left -= 1;
                // Past the last legal delta nothing is, so a saturated minimum refuses rightly as well.
                self.base.min_delta = delta.saturating_add(1);
                Some(Ok(record))
            }
            Err(fault) => {
                let index = self.count - self.left;
                Some(Err(self.fail(BatchFault::Record { index, fault })))
            }
        }
    }

    /// At the end of the records or of the bytes: both must come together.
    #[cold]
    fn end(&mut self, buf: &[u8]) -> Option<BatchError> {
        if self.ended {
            return None;
        }
        self.ended = true;
        let (announced, bytes) = (self.count, buf.len().saturating_sub(self.pos));
        if self.left > 0 {
            Some(self.fail(BatchFault::MissingRecords { announced, found: announced - self.left }))
        } else if bytes > 0 {
            Some(self.fail(BatchFault::TrailingBytes { announced, bytes }))
        } else {
            None
        }
    }

    #[cold]
    const fn fail(&mut self, fault: BatchFault) -> BatchError {
        self.ended = true;
        self.left = 0;
        let last = self.base.offset.saturating_add(self.base.max_delta as i64);
        BatchError { base_offset: self.base.offset, last_offset: Some(last), fault }
    }
}
