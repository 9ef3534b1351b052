#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

// The files hold batches of every codec.
#[cfg(feature = "zstd")]
mod golden;
mod hostile;
mod legacy;
mod properties;

use bytes::Bytes;

use super::encode::AppendError;
use super::*;
use crate::record::Header;
use crate::wire::compress::{Codec, Compression};

const NO_HEADERS: &[Header<'static>] = &[];
const LIMIT: usize = 1 << 20;

fn sealed(compression: Compression) -> SealedBatch {
    let mut builder = BatchBuilder::new(0, 4096);
    let value = [b'v'; 500];
    builder.append(1_000, Some(b"key"), Some(&value), NO_HEADERS).unwrap();
    builder.append(900, None, None, &[("a", Some(b"1")), ("a", None), ("", Some(b""))]).unwrap();
    builder.append(2_000, Some(b""), Some(b""), NO_HEADERS).unwrap();
    builder.seal(compression).unwrap()
}

fn only(bytes: &Bytes) -> Batch {
    let mut batches = Batches::new(bytes.clone());
    let batch = batches.next().unwrap().unwrap();
    assert_eq!(batches.remaining(), 0);
    batch
}

#[test]
fn records_come_back_under_every_codec() {
    for codec in Codec::ALL {
        if codec == Codec::Zstd && cfg!(not(feature = "zstd")) {
            continue;
        }
        let sealed = sealed(Compression::new(codec));
        let batch = only(sealed.bytes());
        batch.verify_crc().unwrap();
        let header = batch.header();
        assert_eq!(header.attributes.codec(), Ok(codec));
        assert_eq!((header.base_timestamp, header.max_timestamp, header.count), (1_000, 2_000, 3));
        let mut cursor = batch.cursor(LIMIT).unwrap();
        let records: Vec<_> = cursor.records().map(Result::unwrap).collect();
        let [first, second, third] = &records[..] else { panic!("three records") };
        assert_eq!((first.offset, first.timestamp, first.key), (0, 1_000, Some(&b"key"[..])));
        assert_eq!(first.value, Some(&[b'v'; 500][..]));
        assert_eq!((second.offset, second.timestamp, second.key, second.value), (1, 900, None, None));
        let headers: Vec<_> = second.headers.clone().map(Result::unwrap).collect();
        assert_eq!(headers, [("a", Some(&b"1"[..])), ("a", None), ("", Some(&b""[..]))]);
        assert_eq!((third.offset, third.key, third.value), (2, Some(&b""[..]), Some(&b""[..])));
    }
}

#[test]
fn a_stamp_changes_the_header_and_keeps_the_checksum_right() {
    let mut sealed = sealed(Compression::NONE);
    let stamp = Stamp { producer_id: 77, producer_epoch: 3, base_sequence: 12, transactional: true };
    sealed.stamp(stamp);
    let in_flight = sealed.bytes().clone();
    sealed.stamp(Stamp { producer_epoch: 4, transactional: false, ..stamp });
    for (bytes, epoch, transactional) in [(&in_flight, 3, true), (sealed.bytes(), 4, false)] {
        let batch = only(bytes);
        batch.verify_crc().unwrap();
        let header = batch.header();
        assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (77, epoch, 12));
        assert_eq!(header.attributes.is_transactional(), transactional);
    }
}

#[test]
fn a_batch_that_is_cut_off_ends_the_iteration() {
    let bytes = sealed(Compression::NONE).bytes().clone();
    let two = Bytes::from([&bytes[..], &bytes[..]].concat());
    for cut in bytes.len()..two.len() {
        let mut batches = Batches::new(two.slice(..cut));
        assert!(batches.next().unwrap().is_ok());
        assert!(batches.next().is_none());
        assert_eq!(batches.remaining(), cut - bytes.len());
    }
}

#[test]
fn markers_are_read_as_they_were_made() {
    for commit in [false, true] {
        let marker = Marker { producer_id: 5, producer_epoch: 6, coordinator_epoch: 7, commit, timestamp: 8 };
        let batch = only(&end_transaction_marker(marker).unwrap());
        batch.verify_crc().unwrap();
        assert!(batch.header().attributes.is_control());
        let mut cursor = batch.cursor(LIMIT).unwrap();
        let record = cursor.records().next().unwrap().unwrap();
        let expected = if commit { ControlType::Commit } else { ControlType::Abort };
        assert_eq!(ControlType::parse(record.key), Ok(expected));
    }
}

#[test]
fn an_append_that_is_refused_leaves_the_batch_as_it_was() {
    let mut builder = BatchBuilder::new(0, 4096);
    builder.append(-2, None, Some(b"first"), NO_HEADERS).unwrap();
    let refused = builder.append(i64::MAX, None, Some(b"too far"), NO_HEADERS);
    assert_eq!(refused, Err(AppendError::TimestampRange { timestamp: i64::MAX, base: -2 }));
    assert_eq!(builder.append(0, None, Some(b"second"), NO_HEADERS), Ok(1));
    let batch = only(builder.seal(Compression::NONE).unwrap().bytes());
    let mut cursor = batch.cursor(LIMIT).unwrap();
    assert_eq!(cursor.records().map(|record| record.unwrap().timestamp).collect::<Vec<_>>(), [-2, 0]);
}

#[test]
fn log_append_time_is_every_records_time() {
    let mut bytes = sealed(Compression::NONE).bytes().to_vec();
    header::put(&mut bytes, header::at::ATTRIBUTES, (1i16 << 3).to_be_bytes());
    let batch = only(&Bytes::from(bytes));
    let mut cursor = batch.cursor(LIMIT).unwrap();
    assert!(cursor.records().all(|record| record.unwrap().timestamp == 2_000));
}

#[test]
fn a_batch_that_would_not_shrink_stays_as_it_is() {
    let mut builder = BatchBuilder::new(0, 4096);
    builder.append(0, None, Some(b"!"), NO_HEADERS).unwrap();
    let len = builder.len();
    let sealed = builder.seal(Compression::new(Codec::Gzip)).unwrap();
    assert_eq!(only(sealed.bytes()).header().attributes.codec(), Ok(Codec::None));
    assert_eq!((sealed.bytes().len(), sealed.uncompressed_len()), (len, len));
}

#[test]
fn a_batch_grows_to_its_target_in_few_steps() {
    let mut builder = BatchBuilder::new(0, 256 << 10);
    let grown = allocation_counter::measure(|| {
        while builder.len() < 255 << 10 {
            builder.append(0, None, Some(&[7; 100]), NO_HEADERS).unwrap();
        }
    });
    assert!(grown.count_total <= 4, "{} allocations", grown.count_total);
    assert!(grown.bytes_max <= 320 << 10, "{} bytes", grown.bytes_max);
}
