//! Share groups (KIP-932): members, sessions, locks on records and what becomes of them.

use protocol_tests::raw::{Allowed, Talk};
use serde_json::{Value, json};

use crate::kit::{Script, fill, topic, with};

pub(crate) const SCRIPT: Script = Script {
    name: "shares",
    run,
    allowed: &[Allowed {
        step: "",
        field: "/MemberEpoch",
        why: "Kafka assigns in its own time, and counts an epoch for it where members were waiting",
    }],
};

const GROUP: &str = "shares";

fn run(talk: &mut Talk) {
    let id = topic(talk, GROUP, 1, &[]);
    refused(talk);
    member(talk);
    let mut a = Session::open(talk, "a", &id);
    a.without(talk);
    locks(talk, &mut a);
    wrong(talk, &mut a);
    two(talk, &mut a);
    gaps(talk, &mut a);
}

/// What a member says when it joins.
fn full(member: &str) -> Value {
    json!({ "GroupId": GROUP, "MemberId": member, "MemberEpoch": 0, "RackId": null, "SubscribedTopicNames": [GROUP] })
}

fn beat(member: &str, epoch: i64) -> Value {
    with(with(full(member), "/MemberEpoch", epoch), "/SubscribedTopicNames", Value::Null)
}

fn ask(talk: &mut Talk, step: &str, body: Value) -> Value {
    talk.ask(step, "ShareGroupHeartbeat", 1, body)
}

/// What no member may say.
fn refused(talk: &mut Talk) {
    ask(talk, "nobody", with(full("a"), "/MemberId", ""));
    ask(talk, "no group", with(full("a"), "/GroupId", ""));
    ask(talk, "topics are not said", with(full("a"), "/SubscribedTopicNames", Value::Null));
    ask(talk, "an unknown epoch", with(full("a"), "/MemberEpoch", -3));
    ask(talk, "a member of no group", beat("a", 1));
    ask(talk, "who leaves no group", beat("a", -1));
}

fn member(talk: &mut Talk) {
    let has_all =
        |answer: &Value| answer.pointer("/Assignment/TopicPartitions/0/Partitions") == Some(&json!([0]));
    let joined = talk.until("the first joins", "ShareGroupHeartbeat", 1, &full("a"), has_all);
    let epoch = joined["MemberEpoch"].as_i64().unwrap_or(0);
    ask(talk, "nothing new", beat("a", epoch));
    talk.expect("/ErrorCode", 0);
    ask(talk, "an epoch to come", beat("a", epoch + 5));
    ask(talk, "a stranger", beat("z", epoch));
    ask(talk, "a stranger leaves", beat("z", -1));
}

/// A member's session with the broker.
struct Session {
    member: &'static str,
    id: String,
    epoch: i32,
}

impl Session {
    fn open(talk: &mut Talk, member: &'static str, id: &str) -> Self {
        let mut session = Self { member, id: id.to_owned(), epoch: 0 };
        // The first one finds out where the group begins, in its own time.
        let body = session.body(&[], json!([]));
        let is_ready = |answer: &Value| {
            answer["ErrorCode"] == 0
                && answer.pointer("/Responses/0/Partitions/0/ErrorCode").is_none_or(|code| *code == 0)
        };
        talk.until(&format!("{member} opens a session"), "ShareFetch", 2, &body, is_ready);
        session.epoch = 1;
        session
    }

    fn body(&self, verdicts: &[(i64, i64, &[i8])], forgotten: Value) -> Value {
        json!({
            "GroupId": GROUP,
            "MemberId": self.member,
            "ShareSessionEpoch": self.epoch,
            "MaxWaitMs": 500,
            "MinBytes": 1,
            "MaxBytes": 1 << 20,
            "MaxRecords": 500,
            "BatchSize": 500,
            "ShareAcquireMode": 0,
            "IsRenewAck": false,
            "Topics": self.topics(verdicts),
            "ForgottenTopicsData": forgotten,
        })
    }

    fn topics(&self, verdicts: &[(i64, i64, &[i8])]) -> Value {
        let batches: Vec<Value> = verdicts
            .iter()
            .map(|(first, last, types)| json!({ "FirstOffset": first, "LastOffset": last, "AcknowledgeTypes": types }))
            .collect();
        json!([{ "TopicId": self.id, "Partitions": [{ "PartitionIndex": 0, "AcknowledgementBatches": batches }] }])
    }

    fn fetch(&mut self, talk: &mut Talk, step: &str, verdicts: &[(i64, i64, &[i8])]) -> Value {
        let answer =
            talk.ask(&format!("{}: {step}", self.member), "ShareFetch", 2, self.body(verdicts, json!([])));
        self.epoch += 1;
        answer
    }

    fn strictly(&mut self, talk: &mut Talk, step: &str, most: i32) -> Value {
        let body = with(with(self.body(&[], json!([])), "/ShareAcquireMode", 1), "/MaxRecords", most);
        let answer = talk.ask(&format!("{}: {step}", self.member), "ShareFetch", 2, body);
        self.epoch += 1;
        answer
    }

    fn acknowledge(
        &mut self,
        talk: &mut Talk,
        step: &str,
        verdicts: &[(i64, i64, &[i8])],
        renews: bool,
    ) -> Value {
        let body = json!({
            "GroupId": GROUP,
            "MemberId": self.member,
            "ShareSessionEpoch": self.epoch,
            "IsRenewAck": renews,
            "Topics": self.topics(verdicts),
        });
        let answer = talk.ask(&format!("{}: {step}", self.member), "ShareAcknowledge", 2, body);
        self.epoch += 1;
        answer
    }

    /// Requests in no session, or out of its order. They count for nothing.
    fn without(&self, talk: &mut Talk) {
        let mut stranger = Self { member: "stranger", id: self.id.clone(), epoch: 5 };
        stranger.fetch(talk, "a session that is none", &[]);
        talk.expect("/ErrorCode", 122);
        stranger.epoch = 0;
        stranger.acknowledge(talk, "acknowledges before it reads", &[(0, 0, &[1])], false);
        stranger.epoch = -1;
        stranger.acknowledge(talk, "ends no session", &[], false);
        stranger.epoch = 0;
        stranger.fetch(talk, "acknowledges with its first request", &[(0, 0, &[1])]);
        let mut early = Self { member: self.member, id: self.id.clone(), epoch: self.epoch + 3 };
        early.fetch(talk, "too early", &[]);
        talk.expect("/ErrorCode", 123);
    }
}

/// The records of one batch, and what becomes of them.
fn locks(talk: &mut Talk, a: &mut Session) {
    fill(talk, &a.id.clone(), &["0", "1", "2", "3", "4"]);
    a.fetch(talk, "five records", &[]);
    talk.expect("/Responses/0/Partitions/0/AcquiredRecords/0/LastOffset", 4);
    a.fetch(talk, "no more", &[]);
    a.acknowledge(
        talk,
        "one is accepted, one released, one rejected",
        &[(0, 0, &[1]), (1, 1, &[2]), (2, 2, &[3])],
        false,
    );
    a.fetch(talk, "the one that was released", &[]);
    talk.expect("/Responses/0/Partitions/0/AcquiredRecords/0/DeliveryCount", 2);
    a.acknowledge(talk, "one by one in a batch", &[(3, 4, &[1, 2])], false);
    a.fetch(talk, "with a fetch", &[(1, 1, &[1])]);
    a.fetch(talk, "the other that was released", &[]);
    a.acknowledge(talk, "renewed", &[(4, 4, &[4])], true);
    a.acknowledge(talk, "renewed without saying so", &[(4, 4, &[4])], false);
    a.acknowledge(talk, "accepted", &[(4, 4, &[1])], false);
    fill(talk, &a.id.clone(), &["5", "6", "7", "8"]);
    a.strictly(talk, "two at most", 2);
    a.strictly(talk, "one at most", 1);
    a.acknowledge(talk, "two are released at once", &[(5, 6, &[2])], false);
    a.fetch(talk, "the rest, delivered once and twice", &[]);
    a.acknowledge(talk, "all are accepted", &[(5, 8, &[1])], false);
    a.fetch(talk, "nothing left", &[]);
}

/// What cannot be said of records.
fn wrong(talk: &mut Talk, a: &mut Session) {
    fill(talk, &a.id.clone(), &["9", "10", "11"]);
    a.acknowledge(talk, "not locked yet", &[(9, 9, &[1])], false);
    a.fetch(talk, "three more", &[]);
    a.acknowledge(talk, "long done with", &[(0, 0, &[1])], false);
    a.acknowledge(talk, "not written yet", &[(99, 99, &[1])], false);
    a.acknowledge(talk, "half of it is locked", &[(8, 9, &[1])], false);
    a.acknowledge(talk, "an end before its beginning", &[(11, 9, &[1])], false);
    a.acknowledge(talk, "too few verdicts", &[(9, 11, &[1, 1])], false);
    a.acknowledge(talk, "too many verdicts", &[(9, 10, &[1, 1, 1])], false);
    a.acknowledge(talk, "no verdicts", &[(9, 10, &[])], false);
    a.acknowledge(talk, "an unknown verdict", &[(9, 9, &[7])], false);
    a.acknowledge(talk, "twice the same", &[(9, 9, &[1]), (9, 9, &[1])], false);
    a.acknowledge(talk, "out of order", &[(10, 10, &[1]), (9, 9, &[1])], false);
    a.acknowledge(talk, "overlapping", &[(9, 10, &[1]), (10, 11, &[1])], false);
    a.acknowledge(talk, "one of two is wrong", &[(9, 9, &[1]), (50, 50, &[1])], false);
    a.fetch(talk, "with a fetch, wrong", &[(60, 60, &[1])]);
    a.acknowledge(talk, "what is still locked", &[(9, 11, &[1])], false);
}

/// Two members and one partition.
fn two(talk: &mut Talk, a: &mut Session) {
    let mut b = Session::open(talk, "b", &a.id.clone());
    fill(talk, &a.id.clone(), &["12", "13"]);
    fill(talk, &a.id.clone(), &["14", "15"]);
    a.strictly(talk, "two of four", 2);
    b.fetch(talk, "the other two", &[]);
    b.acknowledge(talk, "the first one's", &[(12, 12, &[1])], false);
    a.epoch = -1;
    a.acknowledge(talk, "its last word", &[(12, 12, &[1])], false);
    b.fetch(talk, "what the first one had", &[]);
    talk.expect("/Responses/0/Partitions/0/AcquiredRecords/0/FirstOffset", 13);
    b.acknowledge(talk, "all of it", &[(13, 15, &[1])], false);
    b.epoch = -1;
    b.acknowledge(talk, "its last word too", &[], false);
    *a = Session::open(talk, "a", &a.id.clone());
}

/// Markers of transactions.
fn gaps(talk: &mut Talk, a: &mut Session) {
    let begin = json!({ "TransactionalId": "shares", "TransactionTimeoutMs": 60_000 });
    let is_ready = |answer: &Value| answer["ErrorCode"] == 0;
    let producer = talk.until("a transactional producer", "InitProducerId", 4, &begin, is_ready);
    let (id, epoch) =
        (producer["ProducerId"].as_i64().unwrap_or(-1), producer["ProducerEpoch"].as_i64().unwrap_or(-1));
    let add = json!({
        "V3AndBelowTransactionalId": "shares",
        "V3AndBelowProducerId": id,
        "V3AndBelowProducerEpoch": epoch,
        "V3AndBelowTopics": [{ "Name": GROUP, "Partitions": [0] }],
    });
    talk.until("a partition is added", "AddPartitionsToTxn", 3, &add, |answer| {
        answer.pointer("/ResultsByTopicV3AndBelow/0/ResultsByPartition/0/PartitionErrorCode")
            == Some(&json!(0))
    });
    let epoch = i16::try_from(epoch).unwrap_or(-1);
    let batch = protocol_tests::raw::Batch {
        attributes: 0x10,
        ..protocol_tests::raw::Batch::of(&["16", "17"]).by(id, epoch, 0)
    };
    let partition = json!({ "Index": 0, "Records": batch.hex() });
    let written = talk.quietly(
        "Produce",
        11,
        json!({
            "TransactionalId": "shares", "Acks": -1, "TimeoutMs": 10_000,
            "TopicData": [{ "Name": GROUP, "TopicId": "00".repeat(16), "PartitionData": [partition] }],
        }),
    );
    crate::kit::must_be_written(talk, &written);
    let end =
        json!({ "TransactionalId": "shares", "ProducerId": id, "ProducerEpoch": epoch, "Committed": true });
    talk.until("the transaction ends", "EndTxn", 3, &end, is_ready);
    // The marker is written in the broker's own time.
    let latest = json!({ "ReplicaId": -1, "IsolationLevel": 1, "Topics": [{ "Name": GROUP, "Partitions": [{ "PartitionIndex": 0, "Timestamp": -1 }] }] });
    talk.until("the marker is written", "ListOffsets", 5, &latest, |answer| {
        answer.pointer("/Topics/0/Partitions/0/Offset") == Some(&json!(19))
    });
    fill(talk, &a.id.clone(), &["18"]);
    // Kafka may stop in front of the marker, and go on with it.
    for _ in 0..2 {
        talk.quietly("ShareFetch", 2, a.body(&[], json!([])));
        a.epoch += 1;
    }
    a.acknowledge(talk, "the marker is a gap", &[(16, 17, &[1]), (18, 18, &[0]), (19, 19, &[1])], false);
    a.fetch(talk, "no more of them", &[]);
    fill(talk, &a.id.clone(), &["20", "21"]);
    fill(talk, &a.id.clone(), &["22"]);
    a.fetch(talk, "two batches", &[]);
    a.fetch(talk, "no more", &[]);
}
