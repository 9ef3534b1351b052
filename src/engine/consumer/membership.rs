//! The group's half: which partitions are read, what happens to them in a rebalance, and commits.
//!
//! Giving partitions up goes in a fixed order, whatever the reason: stop reading, tell the listener, commit what is
//! done with, forget the partitions, and only then join again or leave.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    mem,
    sync::Arc,
    time::Instant,
};

use super::{
    attendance::{Attendance, Sight},
    auto::{AutoCommit, Settled},
    coverage::to_commit,
    reading::{Reading, topic_recreated},
    settings::{GroupProtocol, MembershipSettings},
    types::{Change, Event},
};
use crate::{
    engine::{
        backoff::Random,
        catalog::snapshot::Snapshot,
        commit::{self, Commits, Offsets, Ticket},
        coordinator::{self, Coordinator, Subject},
        group::{self, Classic, ConsumerGroup, Protocol},
        hand::ConsumerEvent,
        machine::{Call, Now, Outbox, Outcome, Token, Tokens, deadline_after, earlier},
        partition::{Claim, Spot},
    },
    error::{Error, ErrorKind, Result},
    types::{NodeId, Position, TopicName, TopicPartition},
    wire::uuid::Uuid,
};

mod giving_up;
mod rebalance;
mod starting;

/// The tags of the machines' tokens.
pub(super) mod tag {
    pub(in super::super) const COORDINATOR: u8 = 3;
    pub(in super::super) const GROUP: u8 = 4;
    pub(in super::super) const COMMITS: u8 = 5;
}

/// A consumer's membership.
#[derive(Debug)]
pub(super) struct Membership {
    settings: MembershipSettings,
    start_at: Position,
    /// Partitions that appeared while their topics were read already.
    late: BTreeSet<TopicPartition>,
    coordinator: Coordinator,
    group: Box<dyn Protocol>,
    commits: Commits,
    coordinator_out: Outbox<coordinator::Event>,
    group_out: Outbox<group::Event>,
    commit_out: Outbox<commit::Event>,
    phase: Phase,
    /// Topics that the group has to know.
    wanted: BTreeSet<TopicName>,
    auto: AutoCommit,
    /// Changes that the listener works on, and what is read once it has returned.
    assigning: VecDeque<(u64, Vec<(TopicPartition, Claim)>)>,
    /// Look-ups of where to start.
    starts: BTreeMap<Ticket, Vec<Start>>,
    /// Those that were refused, and when to ask again.
    refused: Option<(Instant, Vec<Start>)>,
    tickets: u64,
    changes: u64,
    attendance: Attendance,
    /// Since when the member's share is not settled.
    rebalance_since: Option<Instant>,
    /// Whether it was told to become a member.
    has_joined: bool,
    closing: Option<Instant>,
    random: Random,
}

/// A partition whose committed offset is looked up, and where to start if there is none.
pub(super) type Start = (TopicPartition, Claim, Position);

/// What the membership waits for.
#[derive(Debug)]
enum Phase {
    Running,
    /// The listener, which may still commit.
    Revoking {
        number: u64,
        partitions: Vec<TopicPartition>,
    },
    /// The users, who work on records of what is given up, for so long.
    Draining {
        partitions: Vec<TopicPartition>,
        until: Instant,
    },
    /// The last commit of what is given up, and those that were asked for before.
    Committing {
        partitions: Vec<TopicPartition>,
    },
    /// The group's answer.
    Leaving,
    Closed,
}

impl Membership {
    pub(super) fn new(
        now: Now,
        settings: MembershipSettings,
        start_at: Position,
        random: &mut Random,
    ) -> Self {
        let mut random = || Random::new(random.next_u64());
        let group_id = settings.group.group.clone();
        let coordinator = Coordinator::new(
            Subject::Group(group_id),
            settings.coordinator,
            Tokens::tagged(tag::COORDINATOR),
            random(),
        );
        let tokens = Tokens::tagged(tag::GROUP);
        let group: Box<dyn Protocol> = match settings.protocol {
            GroupProtocol::Classic => Box::new(Classic::new(settings.group.clone(), now, tokens, random())),
            GroupProtocol::Auto | GroupProtocol::Consumer => {
                Box::new(ConsumerGroup::new(settings.group.clone(), now, tokens, random()))
            }
        };
        let commits = Commits::new(settings.commits.clone(), Tokens::tagged(tag::COMMITS), random());
        let interval = settings.group.heartbeat_interval;
        let attendance = Attendance::new(now, settings.max_poll_interval, interval);
        let auto = AutoCommit::new(settings.auto_commit);
        Self {
            settings,
            start_at,
            late: BTreeSet::new(),
            coordinator,
            group,
            random: random(),
            commits,
            coordinator_out: Outbox::default(),
            group_out: Outbox::default(),
            commit_out: Outbox::default(),
            phase: Phase::Running,
            wanted: BTreeSet::new(),
            auto,
            assigning: VecDeque::new(),
            starts: BTreeMap::new(),
            refused: None,
            tickets: 0,
            changes: 0,
            attendance,
            rebalance_since: None,
            has_joined: false,
            closing: None,
        }
    }

    /// Becomes a member of the group.
    pub(super) fn join(&mut self, now: Now) {
        self.has_joined = true;
        self.group.join(now, "the consumer starts");
    }

    /// These are the topics to be read from now on. While there are none, there is nothing to be a member for, and brokers
    /// before 4.0 let nobody join for nothing; if there are none any more, the last ones stay, of which nothing is assigned.
    pub(super) fn subscribe(&mut self, now: Now, topics: BTreeSet<TopicName>) {
        if topics.is_empty() {
            return;
        }
        self.settings.group.topics.clone_from(&topics);
        self.group.subscribe(topics);
        if !self.has_joined && self.closing.is_none() {
            self.join(now);
        }
    }

    // ---- what users ask ----------------------------------------------------------------------------------------

    /// Commits offsets of assigned partitions, or, without any, everything that was handed out, which is done with then.
    pub(super) fn commit(
        &mut self,
        now: Now,
        reading: &Reading,
        snapshot: &Snapshot,
        offsets: Option<Offsets>,
    ) -> Result<Ticket> {
        if offsets.is_none() {
            reading.hand().settle();
        }
        let progress = reading.progress();
        let offsets = offsets
            .unwrap_or_else(|| progress.iter().map(|p| (p.partition.clone(), to_commit(p.done))).collect());
        let is_lost = self.group.identity().is_none();
        if let Some(partition) = offsets.keys().find(|partition| is_lost || !reading.contains(partition)) {
            return Err(ErrorKind::NotAssigned { partition: partition.clone() }.into());
        }
        if let Some(partition) = offsets.keys().find(|partition| reading.is_of_former_topic(partition)) {
            return Err(topic_recreated(&partition.topic));
        }
        let ticket = self.send_commit(now, snapshot, offsets.clone());
        self.auto.asked_by_user(ticket, &offsets, progress);
        Ok(ticket)
    }

    pub(super) fn look_up(&mut self, now: Now, partitions: Vec<TopicPartition>) -> Ticket {
        let ticket = self.ticket();
        self.commits.fetch(now, ticket, partitions, &mut self.commit_out);
        ticket
    }

    /// Gives everything up and leaves the group.
    pub(super) fn close(
        &mut self,
        now: Now,
        reading: &mut Reading,
        snapshot: &Snapshot,
        out: &mut Vec<Event>,
    ) {
        if self.closing.is_some() {
            return;
        }
        let limit = self.settings.close_timeout.saturating_add(self.settings.drain_timeout);
        self.closing = Some(deadline_after(now, limit));
        match self.phase {
            // It goes on by itself, and ends with leaving.
            Phase::Revoking { .. }
            | Phase::Draining { .. }
            | Phase::Committing { .. }
            | Phase::Leaving
            | Phase::Closed => {}
            Phase::Running => {
                let partitions = reading.partitions().cloned().collect();
                self.give_up(now, reading, snapshot, partitions, out);
            }
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    /// The listener has returned from the change with this number.
    pub(super) fn listener_done(
        &mut self,
        now: Now,
        reading: &mut Reading,
        snapshot: &Snapshot,
        number: u64,
    ) {
        if self.assigning.front().is_some_and(|(awaited, _)| *awaited == number)
            && let Some((_, partitions)) = self.assigning.pop_front()
        {
            self.start(now, reading, partitions);
        }
        match mem::replace(&mut self.phase, Phase::Running) {
            Phase::Revoking { number: awaited, partitions } if awaited == number => {
                self.drain(now, reading, snapshot, partitions);
            }
            phase => self.phase = phase,
        }
    }

    // ---- what happens ------------------------------------------------------------------------------------------

    pub(super) fn answer(&mut self, now: Now, token: Token, outcome: Outcome) {
        match token.tag() {
            tag::COORDINATOR => self.coordinator.answer(now, token, outcome, &mut self.coordinator_out),
            tag::GROUP => self.group.answer(now, token, outcome, &mut self.group_out),
            _ => self.commits.answer(now, token, outcome, &mut self.commit_out),
        }
    }

    pub(super) fn catalog(&mut self, now: Now, snapshot: &Snapshot, out: &mut Vec<Event>) {
        out.extend(self.wanted.iter().cloned().map(Event::Want));
        self.group.catalog(now, snapshot, &mut self.group_out);
    }

    /// Passes events on between the machines until there are none, and asks what is to be asked.
    pub(super) fn tick(
        &mut self,
        now: Now,
        reading: &mut Reading,
        snapshot: &Arc<Snapshot>,
        calls: &mut Vec<Call>,
        out: &mut Vec<Event>,
    ) {
        self.look_at_user(now, reading);
        if let Some((_, refused)) = self.refused.take_if(|(at, _)| *at <= now.instant) {
            let still = refused.into_iter().filter(|(p, claim, _)| reading.claim(p) == Some(*claim));
            self.needs_committed(now, still.collect());
        }
        loop {
            for event in mem::take(&mut self.coordinator_out.events) {
                self.coordinated(event, reading);
            }
            for event in mem::take(&mut self.group_out.events) {
                self.grouped(now, event, reading, snapshot, out);
            }
            for event in mem::take(&mut self.commit_out.events) {
                self.committed(now, event, reading, out);
            }
            self.go_on(now, reading, snapshot, out);
            if self.group.needs_coordinator() || self.commits.needs_coordinator() {
                self.coordinator.need(now);
            }
            self.coordinator.tick(now, &mut self.coordinator_out);
            self.group.tick(now, snapshot, &mut self.group_out);
            // Not while partitions may just have been lost.
            if self.group_out.events.is_empty() {
                self.commit_in_time(now, reading, snapshot);
                self.commits.tick(now, &mut self.commit_out);
            }
            calls.append(&mut self.coordinator_out.calls);
            calls.append(&mut self.group_out.calls);
            calls.append(&mut self.commit_out.calls);
            let is_quiet = self.coordinator_out.events.is_empty()
                && self.group_out.events.is_empty()
                && self.commit_out.events.is_empty();
            if is_quiet {
                break;
            }
        }
        self.look_at_rebalance(now, reading);
        if self.closing.is_some_and(|at| at <= now.instant) && !self.is_closed() {
            tracing::warn!(group = %self.settings.group.group, "closing took too long: the group is left without a word");
            self.phase = Phase::Closed;
            out.push(Event::Closed);
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let machines =
            earlier(self.coordinator.deadline(), earlier(self.group.deadline(), self.commits.deadline()));
        let look_at = self.attendance.deadline().filter(|_| self.closing.is_none());
        let is_running = matches!(self.phase, Phase::Running) && self.group.identity().is_some();
        let auto = self.auto.deadline().filter(|_| is_running);
        let refused = self.refused.as_ref().map(|(at, _)| *at);
        let closing = self.closing.filter(|_| !self.is_closed());
        let draining = match self.phase {
            Phase::Draining { until, .. } => Some(until),
            _ => None,
        };
        [look_at, auto, refused, draining, closing].into_iter().fold(machines, earlier)
    }

    fn coordinated(&mut self, event: coordinator::Event, reading: &Reading) {
        match event {
            coordinator::Event::Found(node) => {
                self.group.set_coordinator(Some(node));
                self.commits.set_coordinator(Some(node));
            }
            coordinator::Event::Refused(error) => reading.hand().fail(None, error),
        }
    }

    fn coordinator_lost(&mut self, now: Now, node: NodeId) {
        tracing::debug!(group = %self.settings.group.group, broker = %node, "the group's coordinator is elsewhere");
        self.coordinator.lost(now, node);
        if self.coordinator.node().is_none() {
            self.group.set_coordinator(None);
            self.commits.set_coordinator(None);
        }
    }

    fn grouped(
        &mut self,
        now: Now,
        event: group::Event,
        reading: &mut Reading,
        snapshot: &Snapshot,
        out: &mut Vec<Event>,
    ) {
        match event {
            group::Event::Renewed => {
                let identity = self.group.identity();
                identity.iter().for_each(|identity| self.commits.renew(identity));
                reading.hand().set_member(identity.as_ref().map(Into::into));
            }
            group::Event::Assigned(partitions) => {
                self.miss_nothing_of_unknown(&partitions, snapshot);
                self.rebalances(now, reading);
                self.assigned(now, reading, partitions, out);
            }
            group::Event::Revoke(partitions) => {
                self.rebalances(now, reading);
                if self.closing.is_none() {
                    self.give_up(now, reading, snapshot, partitions, out);
                }
            }
            group::Event::Lost(partitions) => self.lost(now, reading, snapshot, partitions, out),
            group::Event::CoordinatorLost(node) => self.coordinator_lost(now, node),
            group::Event::Want(topics) => {
                out.extend(topics.iter().cloned().map(Event::Want));
                self.wanted = topics;
                self.group.catalog(now, snapshot, &mut self.group_out);
            }
            group::Event::Unsupported(error) => self.use_other_protocol(now, error, reading),
            group::Event::Refresh => out.push(Event::Refresh),
            group::Event::Refused(error) => reading.hand().fail(None, error),
            group::Event::Fatal(error) => reading.hand().block(error),
            group::Event::Left => {
                if self.closing.is_some() {
                    self.phase = Phase::Closed;
                    out.push(Event::Closed);
                }
            }
        }
    }

    /// The coordinator does not speak the consumer protocol: the classic one is spoken by all, if it may be.
    fn use_other_protocol(&mut self, now: Now, error: Error, reading: &Reading) {
        if self.settings.protocol != GroupProtocol::Auto {
            return reading.hand().fail(None, error);
        }
        tracing::info!(group = %self.settings.group.group, %error, "the group is joined by the classic protocol");
        self.settings.protocol = GroupProtocol::Classic;
        let (settings, random) = (self.settings.group.clone(), Random::new(self.random.next_u64()));
        let mut group = Classic::new(settings, now, Tokens::tagged(tag::GROUP), random);
        group.set_coordinator(self.coordinator.node());
        group.join(now, "the consumer starts");
        self.group = Box::new(group);
    }

    fn assigned(
        &mut self,
        now: Now,
        reading: &mut Reading,
        partitions: Vec<TopicPartition>,
        out: &mut Vec<Event>,
    ) {
        reading.hand().set_member(self.group.identity().as_ref().map(Into::into));
        self.auto.begin(now, &partitions);
        self.attendance.rest(now);
        let claimed: Vec<_> =
            partitions.iter().map(|partition| (partition.clone(), reading.assign(now, partition))).collect();
        if self.settings.has_listener {
            let number = self.tell(Change::Assigned(partitions), out);
            self.assigning.push_back((number, claimed));
        } else {
            self.start(now, reading, claimed);
        }
    }

    fn lost(
        &mut self,
        now: Now,
        reading: &mut Reading,
        snapshot: &Snapshot,
        partitions: Vec<TopicPartition>,
        out: &mut Vec<Event>,
    ) {
        // What is read beside them is committed by nobody who has lost his part in the group.
        let companions = reading.companions().iter().cloned();
        let not_to_be_committed: Vec<_> = partitions.iter().cloned().chain(companions).collect();
        self.commits.lost(now, &not_to_be_committed, &mut self.commit_out);
        let lost: Vec<_> = partitions.into_iter().filter(|partition| reading.contains(partition)).collect();
        lost.iter().for_each(|partition| reading.remove(partition));
        // Whoever waits for the listener or a commit waits for nothing now.
        if !matches!(self.phase, Phase::Leaving | Phase::Closed) {
            self.given_up(now, reading, snapshot, Vec::new(), out);
        }
        if !lost.is_empty() {
            tracing::warn!(group = %self.settings.group.group, ?lost, "partitions were lost: what was not committed is read again by others");
            reading.hand().tell(ConsumerEvent::PartitionsLost { partitions: lost.clone() });
            if self.settings.has_listener {
                self.tell(Change::Lost(lost), out);
            }
        }
    }

    // ---- commits -----------------------------------------------------------------------------------------------

    fn committed(&mut self, now: Now, event: commit::Event, reading: &mut Reading, out: &mut Vec<Event>) {
        match event {
            commit::Event::Committed { ticket, result } => {
                self.commit_done(now, ticket, result, reading, out);
            }
            commit::Event::Fetched { ticket, result } => match self.starts.remove(&ticket) {
                Some(starts) => self.starts_known(now, starts, result, reading),
                None => out.push(Event::Looked { ticket, result }),
            },
            commit::Event::CoordinatorLost(node) => self.coordinator_lost(now, node),
        }
    }

    fn commit_done(
        &mut self,
        now: Now,
        ticket: Ticket,
        result: Result<()>,
        reading: &Reading,
        out: &mut Vec<Event>,
    ) {
        let group = &self.settings.group.group;
        match (self.auto.settle(now, ticket, &result), result) {
            (Settled::Users, result) => out.push(Event::Committed { ticket, result }),
            (_, Ok(())) => {}
            (settled, Err(error)) => {
                tracing::warn!(%group, %error, ?settled, "an automatic commit failed");
                reading.hand().tell(ConsumerEvent::CommitFailed { error });
            }
        }
    }

    fn commit_in_time(&mut self, now: Now, reading: &Reading, snapshot: &Snapshot) {
        let is_due = self.auto.deadline().is_some_and(|due| due <= now.instant);
        // Without a generation what was owned is lost already, even if the news of it is still on its way.
        if !is_due || !matches!(self.phase, Phase::Running) || self.group.identity().is_none() {
            return;
        }
        let spots = self.auto.due(now, reading.progress());
        if !spots.is_empty() {
            let ticket = self.commit_spots(now, snapshot, &spots);
            self.auto.asked(ticket, spots);
        }
    }

    fn commit_spots(&mut self, now: Now, snapshot: &Snapshot, spots: &[(TopicPartition, Spot)]) -> Ticket {
        let offsets = spots.iter().map(|(partition, spot)| (partition.clone(), to_commit(*spot)));
        self.send_commit(now, snapshot, offsets.collect())
    }

    fn send_commit(&mut self, now: Now, snapshot: &Snapshot, offsets: Offsets) -> Ticket {
        let topics: BTreeSet<&TopicName> = offsets.keys().map(|partition| &partition.topic).collect();
        let id = |topic: &TopicName| snapshot.topic(topic).and_then(|known| known.id);
        let topic_ids: BTreeMap<TopicName, Uuid> =
            topics.into_iter().filter_map(|topic| Some((topic.clone(), id(topic)?))).collect();
        let ticket = self.ticket();
        let member = self.group.identity();
        self.commits.commit(now, ticket, offsets, member, topic_ids, &mut self.commit_out);
        ticket
    }

    // ---- the user's progress -----------------------------------------------------------------------------------

    /// A member whose user asks for nothing for too long leaves, so that another reads its partitions. It comes back when
    /// the user does.
    fn look_at_user(&mut self, now: Now, reading: &Reading) {
        if self.closing.is_some() {
            return;
        }
        if self.group.identity().is_none() {
            self.attendance.rest_unless_absent(now);
        }
        match self.attendance.look(now, reading.hand().activity()) {
            Sight::Nothing => {}
            Sight::Returned => self.group.join(now, "the consumer asks for records again"),
            Sight::Left(after) => {
                tracing::warn!(group = %self.settings.group.group, ?after, "no record was asked for: leaving the group");
                reading.hand().tell(ConsumerEvent::PollIntervalExceeded { after });
                self.group.leave(now, "max_poll_interval was exceeded", &mut self.group_out);
                let what = "the call for the next record".to_owned();
                let error = Error::from(ErrorKind::Timeout { what, after, setting: "max_poll_interval" });
                reading.hand().fail(None, error);
                reading.hand().ring_on_pull();
            }
        }
    }

    fn tell(&mut self, change: Change, out: &mut Vec<Event>) -> u64 {
        self.changes = self.changes.wrapping_add(1);
        out.push(Event::Listener { number: self.changes, change });
        self.changes
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets = self.tickets.wrapping_add(1);
        Ticket(self.tickets)
    }

    #[cfg(test)]
    pub(super) fn check(&self) {
        self.group.check();
    }
}

#[cfg(test)]
mod tests;
