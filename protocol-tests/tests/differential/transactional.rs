//! What the scripts of transactions share.

use std::time::UNIX_EPOCH;

use protocol_tests::raw::{Batch, Talk};
use serde_json::{Value, json};

use crate::kit::{FETCHED, fetch_body, produce_body, topic, with};

/// The attribute bit of a batch that belongs to a transaction.
const TRANSACTIONAL: i16 = 1 << 4;
/// No identity.
pub(crate) const NOBODY: (i64, i16) = (-1, -1);

/// A transactional id and the topic that it writes to, in the versions of one of the two kinds of transactions.
pub(crate) struct Writer {
    /// The transactional id.
    pub(crate) name: String,
    topic: String,
    pub(crate) topic_id: String,
    pub(crate) produce: i16,
    pub(crate) end: i16,
    fetch: i16,
}

impl Writer {
    /// The first kind, in versions that have not changed since Kafka 3.9.
    pub(crate) fn first(talk: &mut Talk, name: &str) -> Self {
        Self::new(talk, name, 11, 4, 12)
    }

    /// The second kind (KIP-890), in the newest versions.
    pub(crate) fn second(talk: &mut Talk, name: &str) -> Self {
        Self::new(talk, name, 13, 5, 17)
    }

    fn new(talk: &mut Talk, name: &str, produce: i16, end: i16, fetch: i16) -> Self {
        let topic_id = topic(talk, name, 2, &[]);
        Self { name: name.to_owned(), topic: name.to_owned(), topic_id, produce, end, fetch }
    }

    /// The same topic under another transactional id.
    pub(crate) fn named(&self, name: &str) -> Self {
        let (topic, topic_id) = (self.topic.clone(), self.topic_id.clone());
        Self { name: name.to_owned(), topic, topic_id, ..*self }
    }

    /// A producer that begins under the id, when nothing is in its way any more.
    pub(crate) fn begin(&self, talk: &mut Talk) -> (i64, i16) {
        begin(talk, &self.name)
    }

    /// Writes one record in the transaction, to partition 0.
    pub(crate) fn write(&self, talk: &mut Talk, step: &str, by: (i64, i16), sequence: i32) -> Value {
        self.write_batch(talk, step, self.produce, &transactional(by, sequence, &["a"]))
    }

    pub(crate) fn write_batch(&self, talk: &mut Talk, step: &str, version: i16, batch: &Batch) -> Value {
        let body = produce_body(&self.topic, &self.topic_id, &batch.hex(), -1);
        talk.ask(step, "Produce", version, with(body, "/TransactionalId", self.name.as_str()))
    }

    /// Writes one record without a step of its own; it must be written.
    pub(crate) fn fill(&self, talk: &mut Talk, by: (i64, i16), sequence: i32) {
        let batch = transactional(by, sequence, &["a"]);
        let body = produce_body(&self.topic, &self.topic_id, &batch.hex(), -1);
        let body = with(body, "/TransactionalId", self.name.as_str());
        talk.until("it is written", "Produce", self.produce, &body, |answer| {
            answer.pointer(crate::kit::PRODUCED).is_some_and(|partition| partition["ErrorCode"] == 0)
        });
    }

    pub(crate) fn end_body(&self, by: (i64, i16), commit: bool) -> Value {
        json!({
            "TransactionalId": self.name,
            "ProducerId": by.0,
            "ProducerEpoch": by.1,
            "Committed": commit,
        })
    }

    /// Asks for the end of the transaction.
    pub(crate) fn end(&self, talk: &mut Talk, step: &str, by: (i64, i16), commit: bool) -> Value {
        talk.ask(step, "EndTxn", self.end, self.end_body(by, commit))
    }

    /// Ends the transaction, waits for its markers, and shows that the request may be repeated then. Who goes on.
    pub(crate) fn ended(&self, talk: &mut Talk, step: &str, by: (i64, i16), commit: bool) -> (i64, i16) {
        let answer = self.end(talk, step, by, commit);
        talk.expect("/ErrorCode", 0);
        self.marked(talk, by, commit);
        self.end(talk, &format!("{step}, again"), by, commit);
        talk.expect("/ErrorCode", 0);
        identity(&answer).unwrap_or(by)
    }

    /// Waits for the markers of a transaction whose end was asked for.
    pub(crate) fn marked(&self, talk: &mut Talk, by: (i64, i16), commit: bool) {
        let body = self.end_body(by, commit);
        talk.until("the markers", "EndTxn", self.end, &body, |answer| answer["ErrorCode"] != 51);
    }

    /// Partitions of the topic are named.
    pub(crate) fn add_body(&self, by: (i64, i16), partitions: &[i32]) -> Value {
        json!({
            "V3AndBelowTransactionalId": self.name,
            "V3AndBelowProducerId": by.0,
            "V3AndBelowProducerEpoch": by.1,
            "V3AndBelowTopics": [{ "Name": self.topic, "Partitions": partitions }],
        })
    }

    pub(crate) fn add(&self, talk: &mut Talk, step: &str, version: i16, by: (i64, i16), partitions: &[i32]) {
        talk.ask(step, "AddPartitionsToTxn", version, self.add_body(by, partitions));
    }

    /// Reads partition 0 from an offset, and says where readers of committed records come to a halt.
    pub(crate) fn read(&self, talk: &mut Talk, step: &str, committed: bool, offset: i64) {
        let body = fetch_body(&self.topic, &self.topic_id, offset);
        let level = i8::from(committed);
        let step = format!("{step}, isolation {level}, from {offset}");
        talk.ask(&step, "Fetch", self.fetch, with(body, "/IsolationLevel", level));
    }

    /// Reads all of partition 0 in both ways.
    pub(crate) fn read_all(&self, talk: &mut Talk, step: &str, stable: i64, high: i64) {
        for committed in [false, true] {
            self.read(talk, step, committed, 0);
            talk.expect(&format!("{FETCHED}/LastStableOffset"), stable);
            talk.expect(&format!("{FETCHED}/HighWatermark"), high);
        }
    }

    /// Where partition 0 ends for readers of both kinds.
    pub(crate) fn ends(&self, talk: &mut Talk, step: &str, stable: i64, high: i64) {
        for (level, end) in [(0, high), (1, stable)] {
            talk.ask(&format!("{step}, isolation {level}"), "ListOffsets", 7, self.latest(level));
            talk.expect("/Topics/0/Partitions/0/Offset", end);
        }
    }

    pub(crate) fn latest(&self, level: i8) -> Value {
        self.place(level, -1)
    }

    pub(crate) fn place(&self, level: i8, timestamp: i64) -> Value {
        let wanted = json!({ "PartitionIndex": 0, "CurrentLeaderEpoch": -1, "Timestamp": timestamp });
        json!({
            "ReplicaId": -1,
            "IsolationLevel": level,
            "Topics": [{ "Name": self.topic, "Partitions": [wanted] }],
        })
    }
}

/// A batch that belongs to a transaction.
pub(crate) fn transactional(by: (i64, i16), sequence: i32, values: &[&str]) -> Batch {
    Batch { attributes: TRANSACTIONAL, ..recent(values).by(by.0, by.1, sequence) }
}

/// A batch of now: between old records and the markers of now, Kafka begins another segment, and a fetch ends there.
pub(crate) fn recent(values: &[&str]) -> Batch {
    let now = UNIX_EPOCH.elapsed().unwrap_or_default().as_millis();
    Batch { timestamp: i64::try_from(now).unwrap_or(0), ..Batch::of(values) }
}

pub(crate) fn init_body(id: &str, given: (i64, i16), timeout: i32) -> Value {
    json!({
        "TransactionalId": id,
        "TransactionTimeoutMs": timeout,
        "ProducerId": given.0,
        "ProducerEpoch": given.1,
    })
}

/// A producer begins under an id, when nothing is in its way any more.
pub(crate) fn begin(talk: &mut Talk, id: &str) -> (i64, i16) {
    begin_for(talk, id, 60_000)
}

pub(crate) fn begin_for(talk: &mut Talk, id: &str, timeout: i32) -> (i64, i16) {
    let body = init_body(id, NOBODY, timeout);
    let answer = talk.until("an identity", "InitProducerId", 4, &body, |answer| answer["ErrorCode"] == 0);
    identity(&answer).unwrap_or(NOBODY)
}

/// The producer id and epoch that an answer gives.
pub(crate) fn identity(answer: &Value) -> Option<(i64, i16)> {
    let epoch = answer["ProducerEpoch"].as_i64()?;
    Some((answer["ProducerId"].as_i64()?, i16::try_from(epoch).ok()?))
}
