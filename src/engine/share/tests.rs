#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::{
    engine::{
        backoff::Backoff,
        machine::{Answer, Call, Failure, Token},
        script,
    },
    error::ErrorKind,
    wire::{
        calls::{Request, Response},
        messages::{
            ShareAcknowledgeRequest, ShareAcknowledgeResponse, ShareFetchRequest, ShareFetchResponse,
            share_acknowledge_response as acknowledged, share_fetch_response as fetched,
        },
        uuid::Uuid,
    },
};

const SECOND: Duration = Duration::from_secs(1);

struct Bench {
    sharer: Sharer,
    out: Outbox<Event>,
    now: Now,
}

fn key(index: i32) -> Key {
    (Uuid::from_bytes([7; 16]), index)
}

impl Bench {
    /// Partitions 0, 1, 2… with these leaders.
    fn new(leaders: &[i32]) -> Self {
        let settings = Settings {
            group: "g".into(),
            member_id: "m".into(),
            min_bytes: 1,
            max_wait: SECOND / 2,
            max_bytes: 1 << 20,
            max_records: 500,
            is_strict: false,
            request_timeout: 30 * SECOND,
            retry: Backoff { first: SECOND / 10, max: SECOND },
        };
        let sharer = Sharer::new(settings, Tokens::default(), Random::new(1));
        let mut bench = Self { sharer, out: Outbox::default(), now: script::start() };
        bench.assign(leaders);
        bench
    }

    fn assign(&mut self, leaders: &[i32]) {
        let place =
            |(index, leader): (i32, &i32)| (key(index), (TopicPartition::new("t", index), NodeId(*leader)));
        // Leader 0 stands for none: the partition is not assigned.
        let sources = (0..).zip(leaders).filter(|(_, leader)| **leader > 0).map(place).collect();
        self.sharer.assign(self.now, &sources, &mut self.out);
        self.sharer.check();
    }

    fn tick(&mut self, wants: bool) -> Vec<Call> {
        self.sharer.tick(self.now, wants, &mut self.out);
        self.sharer.check();
        std::mem::take(&mut self.out.calls)
    }

    /// The only call, which must be a fetch.
    fn fetch(&mut self) -> (Token, ShareFetchRequest) {
        let mut calls = self.tick(true);
        assert_eq!(calls.len(), 1, "{calls:?}");
        match calls.remove(0) {
            Call { token, request: Request::ShareFetch(request), .. } => (token, request),
            other => panic!("{other:?}"),
        }
    }

    fn acknowledgement(&mut self, wants: bool) -> (Token, ShareAcknowledgeRequest) {
        let mut calls = self.tick(wants);
        assert_eq!(calls.len(), 1, "{calls:?}");
        match calls.remove(0) {
            Call { token, request: Request::ShareAcknowledge(request), .. } => (token, request),
            other => panic!("{other:?}"),
        }
    }

    fn answer(&mut self, token: Token, response: impl Into<Response>) {
        let answer = Answer { node: NodeId(1), version: 2, response: response.into() };
        self.sharer.answer(self.now, token, Ok(answer), &mut self.out);
        self.sharer.check();
    }

    /// Answers a fetch with locks on these offsets of partition 0.
    fn acquire(&mut self, token: Token, first: i64, last: i64) -> Stay {
        let run = fetched::AcquiredRecords {
            first_offset: first,
            last_offset: last,
            delivery_count: 1,
            ..fetched::AcquiredRecords::default()
        };
        let data = fetched::PartitionData { acquired_records: vec![run], ..data(0) };
        self.answer(token, fetch_response(vec![data]));
        let stay = self.events().into_iter().find_map(|event| match event {
            Event::Fetched(fetched) => Some((fetched.stay, fetched.acquired, fetched.until)),
            _ => None,
        });
        let (stay, acquired, until) = stay.unwrap();
        assert_eq!(acquired, [Acquired { first, last, deliveries: 1 }]);
        assert_eq!(until, self.now.instant + 30 * SECOND);
        stay
    }

    fn decide(&mut self, stay: Stay, first: i64, last: i64, verdict: Verdict) {
        self.sharer.decide(Decision { stay, first, last, verdict }, &mut self.out);
    }

    fn events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.out.events)
    }

    /// First and last offsets of what did not count.
    fn unsettled(&mut self) -> Vec<(i64, i64, Option<Code>)> {
        let unsettled = self.events().into_iter().filter_map(|event| match event {
            Event::Unsettled { first, last, error, .. } => Some((first, last, error.code())),
            _ => None,
        });
        unsettled.collect()
    }
}

fn data(index: i32) -> fetched::PartitionData {
    fetched::PartitionData {
        partition_index: index,
        records: Some(Bytes::from_static(b"batches")),
        ..fetched::PartitionData::default()
    }
}

fn fetch_response(partitions: Vec<fetched::PartitionData>) -> ShareFetchResponse {
    let topic = fetched::ShareFetchableTopicResponse {
        topic_id: key(0).0,
        partitions,
        ..fetched::ShareFetchableTopicResponse::default()
    };
    ShareFetchResponse {
        acquisition_lock_timeout_ms: 30_000,
        responses: vec![topic],
        ..ShareFetchResponse::default()
    }
}

fn acknowledge_response(index: i32, code: Code) -> ShareAcknowledgeResponse {
    let partition = acknowledged::PartitionData {
        partition_index: index,
        error_code: code.get(),
        ..acknowledged::PartitionData::default()
    };
    let topic = acknowledged::ShareAcknowledgeTopicResponse {
        topic_id: key(0).0,
        partitions: vec![partition],
        ..acknowledged::ShareAcknowledgeTopicResponse::default()
    };
    ShareAcknowledgeResponse { responses: vec![topic], ..ShareAcknowledgeResponse::default() }
}

fn indexes(request: &ShareFetchRequest) -> Vec<i32> {
    request.topics.iter().flat_map(|topic| &topic.partitions).map(|p| p.partition_index).collect()
}

/// What a fetch says of partition 0.
fn verdicts(request: &ShareFetchRequest) -> Vec<(i64, i64, Vec<i8>)> {
    let partitions = request.topics.iter().flat_map(|topic| &topic.partitions);
    let batches = partitions.flat_map(|partition| &partition.acknowledgement_batches);
    batches.map(|batch| (batch.first_offset, batch.last_offset, batch.acknowledge_types.clone())).collect()
}

fn acknowledgements(request: &ShareAcknowledgeRequest) -> Vec<(i64, i64, Vec<i8>)> {
    let partitions = request.topics.iter().flat_map(|topic| &topic.partitions);
    let batches = partitions.flat_map(|partition| &partition.acknowledgement_batches);
    batches.map(|batch| (batch.first_offset, batch.last_offset, batch.acknowledge_types.clone())).collect()
}

#[test]
fn a_session_names_only_what_has_changed_and_counts_its_requests() {
    let mut bench = Bench::new(&[1, 1]);
    assert!(bench.tick(false).is_empty(), "nobody wants anything");
    let (token, request) = bench.fetch();
    assert_eq!((request.share_session_epoch, indexes(&request)), (0, vec![0, 1]));
    assert!(bench.tick(true).is_empty(), "one at a time");
    bench.now = bench.now.after(SECOND);
    bench.answer(token, fetch_response(vec![]));
    let (token, request) = bench.fetch();
    assert_eq!((request.share_session_epoch, indexes(&request)), (1, vec![]));
    bench.now = bench.now.after(SECOND);
    bench.answer(token, fetch_response(vec![]));
    bench.assign(&[1, 0, 1]);
    let (_, request) = bench.fetch();
    assert_eq!((request.share_session_epoch, indexes(&request)), (2, vec![2]));
    let forgotten: Vec<i32> =
        request.forgotten_topics_data.iter().flat_map(|topic| topic.partitions.clone()).collect();
    assert_eq!(forgotten, [1]);
}

#[test]
fn decisions_go_with_the_next_fetch_or_by_themselves() {
    let mut bench = Bench::new(&[1]);
    let (token, _) = bench.fetch();
    let stay = bench.acquire(token, 10, 19);
    bench.decide(stay, 10, 12, Verdict::Accept);
    bench.decide(stay, 13, 13, Verdict::Release);
    bench.decide(stay, 11, 11, Verdict::Reject);
    let (token, request) = bench.fetch();
    let expected = [(10, 10, vec![1]), (11, 11, vec![3]), (12, 12, vec![1]), (13, 13, vec![2])];
    assert_eq!((verdicts(&request), indexes(&request)), (expected.to_vec(), vec![0]));
    bench.answer(token, fetch_response(vec![fetched::PartitionData { records: None, ..data(0) }]));
    assert!(bench.unsettled().is_empty());

    bench.decide(stay, 14, 14, Verdict::Accept);
    let (token, request) = bench.acknowledgement(false);
    assert_eq!(acknowledgements(&request), [(14, 14, vec![1])]);
    assert_eq!((request.share_session_epoch, request.is_renew_ack), (2, false));
    bench.answer(token, acknowledge_response(0, Code::NONE));
    // A renewal cannot go with a fetch.
    bench.decide(stay, 15, 15, Verdict::Renew);
    let (_, request) = bench.acknowledgement(true);
    assert_eq!((acknowledgements(&request), request.is_renew_ack), (vec![(15, 15, vec![4])], true));
}

#[test]
fn what_did_not_count_is_told_and_so_is_what_the_answer_does_not_name() {
    let mut bench = Bench::new(&[1]);
    let (token, _) = bench.fetch();
    let stay = bench.acquire(token, 0, 9);
    bench.decide(stay, 0, 3, Verdict::Accept);
    bench.sharer.commit(77);
    let (token, _) = bench.acknowledgement(false);
    bench.answer(token, acknowledge_response(0, Code::INVALID_RECORD_STATE));
    bench.tick(false);
    let mut told = 0;
    for event in bench.events() {
        match event {
            Event::Unsettled { first: 0, last: 3, .. } => told += 1,
            Event::Committed { ticket: 77, result } => {
                assert_eq!(result.unwrap_err().code(), Some(Code::INVALID_RECORD_STATE));
                told += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(told, 2);
    bench.decide(stay, 4, 4, Verdict::Accept);
    let (token, _) = bench.acknowledgement(false);
    bench.answer(token, acknowledge_response(9, Code::NONE));
    assert_eq!(bench.unsettled(), [(4, 4, Some(Code::INVALID_RECORD_STATE))]);
}

#[test]
fn a_commit_waits_for_all_brokers_that_have_something_to_be_told() {
    let mut bench = Bench::new(&[1]);
    bench.sharer.commit(1);
    bench.tick(false);
    assert!(
        matches!(bench.events()[..], [Event::Committed { ticket: 1, result: Ok(()) }]),
        "nothing is open"
    );
    let (token, _) = bench.fetch();
    let stay = bench.acquire(token, 0, 9);
    let (token, _) = bench.fetch();
    bench.decide(stay, 0, 9, Verdict::Accept);
    bench.sharer.commit(2);
    bench.tick(false);
    assert!(bench.events().is_empty(), "a fetch is under way");
    bench.now = bench.now.after(SECOND);
    bench.answer(token, fetch_response(vec![]));
    let (token, _) = bench.acknowledgement(false);
    assert!(bench.events().is_empty());
    bench.answer(token, acknowledge_response(0, Code::NONE));
    bench.tick(false);
    assert!(matches!(bench.events()[..], [Event::Committed { ticket: 2, result: Ok(()) }]));
}

#[test]
fn with_its_session_everything_that_was_got_in_it_is_lost() {
    for is_answered in [true, false] {
        let mut bench = Bench::new(&[1]);
        let (token, _) = bench.fetch();
        let stay = bench.acquire(token, 0, 9);
        bench.decide(stay, 0, 0, Verdict::Accept);
        let (token, _) = bench.fetch();
        bench.decide(stay, 1, 1, Verdict::Accept);
        let code = Code::SHARE_SESSION_NOT_FOUND;
        if is_answered {
            bench.answer(
                token,
                ShareFetchResponse { error_code: code.get(), ..ShareFetchResponse::default() },
            );
        } else {
            let error = ErrorKind::Timeout { what: "x".into(), after: SECOND, setting: "s" }.into();
            bench.sharer.answer(bench.now, token, Err(Failure { maybe_sent: true, error }), &mut bench.out);
            bench.sharer.check();
        }
        let events = bench.events();
        let is_told = |event: &Event| matches!(event, Event::Unsettled { .. });
        assert_eq!(events.iter().filter(|event| is_told(event)).count(), 2);
        assert!(
            events
                .iter()
                .any(|event| matches!(event, Event::Ended { stay: ended, release: false } if *ended == stay))
        );
        bench.decide(stay, 2, 2, Verdict::Accept);
        assert_eq!(bench.unsettled(), [(2, 2, Some(code))], "later ones too");
        bench.now = bench.now.after(SECOND);
        let (_, request) = bench.fetch();
        assert_eq!((request.share_session_epoch, indexes(&request)), (0, vec![0]), "it is begun anew");
    }
}

#[test]
fn a_partition_that_moves_is_read_elsewhere_and_what_was_got_can_be_decided() {
    let mut bench = Bench::new(&[1]);
    let (token, _) = bench.fetch();
    let stay = bench.acquire(token, 0, 9);
    bench.assign(&[2]);
    assert!(matches!(bench.events()[..], [Event::Ended { stay: ended, release: true }] if ended == stay));
    bench.decide(stay, 3, 9, Verdict::Release);
    let calls = bench.tick(true);
    let targets: Vec<_> = calls.iter().map(|call| (call.target, call.request.key().name())).collect();
    let to = |node| crate::engine::machine::Target::Broker(NodeId(node));
    assert_eq!(targets, [(to(1), "ShareAcknowledge"), (to(2), "ShareFetch")]);
}

#[test]
fn closing_says_what_was_decided_with_the_last_request_of_each_session() {
    let mut bench = Bench::new(&[1, 2]);
    let calls = bench.tick(true);
    let [first, second] = [calls[0].token, calls[1].token];
    let stay = bench.acquire(first, 0, 9);
    bench.decide(stay, 0, 4, Verdict::Accept);
    bench.sharer.close();
    let (token, request) = bench.acknowledgement(true);
    assert_eq!((request.share_session_epoch, acknowledgements(&request)), (-1, vec![(0, 4, vec![1])]));
    bench.answer(token, acknowledge_response(0, Code::NONE));
    bench.answer(second, fetch_response(vec![]));
    let (token, request) = bench.acknowledgement(true);
    assert_eq!((request.share_session_epoch, request.topics.len()), (-1, 0), "the other was under way");
    assert!(!bench.events().iter().any(|event| matches!(event, Event::Closed)));
    bench.answer(token, ShareAcknowledgeResponse::default());
    bench.tick(false);
    assert!(bench.events().iter().any(|event| matches!(event, Event::Closed)));
}

#[test]
fn a_broker_that_does_not_wait_is_given_a_rest() {
    let mut bench = Bench::new(&[1]);
    let (token, _) = bench.fetch();
    let mut moved = fetched::PartitionData { error_code: Code::NOT_LEADER_OR_FOLLOWER.get(), ..data(0) };
    moved.current_leader = fetched::LeaderIdAndEpoch { leader_id: 2, leader_epoch: 5, ..Default::default() };
    bench.answer(token, fetch_response(vec![moved]));
    let events = bench.events();
    assert!(
        matches!(&events[0], Event::LeaderHint(hint) if hint.leader == NodeId(2) && hint.leader_epoch == 5)
    );
    assert!(matches!(events[1], Event::Refresh));
    assert!(bench.tick(true).is_empty());
    assert_eq!(bench.sharer.deadline(true), Some(bench.now.instant + SECOND / 10));
    bench.now = bench.now.after(SECOND / 10);
    assert_eq!(indexes(&bench.fetch().1), [0], "it is named again");
}
