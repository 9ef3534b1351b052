//! ListOffsets and OffsetForLeaderEpoch.

use super::*;
use crate::error::Code;
use crate::wire::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use crate::wire::messages::list_offsets_response::ListOffsetsPartitionResponse;
use crate::wire::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use crate::wire::messages::{
    ListOffsetsRequest, ListOffsetsResponse, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
};

fn list(world: &mut World, version: i16, timestamp: i64) -> ListOffsetsPartitionResponse {
    let partition = ListOffsetsPartition { timestamp, ..Default::default() };
    let topic = ListOffsetsTopic { name: "t".into(), partitions: vec![partition], ..Default::default() };
    let request = ListOffsetsRequest { topics: vec![topic], ..Default::default() };
    let mut response: ListOffsetsResponse = world.ask(1, version, request);
    response.topics.remove(0).partitions.remove(0)
}

/// Five records, a millisecond apart, in two batches, under epoch 0.
fn world() -> World {
    let mut world = World::new(1);
    world.topic("t", 1, &[]);
    world.produce(0, batch(&["a", "b", "c"]));
    let mut builder = BatchBuilder::new(0, 1 << 10);
    for at in [START_MS + 10, START_MS + 5] {
        builder.append(at, None, Some(b"d"), &[]).unwrap();
    }
    let records = builder.seal(Compression::new(Codec::Lz4)).unwrap().bytes().clone();
    world.produce(0, records);
    world
}

#[test]
fn places_and_times_are_found() {
    let mut world = world();
    world.broker.delete_records(world.now, "t", 0, 1);
    for (timestamp, offset, found) in [
        (-1, 5, -1),
        (-2, 1, -1),
        (-3, 3, START_MS + 10),
        (-4, 1, -1),
        (-5, -1, -1),
        (-6, -1, -1),
        (START_MS + 2, 2, START_MS + 2),
        (START_MS + 3, 3, START_MS + 10),
        (START_MS + 11, -1, -1),
    ] {
        let answer = list(&mut world, 11, timestamp);
        assert_eq!((answer.error_code, answer.offset, answer.timestamp), (0, offset, found), "{timestamp}");
    }
    assert_eq!(list(&mut world, 11, -1).leader_epoch, 0);
}

#[test]
fn a_place_that_the_version_does_not_know_is_unsupported() {
    let mut world = world();
    for (version, timestamp) in [(6, -3), (7, -4), (8, -5), (10, -6), (11, -7)] {
        let code = Code::new(list(&mut world, version, timestamp).error_code);
        assert_eq!(code, Code::UNSUPPORTED_VERSION, "{timestamp} in version {version}");
    }
}

#[test]
fn epochs_end_where_the_next_one_began() {
    let mut world = World::new(2);
    world.topic("t", 1, &[]);
    world.broker.move_leader(world.now, "t", 0, NodeId(1));
    let (_, first) = world.broker.leader("t", 0).unwrap();
    world.produce(0, batch(&["a", "b"]));
    // Nobody writes under the epoch of node 2.
    world.broker.move_leader(world.now, "t", 0, NodeId(2));
    world.broker.move_leader(world.now, "t", 0, NodeId(1));
    world.produce(0, batch(&["c"]));
    let last = first + 2;
    let mut end = |leader_epoch, current_leader_epoch| {
        let partition = OffsetForLeaderPartition { leader_epoch, current_leader_epoch, ..Default::default() };
        let topic =
            OffsetForLeaderTopic { topic: "t".into(), partitions: vec![partition], ..Default::default() };
        let request = OffsetForLeaderEpochRequest { topics: vec![topic], ..Default::default() };
        let response: OffsetForLeaderEpochResponse = world.ask(1, 4, request);
        let answer = &response.topics[0].partitions[0];
        (answer.error_code, answer.leader_epoch, answer.end_offset)
    };
    assert_eq!(end(first, -1), (0, first, 2));
    assert_eq!(end(first + 1, -1), (0, first, 2));
    assert_eq!(end(last, -1), (0, last, 3));
    assert_eq!(end(last + 1, -1), (0, -1, -1));
    assert_eq!(end(first, last - 1).0, Code::FENCED_LEADER_EPOCH.get());
    assert_eq!(end(first, last + 1).0, Code::UNKNOWN_LEADER_EPOCH.get());
}

#[test]
fn no_epoch_ends_nowhere() {
    let mut world = world();
    let partition = OffsetForLeaderPartition { leader_epoch: -1, ..Default::default() };
    let topic = OffsetForLeaderTopic { topic: "t".into(), partitions: vec![partition], ..Default::default() };
    let request = OffsetForLeaderEpochRequest { topics: vec![topic], ..Default::default() };
    let response: OffsetForLeaderEpochResponse = world.ask(1, 4, request);
    let answer = &response.topics[0].partitions[0];
    assert_eq!((answer.error_code, answer.leader_epoch, answer.end_offset), (0, -1, -1));
}

#[test]
fn a_partition_that_is_asked_for_twice_is_refused_once() {
    let mut world = World::new(1);
    world.topic("t", 2, &[]);
    let partition =
        |partition_index| ListOffsetsPartition { partition_index, timestamp: -1, ..Default::default() };
    let partitions = vec![partition(0), partition(1), partition(0)];
    let topic = ListOffsetsTopic { name: "t".into(), partitions, ..Default::default() };
    let response: ListOffsetsResponse =
        world.ask(1, 7, ListOffsetsRequest { topics: vec![topic], ..Default::default() });
    let answers = response.topics[0].partitions.iter().map(|p| (p.partition_index, Code::new(p.error_code)));
    assert_eq!(answers.collect::<Vec<_>>(), [(1, Code::NONE), (0, Code::INVALID_REQUEST)]);
}
