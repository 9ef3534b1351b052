//! Batches that lie: every fault is an error that says what it is, and the reader goes on behind the batch.

use bytes::Bytes;

use super::super::control::ControlError;
use super::super::error::{Field, RecordFault};
use super::super::header::{HEADER_LEN, at, put};
use super::super::*;
use super::{LIMIT, sealed};
use crate::wire::compress::{Codec, CompressError, Compression};
use crate::wire::varint::{self, VarintError};

/// A batch whose records are `body`, with a header that is right for `count` records.
fn batch_of(body: &[u8], count: i32) -> Vec<u8> {
    let mut batch = sealed(Compression::NONE).bytes().to_vec();
    batch.truncate(HEADER_LEN);
    batch.extend_from_slice(body);
    let length = i32::try_from(batch.len() - 12).unwrap();
    put(&mut batch, at::LENGTH, length.to_be_bytes());
    put(&mut batch, at::COUNT, count.to_be_bytes());
    put(&mut batch, at::LAST_OFFSET_DELTA, (count - 1).max(0).to_be_bytes());
    batch
}

/// A record of these numbers and bytes, its length in front.
fn record(fields: &[&[u8]]) -> Vec<u8> {
    let body = fields.concat();
    [number(body.len().try_into().unwrap()), body].concat()
}

fn number(value: i64) -> Vec<u8> {
    let mut out = Vec::new();
    varint::put_u64(&mut out, varint::zigzag(value));
    out
}

/// Attributes, timestamp delta 0, offset delta, no key, no value, no headers.
fn plain(offset_delta: i64) -> Vec<u8> {
    record(&[&[0, 0], &number(offset_delta), &[1, 1, 0]])
}

/// The first error in reading a batch, and how many records came before it.
fn fault_of(batch: Vec<u8>) -> (usize, BatchFault) {
    let batch = match Batches::new(Bytes::from(batch)).next().expect("the batch is whole") {
        Ok(batch) => batch,
        Err(error) => return (0, error.fault),
    };
    let mut cursor = match batch.cursor(LIMIT) {
        Ok(cursor) => cursor,
        Err(error) => return (0, error.fault),
    };
    let mut before = 0;
    loop {
        match cursor.next().expect("the batch must have a fault") {
            Ok(_) => before += 1,
            Err(error) => {
                assert!(cursor.next().is_none(), "reading ends with an error");
                return (before, error.fault);
            }
        }
    }
}

/// The fault of a batch that holds this one record.
fn record_fault(record: &[u8]) -> RecordFault {
    match fault_of(batch_of(record, 1)) {
        (0, BatchFault::Record { index: 0, fault }) => fault,
        other => panic!("{other:?}"),
    }
}

#[test]
fn lengths_within_a_record_are_checked() {
    let length = |field, length, left| RecordFault::Length { field, length, left };
    let cases: [(&[&[u8]], RecordFault); 9] = [
        (&[&[0, 0, 0], &number(2), b"k"], length(Field::Key, 2, 1)),
        (&[&[0, 0, 0], &number(-2), &[1, 0]], length(Field::Key, -2, 2)),
        (&[&[0, 0, 0, 1], &number(i32::MAX.into()), &[0]], length(Field::Value, i32::MAX, 1)),
        (&[&[0, 0, 0, 1, 1], &number(-1)], length(Field::HeaderCount, -1, 0)),
        (&[&[0, 0, 0, 1, 1], &number(1), &number(-1), &[1]], length(Field::HeaderName, -1, 1)),
        (&[&[0, 0, 0, 1, 1], &number(1), &number(9), b"short"], length(Field::HeaderName, 9, 5)),
        (&[&[0, 0, 0, 1, 1], &number(1), &[0], &number(3), b"ab"], length(Field::HeaderValue, 3, 2)),
        (&[&[0, 0, 0, 1, 1, 0, 7]], RecordFault::Unfilled { left: 1 }),
        (&[&[0, 0, 0, 1, 1], &number(1), &number(1), &[0xff], &[1]], RecordFault::HeaderName { offset: 0 }),
    ];
    for (fields, expected) in cases {
        assert_eq!(record_fault(&record(fields)), expected, "{fields:?}");
    }
}

#[test]
fn lengths_of_records_are_checked() {
    let fault = |length, left| RecordFault::Length { field: Field::Record, length, left };
    assert_eq!(record_fault(&[&number(-1)[..], &[0; 6]].concat()), fault(-1, 6));
    assert_eq!(record_fault(&[&number(7)[..], &[0; 6]].concat()), fault(7, 6));
    let cut = |field| RecordFault::Varint { field, error: VarintError::Truncated };
    assert_eq!(record_fault(&number(0)), cut(Field::TimestampDelta));
    assert_eq!(record_fault(&record(&[&[0, 0]])), cut(Field::OffsetDelta));
    // The key would reach into the bytes behind the record.
    let behind = [record(&[&[0, 0, 0], &number(3)]), b"key".to_vec()].concat();
    assert_eq!(record_fault(&behind), RecordFault::Length { field: Field::Key, length: 3, left: 0 });
}

#[test]
fn four_billion_headers_in_a_few_bytes_are_refused() {
    let mut overflow = vec![0, 0, 0, 1, 1];
    overflow.extend_from_slice(&[0xff, 0xff, 0xff, 0xff, 0x0f]);
    // Zigzag makes a negative number of it.
    let length = i32::MIN;
    let expected = RecordFault::Length { field: Field::HeaderCount, length, left: 0 };
    assert_eq!(record_fault(&record(&[&overflow])), expected);
    let many = record(&[&[0, 0, 0, 1, 1], &number(i32::MAX.into())]);
    let expected = RecordFault::Varint { field: Field::HeaderName, error: VarintError::Truncated };
    assert_eq!(record_fault(&many), expected);
}

#[test]
fn offsets_rise_and_stay_within_the_batch() {
    let delta = |delta, min, max| RecordFault::OffsetDelta { delta, min, max };
    let cases = [
        ([0, 0], 1, delta(0, 1, 1)),
        ([1, 0], 1, delta(0, 2, 1)),
        ([0, 2], 1, delta(2, 1, 1)),
        ([-1, 1], 0, delta(-1, 0, 1)),
        ([i64::from(i32::MAX), 1], 0, delta(i32::MAX, 0, 1)),
    ];
    for (deltas, before, fault) in cases {
        let body = deltas.map(plain).concat();
        let index = u32::try_from(before).unwrap();
        assert_eq!(fault_of(batch_of(&body, 2)), (before, BatchFault::Record { index, fault }), "{deltas:?}");
    }
}

#[test]
fn a_timestamp_that_overflows_is_refused() {
    let far = record(&[&[0], &number(i64::MAX), &[0, 1, 1, 0]]);
    let mut batch = batch_of(&far, 1);
    put(&mut batch, at::BASE_TIMESTAMP, 1i64.to_be_bytes());
    let fault = RecordFault::Timestamp { base: 1, delta: i64::MAX };
    assert_eq!(fault_of(batch), (0, BatchFault::Record { index: 0, fault }));
}

#[test]
fn the_count_of_records_is_checked() {
    let two = [plain(0), plain(1)].concat();
    assert_eq!(fault_of(batch_of(&two, 3)), (2, BatchFault::MissingRecords { announced: 3, found: 2 }));
    assert_eq!(fault_of(batch_of(&two, 1)), (1, BatchFault::TrailingBytes { announced: 1, bytes: 7 }));
    assert_eq!(fault_of(batch_of(&two, 0)), (0, BatchFault::TrailingBytes { announced: 0, bytes: 14 }));
    for announced in [-1, 3, i32::MAX] {
        let mut batch = batch_of(&two, 2);
        put(&mut batch, at::COUNT, announced.to_be_bytes());
        assert_eq!(fault_of(batch), (0, BatchFault::RecordCount { announced, last_offset_delta: 1 }));
    }
}

#[test]
fn offsets_of_a_batch_are_checked() {
    for (base_offset, last_offset_delta) in [(-1, 0), (0, -1), (i64::MAX, 1), (i64::MIN, i32::MIN)] {
        let mut batch = batch_of(&plain(0), 1);
        put(&mut batch, at::BASE_OFFSET, base_offset.to_be_bytes());
        put(&mut batch, at::LAST_OFFSET_DELTA, last_offset_delta.to_be_bytes());
        let fault = BatchFault::OffsetRange { base_offset, last_offset_delta };
        assert_eq!(fault_of(batch), (0, fault));
    }
    let mut last = batch_of(&plain(0), 1);
    put(&mut last, at::BASE_OFFSET, i64::MAX.to_be_bytes());
    let batch = Batches::new(Bytes::from(last)).next().unwrap().unwrap();
    assert_eq!(batch.cursor(LIMIT).unwrap().records().next().unwrap().unwrap().offset, i64::MAX);
}

#[test]
fn a_compacted_batch_with_no_records_has_none() {
    for codec in Codec::ALL {
        let mut batch = batch_of(&[], 0);
        put(&mut batch, at::ATTRIBUTES, i16::from(codec.id()).to_be_bytes());
        put(&mut batch, at::LAST_OFFSET_DELTA, 99i32.to_be_bytes());
        let batch = Batches::new(Bytes::from(batch)).next().unwrap().unwrap();
        assert_eq!(batch.header().last_offset(), 99);
        assert!(batch.cursor(LIMIT).unwrap().next().is_none(), "{codec}");
    }
}

#[test]
fn foreign_formats_and_codecs_are_named() {
    for magic in [3, -1, i8::MAX, i8::MIN] {
        let mut batch = batch_of(&plain(0), 1);
        put(&mut batch, at::MAGIC, i8::to_be_bytes(magic));
        assert_eq!(fault_of(batch), (0, BatchFault::UnsupportedMagic(magic)));
    }
    for id in 5..8 {
        let mut batch = batch_of(&plain(0), 1);
        put(&mut batch, at::ATTRIBUTES, i16::from(id).to_be_bytes());
        assert_eq!(fault_of(batch), (0, BatchFault::UnknownCodec(id)));
    }
}

#[test]
fn reading_goes_on_behind_a_batch_of_a_foreign_format() {
    // Shorter than a header of magic 2.
    let mut foreign = vec![0; 34];
    put(&mut foreign, at::LENGTH, 22i32.to_be_bytes());
    put(&mut foreign, at::MAGIC, [3]);
    let log = [&foreign[..], sealed(Compression::NONE).bytes()].concat();
    let mut batches = Batches::new(Bytes::from(log));
    let error = batches.next().unwrap().unwrap_err();
    assert_eq!((error.base_offset, error.fault), (0, BatchFault::UnsupportedMagic(3)));
    assert_eq!(batches.next().unwrap().unwrap().header().count, 3);
    assert!(batches.next().is_none());
}

#[test]
fn a_length_that_cannot_be_ends_the_reading() {
    for length in [-1, i32::MIN, 0, 4] {
        let mut batch = batch_of(&plain(0), 1);
        put(&mut batch, at::LENGTH, length.to_be_bytes());
        let mut batches = Batches::new(Bytes::from(batch));
        let error = batches.next().unwrap().unwrap_err();
        assert_eq!(error.fault, BatchFault::LengthTooSmall { length, min: 49 });
        assert!(batches.next().is_none());
    }
    // Long enough for the magic, too short for the rest.
    for length in [5i32, 48] {
        let mut batch = batch_of(&plain(0), 1);
        put(&mut batch, at::LENGTH, length.to_be_bytes());
        assert_eq!(fault_of(batch), (0, BatchFault::LengthTooSmall { length, min: 49 }));
    }
    // A batch that is longer than the response is one that was cut off.
    let mut batch = batch_of(&plain(0), 1);
    put(&mut batch, at::LENGTH, i32::MAX.to_be_bytes());
    let mut batches = Batches::new(Bytes::from(batch));
    assert!(batches.next().is_none());
    assert!(batches.remaining() > 0);
}

#[test]
fn what_does_not_decompress_names_the_batch_and_the_limit() {
    let bomb = sealed(Compression::new(Codec::Gzip));
    let batch = Batches::new(bomb.bytes().clone()).next().unwrap().unwrap();
    let error = batch.cursor(100).unwrap_err();
    let fault = BatchFault::Compression(CompressError::TooLarge { codec: Codec::Gzip, limit: 100 });
    assert_eq!(error, BatchError { base_offset: 0, last_offset: Some(2), fault });
    let mut garbage = bomb.bytes().to_vec();
    garbage.truncate(HEADER_LEN + 10);
    let length = i32::try_from(garbage.len() - 12).unwrap();
    put(&mut garbage, at::LENGTH, length.to_be_bytes());
    let fault = BatchFault::Compression(CompressError::Truncated { codec: Codec::Gzip });
    assert_eq!(fault_of(garbage), (0, fault));
}

#[test]
fn short_control_keys_are_refused_and_unknown_ones_named() {
    for key in [None, Some(&[][..]), Some(&[0, 0, 0])] {
        let len = key.unwrap_or_default().len();
        assert_eq!(ControlType::parse(key), Err(ControlError::KeyTooShort { len }));
    }
    assert_eq!(ControlType::parse(Some(&[0xff, 0xff, 0, 0])), Err(ControlError::Version(-1)));
    assert_eq!(ControlType::parse(Some(&[0, 7, 0, 1, 9, 9])), Ok(ControlType::Commit));
    assert_eq!(ControlType::parse(Some(&[0, 0, 0, 9])), Ok(ControlType::Other(9)));
}

#[test]
fn every_flipped_bit_is_found_or_lies_outside_the_checksum() {
    let whole = sealed(Compression::new(Codec::Lz4)).bytes().to_vec();
    for bit in 0..whole.len() * 8 {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let read = Batches::new(Bytes::from(flipped)).next();
        let unharmed = matches!(&read, Some(Ok(batch)) if batch.verify_crc().is_ok());
        let covered = !matches!(bit / 8, at::BASE_OFFSET..at::LENGTH | at::LEADER_EPOCH..at::MAGIC);
        // A negative base offset is refused as such.
        assert_eq!(unharmed, !covered && bit != 7, "bit {bit}: {read:?}");
        if let Some(Ok(batch)) = read {
            // Nobody should read on after a wrong checksum, but nothing may break.
            if let Ok(mut cursor) = batch.cursor(LIMIT) {
                while cursor.next().is_some() {}
            }
        }
    }
}

#[test]
fn errors_say_what_where_and_how_much() {
    let fault = RecordFault::Length { field: Field::Key, length: 9, left: 2 };
    let fault = BatchFault::Record { index: 4, fault };
    let error = BatchError { base_offset: 100, last_offset: Some(109), fault };
    assert_eq!(
        error.to_string(),
        "batch at offset 100 to 109: record 4: length of the key is 9, with 2 bytes left"
    );
    let fault = BatchFault::Compression(CompressError::TooLarge { codec: Codec::Zstd, limit: 64 });
    let error = BatchError { base_offset: 7, last_offset: None, fault };
    assert_eq!(
        error.to_string(),
        "batch at offset 7: zstd data decompresses to more than the limit of 64 bytes"
    );
}
