//! Fetch without sessions: how much comes, from where, and what is refused.

use protocol_tests::raw::{Batch, Talk};
use serde_json::{Value, json};

use crate::kit::{Script, fetch_body, fill, topic, with};

pub(crate) const SCRIPT: Script = Script { name: "fetch", run, allowed: &[] };
const NAME: &str = "fetch";

fn run(talk: &mut Talk) {
    let id = topic(talk, NAME, 2, &[]);
    let body = |offset: i64| fetch_body(NAME, &id, offset);
    for version in [4, 12, 13, 18] {
        talk.ask(&format!("an empty log, v{version}"), "Fetch", version, body(0));
    }
    for values in [&["a", "b"][..], &["c"], &["d", "e", "f"]] {
        fill(talk, &id, values);
    }
    for version in 4..=18 {
        for offset in [0, 1, 2, 5, 6, 7, -1] {
            talk.ask(&format!("from {offset}, v{version}"), "Fetch", version, body(offset));
        }
    }
    how_much(talk, &body(0));
    epochs(talk, &body(0));
    nowhere(talk, &body(0));
    several(talk, &id);
    for version in [4, 11, 12] {
        talk.ask(&format!("committed, v{version}"), "Fetch", version, with(body(0), "/IsolationLevel", 1));
    }
}

fn how_much(talk: &mut Talk, body: &Value) {
    const PARTITION: &str = "/Topics/0/Partitions/0/PartitionMaxBytes";
    for version in [4, 13] {
        for max in [0, 1, 40, 100, 160, 200] {
            let step = format!("a partition's {max} bytes, v{version}");
            talk.ask(&step, "Fetch", version, with(body.clone(), PARTITION, max));
            let step = format!("all in all {max} bytes, v{version}");
            talk.ask(&step, "Fetch", version, with(body.clone(), "/MaxBytes", max));
        }
        let wait = with(with(body.clone(), "/MinBytes", 1_000_000), "/MaxWaitMs", 10);
        talk.ask(&format!("more than there is, v{version}"), "Fetch", version, wait);
        let wait = with(with(body.clone(), "/MinBytes", 1), "/MaxWaitMs", 10_000);
        talk.ask(&format!("at least a byte, v{version}"), "Fetch", version, wait);
        for field in ["/MinBytes", "/MaxWaitMs", "/MaxBytes", PARTITION] {
            talk.ask(&format!("{field} -1, v{version}"), "Fetch", version, with(body.clone(), field, -1));
        }
    }
    // A reader that waits is woken by a write.
    let at_end = with(body.clone(), "/Topics/0/Partitions/0/FetchOffset", 6);
    let waits = with(with(at_end, "/MinBytes", 1), "/MaxWaitMs", 15_000);
    talk.send("reader", "Fetch", 17, &waits);
    let id = body["Topics"][0]["TopicId"].as_str().unwrap_or_default().to_owned();
    fill(talk, &id, &["news"]);
    talk.receive("reader", "woken", &waits.to_string());
}

fn epochs(talk: &mut Talk, body: &Value) {
    for version in [9, 12, 17] {
        for epoch in [0, 1, 5] {
            let step = format!("leader epoch {epoch}, v{version}");
            let asked = with(body.clone(), "/Topics/0/Partitions/0/CurrentLeaderEpoch", epoch);
            talk.ask(&step, "Fetch", version, asked);
        }
    }
    for (offset, last) in [(0, 0), (2, 0), (7, 0), (2, 1), (9, 0), (9, 3)] {
        let mut asked = with(body.clone(), "/Topics/0/Partitions/0/FetchOffset", offset);
        asked["Topics"][0]["Partitions"][0]["LastFetchedEpoch"] = json!(last);
        talk.ask(&format!("at {offset} after epoch {last}"), "Fetch", 12, asked);
    }
}

fn nowhere(talk: &mut Talk, body: &Value) {
    for version in [4, 11, 12, 13, 17] {
        let asked = with(body.clone(), "/Topics/0/Partitions/0/Partition", 7);
        talk.ask(&format!("no such partition, v{version}"), "Fetch", version, asked);
        let mut asked = with(body.clone(), "/Topics/0/Topic", "fetch-none");
        asked["Topics"][0]["TopicId"] = json!("12".repeat(16));
        talk.ask(&format!("no such topic, v{version}"), "Fetch", version, asked);
        let mut asked = with(body.clone(), "/Topics/0/Topic", "not/legal");
        asked["Topics"][0]["TopicId"] = json!("00".repeat(16));
        talk.ask(&format!("a topic that cannot be, v{version}"), "Fetch", version, asked);
        talk.ask(&format!("nothing, v{version}"), "Fetch", version, with(body.clone(), "/Topics", json!([])));
    }
    let cluster = json!({ "ClusterId": "another" });
    let mut asked = body.clone();
    asked["ClusterId"] = cluster["ClusterId"].clone();
    talk.ask("another cluster", "Fetch", 12, asked);
}

/// Two partitions share the limit; the first that has data gives a whole batch.
fn several(talk: &mut Talk, id: &str) {
    let second = json!({ "Index": 1, "Records": Batch::of(&["x", "y"]).hex() });
    let topic = json!({ "TopicId": id, "PartitionData": [second] });
    talk.quietly("Produce", 13, json!({ "Acks": -1, "TimeoutMs": 1000, "TopicData": [topic] }));
    let partition = |index: i32, offset: i64| json!({ "Partition": index, "FetchOffset": offset, "PartitionMaxBytes": 1 << 20 });
    for (step, partitions) in [
        ("both", [partition(0, 0), partition(1, 0)]),
        ("the other first", [partition(1, 0), partition(0, 0)]),
        ("one at its end", [partition(0, 7), partition(1, 0)]),
        ("one out of range", [partition(0, 99), partition(1, 0)]),
    ] {
        for max in [1, 100, 1 << 20] {
            let asked = with(fetch_body(NAME, id, 0), "/Topics/0/Partitions", json!(partitions));
            talk.ask(&format!("{step}, {max}"), "Fetch", 17, with(asked, "/MaxBytes", max));
        }
    }
}
