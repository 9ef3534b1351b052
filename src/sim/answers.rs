//! What answers say, for the list of what was met.

use crate::{
    engine::machine::Outcome,
    error::{Code, Error},
    wire::calls::Response,
};

/// Notes what an answer says, or how it was missed.
pub(super) fn note(outcome: &Outcome, met: &mut Vec<String>) {
    let answer = match outcome {
        Ok(answer) => answer,
        Err(failure) if failure.maybe_sent => return met.push("no answer: maybe sent".to_owned()),
        Err(_) => return met.push("no answer: not sent".to_owned()),
    };
    let name = format!("{:?}", answer.response.key());
    if let Response::Fetch(response) = &answer.response {
        let mut partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
        if partitions.any(|partition| partition.preferred_read_replica >= 0) {
            met.push("Fetch: another replica is nearer".to_owned());
        }
    }
    for code in codes(&answer.response) {
        let code = Code::new(code);
        match code.name() {
            Some(code) => met.push(format!("{name}: {code}")),
            None => met.push(format!("{name}: code {}", code.get())),
        }
    }
}

fn codes(response: &Response) -> Vec<i16> {
    match response {
        Response::Produce(r) => {
            let partitions = r.responses.iter().flat_map(|topic| &topic.partition_responses);
            partitions.map(|partition| partition.error_code).collect()
        }
        Response::Fetch(r) if r.error_code != 0 => vec![r.error_code],
        Response::Fetch(r) => {
            let partitions = r.responses.iter().flat_map(|topic| &topic.partitions);
            partitions.map(|partition| partition.error_code).collect()
        }
        Response::ListOffsets(r) => {
            let partitions = r.topics.iter().flat_map(|topic| &topic.partitions);
            partitions.map(|partition| partition.error_code).collect()
        }
        Response::OffsetCommit(r) => {
            let partitions = r.topics.iter().flat_map(|topic| &topic.partitions);
            partitions.map(|partition| partition.error_code).collect()
        }
        Response::OffsetFetch(r) if r.error_code != 0 => vec![r.error_code],
        Response::OffsetFetch(r) => {
            let partitions = r.topics.iter().flat_map(|topic| &topic.partitions);
            partitions.map(|partition| partition.error_code).collect()
        }
        Response::TxnOffsetCommit(r) => {
            let partitions = r.topics.iter().flat_map(|topic| &topic.partitions);
            partitions.map(|partition| partition.error_code).collect()
        }
        Response::AddPartitionsToTxn(r) => {
            let topics = r.results_by_topic_v3_and_below.iter();
            let partitions = topics.flat_map(|topic| &topic.results_by_partition);
            partitions.map(|partition| partition.partition_error_code).collect()
        }
        Response::AddOffsetsToTxn(r) => vec![r.error_code],
        Response::EndTxn(r) => vec![r.error_code],
        Response::FindCoordinator(r) if !r.coordinators.is_empty() => {
            r.coordinators.iter().map(|found| found.error_code).collect()
        }
        Response::FindCoordinator(r) => vec![r.error_code],
        Response::JoinGroup(r) => vec![r.error_code],
        Response::SyncGroup(r) => vec![r.error_code],
        Response::ConsumerGroupHeartbeat(r) => vec![r.error_code],
        Response::Heartbeat(r) => vec![r.error_code],
        Response::LeaveGroup(r) => vec![r.error_code],
        Response::InitProducerId(r) => vec![r.error_code],
        _ => Vec::new(),
    }
}

/// An error in a few words: its code, or what kind it is.
pub(super) fn brief(error: &Error) -> String {
    if let Some(code) = error.code() {
        return code.to_string();
    }
    let text = format!("{:?}", error.kind());
    text.split([' ', '{', '(']).next().unwrap_or_default().to_owned()
}
