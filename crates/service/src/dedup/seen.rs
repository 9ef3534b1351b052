//! The newest ids, without a clock or a lock.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

/// The newest ids, at most so many, and none that is older than so long. Time is what has passed since some beginning.
#[derive(Debug)]
pub(super) struct Seen {
    capacity: usize,
    expire_after: Option<Duration>,
    /// The number under which each id was inserted last.
    ids: HashMap<Arc<str>, u64>,
    /// In the order in which they were inserted, with when.
    order: BTreeMap<u64, (Arc<str>, Duration)>,
    inserted: u64,
}

impl Seen {
    pub(super) fn new(capacity: usize) -> Self {
        let (ids, order) = (HashMap::new(), BTreeMap::new());
        Self { capacity, expire_after: None, ids, order, inserted: 0 }
    }

    pub(super) fn expire_after(&mut self, age: Duration) {
        self.expire_after = Some(age);
    }

    pub(super) fn contains(&self, id: &str, now: Duration) -> bool {
        let Some((_, at)) = self.ids.get(id).and_then(|number| self.order.get(number)) else { return false };
        !self.is_over(*at, now)
    }

    /// Inserts an id, as the newest, also if it is there.
    pub(super) fn insert(&mut self, id: &str, now: Duration) {
        self.inserted += 1;
        let id: Arc<str> = id.into();
        if let Some(before) = self.ids.insert(Arc::clone(&id), self.inserted) {
            self.order.remove(&before);
        }
        self.order.insert(self.inserted, (id, now));
        while let Some((_, (_, at))) = self.order.first_key_value()
            && (self.is_over(*at, now) || self.ids.len() > self.capacity)
        {
            if let Some((_, (id, _))) = self.order.pop_first() {
                self.ids.remove(&id);
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    fn is_over(&self, at: Duration, now: Duration) -> bool {
        self.expire_after.is_some_and(|age| at.saturating_add(age) <= now)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_oldest_go_first_and_what_comes_again_is_new() {
        let mut seen = Seen::new(2);
        seen.insert("a", at(0));
        seen.insert("b", at(1));
        seen.insert("a", at(2));
        seen.insert("c", at(3));
        assert!(seen.contains("a", at(9)) && seen.contains("c", at(9)));
        assert!(!seen.contains("b", at(9)) && !seen.contains("d", at(9)));
        assert_eq!((seen.len(), seen.order.len()), (2, 2));
    }

    #[test]
    fn ids_go_when_they_are_old_enough() {
        let mut seen = Seen::new(10);
        seen.expire_after(at(60));
        seen.insert("a", at(0));
        seen.insert("b", at(59));
        assert!(seen.contains("a", at(59)) && !seen.contains("a", at(60)));
        seen.insert("c", at(60));
        assert_eq!((seen.len(), seen.order.len()), (2, 2));
    }

    proptest! {
        #[test]
        fn it_holds_the_newest_ids_and_no_more(
            inserted in proptest::collection::vec((0..12_u8, 0..20_u64), 0..100),
            capacity in 1..8_usize,
            age in proptest::option::of(1..40_u64),
        ) {
            let mut seen = Seen::new(capacity);
            if let Some(age) = age {
                seen.expire_after(at(age));
            }
            // The newest last.
            let mut model: Vec<(u8, u64)> = Vec::new();
            let mut now = 0;
            for (id, passed) in inserted {
                now += passed;
                model.retain(|(other, _)| *other != id);
                model.push((id, now));
                let newest = model.len().saturating_sub(capacity);
                model.drain(..newest);
                model.retain(|(_, when)| age.is_none_or(|age| when + age > now));
                seen.insert(&id.to_string(), at(now));
                for id in 0..12 {
                    let expected = model.iter().any(|(other, _)| *other == id);
                    prop_assert_eq!(seen.contains(&id.to_string(), at(now)), expected);
                }
                prop_assert_eq!((seen.len(), seen.order.len()), (model.len(), model.len()));
            }
        }
    }
}
