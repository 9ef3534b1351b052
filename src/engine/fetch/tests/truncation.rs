//! Logs that have lost what was fetched (KIP-320).

use super::*;
use crate::wire::{batch::set_leader_epoch, messages::fetch_response::EpochEndOffset};

fn batch(offset: i64, epoch: i32) -> Bytes {
    let mut bytes = BytesMut::from(&*script::batch(offset, 10, 9));
    set_leader_epoch(&mut bytes, epoch);
    bytes.freeze()
}

/// What a leader answers whose log has less of this epoch, or nothing newer.
fn diverges(index: i32, epoch: i32, end_offset: i64) -> PartitionData {
    let diverging_epoch = EpochEndOffset { epoch, end_offset, ..EpochEndOffset::default() };
    PartitionData { diverging_epoch, ..data(index, Bytes::new()) }
}

fn last_fetched_epoch(call: &Asked) -> i32 {
    call.request.topics[0].partitions[0].last_fetched_epoch
}

#[test]
fn a_request_says_under_which_epoch_the_last_record_was_written() {
    let mut bench = Bench::new();
    let claim = bench.claims.next();
    bench.fetcher.add(bench.now, tp(0), claim, Some(script::leader(1)), false);
    bench.fetcher.start(&tp(0), claim, Spot { offset: 10, leader_epoch: Some(2) });
    let call = bench.call();
    assert_eq!(last_fetched_epoch(&call), 2, "that of the committed offset");
    bench.fetched(call.token, vec![data(0, batch(10, 3))]);
    let call = bench.call();
    assert_eq!((call.partitions.clone(), last_fetched_epoch(&call)), (vec![(0, 20)], 3));
    let claim = bench.claims.next();
    bench.fetcher.reset(bench.now, &tp(0), claim);
    bench.fetcher.start(&tp(0), claim, Spot { offset: 5, leader_epoch: None });
    bench.answer(call.token, vec![]);
    assert_eq!(last_fetched_epoch(&bench.call()), -1, "of what was sought to nothing is known");
}

#[test]
fn a_log_that_parts_from_what_was_fetched_stops_the_partition() {
    let mut bench = Bench::with(1, 1);
    let call = bench.call();
    let records = [batch(0, 2), batch(10, 3)].concat().into();
    assert_eq!(bench.fetched(call.token, vec![data(0, records)]).len(), 1);
    let call = bench.call();
    assert_eq!((call.partitions.clone(), last_fetched_epoch(&call)), (vec![(0, 20)], 3));
    let events = bench.answer(call.token, vec![diverges(0, 2, 14)]);
    let [Event::Truncated { at: Spot { offset: 10, leader_epoch: Some(2) }, .. }] = events[..] else {
        panic!("{events:?}")
    };
    assert!(bench.calls().is_empty(), "until there is a new position");
}

#[test]
fn a_replica_that_is_behind_truncates_nothing() {
    let mut bench = Bench::with(1, 1);
    let call = bench.call();
    bench.answer(call.token, vec![PartitionData { preferred_read_replica: 2, ..data(0, Bytes::new()) }]);
    let call = bench.call();
    assert_eq!(call.node, node(2));
    assert!(bench.answer(call.token, vec![diverges(0, 2, 0)]).is_empty());
    bench.wait(1000);
    assert_eq!(bench.call().node, node(1));
}
