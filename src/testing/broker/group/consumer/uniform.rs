//! The uniform assignor: everybody gets as many partitions as the others, and keeps what it has as far as that goes.

use std::collections::{BTreeMap, BTreeSet};

use crate::testing::broker::heartbeat::Key;
use crate::wire::str::Str;
use crate::wire::uuid::Uuid;

/// What a member wants to read, and what it was assigned so far.
#[derive(Debug)]
pub(super) struct Wish {
    /// Ids and numbers of partitions.
    pub(super) topics: Vec<(Uuid, i32)>,
    pub(super) has: BTreeSet<Key>,
}

pub(super) fn assign(wishes: BTreeMap<Str, Wish>) -> BTreeMap<Str, BTreeSet<Key>> {
    let mut readers: BTreeMap<Key, Vec<&Str>> = BTreeMap::new();
    for (id, wish) in &wishes {
        for (topic, count) in &wish.topics {
            (0..*count).for_each(|index| readers.entry((*topic, index)).or_default().push(id));
        }
    }
    let mut plan: BTreeMap<Str, BTreeSet<Key>> =
        wishes.keys().map(|id| (id.clone(), BTreeSet::new())).collect();
    let most = readers.len().div_ceil(wishes.len().max(1));
    let mut left: BTreeMap<&Key, &Vec<&Str>> = BTreeMap::new();
    for (key, of) in &readers {
        let holder = of.iter().find(|id| wishes.get(**id).is_some_and(|wish| wish.has.contains(key)));
        match holder.and_then(|id| plan.get_mut(*id)).filter(|share| share.len() < most) {
            Some(share) => drop(share.insert(*key)),
            None => drop(left.insert(key, of)),
        }
    }
    for (key, of) in left {
        let least = of.iter().min_by_key(|id| plan.get(**id).map_or(0, BTreeSet::len));
        if let Some(share) = least.and_then(|id| plan.get_mut(*id)) {
            share.insert(*key);
        }
    }
    even_out(&mut plan, &readers);
    plan
}

/// Moves partitions from who has most to who has least, as long as that makes a difference.
fn even_out(plan: &mut BTreeMap<Str, BTreeSet<Key>>, readers: &BTreeMap<Key, Vec<&Str>>) {
    loop {
        let moves =
            plan.iter().flat_map(|(from, share)| share.iter().map(move |key| (from, share.len(), key)));
        let better = moves.filter_map(|(from, has, key)| {
            let least = readers.get(key)?.iter().min_by_key(|id| plan.get(**id).map_or(0, BTreeSet::len))?;
            let would_have = plan.get(*least)?.len() + 1;
            (would_have < has).then(|| (from.clone(), (*least).clone(), *key))
        });
        let Some((from, to, key)) = better.into_iter().next() else { return };
        if let Some(share) = plan.get_mut(&from) {
            share.remove(&key);
        }
        if let Some(share) = plan.get_mut(&to) {
            share.insert(key);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const T: Uuid = Uuid::from_bytes([1; 16]);

    fn wish(partitions: i32, has: &[i32]) -> Wish {
        Wish { topics: vec![(T, partitions)], has: has.iter().map(|index| (T, *index)).collect() }
    }

    fn shares(wishes: Vec<(&str, Wish)>) -> Vec<Vec<i32>> {
        let wishes = wishes.into_iter().map(|(id, wish)| (Str::from(id), wish)).collect();
        assign(wishes)
            .into_values()
            .map(|share| share.into_iter().map(|(_, index)| index).collect())
            .collect()
    }

    #[test]
    fn everybody_gets_as_many_and_keeps_what_it_has() {
        assert_eq!(shares(vec![("a", wish(5, &[]))]), [vec![0, 1, 2, 3, 4]]);
        let joined = shares(vec![("a", wish(5, &[0, 1, 2, 3, 4])), ("b", wish(5, &[]))]);
        assert_eq!(joined, [vec![0, 1, 2], vec![3, 4]]);
        let left = shares(vec![("b", wish(5, &[3, 4]))]);
        assert_eq!(left, [vec![0, 1, 2, 3, 4]]);
        let grown = shares(vec![("a", wish(7, &[0, 1, 2])), ("b", wish(7, &[3, 4])), ("c", wish(7, &[]))]);
        assert_eq!(grown, [vec![0, 1, 2], vec![3, 4], vec![5, 6]]);
    }

    #[test]
    fn who_wants_nothing_gets_nothing() {
        let none = Wish { topics: Vec::new(), has: BTreeSet::new() };
        assert_eq!(shares(vec![("a", none), ("b", wish(2, &[]))]), [vec![], vec![0, 1]]);
    }
}
