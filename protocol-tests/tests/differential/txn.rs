//! Transactions of the second version (KIP-890), as their rules were measured.

use protocol_tests::raw::Talk;
use serde_json::json;

use crate::kit::{FETCHED, PRODUCED, Script};
use crate::transactional::{NOBODY, Writer, init_body, recent, transactional};
use crate::{txn_first, txn_offsets, txn_timeouts};

/// All of transactions is one script: where two at once have brokers ask the coordinator whether a partition belongs to
/// a transaction, Kafka may answer one in words that only the other's version knows.
pub(crate) const SCRIPT: Script = Script { name: "txn", run, allowed: &[] };
/// In versions that have not changed since Kafka 3.9.
pub(crate) const OLD_SCRIPT: Script = Script { name: "txn, old", run: run_old, allowed: &[] };

fn run_old(talk: &mut Talk) {
    txn_first::run(talk, false);
    txn_offsets::run(talk, false);
}

fn run(talk: &mut Talk) {
    txn_first::run(talk, true);
    txn_offsets::run(talk, true);
    txn_timeouts::run(talk);
    ends(talk);
    ends_of_nothing(talk);
    second_instance(talk);
    outside(talk);
    interleaved(talk);
    strangers(talk);
}

fn ends(talk: &mut Talk) {
    let writer = Writer::second(talk, "txn-ends");
    let first = writer.begin(talk);
    writer.write_batch(talk, "first records", 13, &transactional(first, 0, &["a", "b", "c"]));
    talk.expect(&format!("{PRODUCED}/ErrorCode"), 0);
    writer.write(talk, "the same partition again", first, 3);
    writer.write(talk, "a duplicate", first, 3);
    writer.write(talk, "a gap", first, 7);
    writer.read_all(talk, "open", 0, 4);
    writer.ends(talk, "open", 0, 4);
    let next = writer.ended(talk, "abort", first, false);
    talk.expect("/ProducerEpoch", first.1 + 1);
    writer.end(talk, "a commit of what was aborted", first, true);
    talk.expect("/ErrorCode", 48);
    writer.write(talk, "late", first, 4);
    talk.expect(&format!("{PRODUCED}/ErrorCode"), 47);
    writer.write(talk, "the next, not from 0", next, 4);
    talk.expect(&format!("{PRODUCED}/ErrorCode"), 45);
    writer.fill(talk, next, 0);
    writer.read_all(talk, "one aborted, one open", 5, 6);
    let next = writer.ended(talk, "commit", next, true);
    writer.end(talk, "an abort of what was committed", (next.0, next.1 - 1), false);
    talk.expect("/ErrorCode", 48);
    writer.end(talk, "a commit of nothing more", next, true);
    talk.expect("/ErrorCode", 48);
    writer.read_all(talk, "one aborted, one committed", 7, 7);
    for offset in 1..=8 {
        writer.read(talk, "all ended", true, offset);
    }
    for timestamp in [-2, -1, 0, i64::MAX] {
        for level in [0, 1] {
            let step = format!("place {timestamp}, isolation {level}");
            talk.ask(&step, "ListOffsets", 7, writer.place(level, timestamp));
        }
    }
}

fn ends_of_nothing(talk: &mut Talk) {
    let writer = Writer::second(talk, "txn-nothing");
    let by = writer.begin(talk);
    writer.end(talk, "an empty commit", by, true);
    talk.expect("/ErrorCode", 48);
    let next = writer.ended(talk, "an empty abort", by, false);
    talk.expect("/ProducerEpoch", by.1 + 1);
    writer.end(talk, "an empty commit behind an abort", next, true);
    talk.expect("/ErrorCode", 48);
    let next = writer.ended(talk, "an empty abort behind another", next, false);
    writer.fill(talk, next, 0);
    let next = writer.ended(talk, "a commit", next, true);
    let next = writer.ended(talk, "an empty abort behind a commit", next, false);
    writer.add(talk, "a partition is added and not written to", 3, next, &[1, 0]);
    let next = writer.ended(talk, "an abort of a partition", next, false);
    writer.read_all(talk, "markers alone", 3, 3);
    writer.fill(talk, next, 0);
    writer.ended(talk, "the last", next, true);
    writer.read_all(talk, "the end", 5, 5);
}

fn second_instance(talk: &mut Talk) {
    let writer = Writer::second(talk, "txn-second");
    let old = writer.begin(talk);
    let new = writer.begin(talk);
    let zombie = |talk: &mut Talk, what: &str, old: (i64, i16)| {
        writer.write(talk, &format!("{what}: writes"), old, 0);
        talk.expect(&format!("{PRODUCED}/ErrorCode"), 47);
        for version in 0..=5 {
            let body = writer.end_body(old, true);
            talk.ask(&format!("{what}: ends, v{version}"), "EndTxn", version, body);
        }
        for version in 0..=3 {
            writer.add(talk, &format!("{what}: adds, v{version}"), version, old, &[0]);
        }
    };
    let begins = |talk: &mut Talk, what: &str, by: (i64, i16)| {
        for version in [3, 4, 5] {
            let step = format!("{what}: begins, v{version}");
            talk.ask(&step, "InitProducerId", version, init_body("txn-second", by, 60_000));
        }
    };
    zombie(talk, "fenced", old);
    begins(talk, "fenced", old);
    writer.fill(talk, new, 0);
    zombie(talk, "fenced, another writes", old);
    begins(talk, "somebody else", (old.0 + 1_000_000, 0));
    let step = "a third while the second writes";
    talk.ask(step, "InitProducerId", 4, init_body("txn-second", NOBODY, 60_000));
    talk.expect("/ErrorCode", 51);
    let third = writer.begin(talk);
    zombie(talk, "aborted", new);
    begins(talk, "aborted", new);
    writer.fill(talk, third, 0);
    let step = "the first while the third writes";
    talk.ask(step, "InitProducerId", 4, init_body("txn-second", old, 60_000));
    talk.expect("/ErrorCode", 51);
    let third = writer.begin(talk);
    let body = init_body("txn-second", third, 60_000);
    talk.ask("the third again, with its name", "InitProducerId", 4, body.clone());
    talk.ask("the answer was lost", "InitProducerId", 4, body);
    writer.read_all(talk, "both are aborted", 4, 4);
}

/// Records outside of the transaction, and those that belong to nobody.
fn outside(talk: &mut Talk) {
    let writer = Writer::second(talk, "txn-outside");
    let by = writer.begin(talk);
    let plain = |sequence: i32| recent(&["a"]).by(by.0, by.1, sequence);
    writer.write_batch(talk, "a batch without the bit", 13, &plain(0));
    talk.expect(&format!("{PRODUCED}/ErrorCode"), 0);
    writer.ends(talk, "it is seen at once", 1, 1);
    writer.write(talk, "with the bit", by, 1);
    writer.write_batch(talk, "without the bit where a transaction is open", 13, &plain(2));
    writer.write_batch(talk, "without producer", 13, &recent(&["a"]));
    writer.write_batch(talk, "with the bit, without producer", 13, &transactional((-1, -1), -1, &["a"]));
    writer.ends(talk, "one is open", 1, 4);
    writer.write(talk, "an epoch to come", (by.0, by.1 + 1), 0);
    writer.write(talk, "another producer", (by.0 + 1_000_000, 0), 0);
    for (version, code) in [(9, 48), (10, 48), (11, 120)] {
        let body = writer.end_body(by, false);
        talk.quietly("EndTxn", 4, body.clone());
        talk.until("nothing is open", "EndTxn", 4, &body, |answer| answer["ErrorCode"] != 51);
        let step = format!("not added, v{version}");
        writer.write_batch(talk, &step, version, &transactional(by, 2, &["a"]));
        talk.expect(&format!("{PRODUCED}/ErrorCode"), code);
    }
}

/// Three producers in one partition, read from everywhere.
fn interleaved(talk: &mut Talk) {
    let first = Writer::second(talk, "txn-mixed");
    let writers = [first.named("txn-mixed-b"), first.named("txn-mixed-c"), first];
    let mut producers = writers.each_ref().map(|writer| writer.begin(talk));
    for sequence in [0, 1] {
        for (writer, by) in writers.iter().zip(producers) {
            writer.fill(talk, by, sequence);
        }
    }
    for (index, commit) in [(1, false), (0, true), (2, false)] {
        let by = producers[index];
        producers[index] = writers[index].ended(talk, &format!("the end of {index}"), by, commit);
        for offset in 0..=9 {
            writers[0].read(talk, &format!("after the end of {index}"), true, offset);
        }
    }
    talk.expect(&format!("{FETCHED}/ErrorCode"), 0);
}

/// Who has no transactional id that is known.
fn strangers(talk: &mut Talk) {
    let known = Writer::second(talk, "txn-strangers");
    let by = known.begin(talk);
    for id in ["txn-nobody", ""] {
        let writer = known.named(id);
        for (version, batch) in [(11, transactional(by, 0, &["a"])), (13, transactional(by, 0, &["a"]))] {
            writer.write_batch(talk, &format!("`{id}` writes, v{version}"), version, &batch);
        }
        for version in 0..=5 {
            let body = writer.end_body(by, true);
            talk.ask(&format!("`{id}` ends, v{version}"), "EndTxn", version, body);
        }
        for version in 0..=3 {
            writer.add(talk, &format!("`{id}` adds, v{version}"), version, by, &[0]);
        }
        for version in 0..=4 {
            let body = json!({
                "TransactionalId": id,
                "ProducerId": by.0,
                "ProducerEpoch": by.1,
                "GroupId": "txn-strangers",
            });
            talk.ask(&format!("`{id}` adds offsets, v{version}"), "AddOffsetsToTxn", version, body);
        }
    }
}
