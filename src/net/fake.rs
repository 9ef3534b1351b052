//! An in-memory network with hand-made brokers, for tests of the drivers.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::{
    collections::HashMap,
    fmt,
    future::Future,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::transport::{BoxFuture, Stream, Transport};
use crate::{
    sync::lock,
    wire::{
        calls::{Received, Request, Response, decode_request},
        frame::FrameDecoder,
        messages::{
            ApiVersionsResponse, MetadataRequest, MetadataResponse,
            api_versions_response::ApiVersion,
            metadata_response::{MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic},
        },
        str::Str,
        versions::ApiKey,
    },
};

type Listener = Arc<dyn Fn(Peer) -> BoxFuture<'static, ()> + Send + Sync>;

/// Hosts named by a number, such as `b1`, with one listener on each port.
#[derive(Clone, Default)]
pub(crate) struct Network {
    listeners: Arc<Mutex<HashMap<SocketAddr, Listener>>>,
    connections: Arc<AtomicUsize>,
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Network")
    }
}

impl Network {
    /// What happens on each connection to `address`, which is `b1:9092` or the like.
    pub(crate) fn listen<F>(&self, address: &str, script: impl Fn(Peer) -> F + Send + Sync + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (host, port) = address.split_once(':').unwrap();
        let resolved = resolved(host, port.parse().unwrap()).unwrap();
        lock(&self.listeners).insert(resolved, Arc::new(move |peer| Box::pin(script(peer))));
    }

    /// A broker that answers `ApiVersions` and `Metadata` for a cluster of the brokers `b1:9092` to `b<brokers>:9092`,
    /// where each leads the partitions of the topic `t` in turn, and leaves everything else to `other`.
    pub(crate) fn broker(
        &self,
        address: &str,
        brokers: i32,
        other: impl Fn(&Received) -> Reply + Clone + Send + Sync + 'static,
    ) {
        self.broker_of(address, move |request| cluster(brokers, request), other);
    }

    /// Likewise, for the cluster that `view` tells of.
    pub(crate) fn broker_of(
        &self,
        address: &str,
        view: impl Fn(&MetadataRequest) -> MetadataResponse + Clone + Send + Sync + 'static,
        other: impl Fn(&Received) -> Reply + Clone + Send + Sync + 'static,
    ) {
        self.listen(address, move |mut peer| {
            let (view, other) = (view.clone(), other.clone());
            async move {
                while let Some(received) = peer.request().await {
                    let reply = match &received.request {
                        Request::ApiVersions(_) => Reply::Now(all_versions().into()),
                        Request::Metadata(request) => Reply::Now(view(request).into()),
                        _ => other(&received),
                    };
                    match reply {
                        Reply::Now(response) => peer.answer(&received, &response).await,
                        Reply::Never => {}
                        Reply::Hangup => return,
                    }
                }
            }
        });
    }

    pub(crate) fn silence(&self, address: &str) {
        self.listen(address, |peer| async move {
            let _open = peer;
            std::future::pending::<()>().await;
        });
    }

    /// Connections that were accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

pub(crate) enum Reply {
    Now(Response),
    Never,
    Hangup,
}

/// `b7` is 10.0.0.7.
fn resolved(host: &str, port: u16) -> io::Result<SocketAddr> {
    let number: u8 = host.strip_prefix('b').and_then(|n| n.parse().ok()).ok_or(io::ErrorKind::NotFound)?;
    Ok(SocketAddr::from(([10, 0, 0, number], port)))
}

impl Transport for Network {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(vec![resolved(host, port)?]) })
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            let listener = lock(&self.listeners).get(&address).cloned();
            let listener = listener.ok_or(io::ErrorKind::ConnectionRefused)?;
            let (client, server) = duplex(1 << 16);
            self.connections.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(listener(Peer { stream: server, input: BytesMut::new() }));
            Ok(Box::new(client) as Box<dyn Stream>)
        })
    }
}

/// The broker's end of a connection.
pub(crate) struct Peer {
    pub(crate) stream: DuplexStream,
    input: BytesMut,
}

impl Peer {
    /// The next request; `None` when the client has closed the connection.
    pub(crate) async fn request(&mut self) -> Option<Received> {
        let mut frames = FrameDecoder::new(64 << 20);
        loop {
            if let Some(frame) = frames.next(&mut self.input).unwrap() {
                return Some(decode_request(frame).unwrap());
            }
            if self.stream.read_buf(&mut self.input).await.ok()? == 0 {
                return None;
            }
        }
    }

    pub(crate) async fn answer(&mut self, received: &Received, response: &Response) {
        let frame = response.encode_frame(received.version, received.correlation_id).unwrap();
        self.write(&frame.into_bytes()).await;
    }

    /// Writes bytes, whatever they mean. The client may be gone.
    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        let _gone = self.stream.write_all(bytes).await;
    }

    /// Answers the handshake.
    pub(crate) async fn shake_hands(&mut self) {
        let received = self.request().await.unwrap();
        self.answer(&received, &all_versions().into()).await;
    }
}

/// Every API in the versions that we have.
pub(crate) fn all_versions() -> ApiVersionsResponse {
    let entry = |key: &ApiKey| {
        let range = key.supported();
        let (api_key, min_version, max_version) = (key.number(), range.min, range.max);
        ApiVersion { api_key, min_version, max_version, ..ApiVersion::default() }
    };
    ApiVersionsResponse {
        api_keys: ApiKey::ALL.iter().map(entry).collect(),
        ..ApiVersionsResponse::default()
    }
}

pub(crate) fn cluster(brokers: i32, request: &MetadataRequest) -> MetadataResponse {
    let broker = |node_id: i32| MetadataResponseBroker {
        node_id,
        host: Str::from(format!("b{node_id}")),
        port: 9092,
        ..MetadataResponseBroker::default()
    };
    let topic = |name: &Str| {
        let partition = |partition_index: i32| MetadataResponsePartition {
            partition_index,
            leader_id: partition_index % brokers + 1,
            leader_epoch: 1,
            ..MetadataResponsePartition::default()
        };
        let known = &**name == "t";
        MetadataResponseTopic {
            name: Some(name.clone()),
            error_code: if &**name == "secret" { 29 } else { i16::from(!known) * 3 },
            partitions: (0..if known { brokers } else { 0 }).map(partition).collect(),
            ..MetadataResponseTopic::default()
        }
    };
    let asked = request.topics.iter().flatten().filter_map(|topic| topic.name.as_ref());
    MetadataResponse {
        brokers: (1..=brokers).map(broker).collect(),
        controller_id: 1,
        cluster_id: Some(Str::from("fake")),
        topics: asked.map(topic).collect(),
        ..MetadataResponse::default()
    }
}
