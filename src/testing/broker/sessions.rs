//! Fetch sessions (KIP-227): a client names only what changes, and is answered only what is new.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::call::Call;
use super::fetch::{BY_ID, Opened, Wanted, WantedTopic};
use super::state::State;
use crate::engine::backoff::Random;
use crate::error::Code;
use crate::wire::messages::fetch_response::PartitionData;
use crate::wire::messages::{FetchRequest, FetchResponse};
use crate::wire::str::Str;
use crate::wire::uuid::Uuid;

/// The epoch of a request without session, and of the first request of one.
const FINAL_EPOCH: i32 = -1;
const INITIAL_EPOCH: i32 = 0;
/// How long a session must have been silent to make room (`min.incremental.fetch.session.eviction.ms`).
const EVICTABLE_AFTER: Duration = Duration::from_secs(120);

/// The sessions of one node.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    by_id: BTreeMap<i32, Session>,
}

#[derive(Debug)]
struct Session {
    /// That of the next request.
    epoch: i32,
    by_topic_id: bool,
    partitions: BTreeMap<Key, Cached>,
    used: Instant,
    /// Counts the places in the queue in which partitions take turns.
    turns: u64,
}

/// A partition, as requests and answers name it.
type Key = (Uuid, Str, i32);

#[derive(Debug)]
struct Cached {
    wanted: Wanted,
    /// What was answered last; `None` if that was an error, or nothing yet.
    sent: Option<Sent>,
    /// Its place: who is new stands last, and whoever gets records goes there.
    turn: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sent {
    high_watermark: i64,
    log_start: i64,
}

impl Sessions {
    /// Finds what a request reads, in the session that it names or begins.
    pub(super) fn open(
        &mut self,
        state: &State,
        call: &Call,
        request: &FetchRequest,
        random: &mut Random,
    ) -> Result<Opened, Code> {
        let named = wanted(state, call.version, request);
        if matches!(request.session_epoch, FINAL_EPOCH | INITIAL_EPOCH) {
            self.by_id.remove(&request.session_id);
            let begins = request.session_epoch == INITIAL_EPOCH && self.make_room(state, call);
            let session_id = if begins { self.begin(call, &named, random) } else { 0 };
            return Ok(Opened { partitions: named, session_id, only_news: false });
        }
        let session = self.by_id.get_mut(&request.session_id).ok_or(Code::FETCH_SESSION_ID_NOT_FOUND)?;
        if session.epoch != request.session_epoch {
            return Err(Code::INVALID_FETCH_SESSION_EPOCH);
        }
        if session.by_topic_id != (call.version >= BY_ID) {
            return Err(Code::FETCH_SESSION_TOPIC_ID_ERROR);
        }
        session.update(named, request);
        session.epoch = session.epoch.checked_add(1).unwrap_or(1);
        session.used = call.now.instant;
        if session.partitions.is_empty() {
            self.by_id.remove(&request.session_id);
            return Ok(Opened { partitions: Vec::new(), session_id: 0, only_news: false });
        }
        let mut cached: Vec<&Cached> = session.partitions.values().collect();
        cached.sort_by_key(|cached| cached.turn);
        let partitions = cached.into_iter().map(|cached| cached.wanted.clone()).collect();
        Ok(Opened { partitions, session_id: request.session_id, only_news: true })
    }

    /// Whether there is, or can be made, room for one more session.
    fn make_room(&mut self, state: &State, call: &Call) -> bool {
        if self.by_id.len() < state.settings.fetch_sessions {
            return true;
        }
        let oldest = self.by_id.iter().min_by_key(|(_, session)| session.used);
        let oldest = oldest.map(|(id, session)| (*id, session.used));
        let Some((id, used)) = oldest else { return false };
        let evictable = call.now.instant.saturating_duration_since(used) >= EVICTABLE_AFTER;
        if evictable {
            self.by_id.remove(&id);
        }
        evictable
    }

    fn begin(&mut self, call: &Call, named: &[Wanted], random: &mut Random) -> i32 {
        let id = loop {
            let id = i32::try_from(random.below(i32::MAX.unsigned_abs().into())).unwrap_or(0);
            if id > 0 && !self.by_id.contains_key(&id) {
                break id;
            }
        };
        let mut session = Session {
            epoch: 1,
            by_topic_id: call.version >= BY_ID,
            partitions: BTreeMap::new(),
            used: call.now.instant,
            turns: 0,
        };
        session.add(named.iter().cloned());
        self.by_id.insert(id, session);
        id
    }

    /// Remembers what is answered; where only news is wanted, takes everything else out of the answer.
    pub(super) fn answered(&mut self, response: &mut FetchResponse, only_news: bool) {
        let Some(session) = self.by_id.get_mut(&response.session_id) else { return };
        for topic in &mut response.responses {
            topic.partitions.retain(|data| {
                let key = (topic.topic_id, topic.topic.clone(), data.partition_index);
                let is_news = session.partitions.get_mut(&key).is_none_or(|cached| cached.answered(data));
                let has_records = data.records.as_ref().is_some_and(|records| !records.is_empty());
                if let Some(cached) = session.partitions.get_mut(&key).filter(|_| has_records && only_news) {
                    session.turns += 1;
                    cached.turn = session.turns;
                }
                is_news || !only_news
            });
        }
        response.responses.retain(|topic| !topic.partitions.is_empty());
    }
}

impl Session {
    fn add(&mut self, named: impl Iterator<Item = Wanted>) {
        for mut wanted in named {
            wanted.topic.in_session = true;
            let key = key(&wanted);
            // A partition that is named again has been answered before, and its topic keeps the name that it had.
            let before = self.partitions.remove(&key);
            self.turns += 1;
            let (sent, turn) =
                before.as_ref().map_or((None, self.turns), |cached| (cached.sent, cached.turn));
            if let Some(before) = before.filter(|before| !before.wanted.topic.name.is_empty()) {
                wanted.topic = before.wanted.topic;
            }
            self.partitions.insert(key, Cached { wanted, sent, turn });
        }
    }

    fn update(&mut self, named: Vec<Wanted>, request: &FetchRequest) {
        for topic in &request.forgotten_topics_data {
            for partition in &topic.partitions {
                let forgotten = |(id, name, index): &Key| {
                    *id == topic.topic_id && (self.by_topic_id || *name == topic.topic) && index == partition
                };
                self.partitions.retain(|key, _| !forgotten(key));
            }
        }
        self.add(named.into_iter());
    }
}

/// By id where there is one: the answer's name is empty then, whatever name was found.
fn key(wanted: &Wanted) -> Key {
    let name = if wanted.topic.id.is_some() { Str::default() } else { wanted.topic.name.clone() };
    (wanted.topic.id.unwrap_or_default(), name, wanted.partition)
}

impl Cached {
    /// Takes note of an answer; whether there is news in it.
    fn answered(&mut self, data: &PartitionData) -> bool {
        let sent = (data.error_code == 0)
            .then_some(Sent { high_watermark: data.high_watermark, log_start: data.log_start_offset });
        let has_records = data.records.as_ref().is_some_and(|records| !records.is_empty());
        let sends_on = data.diverging_epoch.epoch >= 0 || data.preferred_read_replica >= 0;
        let is_news = has_records || sent.is_none() || sent != self.sent || sends_on;
        self.sent = sent;
        is_news
    }
}

/// The partitions that a request names.
fn wanted(state: &State, version: i16, request: &FetchRequest) -> Vec<Wanted> {
    let topics = request.topics.iter().flat_map(|topic| topic.partitions.iter().map(move |p| (topic, p)));
    let wanted = topics.map(|(topic, partition)| {
        let by_id = version >= BY_ID;
        let name = if by_id {
            state.topic_by_id(topic.topic_id).map(|topic| topic.name.clone()).unwrap_or_default()
        } else {
            topic.topic.clone()
        };
        Wanted {
            topic: WantedTopic { id: by_id.then_some(topic.topic_id), name, in_session: false },
            partition: partition.partition,
            current_leader_epoch: partition.current_leader_epoch,
            offset: partition.fetch_offset,
            last_epoch: partition.last_fetched_epoch,
            max_bytes: usize::try_from(partition.partition_max_bytes).ok(),
        }
    });
    wanted.collect()
}
