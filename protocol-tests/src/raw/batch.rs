//! Record batches, made by hand so that they can also be made wrong.

use serde_json::{Value, json};

/// The bytes of a batch before its records, and the first that the checksum covers.
const HEADER: usize = 61;
const CHECKED: usize = 21;
const CRC: usize = 17;

/// Turns the records' bytes into those that are sent.
pub type Compress = fn(&[u8]) -> Vec<u8>;

/// A batch of format version 2, field by field.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Must be 0 in a produce request.
    pub base_offset: i64,
    /// 2 in every batch that Kafka still takes.
    pub magic: i8,
    /// Codec, kind of timestamps, transactional and control bits.
    pub attributes: i16,
    /// Of the first record.
    pub timestamp: i64,
    /// The largest timestamp that the header claims; `None` for the true one.
    pub max_timestamp: Option<i64>,
    /// The producer, its epoch, and the first sequence.
    pub producer: (i64, i16, i32),
    /// How many records the header claims beyond the true number.
    pub extra_count: i32,
    /// Key and value of each record; they are one millisecond apart.
    pub records: Vec<(Option<Vec<u8>>, Vec<u8>)>,
    /// What becomes of the records' bytes.
    pub compress: Option<Compress>,
}

impl Batch {
    /// A moment in the past, at which batches begin that say nothing else.
    pub const TIME: i64 = 1_700_000_000_000;

    /// These values with a key each, without producer.
    #[must_use]
    pub fn of(values: &[&str]) -> Self {
        let records = values.iter().map(|value| (Some(b"key".to_vec()), value.as_bytes().to_vec()));
        Self {
            base_offset: 0,
            magic: 2,
            attributes: 0,
            timestamp: Self::TIME,
            max_timestamp: None,
            producer: (-1, -1, -1),
            extra_count: 0,
            records: records.collect(),
            compress: None,
        }
    }

    /// The same from a producer.
    #[must_use]
    pub fn by(self, id: i64, epoch: i16, sequence: i32) -> Self {
        Self { producer: (id, epoch, sequence), ..self }
    }

    /// As it is sent.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut body = Vec::new();
        for ((key, value), delta) in self.records.iter().zip(0_i64..) {
            body.extend(record(key.as_deref(), value, delta));
        }
        let body = self.compress.map_or_else(|| body.clone(), |compress| compress(&body));
        let last = i32::try_from(self.records.len()).unwrap_or(i32::MAX) - 1;
        let max_timestamp = self.max_timestamp.unwrap_or_else(|| self.timestamp + i64::from(last));
        let mut out = Vec::with_capacity(HEADER + body.len());
        out.extend(self.base_offset.to_be_bytes());
        out.extend(u32::try_from(HEADER - 12 + body.len()).unwrap_or(u32::MAX).to_be_bytes());
        out.extend((-1_i32).to_be_bytes());
        out.extend(self.magic.to_be_bytes());
        out.extend([0; 4]);
        out.extend(self.attributes.to_be_bytes());
        out.extend((last + self.extra_count).to_be_bytes());
        out.extend(self.timestamp.to_be_bytes());
        out.extend(max_timestamp.to_be_bytes());
        let (id, epoch, sequence) = self.producer;
        out.extend(id.to_be_bytes());
        out.extend(epoch.to_be_bytes());
        out.extend(sequence.to_be_bytes());
        out.extend((last + 1 + self.extra_count).to_be_bytes());
        out.extend(body);
        let crc = crc32c::crc32c(&out[CHECKED..]);
        out[CRC..CHECKED].copy_from_slice(&crc.to_be_bytes());
        out
    }

    /// As a request's tree holds it.
    #[must_use]
    pub fn hex(&self) -> String {
        hex(&self.bytes())
    }
}

/// Two hexadecimal digits for each byte.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes of such digits.
///
/// # Errors
/// What is wrong with the text.
pub(crate) fn unhex(text: &str) -> Result<Vec<u8>, String> {
    if !text.len().is_multiple_of(2) {
        return Err(format!("{text:?} has an odd digit"));
    }
    let digits = text.as_bytes().chunks(2);
    let bytes = digits.map(|pair| {
        let pair = str::from_utf8(pair).map_err(|error| error.to_string())?;
        u8::from_str_radix(pair, 16).map_err(|error| format!("{text:?} is not hexadecimal: {error}"))
    });
    bytes.collect()
}

/// The batches of an answer as trees; the last may be cut off.
pub(super) fn read(mut bytes: &[u8]) -> Value {
    let mut batches = Vec::new();
    while !bytes.is_empty() {
        let length =
            bytes.get(8..12).and_then(<[u8]>::first_chunk).map_or(0, |length| u32::from_be_bytes(*length));
        let size = 12 + length as usize;
        match bytes.split_at_checked(size) {
            Some((batch, rest)) if size >= HEADER => {
                batches.push(tree(batch));
                bytes = rest;
            }
            _ => {
                batches.push(json!({ "CutOffAfter": bytes.len() }));
                break;
            }
        }
    }
    Value::Array(batches)
}

fn tree(batch: &[u8]) -> Value {
    let int = |from: usize, size: usize| {
        let bytes = batch.get(from..from + size).unwrap_or(&[]);
        let sign = if bytes.first().is_some_and(|first| *first >= 0x80) { -1 } else { 0 };
        bytes.iter().fold(sign, |number: i64, byte| number << 8 | i64::from(*byte))
    };
    let crc = i64::from(crc32c::crc32c(batch.get(CHECKED..).unwrap_or(&[])).cast_signed());
    json!({
        "BaseOffset": int(0, 8),
        "PartitionLeaderEpoch": int(12, 4),
        "Magic": int(16, 1),
        "CrcIsRight": int(CRC, 4) == crc,
        "Attributes": int(21, 2),
        "LastOffsetDelta": int(23, 4),
        "BaseTimestamp": int(27, 8),
        "MaxTimestamp": int(35, 8),
        "ProducerId": int(43, 8),
        "ProducerEpoch": int(51, 2),
        "BaseSequence": int(53, 4),
        "Count": int(57, 4),
        "Records": hex(batch.get(HEADER..).unwrap_or(&[])),
    })
}

fn record(key: Option<&[u8]>, value: &[u8], delta: i64) -> Vec<u8> {
    let mut body = vec![0];
    body.extend(varint(delta));
    body.extend(varint(delta));
    match key {
        Some(key) => {
            body.extend(varint(key.len() as i64));
            body.extend(key);
        }
        None => body.extend(varint(-1)),
    }
    body.extend(varint(value.len() as i64));
    body.extend(value);
    body.extend(varint(0));
    [varint(body.len() as i64), body].concat()
}

/// Zigzag, seven bits a byte.
fn varint(number: i64) -> Vec<u8> {
    let mut zigzag = ((number << 1) ^ (number >> 63)).cast_unsigned();
    let mut out = Vec::new();
    while zigzag >= 0x80 {
        out.push((zigzag & 0x7f) as u8 | 0x80);
        zigzag >>= 7;
    }
    out.push(zigzag as u8);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_read_as_it_was_made() {
        let batch = Batch::of(&["one", "two"]).by(7, 1, 40);
        let bytes = batch.bytes();
        let tree = read(&[&bytes[..], &bytes[..20]].concat());
        assert_eq!(tree[0]["ProducerId"], 7);
        assert_eq!(tree[0]["BaseSequence"], 40);
        assert_eq!(tree[0]["Count"], 2);
        assert_eq!(tree[0]["CrcIsRight"], true);
        assert_eq!(tree[0]["MaxTimestamp"], Batch::TIME + 1);
        assert_eq!(tree[1], json!({ "CutOffAfter": 20 }));
        let mut broken = bytes;
        broken[CRC] ^= 1;
        assert_eq!(read(&broken)[0]["CrcIsRight"], false);
        assert_eq!(unhex(&hex(&broken)), Ok(broken));
    }
}
