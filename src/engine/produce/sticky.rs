//! Where records without a key go: the uniform sticky choice (KIP-794).

use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

use crate::types::Partition;

/// Keyless records of a topic go to one partition until a batch's worth of bytes went there, then to another: so
/// batches fill, and over time every partition gets the same.
#[derive(Debug, Default)]
pub(crate) struct Sticky {
    partition: AtomicI32,
    bytes: AtomicUsize,
}

impl Sticky {
    /// The partition for the next record without a key, which takes `bytes`. After a batch's worth of bytes `next`
    /// chooses another one; where it finds none, the old one stays.
    pub(crate) fn choose(
        &self,
        bytes: usize,
        batch_size: usize,
        next: impl FnOnce() -> Option<Partition>,
    ) -> Option<Partition> {
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        // Zero bytes mean that nothing was chosen yet. Of several callers who get here at once, the one that
        // crosses the line moves on; a record more or less on either side of it does no harm.
        let crossed = before == 0 || before.saturating_add(bytes) > batch_size;
        if crossed && let Some(chosen) = next() {
            self.partition.store(chosen.0, Ordering::Relaxed);
            self.bytes.store(bytes.max(1), Ordering::Relaxed);
            return Some(chosen);
        }
        (before > 0).then(|| Partition(self.partition.load(Ordering::Relaxed)))
    }

    /// Lets the next record choose anew, because the partition may have lost its leader.
    pub(crate) fn reset(&self) {
        self.bytes.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keyless_records_stay_until_a_batch_is_full() {
        let sticky = Sticky::default();
        let mut places = [0, 2, 5].into_iter().cycle().map(Partition);
        let mut choose = |bytes| sticky.choose(bytes, 100, || places.next()).map(|p| p.0);
        let chosen: Vec<_> = (0..6).filter_map(|_| choose(40)).collect();
        assert_eq!(chosen, [0, 0, 2, 2, 5, 5]);
        assert_eq!(sticky.choose(90, 100, || None), Some(Partition(5)), "nowhere else to go");
        sticky.reset();
        assert_eq!(sticky.choose(1, 100, || Some(Partition(2))), Some(Partition(2)));
    }
}
