//! The header of a batch: 61 bytes, of which the CRC-32C covers those from the attributes on.

use super::error::BatchFault;
use crate::wire::compress::Codec;

/// Where the fields lie, in bytes from the start of the batch.
pub(super) mod at {
    pub(in super::super) const BASE_OFFSET: usize = 0;
    /// Length of everything behind this field.
    pub(in super::super) const LENGTH: usize = 8;
    pub(in super::super) const LEADER_EPOCH: usize = 12;
    pub(in super::super) const MAGIC: usize = 16;
    pub(in super::super) const CRC: usize = 17;
    /// The first byte that the CRC covers.
    pub(in super::super) const ATTRIBUTES: usize = 21;
    pub(in super::super) const LAST_OFFSET_DELTA: usize = 23;
    pub(in super::super) const BASE_TIMESTAMP: usize = 27;
    pub(in super::super) const MAX_TIMESTAMP: usize = 35;
    pub(in super::super) const PRODUCER_ID: usize = 43;
    pub(in super::super) const PRODUCER_EPOCH: usize = 51;
    pub(in super::super) const BASE_SEQUENCE: usize = 53;
    pub(in super::super) const COUNT: usize = 57;
}

/// Length of the header.
pub(crate) const HEADER_LEN: usize = 61;
/// Length of what stands in front of every batch, whatever its magic: base offset and length.
pub(super) const PREFIX_LEN: usize = 12;
/// The magic of batches, the only one that is written.
pub(super) const MAGIC: i8 = 2;

const CODEC_MASK: i16 = 0b111;
const LOG_APPEND_TIME: i16 = 1 << 3;
const TRANSACTIONAL: i16 = 1 << 4;
const CONTROL: i16 = 1 << 5;
const DELETE_HORIZON: i16 = 1 << 6;

/// The attribute bits of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attributes(i16);

impl Attributes {
    /// The bits that messages of magic 0 have, and those of magic 1.
    pub(super) const OF_MAGIC_0: i16 = CODEC_MASK;
    pub(super) const OF_MAGIC_1: i16 = CODEC_MASK | LOG_APPEND_TIME;

    pub(super) const fn from_bits(bits: i16) -> Self {
        Self(bits)
    }

    pub(crate) const fn bits(self) -> i16 {
        self.0
    }

    /// How the records are compressed, or the id that names no codec.
    pub(crate) fn codec(self) -> Result<Codec, BatchFault> {
        // Three bits fit a byte.
        let id = (self.0 & CODEC_MASK) as u8;
        Codec::from_id(id).ok_or(BatchFault::UnknownCodec(id))
    }

    pub(crate) const fn timestamp_type(self) -> TimestampType {
        if self.0 & LOG_APPEND_TIME == 0 { TimestampType::Create } else { TimestampType::LogAppend }
    }

    /// Whether the batch belongs to a transaction.
    pub(crate) const fn is_transactional(self) -> bool {
        self.0 & TRANSACTIONAL != 0
    }

    /// Whether the batch holds markers of the broker, not records of users.
    pub(crate) const fn is_control(self) -> bool {
        self.0 & CONTROL != 0
    }

    /// Whether the base timestamp is the time at which the log cleaner may drop the batch's tombstones (KIP-534).
    pub(crate) const fn has_delete_horizon(self) -> bool {
        self.0 & DELETE_HORIZON != 0
    }

    #[must_use]
    pub(crate) fn with_codec(self, codec: Codec) -> Self {
        Self(self.0 & !CODEC_MASK | i16::from(codec.id()))
    }

    #[must_use]
    pub(crate) const fn with_transactional(self, on: bool) -> Self {
        self.with(TRANSACTIONAL, on)
    }

    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub(crate) const fn with_control(self, on: bool) -> Self {
        self.with(CONTROL, on)
    }

    const fn with(self, bit: i16, on: bool) -> Self {
        Self(if on { self.0 | bit } else { self.0 & !bit })
    }
}

/// Who set the timestamps of a batch (topic setting `message.timestamp.type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TimestampType {
    /// The producer.
    Create,
    /// The broker: the batch's largest timestamp is that of all its records.
    LogAppend,
}

/// A header's fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    pub(crate) base_offset: i64,
    pub(crate) leader_epoch: i32,
    pub(crate) crc: u32,
    pub(crate) attributes: Attributes,
    pub(crate) last_offset_delta: i32,
    /// Milliseconds since the epoch; the records' timestamps are relative to it.
    pub(crate) base_timestamp: i64,
    /// Milliseconds since the epoch.
    pub(crate) max_timestamp: i64,
    /// -1 for none.
    pub(crate) producer_id: i64,
    /// -1 for none.
    pub(crate) producer_epoch: i16,
    /// -1 for none.
    pub(crate) base_sequence: i32,
    /// How many records the batch says it holds. 1 for a message of magic 0 or 1, also if it holds others.
    pub(crate) count: u32,
}

impl BatchHeader {
    /// Reads and checks the header of the batch that `bytes` is; its length has been checked against its length field.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, BatchFault> {
        let magic = bytes.get(at::MAGIC).map_or(0, |byte| byte.cast_signed());
        if magic != MAGIC {
            return Err(BatchFault::UnsupportedMagic(magic));
        }
        let Some(header) = bytes.first_chunk::<HEADER_LEN>() else {
            let min = HEADER_LEN - PREFIX_LEN;
            // A batch this short is as long as its length field says, so the cast is exact.
            let length = bytes.len().saturating_sub(PREFIX_LEN) as i32;
            return Err(BatchFault::LengthTooSmall { length, min });
        };
        let base_offset = i64::from_be_bytes(field(header, at::BASE_OFFSET));
        let last_offset_delta = i32::from_be_bytes(field(header, at::LAST_OFFSET_DELTA));
        let announced = i32::from_be_bytes(field(header, at::COUNT));
        let offsets = BatchFault::OffsetRange { base_offset, last_offset_delta };
        if base_offset < 0 || last_offset_delta < 0 {
            return Err(offsets);
        }
        base_offset.checked_add(i64::from(last_offset_delta)).ok_or(offsets)?;
        let count = u32::try_from(announced)
            .ok()
            .filter(|count| i64::from(*count) <= i64::from(last_offset_delta) + 1)
            .ok_or(BatchFault::RecordCount { announced, last_offset_delta })?;
        Ok(Self {
            base_offset,
            leader_epoch: i32::from_be_bytes(field(header, at::LEADER_EPOCH)),
            crc: u32::from_be_bytes(field(header, at::CRC)),
            attributes: Attributes(i16::from_be_bytes(field(header, at::ATTRIBUTES))),
            last_offset_delta,
            base_timestamp: i64::from_be_bytes(field(header, at::BASE_TIMESTAMP)),
            max_timestamp: i64::from_be_bytes(field(header, at::MAX_TIMESTAMP)),
            producer_id: i64::from_be_bytes(field(header, at::PRODUCER_ID)),
            producer_epoch: i16::from_be_bytes(field(header, at::PRODUCER_EPOCH)),
            base_sequence: i32::from_be_bytes(field(header, at::BASE_SEQUENCE)),
            count,
        })
    }

    /// Writes everything but the CRC; `length` is that of the whole batch.
    pub(super) fn write(&self, header: &mut [u8; HEADER_LEN], length: i32) {
        put(header, at::BASE_OFFSET, self.base_offset.to_be_bytes());
        put(header, at::LENGTH, length.wrapping_sub(PREFIX_LEN as i32).to_be_bytes());
        put(header, at::LEADER_EPOCH, self.leader_epoch.to_be_bytes());
        put(header, at::MAGIC, MAGIC.to_be_bytes());
        put(header, at::ATTRIBUTES, self.attributes.bits().to_be_bytes());
        put(header, at::LAST_OFFSET_DELTA, self.last_offset_delta.to_be_bytes());
        put(header, at::BASE_TIMESTAMP, self.base_timestamp.to_be_bytes());
        put(header, at::MAX_TIMESTAMP, self.max_timestamp.to_be_bytes());
        put(header, at::PRODUCER_ID, self.producer_id.to_be_bytes());
        put(header, at::PRODUCER_EPOCH, self.producer_epoch.to_be_bytes());
        put(header, at::BASE_SEQUENCE, self.base_sequence.to_be_bytes());
        put(header, at::COUNT, self.count.to_be_bytes());
    }

    /// The offset of the last record, whether or not compaction has left it: the batch covers every offset up to it.
    pub(crate) const fn last_offset(&self) -> i64 {
        // Checked when the header was read.
        self.base_offset.saturating_add(self.last_offset_delta as i64)
    }

    /// The timestamp of every record, if the broker set it.
    pub(super) fn append_time(&self) -> Option<i64> {
        (self.attributes.timestamp_type() == TimestampType::LogAppend).then_some(self.max_timestamp)
    }
}

/// Sets the base offset of the batch that `batch` starts with; the CRC does not cover it.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn set_base_offset(batch: &mut [u8], offset: i64) {
    put(batch, at::BASE_OFFSET, offset.to_be_bytes());
}

/// Sets the partition leader epoch of the batch that `batch` starts with; the CRC does not cover it.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn set_leader_epoch(batch: &mut [u8], epoch: i32) {
    put(batch, at::LEADER_EPOCH, epoch.to_be_bytes());
}

/// The `N` bytes at `offset` of a header; zeros if the bytes are too few, which callers have excluded.
#[inline]
pub(super) fn field<const N: usize>(header: &[u8], offset: usize) -> [u8; N] {
    header.get(offset..).and_then(|tail| tail.first_chunk()).copied().unwrap_or([0; N])
}

/// Overwrites the bytes at `offset`; does nothing if there is no room, which callers have excluded.
#[inline]
pub(super) fn put<const N: usize>(header: &mut [u8], offset: usize, bytes: [u8; N]) {
    if let Some(slot) = header.get_mut(offset..).and_then(|tail| tail.first_chunk_mut()) {
        *slot = bytes;
    } else {
        debug_assert!(false, "a batch shorter than its header");
    }
}
