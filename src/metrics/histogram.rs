//! Durations in buckets that grow with them.

use std::{
    array, fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Each power of two is split into this many buckets of the same width.
const SPLIT: u64 = 1 << SPLIT_BITS;
const SPLIT_BITS: u32 = 3;
/// The longest duration that is told apart, in microseconds: almost 13 days.
const MAX_US: u64 = (1 << MAX_BITS) - 1;
const MAX_BITS: u32 = 40;
const BUCKETS: usize = bucket(MAX_US) + 1;

/// The bucket of a number of microseconds. Up to [`SPLIT`] each has its own; from there on a bucket is as wide as an
/// eighth of the power of two that it lies in.
#[expect(clippy::cast_possible_truncation, reason = "at most 40 * 8")]
const fn bucket(us: u64) -> usize {
    let us = if us > MAX_US { MAX_US } else { us };
    if us < SPLIT {
        return us as usize;
    }
    let shift = us.ilog2() - SPLIT_BITS;
    (shift as u64 * SPLIT + (us >> shift)) as usize
}

/// The largest number of microseconds in a bucket.
const fn last_in(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < SPLIT {
        return bucket;
    }
    let shift = bucket / SPLIT - 1;
    ((bucket % SPLIT + SPLIT + 1) << shift) - 1
}

/// Counts durations, from any number of threads at once and without a lock.
pub(super) struct Recorder {
    counts: [AtomicU64; BUCKETS],
    sum_us: AtomicU64,
    max_us: AtomicU64,
}

impl Default for Recorder {
    fn default() -> Self {
        Self {
            counts: array::from_fn(|_| AtomicU64::new(0)),
            sum_us: AtomicU64::new(0),
            max_us: AtomicU64::new(0),
        }
    }
}

impl Recorder {
    pub(super) fn record(&self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(MAX_US).min(MAX_US);
        if let Some(count) = self.counts.get(bucket(us)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_us.fetch_add(us, Ordering::Relaxed);
        self.max_us.fetch_max(us, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> Histogram {
        Histogram {
            counts: self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect(),
            sum_us: self.sum_us.load(Ordering::Relaxed),
            max_us: self.max_us.load(Ordering::Relaxed),
        }
    }

    /// Counts what another one has counted.
    pub(super) fn absorb(&self, other: &Histogram) {
        for (count, more) in self.counts.iter().zip(&other.counts) {
            count.fetch_add(*more, Ordering::Relaxed);
        }
        self.sum_us.fetch_add(other.sum_us, Ordering::Relaxed);
        self.max_us.fetch_max(other.max_us, Ordering::Relaxed);
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.read(), f)
    }
}

/// How long something took, each time since the client was made.
///
/// Durations are counted in buckets, so a [`quantile`](Self::quantile) may be too long by an eighth, and never too
/// short. They are exact to the microsecond, and count as 12.7 days from there on. [`count`](Self::count),
/// [`mean`](Self::mean) and [`max`](Self::max) know no buckets.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Histogram {
    counts: Vec<u64>,
    sum_us: u64,
    max_us: u64,
}

impl Histogram {
    /// How many durations were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The average; zero if nothing was counted.
    #[must_use]
    pub fn mean(&self) -> Duration {
        Duration::from_micros(self.sum_us.checked_div(self.count()).unwrap_or(0))
    }

    /// The longest; zero if nothing was counted.
    #[must_use]
    pub fn max(&self) -> Duration {
        Duration::from_micros(self.max_us)
    }

    /// The shortest duration that at least this part of all do not exceed: `0.99` is the 99th percentile. Parts below 0
    /// count as 0, and above 1 as 1. Zero if nothing was counted.
    #[must_use]
    pub fn quantile(&self, part: f64) -> Duration {
        let count = self.count();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "between 0 and the count, which is exact up to 2^53"
        )]
        let rank = (part.clamp(0.0, 1.0) * count as f64).ceil() as u64;
        let mut seen = 0;
        let found = self.counts.iter().position(|count| {
            seen += count;
            seen >= rank.max(1)
        });
        Duration::from_micros(found.map_or(self.max_us, last_in).min(self.max_us))
    }

    /// The median.
    #[must_use]
    pub fn p50(&self) -> Duration {
        self.quantile(0.5)
    }

    /// The 99th percentile.
    #[must_use]
    pub fn p99(&self) -> Duration {
        self.quantile(0.99)
    }

    /// For each bucket that holds something, the longest duration that belongs to it and how many there are, in
    /// ascending order.
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> + '_ {
        let held = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        held.map(|(bucket, count)| (Duration::from_micros(last_in(bucket)), *count))
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Histogram")
            .field("count", &self.count())
            .field("p50", &self.p50())
            .field("p99", &self.p99())
            .field("max", &self.max())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(durations: &[u64]) -> Histogram {
        let recorder = Recorder::default();
        durations.iter().for_each(|us| recorder.record(Duration::from_micros(*us)));
        recorder.read()
    }

    #[test]
    fn buckets_follow_each_other_without_a_gap() {
        for at in 0..BUCKETS {
            assert_eq!(bucket(last_in(at)), at);
            assert_eq!(bucket(last_in(at) + 1), (at + 1).min(BUCKETS - 1));
        }
        assert_eq!((last_in(BUCKETS - 1), bucket(u64::MAX)), (MAX_US, BUCKETS - 1));
    }

    #[test]
    fn nothing_is_zero_and_one_is_itself() {
        let nothing = Histogram::default();
        assert_eq!((nothing.count(), nothing.mean(), nothing.p99()), (0, Duration::ZERO, Duration::ZERO));
        let one = of(&[1_234_567]);
        let us = Duration::from_micros(1_234_567);
        assert_eq!((one.p50(), one.quantile(0.0), one.max(), one.mean()), (us, us, us, us));
        assert_eq!(of(&[]).buckets().count(), 0);
    }

    #[test]
    fn quantiles_split_where_they_say() {
        let durations: Vec<u64> = (1..=100).map(|n| n % 8).collect();
        let histogram = of(&durations);
        // 0 stands 12 times in it, 1, 2 and 3 stand 13 times each.
        assert_eq!(histogram.p50(), Duration::from_micros(3));
        assert_eq!(histogram.quantile(1.0), Duration::from_micros(7));
        assert_eq!(histogram.quantile(7.0), Duration::from_micros(7));
        assert_eq!(histogram.buckets().map(|(_, count)| count).sum::<u64>(), 100);
    }

    #[test]
    fn durations_without_end_stay_in_the_last_bucket() {
        let recorder = Recorder::default();
        recorder.record(Duration::MAX);
        assert_eq!(recorder.read().p50(), Duration::from_micros(MAX_US));
    }

    proptest! {
        #[test]
        fn a_quantile_is_too_long_by_an_eighth_at_most(
            mut durations in prop::collection::vec(prop_oneof![0..100_u64, 0..=MAX_US], 1..200),
            part in 0.0..=1.0_f64,
        ) {
            let histogram = of(&durations);
            durations.sort_unstable();
            #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "200")]
            let rank = ((part * durations.len() as f64).ceil() as usize).max(1);
            let exact = durations[rank - 1];
            let told = u64::try_from(histogram.quantile(part).as_micros()).unwrap_or(u64::MAX);
            prop_assert!(exact <= told && told <= exact + exact / 8, "{exact} was told as {told}");
            let sum: u64 = durations.iter().sum();
            let count = durations.len() as u64;
            prop_assert_eq!(histogram.count(), count);
            prop_assert_eq!(histogram.mean(), Duration::from_micros(sum / count));
            prop_assert_eq!(histogram.max().as_micros(), u128::from(durations[durations.len() - 1]));
        }

        #[test]
        fn what_is_absorbed_counts_as_if_it_had_been_recorded(
            mine in prop::collection::vec(0..MAX_US, 0..50),
            others in prop::collection::vec(0..MAX_US, 0..50),
        ) {
            let recorder = Recorder::default();
            mine.iter().for_each(|us| recorder.record(Duration::from_micros(*us)));
            recorder.absorb(&of(&others));
            prop_assert_eq!(recorder.read(), of(&[mine, others].concat()));
        }
    }
}
