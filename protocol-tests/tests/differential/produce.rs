//! Produce: what is checked before a batch is written.

use milena::doors::compress_into;
use protocol_tests::raw::{Batch, Compress, Talk, hex};
use serde_json::json;

use crate::kit::{PRODUCED, Script, fetch_body, produce, produce_body, topic};

pub(crate) const SCRIPT: Script = Script { name: "produce", run, allowed: &[] };
const NAME: &str = "produce";

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    compressed(1, bytes)
}

fn compressed(codec: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    compress_into(codec, bytes, &mut out);
    out
}

fn run(talk: &mut Talk) {
    let id = topic(talk, NAME, 1, &[]);
    let good = Batch::of(&["a", "b"]);
    for version in 3..=13 {
        for acks in [-1, 1] {
            let body = produce_body(NAME, &id, &good.hex(), acks);
            talk.ask(&format!("acks {acks}, v{version}"), "Produce", version, body);
            talk.expect(&format!("{PRODUCED}/ErrorCode"), 0);
        }
        talk.ask(&format!("acks 2, v{version}"), "Produce", version, produce_body(NAME, &id, &good.hex(), 2));
    }
    acks_zero(talk, &id);
    nowhere(talk, &id);
    codecs(talk, &id);
    for (step, batch) in malformed() {
        produce(talk, step, &id, &batch);
    }
    bytes(talk, &id);
    timestamps(talk);
    sizes(talk);
    keys(talk);
    append_time(talk);
    replicas(talk);
    several(talk, &id);
    talk.ask("what was written", "Fetch", 17, fetch_body(NAME, &id, 0));
}

fn acks_zero(talk: &mut Talk, id: &str) {
    talk.tell("zero", "Produce", 13, &produce_body(NAME, id, &Batch::of(&["quiet"]).hex(), 0));
    talk.ask_over("zero", "the connection goes on", "Fetch", 17, fetch_body(NAME, id, 40));
    talk.tell("zero", "Produce", 13, &produce_body(NAME, &"12".repeat(16), &Batch::of(&["x"]).hex(), 0));
    talk.receive("zero", "an error without answer", "acks 0 to nowhere");
    talk.expect_closed();
}

fn nowhere(talk: &mut Talk, id: &str) {
    let records = Batch::of(&["a"]).hex();
    for version in [3, 8, 12, 13] {
        let mut body = produce_body(NAME, id, &records, -1);
        body["TopicData"][0]["PartitionData"][0]["Index"] = json!(4);
        talk.ask(&format!("no such partition, v{version}"), "Produce", version, body);
        let none = produce_body("produce-none", &"12".repeat(16), &records, -1);
        talk.ask(&format!("no such topic, v{version}"), "Produce", version, none);
        let illegal = produce_body("not/legal", &"00".repeat(16), &records, -1);
        talk.ask(&format!("a topic that cannot be, v{version}"), "Produce", version, illegal);
        let empty = json!({ "Acks": -1, "TimeoutMs": 1000, "TopicData": [] });
        talk.ask(&format!("nothing, v{version}"), "Produce", version, empty);
    }
}

fn codecs(talk: &mut Talk, id: &str) {
    const CODECS: [(i16, &str, Compress); 4] = [
        (1, "gzip", gzip),
        (2, "snappy", |bytes| compressed(2, bytes)),
        (3, "lz4", |bytes| compressed(3, bytes)),
        (4, "zstd", |bytes| compressed(4, bytes)),
    ];
    for (attributes, name, compress) in CODECS {
        let batch = Batch { attributes, compress: Some(compress), ..Batch::of(&["a", "b"]) };
        for version in [3, 6, 7, 13] {
            talk.ask(
                &format!("{name}, v{version}"),
                "Produce",
                version,
                produce_body(NAME, id, &batch.hex(), -1),
            );
        }
        let garbage: Compress = |_| b"this is no compressed data".to_vec();
        produce(talk, &format!("{name} that is none"), id, &Batch { compress: Some(garbage), ..batch });
    }
    let unknown = Batch { attributes: 6, ..Batch::of(&["a"]) };
    produce(talk, "a codec that nobody knows", id, &unknown);
}

fn malformed() -> Vec<(&'static str, Batch)> {
    let good = Batch::of(&["a", "b"]);
    vec![
        ("no magic 1", Batch { magic: 1, ..good.clone() }),
        ("no magic 0", Batch { magic: 0, ..good.clone() }),
        ("no magic 3", Batch { magic: 3, ..good.clone() }),
        ("no magic -1", Batch { magic: -1, ..good.clone() }),
        ("a base offset", Batch { base_offset: 5, ..good.clone() }),
        ("a control batch", Batch { attributes: 0x20, ..good.clone() }),
        ("a transactional batch", Batch { attributes: 0x10, ..good.clone() }.by(9, 0, 0)),
        ("more records announced", Batch { extra_count: 1, ..good.clone() }),
        ("fewer records announced", Batch { extra_count: -1, ..good.clone() }),
        ("no records", Batch { records: Vec::new(), ..good.clone() }),
        ("a producer without sequence", good.clone().by(9, 0, -1)),
        ("a producer without epoch", good.clone().by(9, -1, 0)),
        ("a sequence without producer", good.clone().by(-1, 0, 3)),
        ("a producer below none", good.clone().by(-2, 0, 0)),
        ("log append time", Batch { attributes: 8, ..good.clone() }),
        ("a largest time that is not", Batch { max_timestamp: Some(5), ..good.clone() }),
        ("a largest time in the future", Batch { max_timestamp: Some(i64::MAX), ..good.clone() }),
        ("no key", Batch { records: vec![(None, b"v".to_vec())], ..good }),
    ]
}

/// What is wrong with one partition is, or is not, the others' trouble.
fn several(talk: &mut Talk, id: &str) {
    let good = Batch::of(&["a", "b"]);
    let mut crc = good.bytes();
    crc[17] ^= 1;
    let mut tiny = good.bytes();
    tiny[11] = 10;
    let transactional = Batch { attributes: 0x10, ..good.clone() }.by(9, 0, 0);
    for (step, other) in [
        ("a good and a damaged partition", hex(&crc)),
        ("a good partition and bytes that are none", hex(&tiny)),
        ("a good partition and one without bytes", String::new()),
        ("a good partition and one of a transaction", transactional.hex()),
    ] {
        let partitions = json!([{ "Index": 0, "Records": good.hex() }, { "Index": 0, "Records": other }]);
        for version in [8, 13] {
            let topics = json!([
                { "Name": NAME, "TopicId": id, "PartitionData": [partitions[0]] },
                { "Name": "produce-open", "TopicId": open_id(talk), "PartitionData": [partitions[1]] },
            ]);
            let body = json!({ "Acks": -1, "TimeoutMs": 1000, "TopicData": topics });
            talk.ask(&format!("{step}, v{version}"), "Produce", version, body);
        }
    }
}

fn open_id(talk: &mut Talk) -> String {
    let wanted = json!({ "Topics": [{ "Name": "produce-open" }], "AllowAutoTopicCreation": false });
    let answer = talk.quietly("Metadata", 12, wanted);
    answer["Topics"][0]["TopicId"].as_str().unwrap_or_default().to_owned()
}

/// Bytes that are no batch. Over null, Kafka fails and never answers, so that is not asked.
fn bytes(talk: &mut Talk, id: &str) {
    let good = Batch::of(&["a", "b"]).bytes();
    let two = [good.clone(), good.clone()].concat();
    let mut short = good.clone();
    short[11] -= 1;
    let mut tiny = good.clone();
    tiny[11] = 10;
    let mut negative = good.clone();
    negative[8] = 0xff;
    let mut record = good.clone();
    // The length of the first record.
    record[61] = 0x7e;
    let crc = crc32c::crc32c(&record[21..]).to_be_bytes();
    record[17..21].copy_from_slice(&crc);
    let mut trailing = good.clone();
    trailing.extend([0; 7]);
    for (step, records) in [
        ("two batches", &two[..]),
        ("a batch cut off", &good[..good.len() - 3]),
        ("a length one too small", &short),
        ("a length less than a header", &tiny),
        ("a negative length", &negative),
        ("a record longer than its batch", &record),
        ("bytes behind the batch", &trailing),
        ("a header cut off", &good[..30]),
        ("less than a length", &good[..10]),
        ("no bytes", &[]),
    ] {
        talk.ask(step, "Produce", 13, produce_body(NAME, id, &hex(records), -1));
    }
}

/// A record's time may not be more than an hour in the future; the past is open.
fn timestamps(talk: &mut Talk) {
    let id = topic(talk, "produce-times", 1, &[("message.timestamp.before.max.ms", "1000000")]);
    let future = Batch { timestamp: 4_000_000_000_000, ..Batch::of(&["a", "b"]) };
    produce(talk, "far in the future", &id, &future);
    produce(talk, "older than the topic allows", &id, &Batch::of(&["a", "b"]));
    let open = topic(talk, "produce-open", 1, &[]);
    produce(talk, "the future is closed", &open, &future);
    for version in [3, 5, 8, 12] {
        let body = produce_body("produce-open", &open, &future.hex(), -1);
        talk.ask(&format!("in the future, v{version}"), "Produce", version, body);
    }
    for timestamp in [0, -1, -2] {
        produce(talk, &format!("time {timestamp}"), &open, &Batch { timestamp, ..Batch::of(&["a"]) });
    }
    let wide = topic(talk, "produce-wide", 1, &[("message.timestamp.after.max.ms", "9000000000000")]);
    produce(talk, "a future that the topic allows", &wide, &future);
}

fn sizes(talk: &mut Talk) {
    let id = topic(talk, "produce-small", 1, &[("max.message.bytes", "200")]);
    let large = "x".repeat(200);
    for version in [3, 8, 13] {
        let body = produce_body("produce-small", &id, &Batch::of(&[&large]).hex(), -1);
        talk.ask(&format!("larger than the topic takes, v{version}"), "Produce", version, body);
    }
    produce(talk, "as large as it takes", &id, &Batch::of(&["x"]));
    let exact = "x".repeat(200 - Batch::of(&[""]).bytes().len() - 2);
    let batch = Batch::of(&[&exact]);
    produce(talk, &format!("exactly {} bytes", batch.bytes().len()), &id, &batch);
    let squeezed = Batch { attributes: 1, compress: Some(gzip), ..Batch::of(&[&large]) };
    produce(talk, "small when compressed", &id, &squeezed);
}

fn keys(talk: &mut Talk) {
    let id = topic(talk, "produce-compact", 1, &[("cleanup.policy", "compact")]);
    produce(talk, "with keys", &id, &Batch::of(&["a", "b"]));
    let mut batch = Batch::of(&["a", "b", "c"]);
    batch.records[1].0 = None;
    batch.records[2].0 = None;
    for version in [3, 8, 13] {
        let body = produce_body("produce-compact", &id, &batch.hex(), -1);
        talk.ask(&format!("records without key, v{version}"), "Produce", version, body);
    }
}

/// With acks -1 a topic has to have the replicas that it wants.
fn replicas(talk: &mut Talk) {
    let id = topic(talk, "produce-replicas", 1, &[("min.insync.replicas", "2")]);
    for acks in [-1, 1] {
        let body = produce_body("produce-replicas", &id, &Batch::of(&["a"]).hex(), acks);
        talk.ask(&format!("fewer replicas than wanted, acks {acks}"), "Produce", 13, body);
    }
}

fn append_time(talk: &mut Talk) {
    let id = topic(talk, "produce-append-time", 1, &[("message.timestamp.type", "LogAppendTime")]);
    for version in [3, 8, 13] {
        let body = produce_body("produce-append-time", &id, &Batch::of(&["a", "b"]).by(5, 0, 0).hex(), -1);
        talk.ask(&format!("the broker's time, v{version}"), "Produce", version, body);
    }
    let squeezed = Batch { attributes: 1, compress: Some(gzip), ..Batch::of(&["a", "b"]) };
    produce(talk, "the broker's time, compressed", &id, &squeezed);
    produce(
        talk,
        "its time is the broker's",
        &id,
        &Batch { timestamp: 4_000_000_000_000, ..Batch::of(&["a"]) },
    );
    talk.ask("records with the broker's time", "Fetch", 17, fetch_body("produce-append-time", &id, 0));
}
