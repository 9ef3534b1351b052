//! Fetch: batches are read from the logs.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::call::Call;
use super::leadership::{check_epoch, check_leader};
use super::log::transactions::Aborted;
use super::state::{State, TopicKey};
use super::topic::Partition;
use crate::engine::machine::deadline_after;
use crate::error::{Code, Resource};
use crate::wire::messages::fetch_response::{
    AbortedTransaction, EpochEndOffset, FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint, PartitionData,
};
use crate::wire::messages::{FetchRequest, FetchResponse};
use crate::wire::str::Str;
use crate::wire::uuid::Uuid;

/// The first version that names topics by id.
pub(super) const BY_ID: i16 = 13;
/// The first version that names the leader to go to instead (KIP-951), and the first with its address.
const LEADER_HINTS: i16 = 12;
const LEADER_ADDRESSES: i16 = 16;

/// The first version of which a follower answers clients as well (KIP-392).
const OF_FOLLOWERS: i16 = 11;

/// A fetch, perhaps one that waits for data.
#[derive(Clone, Debug)]
pub(super) struct Fetch {
    pub(super) partitions: Vec<Wanted>,
    min_bytes: usize,
    /// `None` for a number below 0, which fails partition by partition.
    max_bytes: Option<usize>,
    committed: bool,
    /// Where the client says that it is; empty for nowhere.
    rack: Str,
    pub(super) until: Instant,
    /// 0 for none.
    pub(super) session_id: i32,
    /// Of a session, only partitions with news are answered.
    pub(super) only_news: bool,
}

/// What a fetch is to read, and for which session.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) partitions: Vec<Wanted>,
    /// 0 for none.
    pub(super) session_id: i32,
    /// Whether only news is to be answered.
    pub(super) only_news: bool,
}

/// A partition to read.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) topic: WantedTopic,
    pub(super) partition: i32,
    pub(super) current_leader_epoch: i32,
    pub(super) offset: i64,
    pub(super) last_epoch: i32,
    /// `None` for a number below 0.
    pub(super) max_bytes: Option<usize>,
}

/// How the topic was named, and how a session that knows it by id found it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WantedTopic {
    /// From version 13 on.
    pub(super) id: Option<Uuid>,
    /// Empty if no topic has the id.
    pub(super) name: Str,
    pub(super) in_session: bool,
}

/// What a fetch would be answered now.
pub(super) struct Reading {
    pub(super) response: FetchResponse,
    /// Whether there is a reason not to wait: enough bytes, or an error.
    pub(super) is_due: bool,
}

impl Fetch {
    pub(super) fn new(state: &State, call: &Call, request: &FetchRequest, opened: Opened) -> Self {
        let limit = usize::try_from(state.settings.fetch_max_bytes).unwrap_or(0);
        let max_bytes = usize::try_from(request.max_bytes).ok().map(|max| max.min(limit));
        let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
        Self {
            partitions: opened.partitions,
            min_bytes: usize::try_from(request.min_bytes).unwrap_or(0).min(max_bytes.unwrap_or(0)),
            max_bytes,
            committed: request.isolation_level == 1,
            rack: request.rack_id.clone(),
            until: deadline_after(call.now, wait),
            session_id: opened.session_id,
            only_news: opened.only_news,
        }
    }

    /// Reads. The first partition that has something gives at least one whole batch, however little is asked for.
    pub(super) fn read(&self, state: &State, call: &Call) -> Reading {
        let mut room = self.max_bytes;
        let (mut bytes, mut failed, mut whole_first) = (0, false, true);
        let mut response = FetchResponse { session_id: self.session_id, ..FetchResponse::default() };
        // What is not there is answered behind all that is.
        let (there, not_there): (Vec<&Wanted>, Vec<&Wanted>) =
            self.partitions.iter().partition(|wanted| !find(state, wanted).is_err_and(is_not_there));
        for wanted in there.into_iter().chain(not_there) {
            let data = match self.read_one(state, call, wanted, room, whole_first) {
                Ok(data) => data,
                Err(code) => failed_partition(state, call, wanted, code),
            };
            let read = data.records.as_ref().map_or(0, Bytes::len);
            bytes += read;
            room = room.map(|room| room.saturating_sub(read));
            whole_first &= read == 0;
            let sends_on = data.diverging_epoch.epoch >= 0 || data.preferred_read_replica >= 0;
            failed |= data.error_code != 0 || sends_on;
            push(&mut response.responses, wanted, data);
        }
        if call.version >= LEADER_ADDRESSES {
            response.node_endpoints = endpoints(state, &response);
        }
        let is_due = failed || bytes >= self.min_bytes || self.partitions.is_empty();
        Reading { response, is_due }
    }

    fn read_one(
        &self,
        state: &State,
        call: &Call,
        wanted: &Wanted,
        room: Option<usize>,
        whole_first: bool,
    ) -> Result<PartitionData, Code> {
        let (name, partition) = find(state, wanted)?;
        if let Some(code) = call.refused(name, wanted.partition) {
            return Err(code);
        }
        check_epoch(partition, wanted.current_leader_epoch)?;
        if call.version < OF_FOLLOWERS || !partition.replicas.contains(&call.node) {
            check_leader(partition, call.node)?;
        }
        let log = &partition.log;
        let mut data = PartitionData {
            partition_index: wanted.partition,
            high_watermark: log.end(),
            last_stable_offset: log.stable_end(),
            log_start_offset: log.start(),
            aborted_transactions: self.committed.then(Vec::new),
            records: Some(Bytes::new()),
            ..PartitionData::default()
        };
        if let Some(replica) = self.preferred_replica(state, partition, call) {
            data.preferred_read_replica = replica;
            data.aborted_transactions = None;
            return Ok(data);
        }
        if let Some(diverging) = diverging_epoch(partition, wanted)? {
            data.diverging_epoch = diverging;
            return Ok(data);
        }
        if !(log.start()..=log.end()).contains(&wanted.offset) {
            return Err(Code::OFFSET_OUT_OF_RANGE);
        }
        let end = if self.committed { log.stable_end() } else { log.end() };
        if wanted.offset < end {
            let (Some(most), Some(room)) = (wanted.max_bytes, room) else {
                return Err(Code::UNKNOWN_SERVER_ERROR);
            };
            let records = log.read(wanted.offset, end, most.min(room), whole_first);
            if self.committed {
                let aborted = log.aborted(wanted.offset, records.len());
                data.aborted_transactions = Some(aborted.into_iter().map(aborted_transaction).collect());
            }
            data.records = Some(records);
        }
        Ok(data)
    }
}

impl Fetch {
    /// Whom the leader sends the client to: another replica in the client's rack, unless it is there itself.
    fn preferred_replica(&self, state: &State, partition: &Partition, call: &Call) -> Option<i32> {
        let is_near = |node: &i32| {
            let rack = state.nodes.get(node).and_then(|node| node.rack.as_ref());
            rack.is_some_and(|rack| *rack == self.rack)
        };
        let leads = partition.leader == Some(call.node);
        if !state.settings.rack_aware_replicas || self.rack.is_empty() || !leads || is_near(&call.node) {
            return None;
        }
        partition.in_sync.iter().copied().find(is_near)
    }
}

fn aborted_transaction(Aborted { producer_id, first_offset }: Aborted) -> AbortedTransaction {
    AbortedTransaction { producer_id, first_offset, ..AbortedTransaction::default() }
}

/// The partition that is wanted, by the topic's name.
fn find<'a>(state: &'a State, wanted: &'a Wanted) -> Result<(&'a Str, &'a Partition), Code> {
    let topic = &wanted.topic;
    let found = match topic.id {
        None => state.find_topic(TopicKey::Name(&topic.name)),
        // A session found the name when the partition came into it, and may find another topic under it now.
        Some(id) if topic.in_session && !topic.name.is_empty() => match state.topic(&topic.name) {
            Some(found) if found.id != id => return Err(Code::INCONSISTENT_TOPIC_ID),
            Some(found) => Ok(found),
            None => Err(Code::UNKNOWN_TOPIC_OR_PARTITION),
        },
        Some(id) => state.find_topic(TopicKey::Id(id)),
    };
    let name = found.map_or(&topic.name, |topic| &topic.name);
    if state.is_denied(Resource::Topic, name) {
        return Err(Code::TOPIC_AUTHORIZATION_FAILED);
    }
    let partition = found?.partition(wanted.partition).ok_or(Code::UNKNOWN_TOPIC_OR_PARTITION)?;
    Ok((name, partition))
}

/// Where the reader's log and ours part, if what it read last was written under an epoch that ended earlier (KIP-595).
fn diverging_epoch(partition: &Partition, wanted: &Wanted) -> Result<Option<EpochEndOffset>, Code> {
    if wanted.last_epoch < 0 {
        return Ok(None);
    }
    let (epoch, end_offset) =
        partition.log.end_of_epoch(wanted.last_epoch).ok_or(Code::OFFSET_OUT_OF_RANGE)?;
    let diverges = epoch < wanted.last_epoch || end_offset < wanted.offset;
    Ok(diverges.then(|| EpochEndOffset { epoch, end_offset, ..EpochEndOffset::default() }))
}

/// Whether the code says that no log was looked for.
fn is_not_there(code: Code) -> bool {
    matches!(
        code,
        Code::UNKNOWN_TOPIC_OR_PARTITION | Code::UNKNOWN_TOPIC_ID | Code::TOPIC_AUTHORIZATION_FAILED
    )
}

fn failed_partition(state: &State, call: &Call, wanted: &Wanted, code: Code) -> PartitionData {
    let mut data = PartitionData {
        partition_index: wanted.partition,
        error_code: code.get(),
        high_watermark: -1,
        aborted_transactions: is_not_there(code).then(Vec::new),
        records: Some(Bytes::new()),
        ..PartitionData::default()
    };
    if let (Code::NOT_LEADER_OR_FOLLOWER | Code::FENCED_LEADER_EPOCH, Ok((_, partition))) =
        (code, find(state, wanted))
        && call.version >= LEADER_HINTS
    {
        data.current_leader = LeaderIdAndEpoch {
            leader_id: partition.leader.unwrap_or(-1),
            leader_epoch: partition.leader_epoch,
            ..LeaderIdAndEpoch::default()
        };
    }
    data
}

/// Appends a partition's data under its topic, which stands last if it is there.
fn push(topics: &mut Vec<FetchableTopicResponse>, wanted: &Wanted, data: PartitionData) {
    let id = wanted.topic.id.unwrap_or_default();
    // By name or by id, never both.
    let name = if wanted.topic.id.is_none() { wanted.topic.name.clone() } else { Str::default() };
    let same = |topic: &&mut FetchableTopicResponse| topic.topic_id == id && topic.topic == name;
    if let Some(topic) = topics.last_mut().filter(same) {
        topic.partitions.push(data);
        return;
    }
    topics.push(FetchableTopicResponse {
        topic: name,
        topic_id: id,
        partitions: vec![data],
        ..FetchableTopicResponse::default()
    });
}

/// The addresses of the leaders that the answer names (KIP-951).
fn endpoints(state: &State, response: &FetchResponse) -> Vec<NodeEndpoint> {
    let partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
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
