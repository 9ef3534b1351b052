//! Ways into the wire formats for benches, which are crates of their own. No public interface.

use bytes::{Bytes, BytesMut};

use super::batch::{BatchBuilder, BatchError, Batches};
use super::compress::{self, Codec, Compression};

/// Appends `value` as records with no key, in the memory of `buffer`, until the batch holds `target` bytes, and seals
/// it.
///
/// # Panics
/// If `codec` names none that is built.
#[must_use]
pub fn append_and_seal(buffer: BytesMut, target: usize, value: &[u8], codec: u8) -> Bytes {
    let mut batch = BatchBuilder::reuse(buffer, target);
    let mut now = 1_700_000_000_000;
    while batch.len() + value.len() + 20 <= target {
        let appended = batch.append(now, None, Some(value), &[]);
        assert!(appended.is_ok(), "a small record was refused");
        now += i64::from(batch.count().is_multiple_of(64));
    }
    let sealed = batch.seal(Compression::new(codec_of(codec)));
    assert!(sealed.is_ok(), "the codec is not built");
    sealed.map(|sealed| sealed.bytes().clone()).unwrap_or_default()
}

/// Reads every record of `records` borrowed, checksums included, and returns how many there are and the sum of their
/// lengths.
///
/// # Panics
/// If the records are malformed.
#[must_use]
pub fn read_borrowed(records: &Bytes) -> (u64, u64) {
    let read = visit(records, usize::MAX, |cursor, sum| {
        for record in cursor.records() {
            let record = record?;
            sum.0 += 1;
            sum.1 += (record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len)) as u64;
        }
        Ok(())
    });
    assert!(read.is_ok(), "records that were just written are malformed");
    read.unwrap_or_default()
}

/// As [`read_borrowed`], but each key and value shares ownership of the buffer.
///
/// # Panics
/// If the records are malformed.
#[must_use]
pub fn read_owned(records: &Bytes) -> (u64, u64) {
    let read = visit(records, usize::MAX, |cursor, sum| {
        while let Some(record) = cursor.next() {
            let record = record?;
            let key = record.key.map(|span| cursor.share(span));
            let value = record.value.map(|span| cursor.share(span));
            sum.0 += 1;
            sum.1 += (key.map_or(0, |key| key.len()) + value.map_or(0, |value| value.len())) as u64;
        }
        Ok(())
    });
    assert!(read.is_ok(), "records that were just written are malformed");
    read.unwrap_or_default()
}

/// Compresses with the codec of this id at its default level.
///
/// # Panics
/// If the codec is not built.
pub fn compress_into(codec: u8, input: &[u8], out: &mut Vec<u8>) {
    let compressed = compress::compress(Compression::new(codec_of(codec)), input, out);
    assert!(compressed.is_ok(), "the codec is not built");
}

/// Decompresses with the codec of this id; false if the data is malformed or exceeds the limit.
pub fn decompress_into(codec: u8, input: &[u8], limit: usize, out: &mut Vec<u8>) -> bool {
    compress::decompress(codec_of(codec), input, limit, out).is_ok()
}

fn visit(
    records: &Bytes,
    limit: usize,
    mut each: impl FnMut(&mut super::batch::RecordCursor, &mut (u64, u64)) -> Result<(), BatchError>,
) -> Result<(u64, u64), BatchError> {
    let mut sum = (0, 0);
    for batch in Batches::new(records.clone()) {
        let batch = batch?;
        batch.verify_crc()?;
        each(&mut batch.cursor(limit)?, &mut sum)?;
    }
    Ok(sum)
}

fn codec_of(id: u8) -> Codec {
    let codec = Codec::from_id(id);
    assert!(codec.is_some(), "no codec has id {id}");
    codec.unwrap_or(Codec::None)
}
