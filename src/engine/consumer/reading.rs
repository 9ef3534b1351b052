//! From assigned partitions to records: positions, fetches, and the hand-over to the user.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use super::settings::{OutOfRange, Truncated};
use crate::{
    engine::{
        catalog::snapshot::{LeaderHint, Snapshot},
        fetch::{self, Fetcher},
        hand::{ConsumerEvent, Hand, Progress, Request},
        machine::{Call, Now, Outbox, Outcome, Token, deadline_after, earlier},
        partition::{Claim, Claims, Leader, Spot},
        position::{self, Positions},
    },
    error::{Error, ErrorKind},
    types::{OffsetAndMetadata, OffsetSpec, Position, TopicName, TopicPartition},
    wire::uuid::Uuid,
};

/// What the reading half needs from the rest.
#[derive(Debug)]
pub(super) enum Event {
    Refresh,
    LeaderHint(LeaderHint),
    /// Reading starts where the group has committed, or else there; to be answered by
    /// [`Reading::start_at_committed`].
    NeedsCommitted(TopicPartition, Claim, Position),
}

/// What to do where reading does not just go on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) out_of_range: OutOfRange,
    pub(super) truncated: Truncated,
    pub(super) follows_recreated: bool,
    /// How often to look for a leader where there is none.
    pub(super) patience: Duration,
}

/// The partitions that are read.
#[derive(Debug)]
pub(super) struct Reading {
    hand: Arc<Hand>,
    rules: Rules,
    snapshot: Arc<Snapshot>,
    claims: Claims,
    partitions: BTreeMap<TopicPartition, Claim>,
    /// Those of them that the user has chosen to read beside what the group assigns.
    companions: BTreeSet<TopicPartition>,
    /// The topics that the positions belong to: one of the same name that is created later has another id.
    topic_ids: BTreeMap<TopicPartition, Uuid>,
    /// As which topic each name was read last.
    last_read: BTreeMap<TopicName, Uuid>,
    positions: Positions,
    fetcher: Fetcher,
    position_out: Outbox<position::Event>,
    fetch_out: Outbox<fetch::Event>,
    events: Vec<Event>,
    /// Those without a leader, and whether that was told.
    leaderless: BTreeMap<TopicPartition, bool>,
    refresh_at: Option<Instant>,
}

impl Reading {
    pub(super) fn new(hand: Arc<Hand>, rules: Rules, positions: Positions, fetcher: Fetcher) -> Self {
        Self {
            hand,
            rules,
            snapshot: Arc::default(),
            claims: Claims::default(),
            partitions: BTreeMap::new(),
            companions: BTreeSet::new(),
            topic_ids: BTreeMap::new(),
            last_read: BTreeMap::new(),
            positions,
            fetcher,
            position_out: Outbox::default(),
            fetch_out: Outbox::default(),
            events: Vec::new(),
            leaderless: BTreeMap::new(),
            refresh_at: None,
        }
    }

    pub(super) fn hand(&self) -> &Hand {
        &self.hand
    }

    /// What is read, but for the [`companions`](Self::companions).
    pub(super) fn partitions(&self) -> impl Iterator<Item = &TopicPartition> {
        self.partitions.keys().filter(|partition| !self.companions.contains(partition))
    }

    /// What is read beside what the group assigns.
    pub(super) fn companions(&self) -> &BTreeSet<TopicPartition> {
        &self.companions
    }

    pub(super) fn contains(&self, partition: &TopicPartition) -> bool {
        self.partitions.contains_key(partition)
    }

    /// How far the user has got, as far as it may be committed: offsets of a topic that is gone mean nothing in another.
    pub(super) fn progress(&self) -> Vec<Progress> {
        let mut progress = self.hand.progress();
        progress.retain(|progress| !self.is_of_former_topic(&progress.partition));
        progress
    }

    /// Whether the topic was deleted and created again since the partition's position was taken.
    pub(super) fn is_of_former_topic(&self, partition: &TopicPartition) -> bool {
        let of_position = self.topic_ids.get(partition).copied().unwrap_or(Uuid::ZERO);
        let current = self.snapshot.topic(&partition.topic).and_then(|topic| topic.id);
        !of_position.is_zero() && current.is_some_and(|id| id != of_position)
    }

    /// The claim under which a partition is read now.
    pub(super) fn claim(&self, partition: &TopicPartition) -> Option<Claim> {
        self.partitions.get(partition).copied()
    }

    /// Takes on a partition; [`start_at`](Self::start_at) says where it is read from. If it was a companion, it is none
    /// any more.
    pub(super) fn assign(&mut self, now: Now, partition: &TopicPartition) -> Claim {
        if self.contains(partition) {
            self.remove(partition);
        }
        let claim = self.claims.next();
        self.hand.assign(partition.clone(), claim);
        self.take_on(now, partition, claim)
    }

    /// Takes on a partition beside what the group assigns.
    pub(super) fn accompany(&mut self, now: Now, partition: &TopicPartition) -> Claim {
        let claim = self.claims.next();
        self.hand.accompany(partition.clone(), claim);
        self.companions.insert(partition.clone());
        self.take_on(now, partition, claim)
    }

    fn take_on(&mut self, now: Now, partition: &TopicPartition, claim: Claim) -> Claim {
        let leader = leader(&self.snapshot, partition);
        if leader.is_none() {
            self.leaderless.insert(partition.clone(), false);
        }
        self.fetcher.add(now, partition.clone(), claim, leader, false);
        self.partitions.insert(partition.clone(), claim);
        claim
    }

    /// Reads a partition from a position on, unless the claim is no longer the partition's.
    pub(super) fn start_at(
        &mut self,
        now: Now,
        partition: &TopicPartition,
        claim: Claim,
        position: Position,
    ) {
        if self.claim(partition) != Some(claim) {
            return;
        }
        let look_up = match position {
            Position::Earliest => OffsetSpec::Earliest,
            Position::Latest => OffsetSpec::Latest,
            Position::Timestamp(ms) => OffsetSpec::Timestamp(ms),
            Position::Ago(age) => {
                let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
                OffsetSpec::Timestamp(now.unix_ms.saturating_sub(age))
            }
            Position::At(offset) => {
                self.start(partition, claim, Spot { offset: offset.0, leader_epoch: None });
                return;
            }
            Position::Committed => {
                self.events.push(Event::NeedsCommitted(partition.clone(), claim, position));
                return;
            }
        };
        let leader = leader(&self.snapshot, partition);
        self.positions.look_up(now, partition.clone(), claim, look_up, leader);
    }

    /// What the group has committed for a partition; where it has nothing, reading starts at `otherwise`.
    pub(super) fn start_at_committed(
        &mut self,
        now: Now,
        partition: &TopicPartition,
        claim: Claim,
        committed: Option<&OffsetAndMetadata>,
        otherwise: Position,
    ) {
        match (committed, otherwise) {
            _ if self.claim(partition) != Some(claim) => {}
            (Some(committed), _) => {
                let spot = Spot { offset: committed.offset.0, leader_epoch: committed.leader_epoch };
                self.start(partition, claim, spot);
            }
            (None, Position::Committed) => {
                let error = ErrorKind::NoPosition { partition: partition.clone() };
                self.hand.fail(Some(partition.clone()), error.into());
            }
            (None, _) if self.was_recreated(partition) => self.recreated(now, partition, claim),
            (None, otherwise) => self.start_at(now, partition, claim, otherwise),
        }
    }

    fn start(&mut self, partition: &TopicPartition, claim: Claim, spot: Spot) {
        let topic_id = leader(&self.snapshot, partition).map_or(Uuid::ZERO, |leader| leader.topic_id);
        self.topic_ids.insert(partition.clone(), topic_id);
        if !topic_id.is_zero() {
            self.last_read.insert(partition.topic.clone(), topic_id);
        }
        self.hand.start(partition, claim, spot);
        self.fetcher.start(partition, claim, spot);
    }

    /// Reads on from another position. What is buffered or under way is dropped.
    pub(super) fn seek(&mut self, now: Now, partition: &TopicPartition, position: Position) {
        if let Some(claim) = self.reset(now, partition) {
            self.start_at(now, partition, claim, position);
        }
    }

    /// Reads on from where the group has committed, or, where it has not, from `otherwise`. What is buffered or under way
    /// is dropped.
    pub(super) fn rewind(&mut self, now: Now, partition: &TopicPartition, otherwise: Position) {
        if let Some(claim) = self.reset(now, partition) {
            self.events.push(Event::NeedsCommitted(partition.clone(), claim, otherwise));
        }
    }

    fn reset(&mut self, now: Now, partition: &TopicPartition) -> Option<Claim> {
        if !self.contains(partition) {
            return None;
        }
        let claim = self.claims.next();
        self.partitions.insert(partition.clone(), claim);
        self.positions.forget(partition);
        self.hand.reset(partition, claim);
        self.fetcher.reset(now, partition, claim);
        Some(claim)
    }

    /// Reads no more of a partition; how far the user got stays known until it is removed.
    pub(super) fn stop(&mut self, partition: &TopicPartition) {
        self.hand.stop(partition);
        self.fetcher.remove(partition);
        self.positions.forget(partition);
    }

    pub(super) fn remove(&mut self, partition: &TopicPartition) {
        self.stop(partition);
        self.hand.remove(partition);
        self.partitions.remove(partition);
        self.companions.remove(partition);
        self.leaderless.remove(partition);
        self.topic_ids.remove(partition);
    }

    pub(super) fn catalog(&mut self, snapshot: Arc<Snapshot>) {
        self.snapshot = snapshot;
        let before = mem::take(&mut self.leaderless);
        for partition in self.partitions.keys() {
            let leader = leader(&self.snapshot, partition);
            if leader.is_none() {
                // Of what is not in the view nothing is known yet.
                let topic = self.snapshot.topic(&partition.topic);
                let is_seen =
                    topic.is_some_and(|topic| topic.partitions.contains_key(&partition.partition.0));
                let was_told = before.get(partition).is_some_and(|told| *told);
                if is_seen && !was_told {
                    self.hand.tell(ConsumerEvent::NoLeader { partition: partition.clone() });
                }
                self.leaderless.insert(partition.clone(), is_seen || was_told);
            }
            if let (Some(id), Some(leader)) = (self.topic_ids.get_mut(partition), leader)
                && id.is_zero()
            {
                *id = leader.topic_id;
            }
            self.positions.set_leader(partition, leader);
            self.fetcher.set_leader(partition, leader, &mut self.fetch_out);
        }
    }

    pub(super) fn position_answer(&mut self, now: Now, token: Token, outcome: Outcome) {
        self.positions.answer(now, token, outcome, &mut self.position_out);
    }

    pub(super) fn fetch_answer(&mut self, now: Now, token: Token, outcome: Outcome) {
        self.fetcher.answer(now, token, outcome, &mut self.fetch_out);
    }

    /// Passes events on between the machines until there are none, and asks what is to be asked.
    pub(super) fn tick(&mut self, now: Now, calls: &mut Vec<Call>) -> Vec<Event> {
        for request in self.hand.take_requests() {
            self.requested(now, request);
        }
        loop {
            for event in mem::take(&mut self.position_out.events) {
                self.positioned(event);
            }
            for event in mem::take(&mut self.fetch_out.events) {
                self.fetched(now, event);
            }
            self.positions.tick(now, &mut self.position_out);
            self.fetcher.tick(now, &mut self.fetch_out);
            calls.append(&mut self.position_out.calls);
            calls.append(&mut self.fetch_out.calls);
            if self.position_out.events.is_empty() && self.fetch_out.events.is_empty() {
                break;
            }
        }
        self.look_for_leaders(now);
        mem::take(&mut self.events)
    }

    fn look_for_leaders(&mut self, now: Now) {
        if self.leaderless.is_empty() {
            self.refresh_at = None;
        } else if self.refresh_at.is_none_or(|at| at <= now.instant) {
            self.events.push(Event::Refresh);
            self.refresh_at = Some(deadline_after(now, self.rules.patience));
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        earlier(earlier(self.positions.deadline(), self.fetcher.deadline()), self.refresh_at)
    }

    fn positioned(&mut self, event: position::Event) {
        match event {
            position::Event::Found { partition, claim, offset, leader_epoch } => {
                if self.claim(&partition) == Some(claim) {
                    tracing::debug!(%partition, %offset, "reading starts");
                    self.start(&partition, claim, Spot { offset: offset.0, leader_epoch });
                }
            }
            position::Event::Refused { partition, claim, error } => self.fail(partition, claim, error),
            position::Event::Refresh => self.events.push(Event::Refresh),
        }
    }

    fn fetched(&mut self, now: Now, event: fetch::Event) {
        match event {
            fetch::Event::Fetched(fetched) => self.hand.deliver(fetched),
            fetch::Event::End { partition, end } => self.hand.note_end(&partition, end),
            fetch::Event::OutOfRange { partition, claim, offset } => {
                self.left_the_log(now, partition, claim, offset);
            }
            fetch::Event::Truncated { partition, claim, at } => self.truncated(now, &partition, claim, at),
            fetch::Event::Failed { partition, claim, error }
            | fetch::Event::Stuck { partition, claim, error } => {
                self.fail(partition, claim, error);
            }
            fetch::Event::Recreated { partition, claim } => {
                self.recreated(now, &partition, claim);
            }
            fetch::Event::BrokerRefused { node, error } => {
                tracing::warn!(broker = %node, %error, "a broker cannot be fetched from");
                self.hand.fail(None, error);
            }
            fetch::Event::Throttled { node, delay } => {
                self.hand.tell(ConsumerEvent::Throttled { broker: node, delay });
            }
            fetch::Event::LeaderHint(hint) => self.events.push(Event::LeaderHint(hint)),
            fetch::Event::Refresh => self.events.push(Event::Refresh),
        }
    }

    /// Whether a topic was read under this name, and it is another one now.
    fn was_recreated(&self, partition: &TopicPartition) -> bool {
        let current = self.snapshot.topic(&partition.topic).and_then(|topic| topic.id);
        let last = self.last_read.get(&partition.topic);
        last.is_some_and(|last| current.is_some_and(|current| current != *last))
    }

    fn recreated(&mut self, now: Now, partition: &TopicPartition, claim: Claim) {
        if self.claim(partition) != Some(claim) {
            return;
        }
        let follows = self.rules.follows_recreated;
        tracing::warn!(%partition, follows, "the topic was deleted, and another created under its name");
        self.hand.tell(ConsumerEvent::TopicRecreated { partition: partition.clone() });
        if follows {
            self.seek(now, partition, Position::Earliest);
        } else {
            let error = topic_recreated(&partition.topic);
            self.fail(partition.clone(), claim, error);
        }
    }

    fn left_the_log(&mut self, now: Now, partition: TopicPartition, claim: Claim, offset: i64) {
        if self.claim(&partition) != Some(claim) {
            return;
        }
        tracing::warn!(%partition, offset, policy = ?self.rules.out_of_range, "the log does not hold the offset to read");
        self.hand.tell(ConsumerEvent::OffsetOutOfRange { partition: partition.clone(), offset });
        match self.rules.out_of_range {
            OutOfRange::Earliest => self.seek(now, &partition, Position::Earliest),
            OutOfRange::Latest => self.seek(now, &partition, Position::Latest),
            OutOfRange::Fail => {
                let setting = "on_out_of_range";
                let error = ErrorKind::OffsetOutOfRange { partition: partition.clone(), offset, setting };
                self.fail(partition, claim, error.into());
            }
        }
    }

    /// The log parts from what was fetched at this place. What lies behind it and was not handed out yet is dropped.
    fn truncated(&mut self, now: Now, partition: &TopicPartition, claim: Claim, at: Spot) {
        if self.claim(partition) != Some(claim) {
            return;
        }
        let renewed = self.renew(now, partition);
        let Some(position) = self.hand.position(partition) else { return };
        if position.offset <= at.offset && position.leader_epoch <= at.leader_epoch {
            tracing::info!(%partition, offset = at.offset, "the log was truncated behind what was handed out");
            self.fetcher.start(partition, renewed, position);
            return;
        }
        let (policy, leader_epoch) = (self.rules.truncated, at.leader_epoch);
        let diverges_at = at.offset.min(position.offset);
        tracing::warn!(%partition, offset = position.offset, diverges_at, ?leader_epoch, ?policy, "the log has lost records that were handed out");
        let (parted, offset) = (partition.clone(), position.offset);
        self.hand.tell(ConsumerEvent::LogTruncated { partition: parted, offset, diverges_at });
        match policy {
            Truncated::Rewind => {
                let to = Spot { offset: diverges_at, leader_epoch };
                self.hand.rewind(partition, renewed, to);
                self.fetcher.start(partition, renewed, to);
            }
            Truncated::Fail => {
                let (partition, offset) = (partition.clone(), position.offset);
                let setting = "on_truncation";
                let error =
                    ErrorKind::LogTruncated { partition: partition.clone(), offset, diverges_at, setting };
                self.fail(partition, renewed, error.into());
            }
        }
    }

    fn requested(&mut self, now: Now, request: Request) {
        let (partition, claim) = match &request {
            Request::Refetch { partition, claim, .. } | Request::Stop { partition, claim } => {
                (partition, claim)
            }
            Request::Pause { partition, paused } => return self.fetcher.pause(partition, *paused),
        };
        if self.claim(partition) != Some(*claim) {
            return;
        }
        let renewed = self.renew(now, partition);
        if let Request::Refetch { partition, from, .. } = &request {
            self.fetcher.start(partition, renewed, *from);
        }
    }

    /// Whatever is buffered or under way for the partition is void; how far the user got is not.
    fn renew(&mut self, now: Now, partition: &TopicPartition) -> Claim {
        let renewed = self.claims.next();
        self.partitions.insert(partition.clone(), renewed);
        self.hand.renew(partition, renewed);
        self.fetcher.reset(now, partition, renewed);
        renewed
    }

    fn fail(&self, partition: TopicPartition, claim: Claim, error: Error) {
        if self.claim(&partition) == Some(claim) {
            tracing::warn!(%partition, %error, "a partition is not read");
            self.hand.fail(Some(partition), error);
        }
    }

    #[cfg(test)]
    pub(super) fn check(&self) {
        self.fetcher.check();
    }
}

/// A position in a topic that is gone means nothing in the one that has its name now.
pub(super) fn topic_recreated(topic: &TopicName) -> Error {
    ErrorKind::TopicRecreated { topic: topic.clone(), setting: "on_recreated" }.into()
}

fn leader(snapshot: &Snapshot, partition: &TopicPartition) -> Option<Leader> {
    let (node, epoch) = snapshot.leader(partition)?;
    let topic_id = snapshot.topic(&partition.topic)?.id.unwrap_or(Uuid::ZERO);
    Some(Leader { node, epoch, topic_id })
}
