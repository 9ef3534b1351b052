//! Offsets that are committed with a transaction.

use protocol_tests::raw::Talk;
use serde_json::{Value, json};

use crate::groups::{join, member_id, stable, sync};
use crate::kit::with;
use crate::transactional::Writer;

/// A commit for partition 0, by nobody in particular.
fn body(writer: &Writer, version: i16, by: (i64, i16), group: &str, offset: i64) -> Value {
    let partition = json!({
        "PartitionIndex": 0,
        "CommittedOffset": offset,
        "CommittedLeaderEpoch": 0,
        "CommittedMetadata": "a note",
    });
    let mut topic = json!({ "Name": writer.name, "Partitions": [partition] });
    if version >= 6 {
        topic["TopicId"] = json!(writer.topic_id);
    }
    let mut body = json!({
        "TransactionalId": writer.name,
        "GroupId": group,
        "ProducerId": by.0,
        "ProducerEpoch": by.1,
        "Topics": [topic],
    });
    if version >= 3 {
        body["GenerationIdOrMemberEpoch"] = json!(-1);
        body["MemberId"] = json!("");
    }
    body
}

fn commit(talk: &mut Talk, step: &str, version: i16, body: Value) {
    talk.ask(&format!("{step}, v{version}"), "TxnOffsetCommit", version, body);
}

/// What a group has committed, as it is read in several ways.
fn fetched(talk: &mut Talk, step: &str, writer: &Writer, group: &str) {
    let topics = json!([{ "Name": writer.name, "PartitionIndexes": [0, 1] }]);
    for stable in [false, true] {
        let body = json!({ "GroupId": group, "RequireStable": stable, "Topics": topics });
        talk.ask(&format!("{step}, stable {stable}, v7"), "OffsetFetch", 7, body);
        for topics in [&topics, &Value::Null] {
            let groups = json!([{ "GroupId": group, "Topics": topics }]);
            let body = json!({ "RequireStable": stable, "Groups": groups });
            let which = if topics.is_null() { "all" } else { "two" };
            talk.ask(&format!("{step}, {which}, stable {stable}, v8"), "OffsetFetch", 8, body);
        }
    }
}

fn add_offsets(talk: &mut Talk, step: &str, version: i16, writer: &Writer, by: (i64, i16), group: &str) {
    let body = json!({
        "TransactionalId": writer.name,
        "ProducerId": by.0,
        "ProducerEpoch": by.1,
        "GroupId": group,
    });
    talk.ask(&format!("{step}, v{version}"), "AddOffsetsToTxn", version, body);
}

/// In all versions, or in those that have not changed since Kafka 3.9.
pub(crate) fn run(talk: &mut Talk, newest: bool) {
    let writer = Writer::first(talk, "txn-offsets");
    let by = writer.begin(talk);
    let group = "txn-offsets";
    for version in 0..=4 {
        commit(talk, "not added", version, body(&writer, version, by, group, 7));
        talk.expect("/Topics/0/Partitions/0/ErrorCode", if version < 4 { 48 } else { 120 });
    }
    for version in 0..=4 {
        add_offsets(talk, "added", version, &writer, by, group);
        talk.expect("/ErrorCode", 0);
        commit(talk, "committed", version, body(&writer, version, by, group, i64::from(version)));
        talk.expect("/Topics/0/Partitions/0/ErrorCode", 0);
    }
    fetched(talk, "open", &writer, group);
    refused(talk, &writer, by, newest);
    writer.ended(talk, "commit", by, true);
    fetched(talk, "committed", &writer, group);
    commit(talk, "behind the end", 4, body(&writer, 4, by, group, 9));
    add_offsets(talk, "added again", 4, &writer, by, group);
    commit(talk, "to be aborted", 4, body(&writer, 4, by, group, 11));
    fetched(talk, "open again", &writer, group);
    writer.ended(talk, "abort", by, false);
    fetched(talk, "aborted", &writer, group);
    let new = writer.begin(talk);
    for version in 0..=4 {
        commit(talk, "fenced", version, body(&writer, version, by, group, 12));
        add_offsets(talk, "fenced, adds", version, &writer, by, group);
    }
    let another = (new.0 + 1_000_000, 0);
    commit(talk, "another producer", 4, body(&writer, 4, another, group, 12));
    add_offsets(talk, "another producer adds", 4, &writer, another, group);
    members(talk, &writer, new);
    if newest {
        second_version(talk);
    }
}

/// What cannot be committed.
fn refused(talk: &mut Talk, writer: &Writer, by: (i64, i16), newest: bool) {
    let versions: &[i16] = if newest { &[0, 3, 4, 5, 6] } else { &[0, 3, 4] };
    for &version in versions {
        let right = || body(writer, version, by, "txn-offsets", 8);
        let index = with(right(), "/Topics/0/Partitions/0/PartitionIndex", 9);
        commit(talk, "a partition that is not there", version, index);
        let mut unknown = with(right(), "/Topics/0/Name", "txn-none");
        if version >= 6 {
            unknown["Topics"][0]["TopicId"] = json!("12".repeat(16));
        }
        commit(talk, "a topic that is not there", version, unknown.clone());
        let mut both = right();
        both["Topics"] = json!([both["Topics"][0], unknown["Topics"][0]]);
        commit(talk, "a topic that is there and one that is not", version, both);
        let long = with(right(), "/Topics/0/Partitions/0/CommittedMetadata", "x".repeat(4_097));
        commit(talk, "a long note", version, long);
        commit(talk, "no group", version, with(right(), "/GroupId", ""));
        commit(talk, "nothing", version, with(right(), "/Topics", json!([])));
    }
    add_offsets(talk, "no group", 4, writer, by, "");
}

/// Who is a member says so, and is believed in its generation.
fn members(talk: &mut Talk, writer: &Writer, by: (i64, i16)) {
    let group = "txn-offsets-members";
    add_offsets(talk, "for members", 4, writer, by, group);
    let of = |generation: i32, member: &str, instance: Value| {
        let mut body = body(writer, 4, by, group, 3);
        body["GenerationIdOrMemberEpoch"] = json!(generation);
        body["MemberId"] = json!(member);
        body["GroupInstanceId"] = instance;
        body
    };
    let none = || Value::Null;
    commit(talk, "a member of no group", 4, of(1, "m", none()));
    let first = stable(talk, group);
    for (step, generation, member, instance) in [
        ("a member", 1, &*first, none()),
        ("an old generation", 0, &first, none()),
        ("a generation to come", 2, &first, none()),
        ("a stranger", 1, "somebody", none()),
        ("nobody", -1, "", none()),
        ("nobody, in a generation", 1, "", none()),
        ("a member without generation", -1, &first, none()),
        ("an instance that is not there", 1, &first, json!("i")),
    ] {
        commit(talk, step, 4, of(generation, member, instance));
    }
    let second = member_id(talk, group);
    let joins = join(group, &second);
    talk.send("second", "JoinGroup", 5, &joins);
    let beat = crate::groups::beat(group, 1, &first);
    talk.until("a rebalance", "Heartbeat", 3, &beat, |answer| answer["ErrorCode"] == 27);
    commit(talk, "during the rebalance", 4, of(1, &first, none()));
    talk.ask("the first joins", "JoinGroup", 5, join(group, &first));
    talk.receive("second", "the second has joined", &joins.to_string());
    commit(talk, "before the assignment", 4, of(2, &first, none()));
    talk.ask("the assignment", "SyncGroup", 3, sync(group, 2, &first, &[(&first, "01"), (&second, "02")]));
    commit(talk, "behind the assignment", 4, of(2, &first, none()));
    let leave = json!({ "GroupId": group, "Members": [{ "MemberId": first }, { "MemberId": second }] });
    talk.quietly("LeaveGroup", 4, leave);
    commit(talk, "who has left", 4, of(2, &first, none()));
    commit(talk, "nobody, in an empty group", 4, of(-1, "", none()));
    static_members(talk, of);
}

/// A member whose place another instance has taken.
fn static_members(talk: &mut Talk, of: impl Fn(i32, &str, Value) -> Value) {
    let group = "txn-offsets-members";
    let joins = || with_instance(join(group, ""));
    let old = crate::groups::text(&talk.quietly("JoinGroup", 5, joins()), "MemberId");
    let new = crate::groups::text(&talk.quietly("JoinGroup", 5, joins()), "MemberId");
    commit(talk, "the instance that was replaced", 4, of(3, &old, json!("i")));
    commit(talk, "the instance that replaced it", 4, of(3, &new, json!("i")));
}

fn with_instance(mut body: Value) -> Value {
    body["GroupInstanceId"] = json!("i");
    body
}

/// Committing takes the group into the transaction (KIP-890).
fn second_version(talk: &mut Talk) {
    let writer = Writer::second(talk, "txn-offsets-2");
    let mut by = writer.begin(talk);
    let group = "txn-offsets-2";
    for version in [5, 6] {
        commit(talk, "not added", version, body(&writer, version, by, group, i64::from(version)));
        talk.expect("/Topics/0/Partitions/0/ErrorCode", 0);
        fetched(talk, "open", &writer, group);
        by = writer.ended(talk, &format!("commit of v{version}"), by, true);
        fetched(talk, &format!("committed in v{version}"), &writer, group);
        let old = (by.0, by.1 - 1);
        commit(talk, "late", version, body(&writer, version, old, group, 9));
        let another = (by.0 + 1_000_000, 0);
        commit(talk, "another producer", version, body(&writer, version, another, group, 12));
        let mut member = body(&writer, version, by, group, 12);
        member["GenerationIdOrMemberEpoch"] = json!(1);
        member["MemberId"] = json!("m");
        commit(talk, "a member of an empty group", version, member.clone());
        member["GroupId"] = json!("txn-offsets-none");
        commit(talk, "a member of no group", version, member);
        by = writer.ended(talk, &format!("abort of v{version}"), by, false);
    }
    writer.ends(talk, "no record was written", 0, 0);
}
