//! Transactions of the first version, in which partitions are added before they are written to.

use protocol_tests::raw::Talk;
use serde_json::json;

use crate::kit::PRODUCED;
use crate::transactional::{NOBODY, Writer, init_body, transactional};

/// In all that it does, or in what has not changed since Kafka 3.9.
pub(crate) fn run(talk: &mut Talk, newest: bool) {
    let writer = Writer::first(talk, "txn-old");
    let by = writer.begin(talk);
    for commit in [true, false] {
        writer.end(talk, &format!("an end of nothing, {commit}"), by, commit);
        talk.expect("/ErrorCode", 48);
    }
    for (version, code) in [(9, 48), (10, 48), (11, 120)] {
        let step = format!("not added, v{version}");
        writer.write_batch(talk, &step, version, &transactional(by, 0, &["a"]));
        talk.expect(&format!("{PRODUCED}/ErrorCode"), code);
    }
    writer.add(talk, "a partition that is not there", 3, by, &[0, 2, 1]);
    for version in 0..=3 {
        writer.add(talk, &format!("added, v{version}"), version, by, &[0, 1]);
    }
    writer.write(talk, "written", by, 0);
    talk.expect(&format!("{PRODUCED}/ErrorCode"), 0);
    writer.read_all(talk, "open", 0, 1);
    writer.ends(talk, "open", 0, 1);
    writer.ended(talk, "commit", by, true);
    writer.end(talk, "an abort of what was committed", by, false);
    talk.expect("/ErrorCode", 48);
    writer.write(talk, "behind the end", by, 1);
    talk.expect(&format!("{PRODUCED}/ErrorCode"), 120);
    writer.add(talk, "added again", 3, by, &[0]);
    writer.write(talk, "sequences go on", by, 1);
    talk.expect(&format!("{PRODUCED}/ErrorCode"), 0);
    writer.ended(talk, "abort", by, false);
    writer.end(talk, "a commit of what was aborted", by, true);
    talk.expect("/ErrorCode", 48);
    writer.read_all(talk, "one committed, one aborted", 4, 4);
    for offset in 1..=4 {
        writer.read(talk, "all ended", true, offset);
    }
    fenced(talk, &writer, by, newest);
}

/// Another instance comes while nothing is open, and then while something is.
fn fenced(talk: &mut Talk, writer: &Writer, old: (i64, i16), newest: bool) {
    let new = writer.begin(talk);
    let zombie = |talk: &mut Talk, what: &str, old: (i64, i16)| {
        writer.write(talk, &format!("{what}: writes"), old, 2);
        talk.expect(&format!("{PRODUCED}/ErrorCode"), 47);
        for version in 0..=4 {
            let step = format!("{what}: ends, v{version}");
            talk.ask(&step, "EndTxn", version, writer.end_body(old, true));
        }
        for version in 0..=3 {
            writer.add(talk, &format!("{what}: adds, v{version}"), version, old, &[0]);
        }
    };
    zombie(talk, "fenced", old);
    for version in [3, 4] {
        let body = init_body("txn-old", old, 60_000);
        talk.ask(&format!("fenced: begins, v{version}"), "InitProducerId", version, body);
    }
    writer.add(talk, "the new one adds", 3, new, &[0]);
    writer.fill(talk, new, 0);
    let another = (new.0 + 1_000_000, 0);
    writer.write(talk, "another producer", another, 0);
    writer.end(talk, "another producer ends", another, true);
    writer.add(talk, "another producer adds", 3, another, &[0]);
    let step = "a third while the second writes";
    talk.ask(step, "InitProducerId", 4, init_body("txn-old", NOBODY, 60_000));
    talk.expect("/ErrorCode", 51);
    writer.begin(talk);
    zombie(talk, "aborted", new);
    if newest {
        // Kafka 4.0 bumps the epoch once too often (KAFKA-19367).
        writer.read_all(talk, "the second's is aborted", 6, 6);
    }
    identities(talk);
}

/// InitProducerId with a transactional id.
fn identities(talk: &mut Talk) {
    for version in 0..=4 {
        let mut body = init_body("txn-identities", NOBODY, 60_000);
        if version < 3 {
            body = json!({ "TransactionalId": "txn-identities", "TransactionTimeoutMs": 60_000 });
        }
        talk.ask(&format!("begins, v{version}"), "InitProducerId", version, body);
        talk.expect("/ErrorCode", 0);
        talk.expect("/ProducerEpoch", version);
    }
    for timeout in [900_000, 900_001, 1, 0, -1] {
        let body = init_body("txn-identities", NOBODY, timeout);
        talk.ask(&format!("a timeout of {timeout} ms"), "InitProducerId", 4, body);
    }
    let body = init_body("", NOBODY, 60_000);
    talk.ask("an empty id", "InitProducerId", 4, body);
    let (id, epoch) = crate::transactional::begin(talk, "txn-identities");
    for version in [3, 4] {
        for (step, given) in [
            ("half an identity", (id, -1)),
            ("the other half", (-1, epoch)),
            ("another id", (id + 1_000_000, 0)),
            ("an epoch to come", (id, epoch + 7)),
            ("an old epoch", (id, 0)),
        ] {
            let body = init_body("txn-identities", given, 60_000);
            talk.ask(&format!("{step}, v{version}"), "InitProducerId", version, body);
        }
    }
    for step in ["goes on", "goes on, asked again"] {
        talk.ask(step, "InitProducerId", 4, init_body("txn-identities", (id, epoch), 60_000));
        talk.expect("/ProducerEpoch", epoch + 1);
    }
    talk.ask("goes on from there", "InitProducerId", 4, init_body("txn-identities", (id, epoch + 1), 60_000));
    talk.ask("from before", "InitProducerId", 4, init_body("txn-identities", (id, epoch), 60_000));
}
