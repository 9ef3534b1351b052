//! ListOffsets: the ends of a log, and offsets by time.

use protocol_tests::raw::{Batch, Talk};
use serde_json::{Value, json};

use crate::kit::{Script, produce, topic};

pub(crate) const SCRIPT: Script = Script { name: "list_offsets", run, allowed: &[] };
const NAME: &str = "list-offsets";

fn ask(
    talk: &mut Talk,
    step: &str,
    version: i16,
    topic: &str,
    partition: i32,
    time: i64,
    epoch: i32,
) -> Value {
    let partition = json!({ "PartitionIndex": partition, "CurrentLeaderEpoch": epoch, "Timestamp": time });
    let topic = json!({ "Name": topic, "Partitions": [partition] });
    talk.ask(
        &format!("{step}, v{version}"),
        "ListOffsets",
        version,
        json!({ "ReplicaId": -1, "Topics": [topic] }),
    )
}

fn run(talk: &mut Talk) {
    let id = topic(talk, NAME, 2, &[]);
    for time in [-1, -2, -3, 0, Batch::TIME] {
        ask(talk, &format!("an empty log at {time}"), 8, NAME, 0, time, -1);
    }
    for (step, timestamp) in
        [("first", 0), ("second, earlier", -5_000), ("third, latest", 10_000), ("fourth", 5_000)]
    {
        let mut batch = Batch::of(&["a", "b", "c"]);
        batch.timestamp += timestamp;
        produce(talk, step, &id, &batch);
    }
    for version in 1..=11 {
        for (step, time) in [("latest", -1), ("earliest", -2)] {
            ask(talk, step, version, NAME, 0, time, -1);
        }
        for delta in [-10_000, -4_999, 0, 1, 2, 3, 5_001, 10_002, 10_003] {
            ask(talk, &format!("at {delta}"), version, NAME, 0, Batch::TIME + delta, -1);
        }
        for special in -7..=-3 {
            ask(talk, &format!("special {special}"), version, NAME, 0, special, -1);
        }
        if version >= 4 {
            for epoch in [0, 1, 7] {
                ask(talk, &format!("epoch {epoch}"), version, NAME, 0, -1, epoch);
            }
        }
        ask(talk, "no such partition", version, NAME, 2, -1, -1);
        ask(talk, "no such topic", version, "list-offsets-none", 0, -1, -1);
        ask(talk, "a topic that is not legal", version, "not/legal", 0, -1, -1);
    }
    let partition = |index: i32, time: i64| json!({ "PartitionIndex": index, "CurrentLeaderEpoch": -1, "Timestamp": time });
    let twice =
        json!([{ "Name": NAME, "Partitions": [partition(0, -1), partition(0, -2), partition(1, -1)] }]);
    talk.ask("a partition twice", "ListOffsets", 7, json!({ "ReplicaId": -1, "Topics": twice }));
    let committed = json!([{ "Name": NAME, "Partitions": [partition(0, -1)] }]);
    talk.ask(
        "committed",
        "ListOffsets",
        7,
        json!({ "ReplicaId": -1, "IsolationLevel": 1, "Topics": committed }),
    );
    ties_and_compression(talk);
}

/// The first of several records with the same time is found, in compressed batches too.
fn ties_and_compression(talk: &mut Talk) {
    let id = topic(talk, "list-offsets-ties", 1, &[]);
    let plain = Batch::of(&["a", "b", "c"]);
    for _ in 0..2 {
        produce(talk, "the same times", &id, &plain);
    }
    let mut gzip = plain;
    gzip.attributes = 1;
    gzip.timestamp += 2;
    gzip.compress = Some(crate::produce::gzip);
    produce(talk, "compressed", &id, &gzip);
    for delta in [0, 2, 3, 4] {
        ask(talk, &format!("tied at {delta}"), 9, "list-offsets-ties", 0, Batch::TIME + delta, -1);
    }
    ask(talk, "the largest time", 9, "list-offsets-ties", 0, -3, -1);
}
