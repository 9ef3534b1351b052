#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use super::*;

const WANT: Want = Want { records: 100, exactly: false, bytes: 10_000, whole_first: true, locks: 2_000 };

fn now() -> Now {
    #[expect(clippy::disallowed_methods, reason = "any moment will do")]
    Now { instant: Instant::now(), unix_ms: 0 }
}

fn spans(spans: &[(i64, i64)]) -> Vec<Span> {
    let span = |&(base, last): &(i64, i64)| Span { base, last, bytes: Bytes::from_static(&[0; 100]) };
    spans.iter().map(span).collect()
}

fn acquire(partition: &mut SharePartition, log: &[(i64, i64)], end: i64, want: Want) -> Vec<Run> {
    let plan = partition.plan(spans(log).into_iter(), end, want);
    let runs = partition.acquire(&plan, &"m".into(), now().instant, 0);
    partition.check();
    runs
}

fn run(first: i64, last: i64, deliveries: u16) -> Run {
    Run { first, last, deliveries }
}

#[test]
fn holes_between_batches_are_passed_over() {
    let mut partition = SharePartition::new(0, 0);
    let log: &[(i64, i64)] = &[(2, 4), (7, 7), (8, 9)];
    assert_eq!(acquire(&mut partition, log, 12, WANT), [run(2, 4, 1), run(7, 9, 1)]);
    assert_eq!((partition.start, partition.end), (2, 12));
}

#[test]
fn a_log_of_which_nothing_is_left_holds_nobody_up() {
    let mut partition = SharePartition::new(0, 0);
    assert_eq!(acquire(&mut partition, &[], 1_000, WANT), []);
    assert_eq!((partition.start, partition.end), (1_000, 1_000));
}

#[test]
fn a_limit_of_records_leaves_the_rest_of_a_batch() {
    let mut partition = SharePartition::new(0, 0);
    let log: &[(i64, i64)] = &[(0, 3), (4, 7)];
    let three = Want { records: 3, exactly: true, ..WANT };
    assert_eq!(acquire(&mut partition, log, 8, three), [run(0, 2, 1)]);
    assert_eq!(acquire(&mut partition, log, 8, three), [run(3, 5, 1)]);
    assert_eq!(acquire(&mut partition, log, 8, Want { records: 1, ..WANT }), [run(6, 7, 1)]);
}

#[test]
fn the_last_delivery_archives() {
    let mut partition = SharePartition::new(0, 0);
    let log: &[(i64, i64)] = &[(0, 1)];
    let ends = now().after(Duration::from_secs(1));
    for count in 1..=2 {
        assert_eq!(acquire(&mut partition, log, 2, WANT), [run(0, 1, count)]);
        assert!(partition.tick(ends, 2));
    }
    assert_eq!(partition.start(), 2);
    assert_eq!(partition.deadline(), None);
    assert!(!partition.tick(ends, 2));
}

#[test]
fn a_log_that_shrinks_at_either_end_is_followed() {
    let mut partition = SharePartition::new(0, 0);
    let log: &[(i64, i64)] = &[(0, 9)];
    assert_eq!(acquire(&mut partition, log, 10, WANT), [run(0, 9, 1)]);
    partition.follow(3..10, 0);
    partition.check();
    assert_eq!((partition.start, partition.end), (3, 10));
    partition.follow(3..6, 1);
    partition.check();
    assert_eq!((partition.start, partition.end), (3, 6));
    assert_eq!(acquire(&mut partition, &[(0, 5)], 6, WANT), [run(3, 5, 1)]);
    partition.follow(8..9, 1);
    partition.check();
    assert_eq!((partition.start, partition.end), (8, 8));
}
