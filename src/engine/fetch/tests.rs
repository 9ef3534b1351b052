#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::{mem, time::Duration};

use bytes::{Bytes, BytesMut};

use super::{
    answer::{MAX_EARLY, MAX_STALLS},
    *,
};
use crate::{
    engine::{
        backoff::Backoff,
        catalog::snapshot::LeaderHint,
        machine::{Call, Target, Token},
        partition::Claims,
        script,
    },
    error::{Code, ErrorKind},
    sync::wake::Wake,
    wire::{
        batch::old::{Old, wrapped},
        calls::Request,
        compress::Codec,
        messages::{
            FetchRequest, FetchResponse,
            fetch_response::{AbortedTransaction, FetchableTopicResponse, LeaderIdAndEpoch, PartitionData},
        },
    },
};

mod refusals;
mod replicas;
mod sessions;
mod truncation;

const LIMIT: usize = 8 << 20;
const REPLICA_MAX_AGE: Duration = Duration::from_secs(300);
const RETRY: Backoff = Backoff { first: Duration::from_millis(100), max: Duration::from_secs(1) };

struct Bench {
    now: Now,
    fetcher: Fetcher,
    buffered: Arc<Buffered>,
    claims: Claims,
    out: Outbox<Event>,
    /// The ends that were told.
    ends: Vec<i64>,
}

impl Bench {
    fn new() -> Self {
        let settings = Settings {
            read_committed: true,
            min_bytes: 1,
            max_wait: Duration::from_millis(500),
            max_bytes: 50 << 20,
            partition_max_bytes: 1 << 20,
            batch_max_bytes: 100 << 20,
            rack: "near".into(),
            replica_max_age: REPLICA_MAX_AGE,
            request_timeout: Duration::from_secs(30),
            retry: RETRY,
        };
        let buffered = Buffered::new(LIMIT, Arc::new(Wake::default()));
        let fetcher = Fetcher::new(settings, Arc::clone(&buffered), Tokens::default(), Random::new(1));
        let (claims, out) = (Claims::default(), Outbox::default());
        Self { now: script::start(), fetcher, buffered, claims, out, ends: Vec::new() }
    }

    /// Partitions 0 to `count` of topic "t", on this node, to be read from offset 0.
    fn with(count: i32, node: i32) -> Self {
        let mut bench = Self::new();
        for index in 0..count {
            bench.add(index, node);
        }
        bench
    }

    fn add(&mut self, index: i32, node: i32) -> Claim {
        let claim = self.claims.next();
        self.fetcher.add(self.now, tp(index), claim, Some(script::leader(node)), false);
        self.fetcher.start(&tp(index), claim, spot(0));
        claim
    }

    fn calls(&mut self) -> Vec<Asked> {
        self.fetcher.tick(self.now, &mut self.out);
        self.fetcher.check();
        mem::take(&mut self.out.calls).into_iter().map(Asked::new).collect()
    }

    fn call(&mut self) -> Asked {
        let mut calls = self.calls();
        assert_eq!(calls.len(), 1, "{calls:?}");
        calls.remove(0)
    }

    /// An answer of a broker that has no room for a session.
    fn answer(&mut self, token: Token, partitions: Vec<PartitionData>) -> Vec<Event> {
        self.answer_in(0, token, partitions)
    }

    fn answer_in(&mut self, session_id: i32, token: Token, partitions: Vec<PartitionData>) -> Vec<Event> {
        let topic = FetchableTopicResponse {
            topic_id: script::topic_id(7),
            partitions,
            ..FetchableTopicResponse::default()
        };
        let response = FetchResponse { session_id, responses: vec![topic], ..FetchResponse::default() };
        self.fetcher.answer(self.now, token, script::answer(17, response), &mut self.out);
        self.fetcher.check();
        let mut events = mem::take(&mut self.out.events);
        // Only those who care for it see where the log ends.
        events.retain(|event| match event {
            Event::End { end, .. } => {
                self.ends.push(*end);
                false
            }
            _ => true,
        });
        events
    }

    fn fetched(&mut self, token: Token, partitions: Vec<PartitionData>) -> Vec<Fetched> {
        let fetched = |event| match event {
            Event::Fetched(fetched) => fetched,
            event => panic!("{event:?}"),
        };
        self.answer(token, partitions).into_iter().map(fetched).collect()
    }

    fn wait(&mut self, ms: u64) {
        self.now = self.now.after(Duration::from_millis(ms));
    }
}

/// A fetch request, and (partition, offset) of what it asks for.
#[derive(Debug)]
struct Asked {
    token: Token,
    node: Target,
    max_version: Option<i16>,
    request: FetchRequest,
    partitions: Vec<(i32, i64)>,
    forgotten: Vec<i32>,
    /// Id and epoch.
    session: (i32, i32),
}

impl Asked {
    fn new(call: Call) -> Self {
        let Request::Fetch(request) = call.request else { panic!("{call:?}") };
        let forgotten = request.forgotten_topics_data.iter().flat_map(|topic| topic.partitions.clone());
        let (forgotten, session) = (forgotten.collect(), (request.session_id, request.session_epoch));
        let partitions = request.topics.iter().flat_map(|topic| &topic.partitions);
        let partitions = partitions.map(|asked| (asked.partition, asked.fetch_offset)).collect();
        let (token, node, max_version) = (call.token, call.target, call.max_version);
        Self { token, node, max_version, request, partitions, forgotten, session }
    }
}

fn tp(index: i32) -> TopicPartition {
    TopicPartition::new("t", index)
}

/// An offset of which no more is known.
fn spot(offset: i64) -> Spot {
    Spot { offset, leader_epoch: None }
}

fn data(index: i32, records: Bytes) -> PartitionData {
    PartitionData { partition_index: index, records: Some(records), ..PartitionData::default() }
}

fn refusal(index: i32, code: Code) -> PartitionData {
    PartitionData { partition_index: index, error_code: code.get(), ..PartitionData::default() }
}

fn node(id: i32) -> Target {
    Target::Broker(NodeId(id))
}

#[test]
fn every_broker_has_one_fetch_in_flight() {
    let mut bench = Bench::new();
    for index in 0..4 {
        bench.add(index, 1 + index % 2);
    }
    let calls = bench.calls();
    assert_eq!(calls.iter().map(|call| call.node).collect::<Vec<_>>(), [node(1), node(2)]);
    assert_eq!(calls[0].partitions, [(0, 0), (2, 0)]);
    assert!(bench.calls().is_empty());
    // The answer of one is followed by its next fetch, whatever the other does.
    bench.wait(500);
    assert!(bench.fetched(calls[1].token, vec![]).is_empty());
    assert_eq!(bench.call().node, node(2));
}

#[test]
fn a_fetch_goes_on_behind_what_is_buffered() {
    let mut bench = Bench::with(1, 1);
    let first = bench.call();
    let whole = script::batch(0, 10, 100);
    let cut = [&whole[..], &script::batch(10, 5, 100)[..70]].concat();
    let kept = bench.fetched(first.token, vec![data(0, cut.into())]);
    assert_eq!((kept[0].offset, kept[0].records.len()), (0, whole.len() + 70));
    assert_eq!(bench.call().partitions, [(0, 10)], "the batch that was cut off comes again");
}

#[test]
fn a_fetch_goes_on_behind_messages_that_are_older_than_batches() {
    let mut bench = Bench::with(1, 1);
    let call = bench.call();
    let held = [Old::new(1, 0, "a"), Old::new(1, 1, "b"), Old::new(1, 2, "c")];
    let log = [
        script::batch(0, 2, 9).to_vec(),
        Old::new(0, 2, "alone").write(),
        wrapped(1, 5, 0, Codec::Gzip, &held),
        Old::new(1, 6, "cut off").write()[..40].to_vec(),
    ];
    let fetched = bench.fetched(call.token, vec![data(0, log.concat().into())]);
    assert_eq!(fetched.len(), 1);
    let call = bench.call();
    assert_eq!(call.partitions, [(0, 6)]);
    let asked = &call.request.topics[0].partitions[0];
    assert_eq!(asked.last_fetched_epoch, -1, "they do not say in which epoch they were written");
}

#[test]
fn a_broker_gets_no_more_than_its_share_of_the_budget() {
    let mut bench = Bench::new();
    bench.add(0, 1);
    bench.add(1, 2);
    let calls = bench.calls();
    assert_eq!(calls.iter().map(|call| call.request.max_bytes).collect::<Vec<_>>(), [4 << 20, 4 << 20]);
    let mut kept = Vec::new();
    let mut token = calls[0].token;
    let mut offset = 0;
    // Broker 1 sends as much as it may, until its share is used up.
    loop {
        kept.extend(bench.fetched(token, vec![data(0, script::batch(offset, 1, (1 << 20) - 4096))]));
        offset += 1;
        let Some(next) = bench.calls().pop() else { break };
        token = next.token;
    }
    assert_eq!(offset, 4);
    assert!(bench.buffered.used() <= 4 << 20);
    // Broker 2 is not hindered.
    bench.wait(500);
    bench.answer(calls[1].token, vec![]);
    assert_eq!(bench.call().node, node(2));
    // What is handed out makes room.
    kept.clear();
    assert_eq!(bench.call().partitions, [(0, 4)]);
    assert_eq!(bench.buffered.used(), 0);
}

#[test]
fn a_full_partition_is_left_out_and_the_others_are_not_waited_for_long() {
    let mut bench = Bench::with(4, 1);
    let first = bench.call();
    assert_eq!(first.request.max_wait_ms, 500);
    let kept = bench.fetched(first.token, vec![data(2, script::batch(0, 1, 2 << 20))]);
    let second = bench.call();
    assert_eq!(second.partitions, [(0, 0), (1, 0), (3, 0)]);
    assert_eq!(second.request.max_wait_ms, 20);
    bench.answer(second.token, vec![]);
    drop(kept);
    let third = bench.call();
    assert_eq!((third.request.max_wait_ms, third.partitions.len()), (500, 4));
}

#[test]
fn who_got_nothing_is_served_first() {
    let mut bench = Bench::with(3, 1);
    let first = bench.call();
    let kept =
        bench.fetched(first.token, vec![data(0, script::batch(0, 1, 9)), data(2, script::batch(0, 1, 9))]);
    assert_eq!(kept.len(), 2);
    assert_eq!(bench.call().partitions, [(1, 0), (0, 1), (2, 1)]);
}

#[test]
fn an_answer_for_an_older_position_is_dropped() {
    let mut bench = Bench::with(2, 1);
    let first = bench.call();
    let claim = bench.claims.next();
    bench.fetcher.reset(bench.now, &tp(0), claim);
    bench.fetcher.start(&tp(0), claim, spot(0));
    bench.fetcher.remove(&tp(1));
    let both = vec![data(0, script::batch(0, 1, 9)), data(1, script::batch(0, 1, 9))];
    assert!(bench.answer(first.token, both).is_empty());
    assert_eq!(bench.buffered.used(), 0);
    assert_eq!(bench.call().partitions, [(0, 0)]);
}

#[test]
fn a_position_of_an_older_claim_starts_nothing() {
    let mut bench = Bench::new();
    let old = bench.add(0, 1);
    let new = bench.claims.next();
    bench.fetcher.reset(bench.now, &tp(0), new);
    bench.fetcher.start(&tp(0), old, spot(5));
    assert!(bench.calls().is_empty());
    bench.fetcher.start(&tp(0), new, spot(6));
    assert_eq!(bench.call().partitions, [(0, 6)]);
}

#[test]
fn what_was_not_asked_for_is_ignored() {
    let mut bench = Bench::with(1, 1);
    let first = bench.call();
    let foreign = vec![data(5, script::batch(0, 1, 9)), data(-1, script::batch(0, 1, 9))];
    assert!(bench.answer(first.token, foreign).is_empty());
    assert!(bench.answer(first.token, vec![data(0, script::batch(0, 1, 9))]).is_empty(), "answered already");
}

#[test]
fn a_paused_partition_is_not_fetched() {
    let mut bench = Bench::with(2, 1);
    bench.fetcher.pause(&tp(0), true);
    let call = bench.call();
    assert_eq!((call.partitions, call.request.max_wait_ms), (vec![(1, 0)], 500));
    bench.fetcher.pause(&tp(0), false);
    bench.answer(call.token, vec![]);
    assert_eq!(bench.call().partitions.len(), 2);
}

#[test]
fn what_paused_partitions_keep_starves_no_others() {
    let mut bench = Bench::with(2, 1);
    bench.add(2, 2);
    let mut calls = bench.calls();
    let kept = bench.fetched(calls[0].token, vec![data(0, script::batch(0, 1, (4 << 20) - 4096))]);
    let other = bench.fetched(calls.remove(1).token, vec![data(2, script::batch(0, 1, (4 << 20) - 4096))]);
    assert!(bench.calls().is_empty(), "the budget is used up");
    bench.fetcher.pause(&tp(0), true);
    let call = bench.call();
    assert_eq!((call.partitions, call.request.max_bytes), (vec![(1, 0)], 1 << 20));
    assert!(bench.calls().is_empty(), "not of the other broker: what it has sent is to be read first");
    let more = bench.fetched(call.token, vec![data(1, script::batch(0, 1, 9))]);
    assert!(bench.calls().is_empty(), "nor more than that");
    drop((more, other));
    let nodes: Vec<_> = bench.calls().iter().map(|call| call.node).collect();
    assert_eq!(nodes, [node(1), node(2)]);
    drop(kept);
}

#[test]
fn a_topic_without_an_id_is_fetched_by_name() {
    let mut bench = Bench::with(1, 1);
    assert_eq!(bench.call().max_version, None);
    let mut bench = Bench::new();
    let (claim, leader) = (bench.claims.next(), Leader { topic_id: Uuid::ZERO, ..script::leader(1) });
    bench.fetcher.add(bench.now, tp(0), claim, Some(leader), false);
    bench.fetcher.start(&tp(0), claim, spot(0));
    let call = bench.call();
    assert_eq!(call.max_version, Some(12));
    let topic = FetchableTopicResponse {
        topic: "t".into(),
        partitions: vec![data(0, script::batch(0, 1, 9))],
        ..FetchableTopicResponse::default()
    };
    let response = FetchResponse { responses: vec![topic], ..FetchResponse::default() };
    bench.fetcher.answer(bench.now, call.token, script::answer(12, response), &mut bench.out);
    assert!(matches!(bench.out.events[..], [Event::End { .. }, Event::Fetched(_)]));
}

#[test]
fn a_batch_that_does_not_fit_is_asked_for_with_more_room() {
    let mut bench = Bench::with(1, 1);
    let call = bench.call();
    assert_eq!(call.request.topics[0].partitions[0].partition_max_bytes, 1 << 20);
    let batch = script::batch(0, 1, 2 << 20);
    assert!(bench.answer(call.token, vec![data(0, batch.slice(..1 << 20))]).is_empty());
    let call = bench.call();
    assert_eq!(call.request.topics[0].partitions[0].partition_max_bytes, i32::try_from(batch.len()).unwrap());
    assert_eq!(bench.fetched(call.token, vec![data(0, batch)]).len(), 1);

    let call = bench.call();
    let mut huge = BytesMut::from(&script::batch(1, 1, 9)[..40]);
    huge[8..12].copy_from_slice(&i32::MAX.to_be_bytes());
    let events = bench.answer(call.token, vec![data(0, huge.freeze())]);
    let [Event::Stuck { error, .. }] = events.as_slice() else { panic!("{events:?}") };
    let ErrorKind::RecordTooLarge { limit: Some(limit), setting, .. } = error.kind() else {
        panic!("{error}")
    };
    assert_eq!((*limit, *setting), (100 << 20, "receive_message_max_bytes"));
}

#[test]
fn batches_in_front_of_the_offset_are_given_up_after_some_tries() {
    let mut bench = Bench::with(1, 1);
    let (claim, stale) = (bench.claims.next(), script::batch(0, 4, 9));
    bench.fetcher.reset(bench.now, &tp(0), claim);
    bench.fetcher.start(&tp(0), claim, spot(100));
    for _ in 1..MAX_STALLS {
        let call = bench.call();
        assert!(bench.answer(call.token, vec![data(0, stale.clone())]).is_empty());
        assert!(bench.calls().is_empty(), "backing off");
        bench.wait(1500);
    }
    let call = bench.call();
    let events = bench.answer(call.token, vec![data(0, stale)]);
    let [Event::Stuck { error, .. }] = events.as_slice() else { panic!("{events:?}") };
    assert!(matches!(error.kind(), ErrorKind::CorruptBatch { offset: 100, .. }), "{error}");
}

#[test]
fn the_end_is_told_when_it_changes_also_without_records() {
    let mut bench = Bench::with(1, 1);
    for (high_watermark, last_stable_offset) in [(5, 3), (5, 3), (6, 6), (7, -1)] {
        let call = bench.call();
        bench.wait(500);
        let ends = PartitionData { high_watermark, last_stable_offset, ..data(0, Bytes::new()) };
        assert!(bench.answer(call.token, vec![ends]).is_empty());
    }
    assert_eq!(bench.ends, [3, 6, 7]);
}

#[test]
fn a_full_buffer_leaves_nothing_due() {
    let mut bench = Bench::with(2, 1);
    let call = bench.call();
    bench.answer(call.token, vec![refusal(1, Code::NOT_LEADER_OR_FOLLOWER)]);
    // What is left out until later has a time; what comes meanwhile fills the buffer.
    let call = bench.call();
    assert_eq!(call.partitions, [(0, 0)]);
    let kept = bench.fetched(call.token, vec![data(0, script::batch(0, 1, LIMIT - 4096))]);
    bench.wait(5000);
    assert!(bench.calls().is_empty());
    assert_eq!(bench.fetcher.deadline(), None, "only room lets it go on");
    drop(kept);
    assert_eq!(bench.call().partitions.len(), 2);
}

#[test]
fn a_broken_copy_at_the_broker_is_reported() {
    let mut bench = Bench::with(1, 1);
    let call = bench.call();
    let events = bench.answer(call.token, vec![refusal(0, Code::CORRUPT_MESSAGE)]);
    assert!(matches!(events[..], [Event::Failed { .. }]), "{events:?}");
}

#[test]
fn a_broken_batch_is_handed_on_and_waits_for_the_reader() {
    let mut bench = Bench::with(1, 1);
    let call = bench.call();
    let mut broken = BytesMut::from(&script::batch(0, 1, 9)[..]);
    broken[16] = 9;
    assert_eq!(bench.fetched(call.token, vec![data(0, broken.freeze())]).len(), 1);
    assert!(bench.calls().is_empty());
}

#[test]
fn the_aborted_transactions_are_sorted() {
    let mut bench = Bench::with(1, 1);
    let call = bench.call();
    let aborted = |producer_id, first_offset| AbortedTransaction {
        producer_id,
        first_offset,
        ..AbortedTransaction::default()
    };
    let aborted_transactions = Some(vec![aborted(1, 9), aborted(2, 3)]);
    let fetched = bench
        .fetched(call.token, vec![PartitionData { aborted_transactions, ..data(0, script::batch(0, 4, 9)) }]);
    assert_eq!(fetched[0].aborted, [(2, 3), (1, 9)]);
}

#[test]
fn a_broker_that_answers_early_with_nothing_is_given_a_rest() {
    let mut bench = Bench::with(1, 1);
    for _ in 0..=MAX_EARLY {
        let call = bench.call();
        assert!(bench.answer(call.token, vec![data(0, Bytes::new())]).is_empty());
    }
    assert!(bench.calls().is_empty());
    bench.wait(1200);
    bench.call();
}

#[test]
fn a_topic_of_the_same_name_and_another_id_stops_the_partition() {
    let mut bench = Bench::with(1, 1);
    bench.call();
    let other = Leader { topic_id: script::topic_id(8), ..script::leader(1) };
    bench.fetcher.set_leader(&tp(0), Some(other), &mut bench.out);
    assert!(matches!(mem::take(&mut bench.out.events)[..], [Event::Recreated { .. }]));
    bench.fetcher.set_leader(&tp(0), Some(other), &mut bench.out);
    assert!(bench.out.events.is_empty(), "told once");
    // A new position belongs to the new topic.
    let claim = bench.claims.next();
    bench.fetcher.reset(bench.now, &tp(0), claim);
    bench.fetcher.start(&tp(0), claim, spot(0));
    bench.fetcher.set_leader(&tp(0), Some(other), &mut bench.out);
    assert!(bench.out.events.is_empty());
}

#[test]
fn a_partition_that_is_being_positioned_is_not_waited_past_for_long() {
    let mut bench = Bench::with(1, 1);
    let claim = bench.claims.next();
    bench.fetcher.add(bench.now, tp(1), claim, Some(script::leader(1)), false);
    let call = bench.call();
    assert_eq!((call.request.max_wait_ms, call.partitions.len()), (20, 1));
    bench.wait(1000);
    bench.answer(call.token, vec![]);
    assert_eq!(bench.call().request.max_wait_ms, 500);
}
