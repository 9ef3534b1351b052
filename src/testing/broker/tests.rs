//! The machine, asked as a client would: encoded requests in, decoded answers out, no runtime.
#![cfg(test)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod commit;
mod consumer_groups;
mod faults;
mod fetch;
mod groups;
mod hostile;
mod offsets;
mod produce;
mod sessions;
mod share;
mod topics;
mod transactions;
mod versions;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};

use super::{Broker, ConnectionId, Reaction};
use crate::engine::machine::Now;
use crate::testing::settings::{Limits, Settings};
use crate::types::NodeId;
use crate::wire::batch::{BatchBuilder, Stamp};
use crate::wire::calls::{Request, Response};
use crate::wire::compress::{Codec, Compression};
use crate::wire::messages::fetch_request::{FetchPartition, FetchTopic};
use crate::wire::messages::produce_request::{PartitionProduceData, TopicProduceData};
use crate::wire::messages::produce_response::PartitionProduceResponse;
use crate::wire::messages::{FetchRequest, ProduceRequest, ProduceResponse};
use crate::wire::str::Str;
use crate::wire::versions::ApiKey;

/// A moment, and the wall time that belongs to it.
pub(super) const START_MS: i64 = 1_700_000_000_000;

/// A cluster, the time, and clients.
pub(super) struct World {
    pub(super) broker: Broker,
    pub(super) now: Now,
    asked: BTreeMap<ConnectionId, VecDeque<(ApiKey, i16)>>,
    answers: BTreeMap<ConnectionId, VecDeque<Response>>,
    closed: Vec<ConnectionId>,
    connections: u64,
}

impl World {
    pub(super) fn new(nodes: i32) -> Self {
        Self::with(nodes, |_, _| {})
    }

    pub(super) fn with(nodes: i32, change: impl FnOnce(&mut Settings, &mut Limits)) -> Self {
        let (mut settings, mut limits) = (Settings::default(), Limits::default());
        change(&mut settings, &mut limits);
        let mut broker = Broker::new(settings, limits, 7);
        for id in 1..=nodes {
            // Nodes 1 and 2 stand in racks of their own.
            let rack = [(1, "r1"), (2, "r2")].into_iter().find_map(|(of, rack)| (of == id).then_some(rack));
            broker.add_node(NodeId(id), "10.0.0.1", 9092, rack);
        }
        #[expect(clippy::disallowed_methods, reason = "any moment will do")]
        let now = Now { instant: Instant::now(), unix_ms: START_MS };
        Self {
            broker,
            now,
            asked: BTreeMap::new(),
            answers: BTreeMap::new(),
            closed: Vec::new(),
            connections: 0,
        }
    }

    pub(super) fn topic(&mut self, name: &str, partitions: usize, configs: &[(&str, &str)]) {
        self.broker.create_topic(self.now, name, partitions, configs).unwrap();
    }

    pub(super) fn connect(&mut self, node: i32) -> ConnectionId {
        self.connections += 1;
        let connection = ConnectionId(self.connections);
        assert!(self.broker.connection_opened(NodeId(node), connection));
        connection
    }

    pub(super) fn send(&mut self, connection: ConnectionId, version: i16, request: impl Into<Request>) {
        let request = request.into();
        let silent = matches!(&request, Request::Produce(produce) if produce.acks == 0);
        if !silent {
            self.asked.entry(connection).or_default().push_back((request.key(), version));
        }
        let client = Str::from("test");
        let mut frame = request.encode_frame(version, 42, Some(&client)).unwrap().into_bytes();
        frame.advance(4);
        self.send_bytes(connection, frame);
    }

    pub(super) fn send_bytes(&mut self, connection: ConnectionId, frame: Bytes) {
        self.broker.request(self.now, connection, frame);
        self.collect();
    }

    pub(super) fn collect(&mut self) {
        while let Some(reaction) = self.broker.reaction() {
            match reaction {
                Reaction::Reply { connection, frame } => {
                    let mut frame = frame.into_bytes();
                    let length = frame.get_i32();
                    assert_eq!(usize::try_from(length).unwrap(), frame.len());
                    let (key, version) = self.asked.get_mut(&connection).unwrap().pop_front().unwrap();
                    let response = Response::decode_frame(key, version, frame).unwrap();
                    self.answers.entry(connection).or_default().push_back(response);
                }
                Reaction::Silent { .. } => {}
                Reaction::Close { connection } => self.closed.push(connection),
            }
        }
        self.broker.check();
    }

    /// Lets time pass, in one step.
    pub(super) fn pass(&mut self, duration: Duration) {
        self.now = self.now.after(duration);
        self.broker.tick(self.now);
        self.collect();
    }

    /// The next answer of a connection, if there is one.
    pub(super) fn answer<R: TryFrom<Response>>(&mut self, connection: ConnectionId) -> Option<R>
    where
        R::Error: std::fmt::Debug,
    {
        let response = self.answers.get_mut(&connection)?.pop_front()?;
        Some(R::try_from(response).unwrap())
    }

    pub(super) fn is_closed(&self, connection: ConnectionId) -> bool {
        self.closed.contains(&connection)
    }

    /// Asks over a connection of its own and takes the answer, which must come at once.
    pub(super) fn ask<R: TryFrom<Response>>(
        &mut self,
        node: i32,
        version: i16,
        request: impl Into<Request>,
    ) -> R
    where
        R::Error: std::fmt::Debug,
    {
        let connection = self.connect(node);
        self.send(connection, version, request);
        let answer = self.answer(connection).expect("no answer");
        self.broker.connection_closed(self.now, connection);
        answer
    }

    /// Produces one batch to a partition of topic `t`, whose leader must be node 1, by id in version 13.
    pub(super) fn produce(&mut self, partition: i32, records: Bytes) -> PartitionProduceResponse {
        let request = produce_request(self, "t", partition, records, -1);
        let mut response: ProduceResponse = self.ask(1, 13, request);
        response.responses.remove(0).partition_responses.remove(0)
    }

    pub(super) fn end(&self, topic: &str) -> i64 {
        self.broker.log_range(topic, 0).unwrap().1
    }
}

/// A request for one partition; it names the topic by name and by id, and is written in the way of its version.
pub(super) fn produce_request(
    world: &World,
    topic: &str,
    partition: i32,
    records: Bytes,
    acks: i16,
) -> ProduceRequest {
    let data = PartitionProduceData { index: partition, records: Some(records), ..Default::default() };
    let topic = TopicProduceData {
        name: topic.into(),
        topic_id: world.broker.topic_id(topic).unwrap_or_default(),
        partition_data: vec![data],
        ..Default::default()
    };
    ProduceRequest { acks, timeout_ms: 1000, topic_data: vec![topic], ..Default::default() }
}

/// A fetch of one partition from an offset.
pub(super) fn fetch_request(world: &World, topic: &str, partition: i32, offset: i64) -> FetchRequest {
    let wanted = FetchPartition {
        partition,
        fetch_offset: offset,
        partition_max_bytes: 1 << 20,
        ..Default::default()
    };
    let topic = FetchTopic {
        topic: topic.into(),
        topic_id: world.broker.topic_id(topic).unwrap_or_default(),
        partitions: vec![wanted],
        ..Default::default()
    };
    FetchRequest {
        max_wait_ms: 500,
        min_bytes: 1,
        max_bytes: 50 << 20,
        session_epoch: -1,
        topics: vec![topic],
        ..Default::default()
    }
}

/// A batch of these values, one millisecond apart, without producer.
pub(super) fn batch(values: &[&str]) -> Bytes {
    build(values, None, Codec::None)
}

/// A batch of a producer.
pub(super) fn stamped(producer: (i64, i16), sequence: i32, values: &[&str]) -> Bytes {
    let stamp = Stamp {
        producer_id: producer.0,
        producer_epoch: producer.1,
        base_sequence: sequence,
        transactional: false,
    };
    build(values, Some(stamp), Codec::None)
}

pub(super) fn build(values: &[&str], stamp: Option<Stamp>, codec: Codec) -> Bytes {
    let mut builder = BatchBuilder::new(0, 1 << 20);
    for (value, at) in values.iter().zip(START_MS..) {
        builder.append(at, Some(b"key"), Some(value.as_bytes()), &[]).unwrap();
    }
    let mut sealed = builder.seal(Compression::new(codec)).unwrap();
    if let Some(stamp) = stamp {
        sealed.stamp(stamp);
    }
    sealed.bytes().clone()
}
