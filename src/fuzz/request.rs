//! Requests to the embedded broker.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::{Buf, Bytes};

use super::input::{Input, start};
use crate::engine::machine::Now;
use crate::testing::broker::{Broker, ConnectionId, Reaction};
use crate::testing::{Limits, Settings};
use crate::types::NodeId;
use crate::wire::calls::{Request, RequestError, Response, correlation_id, decode_request};
use crate::wire::crc::crc32c;
use crate::wire::messages::join_group_request::JoinGroupRequestProtocol;
use crate::wire::messages::leave_group_request::MemberIdentity;
use crate::wire::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use crate::wire::messages::produce_request::{PartitionProduceData, TopicProduceData};
use crate::wire::messages::sync_group_request::SyncGroupRequestAssignment;
use crate::wire::messages::{
    HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, OffsetCommitRequest, ProduceRequest,
    SyncGroupRequest,
};
use crate::wire::str::Str;
use crate::wire::versions::ApiKey;

const NODES: i32 = 2;
const CONNECTIONS: usize = 4;
const GROUP: &str = "g";
const STEPS: usize = 300;
/// After so many deadlines nothing waits any more.
const SETTLING: usize = 10_000;

/// Clients gone wild on a cluster of two nodes: every request is answered in its API and version, or its connection
/// closes, and what the cluster holds stays consistent.
///
/// Input: steps, each a byte for its kind and what the kind needs; see `Wild::step`.
pub fn request(input: &[u8]) {
    let mut input = Input::new(input);
    let mut wild = Wild::new();
    for _ in 0..STEPS {
        if input.is_empty() {
            break;
        }
        wild.step(&mut input);
    }
    wild.settle();
}

struct Wild {
    broker: Broker,
    now: Now,
    connections: [Option<ConnectionId>; CONNECTIONS],
    opened: u64,
    /// What was asked on each connection and is not answered.
    asked: BTreeMap<ConnectionId, VecDeque<Asked>>,
    /// Member ids that were given out, and the newest generation.
    members: Vec<Str>,
    generation: i32,
}

/// How the answer to a request is to be read.
#[derive(Debug)]
enum Asked {
    /// Key, version and correlation id.
    Answer(ApiKey, i16, i32),
    Silence,
    /// The connection is to be closed.
    Close,
}

impl Wild {
    fn new() -> Self {
        let limits = Limits {
            topics: 8,
            partitions_per_topic: 8,
            log_bytes: 1 << 20,
            decompressed_batch_bytes: 1 << 20,
            producers_per_partition: 3,
            groups: 3,
            offsets_per_group: 10,
            transactional_ids: 3,
            journal_entries: 10,
            queued_requests: 20,
            ..Limits::default()
        };
        let settings = Settings { group_max_size: 5, fetch_sessions: 3, ..Settings::default() };
        let mut broker = Broker::new(settings, limits, 7);
        for node in 1..=NODES {
            broker.add_node(NodeId(node), "10.0.0.1", 9092, None);
        }
        let now = start();
        broker.create_topic(now, "t", 2, &[]).expect("a legal topic");
        Self {
            broker,
            now,
            connections: [None; CONNECTIONS],
            opened: 0,
            asked: BTreeMap::new(),
            members: vec![Str::default()],
            generation: -1,
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.below(8) {
            0 => {
                let connection = input.below(CONNECTIONS);
                let frame = Bytes::copy_from_slice(input.bytes());
                self.send(connection, frame);
            }
            1 => {
                let connection = input.below(CONNECTIONS);
                let key = input.pick(ApiKey::ALL);
                let versions = key.supported();
                let version = versions.min + i16::from(input.byte()) % (versions.max - versions.min + 1);
                self.send(connection, with_header(key, version, input.bytes()));
            }
            2 => self.produce(input),
            3 | 4 => self.member(input),
            5 => self.pass(Duration::from_millis(u64::from(input.i16().unsigned_abs()))),
            6 => {
                if let Some(open) = self.connections[input.below(CONNECTIONS)].take() {
                    self.broker.connection_closed(self.now, open);
                    self.asked.remove(&open);
                }
            }
            _ => {
                let node = NodeId(1 + i32::from(input.is()));
                match input.below(5) {
                    0 => self.broker.stop_node(self.now, node),
                    1 => self.broker.start_node(self.now, node),
                    2 => _ = self.broker.move_leader(self.now, "t", 0, node),
                    3 => _ = self.broker.delete_records(self.now, "t", 0, i64::from(input.byte())),
                    _ => self.broker.truncate(self.now, "t", 0, i64::from(input.byte())),
                }
            }
        }
        self.look();
    }

    fn pass(&mut self, duration: Duration) {
        self.now = self.now.after(duration);
        self.broker.tick(self.now);
    }

    /// Sends over a connection, to node 1 or 2 in turn, which is opened if it has to be.
    fn send(&mut self, at: usize, frame: Bytes) {
        let open = self.connections[at].unwrap_or_else(|| {
            self.opened += 1;
            ConnectionId(self.opened)
        });
        if self.connections[at].is_none() {
            let node = NodeId(1 + i32::try_from(at).unwrap_or(0) % NODES);
            if !self.broker.connection_opened(node, open) {
                return;
            }
            self.connections[at] = Some(open);
            self.asked.insert(open, VecDeque::new());
        }
        self.asked.entry(open).or_default().push_back(Asked::of(frame.clone()));
        self.broker.request(self.now, open, frame);
    }

    fn send_request(&mut self, at: usize, request: impl Into<Request>, version: i16) {
        let request = request.into();
        let frame = request.encode_frame(version, 5, None).expect("a legal request");
        let mut frame = frame.into_bytes();
        frame.advance(4);
        self.send(at, frame);
    }

    /// Produces a batch whose length, magic and checksum are right, whatever the rest is.
    fn produce(&mut self, input: &mut Input<'_>) {
        let connection = input.below(CONNECTIONS);
        let acks = input.pick(&[-1, 1, 0]);
        let index = i32::from(input.byte() % 3);
        let mut batch = input.bytes().to_vec();
        batch.resize(batch.len().max(61), 0);
        let length = u32::try_from(batch.len() - 12).unwrap_or(0);
        batch[8..12].copy_from_slice(&length.to_be_bytes());
        batch[16] = 2;
        let crc = crc32c(&batch[21..]);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
        let data = PartitionProduceData { index, records: Some(batch.into()), ..Default::default() };
        let topic = TopicProduceData { name: "t".into(), partition_data: vec![data], ..Default::default() };
        let request = ProduceRequest { acks, timeout_ms: 100, topic_data: vec![topic], ..Default::default() };
        self.send_request(connection, request, 9);
    }

    /// A call of a group's member, with ids and generations that the group gave out, or nearly.
    fn member(&mut self, input: &mut Input<'_>) {
        let connection = input.below(CONNECTIONS);
        let caller = Caller {
            member_id: self.members[input.below(self.members.len())].clone(),
            generation_id: self.generation.saturating_add(input.pick(&[0, 0, 0, -1, 1])),
            group_instance_id: input.pick(&[None, None, None, Some("i"), Some("j")]).map(Str::from),
        };
        match input.below(5) {
            0 => self.send_request(connection, caller.join(input), input.pick(&[9, 5])),
            1 => self.send_request(connection, caller.sync(input, &self.members), 5),
            2 => self.send_request(connection, caller.heartbeat(), 4),
            3 => self.send_request(connection, caller.leave(), 5),
            _ => self.send_request(connection, caller.commit(input), 8),
        }
    }

    /// Takes what the broker does, and compares it with what was asked.
    fn look(&mut self) {
        while let Some(reaction) = self.broker.reaction() {
            match reaction {
                Reaction::Reply { connection, frame } => {
                    let mut frame = frame.into_bytes();
                    assert_eq!(usize::try_from(frame.get_i32()), Ok(frame.len()));
                    self.answered(connection, frame);
                }
                Reaction::Silent { connection } => {
                    let asked = self.asked.get_mut(&connection).and_then(VecDeque::pop_front);
                    assert!(matches!(asked, Some(Asked::Silence)), "silence to {asked:?}");
                }
                Reaction::Close { connection } => {
                    self.asked.remove(&connection);
                    let at = self.connections.iter_mut().find(|open| **open == Some(connection));
                    *at.expect("an open connection is closed") = None;
                }
            }
        }
        self.broker.check();
    }

    fn answered(&mut self, connection: ConnectionId, frame: Bytes) {
        // A connection that the client has closed may still have been answered.
        let Some(asked) = self.asked.get_mut(&connection) else { return };
        let Some(Asked::Answer(key, version, id)) = asked.pop_front() else {
            panic!("an answer to what has none")
        };
        assert_eq!(correlation_id(&frame), Ok(id));
        let response = Response::decode_frame(key, version, frame);
        if let Response::JoinGroup(joined) = response.expect("an answer that can be read") {
            self.generation = joined.generation_id.max(self.generation);
            if !self.members.contains(&joined.member_id) {
                self.members.push(joined.member_id);
            }
        }
    }

    /// Lets time pass until nothing waits: then everything is answered.
    fn settle(&mut self) {
        for _ in 0..SETTLING {
            let Some(deadline) = self.broker.deadline() else { break };
            self.pass(deadline.saturating_duration_since(self.now.instant));
            self.look();
        }
        assert_eq!(self.broker.deadline(), None, "something is always due");
        for (connection, asked) in &self.asked {
            assert!(asked.is_empty(), "{connection:?} waits for ever: {asked:?}");
        }
    }
}

/// A member of a group, or who says so.
struct Caller {
    member_id: Str,
    generation_id: i32,
    group_instance_id: Option<Str>,
}

impl Caller {
    fn join(&self, input: &mut Input<'_>) -> JoinGroupRequest {
        let names = input.pick(&[&["range"][..], &["range", "sticky"], &["sticky"], &[]]);
        let protocols =
            names.iter().map(|name| JoinGroupRequestProtocol { name: (*name).into(), ..Default::default() });
        JoinGroupRequest {
            group_id: GROUP.into(),
            session_timeout_ms: 6_000 + i32::from(input.i16()),
            rebalance_timeout_ms: i32::from(input.i16()),
            member_id: self.member_id.clone(),
            group_instance_id: self.group_instance_id.clone(),
            protocol_type: input.pick(&["consumer", "consumer", "", "connect"]).into(),
            protocols: protocols.collect(),
            ..Default::default()
        }
    }

    fn sync(&self, input: &mut Input<'_>, members: &[Str]) -> SyncGroupRequest {
        let assignments = members.iter().take(input.below(4)).map(|member_id| SyncGroupRequestAssignment {
            member_id: member_id.clone(),
            assignment: Bytes::from_static(b"a"),
            ..Default::default()
        });
        SyncGroupRequest {
            group_id: GROUP.into(),
            generation_id: self.generation_id,
            member_id: self.member_id.clone(),
            group_instance_id: self.group_instance_id.clone(),
            protocol_type: Some("consumer".into()),
            assignments: assignments.collect(),
            protocol_name: Some(input.pick(&["range", "sticky"]).into()),
            ..Default::default()
        }
    }

    fn heartbeat(self) -> HeartbeatRequest {
        let Self { member_id, generation_id, group_instance_id } = self;
        HeartbeatRequest {
            group_id: GROUP.into(),
            generation_id,
            member_id,
            group_instance_id,
            ..Default::default()
        }
    }

    fn leave(self) -> LeaveGroupRequest {
        let Self { member_id, group_instance_id, .. } = self;
        let member = MemberIdentity { member_id, group_instance_id, ..Default::default() };
        LeaveGroupRequest { group_id: GROUP.into(), members: vec![member], ..Default::default() }
    }

    fn commit(self, input: &mut Input<'_>) -> OffsetCommitRequest {
        let partition = OffsetCommitRequestPartition {
            partition_index: i32::from(input.byte()),
            committed_offset: i64::from(input.i32()),
            ..Default::default()
        };
        let topic =
            OffsetCommitRequestTopic { name: "t".into(), partitions: vec![partition], ..Default::default() };
        OffsetCommitRequest {
            group_id: GROUP.into(),
            generation_id_or_member_epoch: self.generation_id,
            member_id: self.member_id,
            group_instance_id: self.group_instance_id,
            topics: vec![topic],
            ..Default::default()
        }
    }
}

impl Asked {
    fn of(frame: Bytes) -> Self {
        match decode_request(frame) {
            Ok(received) => match &received.request {
                Request::Produce(produce) if produce.acks == 0 => Self::Silence,
                request => Self::Answer(request.key(), received.version, received.correlation_id),
            },
            Err(RequestError::UnsupportedVersion { key: ApiKey::ApiVersions, correlation_id, .. }) => {
                Self::Answer(ApiKey::ApiVersions, 0, correlation_id)
            }
            Err(_) => Self::Close,
        }
    }
}

/// A body with the header that belongs before it.
fn with_header(key: ApiKey, version: i16, body: &[u8]) -> Bytes {
    let mut frame = [key.number().to_be_bytes(), version.to_be_bytes()].concat();
    // Correlation id 9, no client id, and in flexible versions no tagged fields.
    frame.extend_from_slice(&[0, 0, 0, 9, 0xff, 0xff]);
    if key.request_header_version(version) >= 2 {
        frame.push(0);
    }
    frame.extend_from_slice(body);
    frame.into()
}
