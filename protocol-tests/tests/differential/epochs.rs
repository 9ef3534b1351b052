//! OffsetForLeaderEpoch.

use protocol_tests::raw::Talk;
use serde_json::{Value, json};

use crate::kit::{Script, must_be_written, produce_body, topic};

pub(crate) const SCRIPT: Script = Script { name: "epochs", run, allowed: &[] };

fn ask(
    talk: &mut Talk,
    step: &str,
    version: i16,
    topic: &str,
    partition: i32,
    current: i32,
    epoch: i32,
) -> Value {
    let partition = json!({ "Partition": partition, "CurrentLeaderEpoch": current, "LeaderEpoch": epoch });
    let topic = json!({ "Topic": topic, "Partitions": [partition] });
    talk.ask(
        &format!("{step}, v{version}"),
        "OffsetForLeaderEpoch",
        version,
        json!({ "ReplicaId": -1, "Topics": [topic] }),
    )
}

fn run(talk: &mut Talk) {
    topic(talk, "epochs", 1, &[]);
    ask(talk, "an empty log", 4, "epochs", 0, -1, 0);
    let mut body = produce_body("epochs", "", &protocol_tests::raw::Batch::of(&["a", "b"]).hex(), -1);
    body["TopicData"][0]["TopicId"] = json!("00".repeat(16));
    let answer = talk.quietly("Produce", 11, body);
    must_be_written(talk, &answer);
    for version in 2..=4 {
        for epoch in [-1, 0, 1, 5] {
            ask(talk, &format!("epoch {epoch}"), version, "epochs", 0, -1, epoch);
            ask(talk, &format!("current epoch {epoch}"), version, "epochs", 0, epoch, 0);
        }
        ask(talk, "no such partition", version, "epochs", 5, -1, 0);
        ask(talk, "no such topic", version, "epochs-none", 0, -1, 0);
    }
}
