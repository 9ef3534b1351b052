//! How far the bytes of a response reach, read from the batches' headers alone.

use bytes::Bytes;

use crate::wire::batch::Batches;

/// The batches' lengths are behind their base offsets.
const LENGTH_AT: usize = 8;
const LENGTH_END: usize = 12;

/// What a partition's bytes hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Whole batches that end in front of this offset, the last of them of this leader epoch; -1 for none.
    Until { end: i64, leader_epoch: i32 },
    /// Whole batches, but one of them is broken: where they end is not known.
    Broken,
    /// The beginning of one batch, which has this many bytes in all, where the beginning tells.
    CutOff { needed: Option<usize> },
}

impl Extent {
    /// `None` without a byte.
    pub(crate) fn of(records: &Bytes) -> Option<Self> {
        if records.is_empty() {
            return None;
        }
        let mut until = None;
        for batch in Batches::new(records.clone()) {
            let Ok(batch) = batch else { return Some(Self::Broken) };
            let header = batch.header();
            let end = header.last_offset().saturating_add(1);
            until = Some(Self::Until { end, leader_epoch: header.leader_epoch });
        }
        Some(until.unwrap_or_else(|| Self::CutOff { needed: batch_len(records) }))
    }
}

fn batch_len(records: &[u8]) -> Option<usize> {
    let length = records.get(LENGTH_AT..LENGTH_END)?.first_chunk()?;
    let length = usize::try_from(i32::from_be_bytes(*length)).ok()?;
    length.checked_add(LENGTH_END)
}
