//! To which partitions records without a key are sent.

use super::*;
use crate::types::Partition;

/// How often each of the three partitions is picked. Those of 0 and 1 are led by broker 1, that of 2 by broker 2.
fn picks(bench: &Bench) -> [u32; 3] {
    let topic = bench.accumulator.topic("t").unwrap();
    let mut picks = [0; 3];
    let mut random = Random::new(7);
    for _ in 0..9_000 {
        let picked = topic.pick(&mut random).unwrap();
        picks[usize::try_from(picked.0).unwrap()] += 1;
    }
    picks
}

/// Time passes, and the shares are computed anew.
fn weigh(bench: &mut Bench, pause: Duration) -> [u32; 3] {
    picks(bench);
    bench.advance(pause);
    bench.tick();
    picks(bench)
}

const A_WHILE: Duration = Duration::from_millis(50);

#[test]
fn partitions_get_less_the_more_waits_for_them() {
    let mut bench = Bench::ready(|config| config.partitioning.adaptive = true);
    let even = weigh(&mut bench, A_WHILE);
    assert!(even.iter().all(|count| (2_800..3_200).contains(count)), "{even:?}");
    let calls: Vec<Call> = (0..3).map(|n| bench.send(0, &format!("{n}"))).collect();
    let [slow, one, other] = weigh(&mut bench, A_WHILE);
    assert!(
        (800..1_200).contains(&slow) && one.abs_diff(other) < 400,
        "1 : 4 : 4, not {slow} : {one} : {other}"
    );
    for call in &calls {
        bench.answer(call, &[(0, Code::NONE, 0)]);
    }
    let even = weigh(&mut bench, A_WHILE);
    assert!(even.iter().all(|count| (2_800..3_200).contains(count)), "{even:?}");
}

#[test]
fn unless_it_is_switched_off() {
    let mut bench = Bench::ready(|_| {});
    for n in 0..3 {
        bench.send(0, &format!("{n}"));
    }
    let even = weigh(&mut bench, A_WHILE);
    assert!(even.iter().all(|count| (2_800..3_200).contains(count)), "{even:?}");
}

#[test]
fn a_broker_that_takes_nothing_for_long_is_avoided_until_it_does() {
    let timeout = Duration::from_secs(3);
    let mut bench = Bench::ready(|config| config.partitioning.availability_timeout = Some(timeout));
    let first = bench.send(0, "a");
    let [zero, one, _] = weigh(&mut bench, Duration::from_secs(2));
    assert!(zero > 0 && one > 0, "not yet");
    let second = bench.send(0, "b");
    assert_eq!(weigh(&mut bench, Duration::from_secs(2)), [0, 0, 9_000]);
    bench.lose(&first, true);
    bench.advance(Duration::from_secs(2));
    let again = bench.tick();
    assert_eq!(weigh(&mut bench, A_WHILE), [0, 0, 9_000], "an attempt that failed is no answer");
    bench.lose(&second, true);
    bench.answer(&again[0], &[(0, Code::NONE, 0)]);
    let [zero, one, _] = weigh(&mut bench, A_WHILE);
    assert!(zero > 0 && one > 0, "it is back");
}

#[test]
fn a_broker_for_which_nothing_is_left_is_tried_again() {
    let timeout = Duration::from_secs(3);
    let mut bench = Bench::ready(|config| {
        config.partitioning.availability_timeout = Some(timeout);
        config.delivery_timeout = Duration::from_secs(40);
    });
    let call = bench.send(0, "a");
    assert_eq!(weigh(&mut bench, Duration::from_secs(35)), [0, 0, 9_000]);
    bench.advance(Duration::from_secs(10));
    bench.tick();
    bench.lose(&call, true);
    let [zero, one, _] = weigh(&mut bench, A_WHILE);
    assert!(zero > 0 && one > 0, "its records were given up");
}

#[test]
fn leaders_in_the_own_rack_get_all_as_long_as_there_are_some() {
    let mut bench = Bench::ready(|config| config.partitioning.rack = Some("here".into()));
    let racks = |leaders_of: &[Option<i32>], racks: [&str; 2]| {
        let mut snapshot = Snapshot::clone(&leaders(leaders_of));
        for (id, rack) in (1..).zip(racks) {
            snapshot.set_rack(NodeId(id), rack);
        }
        Arc::new(snapshot)
    };
    bench.sender.catalog(bench.now, racks(&[Some(1), Some(1), Some(2)], ["there", "here"]));
    assert_eq!(picks(&bench), [0, 0, 9_000]);
    bench.sender.catalog(bench.now, racks(&[Some(1), Some(1), None], ["there", "here"]));
    assert_eq!(picks(&bench)[2], 0, "it has no leader");
    assert!(picks(&bench)[..2].iter().all(|count| *count > 4_000), "no leader is in the own rack");
    let topic = bench.accumulator.topic("t").unwrap();
    assert_eq!(*topic.available(), [Partition(0), Partition(1)], "for a partitioner of the user's own");
}
