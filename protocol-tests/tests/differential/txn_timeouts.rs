//! Transactions that last too long.

use protocol_tests::raw::Talk;

use crate::kit::PRODUCED;
use crate::transactional::{NOBODY, Writer, begin_for, init_body};

pub(crate) fn run(talk: &mut Talk) {
    for (second, name) in [(false, "txn-late-1"), (true, "txn-late-2")] {
        let writer = if second { Writer::second(talk, name) } else { Writer::first(talk, name) };
        let by = begin_for(talk, name, 500);
        if !second {
            writer.add(talk, "added", 3, by, &[0]);
        }
        writer.write(talk, "written", by, 0);
        talk.expect(&format!("{PRODUCED}/ErrorCode"), 0);
        let latest = writer.latest(1);
        talk.until("the coordinator's abort", "ListOffsets", 7, &latest, |answer| {
            answer.pointer("/Topics/0/Partitions/0/Offset").is_some_and(|offset| *offset == 2)
        });
        // The marker is in the log; the coordinator may still have to learn that.
        let begins = init_body(name, (by.0, by.1 + 7), 500);
        talk.until("all markers", "InitProducerId", 4, &begins, |answer| answer["ErrorCode"] != 51);
        writer.write(talk, "too late", by, 1);
        talk.expect(&format!("{PRODUCED}/ErrorCode"), 47);
        writer.add(talk, "adds too late", 3, by, &[0]);
        for commit in [true, false] {
            writer.end(talk, &format!("ends too late, {commit}"), by, commit);
        }
        talk.ask("goes on", "InitProducerId", 4, init_body(name, by, 500));
        talk.ask("begins again", "InitProducerId", 4, init_body(name, NOBODY, 500));
        writer.read_all(talk, "what was aborted", 2, 2);
    }
}
