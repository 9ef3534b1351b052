//! Watches the topics that are read: whether they exist, and which partitions they have.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use crate::{
    engine::{
        catalog::snapshot::Snapshot,
        machine::{Now, deadline_after, earlier},
    },
    error::{Code, Disposition, Error, ErrorKind},
    types::{TopicName, TopicPartition},
};

/// The topics of one consumer.
#[derive(Debug)]
pub(crate) struct Topics {
    timeout: Duration,
    topics: BTreeMap<TopicName, Watched>,
}

#[derive(Debug, Default)]
struct Watched {
    /// How many partitions were seen.
    count: i32,
    /// Since when it has been missing, and when that is to be reported.
    missing: Option<(Instant, Instant)>,
    /// Whether it is read because its name matches a pattern, and not for its own sake.
    is_matched: bool,
    /// Whether it appeared only while it was read already: nothing in it is to be missed.
    is_late: bool,
}

/// A partition that was not seen before, and whether it was there before it was to be read.
pub(crate) type Fresh = (TopicPartition, bool);
/// Why a topic cannot be read.
pub(crate) type Trouble = (TopicName, Error);

impl Topics {
    pub(crate) fn new(now: Now, topics: BTreeSet<TopicName>, timeout: Duration) -> Self {
        let mut watched = Self { timeout, topics: BTreeMap::new() };
        topics.into_iter().for_each(|topic| watched.watch(now, topic));
        watched
    }

    /// This topic is read from now on.
    pub(crate) fn watch(&mut self, now: Now, topic: TopicName) {
        let missing = Some((now.instant, deadline_after(now, self.timeout)));
        self.topics.entry(topic).or_insert_with(|| Watched { missing, ..Watched::default() });
    }

    /// This topic is read no longer.
    pub(crate) fn forget(&mut self, topic: &TopicName) {
        self.topics.remove(topic);
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &TopicName> {
        self.topics.keys()
    }

    /// These are the topics whose names match. Returns those that are read no more.
    pub(crate) fn set_matched(&mut self, found: &BTreeSet<TopicName>, is_late: bool) -> BTreeSet<TopicName> {
        let is_gone = |name: &TopicName, watched: &Watched| watched.is_matched && !found.contains(name);
        let gone: BTreeSet<_> = self
            .topics
            .iter()
            .filter(|(name, watched)| is_gone(name, watched))
            .map(|(name, _)| name.clone())
            .collect();
        self.topics.retain(|name, _| !gone.contains(name));
        for name in found {
            let watched = Watched { is_matched: true, is_late, ..Watched::default() };
            self.topics.entry(name.clone()).or_insert(watched);
        }
        gone
    }

    /// Whether a topic was found by its name, and does not exist.
    pub(crate) fn lacks_matched(&self, snapshot: &Snapshot) -> bool {
        self.topics.iter().any(|(name, watched)| watched.is_matched && snapshot.topic_error(name).is_some())
    }

    /// Looks at a new view of the cluster. Returns partitions that were not seen before, each with whether it was
    /// there from the start; and why topics cannot be read.
    pub(crate) fn catalog(&mut self, now: Now, snapshot: &Snapshot) -> (Vec<Fresh>, Vec<Trouble>) {
        let (mut partitions, mut errors) = (Vec::new(), Vec::new());
        for (name, watched) in &mut self.topics {
            if let Some(topic) = snapshot.topic(name) {
                let is_first = watched.count == 0 && !watched.is_late;
                let fresh = topic.partitions.keys().filter(|index| **index >= watched.count);
                partitions.extend(fresh.map(|index| (TopicPartition::new(name.clone(), *index), is_first)));
                let count = topic.partitions.keys().next_back().map_or(0, |last| last.saturating_add(1));
                watched.count = watched.count.max(count);
                watched.missing = None;
            } else if watched.missing.is_none() && !watched.is_matched {
                watched.missing = Some((now.instant, deadline_after(now, self.timeout)));
            }
            watched.is_late |= snapshot.topic_error(name) == Some(Code::UNKNOWN_TOPIC_OR_PARTITION);
            let code = snapshot.topic_error(name).filter(|code| code.disposition() == Disposition::Fail);
            if let (Some(code), Some((_, report_at))) = (code, &mut watched.missing) {
                errors.push((name.clone(), refusal(code, name)));
                *report_at = deadline_after(now, self.timeout);
            }
        }
        (partitions, errors)
    }

    /// Topics that have been missing for too long; each is reported again after as long.
    pub(crate) fn tick(&mut self, now: Now) -> Vec<Trouble> {
        let mut errors = Vec::new();
        for (name, watched) in &mut self.topics {
            let Some((since, report_at)) = &mut watched.missing else { continue };
            if *report_at <= now.instant {
                *report_at = deadline_after(now, self.timeout);
                let waited = now.instant.saturating_duration_since(*since);
                let kind = ErrorKind::UnknownTopic { topic: name.clone(), waited, setting: "topic_timeout" };
                errors.push((name.clone(), kind.into()));
            }
        }
        errors
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.topics.values().map(|watched| watched.missing.map(|(_, at)| at)).fold(None, earlier)
    }
}

fn refusal(code: Code, topic: &TopicName) -> Error {
    if code == Code::INVALID_TOPIC_EXCEPTION {
        let reason = "the broker refuses the name".to_owned();
        return ErrorKind::InvalidTopic { topic: topic.clone(), reason }.into();
    }
    Error::broker(code, "Metadata", topic.as_str())
}
