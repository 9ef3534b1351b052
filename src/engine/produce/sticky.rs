//! Where records without a key go: the uniform sticky choice (KIP-794).

use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

use crate::types::Partition;

/// The place of no partition.
const NOWHERE: i32 = -1;

/// Keyless records of a topic go to one partition until a batch is full there or a batch's worth of bytes went there,
/// then to another: so batches fill, and over time every partition gets the same.
#[derive(Debug)]
pub(crate) struct Sticky {
    partition: AtomicI32,
    bytes: AtomicUsize,
}

impl Default for Sticky {
    fn default() -> Self {
        Self { partition: AtomicI32::new(NOWHERE), bytes: AtomicUsize::new(0) }
    }
}

impl Sticky {
    /// The partition for the next record without a key: where none is chosen, the one that `next` chooses, if it finds
    /// one.
    #[inline]
    pub(crate) fn choose(&self, next: impl FnOnce() -> Option<Partition>) -> Option<Partition> {
        let partition = self.partition.load(Ordering::Relaxed);
        if partition != NOWHERE {
            return Some(Partition(partition));
        }
        // Of several callers who get here at once the last one's choice stays.
        let chosen = next()?;
        self.bytes.store(0, Ordering::Relaxed);
        self.partition.store(chosen.0, Ordering::Relaxed);
        Some(chosen)
    }

    /// A record of so many bytes went to a partition, whoever chose it. `filled` says whether a batch is full by it.
    #[inline]
    pub(crate) fn wrote(&self, partition: Partition, bytes: usize, filled: bool, batch_size: usize) {
        if self.partition.load(Ordering::Relaxed) != partition.0 {
            return;
        }
        // Of several callers at once one may not be counted, or be counted for the next partition: then a stay is a record
        // longer or shorter, which does no harm.
        let total = self.bytes.load(Ordering::Relaxed).saturating_add(bytes);
        self.bytes.store(total, Ordering::Relaxed);
        if filled || total >= batch_size {
            self.reset();
        }
    }

    /// Lets the next record choose anew, as when the partition may have lost its leader.
    pub(crate) fn reset(&self) {
        self.partition.store(NOWHERE, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where records of these bytes go, a batch being 100.
    fn places(sticky: &Sticky, records: &[(usize, bool)]) -> Vec<i32> {
        let mut next = [0, 2, 5].into_iter().cycle().map(Partition);
        let mut place = |&(bytes, filled)| {
            let chosen = sticky.choose(|| next.next())?;
            sticky.wrote(chosen, bytes, filled, 100);
            Some(chosen.0)
        };
        records.iter().filter_map(&mut place).collect()
    }

    #[test]
    fn keyless_records_stay_until_a_batch_is_full() {
        let records = [(40, false), (40, true), (40, false), (40, false), (40, false), (1, false)];
        assert_eq!(places(&Sticky::default(), &records), [0, 0, 2, 2, 2, 5]);
    }

    #[test]
    fn records_for_another_partition_do_not_count() {
        let sticky = Sticky::default();
        assert_eq!(sticky.choose(|| Some(Partition(3))), Some(Partition(3)));
        sticky.wrote(Partition(4), 1_000, true, 100);
        assert_eq!(sticky.choose(|| None), Some(Partition(3)));
    }

    #[test]
    fn with_no_partition_to_choose_there_is_none() {
        let sticky = Sticky::default();
        assert_eq!(sticky.choose(|| None), None);
        assert_eq!(sticky.choose(|| Some(Partition(2))), Some(Partition(2)));
        sticky.reset();
        assert_eq!(sticky.choose(|| None), None);
    }
}
