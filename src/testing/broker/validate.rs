//! What a broker checks before it writes a batch, in its order.

use bytes::Bytes;

use crate::error::Code;
use crate::wire::batch::{Batch, BatchError, BatchFault, Batches, HEADER_LEN, TimestampType};

/// Where the checksum lies, and the first byte that it covers.
const CRC: usize = 17;
const CHECKED: usize = 21;
/// Where the length and the format of a batch lie, and the least that Kafka takes for a length.
const LENGTH: usize = 8;
const MAGIC: usize = 16;
const LEAST_LENGTH: i32 = 14;
/// The byte of the attributes that has the codec, and the bit that says that a batch belongs to a transaction.
const ATTRIBUTES: usize = 22;
const CODEC: u8 = 0b111;
const ZSTD: u8 = 4;
const TRANSACTIONAL: u8 = 1 << 4;
/// What stands for no timestamp.
const NO_TIMESTAMP: i64 = -1;
/// The first Produce version that allows zstd.
const ZSTD_VERSION: i16 = 7;

/// What the topic and the request say about a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) max_bytes: usize,
    pub(super) decompressed_bytes: usize,
    pub(super) timestamps: TimestampType,
    pub(super) needs_keys: bool,
    /// The oldest and the newest timestamp that a record may have.
    pub(super) times: (i64, i64),
}

/// Why a batch is not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rejection {
    pub(super) code: Code,
    pub(super) message: Option<String>,
    /// The records to blame, by their index in the batch (KIP-467).
    pub(super) records: Vec<(i32, String)>,
    /// Where the log begins, if the batch has got as far as the log; -1 if not.
    pub(super) log_start: i64,
}

impl Rejection {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { message: Some(message.into()), ..Self::from(code) }
    }

    fn of_records(code: Code, records: Vec<(i32, String)>) -> Self {
        let count = records.len();
        let message = format!("One or more records have been rejected due to {count} record errors");
        Self { records, ..Self::new(code, message) }
    }

    /// The log has refused the batch. Some refusals do not tell where it begins.
    pub(super) fn by_log(self, log_start: i64) -> Self {
        match self.code {
            Code::CORRUPT_MESSAGE | Code::MESSAGE_TOO_LARGE | Code::KAFKA_STORAGE_ERROR => self,
            _ => Self { log_start, ..self },
        }
    }
}

impl From<Code> for Rejection {
    fn from(code: Code) -> Self {
        Self { code, message: None, records: Vec::new(), log_start: -1 }
    }
}

/// Cuts records into batches as far as they are whole. Nothing for bytes that cannot be cut, over which Kafka refuses
/// the request with all its partitions.
pub(super) fn cut(records: &Bytes) -> Option<Vec<Bytes>> {
    let (mut rest, mut batches) = (records.clone(), Vec::new());
    while let Some(length) = rest.get(LENGTH..).and_then(<[u8]>::first_chunk) {
        let length = i32::from_be_bytes(*length);
        if length < LEAST_LENGTH {
            return None;
        }
        match rest.get(MAGIC) {
            Some(0..=2) => {}
            Some(_) => return None,
            None => break,
        }
        let size = usize::try_from(length).ok()?.saturating_add(LENGTH + 4);
        if rest.len() < size {
            break;
        }
        batches.push(rest.split_to(size));
    }
    Some(batches)
}

/// Whether a batch claims to belong to a transaction.
pub(super) fn is_transactional(batch: &Bytes) -> bool {
    batch.get(MAGIC) == Some(&2) && batch.get(ATTRIBUTES).is_some_and(|byte| byte & TRANSACTIONAL != 0)
}

/// The one batch that a produce request of version 3 or later holds for a partition.
pub(super) fn one_batch(records: Option<&Bytes>, version: i16) -> Result<Bytes, Rejection> {
    let invalid = |message: &str| Rejection::new(Code::INVALID_RECORD, message);
    let batches = records.and_then(cut).unwrap_or_default();
    let mut batches = batches.into_iter();
    let Some(batch) = batches.next() else {
        return Err(invalid("a produce request must have a record batch for each partition"));
    };
    if batch.get(MAGIC) != Some(&2) {
        return Err(invalid("a produce request must have a batch of format 2"));
    }
    if version < ZSTD_VERSION && batch.get(ATTRIBUTES).is_some_and(|byte| byte & CODEC == ZSTD) {
        let message = format!("Produce version {version} must not carry zstd");
        return Err(Rejection::new(Code::UNSUPPORTED_COMPRESSION_TYPE, message));
    }
    if batches.next().is_some() {
        return Err(invalid("a produce request may have only one record batch for each partition"));
    }
    Ok(batch)
}

/// What a log checks before it takes a batch. With the batch comes the largest timestamp that is really in it.
pub(super) fn check(records: &Bytes, rules: &Rules) -> Result<(Batch, i64), Rejection> {
    let invalid = |message: &str| Rejection::new(Code::INVALID_RECORD, message);
    let size = records.len();
    if base_offset(records) != 0 {
        return Err(invalid("the base offset of a batch to be written must be 0"));
    }
    if size > rules.max_bytes {
        let message = format!("the batch has {size} bytes, the limit is {}", rules.max_bytes);
        return Err(Rejection::new(Code::MESSAGE_TOO_LARGE, message));
    }
    if !crc_is_right(records) {
        return Err(Code::CORRUPT_MESSAGE.into());
    }
    let first = Batches::new(records.clone()).next().ok_or(Code::CORRUPT_MESSAGE)?;
    let batch = first.map_err(|error| invalid(&error.to_string()))?;
    check_header(&batch)?;
    let max_timestamp = check_records(&batch, rules)?;
    Ok((batch, max_timestamp))
}

fn base_offset(batch: &[u8]) -> i64 {
    batch.first_chunk().map_or(-1, |bytes| i64::from_be_bytes(*bytes))
}

/// The checksum is computed here once more, from the bytes alone.
fn crc_is_right(batch: &[u8]) -> bool {
    let stored = batch.get(CRC..CHECKED).and_then(|bytes| bytes.first_chunk()).copied();
    batch.len() >= HEADER_LEN && stored == Some(crc32c::crc32c(&batch[CHECKED..]).to_be_bytes())
}

fn check_header(batch: &Batch) -> Result<(), Rejection> {
    let header = batch.header();
    let invalid = |message: String| Err(Rejection::new(Code::INVALID_RECORD, message));
    if header.attributes.is_control() {
        return invalid("clients must not write control records".to_owned());
    }
    if header.count == 0 || i64::from(header.count) != i64::from(header.last_offset_delta) + 1 {
        let delta = header.last_offset_delta;
        return invalid(format!("the batch announces {} records and a last delta of {delta}", header.count));
    }
    if header.producer_id >= 0 && header.base_sequence < 0 {
        return invalid(format!("a producer's batch has the sequence {}", header.base_sequence));
    }
    Ok(())
}

fn check_records(batch: &Batch, rules: &Rules) -> Result<i64, Rejection> {
    let mut cursor = batch.cursor(rules.decompressed_bytes).map_err(|error| unreadable(&error))?;
    let (mut without_key, mut untimely) = (Vec::new(), Vec::new());
    let mut largest = NO_TIMESTAMP;
    for (record, index) in cursor.records().zip(0..) {
        let record = record.map_err(|error| unreadable(&error))?;
        if record.offset != i64::from(index) {
            let message = format!("record {index} has the offset delta {}", record.offset);
            return Err(Rejection::new(Code::INVALID_RECORD, message));
        }
        largest = largest.max(record.timestamp);
        let (oldest, newest) = rules.times;
        if rules.needs_keys && record.key.is_none() {
            without_key.push((index, "a compacted topic takes no record without key".to_owned()));
        } else if rules.timestamps == TimestampType::Create
            && record.timestamp != NO_TIMESTAMP
            && !(oldest..=newest).contains(&record.timestamp)
        {
            let message = format!("timestamp {} is not from {oldest} to {newest}", record.timestamp);
            untimely.push((index, message));
        }
    }
    match (without_key.is_empty(), untimely.is_empty()) {
        (true, true) => Ok(largest),
        (false, true) => Err(Rejection::of_records(Code::INVALID_RECORD, without_key)),
        (_, false) => {
            without_key.extend(untimely);
            without_key.sort_unstable();
            Err(Rejection::of_records(Code::INVALID_TIMESTAMP, without_key))
        }
    }
}

/// Kafka expects neither a codec that it does not know nor one that fails.
fn unreadable(error: &BatchError) -> Rejection {
    let code = match error.fault {
        BatchFault::Compression(_) | BatchFault::UnknownCodec(_) => Code::UNKNOWN_SERVER_ERROR,
        _ => Code::INVALID_RECORD,
    };
    Rejection::new(code, error.to_string())
}
