//! Exponential backoff with jitter (KIP-580), and the little random generator that jitter needs.

use std::time::Duration;

/// A small pseudo-random generator (SplitMix64). Machines own one each and are seeded from outside, so that a
/// simulation replays. Not for secrets.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// One seeded by the operating system, for drivers; machines are given theirs.
    #[cfg(feature = "net")]
    pub(crate) fn from_entropy() -> Self {
        use std::hash::{BuildHasher, Hasher};
        Self(std::hash::RandomState::new().build_hasher().finish())
    }

    pub(crate) fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 where `bound` is 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.next_u64()) * u128::from(bound);
        u64::try_from(wide >> 64).unwrap_or(0)
    }

    /// A number from 0 up to, not including, 1.
    pub(crate) fn fraction(&mut self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double")]
        let numerator = (self.next_u64() >> 11) as f64;
        numerator / 9_007_199_254_740_992.0
    }
}

/// How long to wait before each retry: `first`, doubled each time up to `max`, each ± 20 %.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Backoff {
    pub(crate) first: Duration,
    pub(crate) max: Duration,
}

impl Backoff {
    /// The wait before retry number `attempt`, counted from 0.
    pub(crate) fn delay(self, attempt: u32, random: &mut Random) -> Duration {
        let grown = self.first.saturating_mul(1_u32.checked_shl(attempt.min(30)).unwrap_or(u32::MAX));
        // A longer wait than a day is a setting without measure, and jitter on it may not fit.
        grown.min(self.max).min(Duration::from_secs(24 * 3600)).mul_f64(0.8 + 0.4 * random.fraction())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit_within_a_fifth() {
        let backoff = Backoff { first: Duration::from_millis(100), max: Duration::from_secs(1) };
        let mut random = Random::new(7);
        for (attempt, nominal) in [(0, 100), (1, 200), (2, 400), (3, 800), (4, 1000), (200, 1000)] {
            let ms = backoff.delay(attempt, &mut random).as_millis();
            assert!((nominal * 8 / 10..=nominal * 12 / 10).contains(&ms), "{attempt}: {ms}");
        }
    }

    #[test]
    fn a_limit_without_measure_is_no_panic() {
        let backoff = Backoff { first: Duration::MAX, max: Duration::MAX };
        let mut random = Random::new(7);
        assert!((0..100).all(|attempt| backoff.delay(attempt, &mut random) < Duration::from_secs(30 * 3600)));
    }

    #[test]
    fn numbers_below_a_bound_reach_every_value() {
        let mut random = Random::new(1);
        let mut seen = [false; 5];
        for _ in 0..200 {
            seen[random.below(5) as usize] = true;
        }
        assert_eq!((seen, random.below(0)), ([true; 5], 0));
    }
}
