//! Transactions, against the rules that were measured on Kafka 4.4.0.

mod ends;
mod identities;
mod moves;
mod offsets;
mod reads;
mod writes;

use super::*;
use crate::error::Code;
use crate::testing::api::Api;
use crate::testing::faults::{Fault, Rule};
use crate::testing::transaction::{TransactionDescription, TransactionState};
use crate::wire::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use crate::wire::messages::fetch_response::PartitionData;
use crate::wire::messages::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, EndTxnRequest, EndTxnResponse, FetchResponse,
    InitProducerIdRequest, InitProducerIdResponse,
};

/// The transactional id of most tests.
const ID: &str = "tx";
/// A producer id and its epoch.
type Producer = (i64, i16);
const NOBODY: Producer = (-1, -1);

fn world() -> World {
    let mut world = World::new(1);
    world.topic("t", 2, &[]);
    world
}

/// A producer that begins under the usual id.
fn begin(world: &mut World) -> Producer {
    let (code, producer) = init(world, 5, ID, NOBODY);
    assert_eq!(code, Code::NONE);
    producer
}

fn init(world: &mut World, version: i16, id: &str, given: Producer) -> (Code, Producer) {
    init_for(world, version, id, given, 60_000)
}

fn init_for(
    world: &mut World,
    version: i16,
    id: &str,
    given: Producer,
    transaction_timeout_ms: i32,
) -> (Code, Producer) {
    let request = InitProducerIdRequest {
        transactional_id: Some(id.into()),
        transaction_timeout_ms,
        producer_id: given.0,
        producer_epoch: given.1,
        ..Default::default()
    };
    let answer: InitProducerIdResponse = world.ask(1, version, request);
    (Code::new(answer.error_code), (answer.producer_id, answer.producer_epoch))
}

fn end(world: &mut World, version: i16, by: Producer, committed: bool) -> (Code, Producer) {
    let request = EndTxnRequest {
        transactional_id: ID.into(),
        producer_id: by.0,
        producer_epoch: by.1,
        committed,
        ..Default::default()
    };
    let answer: EndTxnResponse = world.ask(1, version, request);
    (Code::new(answer.error_code), (answer.producer_id, answer.producer_epoch))
}

fn add_request(by: Producer, partitions: &[i32]) -> AddPartitionsToTxnRequest {
    let topic =
        AddPartitionsToTxnTopic { name: "t".into(), partitions: partitions.to_vec(), ..Default::default() };
    AddPartitionsToTxnRequest {
        v3_and_below_transactional_id: ID.into(),
        v3_and_below_producer_id: by.0,
        v3_and_below_producer_epoch: by.1,
        v3_and_below_topics: vec![topic],
        ..Default::default()
    }
}

/// The code of each partition.
fn add(world: &mut World, version: i16, by: Producer, partitions: &[i32]) -> Vec<Code> {
    let answer: AddPartitionsToTxnResponse = world.ask(1, version, add_request(by, partitions));
    let topics = answer.results_by_topic_v3_and_below.iter();
    let results = topics.flat_map(|topic| &topic.results_by_partition);
    results.map(|result| Code::new(result.partition_error_code)).collect()
}

/// A batch that belongs to a transaction.
fn transactional(by: Producer, sequence: i32, values: &[&str]) -> Bytes {
    let stamp =
        Stamp { producer_id: by.0, producer_epoch: by.1, base_sequence: sequence, transactional: true };
    build(values, Some(stamp), Codec::None)
}

/// Writes a batch to partition 0 under the usual id: the code and the base offset.
fn write_as(world: &mut World, version: i16, batch: Bytes) -> (Code, i64) {
    let mut request = produce_request(world, "t", 0, batch, -1);
    request.transactional_id = Some(ID.into());
    let response: ProduceResponse = world.ask(1, version, request);
    let answer = &response.responses[0].partition_responses[0];
    (Code::new(answer.error_code), answer.base_offset)
}

/// Writes one record in the transaction, in the newest version.
fn write(world: &mut World, by: Producer, sequence: i32) -> (Code, i64) {
    write_as(world, 13, transactional(by, sequence, &["a"]))
}

/// What a fetch of partition 0 is answered.
fn read(world: &mut World, committed: bool, offset: i64) -> PartitionData {
    let mut request = fetch_request(world, "t", 0, offset);
    request.isolation_level = i8::from(committed);
    (request.min_bytes, request.max_wait_ms) = (0, 0);
    let mut response: FetchResponse = world.ask(1, 17, request);
    response.responses.remove(0).partitions.remove(0)
}

fn hold_markers(world: &mut World, held: bool) {
    world.broker.hold_markers(world.now, held);
    world.collect();
}

fn stable(world: &World) -> i64 {
    world.broker.last_stable_offset("t", 0).unwrap()
}

fn described(world: &World) -> TransactionDescription {
    world.broker.transactions().into_iter().find(|described| described.transactional_id == ID).unwrap()
}

fn state(world: &World) -> TransactionState {
    described(world).state
}
