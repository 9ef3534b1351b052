//! Leaves out the records of aborted transactions (KIP-98).

use crate::wire::batch::{Batch, ControlType};

/// The control records of a marker are a few bytes.
const CONTROL_LIMIT: usize = 64 << 10;

/// The aborted transactions among the batches of one response, as the broker listed them.
#[derive(Debug)]
pub(super) struct Aborted {
    /// Producer and first offset of those that have not begun yet; the first to begin is the last in the list.
    to_come: Vec<(i64, i64)>,
    /// The producers in the middle of one.
    open: Vec<i64>,
}

impl Aborted {
    /// `list` is in the order of the first offsets.
    pub(super) fn new(mut list: Vec<(i64, i64)>) -> Self {
        list.reverse();
        Self { to_come: list, open: Vec::new() }
    }

    /// Whether the batch is to be left out. Batches are shown in their order, markers too.
    pub(super) fn contains(&mut self, batch: &Batch) -> bool {
        let header = batch.header();
        while let Some((producer, _)) =
            self.to_come.pop_if(|(_, first_offset)| *first_offset <= header.last_offset())
        {
            if !self.open.contains(&producer) {
                self.open.push(producer);
            }
        }
        if self.open.is_empty() {
            return false;
        }
        if header.attributes.is_control() {
            if is_abort(batch) {
                self.open.retain(|producer| *producer != header.producer_id);
            }
            return false;
        }
        header.attributes.is_transactional() && self.open.contains(&header.producer_id)
    }
}

/// Whether a control batch ends a transaction that was aborted. One that cannot be read ends nothing.
fn is_abort(batch: &Batch) -> bool {
    let Ok(mut cursor) = batch.cursor(CONTROL_LIMIT) else { return false };
    let Some(Ok(record)) = cursor.records().next() else { return false };
    ControlType::parse(record.key) == Ok(ControlType::Abort)
}
