//! What can be wrong with a batch that came from outside.

use std::fmt;

use crate::wire::compress::CompressError;
use crate::wire::varint::VarintError;

/// A batch that cannot be read, and which offsets it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchError {
    /// As the batch says it; a fault of the offsets themselves may make it meaningless.
    pub(crate) base_offset: i64,
    /// The last offset that the batch covers, if its header could be read: the one behind it is where to go on.
    pub(crate) last_offset: Option<i64>,
    pub(crate) fault: BatchFault,
}

impl fmt::Display for BatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "batch at offset {}", self.base_offset)?;
        if let Some(last) = self.last_offset {
            write!(f, " to {last}")?;
        }
        write!(f, ": {}", self.fault)
    }
}

/// What is wrong with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BatchFault {
    /// The records could not be decompressed.
    Compression(CompressError),
    /// The bytes differ from those that the checksum was made of.
    Crc { stored: u32, computed: u32 },
    /// The length field is below that of a header.
    LengthTooSmall { length: i32, min: usize },
    /// The records end before as many as announced.
    MissingRecords { announced: u32, found: u32 },
    /// The offsets are negative or overflow.
    OffsetRange { base_offset: i64, last_offset_delta: i32 },
    /// A record is malformed; `index` counts from 0.
    Record { index: u32, fault: RecordFault },
    /// The announced count is negative, or the batch covers fewer offsets.
    RecordCount { announced: i32, last_offset_delta: i32 },
    /// Bytes follow the announced number of records.
    TrailingBytes { announced: u32, bytes: usize },
    /// The attributes name a codec that no version of Kafka has.
    UnknownCodec(u8),
    /// The format is of a magic above 2, or a negative one.
    UnsupportedMagic(i8),
}

impl fmt::Display for BatchFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compression(error) => error.fmt(f),
            Self::Crc { stored, computed } => {
                write!(f, "CRC is {computed:#010x}, but the header says {stored:#010x}")
            }
            Self::LengthTooSmall { length, min } => {
                write!(f, "length field is {length}, less than the {min} of a header")
            }
            Self::MissingRecords { announced, found } => {
                write!(f, "{announced} records announced, but only {found} found")
            }
            Self::OffsetRange { base_offset, last_offset_delta } => {
                write!(
                    f,
                    "base offset {base_offset} and last offset delta {last_offset_delta} are out of range"
                )
            }
            Self::Record { index, fault } => write!(f, "record {index}: {fault}"),
            Self::RecordCount { announced, last_offset_delta } => {
                write!(f, "{announced} records announced, but the last offset delta is {last_offset_delta}")
            }
            Self::TrailingBytes { announced, bytes } => {
                write!(f, "{bytes} bytes follow the {announced} records announced")
            }
            Self::UnknownCodec(id) => write!(f, "unknown compression codec {id}"),
            Self::UnsupportedMagic(magic) => {
                write!(f, "message format of magic {magic} is not supported, only 0 to 2 are")
            }
        }
    }
}

/// What is wrong with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecordFault {
    /// A compressed message within a compressed one.
    Compressed,
    /// The bytes of a message differ from those that its checksum was made of.
    Crc { stored: u32, computed: u32 },
    /// A header's name is not UTF-8.
    HeaderName { offset: i64 },
    /// A length or count is negative where none may be, or exceeds the bytes that are left.
    Length { field: Field, length: i32, left: usize },
    /// A message within a compressed one is of neither magic 0 nor 1.
    Magic(i8),
    /// The offset of a message is not above the previous one's, or is above that of the message that holds it.
    Offset { offset: i64, min: i64, max: i64 },
    /// The offset is not above the previous record's, or lies outside the batch.
    OffsetDelta { delta: i32, min: i32, max: i32 },
    /// The timestamp overflows.
    Timestamp { base: i64, delta: i64 },
    /// The record's fields do not fill it.
    Unfilled { left: usize },
    /// A number is malformed.
    Varint { field: Field, error: VarintError },
}

impl fmt::Display for RecordFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compressed => f.write_str("a compressed message within another"),
            Self::Crc { stored, computed } => {
                write!(f, "CRC is {computed:#010x}, but the message says {stored:#010x}")
            }
            Self::HeaderName { offset } => {
                write!(f, "a header's name is not UTF-8 (record at offset {offset})")
            }
            Self::Length { field, length, left } => {
                write!(f, "{field} is {length}, with {left} bytes left")
            }
            Self::Magic(magic) => write!(f, "magic {magic} within a compressed message"),
            Self::Offset { offset, min, max } => {
                write!(f, "offset {offset} is not within {min} to {max}")
            }
            Self::OffsetDelta { delta, min, max } => {
                write!(f, "offset delta {delta} is not within {min} to {max}")
            }
            Self::Timestamp { base, delta } => write!(f, "timestamp {base} + {delta} overflows"),
            Self::Unfilled { left } => write!(f, "{left} bytes of the record are left over"),
            Self::Varint { field, error } => write!(f, "{field}: {error}"),
        }
    }
}

/// A variable-length number within a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    HeaderCount,
    HeaderName,
    HeaderValue,
    Key,
    OffsetDelta,
    Record,
    TimestampDelta,
    Value,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HeaderCount => "number of headers",
            Self::HeaderName => "length of a header's name",
            Self::HeaderValue => "length of a header's value",
            Self::Key => "length of the key",
            Self::OffsetDelta => "offset delta",
            Self::Record => "length of the record",
            Self::TimestampDelta => "timestamp delta",
            Self::Value => "length of the value",
        })
    }
}
