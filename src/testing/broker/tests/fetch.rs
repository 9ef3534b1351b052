//! Fetch: what is read, how much, and how long it waits.

use super::*;
use crate::error::{Code, Resource};
use crate::wire::batch::{BatchBuilder, Batches, Stamp};
use crate::wire::compress::{Codec, Compression};
use crate::wire::messages::FetchResponse;
use crate::wire::messages::fetch_response::PartitionData;

fn world() -> World {
    let mut world = World::new(1);
    world.topic("t", 2, &[]);
    world
}

fn fetch(world: &mut World, offset: i64) -> PartitionData {
    let request = FetchRequest { max_wait_ms: 0, ..fetch_request(world, "t", 0, offset) };
    one(world.ask(1, 18, request))
}

fn one(mut response: FetchResponse) -> PartitionData {
    assert_eq!(response.error_code, 0);
    response.responses.remove(0).partitions.remove(0)
}

/// The base offset and number of records of each whole batch.
fn batches(data: &PartitionData) -> Vec<(i64, u32)> {
    let batches = Batches::new(data.records.clone().unwrap());
    batches.map(|batch| batch.unwrap()).map(|b| (b.header().base_offset, b.header().count)).collect()
}

#[test]
fn reading_begins_with_the_batch_that_holds_the_offset() {
    let mut world = world();
    world.produce(0, batch(&["a", "b", "c"]));
    world.produce(0, batch(&["d", "e"]));
    for (offset, expected) in
        [(0, vec![(0, 3), (3, 2)]), (2, vec![(0, 3), (3, 2)]), (4, vec![(3, 2)]), (5, vec![])]
    {
        let data = fetch(&mut world, offset);
        assert_eq!(batches(&data), expected, "{offset}");
        assert_eq!((data.high_watermark, data.last_stable_offset, data.log_start_offset), (5, 5, 0));
    }
    let records = fetch(&mut world, 0).records.unwrap();
    for stored in Batches::new(records).map(Result::unwrap) {
        stored.verify_crc().unwrap();
        assert_eq!(stored.header().leader_epoch, 0);
    }
}

#[test]
fn offsets_outside_the_log_are_out_of_range() {
    let mut world = world();
    world.produce(0, batch(&["a", "b"]));
    world.produce(0, batch(&["c"]));
    world.broker.delete_records(world.now, "t", 0, 1);
    for (offset, code) in [(0, 1), (-1, 1), (4, 1), (1, 0), (3, 0)] {
        let data = fetch(&mut world, offset);
        assert_eq!(data.error_code, code, "{offset}");
        if code != 0 {
            assert_eq!((data.high_watermark, data.log_start_offset), (-1, -1));
        }
    }
    // The batch that holds the oldest record still has the one that was deleted.
    assert_eq!(batches(&fetch(&mut world, 1)), [(0, 2), (2, 1)]);
}

#[test]
fn the_first_batch_comes_whole_and_the_last_may_be_cut() {
    let mut world = world();
    let record = batch(&["0123456789"]);
    for partition in [0, 0, 0, 1] {
        world.produce(partition, record.clone());
    }
    let sizes = |world: &mut World, max_bytes: usize, partition_max_bytes: usize| {
        let mut request = fetch_request(world, "t", 0, 0);
        request.max_bytes = i32::try_from(max_bytes).unwrap();
        let mut second = request.topics[0].partitions[0].clone();
        second.partition = 1;
        request.topics[0].partitions.push(second);
        for partition in &mut request.topics[0].partitions {
            partition.partition_max_bytes = i32::try_from(partition_max_bytes).unwrap();
        }
        let mut response: FetchResponse = world.ask(1, 18, request);
        let partitions = response.responses.remove(0).partitions;
        partitions.iter().map(|data| data.records.as_ref().unwrap().len()).collect::<Vec<_>>()
    };
    let size = record.len();
    assert_eq!(sizes(&mut world, 1 << 20, 1 << 20), [3 * size, size]);
    assert_eq!(sizes(&mut world, 1 << 20, 1), [size, 0]);
    assert_eq!(sizes(&mut world, 1, 1 << 20), [size, 0]);
    assert_eq!(sizes(&mut world, 1 << 20, size + 5), [size + 5, size]);
    assert_eq!(sizes(&mut world, 3 * size + 5, 1 << 20), [3 * size, 0]);
}

#[test]
fn a_fetch_waits_for_data_but_not_for_ever() {
    let mut world = world();
    let connection = world.connect(1);
    let request = fetch_request(&world, "t", 0, 0);
    world.send(connection, 18, request.clone());
    assert!(world.answer::<FetchResponse>(connection).is_none());
    world.produce(1, batch(&["elsewhere"]));
    assert!(world.answer::<FetchResponse>(connection).is_none());
    world.produce(0, batch(&["here"]));
    assert_eq!(batches(&one(world.answer(connection).unwrap())), [(0, 1)]);

    let mut later = request;
    later.topics[0].partitions[0].fetch_offset = 1;
    world.send(connection, 18, later);
    assert_eq!(world.broker.deadline(), Some(world.now.instant + Duration::from_millis(500)));
    world.pass(Duration::from_millis(499));
    assert!(world.answer::<FetchResponse>(connection).is_none());
    world.pass(Duration::from_millis(1));
    assert!(batches(&one(world.answer(connection).unwrap())).is_empty());
    assert_eq!(world.broker.deadline(), None);
}

#[test]
fn a_fetch_waits_for_as_many_bytes_as_it_wants() {
    let mut world = world();
    let size = batch(&["a"]).len();
    let connection = world.connect(1);
    let mut request = fetch_request(&world, "t", 0, 0);
    request.min_bytes = i32::try_from(2 * size).unwrap();
    world.send(connection, 18, request);
    world.produce(0, batch(&["a"]));
    assert!(world.answer::<FetchResponse>(connection).is_none());
    world.produce(0, batch(&["b"]));
    assert_eq!(batches(&one(world.answer(connection).unwrap())).len(), 2);
}

#[test]
fn requests_behind_a_waiting_fetch_wait_too_and_keep_their_order() {
    let mut world = world();
    let connection = world.connect(1);
    let produce = produce_request(&world, "t", 1, batch(&["behind"]), -1);
    let fetch = fetch_request(&world, "t", 0, 0);
    world.send(connection, 18, fetch);
    world.send(connection, 13, produce);
    assert_eq!(world.broker.log_range("t", 1), Some((0, 0)));
    world.pass(Duration::from_millis(500));
    assert!(world.answer::<FetchResponse>(connection).is_some());
    assert!(world.answer::<ProduceResponse>(connection).is_some());
    assert_eq!(world.broker.log_range("t", 1), Some((0, 1)));
}

#[test]
fn a_waiting_fetch_ends_when_its_partition_moves_away() {
    let mut world = World::new(2);
    world.topic("t", 1, &[]);
    world.broker.move_leader(world.now, "t", 0, NodeId(1));
    let connection = world.connect(1);
    let mut request = fetch_request(&world, "t", 0, 0);
    // One that claims nothing would be answered by the replica that this node is from now on.
    request.topics[0].partitions[0].current_leader_epoch = world.broker.leader("t", 0).unwrap().1;
    world.send(connection, 18, request);
    world.broker.move_leader(world.now, "t", 0, NodeId(2));
    world.collect();
    let response: FetchResponse = world.answer(connection).unwrap();
    assert_eq!(response.node_endpoints.iter().map(|node| node.node_id).collect::<Vec<_>>(), [2]);
    let data = one(response);
    assert_eq!(Code::new(data.error_code), Code::FENCED_LEADER_EPOCH);
    assert_eq!(data.current_leader.leader_id, 2);
}

#[test]
fn leader_epochs_tell_who_is_behind() {
    let mut world = World::new(2);
    world.topic("t", 1, &[]);
    world.broker.move_leader(world.now, "t", 0, NodeId(2));
    world.broker.move_leader(world.now, "t", 0, NodeId(1));
    let (_, epoch) = world.broker.leader("t", 0).unwrap();
    for (claimed, code) in [
        (epoch - 1, Code::FENCED_LEADER_EPOCH),
        (epoch, Code::NONE),
        (-1, Code::NONE),
        (epoch + 1, Code::UNKNOWN_LEADER_EPOCH),
    ] {
        let mut request = FetchRequest { max_wait_ms: 0, ..fetch_request(&world, "t", 0, 0) };
        request.topics[0].partitions[0].current_leader_epoch = claimed;
        assert_eq!(Code::new(one(world.ask(1, 18, request)).error_code), code, "{claimed}");
    }
}

#[test]
fn a_leader_sends_who_stands_elsewhere_to_a_replica_that_is_nearer() {
    let mut world = World::with(3, |settings, _| settings.rack_aware_replicas = true);
    world.topic("t", 1, &[]);
    world.broker.move_leader(world.now, "t", 0, NodeId(1));
    world.produce(0, batch(&["a"]));
    let mut ask = |node, version, rack: &str, epoch| {
        let mut request = FetchRequest { rack_id: rack.into(), ..fetch_request(&world, "t", 0, 0) };
        request.topics[0].partitions[0].current_leader_epoch = epoch;
        let data = one(world.ask(node, version, request));
        (Code::new(data.error_code), data.preferred_read_replica, data.records.unwrap_or_default().len())
    };
    let (code, replica, bytes) = ask(1, 18, "r2", -1);
    assert_eq!((code, replica, bytes), (Code::NONE, 2, 0), "it does not wait for data");
    for (node, rack) in [(1, "r1"), (1, "elsewhere"), (1, ""), (2, "r2"), (2, "r1"), (3, "")] {
        let (code, replica, bytes) = ask(node, 18, rack, -1);
        assert_eq!((code, replica, bytes > 0), (Code::NONE, -1, true), "node {node}, rack {rack:?}");
    }
    assert_eq!(ask(2, 10, "", -1).0, Code::NOT_LEADER_OR_FOLLOWER, "only the leader answers old clients");
    assert_eq!(ask(2, 18, "", 99).0, Code::UNKNOWN_LEADER_EPOCH);
}

#[test]
fn a_reader_of_truncated_records_is_told_where_the_logs_part() {
    let mut world = World::new(2);
    world.topic("t", 1, &[]);
    world.broker.move_leader(world.now, "t", 0, NodeId(1));
    let (_, first) = world.broker.leader("t", 0).unwrap();
    world.produce(0, batch(&["a", "b", "c"]));
    world.broker.truncate(world.now, "t", 0, 0);
    world.produce(0, batch(&["x"]));
    let mut request = FetchRequest { max_wait_ms: 0, ..fetch_request(&world, "t", 0, 1) };
    request.topics[0].partitions[0].last_fetched_epoch = first;
    let data = one(world.ask(1, 18, request));
    assert_eq!((data.diverging_epoch.epoch, data.diverging_epoch.end_offset), (first, 0));
    assert!(data.records.unwrap().is_empty());
}

#[test]
fn unknown_topics_are_named_by_the_way_they_were_asked_for() {
    let mut world = world();
    let code = |world: &mut World, version, topic: &str, partition| {
        let request = FetchRequest { max_wait_ms: 9999, ..fetch_request(world, topic, partition, 0) };
        Code::new(one(world.ask(1, version, request)).error_code)
    };
    assert_eq!(code(&mut world, 12, "nowhere", 0), Code::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(code(&mut world, 13, "nowhere", 0), Code::UNKNOWN_TOPIC_ID);
    assert_eq!(code(&mut world, 13, "t", 2), Code::UNKNOWN_TOPIC_OR_PARTITION);
    world.broker.deny(Resource::Topic, "t");
    assert_eq!(code(&mut world, 12, "t", 0), Code::TOPIC_AUTHORIZATION_FAILED);
    assert_eq!(code(&mut world, 13, "t", 0), Code::TOPIC_AUTHORIZATION_FAILED);
}

#[test]
fn a_topic_created_again_is_not_the_one_that_was_asked_for() {
    let mut world = world();
    world.produce(0, batch(&["a"]));
    let old = fetch_request(&world, "t", 0, 1);
    world.broker.delete_topic(world.now, "t");
    world.topic("t", 1, &[]);
    assert_eq!(Code::new(one(world.ask(1, 18, old)).error_code), Code::UNKNOWN_TOPIC_ID);
    assert_eq!(Code::new(fetch(&mut world, 1).error_code), Code::OFFSET_OUT_OF_RANGE);
}

#[test]
fn aborted_transactions_are_listed_for_committed_readers_only() {
    let mut world = world();
    for (isolation_level, expected) in [(0, None), (1, Some(Vec::new()))] {
        let request = FetchRequest { isolation_level, max_wait_ms: 0, ..fetch_request(&world, "t", 0, 0) };
        assert_eq!(one(world.ask(1, 18, request)).aborted_transactions, expected);
    }
}

#[test]
fn a_stopped_node_closes_its_connections_and_comes_back_with_its_records() {
    let mut world = World::with(2, |settings, _| settings.default_replication_factor = 1);
    world.topic("t", 2, &[]);
    let led_by_one = (0..2).find(|&p| world.broker.leader("t", p).unwrap().0 == NodeId(1)).unwrap();
    world.produce(led_by_one, batch(&["kept"]));
    let connection = world.connect(1);
    world.broker.stop_node(world.now, NodeId(1));
    world.collect();
    assert!(world.is_closed(connection));
    assert_eq!(world.broker.leader("t", led_by_one), None);
    assert!(!world.broker.connection_opened(NodeId(1), ConnectionId(999)));
    world.broker.start_node(world.now, NodeId(1));
    assert_eq!(world.broker.leader("t", led_by_one).unwrap().0, NodeId(1));
    assert_eq!(world.broker.log_range("t", led_by_one), Some((0, 1)));
}

/// A batch with these keys, a millisecond apart.
fn keyed(keys: &[&str], stamp: Option<Stamp>, codec: Codec) -> Bytes {
    let mut builder = BatchBuilder::new(0, 1 << 20);
    for (key, at) in keys.iter().zip(START_MS..) {
        builder.append(at, Some(key.as_bytes()), Some(b"value"), &[("h", Some(b"1"))]).unwrap();
    }
    let mut sealed = builder.seal(Compression::new(codec)).unwrap();
    if let Some(stamp) = stamp {
        sealed.stamp(stamp);
    }
    sealed.bytes().clone()
}

#[test]
fn compaction_keeps_the_newest_of_each_key_and_the_last_batch_of_each_producer() {
    let stamp = Stamp { producer_id: 7, producer_epoch: 0, base_sequence: 0, transactional: false };
    for codec in [Codec::None, Codec::Lz4, Codec::Gzip] {
        let mut world = World::new(1);
        world.topic("t", 2, &[("cleanup.policy", "compact")]);
        for records in [
            keyed(&["a", "b", "c"], None, codec),
            keyed(&["a", "d"], Some(stamp), codec),
            keyed(&["b"], None, codec),
            keyed(&["a", "d"], None, codec),
        ] {
            assert_eq!(world.produce(0, records).error_code, 0);
        }
        assert!(world.broker.compact(world.now, "t", 0));
        let mut offsets = Vec::new();
        let data = fetch(&mut world, 0);
        assert_eq!((data.high_watermark, data.log_start_offset), (8, 0), "{codec}");
        for batch in Batches::new(data.records.clone().unwrap()).map(Result::unwrap) {
            batch.verify_crc().unwrap();
            let mut cursor = batch.cursor(1 << 20).unwrap();
            offsets.push((batch.header().last_offset(), Vec::new()));
            for record in cursor.records() {
                let record = record.unwrap();
                assert_eq!((record.value, record.headers.count()), (Some(&b"value"[..]), 1));
                offsets.last_mut().unwrap().1.push(record.offset);
            }
        }
        let expected = [(2, vec![2]), (4, vec![]), (5, vec![5]), (7, vec![6, 7])];
        assert_eq!(offsets, expected, "{codec}: the producer's batch stays, without records");
        assert_eq!(batches(&fetch(&mut world, 3))[0], (3, 0), "reading begins in a gap, too");
    }
    let mut world = world();
    assert!(!world.broker.compact(world.now, "t", 0), "the topic is not to be compacted");
}

#[test]
fn a_limit_below_nothing_fails_where_there_is_something() {
    let mut world = World::new(1);
    world.topic("t", 1, &[]);
    world.produce(0, batch(&["a"]));
    let code = |world: &mut World, offset, max_bytes, partition_max_bytes| {
        let mut request = FetchRequest { max_bytes, max_wait_ms: 0, ..fetch_request(world, "t", 0, offset) };
        request.topics[0].partitions[0].partition_max_bytes = partition_max_bytes;
        let response: FetchResponse = world.ask(1, 17, request);
        let data = &response.responses[0].partitions[0];
        assert_eq!(data.aborted_transactions, None);
        Code::new(data.error_code)
    };
    assert_eq!(code(&mut world, 0, -1, 100), Code::UNKNOWN_SERVER_ERROR);
    assert_eq!(code(&mut world, 0, 100, -1), Code::UNKNOWN_SERVER_ERROR);
    assert_eq!(code(&mut world, 1, -1, -1), Code::NONE);
    assert_eq!(code(&mut world, 7, 100, 100), Code::OFFSET_OUT_OF_RANGE);
}

#[test]
fn what_is_not_there_is_answered_last() {
    let mut world = World::new(1);
    world.topic("t", 1, &[]);
    let mut request = FetchRequest { max_wait_ms: 0, ..fetch_request(&world, "t", 9, 0) };
    request.topics[0].partitions.extend(fetch_request(&world, "t", 0, 0).topics.remove(0).partitions);
    let response: FetchResponse = world.ask(1, 17, request);
    let answers = response.responses.iter().flat_map(|topic| &topic.partitions);
    let answers: Vec<_> =
        answers.map(|data| (data.partition_index, data.aborted_transactions.clone())).collect();
    assert_eq!(answers, [(0, None), (9, Some(Vec::new()))]);
}

#[test]
fn a_log_that_loses_the_batch_in_which_it_starts_is_empty() {
    let mut world = World::new(1);
    world.topic("t", 1, &[]);
    world.produce(0, batch(&["one", "two", "three"]));
    assert_eq!(world.broker.delete_records(world.now, "t", 0, 2), Some(2));
    world.broker.truncate(world.now, "t", 0, 1);
    assert_eq!(world.broker.log_range("t", 0), Some((0, 0)));
    world.broker.check();
}
