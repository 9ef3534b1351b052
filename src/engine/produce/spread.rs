//! Over which partitions records without a key are spread, and how (KIP-794, KIP-1123).

use std::sync::Arc;

use crate::{engine::backoff::Random, types::Partition};

/// The partitions that records without a key go to, each with its share. Never changed once it is made.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Spread {
    /// Those that have a leader, in ascending order.
    pub(crate) available: Arc<[Partition]>,
    /// Those that are chosen from, each with the sum of the shares up to and with its own.
    shares: Box<[(Partition, u64)]>,
}

impl Spread {
    /// All partitions are chosen equally often.
    pub(crate) fn even(available: Arc<[Partition]>) -> Self {
        let shares = (1..).zip(&*available).map(|(sum, partition)| (*partition, sum)).collect();
        Self { available, shares }
    }

    /// The more batches wait for a partition, the less often it is chosen: each share is by how many more the longest
    /// queue has than its own, and one.
    pub(crate) fn by_queues(available: Arc<[Partition]>, queues: &[(Partition, usize)]) -> Self {
        let longest = queues.iter().map(|(_, waiting)| *waiting).max().unwrap_or(0);
        let mut sum = 0;
        let share = |(partition, waiting): &(Partition, usize)| {
            sum += (longest - waiting) as u64 + 1;
            (*partition, sum)
        };
        let shares = queues.iter().map(share).collect();
        Self { available, shares }
    }

    /// One of them at random, if there are any.
    pub(crate) fn pick(&self, random: &mut Random) -> Option<Partition> {
        let (_, sum) = self.shares.last()?;
        let draw = random.below(*sum);
        let place = self.shares.partition_point(|(_, until)| *until <= draw);
        self.shares.get(place).map(|(partition, _)| *partition)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// How often each partition is picked in so many draws.
    fn counts(spread: &Spread, draws: u64) -> BTreeMap<i32, u64> {
        let mut counts = BTreeMap::new();
        for draw in 0..draws {
            let picked = spread.pick(&mut Random::new(draw)).map(|partition| partition.0);
            picked.into_iter().for_each(|partition| *counts.entry(partition).or_default() += 1);
        }
        counts
    }

    fn available(partitions: &[i32]) -> Arc<[Partition]> {
        partitions.iter().copied().map(Partition).collect()
    }

    #[test]
    fn without_queues_every_partition_gets_the_same() {
        let available = available(&[0, 1, 4, 7]);
        let queues: Vec<_> = available.iter().map(|partition| (*partition, 3)).collect();
        for spread in [Spread::even(Arc::clone(&available)), Spread::by_queues(available, &queues)] {
            let counts = counts(&spread, 40_000);
            assert_eq!(counts.keys().copied().collect::<Vec<_>>(), [0, 1, 4, 7]);
            assert!(counts.values().all(|count| (9_500..10_500).contains(count)), "{counts:?}");
        }
    }

    #[test]
    fn the_shares_go_against_the_lengths_of_the_queues() {
        let queues = [(Partition(0), 0), (Partition(1), 3), (Partition(2), 1)];
        let counts = counts(&Spread::by_queues(available(&[0, 1, 2, 3]), &queues), 80_000);
        // Shares of 4, 1 and 3; nothing for one that is not to be chosen.
        for (partition, expected) in [(0, 40_000), (1, 10_000), (2, 30_000)] {
            let count = counts[&partition];
            assert!(count.abs_diff(expected) < expected / 20, "{counts:?}");
        }
        assert_eq!(counts.len(), 3);
    }

    #[test]
    fn with_no_partition_there_is_none_to_pick() {
        assert_eq!(Spread::even(available(&[])).pick(&mut Random::new(1)), None);
    }
}
