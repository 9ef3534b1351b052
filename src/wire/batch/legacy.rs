//! Messages of magic 0 and 1, from before there were batches (Kafka 0.11). Brokers hand out old logs as they are.
//!
//! A message stands for itself, or is compressed and holds others in its value. Its offset is that of the last of them
//! then. Those of the others stand in them in magic 0; in magic 1 they are relative (KIP-31), and only the last one tells
//! to what. Magic 1 has timestamps (KIP-32). Neither has headers, producers or leader epochs.

#[cfg(test)]
pub(crate) mod script;

use bytes::Bytes;

use super::error::{BatchFault, Field, RecordFault};
use super::header::{Attributes, BatchHeader, PREFIX_LEN, at, field};
use super::record::{RawRecord, Span, span};
use crate::wire::compress::{self, Codec};
use crate::wire::crc;

/// Where the fields lie, in bytes from the start of the message. Offset, length and magic are where batches have them.
const CRC: usize = 12;
/// The first byte that the CRC covers.
const CHECKED: usize = at::MAGIC;
const ATTRIBUTES: usize = 17;
/// In magic 1 only.
const TIMESTAMP: usize = 18;

/// The timestamp of a message that has none.
const NO_TIMESTAMP: i64 = -1;

/// Whether `bytes` are a message and not a batch.
pub(super) fn is_message(bytes: &[u8]) -> bool {
    matches!(bytes.get(at::MAGIC), Some(0 | 1))
}

/// The header of a message as that of a batch which covers its offset alone: the first offset of those in a compressed
/// one, and how many there are, stand in the compressed part. The message's length has been checked against its length
/// field.
pub(super) fn read_header(message: &[u8]) -> Result<BatchHeader, BatchFault> {
    let min = key_at(message) + 2 * LENGTH;
    if message.len() < min {
        // A message this short is as long as its length field says, so the cast is exact.
        let length = message.len().saturating_sub(PREFIX_LEN) as i32;
        return Err(BatchFault::LengthTooSmall { length, min: min - PREFIX_LEN });
    }
    let base_offset = i64::from_be_bytes(field(message, at::BASE_OFFSET));
    if base_offset < 0 {
        return Err(BatchFault::OffsetRange { base_offset, last_offset_delta: 0 });
    }
    Ok(BatchHeader {
        base_offset,
        leader_epoch: -1,
        crc: stored_crc(message),
        attributes: attributes(message),
        last_offset_delta: 0,
        base_timestamp: timestamp(message),
        max_timestamp: timestamp(message),
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
        count: 1,
    })
}

/// The CRC that a message should have.
pub(super) fn checksum(message: &[u8]) -> u32 {
    crc::crc32(message.get(CHECKED..).unwrap_or_default())
}

/// A position in one message, or among those that a compressed one holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Messages {
    pos: usize,
    left: u32,
    /// What is added to the offsets that stand in the messages.
    shift: i64,
    /// The timestamp of every message, if the broker set it.
    append_time: Option<i64>,
}

impl Messages {
    /// Decompresses what a message with this header holds, to at most `limit` bytes, and checks it all.
    pub(super) fn open(
        message: &Bytes,
        header: &BatchHeader,
        limit: usize,
    ) -> Result<(Bytes, Self), BatchFault> {
        let of_outer = |fault| BatchFault::Record { index: 0, fault };
        let outer = Message::read(message, &mut 0).map_err(of_outer)?;
        let messages = Self { pos: 0, left: 1, shift: 0, append_time: header.append_time() };
        let codec = header.attributes.codec()?;
        let decompress = match codec {
            Codec::None => return Ok((message.clone(), messages)),
            // It came later.
            Codec::Zstd => return Err(BatchFault::UnknownCodec(codec.id())),
            _ if is_of_magic_0(message) => compress::decompress_of_magic_0,
            _ => compress::decompress,
        };
        let length = RecordFault::Length { field: Field::Value, length: NULL, left: 0 };
        let value = outer.value.ok_or_else(|| of_outer(length))?;
        let mut out = Vec::new();
        decompress(codec, value.of(message), limit, &mut out).map_err(BatchFault::Compression)?;
        let (count, last) = survey(&out, header.base_offset)?;
        let shift = if is_of_magic_0(message) { 0 } else { header.base_offset.saturating_sub(last) };
        Ok((compress::shrunk(out), Self { left: count, shift, ..messages }))
    }

    /// How many have not been read.
    pub(super) const fn left(&self) -> u32 {
        self.left
    }

    /// The next message in the buffer that [`open`](Self::open) gave.
    pub(super) fn next(&mut self, buf: &[u8]) -> Option<RawRecord> {
        self.left = self.left.checked_sub(1)?;
        // All were read once, when they were checked.
        let message = Message::read(buf, &mut self.pos).ok()?;
        Some(RawRecord {
            offset: message.offset.saturating_add(self.shift),
            timestamp: self.append_time.unwrap_or(message.timestamp),
            key: message.key,
            value: message.value,
            header_count: 0,
            headers: span(self.pos, self.pos),
        })
    }
}

/// Checks the messages in a compressed one whose offset is `max`: how many there are, and the offset that stands in the
/// last one.
fn survey(buf: &[u8], max: i64) -> Result<(u32, i64), BatchFault> {
    let (mut pos, mut count, mut last) = (0, 0, -1_i64);
    while pos < buf.len() {
        let start = pos;
        let of_this = |fault| BatchFault::Record { index: count, fault };
        let offset = Message::read(buf, &mut pos).map_err(of_this)?.offset;
        let message = buf.get(start..pos).unwrap_or_default();
        let (stored, computed) = (stored_crc(message), checksum(message));
        if stored != computed {
            return Err(of_this(RecordFault::Crc { stored, computed }));
        }
        if attributes(message).codec()? != Codec::None {
            return Err(of_this(RecordFault::Compressed));
        }
        if offset <= last || offset > max {
            return Err(of_this(RecordFault::Offset { offset, min: last.saturating_add(1), max }));
        }
        last = offset;
        count += 1;
    }
    if count == 0 {
        return Err(BatchFault::MissingRecords { announced: 1, found: 0 });
    }
    Ok((count, last))
}

/// One message as it stands in its buffer.
struct Message {
    offset: i64,
    timestamp: i64,
    key: Option<Span>,
    value: Option<Span>,
}

impl Message {
    /// Reads the message at `*pos` and moves `*pos` behind it.
    fn read(buf: &[u8], pos: &mut usize) -> Result<Self, RecordFault> {
        let rest = buf.get(*pos..).unwrap_or_default();
        let Some(left) = rest.len().checked_sub(PREFIX_LEN) else {
            return Err(RecordFault::Unfilled { left: rest.len() });
        };
        let length = i32::from_be_bytes(field(rest, at::LENGTH));
        let wrong = RecordFault::Length { field: Field::Record, length, left };
        let len = usize::try_from(length).ok().filter(|len| *len <= left).ok_or(wrong)?;
        let message = rest.get(..PREFIX_LEN + len).unwrap_or_default();
        let Some(magic) = message.get(at::MAGIC) else { return Err(wrong) };
        if !is_message(message) {
            return Err(RecordFault::Magic(magic.cast_signed()));
        }
        if message.len() < key_at(message) + 2 * LENGTH {
            return Err(wrong);
        }
        // No field can reach beyond the message, nor the key into the value's length.
        let end = *pos + message.len();
        *pos += key_at(message);
        let key = read_span(buf.get(..end - LENGTH).unwrap_or_default(), pos, Field::Key)?;
        let value = read_span(buf.get(..end).unwrap_or_default(), pos, Field::Value)?;
        if *pos != end {
            return Err(RecordFault::Unfilled { left: end - *pos });
        }
        let offset = i64::from_be_bytes(field(message, at::BASE_OFFSET));
        Ok(Self { offset, timestamp: timestamp(message), key, value })
    }
}

/// Length of a length.
const LENGTH: usize = 4;
/// The length that stands for null.
const NULL: i32 = -1;

/// Reads a length, for which there is room, and steps over as many bytes.
fn read_span(buf: &[u8], pos: &mut usize, of: Field) -> Result<Option<Span>, RecordFault> {
    let length = i32::from_be_bytes(field(buf, *pos));
    *pos += LENGTH;
    if length == NULL {
        return Ok(None);
    }
    let (start, left) = (*pos, buf.len().saturating_sub(*pos));
    let wrong = RecordFault::Length { field: of, length, left };
    *pos += usize::try_from(length).ok().filter(|len| *len <= left).ok_or(wrong)?;
    Ok(Some(span(start, *pos)))
}

fn is_of_magic_0(message: &[u8]) -> bool {
    message.get(at::MAGIC) == Some(&0)
}

/// Where the key begins, with its length.
fn key_at(message: &[u8]) -> usize {
    if is_of_magic_0(message) { TIMESTAMP } else { TIMESTAMP + size_of::<i64>() }
}

fn stored_crc(message: &[u8]) -> u32 {
    u32::from_be_bytes(field(message, CRC))
}

/// The attributes that the magic knows, which mean the same in batches.
fn attributes(message: &[u8]) -> Attributes {
    let [bits] = field(message, ATTRIBUTES);
    let known = if is_of_magic_0(message) { Attributes::OF_MAGIC_0 } else { Attributes::OF_MAGIC_1 };
    Attributes::from_bits(i16::from(bits) & known)
}

fn timestamp(message: &[u8]) -> i64 {
    if is_of_magic_0(message) { NO_TIMESTAMP } else { i64::from_be_bytes(field(message, TIMESTAMP)) }
}
