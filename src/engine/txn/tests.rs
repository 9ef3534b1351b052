#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::mem;

use super::*;
use crate::{
    engine::script,
    types::{GroupMetadata, OffsetAndMetadata},
    wire::{
        messages::{
            AddOffsetsToTxnResponse, AddPartitionsToTxnResponse, ApiVersionsResponse, EndTxnResponse,
            InitProducerIdResponse, TxnOffsetCommitResponse,
            add_partitions_to_txn_response::{
                AddPartitionsToTxnPartitionResult, AddPartitionsToTxnTopicResult,
            },
            api_versions_response::{ApiVersion, FinalizedFeatureKey},
            txn_offset_commit_response::{TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic},
        },
        versions::ApiKey,
    },
};

const SECOND: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(60);

/// A machine, driven by hand on virtual time. Node 1 coordinates transactions, node 2 groups.
struct Bench {
    machine: Transactions,
    now: Now,
    out: Outbox<Event>,
}

impl Bench {
    fn new() -> Self {
        let settings = Settings {
            transactional_id: "tx".into(),
            timeout: TIMEOUT,
            request_timeout: 30 * SECOND,
            retry: Backoff { first: SECOND / 10, max: SECOND },
        };
        let machine = Transactions::new(settings, Tokens::default(), Random::new(1));
        Self { machine, now: script::start(), out: Outbox::default() }
    }

    /// One that is ready, with id 77 and epoch 0.
    fn ready(protocol: Protocol) -> Self {
        let mut bench = Self::new();
        bench.find();
        bench.learn(protocol);
        let call = bench.call();
        assert!(matches!(&call.request, Request::InitProducerId(request) if request.producer_id == -1));
        bench.answer(&call, identity(0));
        assert!(matches!(bench.events()[..], [Event::Identified(ProducerId { id: 77, epoch: 0 })]));
        assert!(bench.machine.is_ready());
        bench
    }

    /// One with an open transaction that has been written to.
    fn open(protocol: Protocol) -> Self {
        let mut bench = Self::ready(protocol);
        assert_eq!(bench.machine.open(), protocol);
        if protocol == Protocol::V1 {
            bench.machine.join(partition(0));
            let call = bench.call();
            bench.answer(&call, added(&[(0, Code::NONE)]));
            assert!(matches!(&bench.events()[..], [Event::Joined(joined)] if joined == &[partition(0)]));
        } else {
            bench.machine.writes(bench.now);
        }
        bench
    }

    fn find(&mut self) {
        self.machine.set_coordinator(Some(NodeId(1)));
    }

    fn find_group(&mut self) {
        assert_eq!(self.machine.group().as_deref(), Some("g"));
        self.machine.set_group_coordinator(Some(NodeId(2)));
    }

    fn learn(&mut self, protocol: Protocol) {
        let call = self.call();
        assert!(matches!(call.request, Request::ApiVersions(_)), "{call:?}");
        self.answer(&call, versions(if protocol == Protocol::V2 { 2 } else { 1 }, 5));
    }

    fn learn_later(&mut self, protocol: Protocol) {
        self.now = self.now.after(2 * SECOND);
        self.learn(protocol);
    }

    fn calls(&mut self) -> Vec<Call> {
        self.machine.tick(self.now, &mut self.out);
        self.machine.check();
        let due = self.machine.deadline();
        assert!(due.is_none_or(|due| due > self.now.instant), "a tick does what is due");
        mem::take(&mut self.out.calls)
    }

    fn call(&mut self) -> Call {
        let mut calls = self.calls();
        assert_eq!(calls.len(), 1, "{calls:?}");
        calls.remove(0)
    }

    /// The next call, after what waits was waited for.
    fn call_later(&mut self) -> Call {
        self.now = self.now.after(2 * SECOND);
        self.call()
    }

    fn answer(&mut self, call: &Call, response: impl Into<Response>) {
        let version = call.max_version.unwrap_or(5);
        self.machine.answer(self.now, call.token, script::answer(version, response), &mut self.out);
        self.machine.check();
    }

    fn lose(&mut self, call: &Call) {
        self.machine.answer(self.now, call.token, script::failure(), &mut self.out);
        self.machine.check();
    }

    fn events(&mut self) -> Vec<Event> {
        mem::take(&mut self.out.events)
    }

    fn end(&mut self, commit: bool, broken: bool) {
        self.machine.end(commit, broken, &mut self.out);
    }

    fn offsets(&mut self, group: &str) {
        let offsets = [(partition(0), OffsetAndMetadata::new(7))].into();
        let offsets = OffsetsOf { group: GroupMetadata::of_group(group), offsets, topic_ids: [].into() };
        self.machine.send_offsets(Ticket(1), offsets, &mut self.out);
    }
}

fn partition(index: i32) -> TopicPartition {
    TopicPartition::new("t", index)
}

fn identity(epoch: i16) -> InitProducerIdResponse {
    InitProducerIdResponse { producer_id: 77, producer_epoch: epoch, ..InitProducerIdResponse::default() }
}

fn versions(level: i16, end_txn: i16) -> ApiVersionsResponse {
    let api = |(key, max_version): (ApiKey, i16)| ApiVersion {
        api_key: key.number(),
        max_version,
        ..ApiVersion::default()
    };
    let keys = [(ApiKey::Produce, 13), (ApiKey::EndTxn, end_txn), (ApiKey::TxnOffsetCommit, 6)];
    let feature = FinalizedFeatureKey {
        name: "transaction.version".into(),
        max_version_level: level,
        ..FinalizedFeatureKey::default()
    };
    ApiVersionsResponse {
        api_keys: keys.map(api).into(),
        finalized_features: vec![feature],
        ..ApiVersionsResponse::default()
    }
}

fn added(results: &[(i32, Code)]) -> AddPartitionsToTxnResponse {
    let result = |(index, code): &(i32, Code)| AddPartitionsToTxnPartitionResult {
        partition_index: *index,
        partition_error_code: code.get(),
        ..AddPartitionsToTxnPartitionResult::default()
    };
    let topic = AddPartitionsToTxnTopicResult {
        name: "t".into(),
        results_by_partition: results.iter().map(result).collect(),
        ..AddPartitionsToTxnTopicResult::default()
    };
    AddPartitionsToTxnResponse {
        results_by_topic_v3_and_below: vec![topic],
        ..AddPartitionsToTxnResponse::default()
    }
}

fn offsets_taken(code: Code) -> TxnOffsetCommitResponse {
    let partition = TxnOffsetCommitResponsePartition {
        error_code: code.get(),
        ..TxnOffsetCommitResponsePartition::default()
    };
    let topic = TxnOffsetCommitResponseTopic {
        name: "t".into(),
        partitions: vec![partition],
        ..TxnOffsetCommitResponseTopic::default()
    };
    TxnOffsetCommitResponse { topics: vec![topic], ..TxnOffsetCommitResponse::default() }
}

fn ended(code: Code, epoch: i16) -> EndTxnResponse {
    EndTxnResponse {
        error_code: code.get(),
        producer_id: 77,
        producer_epoch: epoch,
        ..EndTxnResponse::default()
    }
}

fn end_request(call: &Call) -> (bool, i16, Option<i16>) {
    let Request::EndTxn(request) = &call.request else { panic!("{call:?}") };
    (request.committed, request.producer_epoch, call.max_version)
}

#[test]
fn version_2_needs_the_feature_and_the_versions_that_go_with_it() {
    assert_eq!(requests::protocol(&versions(2, 5)), Protocol::V2);
    assert_eq!(requests::protocol(&versions(1, 5)), Protocol::V1);
    assert_eq!(requests::protocol(&versions(2, 4)), Protocol::V1, "half negotiated is not enough");
    assert_eq!(requests::protocol(&ApiVersionsResponse::default()), Protocol::V1);
}

#[test]
fn in_version_2_the_end_brings_the_next_epoch() {
    let mut bench = Bench::open(Protocol::V2);
    bench.end(true, false);
    let call = bench.call();
    assert_eq!(end_request(&call), (true, 0, None));
    bench.answer(&call, ended(Code::NONE, 1));
    let events = bench.events();
    assert!(
        matches!(
            events[..],
            [Event::Identified(ProducerId { epoch: 1, .. }), Event::Ended { committed: true }]
        ),
        "{events:?}"
    );
    assert!(bench.machine.is_ready());
}

#[test]
fn in_version_1_the_epoch_stays_unless_sequences_cannot_go_on() {
    let mut bench = Bench::open(Protocol::V1);
    bench.end(true, false);
    let call = bench.call();
    assert_eq!(end_request(&call), (true, 0, Some(4)));
    bench.answer(&call, ended(Code::NONE, -1));
    assert!(matches!(bench.events()[..], [Event::Ended { committed: true }]) && bench.machine.is_ready());

    bench.machine.open();
    bench.machine.join(partition(0));
    let call = bench.call();
    bench.answer(&call, added(&[(0, Code::NONE)]));
    bench.events();
    bench.end(false, true);
    let call = bench.call();
    bench.answer(&call, ended(Code::NONE, -1));
    assert!(!bench.machine.is_ready(), "the next transaction needs another epoch");
    let call = bench.call();
    let Request::InitProducerId(request) = &call.request else { panic!("{call:?}") };
    assert_eq!((request.producer_id, request.producer_epoch), (77, 0), "bumps what it has");
    bench.answer(&call, identity(1));
    assert!(bench.machine.is_ready());
}

#[test]
fn a_transaction_in_which_nothing_happened_costs_no_request() {
    for (protocol, commit) in [(Protocol::V1, true), (Protocol::V2, true), (Protocol::V2, false)] {
        let mut bench = Bench::ready(protocol);
        bench.machine.open();
        bench.end(commit, false);
        assert!(bench.calls().is_empty(), "a broker answers INVALID_TXN_STATE to the commit of nothing");
        assert!(matches!(bench.events()[..], [Event::Ended { committed }] if committed == commit));
        assert!(bench.machine.is_ready());
    }
}

#[test]
fn a_transaction_of_offsets_alone_is_committed() {
    let mut bench = Bench::ready(Protocol::V2);
    bench.machine.open();
    bench.offsets("g");
    bench.find_group();
    let call = bench.call();
    assert_eq!((call.target, call.max_version), (Target::Broker(NodeId(2)), Some(5)), "without topic ids");
    assert!(!bench.machine.is_quiet());
    bench.answer(&call, offsets_taken(Code::NONE));
    assert!(matches!(bench.events()[..], [Event::OffsetsTaken { ticket: Ticket(1), result: Ok(()) }]));
    bench.end(true, false);
    let call = bench.call();
    assert_eq!(end_request(&call), (true, 0, None));
}

#[test]
fn in_version_1_the_coordinator_is_told_of_the_group_first_and_once() {
    let mut bench = Bench::ready(Protocol::V1);
    bench.machine.open();
    for time in 0..2 {
        bench.offsets("g");
        if time == 0 {
            bench.find_group();
            let call = bench.call();
            assert!(matches!(call.request, Request::AddOffsetsToTxn(_)), "{call:?}");
            bench.answer(&call, AddOffsetsToTxnResponse::default());
        }
        let call = bench.call();
        assert!(matches!(call.request, Request::TxnOffsetCommit(_)), "{call:?}");
        assert_eq!(call.max_version, Some(4));
        bench.answer(&call, offsets_taken(Code::NONE));
    }
}

#[test]
fn an_end_whose_outcome_is_not_known_is_asked_for_again_and_nothing_else_is() {
    let mut bench = Bench::open(Protocol::V2);
    bench.end(true, false);
    let call = bench.call();
    bench.lose(&call);
    assert!(matches!(bench.events().pop(), Some(Event::CoordinatorLost(NodeId(1)))));
    bench.now = bench.now.after(2 * SECOND);
    bench.find();
    bench.learn(Protocol::V2);
    let call = bench.call();
    assert_eq!(end_request(&call), (true, 0, None), "the same end under the same epoch");
    bench.answer(&call, ended(Code::CONCURRENT_TRANSACTIONS, -1));
    let call = bench.call_later();
    assert!(end_request(&call).0);
    bench.answer(&call, ended(Code::UNKNOWN_SERVER_ERROR, -1));
    let call = bench.call_later();
    bench.answer(&call, ended(Code::NONE, 1));
    assert_eq!(bench.events().len(), 2);
    assert!(bench.machine.is_ready());
}

#[test]
fn a_commit_that_can_only_be_aborted_is_aborted() {
    let mut bench = Bench::open(Protocol::V2);
    bench.end(true, false);
    let call = bench.call();
    bench.answer(&call, ended(Code::TRANSACTION_ABORTABLE, -1));
    assert!(
        matches!(&bench.events()[..], [Event::Failed(error)] if error.code() == Some(Code::TRANSACTION_ABORTABLE))
    );
    let call = bench.call();
    assert!(!end_request(&call).0);
    bench.answer(&call, ended(Code::NONE, 1));
    assert!(matches!(bench.events()[..], [Event::Identified(_), Event::Ended { committed: false }]));
}

#[test]
fn a_commit_that_may_have_happened_is_not_called_aborted() {
    let mut bench = Bench::open(Protocol::V2);
    bench.end(true, false);
    let call = bench.call();
    bench.answer(&call, ended(Code::UNKNOWN_SERVER_ERROR, -1));
    let call = bench.call_later();
    bench.answer(&call, ended(Code::TRANSACTION_ABORTABLE, -1));
    let call = bench.call();
    assert!(!end_request(&call).0);
    bench.events();
    bench.answer(&call, ended(Code::INVALID_TXN_STATE, -1));
    assert!(matches!(bench.events()[..], [Event::Fatal(_)]), "what became of it is not known");
}

#[test]
fn a_fence_is_the_end_of_all() {
    for protocol in [Protocol::V1, Protocol::V2] {
        let mut bench = Bench::open(protocol);
        bench.end(true, false);
        let call = bench.call();
        bench.answer(&call, ended(Code::PRODUCER_FENCED, -1));
        let events = bench.events();
        assert!(
            matches!(&events[..], [Event::Fatal(error)] if matches!(error.kind(), ErrorKind::Fenced { .. })),
            "{events:?}"
        );
        bench.now = bench.now.after(100 * SECOND);
        assert!(bench.calls().is_empty() && bench.machine.deadline().is_none() && !bench.machine.is_ready());
    }
}

#[test]
fn partitions_that_are_not_taken_in_yet_are_asked_for_again_and_a_refused_one_fails_the_transaction() {
    let mut bench = Bench::ready(Protocol::V1);
    bench.machine.open();
    [0, 1].into_iter().for_each(|index| bench.machine.join(partition(index)));
    let call = bench.call();
    bench.answer(&call, added(&[(0, Code::NONE), (1, Code::UNKNOWN_TOPIC_OR_PARTITION)]));
    assert!(matches!(&bench.events()[..], [Event::Joined(joined)] if joined == &[partition(0)]));
    let call = bench.call_later();
    let Request::AddPartitionsToTxn(request) = &call.request else { panic!("{call:?}") };
    assert_eq!(request.v3_and_below_topics[0].partitions, [1]);
    bench.answer(&call, added(&[(1, Code::TOPIC_AUTHORIZATION_FAILED)]));
    let events = bench.events();
    assert!(
        matches!(&events[..], [Event::Failed(error)]
            if matches!(error.kind(), ErrorKind::NotAuthorized { name, .. } if name == "t")),
        "{events:?}"
    );
    assert!(bench.calls().is_empty() && bench.machine.is_quiet(), "it goes no further");
}

#[test]
fn what_fails_takes_the_offsets_that_wait_with_it() {
    let mut bench = Bench::open(Protocol::V2);
    bench.offsets("g");
    bench.find_group();
    let call = bench.call();
    bench.offsets("h");
    bench.answer(&call, offsets_taken(Code::ILLEGAL_GENERATION));
    let events = bench.events();
    assert!(
        matches!(&events[..], [
            Event::OffsetsTaken { result: Err(first), .. },
            Event::OffsetsTaken { result: Err(_), .. },
            Event::Failed(_),
        ] if first.requires_abort() && first.code() == Some(Code::ILLEGAL_GENERATION)),
        "{events:?}"
    );
    bench.end(false, false);
    let call = bench.call();
    assert!(!end_request(&call).0);
}

#[test]
fn offsets_that_come_after_a_fatal_error_are_refused_with_it() {
    let mut bench = Bench::open(Protocol::V2);
    bench.offsets("g");
    bench.find_group();
    let call = bench.call();
    bench.answer(&call, offsets_taken(Code::INVALID_PRODUCER_EPOCH));
    // Its user has not heard of it yet.
    bench.offsets("g");
    let events = bench.events();
    let told = |event: &Event| match event {
        Event::OffsetsTaken { result: Err(error), .. } | Event::Fatal(error) => error.is_fatal(),
        _ => false,
    };
    assert_eq!(events.iter().map(told).collect::<Vec<_>>(), [true; 3], "{events:?}");
}

#[test]
fn offsets_of_a_topic_that_stays_unknown_fail_the_transaction() {
    let mut bench = Bench::open(Protocol::V2);
    bench.offsets("g");
    bench.find_group();
    for _ in 0..5 {
        assert!(bench.events().is_empty());
        let call = bench.call_later();
        bench.answer(&call, offsets_taken(Code::UNKNOWN_TOPIC_OR_PARTITION));
    }
    assert!(matches!(&bench.events()[..], [Event::OffsetsTaken { result: Err(_), .. }, Event::Failed(_)]));
}

#[test]
fn a_transaction_that_is_open_for_too_long_has_failed() {
    let mut bench = Bench::ready(Protocol::V2);
    bench.machine.open();
    bench.now = bench.now.after(2 * TIMEOUT);
    assert!(bench.calls().is_empty() && bench.events().is_empty(), "nothing has begun it");
    bench.machine.writes(bench.now);
    let ahead = TIMEOUT - 5 * SECOND;
    assert_eq!(bench.machine.deadline(), Some(bench.now.after(ahead).instant), "before its coordinator");
    bench.now = bench.now.after(ahead);
    assert!(bench.calls().is_empty());
    let events = bench.events();
    assert!(
        matches!(&events[..], [Event::Failed(error)]
            if matches!(error.kind(), ErrorKind::Timeout { setting: "transaction_timeout", .. })),
        "{events:?}"
    );
}

#[test]
fn an_abort_of_what_the_coordinator_may_not_have_heard_of_is_done_when_it_has_not() {
    let mut bench = Bench::ready(Protocol::V1);
    bench.machine.open();
    bench.machine.join(partition(0));
    let call = bench.call();
    bench.lose(&call);
    bench.events();
    bench.machine.fail(&aborted(&bench.machine.ended()), &mut bench.out);
    bench.end(false, false);
    bench.now = bench.now.after(2 * SECOND);
    bench.find();
    bench.learn(Protocol::V1);
    let call = bench.call();
    bench.answer(&call, ended(Code::INVALID_TXN_STATE, -1));
    assert!(matches!(bench.events()[..], [Event::Ended { committed: false }]));

    let mut bench = Bench::open(Protocol::V1);
    bench.end(false, false);
    let call = bench.call();
    bench.answer(&call, ended(Code::INVALID_TXN_STATE, -1));
    assert!(matches!(bench.events()[..], [Event::Fatal(_)]), "but one that it has heard of has an end");
}

#[test]
fn a_producer_id_that_is_not_known_any_more_is_asked_for_anew() {
    let mut bench = Bench::ready(Protocol::V1);
    bench.machine.open();
    bench.machine.join(partition(0));
    let call = bench.call();
    bench.answer(&call, added(&[(0, Code::INVALID_PRODUCER_ID_MAPPING)]));
    assert!(matches!(bench.events()[..], [Event::Failed(_)]));
    bench.end(false, false);
    assert!(matches!(bench.events()[..], [Event::Ended { committed: false }]), "there is nothing to end");
    let call = bench.call();
    assert!(matches!(call.request, Request::InitProducerId(_)));
}

#[test]
fn a_refusal_to_give_an_id_is_final_and_says_why() {
    let mut bench = Bench::new();
    bench.find();
    bench.learn(Protocol::V2);
    let call = bench.call();
    let refused = Code::INVALID_TRANSACTION_TIMEOUT.get();
    bench.answer(&call, InitProducerIdResponse { error_code: refused, ..InitProducerIdResponse::default() });
    let events = bench.events();
    assert!(
        matches!(&events[..], [Event::Fatal(error)]
            if error.is_fatal() && error.code() == Some(Code::INVALID_TRANSACTION_TIMEOUT)),
        "{events:?}"
    );
}

#[test]
fn another_coordinator_may_speak_another_version_from_the_next_transaction_on() {
    let mut bench = Bench::open(Protocol::V1);
    bench.end(true, false);
    let call = bench.call();
    bench.answer(&call, ended(Code::NOT_COORDINATOR, -1));
    assert!(bench.calls().is_empty(), "there is nobody to ask");
    bench.events();
    bench.now = bench.now.after(2 * SECOND);
    bench.find();
    bench.learn(Protocol::V2);
    let call = bench.call();
    assert_eq!(end_request(&call), (true, 0, Some(4)), "the open one ends as it began");
    bench.answer(&call, ended(Code::NONE, -1));
    assert_eq!(bench.machine.open(), Protocol::V2);
}

#[test]
fn what_was_not_answered_in_the_first_version_cannot_arrive_in_the_next_transaction() {
    let renews = |protocol, lose_end: bool| {
        let mut bench = Bench::open(protocol);
        if protocol == Protocol::V1 && !lose_end {
            bench.machine.join(partition(1));
            let call = bench.call();
            bench.lose(&call);
            bench.find();
            bench.learn_later(protocol);
            let call = bench.call();
            bench.answer(&call, added(&[(1, Code::NONE)]));
        }
        bench.end(true, false);
        let mut call = bench.call();
        if lose_end {
            bench.lose(&call);
            bench.find();
            bench.learn_later(protocol);
            call = bench.call();
        }
        bench.answer(&call, ended(Code::NONE, 1));
        assert!(matches!(bench.events().last(), Some(Event::Ended { committed: true })));
        !bench.machine.is_ready()
    };
    assert!(renews(Protocol::V1, true), "its end was not answered");
    assert!(renews(Protocol::V1, false), "that a partition joins was not answered");
    assert!(!renews(Protocol::V2, true), "each end brings another epoch");
}
