//! Fetch sessions (KIP-227): full, incremental, forgotten.

use protocol_tests::raw::Talk;
use serde_json::{Value, json};

use crate::kit::{Script, must_be_written, produce_body, topic};

pub(crate) const SCRIPT: Script = Script { name: "sessions", run, allowed: &[] };
/// Fetch and Produce of these versions are what Kafka 3.9 has too.
const FETCH: i16 = 16;
const PRODUCE: i16 = 11;
const NAME: &str = "sessions";

fn run(talk: &mut Talk) {
    for (version, name) in [(7, "sessions-by-name"), (11, "sessions-by-name-11"), (FETCH, NAME)] {
        conversation(talk, version, name);
    }
    endings(talk);
}

fn wanted(name: &str, id: &str, partitions: &[(i32, i64)]) -> Value {
    let partitions = partitions.iter().map(|(index, offset)| {
        json!({
            "Partition": index,
            "CurrentLeaderEpoch": -1,
            "FetchOffset": offset,
            "LogStartOffset": -1,
            "PartitionMaxBytes": 1 << 20,
        })
    });
    json!([{ "Topic": name, "TopicId": id, "Partitions": partitions.collect::<Vec<_>>() }])
}

fn body(session: &Value, epoch: i32, topics: Value, forgotten: Value) -> Value {
    json!({
        "ReplicaId": -1,
        "MaxWaitMs": 0,
        "MinBytes": 0,
        "MaxBytes": 50 << 20,
        "SessionId": session,
        "SessionEpoch": epoch,
        "Topics": topics,
        "ForgottenTopicsData": forgotten,
    })
}

fn write(talk: &mut Talk, name: &str, partition: i32, value: &str) {
    let records = protocol_tests::raw::Batch::of(&[value]).hex();
    let mut body = produce_body(name, "", &records, -1);
    body["TopicData"][0]["PartitionData"][0]["Index"] = json!(partition);
    body["TopicData"][0]["TopicId"] = json!("00".repeat(16));
    let answer = talk.quietly("Produce", PRODUCE, body);
    must_be_written(talk, &answer);
}

fn conversation(talk: &mut Talk, version: i16, name: &str) {
    let id = topic(talk, name, 3, &[]);
    write(talk, name, 0, "a");
    let none = json!([]);
    let all = wanted(name, &id, &[(0, 0), (1, 0), (2, 0)]);
    let step = |what: &str| format!("{what}, v{version}");
    let full = talk.ask(&step("full"), "Fetch", version, body(&json!(0), 0, all, none.clone()));
    let session = full["SessionId"].clone();
    let mut epoch = 0;
    let mut go_on = |talk: &mut Talk, what: &str, topics: Value, forgotten: Value| {
        epoch += 1;
        talk.ask(&format!("{what}, v{version}"), "Fetch", version, body(&session, epoch, topics, forgotten));
    };
    go_on(talk, "what was not taken comes again", none.clone(), none.clone());
    go_on(talk, "moved on", wanted(name, &id, &[(0, 1)]), none.clone());
    go_on(talk, "nothing new", none.clone(), none.clone());
    write(talk, name, 1, "b");
    go_on(talk, "news of one partition", none.clone(), none.clone());
    go_on(talk, "an offset out of range", wanted(name, &id, &[(2, 9)]), none.clone());
    go_on(talk, "errors come again", none.clone(), none.clone());
    go_on(talk, "back in range", wanted(name, &id, &[(2, 0)]), none.clone());
    let forgotten = json!([{ "Topic": name, "TopicId": id, "Partitions": [1] }]);
    go_on(talk, "one is forgotten", none.clone(), forgotten.clone());
    write(talk, name, 1, "c");
    go_on(talk, "and stays so", none.clone(), none.clone());
    go_on(talk, "forgotten once more", none.clone(), forgotten);
    go_on(talk, "named again", wanted(name, &id, &[(1, 0)]), none.clone());
    go_on(talk, "no such partition", wanted(name, &id, &[(7, 0)]), none.clone());
    go_on(talk, "still none", none.clone(), none.clone());
    talk.ask(
        &step("a session epoch behind"),
        "Fetch",
        version,
        body(&session, 1, none.clone(), none.clone()),
    );
    talk.expect("/ErrorCode", 71);
    let ended = body(&session, -1, wanted(name, &id, &[(0, 0)]), none.clone());
    talk.ask(&step("ended by a full fetch"), "Fetch", version, ended);
    talk.ask(&step("it is gone"), "Fetch", version, body(&session, 2, none.clone(), none));
    talk.expect("/ErrorCode", 70);
}

fn endings(talk: &mut Talk) {
    let id = topic(talk, "sessions-ended", 1, &[]);
    let none = json!([]);
    let one = wanted("sessions-ended", &id, &[(0, 0)]);
    let begun = talk.ask("begun", "Fetch", FETCH, body(&json!(0), 0, one.clone(), none.clone()));
    let other =
        talk.ask("begun anew", "Fetch", FETCH, body(&begun["SessionId"], 0, one.clone(), none.clone()));
    talk.ask("the first is gone", "Fetch", FETCH, body(&begun["SessionId"], 1, none.clone(), none.clone()));
    let forgotten = json!([{ "Topic": "sessions-ended", "TopicId": id, "Partitions": [0] }]);
    talk.ask("nothing is left", "Fetch", FETCH, body(&other["SessionId"], 1, none.clone(), forgotten));
    talk.ask("so it has ended", "Fetch", FETCH, body(&other["SessionId"], 2, none.clone(), none.clone()));
    talk.ask("a session of nothing", "Fetch", FETCH, body(&json!(0), 0, none.clone(), none.clone()));
    let unknown = json!([{ "Topic": "", "TopicId": "12".repeat(16), "Partitions": [{ "Partition": 0 }] }]);
    let begun =
        talk.ask("a session of an unknown id", "Fetch", FETCH, body(&json!(0), 0, unknown, none.clone()));
    talk.ask("which stays unknown", "Fetch", FETCH, body(&begun["SessionId"], 1, none.clone(), none.clone()));
    let by_id = talk.ask("by id", "Fetch", FETCH, body(&json!(0), 0, one.clone(), none.clone()));
    talk.ask("and then by name", "Fetch", 12, body(&by_id["SessionId"], 1, one, none));
}
