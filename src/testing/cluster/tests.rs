//! The cluster served: over TCP and in memory.
#![cfg(test)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::net::transport::Stream;
use crate::testing::transaction::TransactionState;
use crate::wire::batch::BatchBuilder;
use crate::wire::calls::{Request, Response};
use crate::wire::compress::{Codec, Compression};
use crate::wire::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use crate::wire::messages::fetch_request::{FetchPartition, FetchTopic};
use crate::wire::messages::metadata_request::MetadataRequestTopic;
use crate::wire::messages::produce_request::{PartitionProduceData, TopicProduceData};
use crate::wire::messages::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, EndTxnRequest, EndTxnResponse, FetchRequest,
    FetchResponse, InitProducerIdRequest, InitProducerIdResponse, MetadataRequest, MetadataResponse,
    ProduceRequest, ProduceResponse,
};

struct Peer(Box<dyn Stream>);

impl Peer {
    async fn connect(cluster: &Cluster, node: usize) -> io::Result<Self> {
        let transport = cluster.transport();
        let (host, port) =
            cluster.bootstrap()[node].rsplit_once(':').map(|(h, p)| (h.to_owned(), p.parse())).unwrap();
        let addresses = transport.resolve(&host, port.unwrap()).await?;
        Ok(Self(transport.connect(addresses[0]).await?))
    }

    async fn send(&mut self, version: i16, request: impl Into<Request>) {
        let mut frame = request.into().encode_frame(version, 1, None).unwrap();
        self.0.write_all_buf(&mut frame).await.unwrap();
    }

    async fn receive<R: TryFrom<Response>>(&mut self, version: i16, request: impl Into<Request>) -> R
    where
        R::Error: std::fmt::Debug,
    {
        let length = self.0.read_i32().await.unwrap();
        let mut frame = BytesMut::zeroed(usize::try_from(length).unwrap());
        self.0.read_exact(&mut frame).await.unwrap();
        Response::decode_frame(request.into().key(), version, frame.freeze()).unwrap().try_into().unwrap()
    }

    async fn ask<R: TryFrom<Response>>(&mut self, version: i16, request: impl Into<Request>) -> R
    where
        R::Error: std::fmt::Debug,
    {
        let request = request.into();
        self.send(version, request.clone()).await;
        self.receive(version, request).await
    }

    async fn is_closed(&mut self) -> bool {
        !matches!(self.0.read(&mut [0]).await, Ok(1..))
    }
}

fn produce(value: &str) -> ProduceRequest {
    let mut builder = BatchBuilder::new(0, 1 << 10);
    builder.append(1_000, None, Some(value.as_bytes()), &[]).unwrap();
    let records = builder.seal(Compression::new(Codec::None)).unwrap().bytes().clone();
    let data = PartitionProduceData { records: Some(records), ..Default::default() };
    let topic = TopicProduceData { name: "t".into(), partition_data: vec![data], ..Default::default() };
    ProduceRequest { acks: -1, topic_data: vec![topic], ..Default::default() }
}

fn fetch(max_wait_ms: i32, fetch_offset: i64) -> FetchRequest {
    let partition = FetchPartition { fetch_offset, partition_max_bytes: 1 << 20, ..Default::default() };
    let topic = FetchTopic { topic: "t".into(), partitions: vec![partition], ..Default::default() };
    FetchRequest { max_wait_ms, min_bytes: 1, max_bytes: 1 << 20, topics: vec![topic], ..Default::default() }
}

fn fetched(response: &FetchResponse) -> usize {
    response.responses[0].partitions[0].records.as_ref().map_or(0, Bytes::len)
}

async fn writes_and_reads(cluster: &Cluster) {
    let leader = cluster.leader("t", 0).await.unwrap().unwrap();
    let node = usize::try_from(leader.0 - 1).unwrap();
    let (mut writer, mut reader) =
        (Peer::connect(cluster, node).await.unwrap(), Peer::connect(cluster, node).await.unwrap());
    let topics = vec![MetadataRequestTopic { name: Some("t".into()), ..Default::default() }];
    let request = MetadataRequest { topics: Some(topics), ..Default::default() };
    let metadata: MetadataResponse = writer.ask(9, request).await;
    let nodes = metadata.brokers.iter().map(|node| format!("{}:{}", node.host, node.port));
    assert_eq!(nodes.collect::<Vec<_>>(), cluster.bootstrap());

    reader.send(12, fetch(60_000, 0)).await;
    let written: ProduceResponse = writer.ask(9, produce("value")).await;
    assert_eq!(written.responses[0].partition_responses[0].error_code, 0);
    let read: FetchResponse = reader.receive(12, fetch(0, 0)).await;
    assert!(fetched(&read) > 0);
    assert_eq!(cluster.log_end_offset("t", 0).await.unwrap(), Some(1));
}

#[tokio::test]
async fn a_cluster_serves_over_tcp() {
    let cluster = Cluster::builder().nodes(3).topic("t", 1).start().await.unwrap();
    writes_and_reads(&cluster).await;
    cluster.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_cluster_serves_in_memory_on_a_paused_clock() {
    let cluster = Cluster::builder().nodes(3).topic("t", 1).in_memory().start().await.unwrap();
    writes_and_reads(&cluster).await;
    let leader = cluster.leader("t", 0).await.unwrap().unwrap();
    let mut reader = Peer::connect(&cluster, usize::try_from(leader.0 - 1).unwrap()).await.unwrap();
    let clock = crate::net::clock::Clock::start();
    let before = clock.now();
    let empty: FetchResponse = reader.ask(12, fetch(60_000, 1)).await;
    assert_eq!(fetched(&empty), 0);
    assert_eq!(clock.now(), before.after(Duration::from_secs(60)));
}

async fn stops_and_starts(cluster: &Cluster) {
    let mut peer = Peer::connect(cluster, 0).await.unwrap();
    let _: MetadataResponse = peer.ask(9, MetadataRequest::default()).await;
    cluster.stop_node(1).await.unwrap();
    cluster.stop_node(1).await.unwrap();
    assert!(peer.is_closed().await);
    assert_eq!(cluster.leader("t", 0).await.unwrap(), Some(NodeId(2)));
    let refused = Peer::connect(cluster, 0).await.map(|_| ()).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    cluster.start_node(1).await.unwrap();
    cluster.start_node(1).await.unwrap();
    let mut again = Peer::connect(cluster, 0).await.unwrap();
    let metadata: MetadataResponse = again.ask(9, MetadataRequest::default()).await;
    assert_eq!(metadata.brokers.len(), 2);
    cluster.move_leader("t", 0, 1).await.unwrap();
    assert_eq!(cluster.leader("t", 0).await.unwrap(), Some(NodeId(1)));
}

#[tokio::test]
async fn a_node_stops_and_starts_over_tcp() {
    stops_and_starts(&Cluster::builder().nodes(2).topic("t", 2).start().await.unwrap()).await;
}

#[tokio::test]
async fn a_node_stops_and_starts_in_memory() {
    stops_and_starts(&Cluster::builder().nodes(2).topic("t", 2).in_memory().start().await.unwrap()).await;
}

#[tokio::test]
async fn bytes_that_are_no_frame_close_the_connection() {
    let cluster = Cluster::builder().start().await.unwrap();
    for bytes in [&[0xff; 4][..], b"GET / HTTP/1.1\r\n\r\n", &[0, 0, 0, 1, 0]] {
        let mut peer = Peer::connect(&cluster, 0).await.unwrap();
        peer.0.write_all(bytes).await.unwrap();
        assert!(peer.is_closed().await, "{bytes:?}");
    }
}

#[tokio::test]
async fn requests_may_be_pipelined_and_arrive_in_pieces() {
    let cluster = Cluster::builder().topic("t", 1).in_memory().start().await.unwrap();
    let mut peer = Peer::connect(&cluster, 0).await.unwrap();
    let mut bytes = BytesMut::new();
    for value in ["a", "b", "c"] {
        let mut frame = Request::from(produce(value)).encode_frame(9, 1, None).unwrap();
        let length = frame.remaining();
        bytes.extend_from_slice(&frame.copy_to_bytes(length));
    }
    for piece in bytes.chunks(7) {
        peer.0.write_all(piece).await.unwrap();
        tokio::task::yield_now().await;
    }
    for base in 0..3 {
        let response: ProduceResponse = peer.receive(9, produce("")).await;
        assert_eq!(response.responses[0].partition_responses[0].base_offset, base);
    }
}

#[tokio::test]
async fn a_dropped_cluster_closes_everything() {
    let cluster = Cluster::builder().start().await.unwrap();
    let address = cluster.bootstrap().remove(0);
    let mut peer = Peer::connect(&cluster, 0).await.unwrap();
    drop(cluster);
    assert!(peer.is_closed().await);
    drop(peer);
    while tokio::net::TcpStream::connect(&address).await.is_ok() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn transactions_are_seen_while_their_markers_are_held_back() {
    let cluster = Cluster::builder().transaction_version(1).topic("t", 1).start().await.unwrap();
    let mut producer = Peer::connect(&cluster, 0).await.unwrap();
    let id = InitProducerIdRequest {
        transactional_id: Some("tx".into()),
        transaction_timeout_ms: 1_000,
        producer_id: -1,
        producer_epoch: -1,
        ..Default::default()
    };
    let begun: InitProducerIdResponse = producer.ask(4, id).await;
    let topic = AddPartitionsToTxnTopic { name: "t".into(), partitions: vec![0], ..Default::default() };
    let add = AddPartitionsToTxnRequest {
        v3_and_below_transactional_id: "tx".into(),
        v3_and_below_producer_id: begun.producer_id,
        v3_and_below_topics: vec![topic],
        ..Default::default()
    };
    let _: AddPartitionsToTxnResponse = producer.ask(3, add).await;
    cluster.hold_transaction_markers(true).await.unwrap();
    let end = EndTxnRequest {
        transactional_id: "tx".into(),
        producer_id: begun.producer_id,
        committed: true,
        ..Default::default()
    };
    let ended: EndTxnResponse = producer.ask(4, end).await;
    assert_eq!(ended.error_code, 0);
    let seen = cluster.transactions().await.unwrap().remove(0);
    assert_eq!((seen.transactional_id.as_str(), seen.state), ("tx", TransactionState::PrepareCommit));
    assert_eq!((seen.producer_id, seen.producer_epoch), (begun.producer_id, 0));
    assert_eq!(seen.partitions, [TopicPartition::new("t", 0)]);
    assert_eq!(seen.timeout, Duration::from_secs(1));
    assert_eq!(cluster.log_end_offset("t", 0).await.unwrap(), Some(0));
    cluster.hold_transaction_markers(false).await.unwrap();
    let seen = cluster.transactions().await.unwrap().remove(0);
    assert_eq!((seen.state, seen.partitions), (TransactionState::CompleteCommit, Vec::new()));
    assert_eq!(cluster.log_end_offset("t", 0).await.unwrap(), Some(1));
}

#[tokio::test]
async fn mistakes_in_the_plan_are_typed_errors() {
    let broker = |error: Error| match error.kind() {
        ErrorKind::Broker { code, .. } => *code,
        other => panic!("{other:?}"),
    };
    for (builder, code) in [
        (Cluster::builder().nodes(0), Code::INVALID_REQUEST),
        (Cluster::builder().nodes(101), Code::INVALID_REQUEST),
        (Cluster::builder().topic("a/b", 1), Code::INVALID_TOPIC_EXCEPTION),
        (Cluster::builder().topic("t", 0), Code::INVALID_PARTITIONS),
        (Cluster::builder().topic("t", 1).topic("t", 1), Code::TOPIC_ALREADY_EXISTS),
        (Cluster::builder().topic_with("t", 1, &[("no.such", "1")]), Code::INVALID_CONFIG),
        (Cluster::builder().transaction_version(3), Code::INVALID_UPDATE_VERSION),
    ] {
        assert_eq!(broker(builder.in_memory().start().await.unwrap_err()), code);
    }
    let cluster = Cluster::builder().topic("t", 1).in_memory().start().await.unwrap();
    assert_eq!(broker(cluster.stop_node(7).await.unwrap_err()), Code::BROKER_ID_NOT_REGISTERED);
    assert_eq!(broker(cluster.start_node(7).await.unwrap_err()), Code::BROKER_ID_NOT_REGISTERED);
    assert_eq!(broker(cluster.move_leader("t", 0, 2).await.unwrap_err()), Code::INELIGIBLE_REPLICA);
    assert_eq!(broker(cluster.move_leader("t", 1, 1).await.unwrap_err()), Code::INELIGIBLE_REPLICA);
}

#[test]
fn a_cluster_needs_a_runtime() {
    let mut start = std::pin::pin!(Cluster::builder().start());
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let std::task::Poll::Ready(Err(error)) = start.as_mut().poll(&mut context) else { panic!("it waits") };
    assert!(matches!(error.kind(), ErrorKind::NoRuntime { .. }));
}

#[tokio::test]
async fn clients_are_told_the_advertised_address() {
    let cluster = Cluster::builder().nodes(2).start().await.unwrap();
    cluster.advertise(1, "proxy.example", 7).await.unwrap();
    cluster.stop_node(1).await.unwrap();
    cluster.start_node(1).await.unwrap();
    let mut peer = Peer::connect(&cluster, 0).await.unwrap();
    let answer: MetadataResponse = peer.ask(9, MetadataRequest::default()).await;
    let told = |id: i32| answer.brokers.iter().find(|broker| broker.node_id == id).unwrap();
    assert_eq!((told(1).host.as_str(), told(1).port), ("proxy.example", 7));
    assert!(cluster.bootstrap()[1].ends_with(&format!(":{}", told(2).port)), "the other keeps its own");
    assert!(cluster.advertise(3, "proxy.example", 7).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn partitions_are_added_and_never_taken_away() {
    let cluster = Cluster::builder().nodes(3).topic("t", 2).in_memory().start().await.unwrap();
    for (topic, total, code) in [
        ("nobody", 3, Code::UNKNOWN_TOPIC_OR_PARTITION),
        ("t", 2, Code::INVALID_PARTITIONS),
        ("t", 1, Code::INVALID_PARTITIONS),
        ("t", usize::MAX, Code::INVALID_PARTITIONS),
    ] {
        assert_eq!(
            cluster.add_partitions(topic, total).await.unwrap_err().code(),
            Some(code),
            "{topic} {total}"
        );
    }
    cluster.add_partitions("t", 5).await.unwrap();
    for partition in 0..5 {
        assert!(cluster.leader("t", partition).await.unwrap().is_some(), "{partition}");
    }
    assert_eq!(cluster.log_end_offset("t", 5).await.unwrap(), None);
}
