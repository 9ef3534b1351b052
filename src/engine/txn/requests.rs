//! What brokers are told of a transaction, and what their answers say.

use std::collections::{BTreeMap, BTreeSet};

use super::{open::OffsetsOf, protocol::Protocol};
use crate::{
    engine::{partition::subject, producer_id::ProducerId},
    error::Code,
    types::{TopicName, TopicPartition},
    wire::{
        messages::{
            AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse,
            ApiVersionsResponse, EndTxnRequest, InitProducerIdRequest, TxnOffsetCommitRequest,
            TxnOffsetCommitResponse,
            add_partitions_to_txn_request::AddPartitionsToTxnTopic,
            txn_offset_commit_request::{TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic},
        },
        str::Str,
        uuid::Uuid,
        versions::{ApiKey, Versions},
    },
};

/// The newest version that is told of what it could see by itself.
pub(super) const LAST_TXN_OFFSET_COMMIT_OF_V1: i16 = 4;
pub(super) const LAST_END_TXN_OF_V1: i16 = 4;
/// The newest TxnOffsetCommit that names topics by name.
pub(super) const LAST_TXN_OFFSET_COMMIT_BY_NAME: i16 = 5;

pub(super) fn initialise(id: &Str, timeout_ms: i32, bump: ProducerId) -> InitProducerIdRequest {
    InitProducerIdRequest {
        transactional_id: Some(id.clone()),
        transaction_timeout_ms: timeout_ms,
        producer_id: bump.id,
        producer_epoch: bump.epoch,
        ..InitProducerIdRequest::default()
    }
}

pub(super) fn add_partitions<'a>(
    id: &Str,
    producer: ProducerId,
    partitions: impl IntoIterator<Item = &'a TopicPartition>,
) -> AddPartitionsToTxnRequest {
    let mut topics: BTreeMap<&TopicName, Vec<i32>> = BTreeMap::new();
    for partition in partitions {
        topics.entry(&partition.topic).or_default().push(partition.partition.0);
    }
    let topics = topics.into_iter().map(|(name, partitions)| AddPartitionsToTxnTopic {
        name: name.into(),
        partitions,
        ..AddPartitionsToTxnTopic::default()
    });
    AddPartitionsToTxnRequest {
        v3_and_below_transactional_id: id.clone(),
        v3_and_below_producer_id: producer.id,
        v3_and_below_producer_epoch: producer.epoch,
        v3_and_below_topics: topics.collect(),
        ..AddPartitionsToTxnRequest::default()
    }
}

pub(super) fn add_offsets(id: &Str, producer: ProducerId, group: &Str) -> AddOffsetsToTxnRequest {
    AddOffsetsToTxnRequest {
        transactional_id: id.clone(),
        producer_id: producer.id,
        producer_epoch: producer.epoch,
        group_id: group.clone(),
        ..AddOffsetsToTxnRequest::default()
    }
}

pub(super) fn commit_offsets(id: &Str, producer: ProducerId, offsets: &OffsetsOf) -> TxnOffsetCommitRequest {
    let mut topics: BTreeMap<&TopicName, TxnOffsetCommitRequestTopic> = BTreeMap::new();
    for (partition, committed) in &offsets.offsets {
        let topic = topics.entry(&partition.topic).or_insert_with(|| TxnOffsetCommitRequestTopic {
            name: (&partition.topic).into(),
            topic_id: offsets.topic_ids.get(&partition.topic).copied().unwrap_or(Uuid::ZERO),
            ..TxnOffsetCommitRequestTopic::default()
        });
        topic.partitions.push(TxnOffsetCommitRequestPartition {
            partition_index: partition.partition.0,
            committed_offset: committed.offset.0,
            committed_leader_epoch: committed.leader_epoch.unwrap_or(-1),
            committed_metadata: Some(committed.metadata.as_str().into()),
            ..TxnOffsetCommitRequestPartition::default()
        });
    }
    let mut request = TxnOffsetCommitRequest {
        transactional_id: id.clone(),
        group_id: offsets.group.group().into(),
        producer_id: producer.id,
        producer_epoch: producer.epoch,
        topics: topics.into_values().collect(),
        ..TxnOffsetCommitRequest::default()
    };
    if let Some(member) = &offsets.group.member {
        request.generation_id_or_member_epoch = member.generation;
        request.member_id = Str::from(&*member.member_id);
        request.group_instance_id = member.instance_id.as_deref().map(Str::from);
    }
    request
}

pub(super) fn end(id: &Str, producer: ProducerId, committed: bool) -> EndTxnRequest {
    EndTxnRequest {
        transactional_id: id.clone(),
        producer_id: producer.id,
        producer_epoch: producer.epoch,
        committed,
        ..EndTxnRequest::default()
    }
}

/// How a coordinator speaks of transactions: as the cluster has finalized, and as it itself can (KIP-890).
pub(super) fn protocol(response: &ApiVersionsResponse) -> Protocol {
    let versions = Versions::from_api_versions(response);
    let has = |key, version| versions.usable(key).is_some_and(|range| range.max >= version);
    let can = has(ApiKey::Produce, 12) && has(ApiKey::EndTxn, 5) && has(ApiKey::TxnOffsetCommit, 5);
    if can && versions.feature("transaction.version").is_some_and(|level| level >= 2) {
        Protocol::V2
    } else {
        Protocol::V1
    }
}

/// The partitions that were taken in, and the first code that says why others were not. An answer that misses a
/// partition leaves it to be asked for again.
pub(super) fn read_partitions(
    asked: &BTreeSet<TopicPartition>,
    response: &AddPartitionsToTxnResponse,
) -> (Vec<TopicPartition>, Option<(Code, String)>) {
    let mut joined = Vec::new();
    let mut refused: Option<(Code, String)> = None;
    for topic in &response.results_by_topic_v3_and_below {
        let name = TopicName::from(topic.name.as_str());
        for result in &topic.results_by_partition {
            let partition = TopicPartition::new(&name, result.partition_index);
            match Code::new(result.partition_error_code) {
                _ if !asked.contains(&partition) => {}
                Code::NONE => joined.push(partition),
                // The reason is another partition's.
                Code::OPERATION_NOT_ATTEMPTED if refused.is_some() => {}
                code if refused.as_ref().is_none_or(|(code, _)| *code == Code::OPERATION_NOT_ATTEMPTED) => {
                    refused = Some((code, subject(code, &partition)));
                }
                _ => {}
            }
        }
    }
    (joined, refused)
}

/// The first code that is one, and of which partition. None where the answer misses a partition.
pub(super) fn read_offsets(asked: &OffsetsOf, response: &TxnOffsetCommitResponse) -> (Option<Code>, String) {
    let mut told = BTreeMap::new();
    for topic in &response.topics {
        for partition in &topic.partitions {
            if let Some(name) = asked.name(&topic.name, topic.topic_id) {
                told.insert((name, partition.partition_index), Code::new(partition.error_code));
            }
        }
    }
    let mut first = (Some(Code::NONE), asked.group.group().to_owned());
    for partition in asked.offsets.keys() {
        match told.get(&(partition.topic.as_str(), partition.partition.0)) {
            None => return (None, partition.to_string()),
            Some(code) if !code.is_none() && first.0 == Some(Code::NONE) => {
                first = (Some(*code), offsets_subject(*code, asked, partition));
            }
            Some(_) => {}
        }
    }
    first
}

/// What is refused: the group, the topic, or the partition.
fn offsets_subject(code: Code, asked: &OffsetsOf, partition: &TopicPartition) -> String {
    match code {
        Code::TOPIC_AUTHORIZATION_FAILED
        | Code::UNKNOWN_TOPIC_OR_PARTITION
        | Code::UNKNOWN_TOPIC_ID
        | Code::OFFSET_METADATA_TOO_LARGE => subject(code, partition),
        _ => asked.group.group().to_owned(),
    }
}

impl OffsetsOf {
    /// Whether a topic's id is not known, so that all are named.
    pub(super) fn by_name(&self) -> bool {
        self.offsets.keys().any(|partition| !self.topic_ids.contains_key(&partition.topic))
    }

    /// The name of a topic in an answer, which from version 6 on has its id alone.
    fn name<'a>(&'a self, name: &'a str, id: Uuid) -> Option<&'a str> {
        if id == Uuid::ZERO {
            return Some(name);
        }
        let mut ids = self.topic_ids.iter();
        ids.find(|(_, known)| **known == id).map(|(name, _)| name.as_str())
    }
}
