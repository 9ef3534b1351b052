//! OffsetCommit and OffsetFetch.

pub(super) mod transactional;

use std::collections::BTreeMap;

use super::call::Call;
use super::group::committer::Committer;
use super::group::{Committed, Group};
use super::groups::check_group;
use super::state::{State, TopicKey};
use crate::error::{Code, Resource};
use crate::wire::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use crate::wire::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use crate::wire::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use crate::wire::messages::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse,
};
use crate::wire::str::Str;
use crate::wire::uuid::Uuid;

/// The first version of both that names topics by id.
const BY_ID: i16 = 10;
/// The first version for members under the consumer protocol (KIP-848).
const KNOWS_EPOCHS: i16 = 9;
/// The first version of OffsetCommit that says that a group is not there.
const SAYS_UNKNOWN: i16 = 9;
/// The first version of OffsetFetch that asks for several groups.
const FETCH_MANY: i16 = 8;
/// The first version of OffsetFetch with an error for the request as a whole.
const TOP_LEVEL_ERROR: i16 = 2;
/// The first version of OffsetFetch with leader epochs.
const WITH_EPOCH: i16 = 5;

pub(super) fn commit(state: &mut State, call: &Call, request: &OffsetCommitRequest) -> OffsetCommitResponse {
    let denied = state.is_denied(Resource::Group, &request.group_id);
    let allowed = if denied { Err(Code::GROUP_AUTHORIZATION_FAILED) } else { Ok(()) };
    let checked = check_commit(state, call, request);
    let topics = request.topics.iter().map(|topic| {
        let key = key(call, BY_ID, topic.topic_id, &topic.name);
        let name = allowed.and_then(|()| topic_name(state, key, &topic.name));
        let partitions = topic.partitions.iter().map(|partition| {
            // What is not there is said first, whoever asks.
            let done = name.clone().and_then(|name| {
                check_partition(state, call, &name, partition.partition_index)?;
                checked?;
                let committed = Committed {
                    offset: partition.committed_offset,
                    leader_epoch: partition.committed_leader_epoch,
                    metadata: partition.committed_metadata.clone().unwrap_or_default(),
                    number: 0,
                };
                commit_one(state, &request.group_id, (&name, partition.partition_index), committed, None)
            });
            OffsetCommitResponsePartition {
                partition_index: partition.partition_index,
                error_code: done.err().unwrap_or(Code::NONE).get(),
                ..OffsetCommitResponsePartition::default()
            }
        });
        let partitions = partitions.collect();
        OffsetCommitResponseTopic {
            name: topic.name.clone(),
            topic_id: topic.topic_id,
            partitions,
            ..OffsetCommitResponseTopic::default()
        }
    });
    let topics = topics.collect();
    OffsetCommitResponse { topics, ..OffsetCommitResponse::default() }
}

/// Whether the group takes commits from who asks.
fn check_commit(state: &mut State, call: &Call, request: &OffsetCommitRequest) -> Result<(), Code> {
    check_group(state, call, &request.group_id)?;
    let named = request.topics.iter().flat_map(|topic| {
        let numbers = topic.partitions.iter().map(|partition| partition.partition_index);
        by_id(state, key(call, BY_ID, topic.topic_id, &topic.name), numbers)
    });
    let partitions: Vec<_> = named.collect();
    let by = Committer {
        generation: request.generation_id_or_member_epoch,
        member_id: &request.member_id,
        instance: request.group_instance_id.as_ref(),
        knows_epochs: call.version >= KNOWS_EPOCHS,
        assignment_epochs: state.settings.group_assignment_epochs,
        partitions: &partitions,
    };
    ensure_group(state, &request.group_id, by, call.version >= SAYS_UNKNOWN)?;
    let check = |group: &mut Group| group.check_commit(call.now, by);
    state.with_group(&request.group_id, check).unwrap_or(Err(Code::UNKNOWN_MEMBER_ID))
}

/// Makes the group if it is not there and who commits does not claim to be its member.
fn ensure_group(state: &mut State, id: &Str, by: Committer<'_>, says_unknown: bool) -> Result<(), Code> {
    if state.has_group(id) {
        Ok(())
    } else if state.share.has_group(id) {
        Err(Code::GROUP_ID_NOT_FOUND)
    } else if by.generation >= 0 {
        Err(if says_unknown { Code::GROUP_ID_NOT_FOUND } else { Code::ILLEGAL_GENERATION })
    } else if state.ensure_group(id) {
        Ok(())
    } else {
        Err(Code::COORDINATOR_NOT_AVAILABLE)
    }
}

/// Whether the partition is there, and no fault rule refuses it.
fn check_partition(state: &State, call: &Call, topic: &Str, index: i32) -> Result<(), Code> {
    let found = state.topic(topic).and_then(|topic| topic.partition(index));
    found.ok_or(Code::UNKNOWN_TOPIC_OR_PARTITION)?;
    call.refused(topic, index).map_or(Ok(()), Err)
}

fn commit_one(
    state: &mut State,
    group: &Str,
    partition: (&Str, i32),
    committed: Committed,
    producer_id: Option<i64>,
) -> Result<(), Code> {
    if committed.metadata.len() > state.settings.offset_metadata_max_bytes {
        return Err(Code::OFFSET_METADATA_TOO_LARGE);
    }
    let limit = state.limits.offsets_per_group;
    let commit = |group: &mut Group| group.commit(partition, committed, producer_id, limit);
    let done = state.with_group(group, commit).unwrap_or(false);
    if done { Ok(()) } else { Err(Code::POLICY_VIOLATION) }
}

/// How a request of this version names a topic, if it does so by id from another version on.
fn key<'a>(call: &Call, by_id: i16, id: Uuid, name: &'a Str) -> TopicKey<'a> {
    if call.version >= by_id { TopicKey::Id(id) } else { TopicKey::Name(name) }
}

/// These partitions of a topic by its id; none if it is not there.
fn by_id(
    state: &State,
    key: TopicKey<'_>,
    numbers: impl Iterator<Item = i32>,
) -> impl Iterator<Item = (Uuid, i32)> {
    let id = state.find_topic(key).ok().map(|topic| topic.id);
    numbers.filter_map(move |number| Some((id?, number)))
}

/// The name under which a topic's offsets are kept; the topic must be there and allowed.
fn topic_name(state: &State, key: TopicKey<'_>, name: &Str) -> Result<Str, Code> {
    let found = state.find_topic(key).map(|topic| topic.name.clone());
    let known = found.as_ref().unwrap_or(name);
    if state.is_denied(Resource::Topic, known) {
        return Err(Code::TOPIC_AUTHORIZATION_FAILED);
    }
    found
}

pub(super) fn fetch(state: &State, call: &Call, request: &OffsetFetchRequest) -> OffsetFetchResponse {
    if call.version >= FETCH_MANY {
        let groups = request
            .groups
            .iter()
            .map(|group| fetch_group(state, call, group, request.require_stable))
            .collect();
        return OffsetFetchResponse { groups, ..OffsetFetchResponse::default() };
    }
    // One group, in the words of the newer versions.
    let topics = request.topics.as_ref().map(|topics| {
        let topics = topics.iter().map(|topic| OffsetFetchRequestTopics {
            name: topic.name.clone(),
            partition_indexes: topic.partition_indexes.clone(),
            ..OffsetFetchRequestTopics::default()
        });
        topics.collect()
    });
    let group = OffsetFetchRequestGroup { group_id: request.group_id.clone(), topics, ..Default::default() };
    let fetched = fetch_group(state, call, &group, request.require_stable);
    let failed = fetched.error_code;
    let topics = if failed != 0 && call.version < TOP_LEVEL_ERROR {
        group.topics.iter().flatten().map(|topic| failed_topic(topic, failed)).collect()
    } else {
        fetched.topics
    };
    OffsetFetchResponse {
        topics: topics.into_iter().map(|topic| old_topic(call, topic)).collect(),
        error_code: if call.version < TOP_LEVEL_ERROR { 0 } else { failed },
        ..OffsetFetchResponse::default()
    }
}

fn fetch_group(
    state: &State,
    call: &Call,
    wanted: &OffsetFetchRequestGroup,
    stable: bool,
) -> OffsetFetchResponseGroup {
    let answer = |topics, code: Code| OffsetFetchResponseGroup {
        group_id: wanted.group_id.clone(),
        topics,
        error_code: code.get(),
        ..OffsetFetchResponseGroup::default()
    };
    if let Err(code) = check_group(state, call, &wanted.group_id) {
        return answer(Vec::new(), code);
    }
    let group = state.group(&wanted.group_id);
    let topics = match &wanted.topics {
        Some(topics) => topics.iter().map(|topic| fetch_topic(state, call, group, topic, stable)).collect(),
        None => group.map(|group| everything(state, group, stable)).unwrap_or_default(),
    };
    answer(topics, Code::NONE)
}

fn fetch_topic(
    state: &State,
    call: &Call,
    group: Option<&Group>,
    wanted: &OffsetFetchRequestTopics,
    stable: bool,
) -> OffsetFetchResponseTopics {
    // What was committed can be read even if the topic is no longer there, unless it is named by id.
    let name = match topic_name(state, key(call, BY_ID, wanted.topic_id, &wanted.name), &wanted.name) {
        Err(Code::UNKNOWN_TOPIC_OR_PARTITION) => wanted.name.clone(),
        Err(code) => return failed_topic(wanted, code.get()),
        Ok(name) => name,
    };
    let partitions = wanted.partition_indexes.iter().map(|&index| match call.refused(&name, index) {
        Some(code) => fetched(index, None, code.get()),
        None => {
            group.map_or_else(|| fetched(index, None, 0), |group| fetched_of(group, &name, index, stable))
        }
    });
    OffsetFetchResponseTopics {
        name: wanted.name.clone(),
        topic_id: wanted.topic_id,
        partitions: partitions.collect(),
        ..OffsetFetchResponseTopics::default()
    }
}

fn failed_topic(wanted: &OffsetFetchRequestTopics, code: i16) -> OffsetFetchResponseTopics {
    OffsetFetchResponseTopics {
        name: wanted.name.clone(),
        topic_id: wanted.topic_id,
        partitions: wanted.partition_indexes.iter().map(|&index| fetched(index, None, code)).collect(),
        ..OffsetFetchResponseTopics::default()
    }
}

/// All offsets of a group, but those of topics that nobody may see.
fn everything(state: &State, group: &Group, stable: bool) -> Vec<OffsetFetchResponseTopics> {
    let mut topics: BTreeMap<&Str, Vec<OffsetFetchResponsePartitions>> = BTreeMap::new();
    for (name, index) in group.all_committed() {
        if !state.is_denied(Resource::Topic, name) {
            topics.entry(name).or_default().push(fetched_of(group, name, *index, stable));
        }
    }
    let topics = topics.into_iter().map(|(name, partitions)| OffsetFetchResponseTopics {
        name: name.clone(),
        topic_id: state.topic(name).map(|topic| topic.id).unwrap_or_default(),
        partitions,
        ..OffsetFetchResponseTopics::default()
    });
    topics.collect()
}

/// What a group has committed for a partition. Who wants it stable is told to come again while a transaction may change
/// it (KIP-447).
fn fetched_of(group: &Group, topic: &Str, index: i32, stable: bool) -> OffsetFetchResponsePartitions {
    if stable && group.is_unstable(topic, index) {
        return fetched(index, None, Code::UNSTABLE_OFFSET_COMMIT.get());
    }
    fetched(index, group.committed(topic, index), 0)
}

/// What is committed for a partition; -1 where nothing is.
fn fetched(index: i32, committed: Option<&Committed>, code: i16) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions {
        partition_index: index,
        committed_offset: committed.map_or(-1, |committed| committed.offset),
        committed_leader_epoch: committed.map_or(-1, |committed| committed.leader_epoch),
        metadata: Some(committed.map(|committed| committed.metadata.clone()).unwrap_or_default()),
        error_code: code,
        ..OffsetFetchResponsePartitions::default()
    }
}

fn old_topic(call: &Call, topic: OffsetFetchResponseTopics) -> OffsetFetchResponseTopic {
    let partitions = topic.partitions.into_iter().map(|partition| OffsetFetchResponsePartition {
        partition_index: partition.partition_index,
        committed_offset: partition.committed_offset,
        committed_leader_epoch: if call.version >= WITH_EPOCH {
            partition.committed_leader_epoch
        } else {
            -1
        },
        metadata: partition.metadata,
        error_code: partition.error_code,
        ..OffsetFetchResponsePartition::default()
    });
    OffsetFetchResponseTopic { name: topic.name, partitions: partitions.collect(), ..Default::default() }
}
