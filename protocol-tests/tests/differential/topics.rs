//! CreateTopics and DeleteTopics.

use protocol_tests::raw::Talk;
use serde_json::{Value, json};

use crate::kit::{Script, topic};

pub(crate) const SCRIPT: Script = Script { name: "topics", run, allowed: &[] };

fn new(name: &str, partitions: i32, factor: i16) -> Value {
    json!({ "Name": name, "NumPartitions": partitions, "ReplicationFactor": factor })
}

fn create(talk: &mut Talk, step: &str, version: i16, topics: Value, validate: bool) -> Value {
    let body = json!({ "Topics": topics, "TimeoutMs": 10_000, "ValidateOnly": validate });
    talk.ask(&format!("{step}, v{version}"), "CreateTopics", version, body)
}

fn run(talk: &mut Talk) {
    topic(talk, "topics.there", 1, &[]);
    for version in 2..=7 {
        create(talk, "validated", version, json!([new("topics-validated", 2, 1)]), true);
        create(talk, "created", version, json!([new(&format!("topics-v{version}"), 2, 1)]), false);
        create(talk, "there already", version, json!([new("topics.there", 1, 1)]), false);
        create(
            talk,
            "by default",
            version,
            json!([new(&format!("topics-default-v{version}"), -1, -1)]),
            false,
        );
        create(talk, "no topics", version, json!([]), false);
    }
    for version in [4, 7] {
        refusals(talk, version);
    }
    settings(talk);
    assignments(talk);
    deletions(talk);
}

fn refusals(talk: &mut Talk, version: i16) {
    let long = "x".repeat(250);
    for (step, topics) in [
        ("no partitions", json!([new("topics-r", 0, 1)])),
        ("partitions below none", json!([new("topics-r", -2, 1)])),
        ("no replicas", json!([new("topics-r", 1, 0)])),
        ("replicas below none", json!([new("topics-r", 1, -2)])),
        ("more replicas than nodes", json!([new("topics-r", 1, 2)])),
        ("a slash", json!([new("topics/r", 1, 1)])),
        ("no name", json!([new("", 1, 1)])),
        ("a dot", json!([new(".", 1, 1)])),
        ("a long name", json!([new(&long, 1, 1)])),
        ("a name that collides", json!([new("topics_there", 1, 1)])),
        ("twice", json!([new("topics-r", 1, 1), new("topics-r", 2, 1)])),
        ("one good, one bad", json!([new("topics-r", 0, 1), new("topics.there", 1, 1)])),
        ("two that collide", json!([new("topics_r.a", 1, 1), new("topics.r_a", 1, 1)])),
    ] {
        create(talk, step, version, topics.clone(), true);
        create(talk, &format!("{step}, once more"), version, topics, true);
    }
}

fn settings(talk: &mut Talk) {
    let with = |name: &str, value: Value| {
        let mut topic = new("topics-s", 1, 1);
        topic["Configs"] = json!([{ "Name": name, "Value": value }]);
        json!([topic])
    };
    for (name, value) in [
        ("retention.ms", json!("60000")),
        ("retention.ms", json!("soon")),
        ("retention.ms", json!("-2")),
        ("max.message.bytes", json!("-1")),
        ("cleanup.policy", json!("compact,delete")),
        ("cleanup.policy", json!("nothing")),
        ("compression.type", json!("zstd")),
        ("compression.type", json!("rar")),
        ("min.insync.replicas", json!("0")),
        ("message.timestamp.type", json!("Never")),
        ("unclean.leader.election.enable", json!("perhaps")),
        ("segment.bytes", json!("1")),
        ("no.such.setting", json!("1")),
        ("retention.ms", Value::Null),
    ] {
        create(talk, &format!("{name} {value}"), 4, with(name, value.clone()), true);
        create(talk, &format!("{name} {value}"), 7, with(name, value), true);
    }
}

fn assignments(talk: &mut Talk) {
    let by_hand = |partitions: i32, factor: i16, nodes: &[(i32, &[i32])]| {
        let mut topic = new("topics-a", partitions, factor);
        let nodes = nodes.iter().map(|(index, nodes)| json!({ "PartitionIndex": index, "BrokerIds": nodes }));
        topic["Assignments"] = json!(nodes.collect::<Vec<_>>());
        json!([topic])
    };
    for (step, topics) in [
        ("by hand", by_hand(-1, -1, &[(0, &[1]), (1, &[1])])),
        ("and with numbers", by_hand(1, 1, &[(0, &[1])])),
        ("and with partitions", by_hand(1, -1, &[(0, &[1])])),
        ("an unknown node", by_hand(-1, -1, &[(0, &[9])])),
        ("no node", by_hand(-1, -1, &[(0, &[])])),
        ("a node twice", by_hand(-1, -1, &[(0, &[1, 1])])),
        ("not from 0 on", by_hand(-1, -1, &[(1, &[1])])),
        ("a hole", by_hand(-1, -1, &[(0, &[1]), (2, &[1])])),
        ("a partition twice", by_hand(-1, -1, &[(0, &[1]), (0, &[1])])),
        ("a partition below none", by_hand(-1, -1, &[(-1, &[1]), (0, &[1])])),
    ] {
        create(talk, step, 7, topics, true);
    }
}

fn deletions(talk: &mut Talk) {
    for version in 1..=5 {
        let name = format!("topics-v{}", version + 1);
        let body = json!({ "TopicNames": [name, "topics-none"], "TimeoutMs": 10_000 });
        talk.ask(&format!("deleted, v{version}"), "DeleteTopics", version, body.clone());
        talk.ask(&format!("deleted again, v{version}"), "DeleteTopics", version, body);
    }
    let id = topic(talk, "topics-last", 1, &[]);
    let other = topic(talk, "topics-other", 1, &[]);
    let none = "00".repeat(16);
    for (step, topics) in [
        ("neither name nor id", json!([{ "Name": null, "TopicId": none }])),
        ("both name and id", json!([{ "Name": "topics-last", "TopicId": id }])),
        ("an unknown id", json!([{ "Name": null, "TopicId": "12".repeat(16) }])),
        ("an unknown name", json!([{ "Name": "topics-none", "TopicId": none }])),
        ("no legal name", json!([{ "Name": "a/b", "TopicId": none }])),
        (
            "name and id of one",
            json!([{ "Name": "topics-last", "TopicId": none }, { "Name": null, "TopicId": id }]),
        ),
        (
            "a name twice",
            json!([{ "Name": "topics-last", "TopicId": none }, { "Name": "topics-last", "TopicId": none }]),
        ),
        (
            "one that is there, one that is not",
            json!([{ "Name": "topics-none", "TopicId": none }, { "Name": null, "TopicId": other }]),
        ),
        ("by name", json!([{ "Name": "topics-last", "TopicId": none }])),
        ("by an id that is gone", json!([{ "Name": null, "TopicId": id }])),
        ("nothing", json!([])),
    ] {
        talk.ask(&format!("{step}, v6"), "DeleteTopics", 6, json!({ "Topics": topics, "TimeoutMs": 10_000 }));
    }
    let twice = json!({ "TopicNames": ["topics-v7", "topics-v7"], "TimeoutMs": 10_000 });
    talk.ask("a name twice, v5", "DeleteTopics", 5, twice);
}
