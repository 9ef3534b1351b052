//! One connection, whatever its broker sends and whenever.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::input::{Input, start};
use crate::config::Config;
use crate::engine::backoff::Random;
use crate::engine::conn::{Address, Count, Effect, Link, LinkSettings, Place};
use crate::engine::machine::{Call, Now, Purpose, Target, Token};
use crate::error::{Error, ErrorKind};
use crate::types::NodeId;
use crate::wire::calls::{Received, Request, Response, decode_request};
use crate::wire::frame::FrameDecoder;
use crate::wire::messages::api_versions_response::ApiVersion;
use crate::wire::messages::produce_request::{PartitionProduceData, TopicProduceData};
use crate::wire::messages::{
    ApiVersionsResponse, FetchRequest, HeartbeatRequest, HeartbeatResponse, MetadataRequest, ProduceRequest,
};
use crate::wire::str::Str;
use crate::wire::versions::ApiKey;

const STEPS: usize = 300;
/// No call of this target is more patient than a minute.
const SETTLING: Duration = Duration::from_secs(120);

/// Feeds the machine of one connection: every call has one outcome, at its deadline at the latest, and nothing breaks.
///
/// Input: whether the connection is for producing, then steps, each a byte for its kind and what the kind needs; see
/// `Rig::step`.
pub fn link(input: &[u8]) {
    let mut input = Input::new(input);
    let mut rig = Rig::new(if input.is() { Purpose::Produce } else { Purpose::General });
    for _ in 0..STEPS {
        if input.is_empty() {
            break;
        }
        rig.step(&mut input);
    }
    rig.pass(SETTLING);
    assert!(rig.outcomes.iter().all(|outcomes| *outcomes == 1), "outcomes by call: {:?}", rig.outcomes);
}

/// A link and the other end of its connection.
struct Rig {
    link: Link<usize>,
    now: Now,
    dialing: bool,
    connected: bool,
    /// How many outcomes each call has had.
    outcomes: Vec<u8>,
    /// Requests that are counted as sent and not as answered or unanswered.
    open: usize,
    /// What the broker has got and has not read, and the requests that it has not answered.
    arrived: BytesMut,
    unanswered: VecDeque<Received>,
    /// What has come from the broker and is not read.
    input: BytesMut,
}

impl Rig {
    fn new(purpose: Purpose) -> Self {
        let now = start();
        let settings =
            LinkSettings { max_frame: 1 << 16, ..LinkSettings::new(&Config::new(["b:1"]), purpose) };
        Self {
            link: Link::new(settings, NodeId(1), purpose, place(1), now, Random::new(1)),
            now,
            dialing: false,
            connected: false,
            outcomes: Vec::new(),
            open: 0,
            arrived: BytesMut::new(),
            unanswered: VecDeque::new(),
            input: BytesMut::new(),
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.below(12) {
            0 | 1 => self.submit(input),
            2 | 3 if self.dialing => {
                self.dialing = false;
                self.connected = input.byte() % 4 != 3;
                let dialed = if self.connected { Ok("b:1 (10.0.0.1:1)".to_owned()) } else { Err(refused()) };
                self.link.dialed(self.now, dialed);
            }
            4 => self.write(usize::from(input.byte())),
            5 => self.write(usize::MAX),
            6 | 7 => {
                if let Some(response) = self.honest(input) {
                    self.receive(&response);
                }
            }
            8 => {
                let id = self.unanswered.pop_front().map_or(0, |received| received.correlation_id);
                let body = input.bytes();
                let length = i32::try_from(body.len() + 4).unwrap_or(0);
                self.receive(&[&length.to_be_bytes()[..], &id.to_be_bytes(), body].concat());
            }
            9 => self.receive(input.bytes()),
            10 => self.pass(Duration::from_millis(u64::from(input.i16().unsigned_abs()))),
            11 => match input.byte() {
                0 => self.link.shut(),
                odd if odd % 2 == 1 => self.link.moved(self.now, place(u16::from(odd))),
                _ if self.connected => {
                    self.connected = false;
                    let kind = input.pick(&[io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset]);
                    self.link.closed(self.now, &kind.into(), input.is());
                }
                _ => {}
            },
            _ => {}
        }
        self.look();
    }

    fn submit(&mut self, input: &mut Input<'_>) {
        let request: Request = match input.below(5) {
            0 => MetadataRequest::default().into(),
            1 => HeartbeatRequest::default().into(),
            2 => FetchRequest::default().into(),
            acks => {
                let records = Bytes::from(vec![0; usize::from(input.byte()) * 256]);
                let partition = PartitionProduceData { records: Some(records), ..Default::default() };
                let topic = TopicProduceData { partition_data: vec![partition], ..Default::default() };
                let acks = if acks == 3 { -1 } else { 0 };
                ProduceRequest { acks, topic_data: vec![topic], ..Default::default() }.into()
            }
        };
        let id = self.outcomes.len();
        self.outcomes.push(0);
        let call = Call {
            token: Token(0),
            target: Target::Any,
            purpose: Purpose::General,
            request,
            deadline: self.now.instant + Duration::from_millis(u64::from(input.i16().unsigned_abs())),
            max_version: input.pick(&[None, None, Some(0), Some(12)]),
        };
        self.link.submit(self.now, call, id);
    }

    /// The operating system takes some bytes, and the broker gets them.
    fn write(&mut self, count: usize) {
        let bytes = self.link.outgoing().clone().into_bytes();
        let count = count.min(bytes.len());
        self.arrived.extend_from_slice(&bytes[..count]);
        self.link.written(self.now, count);
        let mut frames = FrameDecoder::new(1 << 30);
        while let Some(frame) = frames.next(&mut self.arrived).expect("the link writes frames") {
            let received = decode_request(frame).expect("the link writes requests");
            if !matches!(&received.request, Request::Produce(produce) if produce.acks == 0) {
                self.unanswered.push_back(received);
            }
        }
    }

    /// A frame that answers the oldest request, as a broker might.
    fn honest(&mut self, input: &mut Input<'_>) -> Option<Bytes> {
        let received = self.unanswered.pop_front()?;
        let throttle_time_ms = input.pick(&[0, 0, 0, 1_000, -5, i32::MAX]);
        let response: Response = match received.request {
            Request::ApiVersions(_) => {
                let error_code = input.pick(&[0, 0, 0, 35, 42]);
                let version = if error_code == 35 { 0 } else { received.version };
                let response = ApiVersionsResponse {
                    error_code,
                    throttle_time_ms,
                    api_keys: versions(input),
                    ..Default::default()
                };
                let throttled = Response::from(response.clone());
                let plain = Response::from(ApiVersionsResponse { throttle_time_ms: 0, ..response });
                let response = if version > 0 { throttled } else { plain };
                return Some(response.encode_frame(version, received.correlation_id).ok()?.into_bytes());
            }
            Request::Heartbeat(_) if received.version > 0 => {
                HeartbeatResponse { throttle_time_ms, ..Default::default() }.into()
            }
            ref request => return Some(empty(request.key(), &received)),
        };
        Some(response.encode_frame(received.version, received.correlation_id).ok()?.into_bytes())
    }

    fn receive(&mut self, bytes: &[u8]) {
        if self.connected {
            self.input.extend_from_slice(bytes);
            self.link.received(self.now, &mut self.input);
        }
    }

    /// Time passes; the link is ticked whenever it wants to be.
    fn pass(&mut self, duration: Duration) {
        let end = self.now.after(duration);
        for _ in 0..10_000 {
            let Some(due) = self.link.deadline().filter(|due| *due <= end.instant) else { break };
            if self.link.is_forgotten(self.now) {
                break;
            }
            self.now = self.now.after(due.saturating_duration_since(self.now.instant));
            self.link.tick(self.now);
            self.look();
        }
        let passed = self.link.deadline().is_none_or(|due| due > end.instant) || self.link.is_forgotten(end);
        assert!(passed, "something is always due");
        self.now = end;
    }

    fn look(&mut self) {
        self.link.check();
        for effect in self.link.effects() {
            match effect {
                Effect::Dial { .. } => {
                    assert!(!self.connected, "dials while it is connected");
                    self.dialing = true;
                }
                Effect::Close => {
                    (self.dialing, self.connected) = (false, false);
                    self.arrived.clear();
                    self.unanswered.clear();
                    self.input.clear();
                }
                Effect::Done(id, _) => self.outcomes[id] += 1,
                Effect::Count(Count::Sent) => self.open += 1,
                Effect::Count(Count::Answered { .. }) => self.open -= 1,
                Effect::Count(Count::Unanswered(count)) => self.open -= count,
            }
        }
        assert!(self.outcomes.iter().all(|outcomes| *outcomes <= 1), "a call has two outcomes");
    }
}

/// What a broker says it can do: all, or all but for one API.
fn versions(input: &mut Input<'_>) -> Vec<ApiVersion> {
    let odd = input.byte();
    let entries = ApiKey::ALL.iter().zip(0..).map(|(key, at)| {
        let ours = key.supported();
        let (min_version, max_version) = if at == odd { (9, 1) } else { (0, ours.max) };
        ApiVersion { api_key: key.number(), min_version, max_version, ..ApiVersion::default() }
    });
    entries.collect()
}

/// An answer of zeros: the smallest of any API and version, or none at all.
fn empty(key: ApiKey, received: &Received) -> Bytes {
    let body = vec![0; 64];
    let response = Response::decode(key, received.version, body.into());
    let frame = response
        .ok()
        .and_then(|response| response.encode_frame(received.version, received.correlation_id).ok());
    frame.map(|frame| frame.into_bytes()).unwrap_or_default()
}

fn place(port: u16) -> Place {
    Place { address: Address { host: Str::from("b"), port }, expected: None }
}

fn refused() -> Error {
    let (peer, detail) = ("b:1".to_owned(), "refused".to_owned());
    ErrorKind::Io { peer, kind: io::ErrorKind::ConnectionRefused, detail }.into()
}
