//! How far a batch grows beyond its size because compression makes it smaller again.

/// Parts of one in which the factor is kept.
const ONE: usize = 256;
/// A batch takes no more than this many times its size before compression: so much memory a wrong guess may cost.
const MOST: usize = 4 * ONE;
/// Of the way to a larger factor, the part that one batch goes.
const STEP: usize = 8;

/// How many times smaller batches become, guessed from those before. It falls at once and rises slowly, since a batch that
/// is too large costs more than one that is not full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expansion(usize);

impl Default for Expansion {
    fn default() -> Self {
        Self(ONE)
    }
}

impl Expansion {
    /// How far a batch may grow before it is compressed, to take `batch_size` bytes then.
    pub(super) fn limit(self, batch_size: usize) -> usize {
        // On small machines the product does not fit.
        let limit = (batch_size as u64).saturating_mul(self.0 as u64) / ONE as u64;
        usize::try_from(limit).unwrap_or(usize::MAX)
    }

    /// A batch of `raw` bytes has become one of `sealed`.
    pub(super) fn learn(&mut self, raw: usize, sealed: usize) {
        let seen = (raw.saturating_mul(ONE) / sealed.max(1)).clamp(ONE, MOST);
        self.0 = if seen < self.0 { seen } else { self.0 + (seen - self.0).div_ceil(STEP) };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn batches_that_shrink_grow_to_their_size_on_the_wire() {
        let mut expansion = Expansion::default();
        for _ in 0..50 {
            let raw = expansion.limit(100_000);
            expansion.learn(raw, raw / 3);
        }
        let limit = expansion.limit(100_000);
        assert!((295_000..=301_000).contains(&limit), "{limit}");
        // One that did not shrink is the last that was too large.
        expansion.learn(limit, limit);
        assert_eq!(expansion.limit(100_000), 100_000);
    }

    #[test]
    fn one_good_batch_is_not_trusted() {
        let mut expansion = Expansion::default();
        expansion.learn(100_000, 1_000);
        let limit = expansion.limit(100_000);
        assert!((100_001..150_000).contains(&limit), "{limit}");
    }

    proptest! {
        #[test]
        fn the_limit_stays_between_the_size_and_four_times_it(
            seen in prop::collection::vec((1_usize..2 << 20, 0_usize..2 << 20), 0..50),
            batch_size in 1_usize..1 << 30,
        ) {
            let mut expansion = Expansion::default();
            for (raw, sealed) in seen {
                expansion.learn(raw, sealed);
                let limit = expansion.limit(batch_size);
                prop_assert!(batch_size <= limit && limit <= 4 * batch_size, "{limit}");
            }
        }
    }
}
