//! One member under the consumer protocol.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use regex_lite::Regex;

use crate::engine::machine::{Now, deadline_after};
use crate::testing::broker::group::committer::Committer;
use crate::testing::broker::heartbeat::Key;
use crate::wire::messages::ConsumerGroupHeartbeatRequest;
use crate::wire::str::Str;

/// The epoch of a static member that may come back.
pub(super) const LEFT_FOR_NOW: i32 = -2;

/// What a member says that it owns, if it says so.
pub(super) fn owned(request: &ConsumerGroupHeartbeatRequest) -> Option<BTreeSet<Key>> {
    let topics = request.topic_partitions.as_ref()?.iter();
    Some(topics.flat_map(|topic| topic.partitions.iter().map(|p| (topic.topic_id, *p))).collect())
}

/// A regular expression that the whole name of a topic has to match; none, if it is empty.
pub(super) fn expression(regex: &str) -> Result<Option<Regex>, regex_lite::Error> {
    if regex.is_empty() {
        return Ok(None);
    }
    // Alone first: a parenthesis too many would close the group around it.
    Regex::new(regex)?;
    Regex::new(&format!("^(?:{regex})$")).map(Some)
}

/// What a member is that speaks the classic protocol, beside what all are.
#[derive(Clone, Debug)]
pub(in crate::testing::broker::group) struct Classic {
    pub(in crate::testing::broker::group) client_id: Str,
    pub(in crate::testing::broker::group) session: Duration,
    /// Names and metadata, best first.
    pub(in crate::testing::broker::group) protocols: Vec<(Str, Bytes)>,
    /// When it is thrown out if it has not joined again.
    pub(super) rejoin_by: Option<Instant>,
}

impl Classic {
    pub(in crate::testing::broker::group) fn new(
        client_id: Str,
        session: Duration,
        protocols: Vec<(Str, Bytes)>,
    ) -> Self {
        Self { client_id, session, protocols, rejoin_by: None }
    }
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) instance: Option<Str>,
    rebalance: Duration,
    topics: BTreeSet<Str>,
    /// With which the names of topics are matched.
    regex: Option<(Str, Regex)>,
    pub(super) epoch: i32,
    /// The epoch before, in which a member speaks that has not got the last answer.
    previous: i32,
    pub(super) target: BTreeSet<Key>,
    /// What it may own.
    pub(super) assigned: BTreeSet<Key>,
    /// In which epoch it was given each of these.
    since: BTreeMap<Key, i32>,
    /// What it has to give up before it goes on.
    pub(super) revoking: BTreeSet<Key>,
    /// If it speaks the classic protocol.
    pub(super) classic: Option<Classic>,
    expires: Option<Instant>,
    /// When it is thrown out if it has not given up what it has to.
    revoked_by: Option<Instant>,
}

impl Member {
    pub(super) fn new(instance: Option<Str>) -> Self {
        Self {
            instance,
            rebalance: Duration::ZERO,
            topics: BTreeSet::new(),
            regex: None,
            epoch: 0,
            previous: 0,
            target: BTreeSet::new(),
            assigned: BTreeSet::new(),
            since: BTreeMap::new(),
            revoking: BTreeSet::new(),
            classic: None,
            expires: None,
            revoked_by: None,
        }
    }

    /// A static member is back, under another id, and has what it had.
    pub(super) fn come_back(self) -> Self {
        Self { epoch: 0, previous: 0, ..self }
    }

    pub(super) fn leave_for_now(&mut self) {
        self.epoch = LEFT_FOR_NOW;
        self.revoked_by = None;
    }

    pub(super) fn is_heard(&mut self, now: Now, session: Duration) {
        self.expires = Some(deadline_after(now, session));
    }

    /// When it is thrown out.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let rejoin_by = self.classic.as_ref().and_then(|classic| classic.rejoin_by);
        [self.expires, self.revoked_by, rejoin_by].into_iter().flatten().min()
    }

    /// How long it may take to give up what it has to.
    pub(super) fn rebalance(&self) -> Duration {
        self.rebalance
    }

    /// It was a member of a classic group, in this generation.
    pub(super) fn take_over(
        &mut self,
        generation: i32,
        assigned: BTreeSet<Key>,
        topics: Vec<Str>,
        rebalance: Duration,
    ) {
        (self.epoch, self.previous) = (generation, generation);
        self.since = assigned.iter().map(|key| (*key, generation)).collect();
        self.target.clone_from(&assigned);
        self.assigned = assigned;
        self.subscribe(topics, rebalance);
    }

    /// Takes what a member by the classic protocol says; whether it reads other topics than before.
    pub(super) fn subscribe(&mut self, topics: Vec<Str>, rebalance: Duration) -> bool {
        self.rebalance = rebalance;
        let topics: BTreeSet<Str> = topics.into_iter().collect();
        let has_news = topics != self.topics;
        self.topics = topics;
        has_news
    }

    /// Whether it is to get something of this kind that it does not have yet.
    pub(super) fn awaits_one_of(&self, is_free: impl Fn(&Key) -> bool) -> bool {
        self.revoking.is_empty() && self.target.difference(&self.assigned).any(is_free)
    }

    /// Whether it owns what it is assigned.
    pub(super) fn is_settled(&self, epoch: i32) -> bool {
        (self.epoch == epoch && self.assigned == self.target) || self.epoch == LEFT_FOR_NOW
    }

    /// Whether a commit is in the member's epoch, or in an older one of what it has had since then (KIP-1251).
    pub(super) fn may_commit(&self, by: Committer<'_>) -> bool {
        let is_kept = |key: &Key| self.has_had_since(by.generation, key);
        self.epoch == by.generation
            || (by.assignment_epochs && by.generation < self.epoch && by.partitions.iter().all(is_kept))
    }

    /// Whether it has had a partition from this epoch on.
    fn has_had_since(&self, epoch: i32, key: &Key) -> bool {
        self.assigned.contains(key) && self.since.get(key).is_some_and(|since| *since <= epoch)
    }

    /// Whether a heartbeat is in the member's epoch, or in the one before with nothing owned but what may be.
    pub(super) fn accepts(&self, request: &ConsumerGroupHeartbeatRequest) -> bool {
        let is_within = owned(request).is_some_and(|owned| owned.is_subset(&self.assigned));
        request.member_epoch == self.epoch || (request.member_epoch == self.previous && is_within)
    }

    /// Takes what a heartbeat says; whether the group has to be assigned anew.
    pub(super) fn take(&mut self, request: &ConsumerGroupHeartbeatRequest) -> bool {
        if let Ok(ms) = u64::try_from(request.rebalance_timeout_ms) {
            self.rebalance = Duration::from_millis(ms);
        }
        let mut has_news = false;
        if let Some(topics) = &request.subscribed_topic_names {
            let topics: BTreeSet<Str> = topics.iter().cloned().collect();
            has_news |= topics != self.topics;
            self.topics = topics;
        }
        if let Some(regex) = &request.subscribed_topic_regex {
            has_news |= self.regex.as_ref().map_or("", |(regex, _)| regex) != &**regex;
            self.regex = expression(regex).ok().flatten().map(|compiled| (regex.clone(), compiled));
        }
        has_news
    }

    /// Whether it reads a topic of this name.
    pub(super) fn wants(&self, topic: &str) -> bool {
        let matches = |(_, regex): &(Str, Regex)| regex.is_match(topic);
        self.topics.contains(topic) || self.regex.as_ref().is_some_and(matches)
    }

    /// Goes the next step to what is assigned in `epoch`. `owned` is what the member says that it has.
    pub(super) fn reconcile(
        &mut self,
        now: Now,
        epoch: i32,
        owned: Option<&BTreeSet<Key>>,
        is_taken: impl Fn(&Key) -> bool,
    ) {
        let still_has = |keys: &BTreeSet<Key>| owned.is_none_or(|owned| !keys.is_disjoint(owned));
        if !self.revoking.is_empty() {
            if still_has(&self.revoking) {
                return;
            }
            self.revoking.clear();
            self.revoked_by = None;
        }
        let given_up: BTreeSet<Key> = self.assigned.difference(&self.target).copied().collect();
        self.assigned.retain(|key| self.target.contains(key));
        if !given_up.is_empty() && still_has(&given_up) {
            self.revoking = given_up;
            self.revoked_by = Some(deadline_after(now, self.rebalance));
            return;
        }
        let free = self.target.iter().filter(|key| !is_taken(key));
        self.assigned.extend(free.copied());
        self.since.retain(|key, _| self.assigned.contains(key));
        for key in &self.assigned {
            self.since.entry(*key).or_insert(epoch);
        }
        if self.epoch != epoch {
            self.previous = self.epoch;
            self.epoch = epoch;
        }
    }
}
