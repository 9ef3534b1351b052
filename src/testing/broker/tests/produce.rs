//! Produce, against the rules that were measured on Kafka 4.4.0.

use bytes::{Bytes, BytesMut};

use super::*;
use crate::error::{Code, Resource};
use crate::wire::batch::{Batches, TimestampType};
use crate::wire::messages::{InitProducerIdRequest, InitProducerIdResponse};

const P: i64 = 77;

fn world() -> World {
    let mut world = World::new(1);
    world.topic("t", 1, &[]);
    world
}

/// The code and the base offset.
fn sent(world: &mut World, records: Bytes) -> (Code, i64) {
    let answer = world.produce(0, records);
    (Code::new(answer.error_code), answer.base_offset)
}

fn pair(world: &mut World, epoch: i16, sequence: i32) -> (Code, i64) {
    sent(world, stamped((P, epoch), sequence, &["a", "b"]))
}

/// Sequences 0, 2, … 12 at offsets 0, 2, … 12.
fn seven_batches() -> World {
    let mut world = world();
    for sequence in (0..14).step_by(2) {
        assert_eq!(pair(&mut world, 0, sequence), (Code::NONE, i64::from(sequence)));
    }
    world
}

#[test]
fn the_newest_five_batches_are_recognised_and_older_ones_are_out_of_order() {
    let mut world = seven_batches();
    for sequence in [4, 6, 8, 10, 12, 4] {
        assert_eq!(pair(&mut world, 0, sequence), (Code::NONE, i64::from(sequence)), "{sequence}");
    }
    for sequence in [2, 0] {
        assert_eq!(pair(&mut world, 0, sequence), (Code::OUT_OF_ORDER_SEQUENCE_NUMBER, -1), "{sequence}");
    }
    assert_eq!(world.end("t"), 14);
}

#[test]
fn a_gap_or_another_count_is_out_of_order() {
    let mut world = seven_batches();
    assert_eq!(pair(&mut world, 0, 20).0, Code::OUT_OF_ORDER_SEQUENCE_NUMBER);
    let three = stamped((P, 0), 12, &["a", "b", "c"]);
    assert_eq!(sent(&mut world, three).0, Code::OUT_OF_ORDER_SEQUENCE_NUMBER);
    assert_eq!(world.end("t"), 14);
}

#[test]
fn a_new_epoch_begins_at_zero_and_ends_the_old_one() {
    let mut world = seven_batches();
    assert_eq!(pair(&mut world, 1, 5).0, Code::OUT_OF_ORDER_SEQUENCE_NUMBER);
    assert_eq!(pair(&mut world, 1, 0), (Code::NONE, 14));
    assert_eq!(pair(&mut world, 0, 14).0, Code::INVALID_PRODUCER_EPOCH);
    assert_eq!(pair(&mut world, 1, 2), (Code::NONE, 16));
}

#[test]
fn other_content_under_a_known_sequence_is_acknowledged_and_not_written() {
    let mut world = seven_batches();
    let other = stamped((P, 0), 12, &["x", "y"]);
    assert_eq!(sent(&mut world, other), (Code::NONE, 12));
    assert_eq!(world.end("t"), 14);
}

#[test]
fn a_producer_that_is_not_known_may_begin_anywhere() {
    let mut world = world();
    assert_eq!(pair(&mut world, 0, 7), (Code::NONE, 0));
    assert_eq!(pair(&mut world, 0, 9), (Code::NONE, 2));
    world.broker.forget_producers();
    // The duplicate is not seen any more: it is written twice.
    assert_eq!(pair(&mut world, 0, 9), (Code::NONE, 4));
}

#[test]
fn sequences_wrap_behind_the_largest_number() {
    let mut world = world();
    assert_eq!(pair(&mut world, 0, i32::MAX - 1), (Code::NONE, 0));
    assert_eq!(pair(&mut world, 0, 0), (Code::NONE, 2));
    assert_eq!(pair(&mut world, 0, i32::MAX - 1), (Code::NONE, 0));
    let across = stamped((P + 1, 0), i32::MAX, &["a", "b"]);
    assert_eq!(sent(&mut world, across), (Code::NONE, 4));
    let next = stamped((P + 1, 0), 1, &["c"]);
    assert_eq!(sent(&mut world, next), (Code::NONE, 6));
}

#[test]
fn the_producer_that_was_silent_longest_is_forgotten_first() {
    let mut world = World::with(1, |_, limits| limits.producers_per_partition = 2);
    world.topic("t", 1, &[]);
    for producer in [1, 2, 1, 3] {
        let sequence = i32::from(producer == 1 && world.end("t") > 0);
        assert_eq!(sent(&mut world, stamped((producer, 0), sequence, &["a"])).0, Code::NONE);
    }
    assert_eq!(sent(&mut world, stamped((1, 0), 9, &["a"])).0, Code::OUT_OF_ORDER_SEQUENCE_NUMBER);
    assert_eq!(sent(&mut world, stamped((2, 0), 9, &["a"])).0, Code::NONE);
}

#[test]
fn damaged_batches_are_corrupt() {
    let mut world = world();
    let whole = batch(&["value"]);
    for at in [17, 22, 30, 50, 58, whole.len() - 1] {
        let mut damaged = BytesMut::from(&whole[..]);
        damaged[at] ^= 1;
        assert_eq!(sent(&mut world, damaged.freeze()).0, Code::CORRUPT_MESSAGE, "{at}");
    }
    let mut short = BytesMut::from(&whole[..]);
    short[8..12].copy_from_slice(&1_i32.to_be_bytes());
    assert_eq!(sent(&mut world, short.freeze()).0, Code::CORRUPT_MESSAGE);
    assert_eq!(world.end("t"), 0);
}

#[test]
fn what_is_not_one_whole_batch_of_this_format_is_an_invalid_record() {
    let mut world = world();
    let whole = batch(&["value"]);
    let mut old = BytesMut::from(&whole[..]);
    old[16] = 1;
    let mut moved = BytesMut::from(&whole[..]);
    moved[7] = 5;
    let twice = Bytes::from([&whole[..], &whole[..]].concat());
    let cases = [Bytes::new(), whole.slice(..whole.len() - 1), twice, old.freeze(), moved.freeze()];
    for (records, index) in cases.into_iter().zip(0..) {
        assert_eq!(sent(&mut world, records).0, Code::INVALID_RECORD, "{index}");
    }
    assert_eq!(world.end("t"), 0);
}

/// A batch with a change to its bytes and the checksum made right again.
fn forged(change: impl FnOnce(&mut [u8])) -> Bytes {
    let mut bytes = BytesMut::from(&stamped((P, 0), 0, &["a", "b"])[..]);
    change(&mut bytes);
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes.freeze()
}

#[test]
fn a_batch_whose_header_lies_is_an_invalid_record() {
    let mut world = world();
    let control = forged(|bytes| bytes[22] |= 1 << 5);
    let fewer = forged(|bytes| bytes[60] = 1);
    let none = forged(|bytes| bytes[57..61].copy_from_slice(&[0; 4]));
    let more = forged(|bytes| {
        bytes[26] = 2;
        bytes[60] = 3;
    });
    let codec = forged(|bytes| bytes[22] |= 7);
    let sequence = forged(|bytes| bytes[53] = 0x80);
    for (records, index) in [control, fewer, none, more, sequence].into_iter().zip(0..) {
        assert_eq!(sent(&mut world, records).0, Code::INVALID_RECORD, "{index}");
    }
    // Over this one Kafka stumbles.
    assert_eq!(sent(&mut world, codec).0, Code::UNKNOWN_SERVER_ERROR);
    assert_eq!(world.end("t"), 0);
}

#[test]
fn the_size_limit_is_of_the_batch_as_it_was_sent() {
    let mut world = World::new(1);
    let size = batch(&["0123456789"]).len();
    world.topic("t", 1, &[("max.message.bytes", &size.to_string())]);
    assert_eq!(sent(&mut world, batch(&["0123456789"])).0, Code::NONE);
    let answer = world.produce(0, batch(&["0123456789x"]));
    assert_eq!(Code::new(answer.error_code), Code::MESSAGE_TOO_LARGE);
    assert!(answer.error_message.unwrap().contains(&format!("the limit is {size}")));
    let packed = build(&["0123456789"; 100], None, Codec::Gzip);
    assert_eq!(packed.len() <= size, sent(&mut world, packed).0 == Code::NONE);
}

#[test]
fn every_codec_is_taken_but_zstd_only_from_version_seven_on() {
    let mut world = world();
    let codecs = [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];
    for codec in codecs {
        let records = build(&["the same"; 50], None, codec);
        assert_eq!(sent(&mut world, records).0, Code::NONE, "{codec:?}");
    }
    let zstd = build(&["the same"; 50], None, Codec::Zstd);
    for (version, code) in [(6, Code::UNSUPPORTED_COMPRESSION_TYPE), (7, Code::NONE)] {
        let request = produce_request(&world, "t", 0, zstd.clone(), 1);
        let response: ProduceResponse = world.ask(1, version, request);
        assert_eq!(response.responses[0].partition_responses[0].error_code, code.get(), "{version}");
    }
}

#[test]
fn a_topic_with_append_time_stamps_the_brokers_time() {
    let mut world = World::new(1);
    world.topic("t", 1, &[("message.timestamp.type", "LogAppendTime")]);
    world.pass(Duration::from_secs(60));
    let answer = world.produce(0, stamped((P, 0), 0, &["a", "b"]));
    assert_eq!(answer.log_append_time_ms, START_MS + 60_000);
    world.pass(Duration::from_secs(1));
    let again = world.produce(0, stamped((P, 0), 0, &["a", "b"]));
    assert_eq!((again.base_offset, again.log_append_time_ms), (0, START_MS + 60_000));
    let stored = Batches::new(world.broker.log_bytes("t", 0).unwrap()).next().unwrap().unwrap();
    stored.verify_crc().unwrap();
    assert_eq!(stored.header().attributes.timestamp_type(), TimestampType::LogAppend);
    let mut cursor = stored.cursor(usize::MAX).unwrap();
    assert!(cursor.records().all(|record| record.unwrap().timestamp == START_MS + 60_000));
}

#[test]
fn a_timestamp_too_far_ahead_names_the_record() {
    let mut world = world();
    let mut builder = BatchBuilder::new(0, 1 << 10);
    builder.append(START_MS + 3_600_000, None, Some(b"in time"), &[]).unwrap();
    builder.append(START_MS + 3_600_001, None, Some(b"ahead"), &[]).unwrap();
    let records = builder.seal(Compression::new(Codec::None)).unwrap().bytes().clone();
    let answer = world.produce(0, records);
    assert_eq!(Code::new(answer.error_code), Code::INVALID_TIMESTAMP);
    assert_eq!(answer.record_errors.iter().map(|error| error.batch_index).collect::<Vec<_>>(), [1]);
}

#[test]
fn a_compacted_topic_wants_keys() {
    let mut world = World::new(1);
    world.topic("t", 1, &[("cleanup.policy", "delete,compact")]);
    assert_eq!(sent(&mut world, batch(&["with key"])).0, Code::NONE);
    let mut builder = BatchBuilder::new(0, 1 << 10);
    builder.append(START_MS, None, Some(b"without"), &[]).unwrap();
    let records = builder.seal(Compression::new(Codec::None)).unwrap().bytes().clone();
    assert_eq!(sent(&mut world, records).0, Code::INVALID_RECORD);
}

#[test]
fn only_the_leader_writes_and_the_others_name_it() {
    let mut world = World::new(3);
    world.topic("t", 1, &[]);
    world.broker.move_leader(world.now, "t", 0, NodeId(2));
    let (_, epoch) = world.broker.leader("t", 0).unwrap();
    for version in [9, 10, 13] {
        let request = produce_request(&world, "t", 0, batch(&["a"]), -1);
        let response: ProduceResponse = world.ask(1, version, request);
        let answer = &response.responses[0].partition_responses[0];
        assert_eq!(Code::new(answer.error_code), Code::NOT_LEADER_OR_FOLLOWER);
        if version >= 10 {
            let hint = &answer.current_leader;
            assert_eq!((hint.leader_id, hint.leader_epoch), (2, epoch));
            assert_eq!(response.node_endpoints.iter().map(|node| node.node_id).collect::<Vec<_>>(), [2]);
        }
    }
    let request = produce_request(&world, "t", 0, batch(&["a"]), -1);
    let response: ProduceResponse = world.ask(2, 13, request);
    assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
}

#[test]
fn topics_and_partitions_must_exist() {
    let mut world = world();
    let code = |world: &mut World, version, topic: &str, partition| {
        let request = produce_request(world, topic, partition, batch(&["a"]), -1);
        let response: ProduceResponse = world.ask(1, version, request);
        Code::new(response.responses[0].partition_responses[0].error_code)
    };
    assert_eq!(code(&mut world, 12, "nowhere", 0), Code::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(code(&mut world, 13, "nowhere", 0), Code::UNKNOWN_TOPIC_ID);
    for partition in [1, -1, i32::MAX] {
        assert_eq!(code(&mut world, 13, "t", partition), Code::UNKNOWN_TOPIC_OR_PARTITION, "{partition}");
    }
    world.broker.deny(Resource::Topic, "t");
    assert_eq!(code(&mut world, 13, "t", 0), Code::TOPIC_AUTHORIZATION_FAILED);
    assert_eq!(code(&mut world, 12, "t", 0), Code::TOPIC_AUTHORIZATION_FAILED);
    world.broker.allow(Resource::Topic, "t");
    assert_eq!(code(&mut world, 12, "t", 0), Code::NONE);
}

#[test]
fn a_topic_created_again_has_another_id_and_nothing_in_it() {
    let mut world = world();
    let old = produce_request(&world, "t", 0, batch(&["a"]), -1);
    assert_eq!(sent(&mut world, batch(&["a"])).0, Code::NONE);
    assert!(world.broker.delete_topic(world.now, "t"));
    world.topic("t", 1, &[]);
    let response: ProduceResponse = world.ask(1, 13, old);
    assert_eq!(Code::new(response.responses[0].partition_responses[0].error_code), Code::UNKNOWN_TOPIC_ID);
    assert_eq!(world.end("t"), 0);
}

#[test]
fn acks_say_what_is_answered() {
    let mut world = World::new(2);
    world.topic("t", 1, &[("min.insync.replicas", "2")]);
    world.broker.move_leader(world.now, "t", 0, NodeId(1));
    let code = |world: &mut World, acks| {
        let request = produce_request(world, "t", 0, batch(&["a"]), acks);
        let response: ProduceResponse = world.ask(1, 13, request);
        Code::new(response.responses[0].partition_responses[0].error_code)
    };
    assert_eq!(code(&mut world, 2), Code::INVALID_REQUIRED_ACKS);
    assert_eq!(code(&mut world, -2), Code::INVALID_REQUIRED_ACKS);
    assert_eq!(code(&mut world, -1), Code::NONE);
    world.broker.stop_node(world.now, NodeId(2));
    assert_eq!(code(&mut world, -1), Code::NOT_ENOUGH_REPLICAS);
    assert_eq!(code(&mut world, 1), Code::NONE);
    assert_eq!(world.end("t"), 2);
}

#[test]
fn without_acks_there_is_no_answer_and_an_error_closes_the_connection() {
    let mut world = world();
    let connection = world.connect(1);
    let good = produce_request(&world, "t", 0, batch(&["a"]), 0);
    world.send(connection, 13, good.clone());
    world.send(connection, 13, good);
    assert_eq!(world.end("t"), 2);
    assert!(!world.is_closed(connection));
    let bad = produce_request(&world, "t", 9, batch(&["a"]), 0);
    world.send(connection, 13, bad);
    assert!(world.is_closed(connection));
}

#[test]
fn full_logs_are_a_storage_error() {
    let size = batch(&["value"]).len();
    let mut world = World::with(1, |_, limits| limits.log_bytes = 2 * size);
    world.topic("t", 1, &[]);
    for code in [Code::NONE, Code::NONE, Code::KAFKA_STORAGE_ERROR] {
        assert_eq!(sent(&mut world, batch(&["value"])).0, code);
    }
    assert_eq!(world.broker.delete_records(world.now, "t", 0, 1), Some(1));
    assert_eq!(sent(&mut world, batch(&["value"])), (Code::NONE, 2));
}

#[test]
fn producers_get_an_id_each() {
    let mut world = world();
    let ask = |world: &mut World, transactional_id: Option<&str>| -> InitProducerIdResponse {
        let transactional_id = transactional_id.map(Str::from);
        world.ask(1, 4, InitProducerIdRequest { transactional_id, ..Default::default() })
    };
    let (first, second) = (ask(&mut world, None), ask(&mut world, None));
    assert_eq!((first.error_code, first.producer_epoch), (0, 0));
    assert_ne!(first.producer_id, second.producer_id);
    world.broker.deny(Resource::TransactionalId, "transfer");
    let denied = Code::TRANSACTIONAL_ID_AUTHORIZATION_FAILED.get();
    assert_eq!(ask(&mut world, Some("transfer")).error_code, denied);
    world.broker.deny(Resource::Cluster, "");
    assert_eq!(ask(&mut world, None).error_code, Code::CLUSTER_AUTHORIZATION_FAILED.get());
}

#[test]
fn a_batch_that_comes_again_is_answered_with_its_time() {
    let mut world = world();
    let first = world.produce(0, stamped((P, 0), 0, &["a", "b"]));
    let again = world.produce(0, stamped((P, 0), 0, &["a", "b"]));
    assert_eq!((first.log_append_time_ms, again.log_append_time_ms), (-1, START_MS + 1));
}

#[test]
fn what_the_log_refuses_comes_with_its_beginning() {
    let mut world = seven_batches();
    let refused = |world: &mut World, records: Bytes| {
        let answer = world.produce(0, records);
        (Code::new(answer.error_code), answer.log_start_offset)
    };
    let gap = stamped((P, 0), 20, &["a"]);
    assert_eq!(refused(&mut world, gap), (Code::OUT_OF_ORDER_SEQUENCE_NUMBER, 0));
    assert_eq!(refused(&mut world, forged(|bytes| bytes[7] = 1)), (Code::INVALID_RECORD, 0));
    let mut damaged = BytesMut::from(&batch(&["a"])[..]);
    damaged[17] ^= 1;
    assert_eq!(refused(&mut world, damaged.freeze()), (Code::CORRUPT_MESSAGE, -1));
    assert_eq!(refused(&mut world, Bytes::new()), (Code::INVALID_RECORD, -1));
}

#[test]
fn bytes_that_cannot_be_cut_and_transactions_without_an_id_refuse_the_whole_request() {
    let mut world = world();
    world.topic("u", 1, &[]);
    let mut strange = BytesMut::from(&batch(&["a"])[..]);
    strange[16] = 3;
    let transactional = forged(|bytes| bytes[22] |= 1 << 4);
    for (bad, code) in [
        (strange.freeze(), Code::CORRUPT_MESSAGE),
        (transactional, Code::TRANSACTIONAL_ID_AUTHORIZATION_FAILED),
    ] {
        let mut request = produce_request(&world, "t", 0, batch(&["a"]), -1);
        request.topic_data.extend(produce_request(&world, "u", 0, bad, -1).topic_data);
        let response: ProduceResponse = world.ask(1, 13, request);
        let codes = response.responses.iter().map(|topic| Code::new(topic.partition_responses[0].error_code));
        assert_eq!(codes.collect::<Vec<_>>(), [code, code]);
    }
    assert_eq!(world.end("t"), 0);
}

#[test]
fn a_producer_may_be_without_epoch_but_not_without_sequence() {
    let mut world = world();
    assert_eq!(sent(&mut world, stamped((P, -1), 0, &["a"])).0, Code::NONE);
    assert_eq!(sent(&mut world, stamped((P + 1, 0), -1, &["a"])).0, Code::INVALID_RECORD);
}

#[test]
fn a_topic_says_which_times_it_takes_and_every_record_that_fails_is_named() {
    let mut world = World::new(1);
    let times = [("message.timestamp.before.max.ms", "5000"), ("message.timestamp.after.max.ms", "1000")];
    world.topic("t", 1, &times);
    let mut builder = BatchBuilder::new(0, 1 << 10);
    for at in [-5_001, -5_000, 1_000, 1_001] {
        builder.append(START_MS + at, None, Some(b"value"), &[]).unwrap();
    }
    let records = builder.seal(Compression::new(Codec::None)).unwrap().bytes().clone();
    let answer = world.produce(0, records);
    assert_eq!(Code::new(answer.error_code), Code::INVALID_TIMESTAMP);
    assert_eq!(answer.record_errors.iter().map(|error| error.batch_index).collect::<Vec<_>>(), [0, 3]);
}

#[test]
fn an_id_comes_with_its_epoch_or_not_at_all() {
    let mut world = world();
    for (producer_id, producer_epoch, code) in [
        (-1, -1, Code::NONE),
        (5, 3, Code::NONE),
        (-1, 3, Code::INVALID_REQUEST),
        (5, -1, Code::INVALID_REQUEST),
    ] {
        let request = InitProducerIdRequest { producer_id, producer_epoch, ..Default::default() };
        let request = InitProducerIdRequest { transactional_id: None, ..request };
        let response: InitProducerIdResponse = world.ask(1, 5, request);
        assert_eq!(Code::new(response.error_code), code, "{producer_id} {producer_epoch}");
    }
}

#[test]
fn a_batch_is_stored_with_the_time_that_it_really_has() {
    let brokers_time = forged(|bytes| bytes[22] |= 1 << 3);
    let far_ahead = forged(|bytes| bytes[35..43].copy_from_slice(&i64::MAX.to_be_bytes()));
    for lies in [brokers_time, far_ahead] {
        let mut world = world();
        assert_eq!(sent(&mut world, lies).0, Code::NONE);
        let stored = Batches::new(world.broker.log_bytes("t", 0).unwrap()).next().unwrap().unwrap();
        stored.verify_crc().unwrap();
        assert_eq!(stored.header().attributes.timestamp_type(), TimestampType::Create);
        assert_eq!(stored.header().max_timestamp, START_MS + 1);
    }
}

#[test]
fn a_partition_needs_no_more_replicas_than_it_has() {
    let mut world = World::new(1);
    world.topic("t", 1, &[("min.insync.replicas", "2")]);
    assert_eq!(sent(&mut world, batch(&["a"])).0, Code::NONE);
}
