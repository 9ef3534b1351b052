//! The session with one broker.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    time::Instant,
};

use super::{
    types::{Key, Settings, Stay},
    verdicts::{Run, Verdict, Verdicts},
};
use crate::{
    engine::machine::{Call, Now, Purpose, Target, Token, Tokens, deadline_after},
    types::NodeId,
    wire::{
        calls::Request,
        messages::{
            ShareAcknowledgeRequest, ShareFetchRequest, share_acknowledge_request as acknowledge,
            share_fetch_request as fetch,
        },
        uuid::Uuid,
    },
};

/// The epoch of a session that begins, and of one that ends.
const FIRST: i32 = 0;
const FINAL: i32 = -1;

#[derive(Debug, Default)]
pub(super) struct Node {
    /// The epoch of the next request.
    epoch: i32,
    /// What is read here.
    pub(super) wanted: BTreeMap<Key, Stay>,
    /// What the broker knows that is read.
    known: BTreeSet<Key>,
    /// Partitions that could not be read the last time, and are named again.
    resting: BTreeSet<Key>,
    /// What was decided and not sent yet.
    verdicts: BTreeMap<Stay, (Key, Verdicts)>,
    pub(super) in_flight: Option<InFlight>,
    /// How many decisions there ever were, and how many of them are settled.
    pub(super) decided: u64,
    pub(super) settled: u64,
    /// No request before.
    pub(super) not_before: Option<Instant>,
    pub(super) failures: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Fetch,
    Acknowledge,
    /// The last request of the session.
    Close,
}

/// A request under way.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) token: Token,
    pub(super) kind: Kind,
    pub(super) sent: Instant,
    /// As which stays the partitions were named or read.
    pub(super) stays: BTreeMap<Key, Stay>,
    /// What it says of records.
    pub(super) verdicts: BTreeMap<Stay, Vec<Run>>,
    /// What the broker knows once it has answered.
    known: BTreeSet<Key>,
    /// How many decisions are settled then.
    decided: u64,
}

impl Node {
    /// Whether the broker has answered in a session that stands.
    pub(super) fn has_session(&self) -> bool {
        self.epoch > FIRST
    }

    /// Whether nothing is read here, and nothing is to be said.
    pub(super) fn is_useless(&self) -> bool {
        !self.has_session() && self.wanted.is_empty() && self.in_flight.is_none()
    }

    /// Whether something may still be decided in this stay.
    pub(super) fn knows(&self, stay: Stay, key: &Key) -> bool {
        let is_under_way = self.in_flight.as_ref().is_some_and(|flight| flight.stays.get(key) == Some(&stay));
        self.wanted.get(key) == Some(&stay) || self.verdicts.contains_key(&stay) || is_under_way
    }

    /// What is decided in a stay of `key`.
    pub(super) fn decide(&mut self, stay: Stay, key: Key, first: i64, last: i64, verdict: Verdict) {
        self.decided = self.decided.saturating_add(1);
        let of_stay = self.verdicts.entry(stay).or_insert_with(|| (key, Verdicts::default()));
        of_stay.1.set(first, last, verdict);
    }

    /// A partition could not be read.
    pub(super) fn rest(&mut self, key: Key) {
        self.resting.insert(key);
    }

    /// What to send next, if anything.
    pub(super) fn kind(&self, wants: bool, is_closing: bool) -> Option<Kind> {
        let has_verdicts = !self.verdicts.is_empty();
        let renews = self.verdicts.values().any(|(_, verdicts)| verdicts.renews());
        match self.has_session() {
            true if is_closing => Some(Kind::Close),
            false if is_closing => None,
            true if renews => Some(Kind::Acknowledge),
            _ if wants && !self.wanted.is_empty() => Some(Kind::Fetch),
            true if has_verdicts => Some(Kind::Acknowledge),
            _ => None,
        }
    }

    pub(super) fn deadline(&self, wants: bool, is_closing: bool) -> Option<Instant> {
        self.not_before.filter(|_| self.in_flight.is_none() && self.kind(wants, is_closing).is_some())
    }

    /// Makes the next call, if there is anything to be said and it is time to.
    pub(super) fn next(
        &mut self,
        now: Now,
        id: NodeId,
        settings: &Settings,
        wants: bool,
        is_closing: bool,
        tokens: &mut Tokens,
    ) -> Option<Call> {
        let rests = self.not_before.is_some_and(|at| at > now.instant) && !is_closing;
        if self.in_flight.is_some() || rests {
            return None;
        }
        let kind = self.kind(wants, is_closing)?;
        self.not_before = None;
        let verdicts = mem::take(&mut self.verdicts);
        let mut stays = self.wanted.clone();
        // Of what is not read any more something may still be said.
        stays.extend(verdicts.iter().map(|(stay, (key, _))| (*key, *stay)));
        let runs = verdicts.iter().map(|(stay, (_, verdicts))| (*stay, verdicts.runs().collect()));
        let token = tokens.next();
        let mut flight = InFlight {
            token,
            kind,
            sent: now.instant,
            stays,
            verdicts: runs.collect(),
            known: self.known.clone(),
            decided: self.decided,
        };
        let is_renewed = verdicts.values().any(|(_, verdicts)| verdicts.renews());
        let verdicts: BTreeMap<Key, Verdicts> = verdicts.into_values().collect();
        let request = match kind {
            Kind::Fetch => {
                flight.known = self.wanted.keys().copied().collect();
                self.fetch(settings, &verdicts)
            }
            Kind::Acknowledge => acknowledgement(settings, self.epoch, is_renewed, &verdicts),
            Kind::Close => acknowledgement(settings, FINAL, is_renewed, &verdicts),
        };
        let patience = match kind {
            Kind::Fetch => settings.request_timeout.saturating_add(settings.max_wait),
            Kind::Acknowledge | Kind::Close => settings.request_timeout,
        };
        self.in_flight = Some(flight);
        Some(Call {
            token,
            target: Target::Broker(id),
            purpose: Purpose::FETCH,
            request,
            deadline: deadline_after(now, patience),
            max_version: None,
        })
    }

    fn fetch(&mut self, settings: &Settings, verdicts: &BTreeMap<Key, Verdicts>) -> Request {
        let resting = mem::take(&mut self.resting);
        let is_new = |key: &&Key| !self.known.contains(key) || resting.contains(key);
        let named: BTreeSet<Key> =
            self.wanted.keys().filter(is_new).chain(verdicts.keys()).copied().collect();
        let forgotten = self.known.iter().filter(|key| !self.wanted.contains_key(key));
        let topics = by_topic(named.into_iter().map(|key| (key, verdicts.get(&key))));
        let topics = topics.into_iter().map(|(topic_id, partitions)| fetch::FetchTopic {
            topic_id,
            partitions: partitions
                .into_iter()
                .map(|(partition_index, verdicts)| fetch::FetchPartition {
                    partition_index,
                    acknowledgement_batches: verdicts
                        .into_iter()
                        .flat_map(Verdicts::runs)
                        .map(fetch_batch)
                        .collect(),
                    ..fetch::FetchPartition::default()
                })
                .collect(),
            ..fetch::FetchTopic::default()
        });
        let forgotten = by_topic(forgotten.map(|key| (*key, ())));
        let forgotten = forgotten.into_iter().map(|(topic_id, partitions)| fetch::ForgottenTopic {
            topic_id,
            partitions: partitions.into_iter().map(|(index, ())| index).collect(),
            ..fetch::ForgottenTopic::default()
        });
        ShareFetchRequest {
            group_id: Some(settings.group.clone()),
            member_id: Some(settings.member_id.clone()),
            share_session_epoch: self.epoch,
            max_wait_ms: i32::try_from(settings.max_wait.as_millis()).unwrap_or(i32::MAX),
            min_bytes: settings.min_bytes,
            max_bytes: i32::try_from(settings.max_bytes).unwrap_or(i32::MAX),
            max_records: settings.max_records,
            batch_size: settings.max_records,
            share_acquire_mode: i8::from(settings.is_strict),
            topics: topics.collect(),
            forgotten_topics_data: forgotten.collect(),
            ..ShareFetchRequest::default()
        }
        .into()
    }

    /// The session stands.
    pub(super) fn answered(&mut self, flight: &InFlight) {
        self.settled = self.settled.max(flight.decided);
        self.failures = 0;
        match flight.kind {
            Kind::Close => {
                self.epoch = FIRST;
                self.known.clear();
            }
            Kind::Fetch | Kind::Acknowledge => {
                self.epoch = self.epoch.checked_add(1).unwrap_or(1);
                self.known.clone_from(&flight.known);
            }
        }
    }

    /// The session is over. What was decided and does not count: stays, and first and last offsets.
    pub(super) fn lose(&mut self, flight: &InFlight) -> Vec<(Stay, i64, i64)> {
        self.epoch = FIRST;
        self.known.clear();
        self.resting.clear();
        self.settled = self.decided;
        let sent = flight
            .verdicts
            .iter()
            .flat_map(|(stay, runs)| runs.iter().map(|(first, last, _)| (*stay, *first, *last)));
        let mut lost: Vec<_> = sent.collect();
        for (stay, (_, verdicts)) in mem::take(&mut self.verdicts) {
            lost.extend(verdicts.runs().map(|(first, last, _)| (stay, first, last)));
        }
        lost
    }
}

fn fetch_batch((first_offset, last_offset, verdict): Run) -> fetch::AcknowledgementBatch {
    let acknowledge_types = vec![verdict as i8];
    fetch::AcknowledgementBatch {
        first_offset,
        last_offset,
        acknowledge_types,
        ..fetch::AcknowledgementBatch::default()
    }
}

fn acknowledgement(
    settings: &Settings,
    epoch: i32,
    is_renew_ack: bool,
    verdicts: &BTreeMap<Key, Verdicts>,
) -> Request {
    let batch = |(first_offset, last_offset, verdict): Run| acknowledge::AcknowledgementBatch {
        first_offset,
        last_offset,
        acknowledge_types: vec![verdict as i8],
        ..acknowledge::AcknowledgementBatch::default()
    };
    let topics = by_topic(verdicts.iter().map(|(key, verdicts)| (*key, verdicts)));
    let topics = topics.into_iter().map(|(topic_id, partitions)| acknowledge::AcknowledgeTopic {
        topic_id,
        partitions: partitions
            .into_iter()
            .map(|(partition_index, verdicts)| acknowledge::AcknowledgePartition {
                partition_index,
                acknowledgement_batches: verdicts.runs().map(batch).collect(),
                ..acknowledge::AcknowledgePartition::default()
            })
            .collect(),
        ..acknowledge::AcknowledgeTopic::default()
    });
    ShareAcknowledgeRequest {
        group_id: Some(settings.group.clone()),
        member_id: Some(settings.member_id.clone()),
        share_session_epoch: epoch,
        is_renew_ack,
        topics: topics.collect(),
        ..ShareAcknowledgeRequest::default()
    }
    .into()
}

/// The topics of partitions.
fn by_topic<T>(partitions: impl IntoIterator<Item = (Key, T)>) -> BTreeMap<Uuid, Vec<(i32, T)>> {
    let mut topics: BTreeMap<Uuid, Vec<(i32, T)>> = BTreeMap::new();
    for ((topic, index), of) in partitions {
        topics.entry(topic).or_default().push((index, of));
    }
    topics
}
