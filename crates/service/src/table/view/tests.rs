//! The view of a table, also against a map that is fed by hand.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

type Text = View<String, u32>;

const FOREVER: Limits = Limits { max_entries: 100, expire_after: None };

fn put(offset: i64, key: &str, value: u32) -> Change<String, u32> {
    Change { offset: Offset(offset), timestamp: offset, key: key.to_owned(), value: Some(value) }
}

fn remove(offset: i64, key: &str) -> Change<String, u32> {
    Change { value: None, ..put(offset, key, 0) }
}

fn run(partition: i32, changes: Vec<Change<String, u32>>, next: i64) -> Run<String, u32> {
    Run { partition: Partition(partition), changes, next: Offset(next), undecodable: 0 }
}

/// Partition 0 from offset 0 to 5, partition 1 from 3 to 3.
fn view(limits: Limits) -> Text {
    View::new(limits, [(Partition(0), Offset(0), Offset(5)), (Partition(1), Offset(3), Offset(3))])
}

fn entries(view: &Text) -> Vec<(String, u32)> {
    view.range(.., usize::MAX).into_iter().map(|(key, value)| (key, *value)).collect()
}

#[test]
fn the_newest_value_of_a_key_counts_and_a_tombstone_removes_it() {
    let mut view = view(FOREVER);
    let applied = view.apply(run(0, vec![put(0, "a", 1), put(1, "b", 2), put(2, "a", 3)], 3), 0);
    assert_eq!((applied.too_many, applied.replaced), (None, vec![Arc::new(1)]));
    assert_eq!(entries(&view), [("a".to_owned(), 3), ("b".to_owned(), 2)]);
    let before = view.version();
    view.apply(run(0, vec![remove(3, "b"), remove(4, "c")], 5), 0);
    assert_eq!(entries(&view), [("a".to_owned(), 3)]);
    assert_eq!(view.version(), before + 1, "a tombstone of what is not there changes nothing");
    assert_eq!((view.get("a").map(|value| **value), view.get("b"), view.len()), (Some(3), None, 1));
}

#[test]
fn it_is_caught_up_where_the_partitions_ended_also_behind_markers() {
    let mut view = view(FOREVER);
    assert!(!view.is_caught_up());
    assert_eq!(view.awaited(), [Partition(0)].into(), "partition 1 is empty");
    view.apply(run(0, vec![put(0, "a", 1)], 4), 0);
    assert!(!view.is_caught_up());
    assert!(view.passed(Partition(0), Offset(5)));
    assert!(view.is_caught_up() && view.awaited().is_empty());
    assert!(!view.passed(Partition(0), Offset(2)), "it never goes back");
    assert_eq!(view.reached(Partition(0), Offset(4)), Reached::Yes);
}

#[test]
fn a_record_is_reached_when_reading_is_behind_it() {
    let mut view = view(FOREVER);
    assert_eq!(view.reached(Partition(1), Offset(2)), Reached::Yes, "it was gone before");
    assert_eq!(view.reached(Partition(1), Offset(3)), Reached::NotYet);
    assert_eq!(view.reached(Partition(2), Offset(0)), Reached::Unknown);
    view.apply(run(2, vec![put(0, "new", 1)], 1), 0);
    assert_eq!(view.reached(Partition(2), Offset(0)), Reached::Yes, "partitions may appear");
}

#[test]
fn partitions_are_watched_as_long_as_anybody_waits() {
    let mut view = view(FOREVER);
    view.watch(Partition(1));
    view.watch(Partition(1));
    view.unwatch(Partition(1));
    assert_eq!(view.awaited(), [Partition(0), Partition(1)].into());
    view.unwatch(Partition(1));
    view.unwatch(Partition(1));
    assert_eq!(view.awaited(), [Partition(0)].into());
}

#[test]
fn one_key_too_many_ends_the_run_in_front_of_it() {
    let mut view = view(Limits { max_entries: 2, ..FOREVER });
    let changes = vec![put(0, "a", 1), put(1, "b", 2), put(2, "a", 3), put(3, "c", 4), put(4, "b", 5)];
    assert_eq!(view.apply(run(0, changes, 5), 0).too_many, Some(Offset(3)));
    assert_eq!(entries(&view), [("a".to_owned(), 3), ("b".to_owned(), 2)]);
    assert_eq!(view.reached(Partition(0), Offset(2)), Reached::Yes);
    assert_eq!(view.reached(Partition(0), Offset(3)), Reached::NotYet);
    let mut view = self::view(Limits { max_entries: 1, ..FOREVER });
    let applied = view.apply(run(0, vec![put(0, "a", 1), remove(1, "a"), put(2, "b", 2)], 3), 0);
    assert_eq!((applied.too_many, view.len()), (None, 1));
}

#[test]
fn only_records_count_as_read() {
    let mut view = view(FOREVER);
    view.passed(Partition(0), Offset(2));
    assert!(!view.has_read(Partition(0)));
    view.apply(run(0, vec![put(2, "a", 1)], 3), 0);
    view.passed(Partition(0), Offset(5));
    assert!(view.has_read(Partition(0)) && !view.has_read(Partition(7)));
}

#[test]
fn the_first_failure_counts_and_entries_stay() {
    let mut view = view(FOREVER);
    view.apply(run(0, vec![put(0, "a", 1)], 1), 0);
    let at = (milena::TopicPartition::new("t", 0), Offset(1)).into();
    view.fail(TableError::Full { at, limit: 1, setting: "max_entries" });
    view.fail(TableError::Stopped { topic: "t".into() });
    assert!(matches!(view.failure(), Some(TableError::Full { .. })));
    assert_eq!(view.len(), 1);
}

#[test]
fn entries_go_when_they_are_old_enough() {
    let mut view = view(Limits { expire_after: Some(Duration::from_millis(100)), ..FOREVER });
    let at = |timestamp, change| Change { timestamp, ..change };
    let changes = vec![
        at(1_000, put(0, "a", 1)),
        at(1_050, put(1, "b", 2)),
        at(900, put(2, "old", 3)),
        at(-1, put(3, "timeless", 4)),
        at(1_020, put(4, "a", 5)),
    ];
    view.apply(run(0, changes, 5), 1_010);
    assert_eq!((view.len(), view.next_expiry()), (3, Some(1_110)), "old is gone before it has come");
    assert_eq!(view.expire(1_119).len(), 1, "timeless is as old as its coming");
    assert_eq!(entries(&view), [("a".to_owned(), 5), ("b".to_owned(), 2)], "a was written again");
    let version = view.version();
    assert_eq!(view.expire(1_150).len(), 2);
    assert_eq!((view.len(), view.next_expiry(), view.version()), (0, None, version + 2));
    view.apply(run(0, vec![at(1_200, put(5, "a", 6)), at(1_201, remove(6, "a"))], 7), 1_200);
    assert_eq!(view.next_expiry(), None, "what was removed does not expire");
}

#[test]
fn entries_that_are_over_make_room_for_new_ones() {
    let mut view = view(Limits { expire_after: Some(Duration::from_millis(100)), max_entries: 1 });
    view.apply(run(0, vec![put(1_000, "a", 1)], 1_001), 1_000);
    let applied = view.apply(run(0, vec![put(1_100, "b", 2)], 1_101), 1_100);
    assert_eq!((applied.too_many, entries(&view)), (None, vec![("b".to_owned(), 2)]));
}

#[test]
fn an_old_record_removes_what_it_has_replaced() {
    let mut view = view(Limits { expire_after: Some(Duration::from_millis(100)), ..FOREVER });
    view.apply(run(0, vec![put(1_000, "a", 1)], 1_001), 1_000);
    view.apply(run(0, vec![Change { timestamp: 10, ..put(1_001, "a", 2) }], 1_002), 1_000);
    assert_eq!((view.len(), view.next_expiry()), (0, None));
}

#[derive(Clone, Debug)]
struct Step {
    partition: i32,
    key: u8,
    value: Option<u32>,
    /// Offsets in front of the record that hold nothing.
    gap: i64,
    age: i64,
    /// Whether a run ends behind it, and how far the clock moves then.
    ends: Option<i64>,
}

fn step() -> impl Strategy<Value = Step> {
    let value = prop_oneof![2 => any::<u32>().prop_map(Some), 1 => Just(None)];
    let ends = prop_oneof![Just(None), (0_i64..80).prop_map(Some)];
    (0..3_i32, 0..6_u8, value, 0..3_i64, 0..120_i64, ends)
        .prop_map(|(partition, key, value, gap, age, ends)| Step { partition, key, value, gap, age, ends })
}

const AGE: i64 = 100;

/// A map that is fed record by record, with when each was written.
#[derive(Default)]
struct Model {
    entries: BTreeMap<u8, (u32, i64)>,
    /// Where the partitions end, and how far they were applied.
    ends: HashMap<i32, i64>,
    applied: HashMap<i32, i64>,
    open: HashMap<i32, Vec<Change<u8, u32>>>,
}

impl Model {
    fn write(&mut self, step: &Step, now: i64) {
        let end = self.ends.entry(step.partition).or_default();
        let offset = *end + step.gap;
        *end = offset + 1;
        let (key, value, timestamp) = (step.key, step.value, now - step.age);
        let change = Change { offset: Offset(offset), timestamp, key, value };
        self.open.entry(step.partition).or_default().push(change);
    }

    fn run(&mut self, partition: i32) -> Run<u8, u32> {
        let changes = self.open.remove(&partition).unwrap_or_default();
        for change in &changes {
            match change.value {
                Some(value) => drop(self.entries.insert(change.key, (value, change.timestamp))),
                None => drop(self.entries.remove(&change.key)),
            }
        }
        let end = self.ends.get(&partition).copied().unwrap_or(0);
        self.applied.insert(partition, end);
        Run { partition: Partition(partition), changes, next: Offset(end), undecodable: 0 }
    }

    fn check(&self, view: &View<u8, u32>, expires: bool) {
        let held = view.range(.., 9).into_iter().map(|(key, value)| (key, *value));
        let expected = self.entries.iter().map(|(key, (value, _))| (*key, *value));
        assert_eq!(held.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
        let oldest = self.entries.values().map(|(_, timestamp)| timestamp + AGE).min();
        assert_eq!(view.next_expiry(), oldest.filter(|_| expires));
        for partition in 0..3 {
            let applied = self.applied.get(&partition).copied().unwrap_or(0);
            let reached = |offset| view.reached(Partition(partition), Offset(offset));
            assert_eq!((reached(applied - 1), reached(applied)), (Reached::Yes, Reached::NotYet));
        }
        let is_caught_up = (0..3).all(|partition| self.applied.get(&partition).is_some_and(|end| *end >= 20));
        assert_eq!(view.is_caught_up(), is_caught_up);
    }
}

proptest! {
    #[test]
    fn a_table_holds_what_a_map_holds_that_is_fed_record_by_record(
        steps in proptest::collection::vec(step(), 0..200),
        expires in any::<bool>(),
    ) {
        let expire_after = expires.then_some(Duration::from_millis(AGE as u64));
        let limits = Limits { max_entries: 6, expire_after };
        let partitions = (0..3).map(|partition| (Partition(partition), Offset(0), Offset(20)));
        let mut view: View<u8, u32> = View::new(limits, partitions);
        let (mut model, mut now) = (Model::default(), 1_000);
        for step in steps {
            model.write(&step, now);
            let Some(passed) = step.ends else { continue };
            prop_assert_eq!(view.apply(model.run(step.partition), now).too_many, None);
            now += passed;
            view.expire(now);
            if expires {
                model.entries.retain(|_, (_, timestamp)| *timestamp + AGE > now);
            }
            model.check(&view, expires);
        }
    }
}
