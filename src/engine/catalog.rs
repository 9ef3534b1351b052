//! The view of the cluster: which brokers there are, and who leads which partition.
//!
//! One request for metadata is in flight at most. It asks for the topics that somebody wants, and is made when a
//! topic is wanted that is not known, when somebody saw that the view is stale, when something is missing in the
//! last answer (with backoff), and when the view is old.

mod merge;
pub(crate) mod snapshot;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    config::Config,
    engine::{
        backoff::{Backoff, Random},
        machine::{
            Answer, Call, Now, Outbox, Outcome, Purpose, Target, Token, Tokens, deadline_after, earlier,
        },
    },
    error::{Attempt, Code, Error, ErrorKind},
    types::{NodeId, TopicName},
    wire::{
        messages::{MetadataRequest, MetadataResponse, metadata_request::MetadataRequestTopic},
        str::Str,
    },
};

use merge::{Merged, merge};
use snapshot::{LeaderHint, PartitionInfo, Snapshot, Topic};

/// What the catalog tells.
#[derive(Debug)]
pub(crate) enum Event {
    /// There is a new view.
    Updated(Arc<Snapshot>),
    /// A broker could not be asked; these are all that failed lately, and why.
    Failed(Vec<Attempt>),
    /// No address of the bootstrap list has ever led to a broker, and this is how one of them failed. Asking again
    /// cannot help with any of them: they speak another protocol, say.
    Hopeless(Error),
}

/// The machine that keeps the view.
#[derive(Debug)]
pub(crate) struct Catalog {
    bootstrap: Vec<String>,
    backoff: Backoff,
    max_age: Duration,
    patience: Duration,
    /// As long as there is no view: every address gets its share of the time for finding one.
    first_patience: Duration,
    snapshot: Arc<Snapshot>,
    /// When somebody last said that it wants each topic.
    wanted: HashMap<TopicName, Instant>,
    /// When the last answer came, which is when whoever wants a topic says so again.
    answered: Option<Instant>,
    asking: Option<Asking>,
    /// When to ask next.
    due: Option<Instant>,
    /// Whoever asks in a hurry is made to wait until then.
    not_before: Instant,
    /// Who answered last, and is asked first.
    last: Option<NodeId>,
    /// Who was asked in vain since the last answer or the last pause.
    tried: BTreeSet<NodeId>,
    failed: BTreeMap<NodeId, Failed>,
    /// How often in a row everybody was asked in vain, and how many answers in a row lacked something.
    vain_rounds: u32,
    unsettled: u32,
    tokens: Tokens,
    random: Random,
}

#[derive(Debug)]
struct Asking {
    token: Token,
    node: NodeId,
    topics: Vec<TopicName>,
}

/// How a broker could last not be asked.
#[derive(Debug)]
struct Failed {
    at: Instant,
    attempt: Attempt,
    error: Error,
}

/// Two requests are at least this far apart, however many ask for them.
const MIN_INTERVAL: Duration = Duration::from_millis(100);

/// How long a topic stays wanted after somebody said so.
const INTEREST: Duration = Duration::from_secs(600);

/// For how long a topic that is missing is asked for again and again after somebody said that it is wanted. After
/// that it is asked for with all others.
const IMPATIENCE: Duration = Duration::from_secs(60);

/// For how long a broker that failed is asked after those that did not.
const SHUN: Duration = Duration::from_secs(10);

impl Catalog {
    pub(crate) fn new(config: &Config, now: Now, random: Random) -> Self {
        Self {
            bootstrap: config.bootstrap.clone(),
            backoff: Backoff { first: config.retry_backoff, max: config.retry_backoff_max },
            max_age: config.metadata_max_age,
            // Another broker is asked while a silent one still has time to wake up.
            patience: config.request_timeout.min(config.connect_timeout),
            first_patience: config.bootstrap_timeout
                / u32::try_from(config.bootstrap.len()).unwrap_or(1).max(1),
            snapshot: Arc::default(),
            wanted: HashMap::new(),
            answered: None,
            asking: None,
            due: Some(now.instant),
            not_before: now.instant,
            last: None,
            tried: BTreeSet::new(),
            failed: BTreeMap::new(),
            vain_rounds: 0,
            unsettled: 0,
            tokens: Tokens::default(),
            random,
        }
    }

    pub(crate) fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// Has a topic in the view for the next ten minutes, and asks for it at once if nobody wanted it before.
    pub(crate) fn want(&mut self, now: Now, topic: TopicName) {
        let is_new = self.wanted.insert(topic, now.instant).is_none();
        if is_new {
            let at = if self.vain_rounds == 0 { now.instant } else { self.not_before };
            self.due = earlier(self.due, Some(at));
        }
    }

    /// Asks again, soon. Requests of many become one.
    pub(crate) fn refresh(&mut self, now: Now) {
        self.due = earlier(self.due, Some(self.not_before.max(now.instant)));
    }

    /// Takes over what an answer to Produce or Fetch said about a leader, if it is newer than what is known.
    pub(crate) fn leader_changed(&mut self, now: Now, hint: LeaderHint, out: &mut Outbox<Event>) {
        let LeaderHint { partition, topic_id, leader, leader_epoch, broker } = hint;
        let Some(topic) = self.snapshot.topic(&partition.topic) else { return };
        // The epochs of a topic that is gone say nothing about one of the same name.
        if !topic_id.is_zero() && topic.id.is_some_and(|id| id != topic_id) {
            return;
        }
        let Some(info) = topic.partitions.get(&partition.partition.0) else { return };
        if leader_epoch < 0 || info.leader_epoch.is_some_and(|known| leader_epoch <= known) {
            return;
        }
        let broker = broker.filter(|broker| broker.id == leader);
        if broker.is_none() && self.snapshot.broker(leader).is_none() {
            return self.refresh(now);
        }
        tracing::debug!(%partition, leader = %leader, leader_epoch, "a broker told of a new leader");
        let info = PartitionInfo { leader: Some(leader), leader_epoch: Some(leader_epoch), ..info.clone() };
        let mut topic = Topic::clone(topic);
        topic.partitions.insert(partition.partition.0, info);
        let mut snapshot = Snapshot::clone(&self.snapshot);
        snapshot.topics.insert(partition.topic, Ok(Arc::new(topic)));
        if let Some(broker) = broker {
            snapshot.brokers.insert(broker.id, broker);
        }
        self.publish(snapshot, out);
    }

    /// Takes what came of a request.
    pub(crate) fn answer(&mut self, now: Now, token: Token, outcome: Outcome, out: &mut Outbox<Event>) {
        let Some(asking) = self.asking.take_if(|asking| asking.token == token) else { return };
        let response = outcome.map_err(|failure| failure.error).and_then(read);
        match response {
            Ok(response) => self.settle(now, asking, response, out),
            Err(error) => self.fail(now, asking.node, error, out),
        }
        self.tick(now, out);
    }

    /// Asks if it is time to.
    pub(crate) fn tick(&mut self, now: Now, out: &mut Outbox<Event>) {
        if self.asking.is_some() || self.due.is_none_or(|due| now.instant < due) {
            return;
        }
        let Some(node) = self.candidate(now) else { return };
        self.due = None;
        // However long nobody answers, interest does not end before those who have it could say so again.
        let answered = self.answered;
        let is_fresh = |said| answered.is_none_or(|at| said >= at);
        self.wanted.retain(|_, said| now.instant < *said + INTEREST || is_fresh(*said));
        let mut topics: Vec<_> = self.wanted.keys().cloned().collect();
        topics.sort_unstable();
        let request = MetadataRequest {
            // None would mean all topics.
            topics: Some(topics.iter().map(requested).collect()),
            allow_auto_topic_creation: false,
            ..MetadataRequest::default()
        };
        let patience = match self.snapshot.generation {
            0 => self.patience.min(self.first_patience),
            _ => self.patience,
        };
        let token = self.tokens.next();
        self.not_before = now.instant + MIN_INTERVAL;
        self.asking = Some(Asking { token, node, topics });
        out.calls.push(Call {
            token,
            target: Target::Broker(node),
            purpose: Purpose::General,
            request: request.into(),
            deadline: deadline_after(now, patience),
            max_version: None,
        });
    }

    /// When to [`tick`](Self::tick) at the latest.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.due.filter(|_| self.asking.is_none())
    }

    /// Asserts what must always hold.
    pub(crate) fn check(&self) {
        debug_assert!(self.asking.is_some() || self.due.is_some(), "the view is refreshed some day");
        debug_assert!(self.tried.len() <= self.bootstrap.len() + self.snapshot.brokers.len());
    }

    fn settle(&mut self, now: Now, asking: Asking, response: MetadataResponse, out: &mut Outbox<Event>) {
        let Merged { mut snapshot, unsettled } = merge(&self.snapshot, response, &asking.topics);
        if snapshot.brokers.is_empty() {
            let detail = "its answer to Metadata names no broker".to_owned();
            let error = ErrorKind::Malformed { peer: self.address(asking.node), detail }.into();
            return self.fail(now, asking.node, error, out);
        }
        snapshot.topics.retain(|name, _| self.wanted.contains_key(name));
        snapshot.names.retain(|_, name| self.wanted.contains_key(name));
        snapshot.former.retain(|name, _| self.wanted.contains_key(name));
        if snapshot.generation == 1 || self.vain_rounds > 0 {
            let cluster = snapshot.cluster_id.as_deref();
            tracing::info!(cluster, brokers = snapshot.brokers.len(), "the cluster answers");
        }
        self.answered = Some(now.instant);
        self.vain_rounds = 0;
        self.tried.clear();
        self.failed.remove(&asking.node);
        self.failed.retain(|id, _| id.0 < 0 || snapshot.brokers.contains_key(id));
        self.last = Some(asking.node);
        self.due = earlier(self.due, Some(deadline_after(now, self.max_age)));
        let is_awaited = |topic| self.wanted.get(topic).is_some_and(|said| now.instant < *said + IMPATIENCE);
        if unsettled.iter().any(is_awaited) {
            let wait = self.backoff.delay(self.unsettled, &mut self.random);
            self.unsettled = self.unsettled.saturating_add(1);
            self.due = earlier(self.due, Some(deadline_after(now, wait)));
        } else {
            self.unsettled = 0;
        }
        self.publish(snapshot, out);
    }

    fn publish(&mut self, snapshot: Snapshot, out: &mut Outbox<Event>) {
        self.snapshot = Arc::new(snapshot);
        out.events.push(Event::Updated(Arc::clone(&self.snapshot)));
    }

    /// Goes on with the next broker, or pauses when there is none left.
    fn fail(&mut self, now: Now, node: NodeId, error: Error, out: &mut Outbox<Event>) {
        let attempt = Attempt { address: self.address(node), reason: reason(&error) };
        tracing::debug!(broker = %node, address = attempt.address, reason = attempt.reason, "no metadata");
        self.tried.insert(node);
        self.failed.insert(node, Failed { at: now.instant, attempt, error });
        self.last = self.last.filter(|last| *last != node);
        self.due = Some(now.instant);
        if self.candidate(now).is_none() {
            let wait = self.backoff.delay(self.vain_rounds, &mut self.random);
            if self.vain_rounds == 0 {
                tracing::warn!(brokers = self.tried.len(), "no broker answers; trying on");
            }
            self.vain_rounds = self.vain_rounds.saturating_add(1);
            self.tried.clear();
            self.not_before = deadline_after(now, wait);
            self.due = Some(self.not_before);
        }
        out.events.push(Event::Failed(self.failed.values().map(|failed| failed.attempt.clone()).collect()));
        out.events.extend(self.hopeless().map(Event::Hopeless));
    }

    /// An error of an address, if all have failed and none can be better off next time.
    fn hopeless(&self) -> Option<Error> {
        let all = self.snapshot.generation == 0 && self.failed.len() == self.bootstrap.len();
        let hopeless = all && self.failed.values().all(|failed| !failed.error.is_retriable());
        self.failed.values().next().filter(|_| hopeless).map(|failed| failed.error.clone())
    }

    /// Whom to ask next: who answered last, then the known brokers, then the bootstrap addresses, whose names are
    /// resolved anew (KIP-899), each kind in random order, and those that failed lately last of all.
    fn candidate(&mut self, now: Now) -> Option<NodeId> {
        let known = self.snapshot.brokers.keys().copied();
        let addresses = (0..self.bootstrap.len()).filter_map(bootstrap_node);
        let untried = known.chain(addresses).filter(|node| !self.tried.contains(node));
        let order = |node: &NodeId| {
            let failed = self.failed.get(node);
            let shunned =
                failed.is_some_and(|failed| now.instant.saturating_duration_since(failed.at) < SHUN);
            (shunned, self.last != Some(*node), node.0 < 0, self.random.next_u64())
        };
        untried.min_by_key(order)
    }

    /// Where a broker is, in words.
    fn address(&self, node: NodeId) -> String {
        match (bootstrap_index(node).and_then(|index| self.bootstrap.get(index)), self.snapshot.broker(node))
        {
            (Some(address), _) => address.clone(),
            (None, Some(broker)) => format!("{}:{}", broker.host, broker.port),
            (None, None) => format!("broker {node}"),
        }
    }
}

/// The id that stands for an address of the bootstrap list. Which broker is there is not known, and may change.
pub(crate) fn bootstrap_node(index: usize) -> Option<NodeId> {
    i32::try_from(index).ok()?.checked_add(1)?.checked_neg().map(NodeId)
}

/// The place in the bootstrap list that the id stands for, if it stands for one.
pub(crate) fn bootstrap_index(node: NodeId) -> Option<usize> {
    usize::try_from(node.0.checked_neg()?).ok()?.checked_sub(1)
}

fn requested(topic: &TopicName) -> MetadataRequestTopic {
    MetadataRequestTopic { name: Some(Str::from(topic.shared())), ..MetadataRequestTopic::default() }
}

/// An answer to Metadata.
pub(crate) fn read(answer: Answer) -> Result<MetadataResponse, Error> {
    let response = MetadataResponse::try_from(answer.response).map_err(|wrong| {
        Error::from(ErrorKind::Malformed {
            peer: format!("broker {}", answer.node),
            detail: wrong.to_string(),
        })
    })?;
    match Code::check(response.error_code) {
        Ok(()) => Ok(response),
        Err(code) => Err(Error::broker(code, "Metadata", "")),
    }
}

/// Why an attempt failed, without the address that stands beside it.
fn reason(error: &Error) -> String {
    match error.kind() {
        ErrorKind::Io { detail, .. } => detail.clone(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests;
