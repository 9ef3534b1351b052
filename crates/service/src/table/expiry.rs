//! When the entries of a table go by themselves.

use std::{collections::BTreeMap, time::Duration};

/// The keys of a table by when they were written. Each put has a number, since two may have been written at once.
#[derive(Debug)]
pub(super) struct Expiry<K> {
    after_ms: i64,
    keys: BTreeMap<(i64, u64), K>,
}

impl<K> Expiry<K> {
    pub(super) fn new(after: Duration) -> Self {
        let after_ms = i64::try_from(after.as_millis()).unwrap_or(i64::MAX);
        Self { after_ms, keys: BTreeMap::new() }
    }

    /// Whether what was written at `timestamp` is gone at `now`.
    pub(super) const fn is_over(&self, timestamp: i64, now_ms: i64) -> bool {
        timestamp.saturating_add(self.after_ms) <= now_ms
    }

    pub(super) fn put(&mut self, age: (i64, u64), key: K) {
        self.keys.insert(age, key);
    }

    pub(super) fn remove(&mut self, age: (i64, u64)) {
        self.keys.remove(&age);
    }

    /// Takes out the oldest key, if it is gone now.
    pub(super) fn take(&mut self, now_ms: i64) -> Option<K> {
        let (timestamp, _) = *self.keys.first_key_value()?.0;
        let (_, key) = self.is_over(timestamp, now_ms).then(|| self.keys.pop_first())??;
        Some(key)
    }

    /// When the next key goes.
    pub(super) fn next(&self) -> Option<i64> {
        let ((timestamp, _), _) = self.keys.first_key_value()?;
        Some(timestamp.saturating_add(self.after_ms))
    }
}
