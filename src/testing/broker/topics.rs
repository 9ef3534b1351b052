//! CreateTopics.

use std::collections::BTreeMap;

use super::call::Call;
use super::config::TopicConfig;
use super::state::State;
use crate::error::{Code, Resource};
use crate::wire::messages::create_topics_request::{CreatableReplicaAssignment, CreatableTopic};
use crate::wire::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use crate::wire::messages::{CreateTopicsRequest, CreateTopicsResponse};
use crate::wire::str::Str;

/// A code and Kafka's words for it.
type Problem = (Code, String);

/// What a topic will be.
struct Plan {
    partitions: i32,
    replication_factor: i16,
    assignment: Option<Vec<Vec<i32>>>,
    config: TopicConfig,
}

pub(super) fn create(state: &mut State, call: &Call, request: &CreateTopicsRequest) -> CreateTopicsResponse {
    let mut times: BTreeMap<&Str, usize> = BTreeMap::new();
    for topic in &request.topics {
        *times.entry(&topic.name).or_default() += 1;
    }
    let mut topics: Vec<CreatableTopicResult> = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        if topics.iter().any(|result| result.name == topic.name) {
            continue;
        }
        let planned = if times.get(&topic.name).is_some_and(|times| *times > 1) {
            Err((Code::INVALID_REQUEST, "Duplicate topic name.".to_owned()))
        } else {
            plan(state, call, topic)
        };
        topics.push(match planned {
            Ok(plan) => carry_out(state, topic, plan, request.validate_only),
            Err((code, message)) => CreatableTopicResult {
                name: topic.name.clone(),
                error_code: code.get(),
                error_message: Some(message.into()),
                ..CreatableTopicResult::default()
            },
        });
    }
    CreateTopicsResponse { topics, ..CreateTopicsResponse::default() }
}

fn plan(state: &State, call: &Call, topic: &CreatableTopic) -> Result<Plan, Problem> {
    if state.is_denied(Resource::Topic, &topic.name) || state.is_denied(Resource::Cluster, &Str::default()) {
        return Err((Code::TOPIC_AUTHORIZATION_FAILED, "Authorization failed.".to_owned()));
    }
    if let Some(code) = call.refused_topic(&topic.name) {
        return Err((code, "Refused by a fault rule.".to_owned()));
    }
    state.check_new_topic(&topic.name)?;
    let mut config = TopicConfig::default();
    for setting in &topic.configs {
        let set = match &setting.value {
            Some(value) => config.set(&setting.name, value),
            None => Err(format!("Null value not supported for topic configs: {}", setting.name)),
        };
        set.map_err(|message| (Code::INVALID_CONFIG, message))?;
    }
    let (partitions, replication_factor, assignment) = if topic.assignments.is_empty() {
        let (partitions, factor) = numbers(state, topic)?;
        (partitions, factor, None)
    } else {
        let assignment = assigned(state, topic)?;
        let factor = assignment.first().map_or(0, Vec::len);
        // Both are limited by what a request can list and a cluster can hold.
        (as_i32(assignment.len()), i16::try_from(factor).unwrap_or(i16::MAX), Some(assignment))
    };
    Ok(Plan { partitions, replication_factor, assignment, config })
}

/// How many partitions and replicas, where the brokers choose the nodes.
fn numbers(state: &State, topic: &CreatableTopic) -> Result<(i32, i16), Problem> {
    let alive = as_i32(state.live_nodes().count());
    let partitions = match topic.num_partitions {
        -1 => state.settings.default_partitions,
        number => number,
    };
    let limit = as_i32(state.limits.partitions_per_topic);
    if !(1..=limit).contains(&partitions) {
        let message = format!("Number of partitions was {partitions}, must be from 1 to {limit}.");
        return Err((Code::INVALID_PARTITIONS, message));
    }
    let factor = match topic.replication_factor {
        -1 => state.settings.default_replication_factor.min(i16::try_from(alive).unwrap_or(i16::MAX)),
        number => number,
    };
    if factor < 1 {
        let message = "Replication factor must be larger than 0, or -1 to use the default value.";
        return Err((Code::INVALID_REPLICATION_FACTOR, message.to_owned()));
    }
    if i32::from(factor) > alive {
        let message = format!(
            "Unable to replicate the partition {factor} time(s): \
             The target replication factor of {factor} cannot be reached because only {alive} broker(s) are registered."
        );
        return Err((Code::INVALID_REPLICATION_FACTOR, message));
    }
    Ok((partitions, factor))
}

/// The nodes of each partition, where the request says them.
fn assigned(state: &State, topic: &CreatableTopic) -> Result<Vec<Vec<i32>>, Problem> {
    if topic.num_partitions != -1 || topic.replication_factor != -1 {
        let message = "A manual partition assignment was specified, but the numbers were not set to -1.";
        return Err((Code::INVALID_REQUEST, message.to_owned()));
    }
    let invalid = |message: &str| Err((Code::INVALID_REPLICA_ASSIGNMENT, message.to_owned()));
    let mut assignment: Vec<&CreatableReplicaAssignment> = topic.assignments.iter().collect();
    assignment.sort_by_key(|partition| partition.partition_index);
    let count = assignment.len();
    if count > state.limits.partitions_per_topic {
        return invalid("More partitions than the embedded cluster takes.");
    }
    if assignment.iter().zip(0..).any(|(partition, index)| partition.partition_index != index) {
        return invalid("Partitions should be a consecutive 0-based integer sequence.");
    }
    let factor = assignment.first().map_or(0, |partition| partition.broker_ids.len());
    for partition in &assignment {
        let nodes = &partition.broker_ids;
        if nodes.is_empty() || nodes.len() != factor {
            return invalid("All partitions must have the same number of replicas, and at least one.");
        }
        if nodes.iter().any(|node| !state.nodes.contains_key(node)) {
            return invalid("The manual partition assignment names a broker that is not registered.");
        }
        if nodes.iter().enumerate().any(|(at, node)| nodes.iter().take(at).any(|other| other == node)) {
            return invalid("The manual partition assignment names a broker twice.");
        }
    }
    Ok(assignment.into_iter().map(|partition| partition.broker_ids.clone()).collect())
}

fn carry_out(
    state: &mut State,
    topic: &CreatableTopic,
    plan: Plan,
    validate_only: bool,
) -> CreatableTopicResult {
    let configs = plan.config.all(&state.settings).map(|(name, value, source)| CreatableTopicConfigs {
        name: name.into(),
        value: Some(value),
        config_source: source,
        ..CreatableTopicConfigs::default()
    });
    let configs = configs.collect();
    let topic_id = if validate_only {
        // An id that the topic might have had.
        state.uuid()
    } else {
        let partitions = usize::try_from(plan.partitions).unwrap_or(0);
        let replicas = usize::try_from(plan.replication_factor).unwrap_or(0);
        let assignment = plan.assignment.unwrap_or_else(|| state.assign(partitions, replicas));
        state.create_topic(topic.name.clone(), assignment, plan.config)
    };
    CreatableTopicResult {
        name: topic.name.clone(),
        topic_id,
        error_message: None,
        num_partitions: plan.partitions,
        replication_factor: plan.replication_factor,
        configs: Some(configs),
        ..CreatableTopicResult::default()
    }
}

fn as_i32(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
