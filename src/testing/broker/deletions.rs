//! DeleteTopics.

use std::collections::BTreeSet;

use super::call::Call;
use super::state::{State, TopicKey};
use crate::error::{Code, Resource};
use crate::wire::messages::delete_topics_request::DeleteTopicState;
use crate::wire::messages::delete_topics_response::DeletableTopicResult;
use crate::wire::messages::{DeleteTopicsRequest, DeleteTopicsResponse};
use crate::wire::str::Str;
use crate::wire::uuid::Uuid;

/// The first version that may name topics by id.
const BY_ID: i16 = 6;

/// A topic as a request names it: by one of the two.
type Named = (Option<Str>, Uuid);

pub(super) fn delete(state: &mut State, call: &Call, request: &DeleteTopicsRequest) -> DeleteTopicsResponse {
    let by_name = request.topic_names.iter().map(|name| (Some(name.clone()), Uuid::ZERO));
    let by_either =
        request.topics.iter().map(|DeleteTopicState { name, topic_id, .. }| (name.clone(), *topic_id));
    let wanted: Vec<Named> = if call.version < BY_ID { by_name.collect() } else { by_either.collect() };
    let mut responses = Vec::with_capacity(wanted.len());
    let mut said = BTreeSet::new();
    for named in &wanted {
        let (name, id) = match confused(state, named, &wanted) {
            Some((subject, message)) => {
                // What is named twice is refused once.
                if subject == (None, Uuid::ZERO) || said.insert(subject.clone()) {
                    responses.push(result(subject, Err((Code::INVALID_REQUEST, message))));
                }
                continue;
            }
            None => named,
        };
        responses.push(match delete_one(state, call, name.as_ref(), *id) {
            Ok(deleted) => result(deleted, Ok(())),
            Err(code) => result(named.clone(), Err((code, words(code)))),
        });
    }
    DeleteTopicsResponse { responses, ..DeleteTopicsResponse::default() }
}

/// Whether a topic is not named clearly: what is refused, and why.
fn confused(state: &State, named: &Named, wanted: &[Named]) -> Option<(Named, &'static str)> {
    let times = wanted.iter().filter(|other| *other == named).count();
    match named {
        (Some(_), id) if !id.is_zero() => {
            Some((named.clone(), "You may not specify both topic name and topic id."))
        }
        (None, id) if id.is_zero() => Some((named.clone(), "Neither topic name nor id were specified.")),
        (Some(_), _) if times > 1 => Some((named.clone(), "Duplicate topic name.")),
        (None, _) if times > 1 => Some((named.clone(), "Duplicate topic id.")),
        (name, id) => {
            let topic = match name {
                Some(name) => state.topic(name),
                None => state.topic_by_id(*id),
            }?;
            let both = (Some(topic.name.clone()), topic.id);
            let names = |other: &Named| other.0.as_ref() == Some(&topic.name) && other.1.is_zero();
            let ids = |other: &Named| other.0.is_none() && other.1 == topic.id;
            let twice = wanted.iter().any(names) && wanted.iter().any(ids);
            twice.then_some((both, "The provided topic name maps to an ID that was already supplied."))
        }
    }
}

fn words(code: Code) -> &'static str {
    match code {
        Code::UNKNOWN_TOPIC_OR_PARTITION => "This server does not host this topic-partition.",
        Code::UNKNOWN_TOPIC_ID => "This server does not host this topic ID.",
        Code::TOPIC_AUTHORIZATION_FAILED => "Topic authorization failed.",
        _ => "Refused by a fault rule.",
    }
}

fn result((name, topic_id): Named, done: Result<(), (Code, &'static str)>) -> DeletableTopicResult {
    let (code, message) = done.err().unzip();
    DeletableTopicResult {
        name,
        topic_id,
        error_code: code.unwrap_or(Code::NONE).get(),
        error_message: message.map(Str::from),
        ..DeletableTopicResult::default()
    }
}

fn delete_one(state: &mut State, call: &Call, name: Option<&Str>, id: Uuid) -> Result<Named, Code> {
    let key = name.map_or(TopicKey::Id(id), TopicKey::Name);
    let name = match (state.find_topic(key), name) {
        (Ok(topic), _) => topic.name.clone(),
        (Err(_), Some(name)) if state.is_denied(Resource::Topic, name) => {
            return Err(Code::TOPIC_AUTHORIZATION_FAILED);
        }
        (Err(code), _) => return Err(code),
    };
    if state.is_denied(Resource::Topic, &name) {
        return Err(Code::TOPIC_AUTHORIZATION_FAILED);
    }
    if let Some(code) = call.refused_topic(&name) {
        return Err(code);
    }
    let topic = state.delete_topic(&name).ok_or(Code::UNKNOWN_TOPIC_OR_PARTITION)?;
    Ok((Some(topic.name), topic.id))
}
