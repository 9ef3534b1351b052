//! What became of the records of a batch, told to all of them at once.

use std::sync::Arc;

use crate::{error::Error, sync::done::Done, types::TopicPartition};

/// Where a batch was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    /// The offset of the batch's first record; `None` where the broker did not say (acks = 0, or a duplicate that
    /// it no longer remembers the place of).
    pub(crate) base_offset: Option<i64>,
    /// The broker's timestamp of every record, on topics that use the append time.
    pub(crate) log_append_time: Option<i64>,
}

/// A broker took the batch and did not say where.
pub(crate) const NOWHERE: Written = Written { base_offset: None, log_append_time: None };

/// The shared outcome of all records of a batch.
#[derive(Debug)]
pub(crate) struct BatchDone {
    pub(crate) partition: TopicPartition,
    pub(crate) fate: Done<Fate>,
}

/// What became of a batch.
#[derive(Debug)]
pub(crate) enum Fate {
    Ended(Result<Written, Error>),
    /// It was taken apart, and its records are elsewhere: these stretches are in the order of the records and cover all
    /// of them.
    Divided(Vec<Stretch>),
}

/// Records of a batch that was taken apart.
#[derive(Clone, Debug)]
pub(crate) struct Stretch {
    /// The index of the first of them in the batch that was.
    pub(crate) first: u32,
    /// The batch that they are in now.
    pub(crate) done: Arc<BatchDone>,
    /// The index of the first of them there.
    pub(crate) at: u32,
}

impl BatchDone {
    pub(crate) fn new(partition: TopicPartition) -> Arc<Self> {
        Arc::new(Self { partition, fate: Done::default() })
    }

    /// Where the record with this index was written, with its own offset, or why not; `None` while that is not known.
    pub(crate) fn of(&self, index: u32) -> Option<Result<Written, Error>> {
        match self.fate.get()? {
            Fate::Ended(outcome) => Some(outcome.clone().map(|written| written.record(index))),
            Fate::Divided(stretches) => {
                let (done, index) = follow(stretches, index)?;
                done.of(index)
            }
        }
    }
}

impl Written {
    /// Where a record of the batch is.
    fn record(self, index: u32) -> Self {
        let base_offset = self.base_offset.map(|base| base.saturating_add(i64::from(index)));
        Self { base_offset, ..self }
    }
}

/// Where the record with this index is now, and its index there.
pub(crate) fn follow(stretches: &[Stretch], index: u32) -> Option<(&Arc<BatchDone>, u32)> {
    let behind = stretches.partition_point(|stretch| stretch.first <= index);
    let stretch = stretches.get(behind.checked_sub(1)?)?;
    Some((&stretch.done, stretch.at.saturating_add(index.saturating_sub(stretch.first))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn done() -> Arc<BatchDone> {
        BatchDone::new(TopicPartition::new("t", 0))
    }

    fn written(at: i64) -> Fate {
        Fate::Ended(Ok(Written { base_offset: Some(at), log_append_time: None }))
    }

    #[test]
    fn a_record_is_followed_through_every_division() {
        let (whole, one, other, refused, half) = (done(), done(), done(), done(), done());
        // Records 0 to 2 and 4 are in `one`, 3 was refused, 5 and on are in `other`, of which the second half moved on.
        let stretch = |first, done: &Arc<BatchDone>, at| Stretch { first, done: Arc::clone(done), at };
        let stretches =
            vec![stretch(0, &one, 0), stretch(3, &refused, 0), stretch(4, &one, 3), stretch(5, &other, 0)];
        whole.fate.set(Fate::Divided(stretches));
        assert!(whole.of(0).is_none(), "it is not known yet");
        one.fate.set(written(100));
        refused.fate.set(Fate::Ended(Err(ErrorKind::Closed { what: "test" }.into())));
        other.fate.set(Fate::Divided(vec![stretch(0, &one, 4), stretch(2, &half, 0)]));
        half.fate.set(written(200));
        let offset = |index| whole.of(index).and_then(Result::ok).and_then(|written| written.base_offset);
        let offsets: Vec<_> = (0..9).map(offset).collect();
        let some = |offsets: [i64; 3]| offsets.map(Some);
        assert_eq!(offsets[..3], some([100, 101, 102]));
        assert_eq!(offsets[3], None);
        assert_eq!(offsets[4..7], some([103, 104, 105]));
        assert_eq!(offsets[7..], [Some(200), Some(201)]);
    }
}
