//! What a table holds, and how far it has read. Without a clock, a task or a lock.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use milena::{Offset, Partition};

use super::{error::TableError, expiry::Expiry};

/// The entries of a table, how far each partition was read, and who waits for what.
#[derive(Debug)]
pub(super) struct View<K, V> {
    entries: BTreeMap<K, Entry<V>>,
    max_entries: usize,
    /// `None` where entries stay until they are removed.
    expiry: Option<Expiry<K>>,
    partitions: BTreeMap<Partition, Progress>,
    /// Those that have not been read to where they ended when the table was started.
    behind: BTreeMap<Partition, Offset>,
    /// How many wait for something of a partition.
    watched: BTreeMap<Partition, usize>,
    version: u64,
    undecodable: u64,
    failure: Option<TableError>,
}

#[derive(Debug)]
struct Entry<V> {
    value: Arc<V>,
    /// When it was written, and its number among all that were put, as the expiry knows it.
    age: (i64, u64),
}

#[derive(Clone, Copy, Debug)]
struct Progress {
    /// Everything in front of it was applied, or holds nothing for the table.
    next: Offset,
    /// Whether records were read.
    has_read: bool,
}

/// What a table may hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) max_entries: usize,
    /// How long after it was written an entry goes.
    pub(super) expire_after: Option<Duration>,
}

/// A record, decoded.
#[derive(Debug)]
pub(super) struct Change<K, V> {
    pub(super) offset: Offset,
    /// Milliseconds since the Unix epoch; negative for none.
    pub(super) timestamp: i64,
    pub(super) key: K,
    /// `None` for a tombstone.
    pub(super) value: Option<V>,
}

/// Records of a partition, one behind the other.
#[derive(Debug)]
pub(super) struct Run<K, V> {
    pub(super) partition: Partition,
    pub(super) changes: Vec<Change<K, V>>,
    /// Where reading goes on behind them.
    pub(super) next: Offset,
    /// How many more could not be decoded, and were skipped.
    pub(super) undecodable: u64,
}

/// What came of applying records.
#[derive(Debug)]
pub(super) struct Applied<V> {
    /// The offset of a record whose key was one too many: it and what follows was not applied.
    pub(super) too_many: Option<Offset>,
    /// To be dropped without the lock.
    pub(super) replaced: Vec<Arc<V>>,
}

/// Whether a table has got to an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reached {
    Yes,
    NotYet,
    /// There may be no such partition.
    Unknown,
}

impl<K: Ord + Clone, V> View<K, V> {
    /// An empty table, which starts to read these partitions at the first offset, and is caught up at the second.
    pub(super) fn new(
        limits: Limits,
        partitions: impl IntoIterator<Item = (Partition, Offset, Offset)>,
    ) -> Self {
        let mut view = Self {
            entries: BTreeMap::new(),
            max_entries: limits.max_entries,
            expiry: limits.expire_after.map(Expiry::new),
            partitions: BTreeMap::new(),
            behind: BTreeMap::new(),
            watched: BTreeMap::new(),
            version: 0,
            undecodable: 0,
            failure: None,
        };
        for (partition, begin, end) in partitions {
            view.partitions.insert(partition, Progress { next: begin, has_read: false });
            if begin < end {
                view.behind.insert(partition, end);
            }
        }
        view
    }

    /// Puts and removes what records say, at this time, up to the first whose key would be one too many. What has been
    /// there for long enough goes first.
    pub(super) fn apply(&mut self, run: Run<K, V>, now_ms: i64) -> Applied<V> {
        let mut applied = Applied { too_many: None, replaced: self.expire(now_ms) };
        for change in run.changes {
            // What has no time is as old as its coming.
            let timestamp = if change.timestamp < 0 { now_ms } else { change.timestamp };
            let is_expired = self.expiry.as_ref().is_some_and(|expiry| expiry.is_over(timestamp, now_ms));
            let gone = match change.value.filter(|_| !is_expired) {
                Some(value) => {
                    if self.entries.len() >= self.max_entries && !self.entries.contains_key(&change.key) {
                        applied.too_many = Some(change.offset);
                        self.advance(run.partition, change.offset, true);
                        return applied;
                    }
                    self.version += 1;
                    let age = (timestamp, self.version);
                    if let Some(expiry) = &mut self.expiry {
                        expiry.put(age, change.key.clone());
                    }
                    self.entries.insert(change.key, Entry { value: Arc::new(value), age })
                }
                None => self.entries.remove(&change.key).inspect(|_| self.version += 1),
            };
            if let Some(entry) = gone {
                self.forget_age(entry.age);
                applied.replaced.push(entry.value);
            }
        }
        self.undecodable = self.undecodable.saturating_add(run.undecodable);
        self.advance(run.partition, run.next, true);
        applied
    }

    /// Reading has got to this offset over what holds nothing for the table; whether that is news.
    pub(super) fn passed(&mut self, partition: Partition, next: Offset) -> bool {
        self.advance(partition, next, false)
    }

    fn advance(&mut self, partition: Partition, next: Offset, with_records: bool) -> bool {
        let before = self.partitions.get(&partition).copied();
        if before.is_some_and(|before| before.next >= next) {
            return false;
        }
        let has_read = with_records || before.is_some_and(|before| before.has_read);
        self.partitions.insert(partition, Progress { next, has_read });
        if self.behind.get(&partition).is_some_and(|end| *end <= next) {
            self.behind.remove(&partition);
        }
        true
    }

    /// Removes entries that have been there for long enough, and gives their values.
    pub(super) fn expire(&mut self, now_ms: i64) -> Vec<Arc<V>> {
        let mut values = Vec::new();
        while let Some(key) = self.expiry.as_mut().and_then(|expiry| expiry.take(now_ms)) {
            if let Some(entry) = self.entries.remove(&key) {
                self.version += 1;
                values.push(entry.value);
            }
        }
        values
    }

    /// When the next entry goes, in milliseconds since the Unix epoch.
    pub(super) fn next_expiry(&self) -> Option<i64> {
        self.expiry.as_ref().and_then(Expiry::next)
    }

    /// Ends the table, which keeps what it holds. Only the first reason counts.
    pub(super) fn fail(&mut self, failure: TableError) {
        self.failure.get_or_insert(failure);
    }

    pub(super) const fn failure(&self) -> Option<&TableError> {
        self.failure.as_ref()
    }

    /// Whether everything was read that was there when the table was started.
    pub(super) fn is_caught_up(&self) -> bool {
        self.behind.is_empty()
    }

    /// Whether it is caught up, and has not failed.
    pub(super) fn is_ready(&self) -> bool {
        self.is_caught_up() && self.failure.is_none()
    }

    /// Whether records of a partition were read.
    pub(super) fn has_read(&self, partition: Partition) -> bool {
        self.partitions.get(&partition).is_some_and(|progress| progress.has_read)
    }

    /// Whether the record at this offset was applied, if there is one.
    pub(super) fn reached(&self, partition: Partition, offset: Offset) -> Reached {
        match self.partitions.get(&partition) {
            Some(progress) if progress.next > offset => Reached::Yes,
            Some(_) => Reached::NotYet,
            None => Reached::Unknown,
        }
    }

    /// Somebody waits for something of a partition, until it is [unwatched](Self::unwatch).
    pub(super) fn watch(&mut self, partition: Partition) {
        *self.watched.entry(partition).or_default() += 1;
    }

    pub(super) fn unwatch(&mut self, partition: Partition) {
        if let Some(count) = self.watched.get_mut(&partition) {
            *count -= 1;
            if *count == 0 {
                self.watched.remove(&partition);
            }
        }
    }

    /// The partitions of which somebody wants to know how far they are read, also where there is nothing to apply.
    pub(super) fn awaited(&self) -> BTreeSet<Partition> {
        self.behind.keys().chain(self.watched.keys()).copied().collect()
    }

    /// The value of a key.
    pub(super) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&Arc<V>>
    where
        K: std::borrow::Borrow<Q>,
    {
        self.entries.get(key).map(|entry| &entry.value)
    }

    /// The first entries of a range, which must not be [empty by its bounds](super::range::is_empty).
    pub(super) fn range<R: std::ops::RangeBounds<K>>(&self, range: R, limit: usize) -> Vec<(K, Arc<V>)> {
        let entry = |(key, entry): (&K, &Entry<V>)| (key.clone(), Arc::clone(&entry.value));
        self.entries.range(range).take(limit).map(entry).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) const fn max_entries(&self) -> usize {
        self.max_entries
    }

    /// It grows with each change of the entries.
    pub(super) const fn version(&self) -> u64 {
        self.version
    }

    pub(super) const fn undecodable(&self) -> u64 {
        self.undecodable
    }

    fn forget_age(&mut self, age: (i64, u64)) {
        if let Some(expiry) = &mut self.expiry {
            expiry.remove(age);
        }
    }
}

#[cfg(test)]
mod tests;
