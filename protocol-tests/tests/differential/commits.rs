//! OffsetCommit and OffsetFetch.

use protocol_tests::raw::Talk;
use serde_json::{Value, json};

use crate::groups::{beat, join, member_id, stable, sync};
use crate::kit::{Script, topic};

pub(crate) const SCRIPT: Script = Script { name: "commits", run, allowed: &[] };
const NAME: &str = "commits";

/// A commit for both partitions of the topic, by name and by id.
fn body(group: &str, generation: i32, member: &str, id: &str, offset: i64) -> Value {
    let partition = |index: i32| {
        json!({
            "PartitionIndex": index,
            "CommittedOffset": offset,
            "CommittedLeaderEpoch": 0,
            "CommittedMetadata": "a note",
        })
    };
    json!({
        "GroupId": group,
        "GenerationIdOrMemberEpoch": generation,
        "MemberId": member,
        "RetentionTimeMs": -1,
        "Topics": [{ "Name": NAME, "TopicId": id, "Partitions": [partition(0), partition(1)] }],
    })
}

fn run(talk: &mut Talk) {
    let id = topic(talk, NAME, 2, &[]);
    for version in 2..=10 {
        let group = format!("commits-{version}");
        talk.ask(
            &format!("of no generation, v{version}"),
            "OffsetCommit",
            version,
            body(&group, -1, "", &id, 5),
        );
        talk.expect("/Topics/0/Partitions/0/ErrorCode", 0);
        talk.ask(&format!("of no group, v{version}"), "OffsetCommit", version, body("", -1, "", &id, 5));
        let member = format!("commits-member-{version}");
        talk.ask(
            &format!("of a member of no group, v{version}"),
            "OffsetCommit",
            version,
            body(&member, 3, "m", &id, 5),
        );
        talk.ask(
            &format!("of a member of an empty group, v{version}"),
            "OffsetCommit",
            version,
            body(&group, 3, "m", &id, 5),
        );
        let nobody = body(&format!("commits-nobody-{version}"), -1, "m", &id, 5);
        talk.ask(&format!("of a member without generation, v{version}"), "OffsetCommit", version, nobody);
    }
    for version in [0, 5, 6] {
        talk.ask(
            &format!("described, without name, v{version}"),
            "DescribeGroups",
            version,
            json!({ "Groups": [""] }),
        );
    }
    what(talk, &id);
    who(talk, &id);
    for version in 1..=10 {
        fetched(talk, version, &id);
    }
}

fn what(talk: &mut Talk, id: &str) {
    for version in [2, 8, 9, 10] {
        let mut commit = body("commits-what", -1, "", id, 7);
        commit["Topics"][0]["Partitions"][1]["PartitionIndex"] = json!(9);
        talk.ask(&format!("a partition that is not there, v{version}"), "OffsetCommit", version, commit);
        let mut commit = body("commits-what", -1, "", &"12".repeat(16), 7);
        commit["Topics"][0]["Name"] = json!("commits-none");
        talk.ask(&format!("a topic that is not there, v{version}"), "OffsetCommit", version, commit);
        let mut commit = body("commits-what", -1, "", id, 7);
        commit["Topics"] = json!([commit["Topics"][0], { "Name": "commits-none", "TopicId": "12".repeat(16), "Partitions": [{ "PartitionIndex": 0 }] }]);
        talk.ask(
            &format!("a topic that is there and one that is not, v{version}"),
            "OffsetCommit",
            version,
            commit,
        );
        for length in [4_096, 4_097] {
            let mut commit = body("commits-what", -1, "", id, 8);
            commit["Topics"][0]["Partitions"][0]["CommittedMetadata"] = json!("x".repeat(length));
            talk.ask(&format!("a note of {length} bytes, v{version}"), "OffsetCommit", version, commit);
        }
        let mut commit = body("commits-what", -1, "", id, -1);
        commit["Topics"][0]["Partitions"][0]["CommittedMetadata"] = Value::Null;
        talk.ask(&format!("no offset and no note, v{version}"), "OffsetCommit", version, commit);
        let mut commit = body("commits-what", -1, "", id, -9);
        commit["Topics"][0]["Partitions"][0]["CommittedLeaderEpoch"] = json!(-5);
        talk.ask(&format!("numbers below none, v{version}"), "OffsetCommit", version, commit);
        let mut commit = body("commits-what", -1, "", id, 7);
        commit["Topics"] = json!([]);
        talk.ask(&format!("nothing, v{version}"), "OffsetCommit", version, commit);
    }
}

fn who(talk: &mut Talk, id: &str) {
    let group = "commits-who";
    let first = stable(talk, group);
    for version in [2, 8, 9, 10] {
        for (step, generation, member) in [
            ("a member", 1, &*first),
            ("an old generation", 0, &first),
            ("a generation to come", 2, &first),
            ("a stranger", 1, "somebody"),
            ("nobody", -1, ""),
            ("a member without generation", -1, &first),
        ] {
            talk.ask(
                &format!("{step} commits, v{version}"),
                "OffsetCommit",
                version,
                body(group, generation, member, id, 9),
            );
        }
    }
    let second = member_id(talk, group);
    let joins = join(group, &second);
    talk.send("second", "JoinGroup", 5, &joins);
    talk.until("a rebalance", "Heartbeat", 3, &beat(group, 1, &first), |answer| answer["ErrorCode"] == 27);
    talk.ask("a commit during the rebalance", "OffsetCommit", 8, body(group, 1, &first, id, 10));
    talk.ask("the first joins", "JoinGroup", 5, join(group, &first));
    talk.receive("second", "the second has joined", &joins.to_string());
    talk.ask("before the assignment", "OffsetCommit", 8, body(group, 2, &first, id, 11));
    talk.ask("of the generation before", "OffsetCommit", 8, body(group, 1, &first, id, 11));
    talk.ask("the assignment", "SyncGroup", 3, sync(group, 2, &first, &[(&first, "01"), (&second, "02")]));
    talk.ask("behind the assignment", "OffsetCommit", 8, body(group, 2, &first, id, 12));
    talk.ask("before the own assignment", "OffsetCommit", 8, body(group, 2, &second, id, 13));
    let leave = json!({ "GroupId": group, "Members": [{ "MemberId": first }, { "MemberId": second }] });
    talk.quietly("LeaveGroup", 4, leave);
    talk.ask("who has left", "OffsetCommit", 8, body(group, 2, &first, id, 14));
    talk.ask("nobody, in an empty group", "OffsetCommit", 8, body(group, -1, "", id, 15));
}

fn fetched(talk: &mut Talk, version: i16, id: &str) {
    let topics = |name: &str, id: &str, partitions: &[i32]| {
        let mut topic = json!({ "Name": name, "PartitionIndexes": partitions });
        if version >= 8 {
            topic["TopicId"] = json!(id);
        }
        json!([topic])
    };
    let unknown = "12".repeat(16);
    for (step, group, topics) in [
        ("two partitions and one that is not", NAME, topics(NAME, id, &[0, 1, 9])),
        ("what was committed", "commits-what", topics(NAME, id, &[0, 1])),
        ("of a member", "commits-who", topics(NAME, id, &[0])),
        ("of no such group", "commits-none", topics(NAME, id, &[0])),
        ("without group", "", topics(NAME, id, &[0])),
        ("of no such topic", "commits-what", topics("commits-none", &unknown, &[0])),
        ("no partitions", "commits-what", topics(NAME, id, &[])),
        ("no topics", "commits-what", json!([])),
        ("all topics", "commits-what", Value::Null),
        ("all topics of no such group", "commits-none", Value::Null),
    ] {
        if topics.is_null() && version < 2 {
            continue;
        }
        let body = if version < 8 {
            json!({ "GroupId": group, "Topics": topics })
        } else {
            json!({ "Groups": [{ "GroupId": group, "Topics": topics }] })
        };
        talk.ask(&format!("{step}, v{version}"), "OffsetFetch", version, body);
    }
    if version >= 8 {
        let groups = json!([
            { "GroupId": "commits-what", "Topics": topics(NAME, id, &[0]) },
            { "GroupId": "commits-who", "Topics": null },
            { "GroupId": "commits-none", "Topics": null },
        ]);
        talk.ask(&format!("several groups, v{version}"), "OffsetFetch", version, json!({ "Groups": groups }));
        let member = json!([{ "GroupId": "commits-who", "MemberId": "m", "MemberEpoch": 4, "Topics": null }]);
        talk.ask(
            &format!("with a member's epoch, v{version}"),
            "OffsetFetch",
            version,
            json!({ "Groups": member }),
        );
    }
    if version == 7 {
        let body = json!({ "GroupId": NAME, "RequireStable": true, "Topics": topics(NAME, id, &[0]) });
        talk.ask(&format!("stable, v{version}"), "OffsetFetch", version, body);
    }
}
