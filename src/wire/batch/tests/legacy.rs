//! Messages of magic 0 and 1.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

use super::super::error::{Field, RecordFault};
use super::super::legacy::script::{LOG_APPEND_TIME, Old, wrap, wrapped};
use super::super::*;
use super::{LIMIT, only, sealed};
use crate::wire::compress::{self, Codec, CompressError, Compression};

/// The codecs that there were then.
const CODECS: [Codec; 3] = [Codec::Gzip, Codec::Snappy, Codec::Lz4];

type Read = (i64, i64, Option<String>, Option<String>);

/// Offset, timestamp, key and value of each record, checksums checked.
fn read(log: impl Into<Bytes>) -> Vec<Read> {
    let text = |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap());
    let mut read = Vec::new();
    for batch in Batches::new(log.into()).map(Result::unwrap) {
        batch.verify_crc().unwrap();
        let mut cursor = batch.cursor(LIMIT).unwrap();
        let (announced, before) = (cursor.left(), read.len());
        for record in cursor.records().map(Result::unwrap) {
            assert_eq!(record.headers.count(), 0);
            read.push((record.offset, record.timestamp, text(record.key), text(record.value)));
        }
        assert_eq!((read.len() - before, cursor.left()), (announced as usize, 0));
        assert_eq!(read.last().map(|last| last.0), Some(batch.header().last_offset()));
    }
    read
}

fn fault_of(message: Vec<u8>) -> BatchFault {
    match Batches::new(Bytes::from(message)).next().expect("the message is whole") {
        Ok(batch) => batch.cursor(LIMIT).unwrap_err().fault,
        Err(error) => error.fault,
    }
}

/// The fault of a message whose bytes were changed, and its checksum with them.
fn fault_with(message: &[u8], at: usize, bytes: &[u8]) -> BatchFault {
    fault_of(changed(message, at, bytes))
}

fn changed(message: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut changed = message.to_vec();
    changed[at..at + bytes.len()].copy_from_slice(bytes);
    let crc = crc32fast::hash(&changed[16..]);
    changed[12..16].copy_from_slice(&crc.to_be_bytes());
    changed
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn messages_come_as_they_were_written() {
    let empty = Old { key: Some(b""), value: Some(b""), ..Old::new(1, 8, "") };
    let log = [
        Old::new(0, 5, "zero").write(),
        Old { key: None, ..Old::new(0, 6, "no key") }.write(),
        Old { value: None, ..Old::new(1, 7, "") }.write(),
        empty.write(),
        Old { attributes: LOG_APPEND_TIME, timestamp: 77, ..Old::new(1, 9, "late") }.write(),
        // With bits that no magic has: they are not those of a marker, or of a transaction.
        Old { attributes: 0xf8, ..Old::new(0, 10, "zero") }.write(),
        Old { attributes: 0xf0, ..Old::new(1, 11, "one") }.write(),
    ];
    let expected = [
        (5, -1, some("key"), some("zero")),
        (6, -1, None, some("no key")),
        (7, 1_007, some("key"), None),
        (8, 1_008, some(""), some("")),
        (9, 77, some("key"), some("late")),
        (10, -1, some("key"), some("zero")),
        (11, 1_011, some("key"), some("one")),
    ];
    assert_eq!(read(log.concat()), expected);
    let attributes = Batches::new(log.concat().into()).map(|batch| batch.unwrap().header().attributes);
    assert!(!attributes.into_iter().any(|it| it.is_control() || it.is_transactional()));
}

#[test]
fn a_compressed_message_holds_others_at_their_own_offsets_in_magic_0() {
    for codec in CODECS {
        let held = [Old::new(0, 20, "a"), Old { key: None, ..Old::new(0, 23, "b") }, Old::new(0, 24, "c")];
        let log = wrapped(0, 24, 0, codec, &held);
        let expected =
            [(20, -1, some("key"), some("a")), (23, -1, None, some("b")), (24, -1, some("key"), some("c"))];
        assert_eq!(read(log), expected, "{codec}");
        // They are not counted from the offset of the one that holds them.
        let longer = only(&Bytes::from(wrapped(0, 30, 0, codec, &held)));
        let mut cursor = longer.cursor(LIMIT).unwrap();
        let offsets: Vec<_> = cursor.records().map(|record| record.unwrap().offset).collect();
        assert_eq!((offsets, longer.header().last_offset()), (vec![20, 23, 24], 30));
    }
}

#[test]
fn a_compressed_message_holds_others_at_relative_offsets_in_magic_1() {
    for codec in CODECS {
        // Compaction has left gaps.
        let held = [Old::new(1, 0, "a"), Old { value: None, ..Old::new(1, 3, "") }, Old::new(1, 4, "c")];
        let expected = [
            (20, 1_000, some("key"), some("a")),
            (23, 1_003, some("key"), None),
            (24, 1_004, some("key"), some("c")),
        ];
        assert_eq!(read(wrapped(1, 24, 0, codec, &held)), expected, "{codec}");
        let appended = expected.map(|(offset, _, key, value)| (offset, 9_000, key, value));
        let log = wrapped(1, 24, LOG_APPEND_TIME, codec, &held);
        assert_eq!(read(log), appended, "{codec}: the broker's time is that of all");
    }
}

/// KAFKA-3160.
#[test]
fn lz4_of_magic_0_has_a_wrong_checksum_in_its_header() {
    let plain = Old::new(0, 3, "a").write();
    let mut value = Vec::new();
    compress::compress(Compression::new(Codec::Lz4), &plain, &mut value).unwrap();
    value[6] ^= 0xff;
    let outer = Old { attributes: Codec::Lz4.id(), value: Some(&value), ..Old::new(0, 3, "") };
    assert_eq!(read(outer.write()), [(3, -1, some("key"), some("a"))]);
    let fault = fault_of(Old { magic: 1, ..outer }.write());
    assert!(
        matches!(fault, BatchFault::Compression(CompressError::Corrupt { codec: Codec::Lz4, .. })),
        "{fault:?}"
    );
}

#[test]
fn formats_follow_each_other_in_a_log_and_the_last_message_may_be_cut_off() {
    let mut batch = sealed(Compression::NONE).bytes().to_vec();
    set_base_offset(&mut batch, 7);
    let held = [Old::new(1, 0, "d"), Old::new(1, 1, "e")];
    let log = [
        Old::new(0, 1, "a").write(),
        wrapped(0, 3, 0, Codec::Gzip, &[Old::new(0, 2, "b"), Old::new(0, 3, "c")]),
        wrapped(1, 5, 0, Codec::Gzip, &held),
        Old::new(1, 6, "f").write(),
        batch,
        Old::new(1, 10, "behind").write(),
    ]
    .concat();
    let offsets = |log: &[u8]| {
        let mut batches = Batches::new(Bytes::copy_from_slice(log));
        let mut offsets = Vec::new();
        for batch in batches.by_ref() {
            let mut cursor = batch.unwrap().cursor(LIMIT).unwrap();
            offsets.extend(cursor.records().map(|record| record.unwrap().offset));
        }
        (offsets, batches.remaining())
    };
    assert_eq!(offsets(&log), ((1..=10).collect(), 0));
    let last = Old::new(1, 10, "behind").write().len();
    for cut in 1..=last {
        assert_eq!(offsets(&log[..log.len() - cut]), ((1..10).collect(), last - cut));
    }
}

#[test]
fn a_wrong_checksum_is_found_without_and_within() {
    for magic in [0, 1] {
        let whole = Old::new(magic, 5, "value").write();
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let read = Batches::new(Bytes::from(flipped)).next();
            let unharmed = matches!(&read, Some(Ok(batch)) if batch.verify_crc().is_ok());
            // A negative offset is refused as such.
            assert_eq!(unharmed, bit / 8 < 8 && bit != 7, "bit {bit}: {read:?}");
        }
        let inner = Old::new(magic, 0, "a").write();
        let mut wrong = Old::new(magic, 1, "b").write();
        *wrong.last_mut().unwrap() = b'x';
        let message = wrap(magic, 1, 0, Codec::Gzip, &[inner, wrong].concat());
        only(&Bytes::from(message.clone())).verify_crc().unwrap();
        let fault = fault_of(message);
        assert!(
            matches!(fault, BatchFault::Record { index: 1, fault: RecordFault::Crc { .. } }),
            "{fault:?}"
        );
    }
}

#[test]
fn messages_that_are_too_short_are_refused() {
    for (magic, min) in [(0, 14), (1, 22)] {
        for length in 5..min {
            let mut message = Old::new(magic, 5, "value").write();
            message[8..12].copy_from_slice(&i32::try_from(length).unwrap().to_be_bytes());
            let fault = BatchFault::LengthTooSmall { length: i32::try_from(length).unwrap(), min };
            let mut batches = Batches::new(Bytes::from(message));
            assert_eq!(batches.next().unwrap().unwrap_err().fault, fault);
        }
        let fault = fault_with(&Old::new(magic, 5, "value").write(), 0, &(-1_i64).to_be_bytes());
        assert_eq!(fault, BatchFault::OffsetRange { base_offset: -1, last_offset_delta: 0 });
    }
}

#[test]
fn lengths_within_a_message_are_checked() {
    for (magic, key) in [(0, 18), (1, 26)] {
        let message = Old::new(magic, 5, "value").write();
        let of_key = |length: i32| fault_with(&message, key, &length.to_be_bytes());
        let of_value = |length: i32| fault_with(&message, key + 7, &length.to_be_bytes());
        let record = |fault| BatchFault::Record { index: 0, fault };
        let wrong = |field, length, left| record(RecordFault::Length { field, length, left });
        for length in [9, i32::MAX, -2, i32::MIN] {
            assert_eq!(of_key(length), wrong(Field::Key, length, 8), "magic {magic}");
        }
        for length in [6, i32::MAX, -2, i32::MIN] {
            assert_eq!(of_value(length), wrong(Field::Value, length, 5), "magic {magic}");
        }
        assert_eq!(of_value(3), record(RecordFault::Unfilled { left: 2 }));
        assert_eq!(of_value(-1), record(RecordFault::Unfilled { left: 5 }));
    }
}

#[test]
fn what_a_compressed_message_holds_is_checked() {
    for magic in [0, 1] {
        let record = |index, fault| BatchFault::Record { index, fault };
        let of = |plain: &[u8]| fault_of(wrap(magic, 7, 0, Codec::Gzip, plain));
        let two = |first, second| {
            [Old::new(magic, first, "a").write(), Old::new(magic, second, "b").write()].concat()
        };

        assert_eq!(of(&[]), BatchFault::MissingRecords { announced: 1, found: 0 });
        assert_eq!(of(&two(5, 5)), record(1, RecordFault::Offset { offset: 5, min: 6, max: 7 }));
        assert_eq!(of(&two(5, 4)), record(1, RecordFault::Offset { offset: 4, min: 6, max: 7 }));
        assert_eq!(of(&two(0, 8)), record(1, RecordFault::Offset { offset: 8, min: 1, max: 7 }));
        assert_eq!(of(&two(-1, 7)), record(0, RecordFault::Offset { offset: -1, min: 0, max: 7 }));

        // To go on without what is missing would give the others of magic 1 wrong offsets.
        let whole = two(6, 7);
        let left = whole.len() / 2;
        let length = i32::try_from(left - 12).unwrap();
        let cut = RecordFault::Length { field: Field::Record, length, left: left - 13 };
        assert_eq!(of(&whole[..whole.len() - 1]), record(1, cut));
        assert_eq!(of(&whole[..left + 11]), record(1, RecordFault::Unfilled { left: 11 }));
        let negative = changed(&whole, 8, &(-1_i32).to_be_bytes());
        let fault = RecordFault::Length { field: Field::Record, length: -1, left: whole.len() - 12 };
        assert_eq!(of(&negative), record(0, fault));

        let nested = wrap(magic, 7, 0, Codec::Gzip, &Old::new(magic, 7, "a").write());
        assert_eq!(of(&nested), record(0, RecordFault::Compressed));
        let batch = sealed(Compression::NONE);
        assert_eq!(of(batch.bytes()), record(0, RecordFault::Magic(2)));
    }
}

#[test]
fn what_is_said_to_be_compressed_and_is_not_is_refused() {
    for magic in [0, 1] {
        let outer = |id: u8, value| Old { attributes: id, value, ..Old::new(magic, 5, "") }.write();
        let length = RecordFault::Length { field: Field::Value, length: -1, left: 0 };
        let gzip = Codec::Gzip.id();
        assert_eq!(fault_of(outer(gzip, None)), BatchFault::Record { index: 0, fault: length });
        for (id, value) in [(gzip, &b"garbage"[..]), (gzip, b""), (2, b"garbage"), (3, b"garbage"), (3, b"")]
        {
            let fault = fault_of(outer(id, Some(value)));
            assert!(matches!(fault, BatchFault::Compression(_)), "{id}: {fault:?}");
        }
        for id in 4..8 {
            assert_eq!(fault_of(outer(id, Some(b"value"))), BatchFault::UnknownCodec(id));
        }
    }
}

#[test]
fn a_small_message_that_holds_much_is_refused_at_the_limit() {
    for (magic, codec) in [0, 1].into_iter().flat_map(|magic| CODECS.map(|codec| (magic, codec))) {
        let large = "x".repeat(LIMIT);
        let message = wrapped(magic, 5, 0, codec, &[Old::new(magic, 5, &large)]);
        let error = only(&Bytes::from(message)).cursor(LIMIT).unwrap_err();
        let fault = BatchFault::Compression(CompressError::TooLarge { codec, limit: LIMIT });
        assert_eq!(error, BatchError { base_offset: 5, last_offset: Some(5), fault });
    }
}

#[derive(Clone, Debug)]
struct Fields {
    gap: i64,
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
}

fn any_message() -> impl Strategy<Value = Fields> {
    let bytes = || proptest::option::of(vec(any::<u8>(), 0..60));
    (1..4_i64, any::<i64>(), bytes(), bytes()).prop_map(|(gap, timestamp, key, value)| Fields {
        gap,
        timestamp,
        key,
        value,
    })
}

/// A log of compressed and of single messages: its bytes, and what is in it.
fn write(sets: &[(i8, Option<Codec>, Vec<Fields>)]) -> (Vec<u8>, Vec<(i64, Fields)>) {
    let (mut log, mut all, mut next) = (Vec::new(), Vec::new(), 0);
    for (magic, codec, set) in sets {
        let base = next;
        let first = all.len();
        for fields in set {
            next += fields.gap;
            let timestamp = if *magic == 0 { -1 } else { fields.timestamp };
            all.push((next - 1, Fields { timestamp, ..fields.clone() }));
        }
        // In magic 1 offsets are relative to one in front of the first, of which compaction has left nothing.
        let shift = if *magic == 1 && codec.is_some() { base } else { 0 };
        let old = |(offset, fields): &(i64, Fields)| {
            let (key, value) = (fields.key.as_deref(), fields.value.as_deref());
            let (offset, timestamp) = (offset - shift, fields.timestamp);
            Old { magic: *magic, offset, attributes: 0, timestamp, key, value }.write()
        };
        let plain: Vec<u8> = all[first..].iter().flat_map(old).collect();
        match codec {
            Some(codec) => log.extend(wrap(*magic, next - 1, 0, *codec, &plain)),
            None => log.extend(plain),
        }
    }
    (log, all)
}

fn any_log() -> impl Strategy<Value = Vec<(i8, Option<Codec>, Vec<Fields>)>> {
    let codec = proptest::option::of(proptest::sample::select(&CODECS[..]));
    vec((0..2_i8, codec, vec(any_message(), 1..6)), 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn messages_round_trip(sets in any_log()) {
        let (log, written) = write(&sets);
        let mut written = written.iter();
        for batch in Batches::new(Bytes::from(log)).map(Result::unwrap) {
            batch.verify_crc().unwrap();
            let mut cursor = batch.cursor(LIMIT).unwrap();
            let mut borrowed = cursor.clone();
            let mut borrowed = borrowed.records();
            while let Some(record) = cursor.next() {
                let record = record.unwrap();
                let (offset, fields) = written.next().unwrap();
                let seen = record.resolve(cursor.buffer());
                prop_assert_eq!((seen.offset, seen.timestamp), (*offset, fields.timestamp));
                prop_assert_eq!((seen.key, seen.value), (fields.key.as_deref(), fields.value.as_deref()));
                // As messages are kept without their batch.
                let (whole, detached) = record.detached();
                let alone = detached.resolve(whole.of(cursor.buffer()));
                prop_assert_eq!((alone.key, alone.value), (seen.key, seen.value));
                prop_assert_eq!(borrowed.next().unwrap().unwrap().value, seen.value);
            }
            prop_assert!(borrowed.next().is_none());
        }
        prop_assert!(written.next().is_none());
    }

    #[test]
    fn messages_with_wrong_bytes_never_break_the_reader(
        sets in any_log(),
        wrong in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let (mut log, _) = write(&sets);
        for (at, byte) in wrong {
            let at = at.index(log.len());
            log[at] = byte;
        }
        for batch in Batches::new(Bytes::from(log)).flatten() {
            // Nobody should read on after a wrong checksum, but nothing may break.
            let Ok(mut cursor) = batch.cursor(LIMIT) else { continue };
            let (announced, mut count, mut last) = (cursor.left(), 0, -1);
            while let Some(Ok(record)) = cursor.next() {
                prop_assert!(record.offset > last && record.offset <= batch.header().last_offset());
                (last, count) = (record.offset, count + 1);
            }
            prop_assert!(count <= announced);
        }
    }

    #[test]
    fn what_is_held_with_wrong_bytes_never_breaks_the_reader(
        magic in 0..2_i8,
        set in vec(any_message(), 1..6),
        wrong in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let (mut plain, written) = write(&[(magic, None, set)]);
        for (at, byte) in wrong {
            let at = at.index(plain.len());
            plain[at] = byte;
        }
        let last = written.last().unwrap().0;
        let batch = only(&Bytes::from(wrap(magic, last, 0, Codec::Gzip, &plain)));
        // Every message has its checksum: only offsets and those checksums themselves can be wrong unseen.
        if let Ok(mut cursor) = batch.cursor(LIMIT) {
            let offsets: Vec<i64> = cursor.records().map(|record| record.unwrap().offset).collect();
            prop_assert!(offsets.is_sorted() && offsets.last() <= Some(&last));
        }
    }
}
