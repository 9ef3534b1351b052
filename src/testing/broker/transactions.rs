//! The requests of transactional producers to their coordinator.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::call::Call;
use super::state::State;
use super::transaction::{End, Identity, Part, Transaction};
use crate::error::{Code, Resource};
use crate::testing::transaction::TransactionState;
use crate::wire::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use crate::wire::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnTopicResult,
};
use crate::wire::messages::{
    AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse,
    EndTxnRequest, EndTxnResponse, InitProducerIdRequest,
};
use crate::wire::str::Str;

/// The first version of EndTxn that bumps the epoch (KIP-890).
const BUMPS: i16 = 5;
/// The first versions that know PRODUCER_FENCED (KIP-588).
const INIT_KNOWS_FENCED: i16 = 4;
const KNOWS_FENCED: i16 = 2;

/// InitProducerId with a transactional id.
pub(super) fn begin(
    state: &mut State,
    call: &Call,
    id: &Str,
    request: &InitProducerIdRequest,
) -> Result<Identity, Code> {
    let expected = match (request.producer_id, request.producer_epoch) {
        (-1, -1) => None,
        (-1, _) | (_, -1) => return Err(Code::INVALID_REQUEST),
        (id, epoch) => Some(Identity { id, epoch }),
    };
    if id.is_empty() {
        return Err(Code::INVALID_REQUEST);
    }
    let timeout = u64::try_from(request.transaction_timeout_ms).map(Duration::from_millis);
    let allowed =
        |timeout: &Duration| !timeout.is_zero() && *timeout <= state.settings.transaction_max_timeout;
    let timeout = timeout.ok().filter(allowed).ok_or(Code::INVALID_TRANSACTION_TIMEOUT)?;
    let begun = begin_here(state, call, id, timeout, expected);
    begun.map_err(|code| old_name(code, call.version < INIT_KNOWS_FENCED))
}

fn begin_here(
    state: &mut State,
    call: &Call,
    id: &Str,
    timeout: Duration,
    expected: Option<Identity>,
) -> Result<Identity, Code> {
    check_coordinator(state, call.node, id)?;
    if !state.transactions.by_id.contains_key(id) {
        if state.transactions.by_id.len() >= state.limits.transactional_ids {
            return Err(Code::POLICY_VIOLATION);
        }
        let producer_id = state.next_producer_id();
        state.transactions.by_id.insert(id.clone(), Transaction::new(id.clone(), producer_id));
    }
    let transaction = find(state, call.node, id)?;
    if transaction.is_ending() {
        return Err(Code::CONCURRENT_TRANSACTIONS);
    }
    if transaction.state == TransactionState::Ongoing {
        if expected.is_some_and(|expected| !transaction.may_go_on(expected)) {
            return Err(Code::PRODUCER_FENCED);
        }
        // Whoever comes now has to come again, when the transaction is aborted.
        state.fence(call.now, id);
        return Err(Code::CONCURRENT_TRANSACTIONS);
    }
    let is_exhausted = transaction.is_exhausted();
    let fresh_id = is_exhausted.then(|| state.next_producer_id());
    find(state, call.node, id)?.begin(timeout, expected, fresh_id)
}

pub(super) fn add_partitions(
    state: &mut State,
    call: &Call,
    request: &AddPartitionsToTxnRequest,
) -> AddPartitionsToTxnResponse {
    let results_by_topic_v3_and_below = add_to_one(state, call, request);
    AddPartitionsToTxnResponse { results_by_topic_v3_and_below, ..Default::default() }
}

fn add_to_one(
    state: &mut State,
    call: &Call,
    request: &AddPartitionsToTxnRequest,
) -> Vec<AddPartitionsToTxnTopicResult> {
    let (id, topics) = (&request.v3_and_below_transactional_id, &request.v3_and_below_topics);
    if state.is_denied(Resource::TransactionalId, id) {
        return add_results(topics, |_, _| Code::TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
    }
    let refused = |topic: &Str, partition: i32| {
        if state.is_denied(Resource::Topic, topic) {
            return Some(Code::TOPIC_AUTHORIZATION_FAILED);
        }
        let found = state.topic(topic).and_then(|topic| topic.partition(partition));
        let not_there = found.is_none().then_some(Code::UNKNOWN_TOPIC_OR_PARTITION);
        not_there.or_else(|| call.refused(topic, partition))
    };
    let all = || topics.iter().flat_map(|topic| topic.partitions.iter().map(|p| (&topic.name, *p)));
    if all().any(|(topic, partition)| refused(topic, partition).is_some()) {
        // One that fails has the others not tried.
        let code =
            |topic: &Str, partition| refused(topic, partition).unwrap_or(Code::OPERATION_NOT_ATTEMPTED);
        return add_results(topics, code);
    }
    let parts = all().map(|(topic, partition)| Part::Partition(topic.clone(), partition)).collect();
    let producer =
        Identity { id: request.v3_and_below_producer_id, epoch: request.v3_and_below_producer_epoch };
    let added = find(state, call.node, id).and_then(|transaction| transaction.add(call.now, producer, parts));
    let code = old_name(added.err().unwrap_or(Code::NONE), call.version < KNOWS_FENCED);
    add_results(topics, |_, _| code)
}

/// The answer for every partition that was named, once each.
fn add_results(
    topics: &[AddPartitionsToTxnTopic],
    code: impl Fn(&Str, i32) -> Code,
) -> Vec<AddPartitionsToTxnTopicResult> {
    let mut named: BTreeMap<&Str, BTreeSet<i32>> = BTreeMap::new();
    for topic in topics {
        named.entry(&topic.name).or_default().extend(&topic.partitions);
    }
    let results =
        named.into_iter().filter(|(_, partitions)| !partitions.is_empty()).map(|(name, partitions)| {
            let partitions =
                partitions.into_iter().map(|partition_index| AddPartitionsToTxnPartitionResult {
                    partition_index,
                    partition_error_code: code(name, partition_index).get(),
                    ..AddPartitionsToTxnPartitionResult::default()
                });
            AddPartitionsToTxnTopicResult {
                name: name.clone(),
                results_by_partition: partitions.collect(),
                ..AddPartitionsToTxnTopicResult::default()
            }
        });
    results.collect()
}

pub(super) fn add_offsets(
    state: &mut State,
    call: &Call,
    request: &AddOffsetsToTxnRequest,
) -> AddOffsetsToTxnResponse {
    let (id, group) = (&request.transactional_id, &request.group_id);
    let producer = Identity { id: request.producer_id, epoch: request.producer_epoch };
    let part = Part::Offsets(State::offsets_partition(group));
    let added = check_allowed(state, id, group)
        .and_then(|()| find(state, call.node, id))
        .and_then(|transaction| transaction.add(call.now, producer, vec![part]));
    let code = old_name(added.err().unwrap_or(Code::NONE), call.version < KNOWS_FENCED);
    AddOffsetsToTxnResponse { error_code: code.get(), ..AddOffsetsToTxnResponse::default() }
}

/// Whether offsets of the group may be committed under the transactional id.
pub(super) fn check_allowed(state: &State, id: &Str, group: &Str) -> Result<(), Code> {
    if state.is_denied(Resource::TransactionalId, id) {
        Err(Code::TRANSACTIONAL_ID_AUTHORIZATION_FAILED)
    } else if state.is_denied(Resource::Group, group) {
        Err(Code::GROUP_AUTHORIZATION_FAILED)
    } else {
        Ok(())
    }
}

pub(super) fn end(state: &mut State, call: &Call, request: &EndTxnRequest) -> EndTxnResponse {
    match end_one(state, call, request) {
        Ok(producer) if call.version >= BUMPS => EndTxnResponse {
            producer_id: producer.id,
            producer_epoch: producer.epoch,
            ..EndTxnResponse::default()
        },
        Ok(_) => EndTxnResponse::default(),
        Err(code) => {
            let code = old_name(code, call.version < KNOWS_FENCED);
            EndTxnResponse { error_code: code.get(), ..EndTxnResponse::default() }
        }
    }
}

fn end_one(state: &mut State, call: &Call, request: &EndTxnRequest) -> Result<Identity, Code> {
    let id = &request.transactional_id;
    if state.is_denied(Resource::TransactionalId, id) {
        return Err(Code::TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
    }
    let bump = call.version >= BUMPS;
    let needs_id = find(state, call.node, id)?.is_exhausted() && bump;
    let fresh_id = needs_id.then(|| state.next_producer_id());
    let end = End { commit: request.committed, bump, fresh_id, markers_at: state.markers_at(call.now) };
    let producer = Identity { id: request.producer_id, epoch: request.producer_epoch };
    let transaction = find(state, call.node, id)?;
    let next = transaction.end(call.now, producer, end)?;
    if transaction.is_ending() {
        state.ending(call.now, id);
    }
    Ok(next)
}

/// Takes what a producer is about to write to into its transaction, or sees whether it belongs to it.
pub(super) fn join(
    state: &mut State,
    call: &Call,
    id: &Str,
    producer: Identity,
    part: Part,
    adds: bool,
) -> Result<(), Code> {
    // Brokers ask each other.
    let node = state.coordinator(id).ok_or(Code::COORDINATOR_NOT_AVAILABLE)?;
    let transaction = find(state, node, id)?;
    let joined = if adds {
        transaction.add(call.now, producer, vec![part])
    } else {
        transaction.verify(producer, &part)
    };
    // Who writes is told that its epoch is over, and can ask the coordinator why.
    joined.map_err(|code| old_name(code, true))
}

/// A transactional id that a producer was given before.
fn find<'a>(state: &'a mut State, node: i32, id: &Str) -> Result<&'a mut Transaction, Code> {
    if id.is_empty() {
        return Err(Code::INVALID_REQUEST);
    }
    check_coordinator(state, node, id)?;
    state.transactions.by_id.get_mut(id).ok_or(Code::INVALID_PRODUCER_ID_MAPPING)
}

fn check_coordinator(state: &State, node: i32, id: &Str) -> Result<(), Code> {
    if state.coordinator(id) == Some(node) { Ok(()) } else { Err(Code::NOT_COORDINATOR) }
}

/// PRODUCER_FENCED as it was called before clients knew it.
fn old_name(code: Code, is_old: bool) -> Code {
    if is_old && code == Code::PRODUCER_FENCED { Code::INVALID_PRODUCER_EPOCH } else { code }
}
