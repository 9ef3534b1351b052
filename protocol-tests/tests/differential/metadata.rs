//! Metadata: by name and by id, of what is there, what is not, and what may come by asking.

use protocol_tests::raw::Talk;
use serde_json::{Value, json};

use crate::kit::{Script, topic};

pub(crate) const SCRIPT: Script = Script { name: "metadata", run, allowed: &[] };

fn ask(talk: &mut Talk, step: &str, version: i16, topics: Value, create: bool) -> Value {
    let body = json!({ "Topics": topics, "AllowAutoTopicCreation": create });
    talk.ask(&format!("{step}, v{version}"), "Metadata", version, body)
}

fn run(talk: &mut Talk) {
    let id = topic(talk, "metadata-two", 2, &[]);
    for version in 0..=13 {
        ask(talk, "one topic", version, json!([{ "Name": "metadata-two" }]), false);
        let body = json!({ "Topics": if version == 0 { json!([]) } else { Value::Null }, "AllowAutoTopicCreation": false });
        talk.ask_for(&format!("all topics, v{version}"), "Metadata", version, body, own_topics);
        if version > 0 {
            ask(talk, "no topics", version, json!([]), false);
        }
    }
    for version in 4..=13 {
        let topics = json!([{ "Name": "metadata-none" }, { "Name": "not/legal" }, { "Name": "" }, { "Name": "metadata-two" }]);
        ask(talk, "names of all kinds", version, topics, false);
    }
    ask(talk, "twice", 12, json!([{ "Name": "metadata-two" }, { "Name": "metadata-two" }]), false);
    by_id(talk, &id);
    for version in 8..=10 {
        let body = json!({
            "Topics": [{ "Name": "metadata-two" }],
            "AllowAutoTopicCreation": false,
            "IncludeClusterAuthorizedOperations": true,
            "IncludeTopicAuthorizedOperations": true,
        });
        talk.ask(&format!("permissions, v{version}"), "Metadata", version, body);
    }
    by_asking(talk);
}

fn by_id(talk: &mut Talk, id: &str) {
    for version in 10..=13 {
        ask(
            talk,
            "by id",
            version,
            json!([{ "TopicId": id, "Name": if version < 12 { json!("") } else { Value::Null } }]),
            false,
        );
    }
    let unknown = "12".repeat(16);
    let nobody = "00".repeat(16);
    for version in 12..=13 {
        ask(talk, "an unknown id", version, json!([{ "TopicId": unknown, "Name": null }]), false);
        ask(talk, "neither id nor name", version, json!([{ "TopicId": nobody, "Name": null }]), false);
        ask(
            talk,
            "ids known and unknown",
            version,
            json!([{ "TopicId": unknown, "Name": null }, { "TopicId": id, "Name": null }]),
            false,
        );
        ask(talk, "both id and name", version, json!([{ "TopicId": id, "Name": "metadata-two" }]), false);
        ask(
            talk,
            "a wrong name for an id",
            version,
            json!([{ "TopicId": id, "Name": "metadata-none" }]),
            false,
        );
        ask(
            talk,
            "a name and an id",
            version,
            json!([{ "TopicId": id, "Name": null }, { "Name": "metadata-two" }]),
            false,
        );
    }
}

/// The brokers are set to make topics that somebody asks for.
fn by_asking(talk: &mut Talk) {
    for (version, name) in [(1, "metadata-new-1"), (4, "metadata-new-4"), (13, "metadata-new-13")] {
        ask(talk, "a topic that comes by asking", version, json!([{ "Name": name }]), true);
        let wanted = json!({ "Topics": [{ "Name": name }], "AllowAutoTopicCreation": false });
        talk.until("the topic is there", "Metadata", 12, &wanted, |answer| {
            answer.pointer("/Topics/0/Partitions/0/ErrorCode") == Some(&json!(0))
        });
        ask(talk, "and is there", 12, json!([{ "Name": name }]), false);
    }
    ask(talk, "none comes that is not legal", 13, json!([{ "Name": "not/legal" }]), true);
    ask(
        talk,
        "none comes whose name collides",
        13,
        json!([{ "Name": "metadata.two" }, { "Name": "metadata-two" }]),
        false,
    );
}

/// The topics of this script, in the order of their names: of all topics Kafka promises none.
fn own_topics(answer: &mut Value) {
    let Some(topics) = answer["Topics"].as_array_mut() else { return };
    topics.retain(|topic| topic["Name"].as_str().is_some_and(|name| name.starts_with("metadata-")));
    topics.sort_by_key(|topic| topic["Name"].to_string());
}
