//! Ranges that hold nothing whatever there is.

use std::ops::{Bound, RangeBounds};

/// Whether a range ends in front of where it begins: `BTreeMap::range` panics on some of those.
pub(super) fn is_empty<K: Ord>(range: &impl RangeBounds<K>) -> bool {
    match (range.start_bound(), range.end_bound()) {
        (Bound::Included(start), Bound::Included(end)) => start > end,
        (Bound::Included(start) | Bound::Excluded(start), Bound::Excluded(end))
        | (Bound::Excluded(start), Bound::Included(end)) => start >= end,
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ranges_that_can_hold_something_are_not_empty() {
        use Bound::{Excluded, Included, Unbounded};
        assert!(!is_empty(&(1..=1)) && !is_empty(&(1..2)) && !is_empty::<i32>(&(..)));
        assert!(!is_empty(&(Excluded(1), Included(2))) && !is_empty(&(Excluded(5), Unbounded)));
        assert!(is_empty(&(Included(2), Included(1))) && is_empty(&(1..1)));
        assert!(is_empty(&(Excluded(1), Excluded(1))) && is_empty(&(Excluded(1), Included(1))));
    }

    #[test]
    fn every_range_that_is_not_empty_can_be_asked_of_a_map() {
        let map = std::collections::BTreeMap::from([(1, ()), (2, ())]);
        let bounds = |at: i32| [Bound::Included(at), Bound::Excluded(at), Bound::Unbounded];
        for start in (0..4).flat_map(bounds) {
            for end in (0..4).flat_map(bounds) {
                let range = (start, end);
                let asked = if is_empty(&range) { 0 } else { map.range(range).count() };
                let counted = map.keys().filter(|key| range.contains(key)).count();
                assert_eq!(asked, counted, "{range:?}");
            }
        }
    }
}
