//! Batches that Java wrote, read here, and the other way round; `tests/data/golden/README.md` tells of the files.

use std::fmt::Write as _;

use bytes::Bytes;

use super::super::header::Attributes;
use super::super::*;
use super::LIMIT;
use crate::record::Header;
use crate::wire::compress::{Codec, Compression};

const BATCHES: &[u8] = include_bytes!("../../../../tests/data/golden/java-4.4.0.batches");
const LISTING: &str = include_str!("../../../../tests/data/golden/java-4.4.0.tsv");
const OLD: &[u8] = include_bytes!("../../../../tests/data/golden/java-4.4.0-old.batches");
const OLD_LISTING: &str = include_str!("../../../../tests/data/golden/java-4.4.0-old.tsv");

#[test]
fn batches_of_java_read_as_java_reads_them() {
    for (batches, listing_of_java) in [(BATCHES, LISTING), (OLD, OLD_LISTING)] {
        let listed = listing(Bytes::from_static(batches));
        for (line, (ours, javas)) in listed.lines().zip(listing_of_java.lines()).enumerate() {
            assert_eq!(ours, javas, "line {}", line + 1);
        }
        assert_eq!(listed.lines().count(), listing_of_java.lines().count());
    }
}

#[test]
fn uncompressed_batches_of_java_are_written_byte_for_byte() {
    let mut written = 0;
    for batch in Batches::new(Bytes::from_static(BATCHES)).map(Result::unwrap) {
        let header = batch.header();
        let plain = Attributes::default().with_transactional(header.attributes.is_transactional());
        let whole = header.count > 0 && header.count.cast_signed() - 1 == header.last_offset_delta;
        if header.attributes != plain || !whole {
            continue;
        }
        let mut sealed = rebuild(&batch, Compression::NONE);
        sealed.stamp(Stamp {
            producer_id: header.producer_id,
            producer_epoch: header.producer_epoch,
            base_sequence: header.base_sequence,
            transactional: header.attributes.is_transactional(),
        });
        let mut bytes = sealed.bytes().to_vec();
        set_base_offset(&mut bytes, header.base_offset);
        set_leader_epoch(&mut bytes, header.leader_epoch);
        assert!(bytes == batch.bytes()[..], "batch at offset {}", header.base_offset);
        written += 1;
    }
    assert_eq!(written, 16, "the file holds that many");
}

#[test]
fn markers_of_java_are_written_byte_for_byte() {
    let mut kinds = Vec::new();
    for batch in Batches::new(Bytes::from_static(BATCHES)).map(Result::unwrap) {
        let header = batch.header();
        if !header.attributes.is_control() {
            continue;
        }
        let mut cursor = batch.cursor(LIMIT).unwrap();
        let record = cursor.records().next().unwrap().unwrap();
        let kind = ControlType::parse(record.key).unwrap();
        kinds.push(kind);
        if matches!(kind, ControlType::Other(_)) {
            continue;
        }
        let marker = Marker {
            producer_id: header.producer_id,
            producer_epoch: header.producer_epoch,
            coordinator_epoch: 13,
            commit: kind == ControlType::Commit,
            timestamp: record.timestamp,
        };
        let mut bytes = end_transaction_marker(marker).unwrap().to_vec();
        set_base_offset(&mut bytes, header.base_offset);
        set_leader_epoch(&mut bytes, header.leader_epoch);
        assert_eq!(bytes, batch.bytes()[..], "{kind:?}");
    }
    assert_eq!(kinds, [ControlType::Commit, ControlType::Abort, ControlType::Other(2)]);
}

#[test]
#[ignore = "writes files for `Golden.java verify`: see tests/data/golden/README.md"]
fn files_for_java() {
    let stem = std::env::var("MILENA_GOLDEN_OUT").expect("MILENA_GOLDEN_OUT says where to");
    let mut all = Vec::new();
    let mut next = 0;
    for codec in Codec::ALL {
        for batch in Batches::new(Bytes::from_static(BATCHES)).map(Result::unwrap) {
            if batch.header().count == 0 || batch.header().attributes.is_control() {
                continue;
            }
            let sealed = rebuild(&batch, Compression::new(codec));
            let start = all.len();
            all.extend_from_slice(sealed.bytes());
            set_base_offset(&mut all[start..], next);
            next += i64::from(sealed.count());
        }
    }
    std::fs::write(format!("{stem}.batches"), &all).unwrap();
    std::fs::write(format!("{stem}.tsv"), listing(Bytes::from(all))).unwrap();
}

/// A batch of the same records.
fn rebuild(batch: &Batch, compression: Compression) -> SealedBatch {
    let mut builder = BatchBuilder::new(0, batch.bytes().len());
    let mut cursor = batch.cursor(LIMIT).unwrap();
    for record in cursor.records().map(Result::unwrap) {
        let headers: Vec<Header<'_>> = record.headers.map(Result::unwrap).collect();
        builder.append(record.timestamp, record.key, record.value, &headers).unwrap();
    }
    builder.seal(compression).unwrap()
}

/// What the batches hold, in the form that `Golden.java` lists it in.
fn listing(log: Bytes) -> String {
    let mut out = String::new();
    let mut batches = Batches::new(log);
    for batch in batches.by_ref().map(Result::unwrap) {
        batch.verify_crc().unwrap();
        writeln!(out, "{}", head(&batch)).unwrap();
        let mut cursor = batch.cursor(LIMIT).unwrap();
        for record in cursor.records().map(Result::unwrap) {
            write!(out, "record\t{}\t{}", record.offset, record.timestamp).unwrap();
            write!(out, "\t{}\t{}", text(record.key), text(record.value)).unwrap();
            for (name, value) in record.headers.map(Result::unwrap) {
                write!(out, "\t{}\t{}", text(Some(name.as_bytes())), text(value)).unwrap();
            }
            out.push('\n');
        }
    }
    assert_eq!(batches.remaining(), 0);
    out
}

/// The line of a batch, or of a message that is older than batches.
fn head(batch: &Batch) -> String {
    let header = batch.header();
    let (magic, codec) = (batch.bytes()[16], header.attributes.codec().unwrap().to_string());
    let timestamps = match header.attributes.timestamp_type() {
        TimestampType::Create if magic == 0 => "NoTimestampType",
        TimestampType::Create => "CreateTime",
        TimestampType::LogAppend => "LogAppendTime",
    };
    let (last_offset, max_timestamp) = (header.last_offset().to_string(), header.max_timestamp.to_string());
    if magic < 2 {
        let timestamps = timestamps.to_owned();
        return ["message".to_owned(), magic.to_string(), last_offset, codec, timestamps, max_timestamp]
            .join("\t");
    }
    let fields = [
        "batch".to_owned(),
        header.base_offset.to_string(),
        last_offset,
        codec,
        timestamps.to_owned(),
        header.base_timestamp.to_string(),
        max_timestamp,
        header.leader_epoch.to_string(),
        header.producer_id.to_string(),
        header.producer_epoch.to_string(),
        header.base_sequence.to_string(),
        header.attributes.is_transactional().to_string(),
        header.attributes.is_control().to_string(),
        header.attributes.has_delete_horizon().to_string(),
        header.count.to_string(),
    ];
    fields.join("\t")
}

fn text(bytes: Option<&[u8]>) -> String {
    match bytes {
        None => "null".to_owned(),
        Some(bytes) if bytes.len() <= 64 => {
            bytes.iter().fold("=".to_owned(), |text, byte| format!("{text}{byte:02x}"))
        }
        Some(bytes) => format!("#{}:{:08x}", bytes.len(), crc32c::crc32c(bytes)),
    }
}
