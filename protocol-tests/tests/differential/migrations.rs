//! Groups that go from the classic protocol to the consumer protocol and back while they have members (KIP-848).

use protocol_tests::raw::Talk;
use serde_json::{Value, json};

use crate::consumers;
use crate::groups::{beat, text};
use crate::kit::{Script, topic, with};

pub(crate) const SCRIPT: Script = Script { name: "migrations", run, allowed: &[] };

const GROUP: &str = "migrations";

fn run(talk: &mut Talk) {
    let id = topic(talk, GROUP, 2, &[]);
    let old = up(talk, &id);
    down(talk, &old);
}

/// What a member says of itself: the topic, and which of its partitions it owns since which generation.
fn subscription(owned: &[i32], generation: i32) -> String {
    let name = |name: &str| format!("{:04x}{}", name.len(), hex(name.as_bytes()));
    let owned: Vec<String> = owned.iter().map(|partition| format!("{partition:08x}")).collect();
    let list = match owned.len() {
        0 => "00000000".to_owned(),
        count => format!("00000001{}{count:08x}{}", name(GROUP), owned.concat()),
    };
    format!("000200000001{}ffffffff{list}{generation:08x}", name(GROUP))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The partitions in what a member is assigned.
fn assignment(partitions: &[i32]) -> String {
    let list: Vec<String> = partitions.iter().map(|partition| format!("{partition:08x}")).collect();
    let topics = match partitions.len() {
        0 => "00000000".to_owned(),
        count => format!("00000001{:04x}{}{count:08x}{}", GROUP.len(), hex(GROUP.as_bytes()), list.concat()),
    };
    format!("0002{topics}ffffffff")
}

fn join(member: &str, owned: &[i32], generation: i32) -> Value {
    json!({
        "GroupId": GROUP,
        "SessionTimeoutMs": 30_000,
        "RebalanceTimeoutMs": 30_000,
        "MemberId": member,
        "ProtocolType": "consumer",
        "Protocols": [{ "Name": "cooperative-sticky", "Metadata": subscription(owned, generation) }],
    })
}

fn sync(generation: i64, member: &str) -> Value {
    json!({
        "GroupId": GROUP,
        "GenerationId": generation,
        "MemberId": member,
        "ProtocolType": "consumer",
        "ProtocolName": "cooperative-sticky",
        "Assignments": [],
    })
}

fn number(answer: &Value, field: &str) -> i64 {
    answer[field].as_i64().unwrap_or(-1)
}

/// A classic group of one member becomes one of the consumer protocol, in which that member goes on; its id.
fn up(talk: &mut Talk, id: &str) -> String {
    let member = text(&talk.quietly("JoinGroup", 9, join("", &[], -1)), "MemberId");
    talk.quietly("JoinGroup", 9, join(&member, &[], -1));
    let given = json!([{ "MemberId": member, "Assignment": assignment(&[0, 1]) }]);
    talk.ask("the leader assigns", "SyncGroup", 5, with(sync(1, &member), "/Assignments", given));
    talk.ask("in order", "Heartbeat", 4, beat(GROUP, 1, &member));
    talk.expect("/ErrorCode", 0);
    let joined = talk.ask(
        "one of the consumer protocol joins",
        "ConsumerGroupHeartbeat",
        1,
        consumers::full(GROUP, "new"),
    );
    talk.expect("/ErrorCode", 0);
    let epoch = number(&joined, "MemberEpoch");
    let is_told = |answer: &Value| answer["ErrorCode"] == 27;
    talk.until("the old one is to join again", "Heartbeat", 4, &beat(GROUP, 1, &member), is_told);

    // It gives one up, and joins again.
    let is_half = |answer: &Value| text(answer, "ErrorCode").is_empty() && answer["ErrorCode"] == 0;
    let joined = talk.until("it joins again", "JoinGroup", 9, &join(&member, &[0, 1], 1), is_half);
    let half = talk.quietly("SyncGroup", 5, sync(number(&joined, "GenerationId"), &member));
    let kept = if half["Assignment"] == assignment(&[0]) { 0 } else { 1 };
    if half["Assignment"] != assignment(&[kept]) {
        talk.fail(format!("it is to keep one partition: {half}"));
    }
    let again = talk.quietly("JoinGroup", 9, join(&member, &[kept], 1));
    let generation = number(&again, "GenerationId");
    talk.ask("what it keeps", "SyncGroup", 5, sync(generation, &member));
    talk.ask("in order again", "Heartbeat", 4, beat(GROUP, i32::try_from(generation).unwrap_or(-1), &member));
    talk.expect("/ErrorCode", 0);
    talk.ask("in an old generation", "Heartbeat", 4, beat(GROUP, 1, &member));
    talk.expect("/ErrorCode", 22);
    let has_other = |answer: &Value| {
        answer.pointer("/Assignment/TopicPartitions/0/Partitions") == Some(&json!([1 - kept]))
    };
    talk.until(
        "the new one has the other",
        "ConsumerGroupHeartbeat",
        1,
        &consumers::beat(GROUP, "new", epoch),
        has_other,
    );
    let owns = json!([{ "TopicId": id, "Partitions": [1 - kept] }]);
    let mut owning = consumers::beat(GROUP, "new", epoch);
    owning["TopicPartitions"] = owns;
    talk.quietly("ConsumerGroupHeartbeat", 1, owning);
    commits(talk, &member, generation);
    member
}

fn commits(talk: &mut Talk, member: &str, generation: i64) {
    for (what, generation) in [("its generation", generation), ("an old generation", 1), ("none", -1)] {
        for version in [7, 9] {
            let partition = json!({ "PartitionIndex": 0, "CommittedOffset": 1, "CommittedLeaderEpoch": 0 });
            let body = json!({
                "GroupId": GROUP,
                "GenerationIdOrMemberEpoch": generation,
                "MemberId": member,
                "Topics": [{ "Name": GROUP, "Partitions": [partition] }],
            });
            talk.ask(&format!("a commit in {what}, v{version}"), "OffsetCommit", version, body);
        }
    }
}

/// The last one of the consumer protocol leaves, and the group is a classic one again.
fn down(talk: &mut Talk, member: &str) {
    talk.quietly("ConsumerGroupHeartbeat", 1, consumers::beat(GROUP, "new", -1));
    let joined = talk.quietly("JoinGroup", 9, join(member, &[0], 2));
    if joined["ErrorCode"] != 0 || joined["Leader"] != *member {
        talk.fail(format!("it leads the group again: {joined}"));
    }
    let given = json!([{ "MemberId": member, "Assignment": assignment(&[0, 1]) }]);
    let body = with(sync(number(&joined, "GenerationId"), member), "/Assignments", given);
    talk.ask("it leads again", "SyncGroup", 5, body);
    talk.expect("/ErrorCode", 0);
    let left = json!({ "GroupId": GROUP, "Members": [{ "MemberId": member }] });
    talk.ask("it leaves", "LeaveGroup", 5, left);
}
