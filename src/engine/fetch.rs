//! Plans fetches and takes their answers.
//!
//! Every broker that leads an assigned partition has one fetch in flight at any time, whatever the user does and
//! however the other brokers fare, as long as there is room for the answer: the byte budget is split evenly among the
//! brokers, so that a fast one starves none. A fetch goes on behind what is *buffered*, not behind what the user took,
//! and responses are kept whole; so every byte is downloaded once.

mod buffered;
mod cursor;
mod extent;
mod request;
mod types;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

pub(crate) use self::{
    buffered::{Buffered, Held},
    types::{Event, Fetched, Settings},
};
use self::{
    cursor::{Cursor, State},
    extent::Extent,
    request::Builder,
};
use crate::{
    engine::{
        backoff::Random,
        catalog::snapshot::{Broker, LeaderHint},
        machine::{Call, Now, Outbox, Outcome, Purpose, Target, Token, Tokens, deadline_after, earlier},
        partition::{Claim, Leader, subject},
    },
    error::{Code, Disposition, Error, ErrorKind},
    types::{NodeId, Partition, TopicName, TopicPartition},
    wire::{
        messages::{
            FetchResponse,
            fetch_response::{NodeEndpoint, PartitionData},
        },
        uuid::Uuid,
    },
};

/// The first version that tells topics apart by their ids.
const BY_ID: i16 = 13;
/// How long a broker may wait for data while a partition that is left out may soon have to be fetched.
const SHORT_WAIT: Duration = Duration::from_millis(20);
/// How long the look-up of a position counts as about to end.
const POSITIONING: Duration = Duration::from_secs(1);
/// How often an answer without progress is asked for again before the partition is given up.
const MAX_STALLS: u32 = 5;
/// The number of failures from which on the wait between two tries is the longest.
const SLOW: u32 = 16;
/// How many answers without data may come early before the broker is given a rest.
const MAX_EARLY: u32 = 3;

/// The fetches of one consumer.
#[derive(Debug)]
pub(crate) struct Fetcher {
    settings: Settings,
    cursors: HashMap<TopicPartition, Cursor>,
    nodes: BTreeMap<NodeId, Node>,
    buffered: Arc<Buffered>,
    /// What the answers to the fetches in flight may hold.
    reserved: usize,
    passes: u64,
    tokens: Tokens,
    random: Random,
}

/// One broker.
#[derive(Debug, Default)]
struct Node {
    /// The partitions that it leads, in the order in which it shall serve them. Those that have moved are dropped at
    /// the next pass.
    order: Vec<TopicPartition>,
    in_flight: Option<InFlight>,
    failures: u32,
    /// Answers in a row that held nothing and came before their time.
    early: u32,
    not_before: Option<Instant>,
    /// When a partition that was left out may be asked for again.
    retry_at: Option<Instant>,
}

#[derive(Debug)]
struct InFlight {
    token: Token,
    reserved: usize,
    names: HashMap<Uuid, TopicName>,
    /// A broker without data is not expected to answer before.
    patience: Instant,
}

impl Fetcher {
    pub(crate) fn new(settings: Settings, buffered: Arc<Buffered>, tokens: Tokens, random: Random) -> Self {
        Self {
            settings,
            cursors: HashMap::new(),
            nodes: BTreeMap::new(),
            buffered,
            reserved: 0,
            passes: 0,
            tokens,
            random,
        }
    }

    /// Takes on a partition whose position is being looked up.
    pub(crate) fn add(
        &mut self,
        now: Now,
        partition: TopicPartition,
        claim: Claim,
        leader: Option<Leader>,
        paused: bool,
    ) {
        let mut cursor = Cursor::new(claim, now.instant, paused, self.settings.partition_max_bytes);
        cursor.leader = leader;
        cursor.topic_id = leader.map_or(Uuid::ZERO, |leader| leader.topic_id);
        if let Some(leader) = leader {
            self.nodes.entry(leader.node).or_default().order.push(partition.clone());
        }
        self.cursors.insert(partition, cursor);
    }

    pub(crate) fn remove(&mut self, partition: &TopicPartition) {
        self.cursors.remove(partition);
    }

    /// What is under way and buffered for the partition is void; its next position is being looked up.
    pub(crate) fn reset(&mut self, now: Now, partition: &TopicPartition, claim: Claim) {
        if let Some(cursor) = self.cursors.get_mut(partition) {
            cursor.renew(claim, now.instant, self.settings.partition_max_bytes);
        }
    }

    /// Fetches from `offset` on, unless the claim is no longer the partition's.
    pub(crate) fn start(&mut self, partition: &TopicPartition, claim: Claim, offset: i64) {
        if let Some(cursor) = self.cursors.get_mut(partition).filter(|cursor| cursor.claim == claim) {
            cursor.state = State::Fetching(offset);
        }
    }

    /// A paused partition keeps what is buffered and is not fetched.
    pub(crate) fn pause(&mut self, partition: &TopicPartition, paused: bool) {
        if let Some(cursor) = self.cursors.get_mut(partition) {
            cursor.paused = paused;
        }
    }

    pub(crate) fn set_leader(
        &mut self,
        partition: &TopicPartition,
        leader: Option<Leader>,
        out: &mut Outbox<Event>,
    ) {
        let Some(cursor) = self.cursors.get_mut(partition) else { return };
        let before = cursor.node();
        cursor.leader = leader;
        let Some(leader) = leader else { return };
        if before != Some(leader.node) {
            self.nodes.entry(leader.node).or_default().order.push(partition.clone());
            // The new leader is asked at once.
            cursor.not_before = None;
        }
        if cursor.topic_id.is_zero() || matches!(cursor.state, State::Positioning(_)) {
            cursor.topic_id = leader.topic_id;
        } else if cursor.is_recreated() && cursor.state != State::Stopped {
            cursor.state = State::Stopped;
            out.events.push(Event::Recreated { partition: partition.clone(), claim: cursor.claim });
        }
    }

    pub(crate) fn answer(&mut self, now: Now, token: Token, outcome: Outcome, out: &mut Outbox<Event>) {
        let is_asked = |node: &Node| node.in_flight.as_ref().is_some_and(|flight| flight.token == token);
        let Some((&id, node)) = self.nodes.iter_mut().find(|(_, node)| is_asked(node)) else { return };
        let Some(flight) = node.in_flight.take() else { return };
        self.reserved = self.reserved.saturating_sub(flight.reserved);
        let error = match outcome {
            Ok(answer) => match FetchResponse::try_from(answer.response) {
                Ok(response) if response.error_code == 0 => {
                    self.response(now, id, &flight, answer.version, response, out);
                    return;
                }
                Ok(response) => Error::broker(Code::new(response.error_code), "Fetch", ""),
                Err(wrong) => malformed(id, &wrong),
            },
            Err(failure) => failure.error,
        };
        tracing::debug!(broker = %id, %error, "a fetch failed");
        self.back_off(now, id);
        out.events.push(Event::Refresh);
        // Garbage may have been a matter of one connection: only if it stays is it told.
        let lasts = self.nodes.get(&id).is_some_and(|node| node.failures >= MAX_STALLS);
        if !error.is_retriable() && (lasts || !error.may_pass()) {
            out.events.push(Event::BrokerRefused { node: id, error });
        }
    }

    fn response(
        &mut self,
        now: Now,
        id: NodeId,
        flight: &InFlight,
        version: i16,
        response: FetchResponse,
        out: &mut Outbox<Event>,
    ) {
        let mut served = false;
        for topic in response.responses {
            let by_id = flight.names.get(&topic.topic_id);
            let name = if version >= BY_ID { by_id.cloned() } else { Some(TopicName::from(topic.topic)) };
            let Some(name) = name else { continue };
            for data in topic.partitions {
                let partition = TopicPartition::new(name.clone(), Partition(data.partition_index));
                served |= self.partition(now, flight.token, partition, data, &response.node_endpoints, out);
            }
        }
        let Some(node) = self.nodes.get_mut(&id) else { return };
        node.failures = 0;
        if served {
            node.early = 0;
            let cursors = &self.cursors;
            let is_served = |partition: &TopicPartition| {
                cursors.get(partition).is_some_and(|cursor| cursor.served == Some(flight.token))
            };
            node.order.sort_by_cached_key(is_served);
        } else if now.instant < flight.patience {
            node.early = node.early.saturating_add(1);
            if node.early > MAX_EARLY {
                let wait = self.settings.retry.delay(node.early - MAX_EARLY - 1, &mut self.random);
                node.not_before = Some(deadline_after(now, wait));
            }
        } else {
            node.early = 0;
        }
    }

    /// Takes a partition's part of an answer; whether it held data.
    fn partition(
        &mut self,
        now: Now,
        token: Token,
        partition: TopicPartition,
        data: PartitionData,
        endpoints: &[NodeEndpoint],
        out: &mut Outbox<Event>,
    ) -> bool {
        let Some(cursor) = self.cursors.get_mut(&partition) else { return false };
        let Some(offset) = cursor.asked_by(token) else { return false };
        cursor.asked = None;
        let hint = leader_hint(&partition, cursor.topic_id, &data, endpoints);
        out.events.extend(hint.map(Event::LeaderHint));
        let code = Code::new(data.error_code);
        match reaction(code) {
            Reaction::Take if cursor.has_new_end(self.settings.read_committed, &data) => {
                out.events.push(Event::End { partition: partition.clone(), end: cursor.end });
                return self.take(now, token, partition, offset, data, out);
            }
            Reaction::Take => return self.take(now, token, partition, offset, data, out),
            // What was fetched before the log lost the offset is still to be handed out.
            Reaction::Reset if cursor.buffered() > 0 => self.retry(now, &partition),
            Reaction::Reset => {
                cursor.state = State::Stopped;
                out.events.push(Event::OutOfRange { partition, claim: cursor.claim, offset });
            }
            Reaction::Refresh => {
                self.retry(now, &partition);
                out.events.push(Event::Refresh);
            }
            Reaction::Retry => self.retry(now, &partition),
            Reaction::Report => {
                let claim = cursor.claim;
                cursor.failures = cursor.failures.max(SLOW);
                self.retry(now, &partition);
                let error = Error::broker(code, "Fetch", subject(code, &partition));
                out.events.push(Event::Failed { partition, claim, error });
            }
        }
        false
    }

    fn take(
        &mut self,
        now: Now,
        token: Token,
        partition: TopicPartition,
        offset: i64,
        data: PartitionData,
        out: &mut Outbox<Event>,
    ) -> bool {
        let Some(cursor) = self.cursors.get_mut(&partition) else { return false };
        let records = data.records.unwrap_or_default();
        match Extent::of(&records) {
            None => {
                cursor.progressed();
                return false;
            }
            Some(Extent::Until(end)) if end > offset => {
                cursor.progressed();
                cursor.state = State::Fetching(end);
                cursor.max_bytes = self.settings.partition_max_bytes;
            }
            // Whoever reads the batch finds the fault, and has it fetched again.
            Some(Extent::Broken) => cursor.state = State::Stopped,
            Some(Extent::Until(_)) => {
                let detail = "the broker sends only batches that end in front of it";
                self.stalled(now, partition, offset, detail, out);
                return false;
            }
            Some(Extent::CutOff { needed }) => {
                self.grow(now, partition, offset, needed, out);
                return false;
            }
        }
        cursor.served = Some(token);
        let held = self.buffered.hold(&cursor.buffered, records.len());
        let claim = cursor.claim;
        let mut aborted: Vec<(i64, i64)> = Vec::new();
        if self.settings.read_committed {
            let transactions = data.aborted_transactions.unwrap_or_default();
            aborted.extend(transactions.iter().map(|aborted| (aborted.producer_id, aborted.first_offset)));
            // Redpanda does not sort them.
            aborted.sort_unstable_by_key(|(_, first_offset)| *first_offset);
        }
        let high_watermark = data.high_watermark;
        let fetched = Fetched { partition, claim, offset, records, aborted, high_watermark, held };
        out.events.push(Event::Fetched(fetched));
        true
    }

    /// A batch did not fit into the answer: asks for more bytes.
    fn grow(
        &mut self,
        now: Now,
        partition: TopicPartition,
        offset: i64,
        needed: Option<usize>,
        out: &mut Outbox<Event>,
    ) {
        let limit = self.settings.batch_max_bytes;
        let Some(cursor) = self.cursors.get_mut(&partition) else { return };
        let size = needed.unwrap_or_else(|| cursor.max_bytes.saturating_mul(2));
        if size > limit {
            let error =
                ErrorKind::RecordTooLarge { size, limit: Some(limit), setting: "receive_message_max_bytes" };
            cursor.state = State::Stopped;
            out.events.push(Event::Stuck { partition, claim: cursor.claim, error: error.into() });
        } else if size > cursor.max_bytes {
            cursor.max_bytes = size;
        } else {
            self.stalled(now, partition, offset, "the broker sends only the batch's beginning", out);
        }
    }

    /// An answer held bytes that lead nowhere: tries again, and gives up after a few times.
    fn stalled(
        &mut self,
        now: Now,
        partition: TopicPartition,
        offset: i64,
        detail: &str,
        out: &mut Outbox<Event>,
    ) {
        self.retry(now, &partition);
        let Some(cursor) = self.cursors.get_mut(&partition) else { return };
        cursor.stalls = cursor.stalls.saturating_add(1);
        if cursor.stalls < MAX_STALLS {
            return;
        }
        cursor.state = State::Stopped;
        let claim = cursor.claim;
        let detail = detail.to_owned();
        let error =
            ErrorKind::CorruptBatch { partition: partition.clone(), offset, next_offset: None, detail };
        out.events.push(Event::Stuck { partition, claim, error: error.into() });
    }

    fn retry(&mut self, now: Now, partition: &TopicPartition) {
        if let Some(cursor) = self.cursors.get_mut(partition) {
            let wait = self.settings.retry.delay(cursor.failures, &mut self.random);
            cursor.failures = cursor.failures.saturating_add(1);
            cursor.not_before = Some(deadline_after(now, wait));
        }
    }

    fn back_off(&mut self, now: Now, id: NodeId) {
        if let Some(node) = self.nodes.get_mut(&id) {
            let wait = self.settings.retry.delay(node.failures, &mut self.random);
            node.failures = node.failures.saturating_add(1);
            node.not_before = Some(deadline_after(now, wait));
        }
    }

    /// Sends a fetch to every broker that has none in flight.
    pub(crate) fn tick(&mut self, now: Now, out: &mut Outbox<Event>) {
        self.buffered.watch();
        let count = self.nodes.values().filter(|node| !node.order.is_empty()).count();
        let share = self.buffered.limit() / count.max(1);
        let mut waits_for_room = false;
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        for id in ids {
            let Some(mut node) = self.nodes.remove(&id) else { continue };
            if node.in_flight.is_none() && node.not_before.is_none_or(|at| at <= now.instant) {
                node.not_before = None;
                waits_for_room |= self.plan(now, id, &mut node, share, out);
            }
            if !node.order.is_empty() || node.in_flight.is_some() {
                self.nodes.insert(id, node);
            }
        }
        if !waits_for_room {
            self.buffered.unwatch();
        }
    }

    /// Asks one broker for its partitions; whether something was left out until there is room for it.
    fn plan(&mut self, now: Now, id: NodeId, node: &mut Node, share: usize, out: &mut Outbox<Event>) -> bool {
        let own = self.tidy(id, node);
        node.retry_at = None;
        let free = self.buffered.limit().saturating_sub(self.buffered.used().saturating_add(self.reserved));
        let room = free.min(share.saturating_sub(own)).min(self.settings.max_bytes);
        if room < self.settings.partition_max_bytes.min(share / 4).max(1) {
            return true;
        }
        let token = self.tokens.next();
        let partition_share = (share / node.order.len().max(1)).max(1);
        let mut request = Builder::default();
        let mut wait = self.settings.max_wait;
        let mut waits_for_room = false;
        for partition in &node.order {
            let Some(cursor) = self.cursors.get_mut(partition) else { continue };
            let offset = match cursor.state {
                State::Fetching(offset) if !cursor.paused => offset,
                State::Positioning(since) if now.instant < since + POSITIONING => {
                    wait = wait.min(SHORT_WAIT);
                    continue;
                }
                _ => continue,
            };
            if let Some(at) = cursor.not_before.filter(|at| *at > now.instant) {
                wait = wait.min(at - now.instant);
                node.retry_at = earlier(node.retry_at, Some(at));
                continue;
            }
            if cursor.buffered() >= partition_share {
                wait = wait.min(SHORT_WAIT);
                waits_for_room = true;
                continue;
            }
            cursor.asked = Some((token, offset));
            let grown = cursor.max_bytes > self.settings.partition_max_bytes;
            let max_bytes = if grown { cursor.max_bytes } else { cursor.max_bytes.min(room) };
            request.add(partition, cursor, offset, max_bytes);
        }
        if !request.is_empty() {
            out.calls.push(self.send(now, id, node, token, request, room, wait));
        }
        waits_for_room
    }

    /// Drops from a broker's list what it no longer leads. Returns the bytes that are buffered of the rest.
    fn tidy(&mut self, id: NodeId, node: &mut Node) -> usize {
        self.passes = self.passes.wrapping_add(1);
        let (cursors, pass) = (&mut self.cursors, self.passes);
        let mut bytes = 0_usize;
        node.order.retain(|partition| {
            let Some(cursor) = cursors.get_mut(partition) else { return false };
            let is_first = std::mem::replace(&mut cursor.seen, pass) != pass;
            let stays = is_first && cursor.node() == Some(id);
            bytes = bytes.saturating_add(if stays { cursor.buffered() } else { 0 });
            stays
        });
        bytes
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one request, decided by its only caller")]
    fn send(
        &mut self,
        now: Now,
        id: NodeId,
        node: &mut Node,
        token: Token,
        request: Builder,
        room: usize,
        wait: Duration,
    ) -> Call {
        let max_wait_ms = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        let built = request.build(&self.settings, room, max_wait_ms);
        self.reserved = self.reserved.saturating_add(room);
        let patience = deadline_after(now, wait / 2);
        node.in_flight = Some(InFlight { token, reserved: room, names: built.names, patience });
        Call {
            token,
            target: Target::Broker(id),
            purpose: Purpose::FETCH,
            request: built.request.into(),
            deadline: deadline_after(now, wait.saturating_add(self.settings.request_timeout)),
            max_version: built.max_version,
        }
    }

    /// When a broker that was given a rest, or a partition that was left out, is to be asked.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let idle = self.nodes.values().filter(|node| node.in_flight.is_none());
        idle.map(|node| node.not_before.or(node.retry_at)).fold(None, earlier)
    }

    /// Asserts what must hold between any two verbs.
    #[cfg(test)]
    pub(crate) fn check(&self) {
        let in_flight = self.nodes.values().filter_map(|node| node.in_flight.as_ref());
        assert_eq!(self.reserved, in_flight.map(|flight| flight.reserved).sum::<usize>());
        for (partition, cursor) in &self.cursors {
            let listed = |id| self.nodes.get(&id).is_some_and(|node| node.order.contains(partition));
            assert!(cursor.node().is_none_or(listed), "{partition} is in its leader's list");
        }
    }
}

/// What to do about a partition's error code.
enum Reaction {
    Take,
    Reset,
    Refresh,
    Retry,
    Report,
}

fn reaction(code: Code) -> Reaction {
    match code {
        Code::OFFSET_OUT_OF_RANGE => Reaction::Reset,
        // A fault of the broker that passes, or that its successor as leader does not have.
        Code::UNKNOWN_SERVER_ERROR | Code::UNKNOWN_LEADER_EPOCH => Reaction::Refresh,
        // The broker's own copy does not read: it may heal with another leader, but nobody is to wait in silence.
        Code::CORRUPT_MESSAGE => Reaction::Report,
        _ => match code.disposition() {
            Disposition::Done => Reaction::Take,
            Disposition::RefreshMetadata | Disposition::FindCoordinator => Reaction::Refresh,
            Disposition::Retry => Reaction::Retry,
            Disposition::Fail => Reaction::Report,
        },
    }
}

/// The leader that a broker names which is not the leader itself (KIP-951).
fn leader_hint(
    partition: &TopicPartition,
    topic_id: Uuid,
    data: &PartitionData,
    endpoints: &[NodeEndpoint],
) -> Option<LeaderHint> {
    let named = &data.current_leader;
    if named.leader_id < 0 || named.leader_epoch < 0 {
        return None;
    }
    let endpoint = endpoints.iter().find(|endpoint| endpoint.node_id == named.leader_id);
    Some(LeaderHint {
        partition: partition.clone(),
        topic_id,
        leader: NodeId(named.leader_id),
        leader_epoch: named.leader_epoch,
        broker: endpoint.and_then(|e| Broker::new(e.node_id, &e.host, e.port, e.rack.clone())),
    })
}

fn malformed(node: NodeId, what: &dyn std::fmt::Display) -> Error {
    ErrorKind::Malformed { peer: format!("broker {node}"), detail: what.to_string() }.into()
}

#[cfg(test)]
mod tests;
