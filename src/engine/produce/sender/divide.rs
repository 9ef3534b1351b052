//! A batch that was refused as a whole, though not all of its records are to blame.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    super::{
        batch::{
            Batch, Completion, Facts,
            divide::{Divided, Refused},
        },
        lane::Lane,
        outcome::BatchDone,
        verdict::{Blame, Verdict},
    },
    Event, Sender,
};
use crate::{
    engine::machine::Outbox,
    error::{Error, ErrorKind},
    wire::compress::Compression,
};

/// What decides whether a batch may be taken apart, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct DivisionRules {
    /// Its transaction has failed.
    is_doomed: bool,
    is_idempotent: bool,
    in_transaction: bool,
    compression: Compression,
}

impl Sender {
    pub(super) fn division_rules(&self) -> DivisionRules {
        DivisionRules {
            is_doomed: self.doomed.is_some(),
            is_idempotent: self.config.idempotent,
            in_transaction: self.identity.is_given(),
            compression: self.config.compression,
        }
    }
}

/// Takes a batch apart that was refused for its size or for some of its records, and puts what is left of it in front of
/// its lane; gives back what is to be judged as a whole.
///
/// One that may have been written all the same stays whole: in parts, it would not be known again.
pub(super) fn divide(
    lane: &mut Lane,
    mut batch: Batch,
    is_overdue: bool,
    verdict: Verdict,
    rules: DivisionRules,
    out: &mut Outbox<Event>,
) -> Option<(Batch, Verdict)> {
    let Verdict::Rejected { error, maybe_written: false, blame } = verdict else {
        return Some((batch, verdict));
    };
    let rejected = |error| Verdict::Rejected { error, maybe_written: false, blame: Blame::Batch };
    let stays_whole = is_overdue || rules.is_doomed || (batch.maybe_written && rules.is_idempotent);
    let (size, complaints) = match blame {
        Blame::Size { setting } if batch.count() == 1 => {
            let size = batch.facts().bytes;
            let error = ErrorKind::RecordTooLarge { size, limit: None, setting };
            return Some((batch, rejected(error.into())));
        }
        Blame::Size { .. } => (lane.queue.limit(batch.uncompressed_len() / 2), BTreeMap::new()),
        Blame::Records(complaints) => (usize::MAX, complaints),
        Blame::Batch => return Some((batch, rejected(error))),
    };
    let mut complaints = complaints;
    complaints.retain(|index, _| *index < batch.count().cast_unsigned());
    if stays_whole || (size == usize::MAX && complaints.is_empty()) {
        return Some((batch, rejected(error)));
    }
    if rules.in_transaction && !complaints.is_empty() {
        // It fails with them, and only its end brings the epoch under which the others could be written.
        for index in 0..batch.count().cast_unsigned() {
            complaints.entry(index).or_insert_with(|| error.clone());
        }
    }
    let (refused, completions) = refuse(&batch, complaints);
    batch.last_error = Some(error);
    let division = match batch.divide(size, &refused, rules.compression) {
        Ok(division) => division,
        Err(error) => return Some((batch, rejected(error))),
    };
    let partition = &batch.done.partition;
    tracing::debug!(%partition, parts = division.batches.len(), refused = refused.len(), "a batch is taken apart");
    if !refused.is_empty() && batch.stamp.is_some() {
        lane.leave_hole(batch.order);
    }
    // The last first: each goes in front of those behind it.
    for part in division.batches.into_iter().rev() {
        lane.send_again(part);
    }
    let (done, stretches, charged) = (Arc::clone(&batch.done), division.stretches, division.charged);
    out.events.push(Event::Divided(Divided { done, stretches, charged, spare: batch.into_spare() }));
    out.events.extend(completions.into_iter().map(Event::Completed));
    None
}

/// The ends of the records that a broker complains about. Those of which it says the same share one.
fn refuse(batch: &Batch, complaints: BTreeMap<u32, Error>) -> (Refused, Vec<Completion>) {
    let mut refused = Refused::new();
    let mut ends: BTreeMap<String, Completion> = BTreeMap::new();
    for (index, error) in complaints {
        let end = ends.entry(error.to_string()).or_insert_with(|| Completion {
            done: BatchDone::new(batch.done.partition.clone()),
            outcome: Err(error),
            charged: 0,
            facts: Facts { records: 0, ..batch.facts() },
            spare: None,
        });
        end.facts.records += 1;
        refused.insert(index, Arc::clone(&end.done));
    }
    (refused, ends.into_values().collect())
}
