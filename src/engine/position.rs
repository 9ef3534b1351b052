//! Where reading starts: looks up the offsets that "earliest", "latest" and a timestamp stand for (ListOffsets).

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::{
    engine::{
        backoff::{Backoff, Random},
        machine::{Call, Now, Outbox, Outcome, Purpose, Target, Token, Tokens, deadline_after, earlier},
        partition::{Claim, Leader, epoch_from_wire, subject},
    },
    error::{Code, Disposition, Error},
    types::{NodeId, Offset, OffsetSpec, Partition, TopicName, TopicPartition},
    wire::{
        messages::{
            ListOffsetsRequest, ListOffsetsResponse,
            list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic},
            list_offsets_response::ListOffsetsPartitionResponse,
        },
        str::Str,
    },
};

/// What became of a look-up.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// The partition starts here.
    Found { partition: TopicPartition, claim: Claim, offset: Offset, leader_epoch: Option<i32> },
    /// A broker refused for a reason that asking again does not change. It is asked again all the same, slowly: what
    /// it refuses may be granted later.
    Refused { partition: TopicPartition, claim: Claim, error: Error },
    /// The view of the cluster is stale.
    Refresh,
}

/// How to ask.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// Whether "latest" is the end of what is committed, as opposed to the end of the log.
    pub(crate) read_committed: bool,
    pub(crate) request_timeout: Duration,
    pub(crate) retry: Backoff,
}

/// The look-ups that are under way, one request per leader.
#[derive(Debug)]
pub(crate) struct Positions {
    settings: Settings,
    entries: BTreeMap<TopicPartition, Entry>,
    tokens: Tokens,
    random: Random,
}

#[derive(Debug)]
struct Entry {
    claim: Claim,
    look_up: OffsetSpec,
    end: End,
    leader: Option<Leader>,
    failures: u32,
    state: State,
}

/// Where the log ends, if no record has the timestamp yet. The end is asked for first and the timestamp once more after
/// it: a record that is written in between is not passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Unneeded,
    Wanted,
    Known(Offset, Option<i32>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// To be asked at this time, once there is a leader.
    Due(Instant),
    Asked(Token),
}

impl Positions {
    pub(crate) fn new(settings: Settings, tokens: Tokens, random: Random) -> Self {
        Self { settings, entries: BTreeMap::new(), tokens, random }
    }

    /// Starts a look-up; an older one for the same partition is forgotten.
    pub(crate) fn look_up(
        &mut self,
        now: Now,
        partition: TopicPartition,
        claim: Claim,
        look_up: OffsetSpec,
        leader: Option<Leader>,
    ) {
        let state = State::Due(now.instant);
        let end = End::Unneeded;
        self.entries.insert(partition, Entry { claim, look_up, end, leader, failures: 0, state });
    }

    pub(crate) fn forget(&mut self, partition: &TopicPartition) {
        self.entries.remove(partition);
    }

    /// The partitions whose leader the look-ups need to know.
    pub(crate) fn partitions(&self) -> impl Iterator<Item = &TopicPartition> {
        self.entries.keys()
    }

    pub(crate) fn set_leader(&mut self, partition: &TopicPartition, leader: Option<Leader>) {
        if let Some(entry) = self.entries.get_mut(partition) {
            entry.leader = leader;
        }
    }

    pub(crate) fn answer(&mut self, now: Now, token: Token, outcome: Outcome, out: &mut Outbox<Event>) {
        match outcome.map(|answer| ListOffsetsResponse::try_from(answer.response)) {
            Ok(Ok(response)) => {
                for topic in response.topics {
                    let name = TopicName::from(topic.name);
                    for found in topic.partitions {
                        let partition = TopicPartition::new(name.clone(), Partition(found.partition_index));
                        self.resolve(now, token, &partition, &found, out);
                    }
                }
            }
            Ok(Err(_)) => out.events.push(Event::Refresh),
            Err(failure) => {
                out.events.push(Event::Refresh);
                if !failure.error.may_pass() {
                    self.refused(token, &failure.error, out);
                }
            }
        }
        // What the broker did not speak of is asked again.
        let (settings, random) = (&self.settings, &mut self.random);
        for entry in self.entries.values_mut().filter(|entry| entry.state == State::Asked(token)) {
            entry.retry(now, settings, random);
        }
    }

    /// A broker cannot be asked at all, for a reason that does not pass by itself.
    fn refused(&mut self, token: Token, error: &Error, out: &mut Outbox<Event>) {
        for (partition, entry) in &mut self.entries {
            if entry.state == State::Asked(token) {
                entry.failures = entry.failures.max(SLOW);
                let (partition, claim, error) = (partition.clone(), entry.claim, error.clone());
                out.events.push(Event::Refused { partition, claim, error });
            }
        }
    }

    fn resolve(
        &mut self,
        now: Now,
        token: Token,
        partition: &TopicPartition,
        found: &ListOffsetsPartitionResponse,
        out: &mut Outbox<Event>,
    ) {
        let Some(entry) = self.entries.get_mut(partition) else { return };
        if entry.state != State::Asked(token) {
            return;
        }
        let code = Code::new(found.error_code);
        match code.disposition() {
            Disposition::Done => {
                let is_found = found.offset >= 0;
                let place = (Offset(found.offset), epoch_from_wire(found.leader_epoch));
                match (entry.end, entry.look_up) {
                    (End::Wanted, _) if is_found => entry.ask_again(now, End::Known(place.0, place.1)),
                    (End::Known(offset, epoch), _) if !is_found => {
                        self.found(partition, (offset, epoch), out);
                    }
                    (End::Unneeded, OffsetSpec::Timestamp(_)) if !is_found => {
                        entry.ask_again(now, End::Wanted);
                    }
                    _ if is_found => self.found(partition, place, out),
                    _ => entry.retry(now, &self.settings, &mut self.random),
                }
            }
            Disposition::Retry => entry.retry(now, &self.settings, &mut self.random),
            Disposition::RefreshMetadata | Disposition::FindCoordinator => {
                entry.retry(now, &self.settings, &mut self.random);
                out.events.push(Event::Refresh);
            }
            Disposition::Fail => {
                entry.failures = entry.failures.max(SLOW);
                entry.retry(now, &self.settings, &mut self.random);
                let error = Error::broker(code, "ListOffsets", subject(code, partition));
                out.events.push(Event::Refused { partition: partition.clone(), claim: entry.claim, error });
            }
        }
    }

    fn found(
        &mut self,
        partition: &TopicPartition,
        (offset, leader_epoch): (Offset, Option<i32>),
        out: &mut Outbox<Event>,
    ) {
        if let Some(Entry { claim, .. }) = self.entries.remove(partition) {
            out.events.push(Event::Found { partition: partition.clone(), claim, offset, leader_epoch });
        }
    }

    /// Asks every leader for what is due.
    pub(crate) fn tick(&mut self, now: Now, out: &mut Outbox<Event>) {
        let mut requests: BTreeMap<NodeId, (Token, Vec<ListOffsetsTopic>)> = BTreeMap::new();
        for (partition, entry) in &mut self.entries {
            let (State::Due(due), Some(leader)) = (entry.state, entry.leader) else { continue };
            if due > now.instant {
                continue;
            }
            let (token, topics) =
                requests.entry(leader.node).or_insert_with(|| (self.tokens.next(), Vec::new()));
            entry.state = State::Asked(*token);
            let spec = if entry.end == End::Wanted { OffsetSpec::Latest } else { entry.look_up };
            ask_for(topics, partition, leader.wire_epoch(), spec);
        }
        for (node, (token, topics)) in requests {
            out.calls.push(self.call(now, node, token, topics));
        }
    }

    fn call(&self, now: Now, node: NodeId, token: Token, topics: Vec<ListOffsetsTopic>) -> Call {
        let timeout = self.settings.request_timeout;
        let request = request(topics, self.settings.read_committed, timeout);
        Call {
            token,
            target: Target::Broker(node),
            purpose: Purpose::General,
            request: request.into(),
            deadline: deadline_after(now, timeout),
            max_version: None,
        }
    }

    /// When something is due that has a leader to be asked.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let due = |entry: &Entry| match entry.state {
            State::Due(at) if entry.leader.is_some() => Some(at),
            _ => None,
        };
        self.entries.values().map(due).fold(None, earlier)
    }
}

/// Asks for one more offset. Partitions come in order.
pub(crate) fn ask_for(
    topics: &mut Vec<ListOffsetsTopic>,
    partition: &TopicPartition,
    current_leader_epoch: i32,
    spec: OffsetSpec,
) {
    let asked = ListOffsetsPartition {
        partition_index: partition.partition.0,
        current_leader_epoch,
        timestamp: spec.to_wire(),
        ..ListOffsetsPartition::default()
    };
    match topics.last_mut().filter(|topic| *topic.name == *partition.topic) {
        Some(topic) => topic.partitions.push(asked),
        None => topics.push(ListOffsetsTopic {
            name: Str::from(&partition.topic),
            partitions: vec![asked],
            ..ListOffsetsTopic::default()
        }),
    }
}

/// What a leader is asked.
pub(crate) fn request(
    topics: Vec<ListOffsetsTopic>,
    read_committed: bool,
    timeout: Duration,
) -> ListOffsetsRequest {
    ListOffsetsRequest {
        replica_id: -1,
        isolation_level: i8::from(read_committed),
        topics,
        timeout_ms: i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX),
        ..ListOffsetsRequest::default()
    }
}

/// The number of failures from which on the wait between two tries is the longest.
const SLOW: u32 = 16;

impl Entry {
    fn ask_again(&mut self, now: Now, end: End) {
        self.end = end;
        self.state = State::Due(now.instant);
    }

    fn retry(&mut self, now: Now, settings: &Settings, random: &mut Random) {
        let wait = settings.retry.delay(self.failures, random);
        self.failures = self.failures.saturating_add(1);
        self.state = State::Due(deadline_after(now, wait));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use std::mem;

    use super::*;
    use crate::{
        engine::{machine::Failure, partition::Claims, script},
        error::ErrorKind,
        wire::{calls::Request, messages::list_offsets_response::ListOffsetsTopicResponse},
    };

    const RETRY: Backoff = Backoff { first: Duration::from_millis(100), max: Duration::from_secs(1) };

    struct Bench {
        now: Now,
        positions: Positions,
        claims: Claims,
        out: Outbox<Event>,
    }

    impl Bench {
        fn new() -> Self {
            let settings =
                Settings { read_committed: true, request_timeout: Duration::from_secs(30), retry: RETRY };
            let positions = Positions::new(settings, Tokens::default(), Random::new(1));
            Self { now: script::start(), positions, claims: Claims::default(), out: Outbox::default() }
        }

        fn look_up(&mut self, index: i32, look_up: OffsetSpec, node: i32) -> Claim {
            let (claim, partition) = (self.claims.next(), TopicPartition::new("t", index));
            self.positions.look_up(self.now, partition, claim, look_up, Some(script::leader(node)));
            claim
        }

        /// The requests that are due: whom they go to, and (partition, timestamp) of each.
        #[expect(clippy::type_complexity, reason = "read where it is destructured")]
        fn asked(&mut self) -> Vec<(Token, Target, Vec<(i32, i64)>)> {
            self.positions.tick(self.now, &mut self.out);
            let calls = mem::take(&mut self.out.calls);
            let request = |call: Call| {
                let Request::ListOffsets(request) = call.request else { panic!("{call:?}") };
                assert_eq!(request.isolation_level, 1);
                let partitions = request.topics.iter().flat_map(|topic| &topic.partitions);
                let asked = partitions.map(|p| (p.partition_index, p.timestamp)).collect();
                (call.token, call.target, asked)
            };
            calls.into_iter().map(request).collect()
        }

        /// Answers with (partition, code, offset) each.
        fn answer(&mut self, token: Token, found: &[(i32, i16, i64)]) -> Vec<Event> {
            let partition = |(index, code, offset): &(i32, i16, i64)| ListOffsetsPartitionResponse {
                partition_index: *index,
                error_code: *code,
                offset: *offset,
                leader_epoch: 5,
                ..ListOffsetsPartitionResponse::default()
            };
            let partitions = found.iter().map(partition).collect();
            let topic = ListOffsetsTopicResponse {
                name: "t".into(),
                partitions,
                ..ListOffsetsTopicResponse::default()
            };
            let response = ListOffsetsResponse { topics: vec![topic], ..ListOffsetsResponse::default() };
            self.positions.answer(self.now, token, script::answer(10, response), &mut self.out);
            mem::take(&mut self.out.events)
        }
    }

    #[test]
    fn each_leader_is_asked_once_for_all_its_partitions() {
        let mut bench = Bench::new();
        let first = bench.look_up(0, OffsetSpec::Earliest, 1);
        bench.look_up(1, OffsetSpec::Latest, 2);
        bench.look_up(2, OffsetSpec::Timestamp(99), 1);
        let asked = bench.asked();
        assert_eq!(asked.len(), 2);
        assert_eq!((asked[0].1, &*asked[0].2), (Target::Broker(NodeId(1)), &[(0, -2), (2, 99)][..]));
        assert_eq!((asked[1].1, &*asked[1].2), (Target::Broker(NodeId(2)), &[(1, -1)][..]));
        assert!(bench.asked().is_empty(), "in flight");

        let events = bench.answer(asked[0].0, &[(0, 0, 40), (2, 0, 41)]);
        let [Event::Found { claim, offset: Offset(40), leader_epoch: Some(5), .. }, Event::Found { .. }] =
            events.as_slice()
        else {
            panic!("{events:?}")
        };
        assert_eq!(*claim, first);
    }

    #[test]
    fn an_answer_to_a_superseded_look_up_is_ignored() {
        let mut bench = Bench::new();
        bench.look_up(0, OffsetSpec::Earliest, 1);
        let old = bench.asked()[0].0;
        bench.look_up(0, OffsetSpec::Latest, 1);
        let new = bench.asked()[0].0;
        assert!(bench.answer(old, &[(0, 0, 1)]).is_empty());
        assert_eq!(bench.answer(new, &[(0, 0, 9)]).len(), 1);
        bench.look_up(0, OffsetSpec::Earliest, 1);
        let forgotten = bench.asked()[0].0;
        bench.positions.forget(&TopicPartition::new("t", 0));
        assert!(bench.answer(forgotten, &[(0, 0, 1)]).is_empty());
    }

    #[test]
    fn a_timestamp_behind_the_last_record_means_the_end() {
        let mut bench = Bench::new();
        bench.look_up(0, OffsetSpec::Timestamp(5), 1);
        let token = bench.asked()[0].0;
        assert!(bench.answer(token, &[(0, 0, -1)]).is_empty());
        let (token, _, asked) = bench.asked().remove(0);
        assert_eq!(asked, [(0, OffsetSpec::Latest.to_wire())]);
        assert!(bench.answer(token, &[(0, 0, 7)]).is_empty());
        // A record may have been written since.
        let (token, _, asked) = bench.asked().remove(0);
        assert_eq!(asked, [(0, 5)]);
        let events = bench.answer(token, &[(0, 0, -1)]);
        assert!(matches!(events[..], [Event::Found { offset: Offset(7), .. }]), "{events:?}");
    }

    #[test]
    fn a_record_that_is_written_during_the_look_up_is_not_passed_over() {
        let mut bench = Bench::new();
        bench.look_up(0, OffsetSpec::Timestamp(5), 1);
        for found in [-1, 8] {
            let token = bench.asked()[0].0;
            assert!(bench.answer(token, &[(0, 0, found)]).is_empty());
        }
        let token = bench.asked()[0].0;
        let events = bench.answer(token, &[(0, 0, 7)]);
        assert!(matches!(events[..], [Event::Found { offset: Offset(7), .. }]), "{events:?}");
    }

    #[test]
    fn a_broker_that_cannot_be_asked_at_all_is_told_of() {
        let mut bench = Bench::new();
        bench.look_up(0, OffsetSpec::Latest, 1);
        let token = bench.asked()[0].0;
        let error =
            ErrorKind::UnsupportedVersion { request: "ListOffsets", ours: (1, 11), theirs: None }.into();
        let outcome = Err(Failure { maybe_sent: false, error });
        bench.positions.answer(bench.now, token, outcome, &mut bench.out);
        let events = mem::take(&mut bench.out.events);
        assert!(matches!(events[..], [Event::Refresh, Event::Refused { .. }]), "{events:?}");
        bench.now = bench.now.after(Duration::from_millis(500));
        assert!(bench.asked().is_empty(), "slowly");
    }

    #[test]
    fn a_stale_leader_refreshes_the_view_and_asks_the_new_one_later() {
        let mut bench = Bench::new();
        bench.look_up(0, OffsetSpec::Latest, 1);
        let token = bench.asked()[0].0;
        let code = Code::NOT_LEADER_OR_FOLLOWER.get();
        assert!(matches!(bench.answer(token, &[(0, code, -1)])[..], [Event::Refresh]));
        bench.positions.set_leader(&TopicPartition::new("t", 0), Some(script::leader(2)));
        assert!(bench.asked().is_empty(), "backing off");
        bench.now = bench.now.after(Duration::from_millis(120));
        assert!(bench.positions.deadline().unwrap() <= bench.now.instant);
        assert_eq!(bench.asked()[0].1, Target::Broker(NodeId(2)));
    }

    #[test]
    fn what_the_answer_leaves_out_and_lost_answers_are_asked_again() {
        let mut bench = Bench::new();
        bench.look_up(0, OffsetSpec::Latest, 1);
        bench.look_up(1, OffsetSpec::Latest, 1);
        let token = bench.asked()[0].0;
        // Partition 7 was not asked for.
        assert_eq!(bench.answer(token, &[(0, 0, 3), (7, 0, 3)]).len(), 1);
        bench.now = bench.now.after(RETRY.max);
        let again = bench.asked();
        assert_eq!(again[0].2, [(1, OffsetSpec::Latest.to_wire())]);
        bench.positions.answer(bench.now, again[0].0, script::failure(), &mut bench.out);
        assert!(matches!(bench.out.events[..], [Event::Refresh]));
        bench.now = bench.now.after(RETRY.max);
        assert_eq!(bench.asked()[0].2, [(1, OffsetSpec::Latest.to_wire())]);
    }

    #[test]
    fn a_refusal_is_told_and_asked_again_slowly() {
        let mut bench = Bench::new();
        bench.look_up(0, OffsetSpec::Latest, 1);
        let token = bench.asked()[0].0;
        let events = bench.answer(token, &[(0, Code::TOPIC_AUTHORIZATION_FAILED.get(), -1)]);
        let [Event::Refused { error, .. }] = events.as_slice() else { panic!("{events:?}") };
        assert!(matches!(error.kind(), ErrorKind::NotAuthorized { name, .. } if name == "t"));
        bench.now = bench.now.after(Duration::from_millis(500));
        assert!(bench.asked().is_empty());
        bench.now = bench.now.after(RETRY.max);
        assert_eq!(bench.asked().len(), 1);
    }
}
