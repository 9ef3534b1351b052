//! What the scripts share.

use protocol_tests::raw::{Allowed, Batch, Talk};
use serde_json::{Value, json};

/// What is asked of both brokers.
pub(crate) struct Script {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&mut Talk),
    /// What differs and is meant to.
    pub(crate) allowed: &'static [Allowed],
}

/// The first partition of an answer to Produce.
pub(crate) const PRODUCED: &str = "/Responses/0/PartitionResponses/0";
/// The first partition of an answer to Fetch.
pub(crate) const FETCHED: &str = "/Responses/0/Partitions/0";

/// Waits for what a new cluster has to make before it answers as an old one: the topics of offsets and transactions.
pub(crate) fn warm_up(talk: &mut Talk) {
    for kind in [0, 1] {
        let coordinator = json!({ "Key": "warm-up", "KeyType": kind });
        talk.until("a coordinator", "FindCoordinator", 1, &coordinator, |answer| answer["ErrorCode"] == 0);
    }
    let beat = json!({ "GroupId": "warm-up", "GenerationId": 1, "MemberId": "nobody" });
    talk.until("a loaded coordinator", "Heartbeat", 0, &beat, |answer| answer["ErrorCode"] == 25);
    let nobody = json!({ "TransactionalId": null, "TransactionTimeoutMs": 1000 });
    talk.until("producer ids", "InitProducerId", 0, &nobody, |answer| answer["ErrorCode"] == 0);
    assert!(talk.failures().is_empty(), "{:?}", talk.failures());
}

/// Creates a topic, waits until it can be used, and returns its id.
pub(crate) fn topic(talk: &mut Talk, name: &str, partitions: i32, configs: &[(&str, &str)]) -> String {
    let configs: Vec<Value> =
        configs.iter().map(|(name, value)| json!({ "Name": name, "Value": value })).collect();
    let topic = json!({
        "Name": name,
        "NumPartitions": partitions,
        "ReplicationFactor": 1,
        "Configs": configs,
    });
    let created = talk.quietly("CreateTopics", 7, json!({ "Topics": [topic], "TimeoutMs": 10_000 }));
    let id = created.pointer("/Topics/0/TopicId").and_then(Value::as_str).unwrap_or_default().to_owned();
    let wanted = json!({ "Topics": [{ "Name": name }], "AllowAutoTopicCreation": false });
    talk.until("a leader of every partition", "Metadata", 12, &wanted, |answer| {
        let topic = &answer["Topics"][0];
        let leads = |partition: &Value| partition["ErrorCode"] == 0;
        topic["TopicId"] == *id && topic["Partitions"].as_array().is_some_and(|all| all.iter().all(leads))
    });
    // The log is made when the broker applies the metadata, which may be after it answers with them.
    let latest: Vec<Value> =
        (0..partitions).map(|index| json!({ "PartitionIndex": index, "Timestamp": -1 })).collect();
    let latest = json!({ "ReplicaId": -1, "Topics": [{ "Name": name, "Partitions": latest }] });
    talk.until("a log of every partition", "ListOffsets", 5, &latest, |answer| {
        let partitions = answer.pointer("/Topics/0/Partitions").and_then(Value::as_array);
        partitions.is_some_and(|all| all.iter().all(|partition| partition["ErrorCode"] == 0))
    });
    id
}

/// Deletes a topic and waits until it is gone.
pub(crate) fn delete_topic(talk: &mut Talk, name: &str) {
    talk.quietly("DeleteTopics", 5, json!({ "TopicNames": [name], "TimeoutMs": 10_000 }));
    let wanted = json!({ "Topics": [{ "Name": name }], "AllowAutoTopicCreation": false });
    talk.until("no topic", "Metadata", 12, &wanted, |answer| answer["Topics"][0]["ErrorCode"] == 3);
}

/// A produce request of one batch for partition 0 of a topic, by name and by id.
pub(crate) fn produce_body(name: &str, id: &str, records: &str, acks: i16) -> Value {
    let partition = json!({ "Index": 0, "Records": records });
    let topic = json!({ "Name": name, "TopicId": id, "PartitionData": [partition] });
    json!({ "TransactionalId": null, "Acks": acks, "TimeoutMs": 10_000, "TopicData": [topic] })
}

/// Produces a batch to partition 0 of a topic by its id.
pub(crate) fn produce(talk: &mut Talk, step: &str, id: &str, batch: &Batch) -> Value {
    talk.ask(step, "Produce", 13, produce_body("", id, &batch.hex(), -1))
}

/// Writes values without a step of its own.
pub(crate) fn fill(talk: &mut Talk, id: &str, values: &[&str]) {
    let answer = talk.quietly("Produce", 13, produce_body("", id, &Batch::of(values).hex(), -1));
    must_be_written(talk, &answer);
}

/// What a script stands on must have been written.
pub(crate) fn must_be_written(talk: &mut Talk, answer: &Value) {
    if answer.pointer(&format!("{PRODUCED}/ErrorCode")) != Some(&json!(0)) {
        talk.fail(format!("not written: {answer}"));
    }
}

/// A new producer id.
pub(crate) fn producer_id(talk: &mut Talk) -> i64 {
    let answer =
        talk.quietly("InitProducerId", 4, json!({ "TransactionalId": null, "TransactionTimeoutMs": 1000 }));
    answer["ProducerId"].as_i64().unwrap_or(-1)
}

/// A fetch of partition 0 of a topic, by name and by id, without session.
pub(crate) fn fetch_body(name: &str, id: &str, offset: i64) -> Value {
    let partition = json!({ "Partition": 0, "CurrentLeaderEpoch": -1, "FetchOffset": offset, "PartitionMaxBytes": 1 << 20 });
    json!({
        "ReplicaId": -1,
        "MaxWaitMs": 0,
        "MinBytes": 0,
        "MaxBytes": 50 << 20,
        "IsolationLevel": 0,
        "SessionId": 0,
        "SessionEpoch": -1,
        "Topics": [{ "Topic": name, "TopicId": id, "Partitions": [partition] }],
    })
}

/// A tree with one field changed.
pub(crate) fn with(mut tree: Value, pointer: &str, value: impl Into<Value>) -> Value {
    *tree.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer}")) = value.into();
    tree
}
