//! ListOffsets and OffsetForLeaderEpoch: where a log begins and ends, in time and in epochs.

use std::collections::BTreeMap;

use super::call::Call;
use super::leadership::{check_epoch, check_leader};
use super::log::Found;
use super::state::State;
use super::topic::Partition;
use crate::error::{Code, Resource};
use crate::wire::messages::list_offsets_request::ListOffsetsPartition;
use crate::wire::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use crate::wire::messages::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use crate::wire::messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use crate::wire::messages::{
    ListOffsetsRequest, ListOffsetsResponse, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
};
use crate::wire::str::Str;

/// What stands for a place where a timestamp is expected, and the first version that knows it.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: (i64, i16) = (-3, 7);
const EARLIEST_LOCAL: (i64, i16) = (-4, 8);
const LATEST_TIERED: (i64, i16) = (-5, 9);
const EARLIEST_PENDING_UPLOAD: (i64, i16) = (-6, 11);

/// The first version of ListOffsets that carries leader epochs.
const WITH_EPOCH: i16 = 4;

/// The isolation level of readers that leave out what is not committed.
const READ_COMMITTED: i8 = 1;

/// No such offset.
const NONE: Found = Found { timestamp: -1, offset: -1, epoch: -1 };

pub(super) fn list(state: &State, call: &Call, request: &ListOffsetsRequest) -> ListOffsetsResponse {
    let committed = request.isolation_level == READ_COMMITTED;
    let topics = request.topics.iter().map(|topic| {
        let mut times: BTreeMap<i32, usize> = BTreeMap::new();
        for wanted in &topic.partitions {
            *times.entry(wanted.partition_index).or_default() += 1;
        }
        let is_last = |at: usize, index: i32| {
            topic.partitions.iter().skip(at + 1).all(|other| other.partition_index != index)
        };
        let once = topic.partitions.iter().enumerate().filter(|(at, p)| is_last(*at, p.partition_index));
        let partitions = once.map(|(_, wanted)| {
            let is_twice = times.get(&wanted.partition_index).is_some_and(|times| *times > 1);
            let found = if is_twice {
                Err(Code::INVALID_REQUEST)
            } else {
                list_one(state, call, &topic.name, wanted, committed)
            };
            let (code, found) = found.map_or_else(|code| (code, NONE), |found| (Code::NONE, found));
            ListOffsetsPartitionResponse {
                partition_index: wanted.partition_index,
                error_code: code.get(),
                timestamp: found.timestamp,
                offset: found.offset,
                leader_epoch: if call.version >= WITH_EPOCH { found.epoch } else { -1 },
                ..ListOffsetsPartitionResponse::default()
            }
        });
        ListOffsetsTopicResponse {
            name: topic.name.clone(),
            partitions: partitions.collect(),
            ..ListOffsetsTopicResponse::default()
        }
    });
    ListOffsetsResponse { topics: topics.collect(), ..ListOffsetsResponse::default() }
}

fn list_one(
    state: &State,
    call: &Call,
    topic: &Str,
    wanted: &ListOffsetsPartition,
    committed: bool,
) -> Result<Found, Code> {
    let partition = find(state, call, topic, wanted.partition_index)?;
    check_leader(partition, call.node)?;
    check_epoch(partition, wanted.current_leader_epoch)?;
    let log = &partition.log;
    let end = if committed { log.stable_end() } else { log.end() };
    let readable = |found: Option<Found>| found.filter(|found| found.offset < end).unwrap_or(NONE);
    let knows = |(_, since): (i64, i16)| call.version >= since;
    let decompressed = state.limits.decompressed_batch_bytes;
    match wanted.timestamp {
        LATEST => Ok(Found { timestamp: -1, offset: end, epoch: partition.leader_epoch }),
        EARLIEST => Ok(earliest(partition)),
        time if time == EARLIEST_LOCAL.0 && knows(EARLIEST_LOCAL) => Ok(earliest(partition)),
        time if time == MAX_TIMESTAMP.0 && knows(MAX_TIMESTAMP) => {
            Ok(readable(log.find_max_time(decompressed)))
        }
        // Nothing is tiered.
        time if time == LATEST_TIERED.0 && knows(LATEST_TIERED) => Ok(NONE),
        time if time == EARLIEST_PENDING_UPLOAD.0 && knows(EARLIEST_PENDING_UPLOAD) => Ok(NONE),
        time if time < 0 => Err(Code::UNSUPPORTED_VERSION),
        time => Ok(readable(log.find_time(time, decompressed))),
    }
}

fn earliest(partition: &Partition) -> Found {
    let epoch = partition.log.first_epoch().unwrap_or(-1);
    Found { timestamp: -1, offset: partition.log.start(), epoch }
}

fn find<'a>(state: &'a State, call: &Call, topic: &Str, partition: i32) -> Result<&'a Partition, Code> {
    if state.is_denied(Resource::Topic, topic) {
        return Err(Code::TOPIC_AUTHORIZATION_FAILED);
    }
    if let Some(code) = call.refused(topic, partition) {
        return Err(code);
    }
    let topic = state.topic(topic).ok_or(Code::UNKNOWN_TOPIC_OR_PARTITION)?;
    topic.partition(partition).ok_or(Code::UNKNOWN_TOPIC_OR_PARTITION)
}

pub(super) fn for_leader_epoch(
    state: &State,
    call: &Call,
    request: &OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let topics = request.topics.iter().map(|topic| OffsetForLeaderTopicResult {
        topic: topic.topic.clone(),
        partitions: topic.partitions.iter().map(|p| end_of_epoch(state, call, &topic.topic, p)).collect(),
        ..OffsetForLeaderTopicResult::default()
    });
    OffsetForLeaderEpochResponse { topics: topics.collect(), ..OffsetForLeaderEpochResponse::default() }
}

fn end_of_epoch(
    state: &State,
    call: &Call,
    topic: &Str,
    wanted: &OffsetForLeaderPartition,
) -> EpochEndOffset {
    let found = find(state, call, topic, wanted.partition).and_then(|partition| {
        check_leader(partition, call.node)?;
        check_epoch(partition, wanted.current_leader_epoch)?;
        // -1 is no epoch.
        let known = Some(wanted.leader_epoch).filter(|epoch| *epoch >= 0);
        Ok(known.and_then(|epoch| partition.log.end_of_epoch(epoch)).unwrap_or((-1, -1)))
    });
    let (code, (leader_epoch, end_offset)) = match found {
        Ok(end) => (Code::NONE, end),
        Err(code) => (code, (-1, -1)),
    };
    EpochEndOffset {
        error_code: code.get(),
        partition: wanted.partition,
        leader_epoch,
        end_offset,
        ..EpochEndOffset::default()
    }
}
