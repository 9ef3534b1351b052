//! What a broker checks before it writes a batch, in its order.

use bytes::Bytes;

use crate::error::Code;
use crate::wire::batch::{Batch, BatchFault, Batches, HEADER_LEN, TimestampType};
use crate::wire::compress::Codec;

/// Where the checksum lies, and the first byte that it covers.
const CRC: usize = 17;
const CHECKED: usize = 21;
/// How far a timestamp may lie in the future (`message.timestamp.after.max.ms`).
const FUTURE_MS: i64 = 3_600_000;
/// The first Produce version that allows zstd.
const ZSTD_VERSION: i16 = 7;

/// What the topic and the request say about a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) version: i16,
    pub(super) max_bytes: usize,
    pub(super) decompressed_bytes: usize,
    pub(super) timestamps: TimestampType,
    pub(super) needs_keys: bool,
    pub(super) unix_ms: i64,
}

/// Why a batch is not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rejection {
    pub(super) code: Code,
    pub(super) message: Option<String>,
    /// The records to blame, by their index in the batch (KIP-467).
    pub(super) records: Vec<(i32, String)>,
}

impl Rejection {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: Some(message.into()), records: Vec::new() }
    }

    fn record(code: Code, index: i32, message: String) -> Self {
        let summary = format!("One or more records have been rejected due to {} record errors", 1);
        Self { code, message: Some(summary), records: vec![(index, message)] }
    }
}

impl From<Code> for Rejection {
    fn from(code: Code) -> Self {
        Self { code, message: None, records: Vec::new() }
    }
}

/// The one batch that a produce request of version 3 or later holds for a partition.
pub(super) fn check(records: Option<&Bytes>, rules: &Rules) -> Result<Batch, Rejection> {
    let records = records.cloned().unwrap_or_default();
    let invalid = |message: &str| Rejection::new(Code::INVALID_RECORD, message);
    let mut batches = Batches::new(records.clone());
    let Some(first) = batches.next() else {
        return Err(invalid("a produce request must have a record batch for each partition"));
    };
    if batches.next().is_some() {
        return Err(invalid("a produce request may have only one record batch for each partition"));
    }
    let size = records.len() - batches.remaining();
    if let Err(error) = &first {
        match error.fault {
            BatchFault::UnsupportedMagic(_) => return Err(invalid(&error.to_string())),
            BatchFault::LengthTooSmall { .. } => return Err(Code::CORRUPT_MESSAGE.into()),
            // The checksum tells whether the batch was made so or damaged.
            _ => {}
        }
    }
    if base_offset(&records) != 0 {
        return Err(invalid("the base offset of a batch to be written must be 0"));
    }
    if size > rules.max_bytes {
        let message = format!("the batch has {size} bytes, the limit is {}", rules.max_bytes);
        return Err(Rejection::new(Code::MESSAGE_TOO_LARGE, message));
    }
    if !crc_is_right(&records[..size]) {
        return Err(Code::CORRUPT_MESSAGE.into());
    }
    let batch = first.map_err(|error| invalid(&error.to_string()))?;
    check_header(&batch, rules)?;
    check_records(&batch, rules)?;
    Ok(batch)
}

fn base_offset(batch: &[u8]) -> i64 {
    batch.first_chunk().map_or(-1, |bytes| i64::from_be_bytes(*bytes))
}

/// The checksum is computed here once more, from the bytes alone.
fn crc_is_right(batch: &[u8]) -> bool {
    let stored = batch.get(CRC..CHECKED).and_then(|bytes| bytes.first_chunk()).copied();
    batch.len() >= HEADER_LEN && stored == Some(crc32c::crc32c(&batch[CHECKED..]).to_be_bytes())
}

fn check_header(batch: &Batch, rules: &Rules) -> Result<(), Rejection> {
    let header = batch.header();
    let invalid = |message: String| Err(Rejection::new(Code::INVALID_RECORD, message));
    if header.attributes.is_control() {
        return invalid("clients must not write control records".to_owned());
    }
    if header.count == 0 || i64::from(header.count) != i64::from(header.last_offset_delta) + 1 {
        let delta = header.last_offset_delta;
        return invalid(format!("the batch announces {} records and a last delta of {delta}", header.count));
    }
    if header.producer_id >= 0 && (header.base_sequence < 0 || header.producer_epoch < 0) {
        let (epoch, sequence) = (header.producer_epoch, header.base_sequence);
        return invalid(format!("a producer's batch has epoch {epoch} and sequence {sequence}"));
    }
    match header.attributes.codec() {
        Err(fault) => invalid(fault.to_string()),
        Ok(Codec::Zstd) if rules.version < ZSTD_VERSION => {
            let message = format!("Produce version {} must not carry zstd", rules.version);
            Err(Rejection::new(Code::UNSUPPORTED_COMPRESSION_TYPE, message))
        }
        Ok(_) => Ok(()),
    }
}

fn check_records(batch: &Batch, rules: &Rules) -> Result<(), Rejection> {
    let corrupt = |detail: String| Rejection::new(Code::INVALID_RECORD, detail);
    let mut cursor = batch.cursor(rules.decompressed_bytes).map_err(|error| corrupt(error.to_string()))?;
    let latest = rules.unix_ms.saturating_add(FUTURE_MS);
    for (record, index) in cursor.records().zip(0..) {
        let record = record.map_err(|error| corrupt(error.to_string()))?;
        if record.offset != i64::from(index) {
            let message = format!("record {index} has the offset delta {}", record.offset);
            return Err(Rejection::record(Code::INVALID_RECORD, index, message));
        }
        if rules.needs_keys && record.key.is_none() {
            let message = "a compacted topic takes no record without key".to_owned();
            return Err(Rejection::record(Code::INVALID_RECORD, index, message));
        }
        if rules.timestamps == TimestampType::Create && record.timestamp > latest {
            let message = format!("timestamp {} is later than {latest}", record.timestamp);
            return Err(Rejection::record(Code::INVALID_TIMESTAMP, index, message));
        }
    }
    Ok(())
}
