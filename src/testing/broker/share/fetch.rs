//! ShareFetch: acknowledgements are taken, and records acquired.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::acknowledge::apply;
use super::acks::{self, Refusal};
use super::lookup::{find, leader, nodes};
use super::partition::{Plan, Run, SharePartition, Want};
use super::session::{FINAL_EPOCH, INITIAL_EPOCH, Key, SessionKey};
use super::sessions::{check_member, end_session};
use crate::engine::machine::{Now, deadline_after};
use crate::error::Code;
use crate::testing::broker::call::Call;
use crate::testing::broker::state::State;
use crate::wire::messages::share_fetch_response::{
    AcquiredRecords, LeaderIdAndEpoch, NodeEndpoint, PartitionData, ShareFetchableTopicResponse,
};
use crate::wire::messages::{ShareFetchRequest, ShareFetchResponse};

/// Whole batches are acquired, or no record more than is asked for (KIP-1206).
const BATCHES: i8 = 0;
const RECORD_LIMIT: i8 = 1;

/// A fetch of a share group's member, perhaps one that waits for records.
#[derive(Clone, Debug)]
pub(in crate::testing::broker) struct ShareFetch {
    session: SessionKey,
    /// Which of the member's sessions: its end is that of the waiting.
    number: Option<u64>,
    partitions: Vec<Key>,
    /// What came of the acknowledgements.
    acknowledged: BTreeMap<Key, Option<Refusal>>,
    min_bytes: usize,
    max_bytes: usize,
    max_records: usize,
    exactly: bool,
    batch_size: i32,
    pub(in crate::testing::broker) until: Instant,
}

/// What a partition answers.
#[derive(Debug, Default)]
struct Answer {
    code: Option<Code>,
    /// Why what was said of records does not count.
    refused: Option<Refusal>,
    records: Bytes,
    runs: Vec<Run>,
}

impl ShareFetch {
    /// Opens or goes on with the session, and takes the acknowledgements.
    pub(in crate::testing::broker) fn begin(
        state: &mut State,
        call: &Call,
        connection: u64,
        request: &ShareFetchRequest,
    ) -> Result<Self, Code> {
        let session = check_member(state, call, request.group_id.as_ref(), request.member_id.as_ref())?;
        check(request)?;
        if request.share_session_epoch == INITIAL_EPOCH {
            if acknowledges(request) {
                return Err(Code::INVALID_REQUEST);
            }
            let limit = state.settings.share_sessions;
            state.share.sessions.open(&session, connection, limit)?;
        } else {
            state.share.sessions.go_on(&session, request.share_session_epoch, connection)?;
        }
        let acknowledged = take_acks(state, call, &session, request);
        let mut partitions = Vec::new();
        if request.share_session_epoch == FINAL_EPOCH {
            end_session(state, &session);
        } else {
            let topics = request.topics.iter();
            let named = topics.flat_map(|t| t.partitions.iter().map(|p| (t.topic_id, p.partition_index)));
            let forgotten = request.forgotten_topics_data.iter();
            let forgotten = forgotten.flat_map(|t| t.partitions.iter().map(|index| (t.topic_id, *index)));
            state.share.sessions.update(&session, named, forgotten);
            if !request.is_renew_ack {
                partitions = state.share.sessions.partitions(&session);
            }
        }
        let limit = usize::try_from(state.settings.fetch_max_bytes).unwrap_or(0);
        let max_bytes = usize::try_from(request.max_bytes).unwrap_or(0).min(limit);
        let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
        Ok(Self {
            number: state.share.sessions.number(&session),
            session,
            partitions,
            acknowledged,
            // Nothing is nothing to answer with, however little is asked for.
            min_bytes: usize::try_from(request.min_bytes).unwrap_or(0).min(max_bytes).max(1),
            max_bytes,
            max_records: usize::try_from(request.max_records).unwrap_or(0),
            exactly: request.share_acquire_mode == RECORD_LIMIT,
            batch_size: request.batch_size,
            until: deadline_after(call.now, wait),
        })
    }

    /// Acquires what there is and answers, if there is a reason not to wait.
    pub(in crate::testing::broker) fn read(
        &self,
        state: &mut State,
        call: &Call,
        now: Now,
    ) -> Option<ShareFetchResponse> {
        let is_current = state.share.sessions.number(&self.session) == self.number;
        let partitions: &[Key] = if is_current { &self.partitions } else { &[] };
        let mut answers: BTreeMap<Key, Answer> = BTreeMap::new();
        let mut plans = Vec::new();
        let (mut records, mut bytes) = (0, 0);
        for key in partitions {
            match self.plan(state, call, *key, records, bytes) {
                Ok(plan) => {
                    records += plan.records();
                    bytes += plan.bytes();
                    plans.push((*key, plan));
                }
                Err(code) => answers.entry(*key).or_default().code = Some(code),
            }
        }
        let has_news = bytes >= self.min_bytes || !answers.is_empty() || !self.acknowledged.is_empty();
        if !has_news && !partitions.is_empty() && self.until > now.instant {
            return None;
        }
        for (key, plan) in &plans {
            let runs = self.acquire(state, now, *key, plan);
            if !runs.is_empty() {
                let answer = answers.entry(*key).or_default();
                (answer.records, answer.runs) = (plan.batches(), runs);
            }
        }
        for (key, refusal) in &self.acknowledged {
            answers.entry(*key).or_default().refused = *refusal;
        }
        Some(response(state, answers))
    }

    fn plan(
        &self,
        state: &mut State,
        call: &Call,
        key: Key,
        records: usize,
        bytes: usize,
    ) -> Result<Plan, Code> {
        let partition = find(state, call, key)?;
        let (log, epoch) = (partition.log.start()..partition.log.end(), partition.leader_epoch);
        let start = if state.settings.share_from_earliest { log.start } else { log.end };
        let limit = state.limits.groups;
        let make = || SharePartition::new(start, epoch);
        let shared = state.share.ensure_partition(&self.session.group, key, limit, make);
        let shared = shared.ok_or(Code::GROUP_MAX_SIZE_REACHED)?;
        shared.follow(log.clone(), epoch);
        let want = Want {
            records: self.max_records.saturating_sub(records),
            exactly: self.exactly,
            bytes: self.max_bytes.saturating_sub(bytes),
            whole_first: bytes == 0 && self.max_bytes > 0,
            locks: i64::try_from(state.settings.share_max_locks).unwrap_or(i64::MAX),
        };
        let partition = find(state, call, key)?;
        let shared = state.share.partition(&self.session.group, key).ok_or(Code::UNKNOWN_SERVER_ERROR)?;
        Ok(shared.plan(partition.log.spans(shared.start()), log.end, want))
    }

    fn acquire(&self, state: &mut State, now: Now, key: Key, plan: &Plan) -> Vec<Run> {
        let until = deadline_after(now, state.settings.share_lock_timeout);
        let Some(shared) = state.share.partition_mut(&self.session.group, key) else { return Vec::new() };
        shared.acquire(plan, &self.session.member, until, self.batch_size.into())
    }
}

/// What no member may say.
fn check(request: &ShareFetchRequest) -> Result<(), Code> {
    let fetches = [request.max_wait_ms, request.min_bytes, request.max_bytes, request.max_records];
    let renews_and_fetches = request.is_renew_ack && fetches.iter().any(|number| *number != 0);
    if !matches!(request.share_acquire_mode, BATCHES | RECORD_LIMIT) || renews_and_fetches {
        return Err(Code::INVALID_REQUEST);
    }
    Ok(())
}

fn acknowledges(request: &ShareFetchRequest) -> bool {
    let mut partitions = request.topics.iter().flat_map(|topic| &topic.partitions);
    partitions.any(|partition| !partition.acknowledgement_batches.is_empty())
}

/// Does what the request says about records; the code for each partition of which it says anything.
fn take_acks(
    state: &mut State,
    call: &Call,
    session: &SessionKey,
    request: &ShareFetchRequest,
) -> BTreeMap<Key, Option<Refusal>> {
    let partitions = request.topics.iter().flat_map(|t| t.partitions.iter().map(|p| (t.topic_id, p)));
    let with_acks = partitions.filter(|(_, partition)| !partition.acknowledgement_batches.is_empty());
    let taken = with_acks.map(|(topic, partition)| {
        let key = (topic, partition.partition_index);
        let runs = partition.acknowledgement_batches.iter();
        let runs = runs.map(|run| (run.first_offset, run.last_offset, &run.acknowledge_types));
        let acks = acks::of_runs(runs, request.is_renew_ack);
        let done = acks.and_then(|acks| apply(state, call, (&session.group, &session.member), key, &acks));
        (key, done.err())
    });
    taken.collect()
}

fn response(state: &State, answers: BTreeMap<Key, Answer>) -> ShareFetchResponse {
    let mut responses: Vec<ShareFetchableTopicResponse> = Vec::new();
    let mut leaders = BTreeSet::new();
    for (key @ (topic_id, _), answer) in answers {
        let code = [answer.code, answer.refused.map(|refusal| refusal.code)].into_iter().flatten();
        let leader = code.filter_map(|code| leader(state, key, code)).next();
        leaders.extend(leader.map(|(id, _)| id));
        let data = partition_data(key, answer, leader);
        match responses.last_mut().filter(|topic| topic.topic_id == topic_id) {
            Some(topic) => topic.partitions.push(data),
            None => responses.push(ShareFetchableTopicResponse {
                topic_id,
                partitions: vec![data],
                ..ShareFetchableTopicResponse::default()
            }),
        }
    }
    let endpoints = nodes(state, leaders).map(|(node_id, node)| NodeEndpoint {
        node_id,
        host: node.host.clone(),
        port: node.port,
        rack: node.rack.clone(),
        ..NodeEndpoint::default()
    });
    let lock = state.settings.share_lock_timeout.as_millis();
    ShareFetchResponse {
        acquisition_lock_timeout_ms: i32::try_from(lock).unwrap_or(i32::MAX),
        responses,
        node_endpoints: endpoints.collect(),
        ..ShareFetchResponse::default()
    }
}

fn partition_data((_, partition_index): Key, answer: Answer, leader: Option<(i32, i32)>) -> PartitionData {
    let acquired = answer.runs.into_iter().map(|run| AcquiredRecords {
        first_offset: run.first,
        last_offset: run.last,
        delivery_count: i16::try_from(run.deliveries).unwrap_or(i16::MAX),
        ..AcquiredRecords::default()
    });
    let current_leader = leader.map(|(leader_id, leader_epoch)| LeaderIdAndEpoch {
        leader_id,
        leader_epoch,
        ..LeaderIdAndEpoch::default()
    });
    PartitionData {
        partition_index,
        error_code: answer.code.unwrap_or(Code::NONE).get(),
        acknowledge_error_code: answer.refused.map_or(Code::NONE, |refusal| refusal.code).get(),
        acknowledge_error_message: answer.refused.and_then(Refusal::message),
        current_leader: current_leader.unwrap_or_default(),
        records: Some(answer.records),
        acquired_records: acquired.collect(),
        ..PartitionData::default()
    }
}
