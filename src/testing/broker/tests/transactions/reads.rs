//! What readers of committed records see.

use super::*;
use crate::wire::batch::Batches;
use crate::wire::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use crate::wire::messages::{ListOffsetsRequest, ListOffsetsResponse};

/// The producer ids and first offsets of the aborted transactions, and the base offsets of the batches.
fn committed(world: &mut World, offset: i64) -> (Vec<(i64, i64)>, Vec<i64>) {
    let data = read(world, true, offset);
    let aborted = data.aborted_transactions.unwrap();
    let aborted = aborted.iter().map(|aborted| (aborted.producer_id, aborted.first_offset)).collect();
    let batches = Batches::new(data.records.unwrap());
    (aborted, batches.map(|batch| batch.unwrap().header().base_offset).collect())
}

/// Another transactional id, whose producer writes one record.
fn other(world: &mut World, id: &str) -> Producer {
    let (_, by) = init(world, 5, id, NOBODY);
    let mut request = produce_request(world, "t", 0, transactional(by, 0, &["x"]), -1);
    request.transactional_id = Some(id.into());
    let response: ProduceResponse = world.ask(1, 13, request);
    assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
    by
}

#[test]
fn an_open_transaction_cuts_what_is_read_and_aborted_ones_are_named() {
    let mut world = world();
    let aborted = begin(&mut world);
    write_as(&mut world, 13, transactional(aborted, 0, &["a", "b", "c", "d"]));
    let (_, open) = end(&mut world, 5, aborted, false);
    write_as(&mut world, 13, transactional(open, 0, &["e", "f"]));
    let data = read(&mut world, true, 0);
    assert_eq!((data.high_watermark, data.last_stable_offset), (7, 5));
    assert_eq!(committed(&mut world, 0), (vec![(aborted.0, 0)], vec![0, 4]));
    assert_eq!(committed(&mut world, 5), (vec![], vec![]));
    assert_eq!(committed(&mut world, 7), (vec![], vec![]));
    let all = read(&mut world, false, 0);
    assert_eq!((all.high_watermark, all.last_stable_offset), (7, 5));
    assert_eq!(all.aborted_transactions, None);
    assert_eq!(Batches::new(all.records.unwrap()).count(), 3);
    assert_eq!(read(&mut world, true, 8).error_code, Code::OFFSET_OUT_OF_RANGE.get());
}

#[test]
fn a_reader_of_committed_records_waits_for_the_marker() {
    let mut world = world();
    let by = begin(&mut world);
    write(&mut world, by, 0);
    let reader = world.connect(1);
    let mut request = fetch_request(&world, "t", 0, 0);
    request.isolation_level = 1;
    world.send(reader, 17, request);
    assert!(world.answer::<FetchResponse>(reader).is_none());
    end(&mut world, 5, by, true);
    let answer: FetchResponse = world.answer(reader).expect("the marker wakes it");
    assert!(!answer.responses[0].partitions[0].records.as_ref().unwrap().is_empty());
}

#[test]
fn only_the_transactions_in_reach_are_named() {
    let mut world = world();
    let first = begin(&mut world);
    write(&mut world, first, 0);
    let second = other(&mut world, "second");
    let (_, next) = end(&mut world, 5, first, false);
    assert_eq!(stable(&world), 1, "the other is open still");
    assert_eq!(committed(&mut world, 0), (vec![(first.0, 0)], vec![0]));
    // Large enough for Kafka's index to tell the next transaction from what is read.
    let large = "x".repeat(5_000);
    for _ in 0..2 {
        world.produce(0, batch(&[&large]));
    }
    write(&mut world, next, 0);
    end(&mut world, 5, next, false);
    begin_and_abort(&mut world, "second", second);
    let (aborted, _) = committed(&mut world, 0);
    assert_eq!(aborted, [(first.0, 0), (next.0, 5), (second.0, 1)]);
    let mut request = fetch_request(&world, "t", 0, 0);
    request.isolation_level = 1;
    request.topics[0].partitions[0].partition_max_bytes = 1;
    let answer: FetchResponse = world.ask(1, 17, request);
    let aborted = answer.responses[0].partitions[0].aborted_transactions.as_ref().unwrap();
    let aborted: Vec<_> = aborted.iter().map(|aborted| aborted.first_offset).collect();
    assert_eq!(aborted, [0, 1], "one begins behind the bytes that were read");
    assert_eq!(committed(&mut world, 7).0, [(second.0, 1)], "of which the marker is left");
}

fn begin_and_abort(world: &mut World, id: &str, by: Producer) {
    let request = EndTxnRequest {
        transactional_id: id.into(),
        producer_id: by.0,
        producer_epoch: by.1,
        committed: false,
        ..Default::default()
    };
    let answer: EndTxnResponse = world.ask(1, 5, request);
    assert_eq!(answer.error_code, 0);
}

#[test]
fn the_end_for_readers_of_committed_records_is_the_last_stable_offset() {
    let mut world = world();
    world.produce(0, batch(&["a"]));
    let by = begin(&mut world);
    write(&mut world, by, 0);
    let mut list = |isolation_level, timestamp| {
        let partition = ListOffsetsPartition { timestamp, ..Default::default() };
        let topic = ListOffsetsTopic { name: "t".into(), partitions: vec![partition], ..Default::default() };
        let request = ListOffsetsRequest { isolation_level, topics: vec![topic], ..Default::default() };
        let answer: ListOffsetsResponse = world.ask(1, 8, request);
        answer.topics[0].partitions[0].offset
    };
    let (latest, earliest, newest) = (-1, -2, -3);
    assert_eq!((list(0, latest), list(1, latest)), (2, 1));
    assert_eq!((list(0, earliest), list(1, earliest)), (0, 0));
    assert_eq!((list(0, newest), list(1, newest)), (0, 0));
    assert_eq!((list(0, START_MS), list(1, START_MS)), (0, 0));
    assert_eq!((list(0, START_MS + 1), list(1, START_MS + 1)), (-1, -1));
}

#[test]
fn deleted_records_take_their_transactions_with_them() {
    let mut world = world();
    let by = begin(&mut world);
    write(&mut world, by, 0);
    let (_, open) = end(&mut world, 5, by, false);
    write_as(&mut world, 13, transactional(open, 0, &["a", "b"]));
    world.broker.delete_records(world.now, "t", 0, 3);
    world.collect();
    assert_eq!(stable(&world), 3, "an open transaction keeps readers from what is left of it");
    assert_eq!(committed(&mut world, 3), (vec![], vec![]));
    end(&mut world, 5, open, false);
    assert_eq!(committed(&mut world, 3), (vec![(open.0, 2)], vec![2, 4]));
}

#[test]
fn a_lost_marker_leaves_its_transaction_open() {
    let mut world = world();
    let by = begin(&mut world);
    write(&mut world, by, 0);
    end(&mut world, 5, by, true);
    world.broker.truncate(world.now, "t", 0, 1);
    world.collect();
    assert_eq!((stable(&world), world.end("t")), (0, 1));
    world.broker.truncate(world.now, "t", 0, 0);
    world.collect();
    assert_eq!((stable(&world), world.end("t")), (0, 0));
    world.produce(0, batch(&["a"]));
    assert_eq!(stable(&world), 1, "what is lost from its beginning on is not open");
}

#[test]
fn compaction_keeps_markers_drops_what_was_aborted_and_leaves_what_is_open() {
    let mut world = World::new(1);
    world.topic("t", 1, &[("cleanup.policy", "compact")]);
    world.produce(0, batch(&["old", "new"]));
    let aborted = begin(&mut world);
    write(&mut world, aborted, 0);
    let (_, open) = end(&mut world, 5, aborted, false);
    let opened = world.end("t");
    write_as(&mut world, 13, transactional(open, 0, &["x", "y"]));
    assert!(world.broker.compact(world.now, "t", 0));
    world.collect();
    let left = Batches::new(world.broker.log_bytes("t", 0).unwrap()).map(Result::unwrap);
    let left = left.map(|batch| (batch.header().base_offset, batch.header().count));
    assert_eq!(left.collect::<Vec<_>>(), [(0, 1), (3, 1), (4, 2)]);
    assert_eq!((stable(&world), opened), (4, 4));
    assert_eq!(committed(&mut world, 0).0, [(aborted.0, 2)]);
}
