//! The proxy between a scripted client and a scripted broker.
#![cfg(test)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use super::*;

/// Nothing here takes long; it is a failure that takes as long as this.
const PATIENCE: Duration = Duration::from_secs(20);
const PRODUCE: i16 = 0;
const FETCH: i16 = 1;

struct Scene {
    proxy: Proxy,
    upstream: TcpListener,
}

/// The two ends of a connection through the proxy.
struct Ends {
    client: TcpStream,
    broker: TcpStream,
}

impl Scene {
    async fn new() -> Self {
        let proxy = Proxy::bind(2).await.unwrap();
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        for node in [1, 2] {
            proxy.forward(node, upstream.local_addr().unwrap().to_string());
        }
        Self { proxy, upstream }
    }

    async fn connect(&self, node: i32) -> Ends {
        let client = TcpStream::connect(("127.0.0.1", self.proxy.port(node))).await.unwrap();
        let (broker, _) = timeout(PATIENCE, self.upstream.accept()).await.unwrap().unwrap();
        Ends { client, broker }
    }

    fn when(&self, condition: Condition, reaction: Reaction) -> Hits {
        self.proxy.add(Rule::new(condition, reaction))
    }
}

/// A request, or with eight bytes less an answer.
fn frame(head: &[&[u8]], body: &[u8]) -> Vec<u8> {
    let rest = [head.concat(), body.to_vec()].concat();
    [u32::try_from(rest.len()).unwrap().to_be_bytes().to_vec(), rest].concat()
}

fn request(api: i16, correlation: i32, body: &[u8]) -> Vec<u8> {
    frame(&[&api.to_be_bytes(), &9_i16.to_be_bytes(), &correlation.to_be_bytes()], body)
}

fn answer(correlation: i32, body: &[u8]) -> Vec<u8> {
    frame(&[&correlation.to_be_bytes()], body)
}

async fn read(stream: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    timeout(PATIENCE, stream.read_exact(&mut bytes)).await.unwrap().unwrap();
    bytes
}

/// Everything until the stream ends, and how.
async fn read_to_end(stream: &mut TcpStream) -> (Vec<u8>, Option<io::ErrorKind>) {
    let mut bytes = Vec::new();
    let ended = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.unwrap();
    (bytes, ended.err().map(|error| error.kind()))
}

impl Ends {
    async fn ask(&mut self, request: &[u8]) {
        self.client.write_all(request).await.unwrap();
    }

    /// A request and its answer pass unchanged.
    async fn passes(&mut self, correlation: i32, body: &[u8]) {
        let (request, answer) = (request(PRODUCE, correlation, body), answer(correlation, body));
        self.ask(&request).await;
        assert_eq!(read(&mut self.broker, request.len()).await, request);
        self.broker.write_all(&answer).await.unwrap();
        assert_eq!(read(&mut self.client, answer.len()).await, answer);
    }
}

const RESET: Option<io::ErrorKind> = Some(io::ErrorKind::ConnectionReset);

#[tokio::test]
async fn without_rules_everything_passes_unchanged() {
    let scene = Scene::new().await;
    let mut ends = scene.connect(1).await;
    for (correlation, length) in [(1, 0), (2, 1), (3, 300_000)] {
        ends.passes(correlation, &vec![7; length]).await;
    }
    // Frames arrive in any pieces, and several at once.
    let two = [request(FETCH, 4, b"ab"), request(PRODUCE, 5, b"cd")].concat();
    for byte in &two {
        ends.ask(&[*byte]).await;
    }
    assert_eq!(read(&mut ends.broker, two.len()).await, two);
    drop(ends.client);
    assert_eq!(read_to_end(&mut ends.broker).await, (vec![], None));
}

#[tokio::test]
async fn what_a_broker_sent_before_it_closed_arrives() {
    let scene = Scene::new().await;
    let mut ends = scene.connect(1).await;
    let sent = answer(1, &[7; 100_000]);
    ends.broker.write_all(&sent).await.unwrap();
    drop(ends.broker);
    assert_eq!(read_to_end(&mut ends.client).await, (sent, None));
}

#[tokio::test]
async fn bytes_that_are_no_frame_end_the_connection() {
    let scene = Scene::new().await;
    let mut ends = scene.connect(1).await;
    ends.ask(&[0xff; 12]).await;
    assert_eq!(read_to_end(&mut ends.broker).await, (vec![], None));
}

#[tokio::test]
async fn only_the_requests_that_meet_the_condition_are_hit() {
    let scene = Scene::new().await;
    let condition = Condition::Node(2).and(Condition::Api(PRODUCE)).and(Condition::Request(2));
    let hits = scene.when(condition, Reaction::Cut);
    let (mut other, mut ends) = (scene.connect(1).await, scene.connect(2).await);
    for correlation in [1, 2, 3] {
        other.passes(correlation, b"x").await;
    }
    ends.passes(1, b"x").await;
    assert_eq!(hits.count(), 0);
    ends.ask(&request(PRODUCE, 2, b"x")).await;
    assert_eq!(read_to_end(&mut ends.client).await, (vec![], None));
    assert_eq!(read_to_end(&mut ends.broker).await, (vec![], None), "the request is not passed on");
    assert_eq!(hits.count(), 1);
}

#[tokio::test]
async fn a_connection_is_reset_in_a_request_or_after_it() {
    let whole = request(PRODUCE, 1, &[7; 100]);
    for (reaction, passed) in
        [(Reaction::ResetInRequest, 12 + 50), (Reaction::ResetAfterRequest, whole.len())]
    {
        let scene = Scene::new().await;
        scene.when(Condition::Any, reaction);
        let mut ends = scene.connect(1).await;
        ends.ask(&whole).await;
        assert_eq!(read_to_end(&mut ends.client).await, (vec![], RESET), "{reaction:?}");
        assert_eq!(read_to_end(&mut ends.broker).await.0, whole[..passed], "{reaction:?}");
    }
}

#[tokio::test]
async fn an_answer_is_dropped_after_the_broker_gave_it() {
    let scene = Scene::new().await;
    let hits = scene.when(Condition::Request(1), Reaction::DropAnswer);
    let mut ends = scene.connect(1).await;
    let first = request(PRODUCE, 1, b"x");
    ends.ask(&first).await;
    assert_eq!(read(&mut ends.broker, first.len()).await, first);
    ends.broker.write_all(&answer(1, &[7; 50_000])).await.unwrap();
    ends.passes(2, b"the next passes").await;
    assert_eq!(hits.count(), 1);
}

#[tokio::test]
async fn a_connection_is_reset_in_an_answer_or_instead_of_it() {
    let whole = answer(1, &[7; 100]);
    for (reaction, passed) in [(Reaction::ResetInAnswer, 8 + 50), (Reaction::ResetInsteadOfAnswer, 0)] {
        let scene = Scene::new().await;
        scene.when(Condition::Any, reaction);
        let mut ends = scene.connect(1).await;
        let asked = request(PRODUCE, 1, b"x");
        ends.ask(&asked).await;
        assert_eq!(read(&mut ends.broker, asked.len()).await, asked, "{reaction:?}");
        ends.broker.write_all(&whole).await.unwrap();
        let (read, end) = read_to_end(&mut ends.client).await;
        assert_eq!(end, RESET, "{reaction:?}");
        // A reset may overtake bytes before it.
        assert!(whole[..passed].starts_with(&read), "{reaction:?}: {read:?}");
    }
}

#[tokio::test]
async fn one_byte_of_a_body_is_corrupted() {
    let differing = |left: &[u8], right: &[u8]| -> Vec<usize> {
        assert_eq!(left.len(), right.len());
        (0..left.len()).filter(|&index| left[index] != right[index]).collect()
    };
    let scene = Scene::new().await;
    scene.when(Condition::Api(PRODUCE), Reaction::CorruptRequest);
    scene.when(Condition::Api(FETCH), Reaction::CorruptAnswer);
    let mut ends = scene.connect(1).await;
    // The byte lies in the third piece that travels.
    let body = vec![7; 5 * pipe::CHUNK];
    let sent = request(PRODUCE, 1, &body);
    ends.ask(&sent).await;
    assert_eq!(differing(&read(&mut ends.broker, sent.len()).await, &sent), [12 + body.len() / 2]);

    let (sent, back) = (request(FETCH, 2, b"x"), answer(2, &body));
    ends.ask(&sent).await;
    assert_eq!(read(&mut ends.broker, sent.len()).await, sent);
    ends.broker.write_all(&back).await.unwrap();
    assert_eq!(differing(&read(&mut ends.client, back.len()).await, &back), [8 + body.len() / 2]);
}

#[tokio::test]
async fn a_stalled_connection_stays_open_and_silent() {
    let scene = Scene::new().await;
    scene.when(Condition::Connection(1), Reaction::Stall);
    let (mut stalled, mut other) = (scene.connect(1).await, scene.connect(1).await);
    stalled.ask(&request(PRODUCE, 1, b"x")).await;
    stalled.broker.write_all(&answer(9, b"x")).await.unwrap();
    for correlation in 1..=50 {
        other.passes(correlation, b"x").await;
    }
    let mut byte = [0];
    assert_eq!(stalled.broker.try_read(&mut byte).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    drop(scene.proxy);
    assert_eq!(read_to_end(&mut stalled.broker).await.0, Vec::<u8>::new(), "it ends with the proxy");
}

#[tokio::test]
async fn without_a_way_on_connections_are_closed() {
    let proxy = Proxy::bind(1).await.unwrap();
    let mut client = TcpStream::connect(proxy.bootstrap()).await.unwrap();
    assert_eq!(read_to_end(&mut client).await, (vec![], None));
    assert_eq!((proxy.port(0), proxy.port(2)), (0, 0));
}
