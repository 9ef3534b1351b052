//! Members under the consumer protocol (KIP-848), and what they may commit (KIP-1251).

use protocol_tests::raw::{Allowed, Talk};
use serde_json::{Value, json};

use crate::kit::{Script, topic, with};

pub(crate) const SCRIPT: Script = Script {
    name: "consumers",
    run,
    allowed: &[Allowed {
        step: "",
        field: "/MemberEpoch",
        why: "Kafka assigns in its own time, and counts an epoch for it where members were waiting",
    }],
};

const GROUP: &str = "consumers";

fn run(talk: &mut Talk) {
    let id = topic(talk, GROUP, 2, &[]);
    refused(talk);
    let first = alone(talk, &id);
    let shared = joined_by_another(talk, &id, first);
    gone(talk, &id, first, shared);
}

/// What a member says when it joins a group that reads the topic of its name.
pub(super) fn full(group: &str, member: &str) -> Value {
    json!({
        "GroupId": group,
        "MemberId": member,
        "MemberEpoch": 0,
        "RebalanceTimeoutMs": 60_000,
        "SubscribedTopicNames": [group],
        "TopicPartitions": [],
    })
}

/// What it says when nothing is new.
pub(super) fn beat(group: &str, member: &str, epoch: impl Into<i64>) -> Value {
    json!({ "GroupId": group, "MemberId": member, "MemberEpoch": epoch.into() })
}

/// What it says when what it owns has changed.
fn owns(member: &str, epoch: i32, id: &str, partitions: &[i32]) -> Value {
    let mut body = beat(GROUP, member, epoch);
    body["TopicPartitions"] = match partitions {
        [] => json!([]),
        _ => json!([{ "TopicId": id, "Partitions": partitions }]),
    };
    body
}

fn ask(talk: &mut Talk, step: &str, body: Value) -> Value {
    talk.ask(step, "ConsumerGroupHeartbeat", 1, body)
}

/// Heartbeats until an answer is as wanted: the coordinator assigns in its own time.
fn until(talk: &mut Talk, step: &str, body: &Value, is_wanted: impl Fn(&Value) -> bool) -> Value {
    talk.until(step, "ConsumerGroupHeartbeat", 1, body, is_wanted)
}

fn epoch(answer: &Value) -> i32 {
    answer["MemberEpoch"].as_i64().and_then(|epoch| i32::try_from(epoch).ok()).unwrap_or(0)
}

fn partitions(answer: &Value) -> Vec<i64> {
    let named = answer.pointer("/Assignment/TopicPartitions/0/Partitions").and_then(Value::as_array);
    let mut named: Vec<i64> = named.into_iter().flatten().filter_map(Value::as_i64).collect();
    named.sort_unstable();
    named
}

/// Commits both partitions at once, and each by itself.
fn commits(talk: &mut Talk, step: &str, id: &str, member: &str, epoch: i32) {
    for partitions in [&[0, 1][..], &[0], &[1]] {
        let named: Vec<Value> = partitions
            .iter()
            .map(|index| json!({ "PartitionIndex": index, "CommittedOffset": 1, "CommittedLeaderEpoch": 0 }))
            .collect();
        for version in [8, 9, 10] {
            let mut topic = if version < 10 { json!({ "Name": GROUP }) } else { json!({ "TopicId": id }) };
            topic["Partitions"] = json!(named);
            let body = json!({
                "GroupId": GROUP,
                "GenerationIdOrMemberEpoch": epoch,
                "MemberId": member,
                "Topics": [topic],
            });
            let step = format!("{step}, {member} commits {partitions:?}, v{version}");
            talk.ask(&step, "OffsetCommit", version, body);
        }
    }
}

/// What no member may say.
fn refused(talk: &mut Talk) {
    ask(talk, "nobody", with(full(GROUP, "a"), "/MemberId", ""));
    ask(talk, "no group", with(full(GROUP, "a"), "/GroupId", ""));
    ask(talk, "topics are not said", with(full(GROUP, "a"), "/SubscribedTopicNames", Value::Null));
    ask(talk, "no timeout", with(full(GROUP, "a"), "/RebalanceTimeoutMs", -1));
    ask(talk, "an unknown epoch", with(full(GROUP, "a"), "/MemberEpoch", -3));
    ask(talk, "no instance to come back", with(full(GROUP, "a"), "/MemberEpoch", -2));
    let mut assignor = full(GROUP, "a");
    assignor["ServerAssignor"] = json!("nearest");
    ask(talk, "an unknown assignor", assignor);
    for wrong in ["(", "(?=a)b", "a)(b", "[b-a]", "*", r"\"] {
        let step = format!("the expression {wrong}");
        let mut expression = full(GROUP, "a");
        expression["SubscribedTopicRegex"] = json!(wrong);
        ask(talk, &step, expression);
        talk.expect("/ErrorCode", 128);
    }
    ask(talk, "a member of no group", beat(GROUP, "a", 1));
    ask(talk, "who leaves no group", beat(GROUP, "a", -1));
}

/// The epoch in which the first has all.
fn alone(talk: &mut Talk, id: &str) -> i32 {
    let joined = until(talk, "the first joins", &full(GROUP, "a"), |answer| epoch(answer) > 0);
    let mut now = epoch(&joined);
    if partitions(&joined).len() < 2 {
        let all =
            until(talk, "the first has all", &beat(GROUP, "a", now), |answer| partitions(answer).len() == 2);
        now = epoch(&all);
    }
    ask(talk, "it owns both", owns("a", now, id, &[0, 1]));
    ask(talk, "nothing new", beat(GROUP, "a", now));
    talk.expect("/ErrorCode", 0);
    ask(talk, "an epoch to come", beat(GROUP, "a", now + 1));
    talk.expect("/ErrorCode", 110);
    ask(talk, "a stranger", beat(GROUP, "b", now));
    talk.expect("/ErrorCode", 25);
    commits(talk, "alone", id, "a", now);
    commits(talk, "in an epoch to come", id, "a", now + 1);
    commits(talk, "in no epoch", id, "a", 0);
    commits(talk, "as nobody", id, "", -1);
    commits(talk, "as a stranger", id, "b", now);
    now
}

/// One partition goes from the first to the second; in which epoch.
fn joined_by_another(talk: &mut Talk, id: &str, before: i32) -> i32 {
    until(talk, "the second joins", &full(GROUP, "b"), |answer| epoch(answer) > 0);
    let asked = until(talk, "the first has to give one up", &beat(GROUP, "a", before), |answer| {
        partitions(answer).len() == 1
    });
    let kept = i32::try_from(partitions(&asked).first().copied().unwrap_or(0)).unwrap_or(0);
    commits(talk, "asked to give one up", id, "a", before);
    ask(talk, "it still owns both", owns("a", before, id, &[0, 1]));
    let given = until(talk, "the first has given it up", &owns("a", before, id, &[kept]), |answer| {
        epoch(answer) > before
    });
    let now = epoch(&given);
    until(talk, "the second has it", &full(GROUP, "b"), |answer| partitions(answer).len() == 1);
    ask(talk, "the second owns it", owns("b", now, id, &[1 - kept]));
    for member in ["a", "b"] {
        for (what, epoch) in
            [("no epoch", 0), ("the old epoch", before), ("this epoch", now), ("the next", now + 1)]
        {
            commits(talk, &format!("shared, in {what}"), id, member, epoch);
        }
    }
    now
}

/// The second leaves, and the first has all again.
fn gone(talk: &mut Talk, id: &str, alone: i32, shared: i32) {
    ask(talk, "the second leaves", beat(GROUP, "b", -1));
    commits(talk, "left", id, "b", shared);
    let all = until(talk, "the first has all again", &beat(GROUP, "a", shared), |answer| {
        partitions(answer).len() == 2
    });
    let now = epoch(&all);
    ask(talk, "it owns all", owns("a", now, id, &[0, 1]));
    for (what, epoch) in [("when it was alone", alone), ("when both were there", shared), ("now", now)] {
        commits(talk, &format!("all again, {what}"), id, "a", epoch);
    }
    ask(talk, "the first leaves", beat(GROUP, "a", -1));
    commits(talk, "empty", id, "a", now);
    commits(talk, "empty, as nobody", id, "", -1);
}
