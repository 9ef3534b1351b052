//! Static members (KIP-345): they come back under their instance's name, and fence who was it before.

use protocol_tests::raw::Talk;
use serde_json::{Value, json};

use crate::groups::{beat, join, member_id, sync, text};
use crate::kit::{Script, topic};

pub(crate) const SCRIPT: Script = Script { name: "members", run, allowed: &[] };

fn of(instance: &str, mut body: Value) -> Value {
    body["GroupInstanceId"] = json!(instance);
    body
}

fn run(talk: &mut Talk) {
    topic(talk, "members", 1, &[]);
    for version in [5, 8, 9] {
        comes_back(talk, version);
    }
    with_a_follower(talk);
}

/// Alone in its group, so it leads.
fn comes_back(talk: &mut Talk, version: i16) {
    let group = format!("members-{version}");
    let step = |what: &str| format!("{what}, v{version}");
    talk.ask(
        &step("an instance that claims an id"),
        "JoinGroup",
        version,
        of("one", join(&group, "somebody")),
    );
    let joined = talk.ask(&step("joins at once"), "JoinGroup", version, of("one", join(&group, "")));
    talk.expect("/ErrorCode", 0);
    let old = text(&joined, "MemberId");
    talk.ask(&step("assigned"), "SyncGroup", 5, of("one", sync(&group, 1, &old, &[(&old, "aa")])));
    talk.ask(&step("heartbeat"), "Heartbeat", 4, of("one", beat(&group, 1, &old)));
    talk.ask(&step("heartbeat without instance"), "Heartbeat", 4, beat(&group, 1, &old));
    talk.ask(&step("heartbeat of another instance"), "Heartbeat", 4, of("two", beat(&group, 1, &old)));
    let again = talk.ask(&step("comes back"), "JoinGroup", version, of("one", join(&group, "")));
    let new = text(&again, "MemberId");
    let generation = again["GenerationId"].as_i64().unwrap_or(0) as i32;
    talk.ask(&step("the old one's heartbeat"), "Heartbeat", 4, of("one", beat(&group, generation, &old)));
    talk.expect("/ErrorCode", 82);
    talk.ask(&step("the old id without instance"), "Heartbeat", 4, beat(&group, generation, &old));
    talk.ask(&step("the old one joins"), "JoinGroup", version, of("one", join(&group, &old)));
    talk.expect("/ErrorCode", 82);
    talk.ask(&step("the old one syncs"), "SyncGroup", 5, of("one", sync(&group, generation, &old, &[])));
    talk.expect("/ErrorCode", 82);
    commit(talk, &step("the old one commits"), &group, generation, &old, "one");
    talk.ask(
        &step("the new one syncs"),
        "SyncGroup",
        5,
        of("one", sync(&group, generation, &new, &[(&new, "bb")])),
    );
    talk.ask(&step("the new one's heartbeat"), "Heartbeat", 4, of("one", beat(&group, generation, &new)));
    commit(talk, &step("the new one commits"), &group, generation, &new, "one");
    talk.ask(&step("described"), "DescribeGroups", 5, json!({ "Groups": [group] }));
    let leave = json!({ "GroupId": group, "Members": [
        { "MemberId": old, "GroupInstanceId": "one" },
        { "MemberId": "", "GroupInstanceId": "nobody" },
        { "MemberId": "", "GroupInstanceId": "one" },
    ] });
    talk.ask(&step("made to leave"), "LeaveGroup", 5, leave);
    talk.ask(&step("its heartbeat then"), "Heartbeat", 4, of("one", beat(&group, generation, &new)));
}

/// A follower comes back into a stable group, and nothing is assigned anew.
fn with_a_follower(talk: &mut Talk) {
    let group = "members-follower";
    let leader = member_id(talk, group);
    talk.quietly("JoinGroup", 5, join(group, &leader));
    talk.quietly("SyncGroup", 3, sync(group, 1, &leader, &[(&leader, "01")]));
    let joins = of("f", join(group, ""));
    talk.send("follower", "JoinGroup", 9, &joins);
    let beats = beat(group, 1, &leader);
    talk.until("a rebalance", "Heartbeat", 3, &beats, |answer| answer["ErrorCode"] == 27);
    talk.ask("the leader joins", "JoinGroup", 9, join(group, &leader));
    let joined = talk.receive("follower", "the follower has joined", &joins.to_string());
    let old = text(&joined, "MemberId");
    talk.ask("the assignments", "SyncGroup", 5, sync(group, 2, &leader, &[(&leader, "01"), (&old, "02")]));
    talk.ask("the follower's assignment", "SyncGroup", 5, of("f", sync(group, 2, &old, &[])));
    let again = talk.ask("the follower comes back", "JoinGroup", 9, joins.clone());
    talk.expect("/GenerationId", 2);
    let new = text(&again, "MemberId");
    talk.ask("its assignment is the same", "SyncGroup", 5, of("f", sync(group, 2, &new, &[])));
    talk.expect("/Assignment", "02");
    talk.ask("the leader goes on", "Heartbeat", 4, beat(group, 2, &leader));
    talk.expect("/ErrorCode", 0);
    let mut changed = joins;
    changed["Protocols"][0]["Metadata"] = json!("0e");
    talk.ask("it comes back changed", "JoinGroup", 9, changed);
    talk.ask("the leader then", "Heartbeat", 4, beat(group, 2, &leader));
    talk.ask("two members", "DescribeGroups", 5, json!({ "Groups": [group] }));
}

fn commit(talk: &mut Talk, step: &str, group: &str, generation: i32, member: &str, instance: &str) {
    let topic = json!({ "Name": "members", "Partitions": [{ "PartitionIndex": 0, "CommittedOffset": 1 }] });
    talk.ask(
        step,
        "OffsetCommit",
        8,
        json!({
            "GroupId": group,
            "GenerationIdOrMemberEpoch": generation,
            "MemberId": member,
            "GroupInstanceId": instance,
            "Topics": [topic],
        }),
    );
}
