//! Produce: batches are checked, deduplicated and appended.

mod verify;

use std::collections::BTreeSet;

use bytes::Bytes;

use self::verify::{Outside, outside_transaction, topic_key};
use super::call::{Call, Handled};
use super::producers::Verdict;
use super::state::{State, TopicKey};
use super::validate::{Rejection, Rules, check, cut, is_transactional, one_batch};
use crate::error::{Code, Resource};
use crate::wire::batch::{BatchHeader, TimestampType};
use crate::wire::messages::produce_request::{PartitionProduceData, TopicProduceData};
use crate::wire::messages::produce_response::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse, TopicProduceResponse,
};
use crate::wire::messages::{ProduceRequest, ProduceResponse};
use crate::wire::str::Str;

/// The first version that names the leader to go to instead (KIP-951).
const LEADER_HINTS: i16 = 10;

/// A batch that was written, now or before.
struct Written {
    base_offset: i64,
    append_time: i64,
    log_start: i64,
}

pub(super) fn handle(state: &mut State, call: &Call, request: &ProduceRequest) -> Handled {
    if let Some(code) = refusal(state, request) {
        return answer(state, call, request, |_, _, _| Err(Rejection::new(code, "the request is refused")));
    }
    if !matches!(request.acks, -1..=1) {
        return answer(state, call, request, |_, _, _| Err(Code::INVALID_REQUIRED_ACKS.into()));
    }
    let outside = match outside_transaction(state, call, request) {
        Ok(outside) => outside,
        Err(code) => return answer(state, call, request, |_, _, _| Err(code.into())),
    };
    answer(state, call, request, |state, topic, data| {
        produce_one(state, call, topic_key(call.version, topic), data, request.acks, &outside)
    })
}

/// Why a request is refused with all its partitions.
fn refusal(state: &State, request: &ProduceRequest) -> Option<Code> {
    let denied = |id: &Str| state.is_denied(Resource::TransactionalId, id);
    let may_be_transactional = request.transactional_id.as_ref().is_some_and(|id| !denied(id));
    let partitions = request.topic_data.iter().flat_map(|topic| &topic.partition_data);
    for records in partitions.filter_map(|partition| partition.records.as_ref()) {
        match cut(records) {
            None => return Some(Code::CORRUPT_MESSAGE),
            // Without a transactional id, nobody may write in a transaction.
            Some(batches) if batches.first().is_some_and(is_transactional) && !may_be_transactional => {
                return Some(Code::TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
            }
            Some(_) => {}
        }
    }
    None
}

/// Runs `write` for each partition and makes an answer of what it says.
fn answer(
    state: &mut State,
    call: &Call,
    request: &ProduceRequest,
    mut write: impl FnMut(&mut State, &TopicProduceData, &PartitionProduceData) -> Result<Written, Rejection>,
) -> Handled {
    let mut failed = false;
    let mut response = ProduceResponse::default();
    for topic in &request.topic_data {
        let mut answers = Vec::with_capacity(topic.partition_data.len());
        for data in &topic.partition_data {
            let outcome = write(state, topic, data);
            failed |= outcome.is_err();
            let mut answer = partition_response(data.index, outcome);
            if answer.error_code == Code::NOT_LEADER_OR_FOLLOWER.get() && call.version >= LEADER_HINTS {
                answer.current_leader = current_leader(state, topic_key(call.version, topic), data.index);
            }
            answers.push(answer);
        }
        response.responses.push(TopicProduceResponse {
            name: topic.name.clone(),
            topic_id: topic.topic_id,
            partition_responses: answers,
            ..TopicProduceResponse::default()
        });
    }
    match (request.acks, failed) {
        // Without an answer, a closed connection is the only way to tell.
        (0, true) => Handled::Close,
        (0, false) => Handled::Silent,
        _ => {
            response.node_endpoints = endpoints(state, &response);
            response.into()
        }
    }
}

fn produce_one(
    state: &mut State,
    call: &Call,
    key: TopicKey<'_>,
    data: &PartitionProduceData,
    acks: i16,
    outside: &Outside,
) -> Result<Written, Rejection> {
    let (name, rules) = match (state.find_topic(key), key) {
        (Ok(topic), _) if state.is_denied(Resource::Topic, &topic.name) => {
            return Err(Code::TOPIC_AUTHORIZATION_FAILED.into());
        }
        (Err(_), TopicKey::Name(name)) if state.is_denied(Resource::Topic, name) => {
            return Err(Code::TOPIC_AUTHORIZATION_FAILED.into());
        }
        (Err(code), _) => return Err(code.into()),
        (Ok(topic), _) => {
            let max_bytes = topic.config.max_message_bytes.unwrap_or(state.settings.message_max_bytes);
            let rules = Rules {
                max_bytes: usize::try_from(max_bytes).unwrap_or(0),
                decompressed_bytes: state.limits.decompressed_batch_bytes,
                timestamps: topic.config.timestamps(),
                needs_keys: topic.config.compacted,
                times: topic.config.allowed_times(call.now.unix_ms),
            };
            (topic.name.clone(), rules)
        }
    };
    if let Some(code) = call.refused(&name, data.index) {
        return Err(code.into());
    }
    let topic = state.topic(&name).ok_or(Code::UNKNOWN_TOPIC_OR_PARTITION)?;
    let partition = topic.partition(data.index).ok_or(Code::UNKNOWN_TOPIC_OR_PARTITION)?;
    let records = one_batch(data.records.as_ref(), call.version)?;
    if partition.leader != Some(call.node) {
        return Err(Code::NOT_LEADER_OR_FOLLOWER.into());
    }
    if let Some(rejection) = outside.get(&(name.clone(), data.index)) {
        return Err(rejection.clone());
    }
    let log_start = partition.log.start();
    let needed = topic.config.min_insync_replicas.unwrap_or(state.settings.min_insync_replicas);
    // A partition needs no more replicas than it has.
    let needed = usize::try_from(needed).unwrap_or(0).min(partition.replicas.len());
    if acks == -1 && partition.in_sync.len() < needed {
        return Err(Rejection::from(Code::NOT_ENOUGH_REPLICAS).by_log(log_start));
    }
    let now = call.now.unix_ms;
    let written = append(state, &name, data.index, &records, &rules, now);
    written.map_err(|rejection| rejection.by_log(log_start))
}

fn append(
    state: &mut State,
    name: &Str,
    index: i32,
    records: &Bytes,
    rules: &Rules,
    unix_ms: i64,
) -> Result<Written, Rejection> {
    let (batch, max_timestamp) = check(records, rules)?;
    let header = BatchHeader { max_timestamp, ..*batch.header() };
    let unknown = Code::UNKNOWN_TOPIC_OR_PARTITION;
    let partition = state.topic(name).and_then(|topic| topic.partition(index)).ok_or(unknown)?;
    let log_start = partition.log.start();
    if header.producer_id >= 0 {
        match partition.producers.judge(&header) {
            Verdict::Append
                if !header.attributes.is_transactional() && partition.log.has_open(header.producer_id) =>
            {
                return Err(Code::INVALID_TXN_STATE.into());
            }
            Verdict::Append => {}
            Verdict::Duplicate { base_offset, append_time } => {
                return Ok(Written { base_offset, append_time, log_start });
            }
            Verdict::Refuse(code) => return Err(code.into()),
        }
    }
    if !state.reserve_log(batch.bytes().len()) {
        let limit = state.limits.log_bytes;
        let message = format!("the logs of the embedded cluster hold their limit of {limit} bytes");
        return Err(Rejection::new(Code::KAFKA_STORAGE_ERROR, message));
    }
    let producers = state.limits.producers_per_partition;
    let partition = state.topic_mut(name).and_then(|topic| topic.partition_mut(index)).ok_or(unknown)?;
    let log_append = rules.timestamps == TimestampType::LogAppend;
    let time = log_append.then_some(unix_ms);
    let append_time = time.unwrap_or(-1);
    let base_offset = partition.log.append(&batch, partition.leader_epoch, time, max_timestamp);
    if header.producer_id >= 0 {
        partition.producers.appended(&header, base_offset, time);
        partition.forget_producers(producers);
    }
    state.changes += 1;
    Ok(Written { base_offset, append_time, log_start })
}

fn partition_response(index: i32, outcome: Result<Written, Rejection>) -> PartitionProduceResponse {
    match outcome {
        Ok(written) => PartitionProduceResponse {
            index,
            base_offset: written.base_offset,
            log_append_time_ms: written.append_time,
            log_start_offset: written.log_start,
            ..PartitionProduceResponse::default()
        },
        Err(rejection) => PartitionProduceResponse {
            index,
            error_code: rejection.code.get(),
            base_offset: -1,
            log_start_offset: rejection.log_start,
            error_message: rejection.message.map(Str::from),
            record_errors: rejection.records.into_iter().map(record_error).collect(),
            ..PartitionProduceResponse::default()
        },
    }
}

fn record_error((batch_index, message): (i32, String)) -> BatchIndexAndErrorMessage {
    BatchIndexAndErrorMessage {
        batch_index,
        batch_index_error_message: Some(message.into()),
        ..BatchIndexAndErrorMessage::default()
    }
}

/// The leader to go to instead.
fn current_leader(state: &State, topic: TopicKey<'_>, index: i32) -> LeaderIdAndEpoch {
    let partition = state.find_topic(topic).ok().and_then(|topic| topic.partition(index));
    partition.map_or_else(LeaderIdAndEpoch::default, |partition| LeaderIdAndEpoch {
        leader_id: partition.leader.unwrap_or(-1),
        leader_epoch: partition.leader_epoch,
        ..LeaderIdAndEpoch::default()
    })
}

/// The addresses of the leaders that the answer names.
fn endpoints(state: &State, response: &ProduceResponse) -> Vec<NodeEndpoint> {
    let partitions = response.responses.iter().flat_map(|topic| &topic.partition_responses);
    let leaders: BTreeSet<i32> = partitions.map(|partition| partition.current_leader.leader_id).collect();
    let known = leaders.iter().filter_map(|id| Some((*id, state.nodes.get(id)?)));
    let endpoints = known.map(|(node_id, node)| NodeEndpoint {
        node_id,
        host: node.host.clone(),
        port: node.port,
        rack: node.rack.clone(),
        ..NodeEndpoint::default()
    });
    endpoints.collect()
}
