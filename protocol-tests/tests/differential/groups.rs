//! Groups of the classic protocol: joining, assignments, heartbeats, leaving, and how they look from outside.

use protocol_tests::raw::Talk;
use serde_json::{Value, json};

use crate::kit::{Script, with};

pub(crate) const SCRIPT: Script = Script { name: "groups", run, allowed: &[] };

/// A request to join; bytes are hexadecimal.
pub(crate) fn join(group: &str, member: &str) -> Value {
    json!({
        "GroupId": group,
        "SessionTimeoutMs": 30_000,
        "RebalanceTimeoutMs": 30_000,
        "MemberId": member,
        "ProtocolType": "consumer",
        "Protocols": [{ "Name": "range", "Metadata": "0a" }, { "Name": "roundrobin", "Metadata": "0b" }],
    })
}

pub(crate) fn sync(group: &str, generation: i32, member: &str, assigned: &[(&str, &str)]) -> Value {
    let assignments = assigned.iter().map(|(id, bytes)| json!({ "MemberId": id, "Assignment": bytes }));
    json!({
        "GroupId": group,
        "GenerationId": generation,
        "MemberId": member,
        "ProtocolType": "consumer",
        "ProtocolName": "range",
        "Assignments": assignments.collect::<Vec<_>>(),
    })
}

pub(crate) fn beat(group: &str, generation: i32, member: &str) -> Value {
    json!({ "GroupId": group, "GenerationId": generation, "MemberId": member })
}

/// The id that the broker gives to a new member.
pub(crate) fn member_id(talk: &mut Talk, group: &str) -> String {
    text(&talk.quietly("JoinGroup", 4, join(group, "")), "MemberId")
}

/// A group of one member, stable in its first generation, and the member's id.
pub(crate) fn stable(talk: &mut Talk, group: &str) -> String {
    let member = member_id(talk, group);
    talk.quietly("JoinGroup", 4, join(group, &member));
    talk.quietly("SyncGroup", 3, sync(group, 1, &member, &[(&member, "aa")]));
    member
}

pub(crate) fn text(answer: &Value, field: &str) -> String {
    answer[field].as_str().unwrap_or_default().to_owned()
}

fn run(talk: &mut Talk) {
    for version in 0..=9 {
        a_life(talk, version);
    }
    refused(talk);
    strangers(talk);
    rebalance(talk);
    protocols(talk);
    leaving(talk);
    from_outside(talk);
}

/// One member, from joining to leaving, in the versions of that time.
fn a_life(talk: &mut Talk, version: i16) {
    let group = format!("groups-life-{version}");
    let joined = talk.ask(&format!("join, v{version}"), "JoinGroup", version, join(&group, ""));
    let member = text(&joined, "MemberId");
    if version >= 4 {
        talk.expect("/ErrorCode", 79);
        // From outside, Kafka shows a group that has only members to come when it happens to; so that is not asked.
        talk.ask(&format!("join with the id, v{version}"), "JoinGroup", version, join(&group, &member));
    }
    talk.expect("/GenerationId", 1);
    talk.expect("/ErrorCode", 0);
    let older = version.min(5);
    talk.ask(&format!("early heartbeat, v{older}"), "Heartbeat", version.min(4), beat(&group, 1, &member));
    describe(talk, "before the assignment", 5, &group);
    let assigned = sync(&group, 1, &member, &[(&member, "aabb")]);
    talk.ask(&format!("sync, v{older}"), "SyncGroup", older, assigned);
    talk.expect("/Assignment", "aabb");
    talk.ask(&format!("heartbeat, v{older}"), "Heartbeat", version.min(4), beat(&group, 1, &member));
    talk.expect("/ErrorCode", 0);
    describe(talk, "stable", version.min(6), &group);
    talk.ask(&format!("sync again, v{older}"), "SyncGroup", older, sync(&group, 1, &member, &[]));
    talk.ask(&format!("join again, v{version}"), "JoinGroup", version, join(&group, &member));
    let assigned = sync(&group, 2, &member, &[]);
    talk.ask(&format!("sync with nothing, v{older}"), "SyncGroup", older, assigned);
    let leave = json!({ "GroupId": group, "MemberId": member, "Members": [{ "MemberId": member }] });
    talk.ask(&format!("leave, v{older}"), "LeaveGroup", older, leave.clone());
    talk.ask(&format!("leave again, v{older}"), "LeaveGroup", older, leave);
    describe(talk, "left", version.min(6), &group);
    talk.ask(&format!("late heartbeat, v{older}"), "Heartbeat", version.min(4), beat(&group, 1, &member));
}

fn refused(talk: &mut Talk) {
    for version in [0, 3, 5, 9] {
        for (step, body) in [
            ("no group", join("", "")),
            ("a short session", with(join("groups-r", ""), "/SessionTimeoutMs", 5_999)),
            ("a long session", with(join("groups-r", ""), "/SessionTimeoutMs", 1_800_001)),
            ("no protocols", with(join("groups-r", ""), "/Protocols", json!([]))),
            ("no type of protocol", with(join("groups-r", ""), "/ProtocolType", "")),
            ("a member of no group", join("groups-r", "somebody")),
        ] {
            talk.ask(&format!("{step}, v{version}"), "JoinGroup", version, body);
        }
    }
    for version in 0..=5 {
        let stranger = sync("groups-none", 1, "somebody", &[]);
        talk.ask(&format!("sync of no group, v{version}"), "SyncGroup", version, stranger);
        let nameless = sync("", 1, "somebody", &[]);
        talk.ask(&format!("sync without group, v{version}"), "SyncGroup", version, nameless);
        let leave = json!({ "GroupId": "groups-none", "MemberId": "m", "Members": [{ "MemberId": "m" }] });
        talk.ask(&format!("leave no group, v{version}"), "LeaveGroup", version, leave.clone());
        talk.ask(
            &format!("leave without group, v{version}"),
            "LeaveGroup",
            version,
            with(leave, "/GroupId", ""),
        );
        let old = version.min(4);
        talk.ask(
            &format!("heartbeat of no group, v{old}"),
            "Heartbeat",
            old,
            beat("groups-none", 1, "somebody"),
        );
        talk.ask(&format!("heartbeat without group, v{old}"), "Heartbeat", old, beat("", 1, "somebody"));
    }
}

fn strangers(talk: &mut Talk) {
    let group = "groups-strangers";
    let member = stable(talk, group);
    talk.ask("a stranger joins", "JoinGroup", 5, join(group, "somebody"));
    talk.expect("/ErrorCode", 25);
    talk.ask("a stranger's heartbeat", "Heartbeat", 3, beat(group, 1, "somebody"));
    talk.expect("/ErrorCode", 25);
    talk.ask("nobody's heartbeat", "Heartbeat", 3, beat(group, 1, ""));
    for generation in [-1, 0, 2] {
        talk.ask(
            &format!("heartbeat of generation {generation}"),
            "Heartbeat",
            3,
            beat(group, generation, &member),
        );
        talk.expect("/ErrorCode", 22);
        talk.ask(
            &format!("sync of generation {generation}"),
            "SyncGroup",
            3,
            sync(group, generation, &member, &[]),
        );
        talk.expect("/ErrorCode", 22);
    }
    talk.ask("a stranger syncs", "SyncGroup", 3, sync(group, 1, "somebody", &[]));
    let other = with(sync(group, 1, &member, &[]), "/ProtocolName", "other");
    talk.ask("sync with another protocol", "SyncGroup", 5, other);
    talk.expect("/ErrorCode", 23);
    let other = with(sync(group, 1, &member, &[]), "/ProtocolType", "other");
    talk.ask("sync with another type", "SyncGroup", 5, other);
    talk.expect("/ErrorCode", 23);
    for field in ["/ProtocolName", "/ProtocolType"] {
        let silent = with(sync(group, 1, &member, &[]), field, Value::Null);
        talk.ask(&format!("sync without {field}"), "SyncGroup", 5, silent);
    }
}

/// A second member comes: the first hears of it, joins again, and its assignment reaches both.
fn rebalance(talk: &mut Talk) {
    let group = "groups-rebalance";
    let first = stable(talk, group);
    let second = member_id(talk, group);
    let joins = join(group, &second);
    talk.send("second", "JoinGroup", 5, &joins);
    let beats = beat(group, 1, &first);
    talk.until("a rebalance", "Heartbeat", 3, &beats, |answer| answer["ErrorCode"] == 27);
    talk.ask("heartbeat during the rebalance", "Heartbeat", 3, beats);
    talk.ask("sync during the rebalance", "SyncGroup", 3, sync(group, 1, &first, &[]));
    describe(talk, "during the rebalance", 5, group);
    talk.ask("the first joins again", "JoinGroup", 5, join(group, &first));
    talk.expect("/GenerationId", 2);
    talk.receive("second", "the second has joined", &joins.to_string());
    talk.expect("/GenerationId", 2);
    describe(talk, "before the assignments", 5, group);
    // The follower asks before the leader brings the assignments.
    let asks = sync(group, 2, &second, &[]);
    talk.send("second", "SyncGroup", 3, &asks);
    talk.ask(
        "the leader's assignments",
        "SyncGroup",
        3,
        sync(group, 2, &first, &[(&first, "01"), (&second, "02")]),
    );
    talk.receive("second", "the follower's assignment", &asks.to_string());
    talk.expect("/Assignment", "02");
    describe(talk, "two members", 5, group);
    // A follower that joins again as it was stays in its generation.
    talk.ask("a follower joins again", "JoinGroup", 5, join(group, &second));
    talk.expect("/GenerationId", 2);
    // With other metadata it has the group rebalance.
    let changed = with(join(group, &second), "/Protocols/0/Metadata", "0c");
    talk.send("second", "JoinGroup", 5, &changed);
    let beats = beat(group, 2, &first);
    talk.until("another rebalance", "Heartbeat", 3, &beats, |answer| answer["ErrorCode"] == 27);
    let leave = json!({ "GroupId": group, "Members": [{ "MemberId": first }] });
    talk.ask("the first leaves instead of joining", "LeaveGroup", 4, leave);
    talk.receive("second", "the second leads", &changed.to_string());
    talk.expect("/GenerationId", 3);
}

fn protocols(talk: &mut Talk) {
    let group = "groups-protocols";
    let first = stable(talk, group);
    let other = json!([{ "Name": "other", "Metadata": "" }]);
    for version in [3, 5] {
        talk.ask(
            &format!("no protocol in common, v{version}"),
            "JoinGroup",
            version,
            with(join(group, ""), "/Protocols", other.clone()),
        );
        talk.expect("/ErrorCode", 23);
        talk.ask(
            &format!("another type, v{version}"),
            "JoinGroup",
            version,
            with(join(group, ""), "/ProtocolType", "connect"),
        );
        talk.expect("/ErrorCode", 23);
    }
    // Alone, a member may change all its protocols.
    talk.ask("the only member changes", "JoinGroup", 5, with(join(group, &first), "/Protocols", other));
    // What most like best is chosen of what all speak.
    let group = "groups-votes";
    let (first, second) = (stable(talk, group), member_id(talk, group));
    let turned = json!([{ "Name": "sticky", "Metadata": "" }, { "Name": "roundrobin", "Metadata": "0d" }]);
    let joins = with(join(group, &second), "/Protocols", turned);
    talk.send("voter", "JoinGroup", 7, &joins);
    let beats = beat(group, 1, &first);
    talk.until("a rebalance", "Heartbeat", 3, &beats, |answer| answer["ErrorCode"] == 27);
    talk.ask("the leader hears what is chosen", "JoinGroup", 7, join(group, &first));
    talk.expect("/ProtocolName", "roundrobin");
    talk.receive("voter", "and so does the other", &joins.to_string());
}

fn leaving(talk: &mut Talk) {
    for version in 3..=5 {
        let group = format!("groups-leaving-{version}");
        let member = stable(talk, &group);
        let pending = member_id(talk, &group);
        let members = json!([
            { "MemberId": "somebody" },
            { "MemberId": pending },
            { "MemberId": member },
            { "MemberId": member },
            { "MemberId": "", "GroupInstanceId": "nobody" },
        ]);
        talk.ask(
            &format!("several leave, v{version}"),
            "LeaveGroup",
            version,
            json!({ "GroupId": group, "Members": members }),
        );
        talk.ask(
            &format!("none leaves, v{version}"),
            "LeaveGroup",
            version,
            json!({ "GroupId": group, "Members": [] }),
        );
        describe(talk, "all have left", 5, &group);
    }
}

fn describe(talk: &mut Talk, step: &str, version: i16, group: &str) {
    talk.ask(
        &format!("described: {step}, v{version}"),
        "DescribeGroups",
        version,
        json!({ "Groups": [group] }),
    );
}

fn from_outside(talk: &mut Talk) {
    for version in 0..=6 {
        for groups in [json!(["groups-none"]), json!(["groups-strangers", "groups-none"]), json!([])] {
            let body = json!({ "Groups": groups, "IncludeAuthorizedOperations": version == 3 });
            talk.ask(&format!("described {groups}, v{version}"), "DescribeGroups", version, body);
        }
    }
    for version in 0..=5 {
        let filters = [
            json!([]),
            json!(["Stable"]),
            json!(["stable", "Empty"]),
            json!(["CompletingRebalance"]),
            json!(["none"]),
        ];
        for states in filters {
            let body = json!({ "StatesFilter": states, "TypesFilter": [] });
            talk.ask_for(&format!("listed {states}, v{version}"), "ListGroups", version, body, own_groups);
            if version < 4 {
                break;
            }
        }
    }
    for types in [json!(["classic"]), json!(["Classic", "consumer"]), json!(["consumer"]), json!(["none"])] {
        let body = json!({ "StatesFilter": ["Stable"], "TypesFilter": types });
        talk.ask_for(&format!("listed of {types}"), "ListGroups", 5, body, own_groups);
    }
}

fn own_groups(answer: &mut Value) {
    if let Some(groups) = answer["Groups"].as_array_mut() {
        groups.retain(|group| text(group, "GroupId").starts_with("groups-"));
    }
}
