//! The produce sender: takes closed batches per leader, sends them, and judges the answers.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    iter, mem,
    ops::Bound,
    sync::Arc,
    time::Instant,
};

use super::{
    accumulator::Accumulator,
    batch::{Batch, Completion, divide::Divided},
    body::Body,
    config::{Linger, SenderConfig},
    identity::Identity,
    joining::Joining,
    lane::{Lane, Next},
    line::{Line, Ready},
    outcome::BatchDone,
    packing::Packing,
    queue::{LaneId, PartitionQueue},
};
use crate::{
    engine::{
        backoff::Random,
        catalog::snapshot::{LeaderHint, Snapshot},
        machine::{Call, Now, Outbox, Outcome, Purpose, Target, Token, Tokens, deadline_after, earlier},
    },
    error::Error,
    types::{NodeId, TopicPartition},
    wire::{
        compress::Codec,
        messages::produce_request::{ProduceRequest, TopicProduceData},
        uuid::Uuid,
    },
};

/// The newest Produce version that names topics by name.
const LAST_VERSION_BY_NAME: i16 = 12;
/// The newest Produce version that does not bring its partitions into the transaction.
const LAST_VERSION_THAT_JOINS_NOTHING: i16 = 11;

/// What the sender tells its driver.
#[derive(Debug)]
pub(crate) enum Event {
    /// A batch has come to its end.
    Completed(Completion),
    /// A batch was taken apart.
    Divided(Divided),
    /// A batch is to be compressed.
    Pack(Packing),
    /// A batch will be sent again.
    Retried(Arc<BatchDone>),
    /// The view of the cluster is stale.
    RefreshMetadata,
    /// A broker names the new leader of a partition (KIP-951).
    LeaderChanged(LeaderHint),
    /// A partition waits to be taken into the transaction.
    Join(LaneId, TopicPartition),
}

/// The machine.
#[derive(Debug)]
pub(crate) struct Sender {
    config: SenderConfig,
    accumulator: Arc<Accumulator>,
    identity: Identity,
    snapshot: Arc<Snapshot>,
    lanes: BTreeMap<LaneId, Lane>,
    brokers: BTreeMap<NodeId, Line>,
    requests: HashMap<Token, InFlight>,
    timers: BTreeSet<(Instant, LaneId)>,
    joining: Joining,
    /// Lanes whose partition is to be taken into the transaction.
    applicants: BTreeSet<LaneId>,
    /// Why nothing more is written in the open transaction.
    doomed: Option<Error>,
    random: Random,
    /// Lanes whose topic was deleted and created anew, until what was on its way has ended.
    recreated: Vec<LaneId>,
    /// When the shares of partitions were computed.
    weighed_at: Option<Instant>,
    /// Empty: memory for the list of queues with news.
    news: Vec<Arc<PartitionQueue>>,
    /// Batches to be compressed, for the driver to be told of at the next `tick`.
    packings: Vec<Packing>,
}

/// A request that waits for its answer.
#[derive(Debug)]
struct InFlight {
    broker: NodeId,
    lanes: Vec<LaneId>,
}

impl Sender {
    pub(crate) fn new(
        config: SenderConfig,
        accumulator: Arc<Accumulator>,
        snapshot: Arc<Snapshot>,
        mut random: Random,
    ) -> Self {
        let mut identity =
            Identity::new(config.backoff, config.request_timeout, Random::new(random.next_u64()));
        let mut joining = Joining::Unneeded;
        if config.transactional_id.is_some() {
            identity.given(None);
            joining = Joining::Barred;
        }
        Self {
            config,
            accumulator,
            identity,
            snapshot,
            lanes: BTreeMap::new(),
            brokers: BTreeMap::new(),
            requests: HashMap::new(),
            timers: BTreeSet::new(),
            joining,
            applicants: BTreeSet::new(),
            doomed: None,
            random,
            recreated: Vec::new(),
            weighed_at: None,
            news: Vec::new(),
            packings: Vec::new(),
        }
    }

    /// The view of the cluster has changed.
    pub(crate) fn catalog(&mut self, now: Now, snapshot: Arc<Snapshot>) {
        // What was appended before was meant for the topics as they were.
        self.see_news(now);
        self.snapshot = snapshot;
        let silent = self.silent_brokers(now);
        for queues in self.accumulator.topics() {
            if let Some(topic) = self.snapshot.topic(&queues.topic) {
                let queues = self.accumulator.prepare(&topic.name, topic.partition_count());
                self.weigh_topic(&silent, queues);
            }
        }
        for (id, lane) in &mut self.lanes {
            let before = lane.leader;
            if lane.locate(&self.snapshot) && !self.config.follow_recreated {
                self.recreated.push(*id);
            }
            if lane.queued
                && lane.leader != before
                && let Some(line) = before.and_then(|broker| self.brokers.get_mut(&broker))
            {
                line.ready.retain(|other| other != id);
                lane.queued = false;
            }
        }
        self.schedule_all(now);
    }

    /// Looks at what callers appended and at what has become due, and sends what may be sent.
    pub(crate) fn tick(&mut self, now: Now, tokens: &mut Tokens, out: &mut Outbox<Event>) {
        self.end_recreated(now, out);
        self.see_news(now);
        while let Some(&(due, id)) = self.timers.first()
            && due <= now.instant
        {
            self.timers.pop_first();
            if let Some(lane) = self.lanes.get_mut(&id) {
                lane.timer = None;
            }
            self.expire(now, id, out);
            self.schedule(now, id);
        }
        self.ask_for_identity(now, tokens, out);
        self.apply(out);
        let mut broker = self.next_broker(Bound::Unbounded);
        while let Some(id) = broker {
            while self.send_to(now, id, tokens, out) {}
            broker = self.next_broker(Bound::Excluded(id));
        }
        self.weigh(now);
        out.events.extend(self.packings.drain(..).map(Event::Pack));
    }

    /// When `tick` has something to do next.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        // An identity is asked for only as long as somebody waits for it.
        let identity = self.identity.deadline().filter(|_| self.wants_identity());
        earlier(self.timers.first().map(|(due, _)| *due), identity)
    }

    /// Takes the outcome of one of its calls.
    pub(crate) fn answer(&mut self, now: Now, token: Token, outcome: Outcome, out: &mut Outbox<Event>) {
        if self.identity.answer(now, token, &outcome) {
            if let Some(error) = self.identity.refusal().cloned() {
                self.identity.forget_refusal();
                self.fail_waiting(&error, out);
            }
            self.schedule_all(now);
            return;
        }
        let Some(request) = self.requests.remove(&token) else { return };
        let idle = match self.brokers.get_mut(&request.broker) {
            Some(line) => line.ended(now, outcome.is_ok()),
            None => BTreeSet::new(),
        };
        self.judge_outcome(now, token, &request, outcome, out);
        for id in request.lanes.into_iter().chain(idle) {
            self.schedule(now, id);
        }
    }

    /// Closes every open batch, so that nothing lingers, and names all batches that are outstanding.
    pub(crate) fn flush(&mut self, now: Now) -> Vec<Arc<BatchDone>> {
        let mut outstanding = Vec::new();
        for topic in self.accumulator.topics() {
            for queue in &topic.partitions {
                let waiting = queue.fill();
                if !waiting.is_empty() {
                    outstanding.extend(waiting);
                    self.accumulator.announce(queue);
                }
            }
        }
        for lane in self.lanes.values() {
            outstanding.extend(lane.outstanding().map(|batch| Arc::clone(&batch.done)));
        }
        self.schedule_all(now);
        outstanding
    }

    /// Whether nothing is outstanding.
    pub(crate) fn is_idle(&self) -> bool {
        let mut topics = self.accumulator.topics();
        self.lanes.values().all(|lane| lane.outstanding().next().is_none())
            && topics.all(|topic| topic.partitions.iter().all(|queue| queue.backlog().is_none()))
    }

    // ---- scheduling ------------------------------------------------------------------------------------------

    fn schedule_all(&mut self, now: Now) {
        let ids: Vec<LaneId> = self.lanes.keys().copied().collect();
        for id in ids {
            self.schedule(now, id);
        }
    }

    /// Puts a lane into its broker's line, or arms its timer for when that may be.
    fn schedule(&mut self, now: Now, id: LaneId) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let due = lane.expiry(self.config.delivery_timeout);
        let mut at = due;
        if let Some(until) = lane.blocked_until
            && until > now.instant
        {
            at = earlier(due, Some(until));
        } else if let (Some(leader), false) = (lane.leader, lane.queued) {
            lane.blocked_until = None;
            let line = self.brokers.entry(leader).or_default();
            match line.ready(lane, &self.config, now) {
                Ready::Now => self.line_up(id, leader),
                // The answer will look again.
                Ready::Not => {}
                Ready::At(later) => {
                    if line.in_flight > 0 && matches!(self.config.linger, Linger::Adaptive(_)) {
                        line.lingering.insert(id);
                    }
                    at = earlier(due, Some(later));
                }
            }
        }
        self.arm(id, at);
    }

    /// Lets a lane stand in line; if it may not yet, the identity or the transaction that it waits for will look again.
    fn line_up(&mut self, id: LaneId, leader: NodeId) {
        if !self.may_write(id) {
            return;
        }
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        if self.identity.current().is_some() || !needs_identity(lane, &self.config) {
            lane.queued = true;
            self.brokers.entry(leader).or_default().ready.push_back(id);
        }
    }

    fn arm(&mut self, id: LaneId, at: Option<Instant>) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        if lane.timer == at {
            return;
        }
        if let Some(before) = mem::replace(&mut lane.timer, at) {
            self.timers.remove(&(before, id));
        }
        if let Some(at) = at {
            self.timers.insert((at, id));
        }
    }

    /// Makes lanes for the queues that callers appended to for the first time, and looks at all that they appended to.
    fn see_news(&mut self, now: Now) {
        let mut news = mem::take(&mut self.news);
        self.accumulator.take_news(&mut news);
        for queue in news.drain(..) {
            let id = queue.id;
            self.pack(&queue);
            let snapshot = &self.snapshot;
            self.lanes.entry(id).or_insert_with(|| {
                let mut lane = Lane::new(queue);
                lane.locate(snapshot);
                lane
            });
            self.schedule(now, id);
        }
        self.news = news;
    }

    /// Has the large batches of a queue compressed that are full, long before their turn comes.
    fn pack(&mut self, queue: &Arc<PartitionQueue>) {
        if let Some(least) = self.config.least_packed() {
            let (accumulator, compression) = (&self.accumulator, self.config.compression);
            self.packings.extend(iter::from_fn(|| Packing::of(accumulator, queue, compression, least)));
        }
    }

    fn ask_for_identity(&mut self, now: Now, tokens: &mut Tokens, out: &mut Outbox<Event>) {
        if self.wants_identity() {
            out.calls.extend(self.identity.ask(now, tokens));
        }
    }

    fn wants_identity(&self) -> bool {
        self.identity.current().is_none()
            && self.lanes.values().any(|lane| needs_identity(lane, &self.config))
    }

    // ---- sending ---------------------------------------------------------------------------------------------

    /// The next broker behind `after` for which something is ready.
    fn next_broker(&self, after: Bound<NodeId>) -> Option<NodeId> {
        let mut lines = self.brokers.range((after, Bound::Unbounded));
        lines.find(|(_, line)| !line.ready.is_empty()).map(|(id, _)| *id)
    }

    /// Sends one request to a broker, with at most one batch per partition. `false` where there is nothing to send
    /// or no more may be in flight.
    fn send_to(&mut self, now: Now, broker: NodeId, tokens: &mut Tokens, out: &mut Outbox<Event>) -> bool {
        let token = tokens.next();
        let mut size = 0;
        let mut body = Body::default();
        let mut lanes = Vec::new();
        let mut without = Vec::new();
        while let Some(id) = self.next_ready(broker, size) {
            let Some(mut batch) = self.draw(id, out) else {
                without.push(id);
                continue;
            };
            let Some(lane) = self.lanes.get_mut(&id) else { continue };
            let bytes = batch.send(now.instant);
            size += bytes.len();
            body.add(lane, bytes);
            lane.sent(token, batch);
            lanes.push(id);
        }
        for id in without.iter().chain(&lanes) {
            self.schedule(now, *id);
        }
        if lanes.is_empty() {
            return false;
        }
        out.calls.push(self.call(now, token, broker, body.topics));
        if let Some(line) = self.brokers.get_mut(&broker) {
            line.sent(now);
        }
        self.requests.insert(token, InFlight { broker, lanes });
        true
    }

    /// Takes the next batch of a lane, stamped.
    fn draw(&mut self, id: LaneId, out: &mut Outbox<Event>) -> Option<Batch> {
        let lane = self.lanes.get_mut(&id)?;
        let mut batch = match lane.next(self.config.per_partition()) {
            Next::Nothing => return None,
            Next::Again { .. } => lane.take_again()?,
            Next::Fresh(backlog) => {
                if backlog.is_raw && self.config.least_packed().is_some_and(|least| backlog.bytes >= least) {
                    // It comes back compressed, as news.
                    let queue = Arc::clone(&lane.queue);
                    queue.fill();
                    self.pack(&queue);
                    return None;
                }
                let full = lane.queue.take()?;
                let order = lane.take_order(full.summary().records);
                let batch = match Batch::seal(full, self.config.compression, order) {
                    Ok(batch) => batch,
                    Err(failed) => {
                        out.events.push(Event::Completed(*failed));
                        return None;
                    }
                };
                if self.config.compression.codec != Codec::None {
                    lane.queue.learn(batch.uncompressed_len(), batch.facts().bytes);
                }
                batch
            }
        };
        if self.config.idempotent && !lane.stamp(&mut batch, &mut self.identity) {
            // No identity now: the lane is scheduled again when one comes.
            lane.send_again(batch);
            return None;
        }
        Some(batch)
    }

    /// The next lane in a broker's line whose batch fits a request that holds `size` bytes already.
    fn next_ready(&mut self, broker: NodeId, size: usize) -> Option<LaneId> {
        let line = self.brokers.get_mut(&broker)?;
        if line.in_flight >= self.config.max_in_flight {
            return None;
        }
        let id = *line.ready.front()?;
        let lane = self.lanes.get_mut(&id)?;
        let adds = match lane.next(self.config.per_partition()) {
            Next::Fresh(backlog) => backlog.bytes,
            Next::Again { .. } | Next::Nothing => 0,
        };
        if size > 0 && size + adds > self.config.max_request_size {
            return None;
        }
        line.ready.pop_front();
        lane.queued = false;
        Some(id)
    }

    fn call(&self, now: Now, token: Token, broker: NodeId, topics: Vec<TopicProduceData>) -> Call {
        let by_name = topics.iter().any(|topic| topic.topic_id == Uuid::ZERO);
        let max_version = match self.joining {
            Joining::ByAsking => Some(LAST_VERSION_THAT_JOINS_NOTHING),
            _ => by_name.then_some(LAST_VERSION_BY_NAME),
        };
        let timeout = i32::try_from(self.config.request_timeout.as_millis()).unwrap_or(i32::MAX);
        Call {
            token,
            target: Target::Broker(broker),
            purpose: Purpose::Produce,
            request: ProduceRequest {
                transactional_id: self.config.transactional_id.clone(),
                acks: self.config.acks,
                timeout_ms: timeout,
                topic_data: topics,
                ..ProduceRequest::default()
            }
            .into(),
            deadline: deadline_after(now, self.config.request_timeout),
            max_version,
        }
    }

    /// Asserts what must hold between two steps.
    pub(crate) fn check(&self) {
        for lane in self.lanes.values() {
            lane.check(self.config.per_partition());
        }
        for (broker, line) in &self.brokers {
            debug_assert!(line.in_flight <= self.config.max_in_flight, "too many requests in flight");
            for lane in line.ready.iter().filter_map(|id| self.lanes.get(id)) {
                debug_assert_eq!((lane.queued, lane.leader), (true, Some(*broker)), "in a wrong line");
            }
        }
        let in_flight: usize = self.brokers.values().map(|line| line.in_flight).sum();
        debug_assert_eq!(in_flight, self.requests.len(), "requests and counts disagree");
    }
}

/// Whether a lane could send something, had the producer an id.
fn needs_identity(lane: &Lane, config: &SenderConfig) -> bool {
    config.idempotent
        && match lane.next(config.per_partition()) {
            Next::Nothing | Next::Again { stamped: true } => false,
            Next::Again { stamped: false } | Next::Fresh(_) => true,
        }
}

mod divide;
mod judge;
pub(crate) mod transaction;
mod weigh;

#[cfg(test)]
mod tests;
