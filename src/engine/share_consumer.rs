//! The share consumer's core: one place where time, answers, commands and views of the cluster come in.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    engine::{
        backoff::Random,
        catalog::snapshot::{LeaderHint, Snapshot},
        coordinator::{self, Coordinator, Subject},
        group::{ShareEvent, ShareGroup, ShareSettings},
        hand::ConsumerEvent,
        machine::{Now, Outbox, Outcome, Token, Tokens, deadline_after, earlier},
        share::{self, Key, Sharer},
        share_hand::ShareHand,
        topics::{Topics, Trouble},
    },
    error::Result,
    types::{NodeId, TopicName, TopicPartition},
};

/// The tags of the machines' tokens.
const COORDINATOR: u8 = 1;
const GROUP: u8 = 2;
const SHARER: u8 = 3;

/// All of a share consumer's settings.
#[derive(Clone, Debug)]
pub(crate) struct CoreSettings {
    pub(crate) group: ShareSettings,
    pub(crate) share: share::Settings,
    pub(crate) coordinator: coordinator::Settings,
    pub(crate) topic_timeout: Duration,
    pub(crate) close_timeout: Duration,
}

/// What a driver is to do.
#[derive(Debug)]
pub(crate) enum Event {
    /// The topic is to be in the views of the cluster.
    Want(TopicName),
    Refresh,
    LeaderHint(LeaderHint),
    /// A commit that was asked for has ended.
    Committed {
        ticket: u64,
        result: Result<()>,
    },
    /// The consumer has done what it does before it ends.
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    /// The sessions with brokers end.
    Ending,
    Leaving,
    Closed,
}

/// A share consumer without a runtime.
#[derive(Debug)]
pub(crate) struct Core {
    settings: CoreSettings,
    hand: Arc<ShareHand>,
    topics: Topics,
    snapshot: Arc<Snapshot>,
    coordinator: Coordinator,
    group: ShareGroup,
    sharer: Sharer,
    assigned: BTreeSet<Key>,
    coordinator_out: Outbox<coordinator::Event>,
    group_out: Outbox<ShareEvent>,
    share_out: Outbox<share::Event>,
    events: Vec<Event>,
    phase: Phase,
    closing: Option<Instant>,
    /// When to look again for partitions that are assigned and not in the view, or have no leader.
    refresh_at: Option<Instant>,
    tickets: u64,
    /// Since when the member is about to join.
    joining_since: Option<Instant>,
}

impl Core {
    pub(crate) fn new(now: Now, settings: CoreSettings, hand: Arc<ShareHand>, mut random: Random) -> Self {
        let mut random = || Random::new(random.next_u64());
        let topics = Topics::new(now, settings.group.topics.clone(), settings.topic_timeout);
        let coordinator = Coordinator::new(
            Subject::Group(settings.group.group.clone()),
            settings.coordinator,
            Tokens::tagged(COORDINATOR),
            random(),
        );
        let group = ShareGroup::new(settings.group.clone(), now, Tokens::tagged(GROUP), random());
        let sharer = Sharer::new(settings.share.clone(), Tokens::tagged(SHARER), random());
        Self {
            events: topics.names().cloned().map(Event::Want).collect(),
            settings,
            hand,
            topics,
            snapshot: Arc::default(),
            coordinator,
            group,
            sharer,
            assigned: BTreeSet::new(),
            coordinator_out: Outbox::default(),
            group_out: Outbox::default(),
            share_out: Outbox::default(),
            phase: Phase::Running,
            closing: None,
            refresh_at: None,
            tickets: 0,
            joining_since: None,
        }
    }

    /// There is a new view of the cluster.
    pub(crate) fn catalog(&mut self, now: Now, snapshot: Arc<Snapshot>) {
        self.events.extend(self.topics.names().cloned().map(Event::Want));
        let (_, errors) = self.topics.catalog(now, &snapshot);
        self.report(errors);
        self.snapshot = snapshot;
        self.place(now);
    }

    pub(crate) fn answer(&mut self, now: Now, token: Token, outcome: Outcome) {
        match token.tag() {
            COORDINATOR => self.coordinator.answer(now, token, outcome, &mut self.coordinator_out),
            GROUP => self.group.answer(now, token, outcome, &mut self.group_out),
            _ => self.sharer.answer(now, token, outcome, &mut self.share_out),
        }
    }

    /// Has all that was decided told to the brokers; where it is implied, everything that was handed out is accepted.
    pub(crate) fn commit(&mut self) -> u64 {
        self.hand.settle();
        self.take_decisions();
        self.tickets = self.tickets.wrapping_add(1);
        self.sharer.commit(self.tickets);
        self.tickets
    }

    /// Hands out nothing more, says what was decided, and leaves the group. The end is told by [`Event::Closed`].
    pub(crate) fn close(&mut self, now: Now) {
        if self.closing.is_some() {
            return;
        }
        self.hand.close();
        self.take_decisions();
        self.closing = Some(deadline_after(now, self.settings.close_timeout));
        self.phase = Phase::Ending;
        self.sharer.close();
    }

    /// Does what is due, and says what the driver is to do.
    pub(crate) fn tick(&mut self, now: Now, out: &mut Outbox<Event>) {
        if self.closing.is_none() {
            let errors = self.topics.tick(now);
            self.report(errors);
        }
        self.hand.expire(now.instant);
        if self.refresh_at.is_some_and(|at| at <= now.instant) {
            self.place(now);
        }
        loop {
            for event in mem::take(&mut self.coordinator_out.events) {
                self.coordinated(event);
            }
            for event in mem::take(&mut self.group_out.events) {
                self.grouped(now, event);
            }
            for event in mem::take(&mut self.share_out.events) {
                self.shared(now, event);
            }
            self.take_decisions();
            self.turn(now);
            let is_quiet = self.coordinator_out.events.is_empty()
                && self.group_out.events.is_empty()
                && self.share_out.events.is_empty();
            if is_quiet {
                break;
            }
        }
        out.calls.append(&mut self.coordinator_out.calls);
        out.calls.append(&mut self.group_out.calls);
        out.calls.append(&mut self.share_out.calls);
        self.look_at_membership(now);
        if self.closing.is_some_and(|at| at <= now.instant) && self.phase != Phase::Closed {
            tracing::warn!(group = %self.settings.group.group, "closing took too long: the share group is left without a word");
            self.closed();
        }
        out.events.append(&mut self.events);
    }

    fn turn(&mut self, now: Now) {
        if self.group.needs_coordinator() {
            self.coordinator.need(now);
        }
        self.coordinator.tick(now, &mut self.coordinator_out);
        if matches!(self.phase, Phase::Running | Phase::Ending) {
            self.group.tick(now, &mut self.group_out);
            let wants = self.hand.wants();
            let before = self.share_out.calls.len();
            self.sharer.tick(now, wants, &mut self.share_out);
            if wants && self.share_out.calls.len() > before {
                self.hand.has_asked();
            }
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        if self.phase == Phase::Closed {
            return None;
        }
        let is_running = self.phase == Phase::Running;
        let topics = self.topics.deadline().filter(|_| is_running);
        let refresh = self.refresh_at.filter(|_| is_running);
        let group = self.group.deadline();
        let share = self.sharer.deadline(self.hand.wants());
        let coordinator = self.coordinator.deadline();
        [topics, refresh, group, share, coordinator, self.hand.deadline(), self.closing]
            .into_iter()
            .fold(None, earlier)
    }

    /// The partitions that may be read, as far as they are known.
    pub(crate) fn assignment(&self) -> Vec<TopicPartition> {
        let named = |(id, index): &Key| Some(TopicPartition::new(self.snapshot.topic_name(*id)?, *index));
        let mut assignment: Vec<_> = self.assigned.iter().filter_map(named).collect();
        assignment.sort_unstable();
        assignment
    }

    // ---- what happens ----------------------------------------------------------------------------------------

    fn coordinated(&mut self, event: coordinator::Event) {
        match event {
            coordinator::Event::Found(node) => self.group.set_coordinator(Some(node)),
            coordinator::Event::Refused(error) => self.hand.fail(None, error),
        }
    }

    fn grouped(&mut self, now: Now, event: ShareEvent) {
        match event {
            ShareEvent::Assigned(assigned) => {
                tracing::info!(group = %self.settings.group.group, partitions = assigned.len(), "assigned");
                self.assigned = assigned;
                self.place(now);
            }
            // What it was assigned it may read on: who reads what is no matter of life and death here.
            ShareEvent::Lost => {}
            ShareEvent::CoordinatorLost(node) => {
                self.coordinator.lost(now, node);
                if self.coordinator.node().is_none() {
                    self.group.set_coordinator(None);
                }
            }
            ShareEvent::Refused(error) => self.hand.fail(None, error),
            ShareEvent::Left => self.closed(),
        }
    }

    fn shared(&mut self, now: Now, event: share::Event) {
        match event {
            share::Event::Fetched(fetched) => self.hand.deliver(fetched),
            share::Event::Ended { stay, release } => self.hand.end(stay, release),
            share::Event::Failed { partition, error } => self.hand.fail(partition, error),
            share::Event::Unsettled { partition, first, last, error } => {
                tracing::warn!(%partition, first, last, %error, "what was decided of records did not count");
                self.hand.tell(ConsumerEvent::NotSettled { partition, first, last, error });
            }
            share::Event::Committed { ticket, result } => {
                self.events.push(Event::Committed { ticket, result });
            }
            share::Event::Throttled { node, delay } => {
                self.hand.tell(ConsumerEvent::Throttled { broker: node, delay });
            }
            share::Event::LeaderHint(hint) => self.events.push(Event::LeaderHint(hint)),
            share::Event::Refresh => self.events.push(Event::Refresh),
            share::Event::Closed if self.phase == Phase::Ending => {
                self.phase = Phase::Leaving;
                self.group.leave(now, &mut self.group_out);
            }
            share::Event::Closed => {}
        }
    }

    /// Reads what is assigned from its leaders, as far as they are known.
    fn place(&mut self, now: Now) {
        if self.closing.is_some() {
            return;
        }
        let place = |key: &Key| {
            let partition = TopicPartition::new(self.snapshot.topic_name(key.0)?, key.1);
            let (leader, _) = self.snapshot.leader(&partition)?;
            Some((*key, (partition, leader)))
        };
        let sources: BTreeMap<Key, (TopicPartition, NodeId)> =
            self.assigned.iter().filter_map(place).collect();
        if sources.len() == self.assigned.len() {
            self.refresh_at = None;
        } else if self.refresh_at.is_none_or(|at| at <= now.instant) {
            self.refresh_at = Some(deadline_after(now, self.settings.share.retry.max));
            self.events.push(Event::Refresh);
        }
        self.sharer.assign(now, &sources, &mut self.share_out);
    }

    fn take_decisions(&mut self) {
        for decision in self.hand.take_decisions() {
            self.sharer.decide(decision, &mut self.share_out);
        }
    }

    fn report(&self, errors: Vec<Trouble>) {
        for (topic, error) in errors {
            tracing::warn!(%topic, %error, "a topic cannot be read");
            // No partition has this index: it stands for the topic.
            self.hand.fail(Some(TopicPartition::new(topic, -1)), error);
        }
    }

    fn look_at_membership(&mut self, now: Now) {
        if self.closing.is_some() {
            return;
        }
        if self.group.is_joining() {
            if self.joining_since.is_none() {
                self.joining_since = Some(now.instant);
                self.hand.tell(ConsumerEvent::RebalanceStarted);
            }
        } else if let Some(since) = self.joining_since.take() {
            let took = now.instant.saturating_duration_since(since);
            self.hand.tell(ConsumerEvent::RebalanceFinished { took, assignment: self.assignment() });
        }
    }

    fn closed(&mut self) {
        if self.phase != Phase::Closed {
            self.phase = Phase::Closed;
            self.events.push(Event::Closed);
        }
    }

    /// Asserts what must hold between any two verbs.
    #[cfg(test)]
    pub(crate) fn check(&self) {
        self.sharer.check();
    }
}
