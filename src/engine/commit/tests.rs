#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, reason = "tests")]

use super::*;
use crate::{
    engine::machine::Answer,
    wire::{
        calls::{Request, Response},
        messages::{
            offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic},
            offset_fetch_response::{OffsetFetchResponsePartition, OffsetFetchResponseTopic},
        },
    },
};

struct Bench {
    commits: Commits,
    now: Now,
    out: Outbox<Event>,
}

impl Bench {
    fn new() -> Self {
        let second = Duration::from_secs(1);
        let settings = Settings {
            group: "g".into(),
            request_timeout: 30 * second,
            patience: 60 * second,
            retry: Backoff { first: second / 10, max: second },
        };
        let mut commits = Commits::new(settings, Tokens::default(), Random::new(1));
        commits.set_coordinator(Some(NodeId(1)));
        let now = Now { instant: Instant::now(), unix_ms: 0 };
        Self { commits, now, out: Outbox::default() }
    }

    fn commit(&mut self, ticket: u64, offset: i64) {
        self.commit_as(member(3, false), ticket, offset);
    }

    fn commit_as(&mut self, member: Identity, ticket: u64, offset: i64) {
        let offsets = [(TopicPartition::new("t", 0), OffsetAndMetadata::new(offset))].into();
        let ids = [("t".into(), Uuid::from_bytes([7; 16]))].into();
        self.commits.commit(self.now, Ticket(ticket), offsets, Some(member), ids, &mut self.out);
    }

    fn tick(&mut self) -> Option<Call> {
        self.commits.tick(self.now, &mut self.out);
        self.out.calls.pop()
    }

    fn answer(&mut self, token: Token, response: impl Into<Response>) {
        let answer = Answer { node: NodeId(1), version: 7, response: response.into() };
        self.commits.answer(self.now, token, Ok(answer), &mut self.out);
    }

    fn answer_commit(&mut self, token: Token, code: Code) {
        let partition = OffsetCommitResponsePartition { error_code: code.get(), ..Default::default() };
        let topic = OffsetCommitResponseTopic {
            topic_id: Uuid::from_bytes([7; 16]),
            partitions: vec![partition],
            ..Default::default()
        };
        self.answer(token, OffsetCommitResponse { topics: vec![topic], ..Default::default() });
    }

    fn results(&mut self) -> Vec<(u64, Option<Code>)> {
        let events = self.out.events.drain(..).filter_map(|event| match event {
            Event::Committed { ticket, result } => {
                Some((ticket.0, result.err().and_then(|error| error.code())))
            }
            _ => None,
        });
        events.collect()
    }
}

fn member(generation: i32, keeps: bool) -> Identity {
    Identity { member_id: "m".into(), instance_id: None, generation, keeps }
}

fn offset(call: &Call) -> i64 {
    let Request::OffsetCommit(request) = &call.request else { panic!("{call:?}") };
    request.topics[0].partitions[0].committed_offset
}

#[test]
fn commits_go_one_at_a_time_in_order() {
    let mut bench = Bench::new();
    bench.commit(1, 10);
    bench.commit(2, 20);
    let first = bench.tick().unwrap();
    assert_eq!((offset(&first), bench.tick().is_none()), (10, true));
    bench.answer_commit(first.token, Code::NONE);
    let second = bench.tick().unwrap();
    bench.answer_commit(second.token, Code::NONE);
    assert_eq!((offset(&second), bench.results()), (20, vec![(1, None), (2, None)]));
    assert!(bench.commits.is_idle());
}

#[test]
fn a_commit_of_an_old_generation_is_refused_and_the_next_goes_on() {
    let mut bench = Bench::new();
    bench.commit(1, 10);
    bench.commit(2, 20);
    let call = bench.tick().unwrap();
    bench.answer_commit(call.token, Code::ILLEGAL_GENERATION);
    assert_eq!(bench.results(), [(1, Some(Code::ILLEGAL_GENERATION))]);
    assert!(bench.tick().is_some());
}

#[test]
fn a_moved_coordinator_is_looked_for_and_asked_again() {
    let mut bench = Bench::new();
    bench.commit(1, 10);
    let call = bench.tick().unwrap();
    bench.answer_commit(call.token, Code::NOT_COORDINATOR);
    assert!(matches!(bench.out.events.pop(), Some(Event::CoordinatorLost(NodeId(1)))));
    assert!(bench.commits.needs_coordinator() && bench.tick().is_none());
    bench.commits.set_coordinator(Some(NodeId(2)));
    bench.now = bench.now.after(Duration::from_secs(1));
    let again = bench.tick().unwrap();
    assert_eq!((again.target, offset(&again)), (Target::Broker(NodeId(2)), 10));
}

#[test]
fn a_commit_that_finds_no_coordinator_ends_with_the_last_error() {
    let mut bench = Bench::new();
    bench.commit(1, 10);
    let call = bench.tick().unwrap();
    bench.answer_commit(call.token, Code::COORDINATOR_NOT_AVAILABLE);
    bench.now = bench.commits.deadline().map(|instant| Now { instant, ..bench.now }).unwrap();
    assert!(bench.tick().is_none());
    assert_eq!(bench.results(), [(1, Some(Code::COORDINATOR_NOT_AVAILABLE))]);
}

#[test]
fn what_is_lost_is_not_committed_and_what_is_under_way_is_not_tried_again() {
    let mut bench = Bench::new();
    bench.commit(1, 10);
    bench.commit(2, 20);
    bench.commits.fetch(bench.now, Ticket(3), vec![TopicPartition::new("t", 0)], &mut bench.out);
    let call = bench.tick().unwrap();
    bench.commits.lost(bench.now, &[TopicPartition::new("t", 0)], &mut bench.out);
    assert!(matches!(
        &bench.out.events[..],
        [Event::Committed { ticket: Ticket(2), result: Err(error) }]
            if matches!(error.kind(), ErrorKind::NotAssigned { .. })
    ));
    bench.out.events.clear();
    bench.answer_commit(call.token, Code::COORDINATOR_LOAD_IN_PROGRESS);
    bench.out.events.clear();
    bench.commits.set_coordinator(Some(NodeId(1)));
    bench.tick();
    assert_eq!(bench.results(), [(1, Some(Code::COORDINATOR_LOAD_IN_PROGRESS))]);
    bench.now = bench.now.after(Duration::from_secs(1));
    assert!(matches!(bench.tick().unwrap().request, Request::OffsetFetch(_)), "the next generation goes on");
}

#[test]
fn without_a_topic_id_the_commit_goes_by_name() {
    let mut bench = Bench::new();
    let offsets = [(TopicPartition::new("t", 0), OffsetAndMetadata::new(1))].into();
    bench.commits.commit(bench.now, Ticket(1), offsets, None, BTreeMap::new(), &mut bench.out);
    let call = bench.tick().unwrap();
    let Request::OffsetCommit(request) = &call.request else { panic!("{call:?}") };
    assert_eq!((call.max_version, request.generation_id_or_member_epoch), (Some(9), -1));
}

/// Version 10 knows topics by their ids alone.
#[test]
fn a_commit_is_bound_to_the_topic_by_its_id() {
    let mut bench = Bench::new();
    bench.commit(1, 10);
    let call = bench.tick().unwrap();
    let Request::OffsetCommit(request) = &call.request else { panic!("{call:?}") };
    assert_eq!((call.max_version, request.topics[0].topic_id), (None, Uuid::from_bytes([7; 16])));

    // One topic without an id has all of them go by name.
    let both = [("t", 1), ("u", 2)]
        .map(|(topic, offset)| (TopicPartition::new(topic, 0), OffsetAndMetadata::new(offset)));
    let ids = [("t".into(), Uuid::from_bytes([7; 16]))].into();
    let mut bench = Bench::new();
    bench.commits.commit(bench.now, Ticket(1), both.into(), None, ids, &mut bench.out);
    assert_eq!(bench.tick().unwrap().max_version, Some(9));
}

#[test]
fn partitions_without_a_committed_offset_are_left_out() {
    let mut bench = Bench::new();
    let partitions = vec![TopicPartition::new("t", 0), TopicPartition::new("t", 1)];
    bench.commits.fetch(bench.now, Ticket(1), partitions, &mut bench.out);
    let call = bench.tick().unwrap();
    let partition = |index, offset| OffsetFetchResponsePartition {
        partition_index: index,
        committed_offset: offset,
        committed_leader_epoch: 4,
        ..Default::default()
    };
    let partitions = vec![partition(0, 7), partition(1, -1)];
    let topic = OffsetFetchResponseTopic { name: "t".into(), partitions, ..Default::default() };
    bench.answer(call.token, OffsetFetchResponse { topics: vec![topic], ..Default::default() });
    let Some(Event::Fetched { result: Ok(found), .. }) = bench.out.events.pop() else { panic!("no result") };
    let mut expected = OffsetAndMetadata::new(7);
    expected.leader_epoch = Some(4);
    assert_eq!(found, [(TopicPartition::new("t", 0), expected)].into());
}

#[test]
fn offsets_that_a_transaction_holds_open_are_waited_for() {
    let mut bench = Bench::new();
    bench.commits.fetch(bench.now, Ticket(1), vec![TopicPartition::new("t", 0)], &mut bench.out);
    let call = bench.tick().unwrap();
    let partition =
        OffsetFetchResponsePartition { error_code: Code::UNSTABLE_OFFSET_COMMIT.get(), ..Default::default() };
    let topic =
        OffsetFetchResponseTopic { name: "t".into(), partitions: vec![partition], ..Default::default() };
    bench.answer(call.token, OffsetFetchResponse { topics: vec![topic], ..Default::default() });
    assert!(bench.out.events.is_empty());
    bench.now = bench.now.after(Duration::from_secs(1));
    assert!(bench.tick().is_some());
}

#[test]
fn a_commit_for_a_topic_that_is_gone_does_not_hold_the_others_up_for_long() {
    let mut bench = Bench::new();
    bench.commit(1, 10);
    bench.commit(2, 20);
    for _ in 0..MISSING {
        let call = bench.tick().unwrap();
        assert_eq!(offset(&call), 10);
        bench.answer_commit(call.token, Code::UNKNOWN_TOPIC_ID);
        bench.now = bench.now.after(Duration::from_secs(2));
    }
    assert_eq!(bench.results(), [(1, Some(Code::UNKNOWN_TOPIC_ID))]);
    assert_eq!(offset(&bench.tick().unwrap()), 20);
}

#[test]
fn a_commit_in_an_epoch_that_is_over_is_made_again_in_the_next() {
    let mut bench = Bench::new();
    bench.commit(1, 10);
    let call = bench.tick().unwrap();
    let other = TopicPartition::new("t", 1);
    assert!(bench.commits.is_done_with(&other) && !bench.commits.is_done_with(&TopicPartition::new("t", 0)));
    bench.commits.renew(&member(4, true));
    bench.answer_commit(call.token, Code::STALE_MEMBER_EPOCH);
    bench.now = bench.now.after(Duration::from_secs(1));
    let again = bench.tick().unwrap();
    let Request::OffsetCommit(request) = &again.request else { panic!("{again:?}") };
    assert_eq!(request.generation_id_or_member_epoch, 4);
    bench.answer_commit(again.token, Code::NONE);
    assert_eq!(bench.results(), [(1, None)]);
    assert!(bench.commits.is_done_with(&TopicPartition::new("t", 0)));
}

#[test]
fn who_keeps_partitions_in_a_rebalance_commits_in_the_next_generation_what_was_refused_in_this_one() {
    for code in [Code::REBALANCE_IN_PROGRESS, Code::ILLEGAL_GENERATION] {
        let mut bench = Bench::new();
        bench.commit_as(member(3, true), 1, 10);
        let call = bench.tick().unwrap();
        bench.answer_commit(call.token, code);
        assert_eq!(bench.results(), [], "{code}");
        bench.commits.renew(&member(4, true));
        bench.now = bench.now.after(Duration::from_secs(1));
        let again = bench.tick().unwrap();
        let Request::OffsetCommit(request) = &again.request else { panic!("{again:?}") };
        assert_eq!((request.generation_id_or_member_epoch, offset(&again)), (4, 10), "{code}");
        bench.answer_commit(again.token, Code::NONE);
        assert_eq!(bench.results(), [(1, None)], "{code}");

        // Who gives all up has nothing left that could be committed later.
        let mut bench = Bench::new();
        bench.commit_as(member(3, false), 1, 10);
        let call = bench.tick().unwrap();
        bench.answer_commit(call.token, code);
        assert_eq!(bench.results(), [(1, Some(code))]);
        assert!(bench.commits.is_idle(), "{code}");
    }
}
