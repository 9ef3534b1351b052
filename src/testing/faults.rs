//! Rules that make the cluster misbehave.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::api::Api;
use super::journal::Entry;
use crate::engine::backoff::Random;
use crate::error::Code;
use crate::types::{NodeId, Partition, TopicName};

/// What happens to a request that a [`Rule`] picks.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// It is answered this code and nothing is done. Where the rule names a topic or partition, only that is refused.
    Refuse(Code),
    /// It is carried out, and answered this code all the same, as `REQUEST_TIMED_OUT` and
    /// `NOT_ENOUGH_REPLICAS_AFTER_APPEND` are: whoever asked cannot know.
    ApplyThenRefuse(Code),
    /// It is carried out, and the answer comes this much later.
    Delay(Duration),
    /// The answer asks the client to wait (`throttle_time_ms`), and the broker takes nothing more from the connection for
    /// so long (KIP-219).
    Throttle(Duration),
    /// Nothing is done and nothing is answered; the connection stays open, and dead.
    Ignore,
    /// It is carried out and never answered; the connection stays open, and dead.
    DropAnswer,
    /// The connection is closed, and nothing is done.
    CloseBefore,
    /// It is carried out, and the connection is closed instead of an answer.
    CloseAfter,
    /// It is carried out, and these bytes are sent instead of the answer, with no length in front.
    Garbage(Vec<u8>),
}

/// Which requests meet a [`Fault`]: all that fit every condition given.
///
/// ```
/// use milena::Code;
/// use milena::testing::{Api, Fault, Rule};
///
/// // The second and third write to the topic are done, but answered with an error.
/// let rule = Rule::new(Fault::ApplyThenRefuse(Code::REQUEST_TIMED_OUT))
///     .on(Api::Produce)
///     .topic("orders")
///     .skip(1)
///     .times(2);
/// # let _ = rule;
/// ```
#[derive(Clone, Debug)]
#[must_use = "a rule does nothing until the cluster is given it"]
pub struct Rule {
    fault: Fault,
    api: Option<Api>,
    node: Option<NodeId>,
    topic: Option<TopicName>,
    partition: Option<Partition>,
    group: Option<String>,
    transactional_id: Option<String>,
    client_id: Option<String>,
    skip: u64,
    times: u64,
    chance: f64,
}

impl Rule {
    /// A rule for every request.
    pub fn new(fault: Fault) -> Self {
        Self {
            fault,
            api: None,
            node: None,
            topic: None,
            partition: None,
            group: None,
            transactional_id: None,
            client_id: None,
            skip: 0,
            times: u64::MAX,
            chance: 1.0,
        }
    }

    /// Only this kind of request.
    pub fn on(mut self, api: Api) -> Self {
        self.api = Some(api);
        self
    }

    /// Only requests to this node.
    pub fn node(mut self, node: impl Into<NodeId>) -> Self {
        self.node = Some(node.into());
        self
    }

    /// Only requests that name this topic.
    pub fn topic(mut self, topic: impl Into<TopicName>) -> Self {
        self.topic = Some(topic.into());
        self
    }

    /// Only requests that name this partition, of the topic or of any.
    pub fn partition(mut self, partition: impl Into<Partition>) -> Self {
        self.partition = Some(partition.into());
        self
    }

    /// Only requests about this group.
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.group = Some(group.into());
        self
    }

    /// Only requests about this transactional id.
    pub fn transactional_id(mut self, id: impl Into<String>) -> Self {
        self.transactional_id = Some(id.into());
        self
    }

    /// Only requests of clients that call themselves so.
    pub fn client_id(mut self, client_id: impl Into<String>) -> Self {
        self.client_id = Some(client_id.into());
        self
    }

    /// Lets the first requests that fit pass. Default: none.
    pub fn skip(mut self, count: u64) -> Self {
        self.skip = count;
        self
    }

    /// Ends after so many hits. Default: never.
    pub fn times(mut self, count: u64) -> Self {
        self.times = count;
        self
    }

    /// Hits a request that fits with this probability, from 0 to 1. Default: 1. The cluster's seed decides which.
    pub fn chance(mut self, probability: f64) -> Self {
        self.chance = probability;
        self
    }

    fn fits(&self, entry: &Entry) -> bool {
        let partition_fits = || {
            entry.partitions.iter().any(|named| {
                self.topic.as_ref().is_none_or(|topic| named.topic == *topic)
                    && self.partition.is_none_or(|partition| named.partition == partition)
            })
        };
        self.api.is_none_or(|api| api == entry.api)
            && self.node.is_none_or(|node| node == entry.node)
            && self.client_id.as_ref().is_none_or(|client| *client == entry.client_id)
            && self.group.as_ref().is_none_or(|group| entry.groups.contains(group))
            && self.transactional_id.as_ref().is_none_or(|id| entry.transactional_ids.contains(id))
            && (self.topic.is_none() && self.partition.is_none() || partition_fits())
    }

    pub(super) fn fault(&self) -> &Fault {
        &self.fault
    }

    /// The topic and the partition that the rule is about.
    pub(super) fn scope(&self) -> (Option<&TopicName>, Option<Partition>) {
        (self.topic.as_ref(), self.partition)
    }
}

/// Names a rule that is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FaultId(u64);

/// The rules in force, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Faults {
    rules: Vec<Active>,
    given: u64,
}

#[derive(Debug)]
struct Active {
    id: FaultId,
    rule: Rule,
    fitted: u64,
    hits: Arc<AtomicU64>,
}

impl Faults {
    /// Puts a rule in force; the counter tells how many requests it has hit.
    pub(super) fn add(&mut self, rule: Rule) -> (FaultId, Arc<AtomicU64>) {
        self.given += 1;
        let (id, hits) = (FaultId(self.given), Arc::new(AtomicU64::new(0)));
        self.rules.push(Active { id, rule, fitted: 0, hits: Arc::clone(&hits) });
        (id, hits)
    }

    pub(super) fn remove(&mut self, id: FaultId) {
        self.rules.retain(|active| active.id != id);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The rules that hit a request; each counts it.
    pub(super) fn hit(&mut self, entry: &Entry, random: &mut Random) -> Vec<Rule> {
        let mut hits = Vec::new();
        for active in self.rules.iter_mut().filter(|active| active.rule.fits(entry)) {
            active.fitted += 1;
            let due = active.fitted > active.rule.skip
                && active.hits.load(Ordering::Relaxed) < active.rule.times
                && random.fraction() < active.rule.chance;
            if due {
                active.hits.fetch_add(1, Ordering::Relaxed);
                hits.push(active.rule.clone());
            }
        }
        hits
    }
}
