//! The rules of idempotent producers, as they were measured.

use protocol_tests::raw::{Batch, Talk};
use serde_json::json;

use crate::kit::{PRODUCED, Script, produce_body, producer_id, topic};

pub(crate) const SCRIPT: Script = Script { name: "sequences", run: |talk| run(talk, true), allowed: &[] };
/// Without what came with version 13, that is, without topic ids.
pub(crate) const OLD_SCRIPT: Script =
    Script { name: "sequences, old", run: |talk| run(talk, false), allowed: &[] };

/// A topic, and how it is produced to.
struct Target {
    id: String,
    by_id: bool,
}

impl Target {
    /// Produces a batch, and says what code and offset must come.
    fn takes(&self, talk: &mut Talk, step: &str, batch: &Batch, code: i16, offset: i64) {
        self.takes_bytes(talk, step, &batch.hex(), code, offset);
    }

    fn takes_bytes(&self, talk: &mut Talk, step: &str, records: &str, code: i16, offset: i64) {
        let version = if self.by_id { 13 } else { 11 };
        talk.ask(step, "Produce", version, produce_body("sequences", &self.id, records, -1));
        talk.expect(&format!("{PRODUCED}/ErrorCode"), code);
        talk.expect(&format!("{PRODUCED}/BaseOffset"), offset);
    }

    fn ends_at(&self, talk: &mut Talk, step: &str, offset: i64) {
        let latest = json!({ "PartitionIndex": 0, "CurrentLeaderEpoch": -1, "Timestamp": -1 });
        let body = json!({ "ReplicaId": -1, "Topics": [{ "Name": "sequences", "Partitions": [latest] }] });
        talk.ask(step, "ListOffsets", 7, body);
        talk.expect("/Topics/0/Partitions/0/Offset", offset);
    }
}

fn run(talk: &mut Talk, by_id: bool) {
    let target = Target { id: topic(talk, "sequences", 1, &[]), by_id };
    let producer = producer_id(talk);
    let batch = |epoch: i16, sequence: i32| Batch::of(&["a", "b"]).by(producer, epoch, sequence);
    for sequence in (0..14).step_by(2) {
        target.takes(talk, "in order", &batch(0, sequence), 0, i64::from(sequence));
    }
    for sequence in [4, 6, 8, 10, 12, 4] {
        target.takes(talk, "again, of the newest five", &batch(0, sequence), 0, i64::from(sequence));
    }
    for sequence in [2, 0] {
        target.takes(talk, "again, an older one", &batch(0, sequence), 45, -1);
    }
    target.takes(talk, "a gap", &batch(0, 20), 45, -1);
    let three = Batch::of(&["a", "b", "c"]).by(producer, 0, 12);
    target.takes(talk, "another count at the same sequence", &three, 45, -1);
    target.takes(talk, "a new epoch that does not begin at 0", &batch(1, 5), 45, -1);
    let other = Batch::of(&["x", "y"]).by(producer, 0, 12);
    target.takes(talk, "other content at the same sequence is acknowledged", &other, 0, 12);
    target.ends_at(talk, "and not written", 14);
    target.takes(talk, "a new epoch from 0", &batch(1, 0), 0, 14);
    target.takes(talk, "the old epoch", &batch(0, 14), 47, -1);
    target.takes(talk, "the old epoch, what it wrote", &batch(0, 12), 47, -1);
    let unknown = Batch::of(&["a", "b"]).by(producer + 1_000_000, 0, 7);
    target.takes(talk, "an unknown producer from 7 on", &unknown, 0, 16);
    let mut wraps = Batch::of(&["a", "b"]).by(producer + 1_000_001, 3, i32::MAX);
    target.takes(talk, "the largest sequence", &wraps, 0, 18);
    wraps.producer.2 = 1;
    target.takes(talk, "sequences go on behind it", &wraps, 0, 20);
    wraps.producer.2 = i32::MAX;
    target.takes(talk, "again across the largest", &wraps, 0, 18);
    let mut broken = Batch::of(&["a"]).bytes();
    broken[17] ^= 1;
    target.takes_bytes(talk, "a wrong checksum", &protocol_tests::raw::hex(&broken), 2, -1);
    target.takes(talk, "without producer", &Batch::of(&["a"]), 0, 22);
    target.ends_at(talk, "the end", 23);
    if by_id {
        let nowhere = Target { id: "12".repeat(16), by_id };
        nowhere.takes(talk, "an unknown topic id", &batch(1, 2), 100, -1);
        let none = Target { id: "00".repeat(16), by_id };
        none.takes(talk, "no topic id", &batch(1, 2), 100, -1);
    }
}
