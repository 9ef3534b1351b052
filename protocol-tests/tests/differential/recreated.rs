//! A topic is deleted and made again under its name: what still knows the old one is told so.

use protocol_tests::raw::{Batch, Talk};
use serde_json::{Value, json};

use crate::kit::{FETCHED, PRODUCED, Script, delete_topic, fetch_body, fill, produce, topic, with};

pub(crate) const SCRIPT: Script = Script { name: "recreated", run, allowed: &[] };
const NAME: &str = "recreated";

fn run(talk: &mut Talk) {
    let old = topic(talk, NAME, 1, &[]);
    fill(talk, &old, &["a", "b"]);
    commit(talk, "commit", &old, 0);
    let begin = with(fetch_body(NAME, &old, 0), "/SessionEpoch", 0);
    let begun = talk.ask("begin a session", "Fetch", 17, begin);
    let session = begun["SessionId"].clone();
    delete_topic(talk, NAME);

    produce(talk, "produce to what is gone", &old, &Batch::of(&["c"]));
    talk.expect(&format!("{PRODUCED}/ErrorCode"), 100);
    let go_on = |epoch: i32| {
        let go_on = with(fetch_body(NAME, &old, 2), "/SessionId", session.clone());
        with(go_on, "/SessionEpoch", epoch)
    };
    talk.ask("the session, of what is gone", "Fetch", 17, go_on(1));
    let new = topic(talk, NAME, 1, &[]);
    produce(talk, "produce to the old id", &old, &Batch::of(&["c"]));
    talk.expect(&format!("{PRODUCED}/ErrorCode"), 100);
    commit(talk, "commit to the old id", &old, 100);
    for epoch in 2..4 {
        talk.ask("the old id in the live session", "Fetch", 17, go_on(epoch));
        talk.expect(&format!("{FETCHED}/ErrorCode"), 103);
    }
    let nothing_named = with(go_on(4), "/Topics", json!([]));
    talk.ask("the session goes on by itself", "Fetch", 17, nothing_named);
    talk.ask("the old id without session", "Fetch", 17, fetch_body(NAME, &old, 2));
    talk.expect(&format!("{FETCHED}/ErrorCode"), 100);
    talk.ask("the new id at the old position", "Fetch", 17, fetch_body(NAME, &new, 2));
    talk.expect(&format!("{FETCHED}/ErrorCode"), 1);
    talk.ask("a wrong session epoch", "Fetch", 17, go_on(9));
    talk.expect("/ErrorCode", 71);
    talk.ask("no such session", "Fetch", 17, with(go_on(1), "/SessionId", 1));
    talk.expect("/ErrorCode", 70);
    let fetched = json!({ "GroupId": NAME, "Topics": [{ "TopicId": new, "PartitionIndexes": [0] }] });
    talk.ask("what was committed is gone", "OffsetFetch", 10, json!({ "Groups": [fetched] }));
    talk.expect("/Groups/0/Topics/0/Partitions/0/CommittedOffset", -1);
    commit(talk, "commit to the new id", &new, 0);
}

fn commit(talk: &mut Talk, step: &str, id: &str, code: i16) -> Value {
    let partition = json!({ "PartitionIndex": 0, "CommittedOffset": 2 });
    let topic = json!({ "TopicId": id, "Partitions": [partition] });
    let answer = talk.ask(
        step,
        "OffsetCommit",
        10,
        json!({
            "GroupId": NAME,
            "GenerationIdOrMemberEpoch": -1,
            "MemberId": "",
            "Topics": [topic],
        }),
    );
    talk.expect("/Topics/0/Partitions/0/ErrorCode", code);
    answer
}
