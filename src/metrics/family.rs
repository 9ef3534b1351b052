//! Counters of the same kind, one set for each key.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
    sync::{Arc, PoisonError, RwLock},
};

/// Counters that can be read, and take over what others have counted.
pub(super) trait Series: Default {
    type Plain: Default;

    fn read(&self) -> Self::Plain;

    fn absorb(&self, counted: &Self::Plain);
}

/// A bounded number of series. Those that do not fit, and those that were removed, are counted together.
#[derive(Debug)]
pub(super) struct Family<K, S> {
    limit: usize,
    by_key: RwLock<HashMap<K, Arc<S>>>,
    other: Arc<S>,
}

impl<K: Clone + Eq + Hash + Ord, S: Series> Family<K, S> {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, by_key: RwLock::default(), other: Arc::default() }
    }

    /// The series of `key`, which is made if there is room for it.
    pub(super) fn get(&self, key: &K) -> Arc<S> {
        let known = self.by_key.read().unwrap_or_else(PoisonError::into_inner).get(key).map(Arc::clone);
        known.unwrap_or_else(|| self.make(key))
    }

    fn make(&self, key: &K) -> Arc<S> {
        let mut by_key = self.by_key.write().unwrap_or_else(PoisonError::into_inner);
        if by_key.len() >= self.limit && !by_key.contains_key(key) {
            return Arc::clone(&self.other);
        }
        Arc::clone(by_key.entry(key.clone()).or_default())
    }

    /// Ends a series. What it has counted stays in the sums; what is still added by those who hold it is lost.
    pub(super) fn remove(&self, key: &K) {
        let removed = self.by_key.write().unwrap_or_else(PoisonError::into_inner).remove(key);
        if let Some(series) = removed {
            self.other.absorb(&series.read());
        }
    }

    /// Each series by its key, and all others in one.
    pub(super) fn read(&self) -> (BTreeMap<K, S::Plain>, S::Plain) {
        let by_key = self.by_key.read().unwrap_or_else(PoisonError::into_inner);
        let each = by_key.iter().map(|(key, series)| (key.clone(), series.read())).collect();
        (each, self.other.read())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    impl Series for AtomicU64 {
        type Plain = u64;

        fn read(&self) -> u64 {
            self.load(Ordering::Relaxed)
        }

        fn absorb(&self, counted: &u64) {
            self.fetch_add(*counted, Ordering::Relaxed);
        }
    }

    fn count(family: &Family<&'static str, AtomicU64>, key: &'static str, more: u64) {
        family.get(&key).fetch_add(more, Ordering::Relaxed);
    }

    #[test]
    fn what_does_not_fit_is_counted_together() {
        let family = Family::new(2);
        for (key, more) in [("a", 1), ("b", 2), ("c", 4), ("d", 8), ("a", 16)] {
            count(&family, key, more);
        }
        assert_eq!(family.read(), (BTreeMap::from([("a", 17), ("b", 2)]), 12));
    }

    #[test]
    fn what_is_removed_stays_in_the_sum_and_makes_room() {
        let family = Family::new(1);
        count(&family, "a", 1);
        family.remove(&"a");
        family.remove(&"nobody");
        count(&family, "b", 2);
        assert_eq!(family.read(), (BTreeMap::from([("b", 2)]), 1));
        family.remove(&"b");
        count(&family, "b", 4);
        assert_eq!(family.read(), (BTreeMap::from([("b", 4)]), 3));
    }
}
