//! The rules of a link, one by one, and then in any order.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::{collections::VecDeque, time::SystemTime};

use bytes::Buf;
use proptest::prelude::*;

use super::*;
use crate::{
    config::Config,
    engine::machine::{Target, Token},
    error::Code,
    wire::{
        calls::{Received, decode_request},
        messages::{
            ApiVersionsResponse, HeartbeatRequest, HeartbeatResponse, MetadataRequest, MetadataResponse,
            ProduceRequest, api_versions_response::ApiVersion,
        },
        str::Str,
        versions::ApiKey,
    },
};

mod connecting;
mod garbage;

fn start() -> Now {
    let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    Now { instant: Instant::now(), unix_ms: i64::try_from(unix.as_millis()).unwrap() }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A link, the broker's end of its connection, and a clock.
struct Rig {
    link: Link<u32>,
    now: Now,
    dials: Vec<u32>,
    dialing: bool,
    closes: usize,
    outcomes: Vec<(u32, Outcome)>,
    /// Requests in flight and those answered, as the link counts them.
    in_flight: usize,
    answered: Vec<(Duration, Duration)>,
    /// What arrived at the broker and is not a whole request yet.
    arrived: BytesMut,
    /// Requests that the broker has not answered.
    unanswered: VecDeque<Received>,
    input: BytesMut,
}

impl Rig {
    fn new(purpose: Purpose) -> Self {
        let settings = LinkSettings::new(&Config::new(["b:1"]), purpose);
        let now = start();
        let place = place("b", 1);
        Self {
            link: Link::new(settings, NodeId(1), purpose, place, now, Random::new(1)),
            now,
            dials: Vec::new(),
            dialing: false,
            closes: 0,
            outcomes: Vec::new(),
            in_flight: 0,
            answered: Vec::new(),
            arrived: BytesMut::new(),
            unanswered: VecDeque::new(),
            input: BytesMut::new(),
        }
    }

    /// A link with a connection that is ready, and nothing on it.
    fn ready(purpose: Purpose) -> Self {
        let mut rig = Self::new(purpose);
        rig.submit(0, metadata(), ms(30_000));
        rig.connect();
        rig.answer(MetadataResponse::default().into());
        assert!(matches!(rig.outcome(), (0, Ok(_))));
        rig
    }

    fn submit(&mut self, id: u32, request: Request, patience: Duration) {
        self.submit_up_to(id, request, patience, None);
    }

    fn submit_up_to(&mut self, id: u32, request: Request, patience: Duration, max_version: Option<i16>) {
        let call = Call {
            token: Token(u64::from(id)),
            target: Target::Any,
            purpose: Purpose::General,
            request,
            deadline: self.now.instant + patience,
            max_version,
        };
        self.link.submit(self.now, call, id);
        self.look();
    }

    /// Lets the attempt to connect and the handshake succeed.
    fn connect(&mut self) {
        self.dialed(Ok(()));
        self.write_all();
        self.answer(all_versions().into());
        self.write_all();
    }

    fn dialed(&mut self, result: Result<(), Error>) {
        assert!(self.dialing, "the link dials");
        self.dialing = false;
        self.link.dialed(self.now, result.map(|()| "b:1 (10.0.0.1:1)".to_owned()));
        self.look();
    }

    fn refused(&mut self) {
        self.dialed(Err(Peer::from("b:1".to_owned()).io(std::io::ErrorKind::ConnectionRefused, "no".into())));
    }

    fn write(&mut self, count: usize) {
        let bytes = self.link.outgoing().clone().into_bytes();
        let count = count.min(bytes.len());
        self.arrived.extend_from_slice(&bytes[..count]);
        self.link.written(self.now, count);
        let mut frames = FrameDecoder::new(1 << 20);
        while let Some(frame) = frames.next(&mut self.arrived).unwrap() {
            let received = decode_request(frame).unwrap();
            let silent = matches!(&received.request, Request::Produce(produce) if produce.acks == 0);
            if !silent {
                self.unanswered.push_back(received);
            }
        }
        self.look();
    }

    fn write_all(&mut self) {
        while !self.link.outgoing().is_empty() {
            self.write(usize::MAX);
        }
    }

    /// The broker answers the oldest request.
    fn answer(&mut self, response: Response) {
        let received = self.unanswered.pop_front().unwrap();
        let frame = response.encode_frame(received.version, received.correlation_id).unwrap();
        self.receive(&frame.into_bytes());
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        self.link.received(self.now, &mut self.input);
        self.look();
    }

    fn closed(&mut self) {
        self.link.closed(self.now, &std::io::ErrorKind::UnexpectedEof.into(), false);
        self.look();
    }

    /// Time passes; the link is ticked at each of its deadlines on the way.
    fn pass(&mut self, duration: Duration) {
        let end = self.now.after(duration);
        for _ in 0..1000 {
            match self.link.deadline() {
                Some(due) if due <= end.instant => {
                    let step = due.saturating_duration_since(self.now.instant);
                    self.now = self.now.after(step);
                    self.link.tick(self.now);
                    self.look();
                    assert!(
                        self.link.deadline().is_none_or(|next| next > self.now.instant)
                            || self.link.is_forgotten(self.now),
                        "a tick does what is due"
                    );
                    if self.link.is_forgotten(self.now) {
                        break;
                    }
                }
                _ => break,
            }
        }
        self.now = end;
    }

    fn look(&mut self) {
        self.link.check();
        for effect in self.link.effects() {
            match effect {
                Effect::Dial { attempt, .. } => {
                    self.dials.push(attempt);
                    self.dialing = true;
                }
                Effect::Close => {
                    self.closes += 1;
                    self.dialing = false;
                    self.arrived.clear();
                    self.unanswered.clear();
                    self.input.clear();
                }
                Effect::Done(id, outcome) => self.outcomes.push((id, outcome)),
                Effect::Count(Count::Sent) => self.in_flight += 1,
                Effect::Count(Count::Answered { latency, throttle }) => {
                    self.in_flight -= 1;
                    self.answered.push((latency, throttle));
                }
                Effect::Count(Count::Unanswered(count)) => self.in_flight -= count,
            }
        }
        assert_eq!(self.in_flight, self.link.flight.len(), "every request is counted");
    }

    /// The one outcome so far.
    fn outcome(&mut self) -> (u32, Outcome) {
        assert_eq!(self.outcomes.len(), 1, "{:?}", self.outcomes);
        self.outcomes.pop().unwrap()
    }

    fn failure(&mut self) -> (u32, Failure) {
        let (id, outcome) = self.outcome();
        (id, outcome.unwrap_err())
    }

    fn ids(&mut self) -> Vec<u32> {
        self.outcomes.drain(..).map(|(id, _)| id).collect()
    }
}

fn place(host: &str, port: u16) -> Place {
    Place { address: Address { host: Str::from(host), port }, expected: None }
}

fn metadata() -> Request {
    MetadataRequest { topics: Some(vec![]), ..MetadataRequest::default() }.into()
}

fn heartbeat() -> Request {
    HeartbeatRequest::default().into()
}

fn produce(acks: i16) -> Request {
    ProduceRequest { acks, timeout_ms: 1000, ..ProduceRequest::default() }.into()
}

fn all_versions() -> ApiVersionsResponse {
    versions(ApiKey::ALL.iter().map(|key| (key.number(), key.supported().min, key.supported().max)))
}

fn versions(ranges: impl IntoIterator<Item = (i16, i16, i16)>) -> ApiVersionsResponse {
    let entry = |(api_key, min_version, max_version)| ApiVersion {
        api_key,
        min_version,
        max_version,
        ..ApiVersion::default()
    };
    ApiVersionsResponse {
        api_keys: ranges.into_iter().map(entry).collect(),
        ..ApiVersionsResponse::default()
    }
}

fn throttled(throttle_time_ms: i32) -> Response {
    HeartbeatResponse { throttle_time_ms, ..HeartbeatResponse::default() }.into()
}

#[test]
fn the_first_call_opens_the_connection_and_is_answered() {
    let mut rig = Rig::new(Purpose::General);
    assert_eq!(rig.dials, [] as [u32; 0]);
    rig.submit(7, metadata(), ms(1000));
    assert_eq!(rig.dials, [0]);
    rig.dialed(Ok(()));
    rig.write_all();
    let hello = &rig.unanswered[0];
    assert_eq!(hello.version, ApiKey::ApiVersions.supported().max);
    assert_eq!(hello.client_id.as_deref(), Some("milena"));
    assert_eq!(rig.unanswered.len(), 1, "nothing is sent before the versions are known");
    rig.answer(all_versions().into());
    rig.write_all();
    rig.answer(MetadataResponse::default().into());
    let (7, Ok(answer)) = rig.outcome() else { panic!() };
    assert_eq!((answer.node, answer.version), (NodeId(1), ApiKey::Metadata.supported().max));
}

#[test]
fn an_older_broker_is_asked_for_its_versions_again() {
    let mut rig = Rig::new(Purpose::General);
    rig.submit(7, metadata(), ms(1000));
    rig.dialed(Ok(()));
    rig.write_all();
    // The refusal comes in version 0, whatever was asked.
    let refusal = ApiVersionsResponse {
        error_code: Code::UNSUPPORTED_VERSION.get(),
        ..versions([(ApiKey::ApiVersions.number(), 0, 2)])
    };
    let hello = rig.unanswered.pop_front().unwrap();
    let frame = Response::from(refusal).encode_frame(0, hello.correlation_id).unwrap();
    rig.receive(&frame.into_bytes());
    rig.write_all();
    assert_eq!(rig.unanswered[0].version, 2);
    rig.answer(versions([(ApiKey::Metadata.number(), 0, 4)]).into());
    rig.write_all();
    assert_eq!(rig.unanswered[0].version, 4);
}

#[test]
fn no_more_requests_are_in_flight_than_allowed() {
    let mut rig = Rig::ready(Purpose::Produce);
    for id in 1..=8 {
        rig.submit(id, produce(-1), ms(30_000));
    }
    rig.write_all();
    assert_eq!(rig.unanswered.len(), 5);
    rig.answer(ProduceResponse::default().into());
    rig.write_all();
    assert_eq!((rig.unanswered.len(), rig.ids()), (5, vec![1]));
}

#[test]
fn a_call_that_waits_for_a_connection_ends_at_its_deadline_unsent() {
    let mut rig = Rig::new(Purpose::General);
    rig.submit(1, metadata(), ms(500));
    rig.pass(ms(499));
    assert!(rig.outcomes.is_empty());
    rig.pass(ms(1));
    let (1, Failure { maybe_sent: false, error }) = rig.failure() else { panic!() };
    let ErrorKind::Timeout { what, after, .. } = error.kind() else { panic!("{error}") };
    assert_eq!((what.contains("no connection yet"), *after), (true, ms(500)), "{what}");
}

#[test]
fn a_caller_that_gives_up_harms_no_neighbour() {
    let mut rig = Rig::ready(Purpose::General);
    rig.submit(1, metadata(), ms(100));
    rig.submit(2, heartbeat(), ms(30_000));
    rig.write_all();
    rig.pass(ms(100));
    assert!(matches!(rig.failure(), (1, Failure { maybe_sent: true, .. })));
    assert!(!rig.link.is_answering(), "others had better ask elsewhere");
    assert_eq!(rig.closes, 0);
    rig.answer(MetadataResponse::default().into());
    assert!(rig.outcomes.is_empty(), "the late answer is dropped");
    assert!(rig.link.is_answering());
    rig.answer(throttled(0));
    assert!(matches!(rig.outcome(), (2, Ok(_))));
}

#[test]
fn a_broker_that_never_answers_costs_the_connection() {
    let mut rig = Rig::ready(Purpose::General);
    rig.submit(1, metadata(), ms(100));
    rig.submit(2, heartbeat(), ms(60_000));
    rig.write_all();
    rig.pass(ms(29_999));
    assert_eq!((rig.ids(), rig.closes), (vec![1], 0));
    rig.pass(ms(1));
    let (2, Failure { maybe_sent: true, error }) = rig.failure() else { panic!() };
    assert!(matches!(error.kind(), ErrorKind::Timeout { setting: "request_timeout", .. }), "{error}");
    assert_eq!(rig.closes, 1);
}

#[test]
fn a_throttled_link_is_silent_for_as_long_as_the_broker_says() {
    let mut rig = Rig::ready(Purpose::General);
    for (throttle, silence) in [(700, 700), (34_000, 34_000), (i32::MAX, 300_000)] {
        rig.submit(1, heartbeat(), ms(30_000));
        rig.write_all();
        rig.answer(throttled(throttle));
        rig.submit(2, heartbeat(), ms(600_000));
        assert!(rig.link.outgoing().is_empty());
        rig.pass(ms(silence - 1));
        assert!(rig.link.outgoing().is_empty());
        rig.pass(ms(1));
        rig.write_all();
        rig.answer(throttled(0));
        assert_eq!(rig.ids(), [1, 2]);
    }
    for nonsense in [0, -1, i32::MIN] {
        rig.submit(1, heartbeat(), ms(30_000));
        rig.write_all();
        rig.answer(throttled(nonsense));
        rig.submit(2, heartbeat(), ms(30_000));
        rig.write_all();
        rig.answer(throttled(0));
        assert_eq!(rig.ids(), [1, 2]);
    }
}

#[test]
fn answers_are_counted_with_their_time() {
    let mut rig = Rig::ready(Purpose::Produce);
    rig.answered.clear();
    rig.submit(1, produce(-1), ms(30_000));
    rig.submit(2, produce(0), ms(30_000));
    rig.pass(ms(5));
    rig.write_all();
    rig.pass(ms(20));
    rig.answer(ProduceResponse { throttle_time_ms: i32::MAX, ..ProduceResponse::default() }.into());
    // The one that wants no answer is done when it is written.
    assert_eq!(rig.answered, [(ms(5), ms(0)), (ms(25), ms(300_000))]);
}

#[test]
fn a_throttled_call_that_cannot_wait_says_why() {
    let mut rig = Rig::ready(Purpose::General);
    rig.submit(1, heartbeat(), ms(30_000));
    rig.write_all();
    rig.answer(throttled(5000));
    rig.submit(2, heartbeat(), ms(1000));
    rig.pass(ms(1000));
    let failures: Vec<_> = rig.outcomes.drain(..).filter_map(|(_, outcome)| outcome.err()).collect();
    let [Failure { maybe_sent: false, error }] = failures.as_slice() else { panic!("{failures:?}") };
    assert!(error.to_string().contains("the broker throttles"), "{error}");
}

#[test]
fn a_request_that_the_broker_lacks_fails_alone() {
    let mut rig = Rig::new(Purpose::General);
    rig.submit(1, heartbeat(), ms(1000));
    rig.submit(2, metadata(), ms(1000));
    rig.dialed(Ok(()));
    rig.write_all();
    rig.answer(versions([(ApiKey::Metadata.number(), 4, 7)]).into());
    let (1, Failure { maybe_sent: false, error }) = rig.failure() else { panic!() };
    assert!(
        matches!(error.kind(), ErrorKind::UnsupportedVersion { request: "Heartbeat", theirs: None, .. }),
        "{error}"
    );
    rig.write_all();
    assert_eq!(rig.unanswered[0].version, 7);
    rig.answer(MetadataResponse::default().into());
    assert_eq!(rig.ids(), [2]);
    rig.submit_up_to(3, metadata(), ms(1000), Some(5));
    rig.submit_up_to(4, metadata(), ms(1000), Some(3));
    rig.write_all();
    assert_eq!((rig.unanswered[0].version, rig.unanswered.len(), rig.ids()), (5, 1, vec![4]));
}

#[test]
fn produce_without_acks_is_complete_when_it_is_written() {
    let mut rig = Rig::ready(Purpose::Produce);
    rig.submit(1, produce(0), ms(30_000));
    rig.submit(2, produce(0), ms(30_000));
    rig.submit(3, produce(1), ms(30_000));
    let first = rig.link.outgoing().len() / 3;
    rig.write(first - 1);
    assert!(rig.outcomes.is_empty());
    rig.write(1);
    assert_eq!(rig.ids(), [1]);
    rig.write_all();
    assert_eq!(rig.ids(), [2]);
    rig.answer(ProduceResponse::default().into());
    assert_eq!(rig.ids(), [3]);
}

#[test]
fn a_shut_link_fails_everything_and_takes_nothing() {
    let mut rig = Rig::ready(Purpose::Produce);
    for id in 1..=7 {
        rig.submit(id, produce(-1), ms(30_000));
    }
    rig.link.shut();
    rig.look();
    rig.submit(8, produce(-1), ms(30_000));
    assert_eq!(rig.outcomes.len(), 8);
    for (_, outcome) in &rig.outcomes {
        assert!(matches!(outcome.as_ref().unwrap_err().error.kind(), ErrorKind::Closed { .. }));
    }
    assert_eq!(rig.link.deadline(), None);
}

#[test]
fn the_queue_is_bounded() {
    let mut rig = Rig::new(Purpose::General);
    for id in 0..u32::try_from(Queue::<u32>::LIMIT).unwrap() {
        rig.submit(id, heartbeat(), ms(1000));
    }
    assert!(rig.outcomes.is_empty());
    rig.submit(99_999, heartbeat(), ms(1000));
    assert!(matches!(rig.failure(), (99_999, Failure { maybe_sent: false, .. })));
}

#[derive(Clone, Debug)]
enum Operation {
    Submit { acks: Option<i16>, patience: u64 },
    Dialed(bool),
    Write(usize),
    Answer { throttle: i32 },
    Receive(Vec<u8>),
    Closed,
    Pass(u64),
    Move(u16),
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        4 => (prop::option::of(-1..=1_i16), prop_oneof![0..50_u64, 50..60_000_u64])
            .prop_map(|(acks, patience)| Operation::Submit { acks, patience }),
        2 => prop::bool::weighted(0.8).prop_map(Operation::Dialed),
        6 => prop_oneof![1..40_usize, Just(usize::MAX)].prop_map(Operation::Write),
        6 => prop_oneof![4 => Just(0), 1 => any::<i32>()].prop_map(|throttle| Operation::Answer { throttle }),
        1 => prop::collection::vec(any::<u8>(), 1..12).prop_map(Operation::Receive),
        1 => Just(Operation::Closed),
        2 => prop_oneof![0..100_u64, 100..40_000_u64, Just(600_000_u64)].prop_map(Operation::Pass),
        1 => (1..3_u16).prop_map(Operation::Move),
    ]
}

impl Rig {
    fn apply(&mut self, operation: Operation, submitted: &mut u32) {
        match operation {
            Operation::Submit { acks, patience } => {
                self.submit(*submitted, acks.map_or_else(heartbeat, produce), ms(patience));
                *submitted += 1;
            }
            Operation::Dialed(_) if !self.dialing => {}
            Operation::Dialed(true) => self.dialed(Ok(())),
            Operation::Dialed(false) => self.refused(),
            Operation::Write(count) => self.write(count),
            Operation::Answer { throttle } => match self.unanswered.front().map(|r| r.request.key()) {
                Some(ApiKey::ApiVersions) => self.answer(all_versions().into()),
                Some(ApiKey::Produce) => {
                    let response = ProduceResponse { throttle_time_ms: throttle, ..Default::default() };
                    self.answer(response.into());
                }
                Some(_) => self.answer(throttled(throttle)),
                None => {}
            },
            Operation::Receive(bytes) => self.receive(&bytes),
            Operation::Closed => self.closed(),
            Operation::Pass(time) => self.pass(ms(time)),
            Operation::Move(port) => {
                self.link.moved(self.now, place("b", port));
                self.look();
            }
        }
    }
}

proptest! {
    #[test]
    fn every_call_gets_one_outcome_whatever_happens(
        operations in prop::collection::vec(operation(), 0..120),
        purpose in prop_oneof![Just(Purpose::Produce), Just(Purpose::COORDINATOR)],
    ) {
        let mut rig = Rig::new(purpose);
        let mut submitted = 0;
        for operation in operations {
            rig.apply(operation, &mut submitted);
        }
        // Each has its outcome at its deadline at the latest, with nobody's help.
        rig.pass(ms(60_000));
        let mut ids = rig.ids();
        ids.sort_unstable();
        prop_assert_eq!(ids, (0..submitted).collect::<Vec<_>>());
        prop_assert!(rig.link.queue.is_empty());
    }
}

#[test]
fn large_requests_are_not_encoded_far_ahead() {
    let records = Bytes::from(vec![7; 100_000]);
    let mut rig = Rig::ready(Purpose::Produce);
    for id in 1..=3 {
        let mut request = ProduceRequest { acks: -1, ..ProduceRequest::default() };
        request.topic_data.push(crate::wire::messages::produce_request::TopicProduceData {
            partition_data: vec![crate::wire::messages::produce_request::PartitionProduceData {
                records: Some(records.clone()),
                ..Default::default()
            }],
            ..Default::default()
        });
        rig.submit(id, request.into(), ms(30_000));
    }
    assert!(rig.link.outgoing().len() < 101_000, "only the first is encoded");
    let shared = rig.link.outgoing().parts().any(|part| part.as_ptr() == records.as_ptr());
    assert!(shared, "and its records are not copied");
    assert!(rig.link.outgoing().has_remaining());
    rig.write_all();
    assert_eq!(rig.unanswered.len(), 3);
}
