//! Committed offsets: writing them (OffsetCommit) and reading them back (OffsetFetch).

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    mem,
    time::{Duration, Instant},
};

use crate::{
    engine::{
        backoff::{Backoff, Random},
        machine::{
            Call, Failure, Now, Outbox, Outcome, Purpose, Target, Token, Tokens, deadline_after, earlier,
        },
        partition::Identity,
    },
    error::{Code, Disposition, Error, ErrorKind},
    types::{NodeId, OffsetAndMetadata, TopicName, TopicPartition},
    wire::{
        messages::{
            OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse,
            offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
            offset_fetch_request::OffsetFetchRequestTopic,
        },
        str::Str,
        uuid::Uuid,
    },
};

/// The newest OffsetCommit that names topics by name.
const LAST_COMMIT_BY_NAME: i16 = 9;
/// The newest OffsetFetch for one group. Later ones ask for several at once and cannot be written for older brokers.
const ONE_GROUP: i16 = 7;

/// Offsets by partition.
pub(crate) type Offsets = BTreeMap<TopicPartition, OffsetAndMetadata>;

/// Names one commit or look-up; whoever asked gives it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Ticket(pub(crate) u64);

/// What became of it.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// All offsets of a commit were taken, or the first error.
    Committed { ticket: Ticket, result: Result<(), Error> },
    /// What the group has committed; partitions without are left out.
    Fetched { ticket: Ticket, result: Result<Offsets, Error> },
    /// The node is not the coordinator, or cannot be reached.
    CoordinatorLost(NodeId),
}

/// How to ask.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) group: Str,
    pub(crate) request_timeout: Duration,
    /// How long a commit or a look-up is tried.
    pub(crate) patience: Duration,
    pub(crate) retry: Backoff,
}

/// Commits and look-ups, one request at a time and in the order in which they were asked for: so a later commit can
/// never be overtaken by an earlier one.
#[derive(Debug)]
pub(crate) struct Commits {
    settings: Settings,
    coordinator: Option<NodeId>,
    jobs: VecDeque<Job>,
    asked: Option<Token>,
    /// When the first job may be tried again.
    due: Option<Instant>,
    failures: u32,
    tokens: Tokens,
    random: Random,
}

/// No more wait at once; a driver's own commits coalesce long before.
const LIMIT: usize = 1_000;
/// How often a topic that the coordinator does not know is asked about: its view may be behind, but commits that wait
/// for a topic which was deleted would hold all others up.
const MISSING: u32 = 5;

#[derive(Debug)]
struct Job {
    ticket: Ticket,
    work: Work,
    until: Instant,
    since: Instant,
    last_error: Option<Error>,
    /// How often the coordinator did not know a topic.
    missing: u32,
}

#[derive(Debug)]
enum Work {
    Commit {
        offsets: Offsets,
        /// `None`: the group alone commits, with no member.
        member: Option<Identity>,
        topic_ids: BTreeMap<TopicName, Uuid>,
    },
    Fetch(Vec<TopicPartition>),
}

/// What to do with the first job after an answer.
enum Verdict {
    Done(Result<Offsets, Error>),
    Retry { error: Error, elsewhere: bool },
}

impl Commits {
    pub(crate) fn new(settings: Settings, tokens: Tokens, random: Random) -> Self {
        Self {
            settings,
            coordinator: None,
            jobs: VecDeque::new(),
            asked: None,
            due: None,
            failures: 0,
            tokens,
            random,
        }
    }

    pub(crate) fn needs_coordinator(&self) -> bool {
        self.coordinator.is_none() && !self.jobs.is_empty()
    }

    pub(crate) fn set_coordinator(&mut self, node: Option<NodeId>) {
        self.coordinator = node;
    }

    /// Whether nothing is waited for.
    #[cfg(test)]
    pub(crate) fn is_idle(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Whether nothing that waits or is under way concerns this partition.
    pub(crate) fn is_done_with(&self, partition: &TopicPartition) -> bool {
        self.jobs.iter().all(|job| match &job.work {
            Work::Commit { offsets, .. } => !offsets.contains_key(partition),
            Work::Fetch(_) => true,
        })
    }

    /// The member goes by this from now on: what it still owns is committed under it.
    pub(crate) fn renew(&mut self, identity: &Identity) {
        for job in &mut self.jobs {
            if let Work::Commit { member: Some(member), .. } = &mut job.work {
                member.clone_from(identity);
            }
        }
    }

    /// Commits offsets as a member in its generation, or as the group alone. The ids of the topics bind the offsets
    /// to this very topic: they are not taken for one of the same name that was created later (KIP-848).
    pub(crate) fn commit(
        &mut self,
        now: Now,
        ticket: Ticket,
        offsets: Offsets,
        member: Option<Identity>,
        topic_ids: BTreeMap<TopicName, Uuid>,
        out: &mut Outbox<Event>,
    ) {
        if offsets.is_empty() {
            out.events.push(Event::Committed { ticket, result: Ok(()) });
            return;
        }
        self.add(now, ticket, Work::Commit { offsets, member, topic_ids }, out);
    }

    /// Looks up what the group has committed.
    pub(crate) fn fetch(
        &mut self,
        now: Now,
        ticket: Ticket,
        partitions: Vec<TopicPartition>,
        out: &mut Outbox<Event>,
    ) {
        if partitions.is_empty() {
            out.events.push(Event::Fetched { ticket, result: Ok(Offsets::new()) });
            return;
        }
        self.add(now, ticket, Work::Fetch(partitions), out);
    }

    fn add(&mut self, now: Now, ticket: Ticket, work: Work, out: &mut Outbox<Event>) {
        let until = deadline_after(now, self.settings.patience);
        let job = Job { ticket, work, until, since: now.instant, last_error: None, missing: 0 };
        if self.jobs.len() >= LIMIT {
            let (needed, limit) = (self.jobs.len() + 1, LIMIT);
            let error = ErrorKind::Full { needed, limit, setting: "commits that wait at once" }.into();
            finish(job, Err(error), out);
            return;
        }
        self.jobs.push_back(job);
    }

    /// These partitions of the member's are owned by somebody else: what waits is not committed, and what is under way is
    /// not tried again.
    pub(crate) fn lost(&mut self, now: Now, lost: &[TopicPartition], out: &mut Outbox<Event>) {
        let lost: BTreeSet<&TopicPartition> = lost.iter().collect();
        for (place, mut job) in mem::take(&mut self.jobs).into_iter().enumerate() {
            let partition = match &job.work {
                Work::Commit { offsets, member: Some(_), .. } => {
                    offsets.keys().find(|partition| lost.contains(partition)).cloned()
                }
                Work::Commit { .. } | Work::Fetch(_) => None,
            };
            match partition {
                None => self.jobs.push_back(job),
                Some(_) if place == 0 && self.asked.is_some() => {
                    job.until = job.until.min(now.instant);
                    self.jobs.push_back(job);
                }
                Some(partition) => finish(job, Err(ErrorKind::NotAssigned { partition }.into()), out),
            }
        }
    }

    pub(crate) fn tick(&mut self, now: Now, out: &mut Outbox<Event>) {
        if self.asked.is_some() {
            return;
        }
        while self.jobs.front().is_some_and(|job| job.until <= now.instant) {
            let Some(job) = self.jobs.pop_front() else { break };
            let after = now.instant.saturating_duration_since(job.since);
            let what = match job.work {
                Work::Commit { .. } => "committing offsets",
                Work::Fetch(_) => "looking up committed offsets",
            };
            let timeout =
                || ErrorKind::Timeout { what: what.to_owned(), after, setting: "request_timeout" }.into();
            let error = job.last_error.clone().unwrap_or_else(timeout);
            finish(job, Err(error), out);
        }
        if self.due.is_some_and(|due| due > now.instant) {
            return;
        }
        let (Some(coordinator), Some(job)) = (self.coordinator, self.jobs.front()) else { return };
        let (request, max_version) = match &job.work {
            Work::Commit { offsets, member, topic_ids } => {
                let by_name = offsets.keys().any(|partition| !topic_ids.contains_key(&partition.topic));
                let request = commit_request(&self.settings.group, offsets, member.as_ref(), topic_ids);
                (request.into(), by_name.then_some(LAST_COMMIT_BY_NAME))
            }
            Work::Fetch(partitions) => {
                (fetch_request(&self.settings.group, partitions).into(), Some(ONE_GROUP))
            }
        };
        let token = self.tokens.next();
        self.asked = Some(token);
        self.due = None;
        out.calls.push(Call {
            token,
            target: Target::Broker(coordinator),
            purpose: Purpose::COORDINATOR,
            request,
            deadline: deadline_after(now, self.settings.request_timeout).min(job.until),
            max_version,
        });
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        let job = self.jobs.front().filter(|_| self.asked.is_none())?;
        let due = self.due.filter(|_| self.coordinator.is_some());
        earlier(due, Some(job.until))
    }

    pub(crate) fn answer(&mut self, now: Now, token: Token, outcome: Outcome, out: &mut Outbox<Event>) {
        if self.asked != Some(token) {
            return;
        }
        self.asked = None;
        let Some(mut job) = self.jobs.pop_front() else { return };
        match self.judge(&job.work, outcome) {
            Verdict::Done(result) => {
                self.failures = 0;
                finish(job, result, out);
            }
            Verdict::Retry { error, .. } if job.is_missing(&error) => {
                self.failures = 0;
                finish(job, Err(error), out);
            }
            Verdict::Retry { error, elsewhere } => {
                tracing::debug!(group = %self.settings.group, %error, "the coordinator is asked again");
                job.last_error = Some(error);
                self.jobs.push_front(job);
                let wait = self.settings.retry.delay(self.failures, &mut self.random);
                self.failures = self.failures.saturating_add(1);
                self.due = Some(deadline_after(now, wait));
                if elsewhere && let Some(node) = self.coordinator.take() {
                    out.events.push(Event::CoordinatorLost(node));
                }
            }
        }
    }

    fn judge(&self, work: &Work, outcome: Outcome) -> Verdict {
        let answer = match outcome {
            Ok(answer) => answer,
            Err(Failure { error, .. }) if error.may_pass() => {
                return Verdict::Retry { error, elsewhere: true };
            }
            Err(Failure { error, .. }) => return Verdict::Done(Err(error)),
        };
        let group = &*self.settings.group;
        match work {
            Work::Commit { offsets, topic_ids, member } => {
                let keeps = member.as_ref().is_some_and(|member| member.keeps);
                match OffsetCommitResponse::try_from(answer.response) {
                    Ok(response) => judge_commit(group, keeps, offsets, topic_ids, &response),
                    Err(_) => Verdict::Retry { error: malformed("OffsetCommit"), elsewhere: true },
                }
            }
            Work::Fetch(partitions) => match OffsetFetchResponse::try_from(answer.response) {
                Ok(response) => judge_fetch(group, partitions, &response),
                Err(_) => Verdict::Retry { error: malformed("OffsetFetch"), elsewhere: true },
            },
        }
    }
}

impl Job {
    /// Whether the coordinator has said often enough that it does not know a topic.
    fn is_missing(&mut self, error: &Error) -> bool {
        let unknown = [Code::UNKNOWN_TOPIC_OR_PARTITION, Code::UNKNOWN_TOPIC_ID].map(Some);
        self.missing += u32::from(unknown.contains(&error.code()));
        self.missing >= MISSING
    }
}

fn finish(job: Job, result: Result<Offsets, Error>, out: &mut Outbox<Event>) {
    out.events.push(match job.work {
        Work::Commit { .. } => Event::Committed { ticket: job.ticket, result: result.map(|_| ()) },
        Work::Fetch(_) => Event::Fetched { ticket: job.ticket, result },
    });
}

fn commit_request(
    group: &Str,
    offsets: &Offsets,
    member: Option<&Identity>,
    topic_ids: &BTreeMap<TopicName, Uuid>,
) -> OffsetCommitRequest {
    let mut topics: BTreeMap<&TopicName, OffsetCommitRequestTopic> = BTreeMap::new();
    for (partition, committed) in offsets {
        let topic = topics.entry(&partition.topic).or_insert_with(|| OffsetCommitRequestTopic {
            name: (&partition.topic).into(),
            topic_id: topic_ids.get(&partition.topic).copied().unwrap_or(Uuid::ZERO),
            ..OffsetCommitRequestTopic::default()
        });
        topic.partitions.push(OffsetCommitRequestPartition {
            partition_index: partition.partition.0,
            committed_offset: committed.offset.0,
            committed_leader_epoch: committed.leader_epoch.unwrap_or(-1),
            committed_metadata: Some(committed.metadata.as_str().into()),
            ..OffsetCommitRequestPartition::default()
        });
    }
    OffsetCommitRequest {
        group_id: group.clone(),
        generation_id_or_member_epoch: member.map_or(-1, |member| member.generation),
        member_id: member.map(|member| member.member_id.clone()).unwrap_or_default(),
        group_instance_id: member.and_then(|member| member.instance_id.clone()),
        topics: topics.into_values().collect(),
        ..OffsetCommitRequest::default()
    }
}

fn fetch_request(group: &Str, partitions: &[TopicPartition]) -> OffsetFetchRequest {
    let mut topics: BTreeMap<&TopicName, Vec<i32>> = BTreeMap::new();
    for partition in partitions {
        topics.entry(&partition.topic).or_default().push(partition.partition.0);
    }
    let topics = topics.into_iter().map(|(topic, partition_indexes)| OffsetFetchRequestTopic {
        name: topic.into(),
        partition_indexes,
        ..OffsetFetchRequestTopic::default()
    });
    OffsetFetchRequest {
        group_id: group.clone(),
        topics: Some(topics.collect()),
        // Offsets that an open transaction is about to change are waited for (KIP-447); older brokers ignore it.
        require_stable: true,
        ..OffsetFetchRequest::default()
    }
}

/// A commit is done when each of its partitions was answered for; the first refusal is its error.
fn judge_commit(
    group: &str,
    keeps: bool,
    offsets: &Offsets,
    topic_ids: &BTreeMap<TopicName, Uuid>,
    response: &OffsetCommitResponse,
) -> Verdict {
    let mut refused = None;
    for partition in offsets.keys() {
        let id = topic_ids.get(&partition.topic);
        let topic = response.topics.iter().find(|topic| {
            *topic.name == *partition.topic || id.is_some_and(|id| !id.is_zero() && topic.topic_id == *id)
        });
        let answer = topic
            .and_then(|topic| topic.partitions.iter().find(|p| p.partition_index == partition.partition.0));
        let Some(answer) = answer else {
            return Verdict::Retry { error: malformed("OffsetCommit"), elsewhere: false };
        };
        let code = Code::new(answer.error_code);
        match again(code, "OffsetCommit", group, partition) {
            Ok(()) => {}
            // The next generation is on its way, and what is still owned then is committed in it.
            Err(Verdict::Done(Err(error))) if keeps && is_of_the_generation(code) => {
                return Verdict::Retry { error, elsewhere: false };
            }
            Err(Verdict::Done(Err(error))) => refused = refused.or(Some(error)),
            Err(retry) => return retry,
        }
    }
    Verdict::Done(refused.map_or_else(|| Ok(Offsets::new()), Err))
}

fn judge_fetch(group: &str, partitions: &[TopicPartition], response: &OffsetFetchResponse) -> Verdict {
    let mut committed = Offsets::new();
    let whole = TopicPartition::new("", -1);
    if let Err(verdict) = again(Code::new(response.error_code), "OffsetFetch", group, &whole) {
        return verdict;
    }
    for partition in partitions {
        let topic = response.topics.iter().find(|topic| *topic.name == *partition.topic);
        let answer = topic
            .and_then(|topic| topic.partitions.iter().find(|p| p.partition_index == partition.partition.0));
        let Some(answer) = answer else {
            return Verdict::Retry { error: malformed("OffsetFetch"), elsewhere: false };
        };
        if let Err(verdict) = again(Code::new(answer.error_code), "OffsetFetch", group, partition) {
            return verdict;
        }
        // A partition without a committed offset is answered with -1 and no error.
        if answer.committed_offset >= 0 {
            let mut offset = OffsetAndMetadata::new(answer.committed_offset);
            offset.leader_epoch = Some(answer.committed_leader_epoch).filter(|epoch| *epoch >= 0);
            offset.metadata = answer.metadata.as_deref().unwrap_or_default().to_owned();
            committed.insert(partition.clone(), offset);
        }
    }
    Verdict::Done(Ok(committed))
}

/// What a code means for a job: nothing, its end, or another try.
fn again(code: Code, request: &'static str, group: &str, partition: &TopicPartition) -> Result<(), Verdict> {
    let of_group = code == Code::GROUP_AUTHORIZATION_FAILED || partition.topic.is_empty();
    let subject = match code {
        _ if of_group => group.to_owned(),
        Code::TOPIC_AUTHORIZATION_FAILED => partition.topic.to_string(),
        _ => format!("{partition} in group {group}"),
    };
    let error = Error::broker(code, request, subject);
    match code {
        Code::NONE => Ok(()),
        // The broker says so while members synchronise; the generation that follows will be another.
        Code::REBALANCE_IN_PROGRESS => Err(Verdict::Done(Err(error))),
        Code::REQUEST_TIMED_OUT => Err(Verdict::Retry { error, elsewhere: true }),
        // The member has got another epoch meanwhile, or is about to learn of it.
        Code::STALE_MEMBER_EPOCH => Err(Verdict::Retry { error, elsewhere: false }),
        _ => match code.disposition() {
            Disposition::Done => Ok(()),
            Disposition::Fail => Err(Verdict::Done(Err(error))),
            Disposition::FindCoordinator => Err(Verdict::Retry { error, elsewhere: true }),
            Disposition::Retry | Disposition::RefreshMetadata => {
                Err(Verdict::Retry { error, elsewhere: false })
            }
        },
    }
}

/// Whether the commit was refused because it was not in the generation of the group.
fn is_of_the_generation(code: Code) -> bool {
    matches!(code, Code::REBALANCE_IN_PROGRESS | Code::ILLEGAL_GENERATION)
}

fn malformed(request: &str) -> Error {
    let detail = format!("the answer to {request} misses a partition, or is not one");
    ErrorKind::Malformed { peer: "the coordinator".to_owned(), detail }.into()
}

#[cfg(test)]
mod tests;
