//! Building batches: records are appended straight into the bytes that go on the wire.

use std::cell::RefCell;
use std::fmt;

use bytes::{Bytes, BytesMut};

use super::header::{Attributes, BatchHeader, HEADER_LEN, at, field, put};
use super::record::{RawRecord, span};
use crate::record::{Header, Record};
use crate::wire::compress::{self, Codec, CompressError, Compression};
use crate::wire::crc;
use crate::wire::varint::{MAX_LEN_32, MAX_LEN_64, len_i64, write_u64, zigzag};

/// A batch and every record in it are shorter than this: lengths are signed 32-bit numbers.
const MAX_LEN: usize = i32::MAX as usize;
/// How much memory for compression a thread keeps.
const KEEP: usize = 1 << 20;
/// A batch that is to grow large starts no smaller than this.
const MIN_CAPACITY: usize = 1024;
/// A record's attributes: none has a meaning yet.
const ATTRIBUTES: i64 = 0;
/// The length that stands for null.
const NULL: i64 = -1;
/// At least as many bytes as the numbers take that are written at once: a record's length, attributes, timestamp delta,
/// offset delta, and the lengths of key and value, of which that of the key is null if the value's follows at once.
const NUMBERS: usize = 32;
const _: () = assert!(MAX_LEN_32 + 1 + MAX_LEN_64 + 3 * MAX_LEN_32 <= NUMBERS);

/// An upper bound of the bytes that a record adds to a batch, whatever its place and timestamp.
pub(crate) fn size_bound(key: Option<&[u8]>, value: Option<&[u8]>, headers: &[Header<'_>]) -> usize {
    let headers = headers
        .iter()
        .map(|(name, value)| 2 * MAX_LEN_32 + name.len() + value.map_or(0, <[u8]>::len))
        .sum::<usize>();
    NUMBERS + MAX_LEN_32 + key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len) + headers
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
    /// It starts with room for `expected` bytes, for all of the target where that is near, and multiplies it when that
    /// was too few.
    pub(crate) fn new(expected: usize, target: usize) -> Self {
        let room =
            if expected > target / 2 { expected.max(target).saturating_add(NUMBERS) } else { expected };
        let mut buf = BytesMut::with_capacity(room.max(MIN_CAPACITY));
        // Splitting makes the memory shared. As it has to be to be sent, and stays when it is used again: otherwise it
        // would become so, with an allocation, each time that it is frozen.
        drop(buf.split_to(0));
        Self::reuse(buf, target)
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
        if self.buf.capacity() - self.buf.len() < size - self.buf.len() + NUMBERS {
            self.grow(size);
        }
        self.put_record(body, timestamp_delta, key, value);
        if headers.is_empty() {
            self.buf.extend_from_slice(&[0]);
        } else {
            put_headers(&mut self.buf, headers);
        }
        debug_assert_eq!(self.buf.len(), size, "a record's length was computed wrongly");
        self.base_timestamp = base;
        self.max_timestamp = self.max_timestamp.max(timestamp);
        self.count += 1;
        Ok(index)
    }

    /// Appends a record up to its headers; there is room for it and [`NUMBERS`] bytes more.
    #[inline]
    fn put_record(&mut self, body: usize, timestamp_delta: i64, key: Option<&[u8]>, value: Option<&[u8]>) {
        let (body, index) = (length(body), i64::from(self.count));
        let value_length = value.map_or(NULL, |value| length(value.len()));
        match key {
            None => {
                let numbers = [body, ATTRIBUTES, timestamp_delta, index, NULL, value_length];
                put_numbers(&mut self.buf, numbers);
            }
            Some(key) => {
                put_numbers(&mut self.buf, [body, ATTRIBUTES, timestamp_delta, index, length(key.len())]);
                self.buf.extend_from_slice(key);
                put_numbers(&mut self.buf, [value_length]);
            }
        }
        self.buf.extend_from_slice(value.unwrap_or_default());
    }

    /// Makes room for `size` bytes in all, and more according to the target.
    #[cold]
    fn grow(&mut self, size: usize) {
        let capacity = self.buf.capacity().saturating_mul(4).min(self.target).max(size + NUMBERS);
        self.buf.reserve(capacity - self.buf.len());
    }

    /// Whether the distance of a record's timestamp from the first one's can be written.
    #[inline]
    pub(crate) fn takes_timestamp(&self, timestamp: i64) -> bool {
        self.count == 0 || timestamp.checked_sub(self.base_timestamp).is_some()
    }

    /// How many bytes the batch takes now, header included, uncompressed.
    pub(crate) fn len(&self) -> usize {
        self.buf.len()
    }

    /// How many records the batch holds.
    pub(crate) const fn count(&self) -> u32 {
        self.count
    }

    /// The timestamp of the first record, and the largest one; without records they mean nothing.
    pub(crate) const fn timestamps(&self) -> (i64, i64) {
        (self.base_timestamp, self.max_timestamp)
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
        let checksum = crc::crc32c(self.buf.get(at::ATTRIBUTES..).unwrap_or_default());
        put(&mut self.buf, at::CRC, checksum.to_be_bytes());
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
        let new = old ^ crc::carry(before ^ after, bytes.len().saturating_sub(HEADER_LEN));
        put(&mut bytes, at::CRC, new.to_be_bytes());
        self.header.attributes = attributes;
        self.bytes = bytes.freeze();
    }
}

/// The CRC of the part of the header that the batch's CRC covers.
fn covered_head_crc(batch: &[u8]) -> u32 {
    crc::crc32c(batch.get(at::ATTRIBUTES..HEADER_LEN).unwrap_or_default())
}

/// A record outside of any batch: its bytes, and itself in them. One without a timestamp has -1.
pub(crate) fn lone_record(record: &Record<'_>, offset: i64) -> (Bytes, RawRecord) {
    let mut buf = BytesMut::with_capacity(size_bound(record.key, record.value, record.headers));
    let mut put = |field: Option<&[u8]>| {
        let start = buf.len();
        buf.extend_from_slice(field?);
        Some(span(start, buf.len()))
    };
    let (key, value) = (put(record.key), put(record.value));
    let counted = buf.len();
    put_headers(&mut buf, record.headers);
    let start = counted + len_i64(length(record.headers.len()));
    let record = RawRecord {
        offset,
        timestamp: record.timestamp.unwrap_or(-1),
        key,
        value,
        header_count: record.headers.len() as u32,
        headers: span(start, buf.len()),
    };
    (buf.freeze(), record)
}

fn put_headers(buf: &mut BytesMut, headers: &[Header<'_>]) {
    put_numbers(buf, [length(headers.len())]);
    for (name, value) in headers {
        put_numbers(buf, [length(name.len())]);
        buf.extend_from_slice(name.as_bytes());
        put_numbers(buf, [value.map_or(NULL, |value| length(value.len()))]);
        buf.extend_from_slice(value.unwrap_or_default());
    }
}

/// Appends numbers that take at most [`NUMBERS`] bytes, for which there is room.
///
/// They are written in place. Gathered elsewhere and copied, the copy would wait for every single byte to be stored,
/// which took a third of an append.
#[inline]
fn put_numbers<const N: usize>(buf: &mut BytesMut, numbers: [i64; N]) {
    let start = buf.len();
    buf.extend_from_slice(&[0; NUMBERS]);
    let mut end = start;
    for number in numbers {
        end += write_u64(buf.get_mut(end..).unwrap_or_default(), zigzag(number));
    }
    buf.truncate(end);
}

#[inline]
fn field_len(field: Option<&[u8]>) -> usize {
    field.map_or(1, |bytes| len_i64(length(bytes.len())) + bytes.len())
}

#[inline]
fn headers_len(headers: &[Header<'_>]) -> usize {
    if headers.is_empty() {
        return 1;
    }
    let each = headers.iter().map(|(name, value)| field_len(Some(name.as_bytes())) + field_len(*value));
    len_i64(length(headers.len())) + each.sum::<usize>()
}

/// A length as the number that is written; memory holds no slice for which the cast is not exact.
#[inline]
const fn length(len: usize) -> i64 {
    len as i64
}
