//! Records, one way and the other.

use std::collections::BTreeSet;

use milena::{Client, Compression, Position, Record};
use protocol_tests::foreign::Line;
use protocol_tests::suite::take;
use serde_json::{Value, json};

use crate::Pair;

const CODECS: [(&str, Compression); 5] = [
    ("none", Compression::None),
    ("gzip", Compression::gzip(6)),
    ("snappy", Compression::Snappy),
    ("lz4", Compression::Lz4),
    ("zstd", Compression::zstd(3)),
];

const SENT_AT: i64 = 1_234_567_890_123;
/// Of each codec, in each direction.
const MANY: i64 = 2_000;

/// For every codec: what one writes, the other reads, to the last byte.
pub(crate) async fn every_record_arrives_as_it_was_written(pair: &mut Pair) {
    for (number, (name, codec)) in (0..).zip(CODECS) {
        let mut written = specimens(&format!("by-other-{name}"));
        // The last, since milena has no way to write it.
        written.push(Line {
            offset: i64::try_from(written.len()).unwrap(),
            key: None,
            value: None,
            ..written[0].clone()
        });
        let topic = written[0].topic.clone();
        pair.create(&topic, 1).await;
        pair.other.ask(&["produce", name], &written).unwrap();
        assert_codec(pair, &topic, number);
        let reader =
            pair.milena.reader().topics([topic.as_str()]).start_at(Position::Earliest).build().unwrap();
        assert_same(&lines(&take(&reader, written.len()).await), &written);

        let written = specimens(&format!("by-milena-{name}"));
        let topic = written[0].topic.clone();
        pair.create(&topic, 1).await;
        write(&pair.milena, codec, &written).await;
        assert_codec(pair, &topic, number);
        let count = written.len().to_string();
        assert_same(&pair.other.read(&["read", &topic, "0", &count]).unwrap(), &written);
    }
}

/// The batches at the beginning of the topic have this codec, but for those that it would make larger.
fn assert_codec(pair: &Pair, topic: &str, number: u64) {
    let partition = json!({ "Partition": 0, "FetchOffset": 0, "PartitionMaxBytes": 1 << 20 });
    let body = json!({
        "ReplicaId": -1,
        "MaxBytes": 1 << 20,
        "Topics": [{ "Topic": topic, "Partitions": [partition] }],
    });
    let answer = pair.ask_raw("Fetch", 4, &body);
    let batches = answer.pointer("/Responses/0/Partitions/0/Records").and_then(Value::as_array).unwrap();
    let attributes = batches.iter().filter_map(|batch| batch["Attributes"].as_u64());
    let codecs: BTreeSet<u64> = attributes.map(|attributes| attributes & 7).collect();
    assert!(codecs.contains(&number), "{topic} has {codecs:?}");
    assert!(codecs.iter().all(|codec| [0, number].contains(codec)), "{topic} has {codecs:?}");
}

/// All that a record can be, and many of them.
fn specimens(topic: &str) -> Vec<Line> {
    let bytes = |text: &str| Some(text.as_bytes().to_vec());
    let noise: Vec<u8> = (0..100_000_u32).map(|n| (n.wrapping_mul(n ^ 0x9e37_79b9) >> 11) as u8).collect();
    let headers =
        [("a", bytes("1")), ("a", bytes("")), ("", bytes("nameless")), ("b", None), ("a", bytes("\u{fc}"))];
    let record = |key, value, timestamp| Line {
        topic: topic.to_owned(),
        partition: 0,
        offset: 0,
        timestamp,
        key,
        value,
        headers: Vec::new(),
    };
    let mut all = vec![
        Line {
            headers: headers.map(|(key, value)| (key.to_owned(), value)).to_vec(),
            ..record(bytes("key"), bytes("value"), SENT_AT)
        },
        record(bytes(""), bytes(""), SENT_AT + 1),
        record(None, bytes("keyless"), SENT_AT - 1),
        record(bytes("gone"), None, 1),
        record(None, Some(noise), SENT_AT),
        record(bytes("dull"), bytes(&"repeats ".repeat(10_000)), SENT_AT),
    ];
    all.extend(
        (0..MANY).map(|number| record(bytes(&number.to_string()), bytes("one of many"), SENT_AT + number)),
    );
    for (line, offset) in all.iter_mut().zip(0..) {
        line.offset = offset;
    }
    all
}

/// Writes the records with milena; each must get its offset.
pub(crate) async fn write(client: &Client, codec: Compression, records: &[Line]) {
    let producer = client.producer().compression(codec).build().unwrap();
    let mut deliveries = Vec::new();
    for line in records {
        let headers: Vec<_> =
            line.headers.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
        let (key, value) = (line.key.as_deref(), line.value.as_deref());
        let record = match (key, value) {
            (Some(key), Some(value)) => Record::new(&line.topic, value).key(key),
            (None, Some(value)) => Record::new(&line.topic, value),
            (Some(key), None) => Record::tombstone(&line.topic, key),
            (None, None) => panic!("milena has no way to say this"),
        };
        let record = record.partition(line.partition).timestamp(line.timestamp).headers(&headers);
        deliveries.push(producer.enqueue(record).await.unwrap());
    }
    for (delivery, line) in deliveries.into_iter().zip(records) {
        assert_eq!(delivery.await.unwrap().offset.unwrap().0, line.offset, "{line:?}");
    }
    producer.close().await.unwrap();
}

pub(crate) fn lines(messages: &[milena::Message]) -> Vec<Line> {
    messages.iter().map(Line::from).collect()
}

/// Without a screenful of bytes where they differ.
pub(crate) fn assert_same(read: &[Line], written: &[Line]) {
    for (read, written) in read.iter().zip(written) {
        assert!(read == written, "{read:?} was written as {written:?}");
    }
    assert_eq!(read.len(), written.len());
}
