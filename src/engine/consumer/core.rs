//! The consumer's core: one place where time, answers, commands and views of the cluster come in.

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use super::{
    lookout::Lookout,
    membership::Membership,
    reading::{self, Reading, Rules},
    settings::{CoreSettings, Source},
    types::Event,
};
use crate::{
    engine::{
        backoff::Random,
        catalog::snapshot::Snapshot,
        commit::{Offsets, Ticket},
        fetch::{Buffered, Fetcher},
        hand::Hand,
        machine::{Now, Outbox, Outcome, Token, Tokens, earlier},
        partition::Claim,
        position::Positions,
        topics::{Topics, Trouble},
    },
    error::{ConfigProblem, Error, ErrorKind, Result},
    types::{Position, TopicName, TopicPartition},
};

/// The tags of the machines' tokens; those above belong to the membership.
const POSITIONS: u8 = 1;
const FETCHES: u8 = 2;
const LOOKOUT: u8 = 6;

/// A consumer without a runtime.
#[derive(Debug)]
pub(crate) struct Core {
    reading: Reading,
    topics: Topics,
    /// For topics that are read because their names match.
    lookout: Option<Lookout>,
    snapshot: Arc<Snapshot>,
    /// `None` for a reader without a group.
    membership: Option<Membership>,
    /// Partitions that the user has chosen, and their topics; a member of a group reads them beside what it is assigned.
    chosen: BTreeSet<TopicPartition>,
    chosen_topics: Topics,
    /// The topics of which a reader without a group reads all partitions.
    whole: BTreeSet<TopicName>,
    start_at: Position,
    events: Vec<Event>,
    is_closed: bool,
}

impl Core {
    /// Starts to read what the settings say. Records, and errors that concern them, come out of `hand`.
    pub(crate) fn new(
        now: Now,
        settings: CoreSettings,
        hand: Arc<Hand>,
        buffered: Arc<Buffered>,
        mut random: Random,
    ) -> Self {
        let topics = Topics::new(now, settings.topics(), settings.topic_timeout);
        let mut machine_random = || Random::new(random.next_u64());
        let positions = Positions::new(settings.positions, Tokens::tagged(POSITIONS), machine_random());
        let rules = Rules {
            out_of_range: settings.out_of_range,
            truncated: settings.truncated,
            follows_recreated: settings.follows_recreated,
            patience: settings.fetch.retry.max,
        };
        let fetcher = Fetcher::new(settings.fetch, buffered, Tokens::tagged(FETCHES), machine_random());
        let reading = Reading::new(hand, rules, positions, fetcher);
        let lookout = settings.pattern.map(|(pattern, settings)| {
            Lookout::new(now, pattern, settings, Tokens::tagged(LOOKOUT), machine_random())
        });
        let chosen_topics = Topics::new(now, BTreeSet::new(), settings.topic_timeout);
        let (mut chosen, mut whole, mut membership) = (Vec::new(), BTreeSet::new(), None);
        match settings.source {
            Source::Chosen { partitions, topics } => (chosen, whole) = (partitions, topics),
            Source::Group(settings_of_group) => {
                let start_at = settings.start_at;
                membership = Some(Membership::new(now, *settings_of_group, start_at, &mut random));
                // A pattern says first what to join with.
                if let Some(membership) = membership.as_mut().filter(|_| lookout.is_none()) {
                    membership.join(now);
                }
            }
        }
        let mut core = Self {
            reading,
            events: topics.names().cloned().map(Event::Want).collect(),
            topics,
            lookout,
            snapshot: Arc::default(),
            membership,
            chosen: BTreeSet::new(),
            chosen_topics,
            whole,
            start_at: settings.start_at,
            is_closed: false,
        };
        core.choose(now, chosen);
        core
    }

    /// Reads these partitions too; those that are read already are left alone. Under a group reading starts where it has
    /// committed, or else there.
    fn choose(&mut self, now: Now, from: Vec<(TopicPartition, Position)>) {
        for (partition, position) in from {
            if self.reading.contains(&partition) {
                continue;
            }
            self.events.push(Event::Want(partition.topic.clone()));
            self.chosen_topics.watch(now, partition.topic.clone());
            if let Some(membership) = &mut self.membership {
                let claim = self.reading.accompany(now, &partition);
                membership.needs_committed(now, vec![(partition.clone(), claim, position)]);
            } else {
                let claim = self.reading.assign(now, &partition);
                self.reading.start_at(now, &partition, claim, position);
            }
            self.chosen.insert(partition);
        }
    }

    /// There is a new view of the cluster.
    pub(crate) fn catalog(&mut self, now: Now, snapshot: Arc<Snapshot>) {
        self.snapshot = Arc::clone(&snapshot);
        // Interest in a topic ends if it is not said again.
        self.events.extend(self.topics.names().chain(self.chosen_topics.names()).cloned().map(Event::Want));
        let (fresh, errors) = self.topics.catalog(now, &snapshot);
        report(&self.reading, errors);
        let (_, errors) = self.chosen_topics.catalog(now, &snapshot);
        report(&self.reading, errors);
        for (partition, was_there) in fresh {
            if let Some(membership) = self.membership.as_mut().filter(|_| !was_there) {
                membership.miss_nothing_of(partition.clone());
            }
            if self.whole.contains(&partition.topic) && !self.reading.contains(&partition) {
                let claim = self.reading.assign(now, &partition);
                // Of a partition that appears while the topic is read, nothing is to be missed.
                let position = if was_there { self.start_at } else { Position::Earliest };
                self.reading.start_at(now, &partition, claim, position);
            }
        }
        self.look_for_missing_partitions();
        if let Some(lookout) = self.lookout.as_mut().filter(|_| self.topics.lacks_matched(&self.snapshot)) {
            lookout.look_again(now);
        }
        self.reading.catalog(snapshot);
        if let Some(membership) = &mut self.membership {
            membership.catalog(now, &self.snapshot, &mut self.events);
        }
    }

    fn look_for_missing_partitions(&self) {
        for partition in &self.chosen {
            let Some(topic) = self.snapshot.topic(&partition.topic) else { continue };
            if !topic.partitions.contains_key(&partition.partition.0) {
                let (topic, count) = (partition.topic.clone(), topic.partition_count());
                let error = ErrorKind::UnknownPartition { topic, partition: partition.partition, count };
                self.reading.hand().fail(Some(partition.clone()), error.into());
            }
        }
    }

    pub(crate) fn answer(&mut self, now: Now, token: Token, outcome: Outcome) {
        match (token.tag(), &mut self.membership) {
            (POSITIONS, _) => self.reading.position_answer(now, token, outcome),
            (FETCHES, _) => self.reading.fetch_answer(now, token, outcome),
            (LOOKOUT, _) => self.looked_out(now, token, outcome),
            (_, Some(membership)) => membership.answer(now, token, outcome),
            (_, None) => {}
        }
    }

    fn looked_out(&mut self, now: Now, token: Token, outcome: Outcome) {
        let Some(lookout) = self.lookout.as_mut().filter(|_| !self.is_closed) else { return };
        let is_late = lookout.has_found();
        match lookout.answer(now, token, outcome) {
            Ok(None) => {}
            Ok(Some(found)) => self.matched(now, &found, is_late),
            Err(error) => {
                tracing::warn!(%error, "no broker tells which topics there are");
                self.reading.hand().fail(None, error);
            }
        }
    }

    fn matched(&mut self, now: Now, found: &BTreeSet<TopicName>, is_late: bool) {
        tracing::info!(topics = ?found, "these topics match");
        let gone = self.topics.set_matched(found, is_late);
        self.events.extend(found.iter().cloned().map(Event::Want));
        match &mut self.membership {
            Some(membership) => membership.subscribe(now, self.topics.names().cloned().collect()),
            None => {
                self.whole = self.topics.names().cloned().collect();
                let gone: Vec<_> = self
                    .reading
                    .partitions()
                    .filter(|partition| gone.contains(&partition.topic))
                    .cloned()
                    .collect();
                gone.iter().for_each(|partition| self.reading.remove(partition));
                self.events.push(Event::Refresh);
            }
        }
    }

    /// Reads partitions from other positions on.
    pub(crate) fn seek(&mut self, now: Now, to: Vec<(TopicPartition, Position)>) -> Result<()> {
        if let Some((partition, _)) = to.iter().find(|(partition, _)| !self.reading.contains(partition)) {
            return Err(ErrorKind::NotAssigned { partition: partition.clone() }.into());
        }
        for (partition, position) in to {
            self.reading.seek(now, &partition, position);
        }
        Ok(())
    }

    /// Reads partitions from where the group has committed, or, where it has not, from these positions on. Those that are
    /// not read any more are left alone.
    pub(crate) fn rewind(&mut self, now: Now, to: Vec<(TopicPartition, Position)>) {
        for (partition, otherwise) in to {
            self.reading.rewind(now, &partition, otherwise);
        }
    }

    /// Reads these partitions too, beside what the group assigns, from where it has committed or else from these positions
    /// on; a reader without a group from these. Those that are read already are left alone.
    pub(crate) fn read_also(&mut self, now: Now, from: Vec<(TopicPartition, Position)>) -> Result<()> {
        for (partition, position) in &from {
            TopicName::check(&partition.topic)?;
            if partition.partition.0 < 0 {
                let (topic, count) = (partition.topic.clone(), 0);
                return Err(
                    ErrorKind::UnknownPartition { topic, partition: partition.partition, count }.into()
                );
            }
            if self.membership.is_none() && *position == Position::Committed {
                return Err(no_group());
            }
        }
        if !self.is_closed {
            self.choose(now, from);
        }
        Ok(())
    }

    /// Reads no longer what [`read_also`](Self::read_also) said. Others, also those that the group assigns, are left alone.
    pub(crate) fn read_no_longer(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            if !self.chosen.remove(partition) {
                continue;
            }
            if self.membership.is_none() || self.reading.companions().contains(partition) {
                self.reading.remove(partition);
            }
            if self.chosen.iter().all(|other| other.topic != partition.topic) {
                self.chosen_topics.forget(&partition.topic);
            }
        }
    }

    /// Commits these offsets, or, without any, behind everything that was handed out.
    pub(crate) fn commit(&mut self, now: Now, offsets: Option<Offsets>) -> Result<Ticket> {
        let membership = self.membership.as_mut().ok_or_else(no_group)?;
        membership.commit(now, &self.reading, &self.snapshot, offsets)
    }

    /// Looks up what the group has committed.
    pub(crate) fn look_up(&mut self, now: Now, partitions: Vec<TopicPartition>) -> Result<Ticket> {
        let membership = self.membership.as_mut().ok_or_else(no_group)?;
        Ok(membership.look_up(now, partitions))
    }

    /// The listener has returned from the change with this number.
    pub(crate) fn listener_done(&mut self, now: Now, number: u64) {
        if let Some(membership) = &mut self.membership {
            membership.listener_done(now, &mut self.reading, &self.snapshot, number);
        }
    }

    /// Hands out nothing more, commits what is done with, and leaves the group. The end is told by [`Event::Closed`].
    pub(crate) fn close(&mut self, now: Now) {
        self.reading.hand().close();
        let companions = self.reading.companions().clone();
        companions.iter().for_each(|partition| self.reading.stop(partition));
        match &mut self.membership {
            Some(membership) => membership.close(now, &mut self.reading, &self.snapshot, &mut self.events),
            None if self.is_closed => {}
            None => {
                let partitions: Vec<_> = self.reading.partitions().cloned().collect();
                partitions.iter().for_each(|partition| self.reading.remove(partition));
                self.events.push(Event::Closed);
            }
        }
        self.is_closed = true;
    }

    /// Does what is due, and says what the driver is to do.
    pub(crate) fn tick(&mut self, now: Now, out: &mut Outbox<Event>) {
        if !self.is_closed {
            for topics in [&mut self.topics, &mut self.chosen_topics] {
                let errors = topics.tick(now);
                report(&self.reading, errors);
            }
            if let Some(lookout) = &mut self.lookout {
                lookout.tick(now, &mut out.calls);
            }
        }
        loop {
            if let Some(membership) = &mut self.membership {
                let (reading, snapshot) = (&mut self.reading, &self.snapshot);
                membership.tick(now, reading, snapshot, &mut out.calls, &mut self.events);
            }
            let events = self.reading.tick(now, &mut out.calls);
            let mut needed = Vec::new();
            for event in events {
                match event {
                    reading::Event::Refresh => self.events.push(Event::Refresh),
                    reading::Event::LeaderHint(hint) => self.events.push(Event::LeaderHint(hint)),
                    reading::Event::NeedsCommitted(partition, claim, otherwise) => {
                        needed.push((partition, claim, otherwise));
                    }
                }
            }
            if needed.is_empty() {
                break;
            }
            self.look_up_starts(now, needed);
        }
        out.events.append(&mut self.events);
    }

    /// Without a group nothing is committed.
    fn look_up_starts(&mut self, now: Now, needed: Vec<(TopicPartition, Claim, Position)>) {
        match &mut self.membership {
            Some(membership) => membership.needs_committed(now, needed),
            None => {
                for (partition, claim, otherwise) in needed {
                    self.reading.start_at_committed(now, &partition, claim, None, otherwise);
                }
            }
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        let membership = self.membership.as_ref().and_then(Membership::deadline);
        let topics = earlier(self.topics.deadline(), self.chosen_topics.deadline());
        let topics = topics.filter(|_| !self.is_closed);
        let lookout = self.lookout.as_ref().and_then(Lookout::deadline).filter(|_| !self.is_closed);
        [membership, topics, lookout].into_iter().fold(self.reading.deadline(), earlier)
    }

    /// Asserts what must hold between any two verbs.
    #[cfg(test)]
    pub(crate) fn check(&self) {
        self.reading.check();
        if let Some(membership) = &self.membership {
            membership.check();
        }
    }
}

fn report(reading: &Reading, errors: Vec<Trouble>) {
    for (topic, error) in errors {
        tracing::warn!(%topic, %error, "a topic cannot be read");
        // No partition has this index: it stands for the topic.
        reading.hand().fail(Some(TopicPartition::new(topic, -1)), error);
    }
}

/// What is said to a reader of which only a member of a group can be asked.
pub(crate) fn no_group() -> Error {
    let reason = "the consumer is in no group; make it with Client::consumer".to_owned();
    let problems = vec![ConfigProblem { setting: "group", value: String::new(), reason }];
    ErrorKind::Config { problems }.into()
}
