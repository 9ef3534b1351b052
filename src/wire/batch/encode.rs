//! Building batches: records are appended straight into the bytes that go on the wire.

use std::cell::RefCell;
use std::fmt;

use bytes::{Bytes, BytesMut};

use super::header::{Attributes, BatchHeader, HEADER_LEN, at, field, put};
use crate::record::Header;
use crate::wire::compress::{self, Codec, CompressError, Compression};
use crate::wire::varint::{MAX_LEN_32, MAX_LEN_64, len_i64, write_u64, zigzag};

/// A batch and every record in it are shorter than this: lengths are signed 32-bit numbers.
const MAX_LEN: usize = i32::MAX as usize;
/// How much memory for compression a thread keeps.
const KEEP: usize = 1 << 20;
/// A batch that is to grow large starts no smaller than this.
const MIN_CAPACITY: usize = 1024;
/// Room for a record's numbers up to the value's length: its own length, attributes, deltas, key length, value length.
const PREFIX: usize = 32;
const _: () = assert!(MAX_LEN_32 + 1 + MAX_LEN_64 + 3 * MAX_LEN_32 <= PREFIX);

/// An upper bound of the bytes that a record adds to a batch, whatever its place and timestamp.
pub(crate) fn size_bound(key: Option<&[u8]>, value: Option<&[u8]>, headers: &[Header<'_>]) -> usize {
    let headers = headers
        .iter()
        .map(|(name, value)| 2 * MAX_LEN_32 + name.len() + value.map_or(0, <[u8]>::len))
        .sum::<usize>();
    PREFIX + MAX_LEN_32 + key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len) + headers
}

/// Why a record was not appended; the batch is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AppendError {
    /// The batch, with the record in it, would not be addressable with 32 bits.
    BatchTooLarge { size: usize, limit: usize },
    /// The distance of the timestamp from the batch's first does not fit 64 bits.
    TimestampRange { timestamp: i64, base: i64 },
}

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BatchTooLarge { size, limit } => {
                write!(f, "the batch would take {size} bytes, more than the {limit} that its format allows")
            }
            Self::TimestampRange { timestamp, base } => {
                write!(f, "timestamp {timestamp} is too far from the batch's first, {base}")
            }
        }
    }
}

/// A batch that takes records.
///
/// The bytes are those of the finished batch from the start, the first 61 being room for its header, so that an
/// uncompressed batch is never copied. Timestamps may go backwards.
#[derive(Debug)]
pub(crate) struct BatchBuilder {
    buf: BytesMut,
    count: u32,
    base_timestamp: i64,
    max_timestamp: i64,
    target: usize,
}

impl BatchBuilder {
    /// A batch that is expected to grow to `target` bytes, and may grow beyond.
    ///
    /// It starts with room for `expected` bytes, at most the target, and multiplies it when that was too few.
    pub(crate) fn new(expected: usize, target: usize) -> Self {
        Self::reuse(BytesMut::with_capacity(expected.min(target).max(MIN_CAPACITY)), target)
    }

    /// As [`BatchBuilder::new`], but in the memory of an earlier batch: see [`SealedBatch::into_buffer`].
    ///
    /// Fresh memory costs more than filling it, because the kernel clears every page.
    pub(crate) fn reuse(mut buf: BytesMut, target: usize) -> Self {
        buf.clear();
        buf.resize(HEADER_LEN, 0);
        Self { buf, count: 0, base_timestamp: 0, max_timestamp: i64::MIN, target }
    }

    /// Appends a record and returns its index in the batch. The timestamp is in milliseconds since the epoch.
    #[inline]
    pub(crate) fn append(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header<'_>],
    ) -> Result<u32, AppendError> {
        let index = self.count;
        let base = if index == 0 { timestamp } else { self.base_timestamp };
        let timestamp_delta =
            timestamp.checked_sub(base).ok_or(AppendError::TimestampRange { timestamp, base })?;
        let body = 1
            + len_i64(timestamp_delta)
            + len_i64(i64::from(index))
            + field_len(key)
            + field_len(value)
            + headers_len(headers);
        let size = self.buf.len().saturating_add(body).saturating_add(len_i64(length(body)));
        // Every record takes seven bytes, so the limit on bytes keeps the count within 32 bits.
        if size > MAX_LEN {
            return Err(AppendError::BatchTooLarge { size, limit: MAX_LEN });
        }
        if self.buf.capacity() - self.buf.len() < size - self.buf.len() + PREFIX {
            self.grow(size);
        }
        self.put_record(body, timestamp_delta, key, value);
        put_headers(&mut self.buf, headers);
        debug_assert_eq!(self.buf.len(), size, "a record's length was computed wrongly");
        self.base_timestamp = base;
        self.max_timestamp = self.max_timestamp.max(timestamp);
        self.count += 1;
        Ok(index)
    }

    /// Appends a record up to its headers.
    #[inline]
    fn put_record(&mut self, body: usize, timestamp_delta: i64, key: Option<&[u8]>, value: Option<&[u8]>) {
        let mut prefix = Prefix::new();
        prefix.put(length(body));
        prefix.put(0);
        prefix.put(timestamp_delta);
        prefix.put(i64::from(self.count));
        match key {
            None => prefix.put(-1),
            Some(key) => {
                prefix.put(length(key.len()));
                prefix.flush(&mut self.buf);
                self.buf.extend_from_slice(key);
            }
        }
        prefix.put(value.map_or(-1, |value| length(value.len())));
        prefix.flush(&mut self.buf);
        if let Some(value) = value {
            self.buf.extend_from_slice(value);
        }
    }

    /// Makes room for `size` bytes in all, and more according to the target.
    #[cold]
    fn grow(&mut self, size: usize) {
        let capacity = self.buf.capacity().saturating_mul(4).min(self.target).max(size + PREFIX);
        self.buf.reserve(capacity - self.buf.len());
    }

    /// How many bytes the batch takes now, header included, uncompressed.
    pub(crate) fn len(&self) -> usize {
        self.buf.len()
    }

    /// How many records the batch holds.
    pub(crate) const fn count(&self) -> u32 {
        self.count
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Compresses the records if that makes them smaller, and completes the batch as one of no producer.
    ///
    /// # Errors
    /// This build lacks the codec.
    pub(crate) fn seal(mut self, compression: Compression) -> Result<SealedBatch, CompressError> {
        let uncompressed = self.buf.len();
        let mut codec = Codec::None;
        let mut spare = None;
        if compression.codec != Codec::None
            && let Some(packed) = pack(compression, &self.buf)?
        {
            codec = compression.codec;
            spare = Some(std::mem::replace(&mut self.buf, packed));
        }
        let header = BatchHeader {
            base_offset: 0,
            leader_epoch: -1,
            crc: 0,
            attributes: Attributes::default().with_codec(codec),
            // Below 2^31: see `append`.
            last_offset_delta: self.count.cast_signed() - 1,
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            count: self.count,
        };
        Ok(SealedBatch { header, uncompressed, spare, bytes: self.complete_as(&header) })
    }

    /// Writes the header, as the caller says, and the checksum.
    pub(super) fn complete_as(mut self, header: &BatchHeader) -> Bytes {
        // At most `MAX_LEN`.
        let length = self.buf.len() as i32;
        if let Some(room) = self.buf.first_chunk_mut::<HEADER_LEN>() {
            header.write(room, length);
        }
        let crc = crc32c::crc32c(self.buf.get(at::ATTRIBUTES..).unwrap_or_default());
        put(&mut self.buf, at::CRC, crc.to_be_bytes());
        self.buf.freeze()
    }
}

thread_local! {
    /// Where batches are compressed to before it is known how much room they need.
    static PACKED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Compresses a batch's records into a batch of its own, with room for the header and no more than it needs; `None` if
/// they would not become smaller.
fn pack(compression: Compression, batch: &[u8]) -> Result<Option<BytesMut>, CompressError> {
    let body = batch.get(HEADER_LEN..).unwrap_or_default();
    PACKED.with_borrow_mut(|packed| {
        packed.clear();
        compress::compress(compression, body, packed)?;
        let smaller = packed.len() < body.len();
        let packed_batch = smaller.then(|| {
            let mut batch = BytesMut::with_capacity(HEADER_LEN + packed.len());
            batch.resize(HEADER_LEN, 0);
            batch.extend_from_slice(packed);
            batch
        });
        packed.shrink_to(KEEP);
        Ok(packed_batch)
    })
}

/// Who a batch is from, for the broker to drop duplicates by and to keep transactions apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    pub(crate) base_sequence: i32,
    pub(crate) transactional: bool,
}

/// A finished batch.
///
/// It is stamped once, before it is first sent, and again only after an epoch bump. The stamp lies within what the
/// CRC covers, but its change is worked into the CRC without reading the records again, and in place unless a socket
/// writer still holds the bytes: then it goes into a copy.
#[derive(Debug)]
pub(crate) struct SealedBatch {
    header: BatchHeader,
    uncompressed: usize,
    spare: Option<BytesMut>,
    bytes: Bytes,
}

impl SealedBatch {
    /// The whole batch, as it goes into a Produce request.
    pub(crate) const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub(crate) const fn count(&self) -> u32 {
        self.header.count
    }

    pub(crate) const fn base_timestamp(&self) -> i64 {
        self.header.base_timestamp
    }

    pub(crate) const fn max_timestamp(&self) -> i64 {
        self.header.max_timestamp
    }

    /// How many bytes the batch took before compression, header included.
    pub(crate) const fn uncompressed_len(&self) -> usize {
        self.uncompressed
    }

    /// The memory that the records took before they were compressed, for the next batch.
    pub(crate) const fn take_spare(&mut self) -> Option<BytesMut> {
        self.spare.take()
    }

    /// The memory of a batch that is done with, for the next batch; `None` if somebody, such as a socket writer, still
    /// holds the bytes.
    pub(crate) fn into_buffer(self) -> Option<BytesMut> {
        self.bytes.try_into_mut().ok()
    }

    pub(crate) fn stamp(&mut self, stamp: Stamp) {
        let attributes = self.header.attributes.with_transactional(stamp.transactional);
        let mut bytes = std::mem::take(&mut self.bytes)
            .try_into_mut()
            .unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        let before = covered_head_crc(&bytes);
        put(&mut bytes, at::ATTRIBUTES, attributes.bits().to_be_bytes());
        put(&mut bytes, at::PRODUCER_ID, stamp.producer_id.to_be_bytes());
        put(&mut bytes, at::PRODUCER_EPOCH, stamp.producer_epoch.to_be_bytes());
        put(&mut bytes, at::BASE_SEQUENCE, stamp.base_sequence.to_be_bytes());
        let after = covered_head_crc(&bytes);
        let old = u32::from_be_bytes(field(&bytes, at::CRC));
        // A CRC is linear: that of the whole changes by what the head's changes by, carried over the records.
        let new = crc32c::crc32c_combine(before ^ after, old, bytes.len().saturating_sub(HEADER_LEN));
        put(&mut bytes, at::CRC, new.to_be_bytes());
        self.header.attributes = attributes;
        self.bytes = bytes.freeze();
    }
}

/// The CRC of the part of the header that the batch's CRC covers.
fn covered_head_crc(batch: &[u8]) -> u32 {
    crc32c::crc32c(batch.get(at::ATTRIBUTES..HEADER_LEN).unwrap_or_default())
}

/// A record's leading numbers, gathered so that they reach the batch in one copy of a fixed size.
struct Prefix {
    bytes: [u8; PREFIX],
    len: usize,
}

impl Prefix {
    #[inline]
    const fn new() -> Self {
        Self { bytes: [0; PREFIX], len: 0 }
    }

    #[inline]
    fn put(&mut self, value: i64) {
        let room = self.bytes.get_mut(self.len..).unwrap_or_default();
        self.len += write_u64(room, zigzag(value));
    }

    /// Moves the numbers to the end of `buf`, which has room for [`PREFIX`] bytes.
    #[inline]
    fn flush(&mut self, buf: &mut BytesMut) {
        let end = buf.len() + self.len;
        buf.extend_from_slice(&self.bytes);
        buf.truncate(end);
        self.len = 0;
    }
}

fn put_headers(buf: &mut BytesMut, headers: &[Header<'_>]) {
    put_number(buf, length(headers.len()));
    for (name, value) in headers {
        put_number(buf, length(name.len()));
        buf.extend_from_slice(name.as_bytes());
        put_number(buf, value.map_or(-1, |value| length(value.len())));
        if let Some(value) = value {
            buf.extend_from_slice(value);
        }
    }
}

#[inline]
fn put_number(buf: &mut BytesMut, value: i64) {
    let mut prefix = Prefix::new();
    prefix.put(value);
    prefix.flush(buf);
}

#[inline]
fn field_len(field: Option<&[u8]>) -> usize {
    field.map_or(1, |bytes| len_i64(length(bytes.len())) + bytes.len())
}

#[inline]
fn headers_len(headers: &[Header<'_>]) -> usize {
    let each = headers.iter().map(|(name, value)| field_len(Some(name.as_bytes())) + field_len(*value));
    len_i64(length(headers.len())) + each.sum::<usize>()
}

/// A length as the number that is written; memory holds no slice for which the cast is not exact.
#[inline]
const fn length(len: usize) -> i64 {
    len as i64
}
