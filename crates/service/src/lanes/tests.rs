#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::{collections::BTreeMap, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::route;

const MS: Duration = Duration::from_millis(1);
const ONE_BY_ONE: Batching = None;

struct Bench {
    lanes: Lanes<u32>,
    now: Instant,
}

impl Bench {
    #[expect(clippy::disallowed_methods, reason = "some instant is needed to count from")]
    fn new(concurrency: usize, bytes: usize) -> Self {
        Self { lanes: Lanes::new(Limits { concurrency, bytes }), now: Instant::now() }
    }

    fn offer(&mut self, partition: i32, key: u64, items: impl IntoIterator<Item = u32>) {
        self.offer_as(ONE_BY_ONE, partition, key, items);
    }

    fn offer_as(
        &mut self,
        batching: Batching,
        partition: i32,
        key: u64,
        items: impl IntoIterator<Item = u32>,
    ) {
        let slot = self.lanes.assign(&tp(partition), batching);
        for item in items {
            self.lanes.offer(self.now, slot, Some(key), item, 100);
        }
    }

    /// Everything that may begin.
    fn begin(&mut self) -> Vec<(LaneId, Job<u32>)> {
        std::iter::from_fn(|| self.lanes.take()).collect()
    }

    fn only(&mut self) -> (LaneId, Job<u32>) {
        let mut begun = self.begin();
        assert_eq!(begun.len(), 1);
        begun.pop().unwrap()
    }

    fn finish(&mut self, id: LaneId, end: End<u32>) -> bool {
        self.lanes.finish(self.now, id, end)
    }

    fn advance(&mut self, by: Duration) {
        self.now += by;
        self.lanes.tick(self.now);
    }
}

fn tp(partition: i32) -> TopicPartition {
    TopicPartition::new("t", partition)
}

fn firsts(jobs: &[(LaneId, Job<u32>)]) -> Vec<u32> {
    jobs.iter().map(|(_, job)| job.first).collect()
}

#[test]
fn a_key_is_handled_in_order_and_keys_side_by_side() {
    let mut bench = Bench::new(8, 1 << 20);
    bench.offer(0, 1, [10, 11]);
    bench.offer(0, 2, [20]);
    bench.offer(1, 1, [30]);
    let begun = bench.begin();
    assert_eq!(firsts(&begun), [10, 20, 30]);
    bench.finish(begun[0].0, End::Done);
    assert_eq!(firsts(&bench.begin()), [11]);
}

#[test]
fn no_more_run_than_the_concurrency_allows() {
    let mut bench = Bench::new(2, 1 << 20);
    bench.offer(0, 1, [1]);
    bench.offer(0, 2, [2]);
    bench.offer(0, 3, [3]);
    let begun = bench.begin();
    assert_eq!((firsts(&begun), bench.lanes.running()), (vec![1, 2], 2));
    bench.finish(begun[1].0, End::Done);
    assert_eq!(firsts(&bench.begin()), [3]);
}

#[test]
fn workers_are_hired_for_what_is_ready_and_nobody_has_been_hired_for() {
    let mut bench = Bench::new(3, 1 << 20);
    bench.offer(0, 1, [1]);
    bench.offer(0, 2, [2]);
    assert_eq!((bench.lanes.hire(), bench.lanes.hire()), (2, 0));
    let (id, _) = bench.lanes.take_or_retire().unwrap();
    bench.lanes.take_or_retire().unwrap();
    (3..9).for_each(|key| bench.offer(0, key, [key as u32]));
    assert_eq!((bench.lanes.hire(), bench.lanes.hire()), (1, 0), "no more than run at once");
    bench.lanes.take_or_retire().unwrap();
    assert!(bench.lanes.take_or_retire().is_none(), "all run that may");
    bench.finish(id, End::Done);
    assert_eq!(bench.lanes.hire(), 1);
}

#[test]
fn what_is_tried_again_holds_up_its_own_key_alone() {
    let mut bench = Bench::new(1, 1 << 20);
    bench.offer(0, 1, [10, 11]);
    bench.offer(0, 2, [20]);
    let (id, job) = bench.only();
    bench.finish(id, End::Again(job, bench.now + 100 * MS));
    let (other, job) = bench.only();
    assert_eq!(job.first, 20, "it has given its turn away");
    bench.finish(other, End::Done);
    assert!(bench.begin().is_empty());
    assert_eq!(bench.lanes.deadline(), Some(bench.now + 100 * MS));
    bench.advance(99 * MS);
    assert!(bench.begin().is_empty());
    bench.advance(MS);
    let (id, job) = bench.only();
    assert_eq!(job.first, 10);
    bench.finish(id, End::Done);
    assert_eq!(firsts(&bench.begin()), [11]);
}

#[test]
fn a_halted_lane_stands_until_it_is_told_to_try_again() {
    let mut bench = Bench::new(4, 1 << 20);
    bench.offer(0, 1, [10, 11]);
    let (id, job) = bench.only();
    bench.finish(id, End::Halted(job));
    bench.offer(0, 1, [12]);
    bench.advance(1_000_000 * MS);
    assert!(bench.begin().is_empty());
    assert_eq!(bench.lanes.halted().collect::<Vec<_>>(), [&10]);
    bench.lanes.retry_halted(bench.now);
    let (id, job) = bench.only();
    assert_eq!((job.first, bench.lanes.halted().count()), (10, 0));
    bench.finish(id, End::Done);
    assert_eq!(firsts(&bench.begin()), [11]);
}

#[test]
fn a_batch_is_handed_out_when_it_is_full_or_its_first_has_waited() {
    let batching = Some(route::Batching { max: 3, wait: 50 * MS });
    let mut bench = Bench::new(4, 1 << 20);
    bench.offer_as(batching, 0, 1, [1]);
    bench.offer_as(batching, 0, 2, [2]);
    assert!(bench.begin().is_empty());
    bench.advance(50 * MS);
    let (id, job) = bench.only();
    assert_eq!(job.iter().copied().collect::<Vec<_>>(), [1, 2]);
    bench.offer_as(batching, 0, 1, 3..8);
    assert!(bench.begin().is_empty(), "a partition has one batch at a time");
    bench.finish(id, End::Done);
    let (id, job) = bench.only();
    assert_eq!(job.iter().copied().collect::<Vec<_>>(), [3, 4, 5]);
    bench.finish(id, End::Done);
    assert!(bench.begin().is_empty(), "two are no batch yet");
    bench.advance(50 * MS);
    assert_eq!(bench.only().1.len(), 2);
}

#[test]
fn a_batch_comes_again_as_it_was_or_apart() {
    let batching = Some(route::Batching { max: 2, wait: Duration::ZERO });
    let mut bench = Bench::new(4, 1 << 20);
    bench.offer_as(batching, 0, 0, 1..4);
    let (id, job) = bench.only();
    bench.finish(id, End::Again(job, bench.now + MS));
    bench.advance(MS);
    let (id, job) = bench.only();
    assert_eq!(job.iter().copied().collect::<Vec<_>>(), [1, 2]);
    bench.finish(id, End::Apart(job));
    let (id, job) = bench.only();
    assert_eq!((job.first, job.len()), (1, 1));
    bench.finish(id, End::Again(job, bench.now + MS));
    bench.advance(MS);
    for expected in [1, 2, 3] {
        let (id, job) = bench.only();
        assert_eq!((job.first, job.len()), (expected, 1));
        bench.finish(id, End::Done);
    }
}

#[test]
fn what_is_revoked_is_dropped_and_its_ends_are_ignored() {
    let mut bench = Bench::new(1, 1 << 20);
    bench.offer(0, 1, [10, 11]);
    bench.offer(1, 1, [20]);
    let (id, job) = bench.only();
    bench.lanes.revoke([&tp(0)]);
    // The partition comes back before the job of its former time has ended.
    bench.offer(0, 1, [10, 11]);
    bench.finish(id, End::Again(job, bench.now));
    let (id, job) = bench.only();
    assert_eq!(job.first, 20);
    bench.finish(id, End::Done);
    let (_, job) = bench.only();
    assert_eq!(job.first, 10);
    assert_eq!(
        bench
            .lanes
            .partitions()
            .map(|(partition, held)| (partition.clone(), held.records))
            .collect::<Vec<_>>(),
        [(tp(1), 0), (tp(0), 2)]
    );
}

/// Whoever gets the partition next begins with what was given back: nothing of its key may have been done behind it.
#[test]
fn nothing_is_done_behind_what_was_given_back() {
    let mut bench = Bench::new(4, 1 << 20);
    bench.offer(0, 1, [10, 11]);
    bench.offer(0, 2, [20]);
    let begun = bench.begin();
    bench.finish(begun[0].0, End::GivenBack);
    assert!(bench.begin().is_empty());
    assert_eq!(bench.lanes.partitions().next().unwrap().1.records, 1, "the other key's");
    bench.finish(begun[1].0, End::Done);
}

#[test]
fn nothing_begins_once_it_is_drained() {
    let mut bench = Bench::new(4, 1 << 20);
    bench.offer(0, 1, [10, 11]);
    bench.offer(0, 2, [20]);
    bench.lanes.take().unwrap();
    let (id, job) = bench.lanes.take().unwrap();
    bench.lanes.drain();
    bench.offer(0, 3, [30]);
    bench.finish(id, End::Again(job, bench.now));
    bench.advance(MS);
    assert!(bench.begin().is_empty() && !bench.lanes.has_room());
    assert_eq!((bench.lanes.running(), bench.lanes.partitions().next().unwrap().1.records), (1, 1));
}

#[test]
fn the_oldest_record_of_a_partition_is_known_while_it_runs_too() {
    let mut bench = Bench::new(8, 1 << 20);
    let start = bench.now;
    bench.offer(0, 1, [1]);
    bench.advance(MS);
    bench.offer(0, 2, [2]);
    let begun = bench.begin();
    assert_eq!(bench.lanes.oldest().into_iter().collect::<Vec<_>>(), [(&tp(0), start)]);
    bench.finish(begun[0].0, End::Done);
    assert_eq!(bench.lanes.oldest()[&tp(0)], start + MS);
    bench.finish(begun[1].0, End::Done);
    assert!(bench.lanes.oldest().is_empty());
}

#[test]
fn room_is_counted_in_bytes_and_with_what_runs() {
    let mut bench = Bench::new(1, 2 * (100 + OVERHEAD));
    bench.offer(0, 1, [1]);
    assert!(bench.lanes.has_room());
    bench.offer(0, 2, [2]);
    assert!(!bench.lanes.has_room());
    let (id, _) = bench.only();
    assert!(!bench.lanes.has_room(), "what runs is held too");
    bench.finish(id, End::Done);
    assert!(bench.lanes.has_room());
}

#[test]
fn a_partition_in_which_records_pile_up_leaves_room_to_the_others() {
    let mut bench = Bench::new(8, 10 * (100 + OVERHEAD));
    bench.offer(1, 1, [1]);
    bench.offer(0, 1, [10]);
    let begun = bench.begin();
    let (id, job) = begun.into_iter().find(|(_, job)| job.first == 10).unwrap();
    bench.finish(id, End::Halted(job));
    bench.offer(0, 1, 11..14);
    assert_eq!(bench.lanes.pauses(), (vec![], vec![]), "it has its share");
    bench.offer(0, 1, 14..40);
    assert!(!bench.lanes.has_room());
    assert_eq!(bench.lanes.pauses(), (vec![tp(0)], vec![]));
    assert!(bench.lanes.has_room(), "for the other one");
    assert_eq!(bench.lanes.pauses(), (vec![], vec![]), "it is said once");
    bench.lanes.retry_halted(bench.now);
    assert_eq!(bench.lanes.pauses(), (vec![], vec![tp(0)]));
}

#[test]
fn who_reads_is_called_only_when_there_is_something_to_look_at() {
    let mut bench = Bench::new(8, 3 * (100 + OVERHEAD));
    bench.offer(0, 1, [10, 11]);
    bench.offer(0, 2, [20]);
    let begun = bench.begin();
    assert!(!bench.lanes.has_room());
    assert!(bench.finish(begun[0].0, End::Done), "there is room again");
    assert!(!bench.finish(begun[1].0, End::Done));
    let (id, job) = bench.only();
    assert!(bench.finish(id, End::Again(job, bench.now + MS)), "a time to wake up");
    bench.advance(MS);
    let (id, job) = bench.only();
    assert!(bench.finish(id, End::Halted(job)), "a lane that is blocked");
    bench.offer(0, 2, 21..30);
    assert_eq!(bench.lanes.pauses(), (vec![tp(0)], vec![]));
    let (id, _) = bench.only();
    assert!(bench.finish(id, End::Done), "it may be time to resume the partition");
}

/// What may happen to lanes.
#[derive(Clone, Debug)]
enum Step {
    Offer { partition: i32, key: u64 },
    Take,
    Finish { which: usize, how: u8 },
    Advance(u64),
    Revoke(i32),
    RetryHalted,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3, 0..4_u64).prop_map(|(partition, key)| Step::Offer { partition, key }),
        4 => Just(Step::Take),
        4 => (any::<usize>(), 0..6_u8).prop_map(|(which, how)| Step::Finish { which, how }),
        2 => (0..20_u64).prop_map(Step::Advance),
        1 => (0..3).prop_map(Step::Revoke),
        1 => Just(Step::RetryHalted),
    ]
}

proptest! {
    /// Whatever happens: within an ownership the records of a key end in the order in which they came, none is lost, none
    /// runs beside another of its key, and the counts are those of what is held.
    #[test]
    fn keys_keep_their_order_and_nothing_is_lost(
        steps in prop::collection::vec(step(), 0..200),
        batched in any::<bool>(),
        concurrency in 1..5_usize,
    ) {
        let batching = batched.then_some(route::Batching { max: 3, wait: 5 * MS });
        let mut bench = Bench::new(concurrency, 1 << 20);
        let mut next = 0;
        // By slot and key: what was offered and is not done, in order.
        let mut owed: BTreeMap<(i32, u64), VecDeque<u32>> = BTreeMap::new();
        let mut running: Vec<(LaneId, i32, Job<u32>, bool)> = Vec::new();
        let mut places: BTreeMap<u32, (i32, u64)> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Offer { partition, key } => {
                    let lane = (partition, if batched { 0 } else { key });
                    bench.offer_as(batching, partition, key, [next]);
                    owed.entry(lane).or_default().push_back(next);
                    places.insert(next, lane);
                    next += 1;
                }
                Step::Take => {
                    if let Some((id, job)) = bench.lanes.take() {
                        let lane = places[&job.first];
                        prop_assert!(running.iter().all(|(other, ..)| *other != id), "two of a lane run");
                        let most = if batched { 3 } else { 1 };
                        prop_assert!(job.len() <= most);
                        let expected: Vec<u32> = owed[&lane].iter().copied().take(job.len()).collect();
                        prop_assert_eq!(job.iter().copied().collect::<Vec<_>>(), expected);
                        running.push((id, lane.0, job, true));
                        prop_assert!(running.len() <= concurrency);
                    }
                }
                Step::Finish { which, how } if !running.is_empty() => {
                    let (id, _, job, is_owned) = running.swap_remove(which % running.len());
                    let end = match how {
                        0 => End::Again(job, bench.now + 7 * MS),
                        1 => End::Halted(job),
                        2 if batched => End::Apart(job),
                        _ => {
                            if is_owned {
                                let owed = owed.get_mut(&places[&job.first]).unwrap();
                                for item in job.iter() {
                                    prop_assert_eq!(owed.pop_front(), Some(*item));
                                }
                            }
                            End::Done
                        }
                    };
                    bench.finish(id, end);
                }
                Step::Finish { .. } => {}
                Step::Advance(by) => bench.advance(Duration::from_millis(by)),
                Step::Revoke(partition) => {
                    bench.lanes.revoke([&tp(partition)]);
                    owed.retain(|(other, _), _| *other != partition);
                    for (_, other, _, is_owned) in &mut running {
                        *is_owned &= *other != partition;
                    }
                }
                Step::RetryHalted => bench.lanes.retry_halted(bench.now),
            }
            let held: usize = bench.lanes.partitions().map(|(_, held)| held.records).sum();
            prop_assert_eq!(held, owed.values().map(VecDeque::len).sum::<usize>());
            let bytes: usize = bench.lanes.partitions().map(|(_, held)| held.bytes).sum();
            prop_assert_eq!(bytes, held * (100 + OVERHEAD));
            prop_assert_eq!(bench.lanes.bytes, bytes);
        }
        // In the end all goes.
        for (id, _, job, is_owned) in running.drain(..) {
            if is_owned {
                owed.get_mut(&places[&job.first]).unwrap().drain(..job.len());
            }
            bench.finish(id, End::Done);
        }
        for _ in 0..1_000 {
            bench.lanes.retry_halted(bench.now);
            bench.advance(10 * MS);
            for (id, job) in bench.begin() {
                owed.get_mut(&places[&job.first]).unwrap().drain(..job.len());
                bench.finish(id, End::Done);
            }
        }
        prop_assert!(owed.values().all(VecDeque::is_empty), "{:?}", owed);
        prop_assert!(bench.lanes.lanes.is_empty() && bench.lanes.deadline().is_none());
    }
}
