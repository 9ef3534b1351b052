//! Metadata and DescribeCluster: who is in the cluster and who leads what.

use super::call::Call;
use super::config::TopicConfig;
use super::state::{State, TopicKey};
use super::topic::{Partition, Topic};
use crate::error::{Code, Resource};
use crate::types::TopicName;
use crate::wire::messages::describe_cluster_response::DescribeClusterBroker;
use crate::wire::messages::metadata_request::MetadataRequestTopic;
use crate::wire::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use crate::wire::messages::{
    DescribeClusterRequest, DescribeClusterResponse, MetadataRequest, MetadataResponse,
};
use crate::wire::str::Str;

/// The first version that may ask by topic id.
const BY_ID: i16 = 12;
/// All that can be done with a cluster and with a topic, as the bits of Kafka's `AclOperation`.
const CLUSTER_OPERATIONS: i32 = 8_096;
const TOPIC_OPERATIONS: i32 = 3_576;

pub(super) fn metadata(state: &mut State, call: &Call, request: &MetadataRequest) -> MetadataResponse {
    if let Some(code) = refusal(call, request) {
        return refused(request, code);
    }
    let all = match &request.topics {
        None => true,
        // Version 0 has no null.
        Some(topics) => call.version == 0 && topics.is_empty(),
    };
    let operations = |asked: bool, operations: i32| if asked { operations } else { i32::MIN };
    let mut topics: Vec<MetadataResponseTopic> = if all {
        let visible = state.topics().filter(|topic| !state.is_denied(Resource::Topic, &topic.name));
        visible.map(|topic| described(state, call, topic)).collect()
    } else {
        let create = request.allow_auto_topic_creation && state.settings.auto_create_topics;
        wanted(request).into_iter().map(|topic| one_topic(state, call, topic, create)).collect()
    };
    for topic in topics.iter_mut().filter(|topic| topic.error_code == 0) {
        let asked = request.include_topic_authorized_operations;
        topic.topic_authorized_operations = operations(asked, TOPIC_OPERATIONS);
    }
    let brokers = state.live_nodes().map(|(node_id, node)| MetadataResponseBroker {
        node_id,
        host: node.host.clone(),
        port: node.port,
        rack: node.rack.clone(),
        ..MetadataResponseBroker::default()
    });
    MetadataResponse {
        brokers: brokers.collect(),
        cluster_id: Some(state.cluster_id.clone()),
        controller_id: state.controller(),
        topics,
        cluster_authorized_operations: operations(
            request.include_cluster_authorized_operations,
            CLUSTER_OPERATIONS,
        ),
        ..MetadataResponse::default()
    }
}

/// Each topic once; where any is asked for by its id, those that are not are passed over.
fn wanted(request: &MetadataRequest) -> Vec<&MetadataRequestTopic> {
    let topics = || request.topics.iter().flatten();
    let by_id = topics().any(|topic| !topic.topic_id.is_zero());
    let mut wanted: Vec<&MetadataRequestTopic> = Vec::new();
    for topic in topics().filter(|topic| !by_id || !topic.topic_id.is_zero()) {
        let same = |other: &&MetadataRequestTopic| {
            if by_id { other.topic_id == topic.topic_id } else { other.name == topic.name }
        };
        if !wanted.iter().any(same) {
            wanted.push(topic);
        }
    }
    wanted
}

/// Why a request is refused as a whole: it asks by id where that cannot be, or by nothing.
fn refusal(call: &Call, request: &MetadataRequest) -> Option<Code> {
    let topics = || request.topics.iter().flatten();
    if call.version < BY_ID && topics().any(|topic| topic.name.is_none() || !topic.topic_id.is_zero()) {
        return Some(Code::INVALID_REQUEST);
    }
    // Kafka does not expect this, and fails over it.
    let by_id = topics().any(|topic| !topic.topic_id.is_zero());
    (!by_id && topics().any(|topic| topic.name.is_none())).then_some(Code::UNKNOWN_SERVER_ERROR)
}

fn refused(request: &MetadataRequest, code: Code) -> MetadataResponse {
    let topics = request.topics.iter().flatten().map(|topic| MetadataResponseTopic {
        error_code: code.get(),
        name: Some(topic.name.clone().unwrap_or_default()),
        topic_id: topic.topic_id,
        ..MetadataResponseTopic::default()
    });
    MetadataResponse { topics: topics.collect(), error_code: code.get(), ..MetadataResponse::default() }
}

fn one_topic(
    state: &mut State,
    call: &Call,
    wanted: &MetadataRequestTopic,
    create: bool,
) -> MetadataResponseTopic {
    let failed = |code: Code, name: Option<Str>| MetadataResponseTopic {
        error_code: code.get(),
        // Null is a name's absence from version 12 on.
        name: name.or_else(|| (call.version < BY_ID).then(Str::default)),
        topic_id: wanted.topic_id,
        ..MetadataResponseTopic::default()
    };
    let key = match &wanted.name {
        Some(name) if wanted.topic_id.is_zero() => TopicKey::Name(name),
        _ => TopicKey::Id(wanted.topic_id),
    };
    match state.find_topic(key) {
        Ok(topic) if state.is_denied(Resource::Topic, &topic.name) => {
            failed(Code::TOPIC_AUTHORIZATION_FAILED, wanted.name.clone())
        }
        Ok(topic) => described(state, call, topic),
        Err(code) => {
            let Some(name) = &wanted.name else { return failed(code, None) };
            if state.is_denied(Resource::Topic, name) {
                return failed(Code::TOPIC_AUTHORIZATION_FAILED, Some(name.clone()));
            }
            if TopicName::check(name).is_err() {
                return failed(Code::INVALID_TOPIC_EXCEPTION, Some(name.clone()));
            }
            if create {
                auto_create(state, name);
            }
            // Also of a topic that is being created: the next request finds it.
            failed(code, Some(name.clone()))
        }
    }
}

fn auto_create(state: &mut State, name: &Str) {
    if state.check_new_topic(name).is_err() {
        return;
    }
    let partitions = usize::try_from(state.settings.default_partitions).unwrap_or(1);
    let replicas = usize::try_from(state.settings.default_replication_factor).unwrap_or(1);
    let assignment = state.assign(partitions, replicas);
    state.create_topic(name.clone(), assignment, TopicConfig::default());
}

fn described(state: &State, call: &Call, topic: &Topic) -> MetadataResponseTopic {
    if let Some(code) = call.refused_topic(&topic.name) {
        return MetadataResponseTopic {
            error_code: code.get(),
            name: Some(topic.name.clone()),
            topic_id: topic.id,
            ..MetadataResponseTopic::default()
        };
    }
    let partitions = topic.partitions.iter().zip(0..);
    MetadataResponseTopic {
        name: Some(topic.name.clone()),
        topic_id: topic.id,
        partitions: partitions
            .map(|(partition, index)| {
                let mut described = describe_partition(state, partition, index);
                if let Some(code) = call.refused(&topic.name, index) {
                    described.error_code = code.get();
                }
                described
            })
            .collect(),
        ..MetadataResponseTopic::default()
    }
}

fn describe_partition(state: &State, partition: &Partition, index: i32) -> MetadataResponsePartition {
    let code = if partition.leader.is_some() { Code::NONE } else { Code::LEADER_NOT_AVAILABLE };
    let offline = partition.replicas.iter().copied().filter(|node| !state.is_up(*node));
    MetadataResponsePartition {
        error_code: code.get(),
        partition_index: index,
        leader_id: partition.leader.unwrap_or(-1),
        leader_epoch: partition.leader_epoch,
        replica_nodes: partition.replicas.clone(),
        isr_nodes: partition.in_sync.clone(),
        offline_replicas: offline.collect(),
        ..MetadataResponsePartition::default()
    }
}

/// `EndpointType` of the protocol.
const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

pub(super) fn describe_cluster(
    state: &State,
    call: &Call,
    request: &DescribeClusterRequest,
) -> DescribeClusterResponse {
    if call.version >= 1 && request.endpoint_type != BROKERS {
        let (code, message) = match request.endpoint_type {
            CONTROLLERS => {
                (Code::MISMATCHED_ENDPOINT_TYPE, "The request was sent to an endpoint of the wrong type.")
            }
            _ => (Code::UNSUPPORTED_ENDPOINT_TYPE, "There is no such type of endpoint."),
        };
        return DescribeClusterResponse {
            error_code: code.get(),
            error_message: Some(message.into()),
            ..DescribeClusterResponse::default()
        };
    }
    let shown = state.nodes.iter().filter(|(_, node)| node.up || request.include_fenced_brokers);
    let brokers = shown.map(|(&broker_id, node)| DescribeClusterBroker {
        broker_id,
        host: node.host.clone(),
        port: node.port,
        rack: node.rack.clone(),
        is_fenced: !node.up,
        ..DescribeClusterBroker::default()
    });
    DescribeClusterResponse {
        cluster_id: state.cluster_id.clone(),
        controller_id: state.controller(),
        brokers: brokers.collect(),
        cluster_authorized_operations: if request.include_cluster_authorized_operations {
            CLUSTER_OPERATIONS
        } else {
            i32::MIN
        },
        ..DescribeClusterResponse::default()
    }
}
