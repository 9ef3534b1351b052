//! The client over an in-memory network with hand-made brokers. Time is tokio's and paused.

#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, reason = "tests")]

use std::{
    mem,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    retry::{Ask, Verdict, response},
    *,
};
use crate::{
    engine::machine::{Answer, Purpose, Target, Token, deadline_after},
    error::{Code, Error},
    net::{
        fake::{Network, Peer, Reply, cluster},
        mailbox::Mailbox,
    },
    types::NodeId,
    wire::{
        calls::{Received, Request, Response},
        messages::{
            HeartbeatRequest, HeartbeatResponse, MetadataRequest, MetadataResponse, ProduceRequest,
            ProduceResponse,
            produce_request::{PartitionProduceData, TopicProduceData},
        },
    },
};

mod attempts;

const SECOND: Duration = Duration::from_secs(1);

impl Client {
    async fn call(
        &self,
        target: Target,
        purpose: Purpose,
        request: Request,
        timeout: Duration,
    ) -> Result<Answer> {
        let deadline = deadline_after(self.now(), timeout);
        let call = Call { token: Token(0), target, purpose, request, deadline, max_version: None };
        self.outcome(call).await.map_err(|failure| failure.error)
    }
}

fn metadata() -> Request {
    MetadataRequest { topics: Some(vec![]), ..MetadataRequest::default() }.into()
}

fn heartbeat() -> Request {
    HeartbeatRequest::default().into()
}

fn never(_: &Received) -> Reply {
    Reply::Never
}

fn alive(_: &Received) -> Reply {
    Reply::Now(HeartbeatResponse::default().into())
}

fn config(bootstrap: &[&str]) -> Config {
    Config::new(bootstrap.iter().copied())
}

async fn connect(network: &Network, bootstrap: &[&str]) -> Client {
    Client::connect_over(network.clone(), config(bootstrap)).await.unwrap()
}

/// A client of one broker that answers heartbeats as `other` says.
async fn one_broker(other: impl Fn(&Received) -> Reply + Clone + Send + Sync + 'static) -> (Network, Client) {
    let network = Network::default();
    network.broker("b1:9092", 1, other);
    let client = connect(&network, &["b1:9092"]).await;
    (network, client)
}

async fn beat(client: &Client, timeout: Duration) -> Result<Answer> {
    client.call(Target::Broker(NodeId(1)), Purpose::COORDINATOR, heartbeat(), timeout).await
}

/// What `Client::connect` reports for a listener that does as `script` says, and after how long.
async fn refused_by<F>(script: impl Fn(Peer) -> F + Send + Sync + 'static) -> (Error, Duration)
where
    F: Future<Output = ()> + Send + 'static,
{
    let network = Network::default();
    network.listen("b1:9092", script);
    let config = config(&["b1:9092"]).bootstrap_timeout(3 * SECOND);
    let started = Instant::now();
    let error = Client::connect_over(network, config).await.unwrap_err();
    (error, started.elapsed())
}

/// As [`refused_by`], for a listener that answers the first request with these bytes, which is told at once.
async fn refused_for(bytes: &'static [u8]) -> Error {
    let (error, after) = refused_by(move |mut peer| async move {
        let _hello = peer.request().await;
        peer.write(bytes).await;
        std::future::pending::<()>().await;
    })
    .await;
    assert!(after < SECOND, "{after:?}");
    error
}

#[tokio::test(start_paused = true)]
async fn a_call_gets_its_answer_over_a_connection_that_is_there() {
    let (network, client) = one_broker(never).await;
    let before = network.connections();
    let answer = client.call(Target::Any, Purpose::General, metadata(), SECOND).await.unwrap();
    assert!(MetadataResponse::try_from(answer.response).is_ok());
    assert_eq!(network.connections(), before);
    assert_eq!(client.snapshot().brokers().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn settings_that_cannot_stand_are_all_reported() {
    let config = Config::new([""; 0]).request_timeout(Duration::ZERO);
    let error = Client::connect_over(Network::default(), config).await.unwrap_err();
    let ErrorKind::Config { problems, .. } = error.kind() else { panic!("{error}") };
    assert_eq!(problems.iter().map(|p| p.setting).collect::<Vec<_>>(), ["bootstrap", "request_timeout"]);
}

#[tokio::test(start_paused = true)]
async fn times_without_measure_do_no_harm() {
    let network = Network::default();
    network.broker("b1:9092", 1, alive);
    let config = config(&["b1:9092"])
        .bootstrap_timeout(Duration::MAX)
        .connect_timeout(Duration::MAX)
        .request_timeout(Duration::MAX)
        .reconnect_backoff(Duration::MAX, Duration::MAX)
        .retry_backoff(Duration::MAX, Duration::MAX)
        .metadata_max_age(Duration::MAX)
        .connections_max_idle(Duration::MAX);
    let client = Client::connect_over(network, config).await.unwrap();
    beat(&client, Duration::MAX).await.unwrap();
    assert!(client.topic(&"nothing".into(), SECOND, "max_block").await.is_err());
}

#[test]
fn without_a_runtime_there_is_an_error_and_no_panic() {
    let mut connecting = std::pin::pin!(Client::connect(config(&["b1:9092"])));
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let std::task::Poll::Ready(Err(error)) = connecting.as_mut().poll(&mut cx) else { panic!() };
    assert!(matches!(error.kind(), ErrorKind::NoRuntime { call: "Client::connect", .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_cluster_is_reported_with_every_address_and_reason() {
    let network = Network::default();
    network.silence("b3:9092");
    let config = config(&["b1:9092", "nowhere:1", "b3:9092"]).bootstrap_timeout(40 * SECOND);
    let started = Instant::now();
    let error = Client::connect_over(network, config).await.unwrap_err();
    assert_eq!(started.elapsed(), 40 * SECOND);
    let ErrorKind::Unreachable { attempts, .. } = error.kind() else { panic!("{error}") };
    let mut attempts: Vec<_> = attempts.iter().map(|a| (a.address.as_str(), a.reason.as_str())).collect();
    attempts.sort_unstable();
    let [("b1:9092", refused), ("b3:9092", silent), ("nowhere:1", unresolved)] = attempts[..] else {
        panic!("{attempts:?}")
    };
    assert!(refused.contains("10.0.0.1:9092: connection refused"), "{refused}");
    assert!(silent.contains("connect_timeout") || silent.contains("no connection yet"), "{silent}");
    assert!(unresolved.contains("resolving nowhere"), "{unresolved}");
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_comes_up_late_is_waited_for() {
    let network = Network::default();
    let late = network.clone();
    tokio::spawn(async move {
        tokio::time::sleep(20 * SECOND).await;
        late.broker("b1:9092", 1, never);
    });
    let started = Instant::now();
    connect(&network, &["b1:9092"]).await;
    assert!(started.elapsed() < 27 * SECOND, "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_is_no_broker_is_recognized() {
    for (bytes, expected) in
        [(&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "HTTP"), (&[0x15, 3, 3, 0, 2, 2, 80], "TLS")]
    {
        let error = refused_for(bytes).await;
        let ErrorKind::NotKafka { peer, looks_like, .. } = error.kind() else { panic!("{error}") };
        assert_eq!((peer.as_str(), *looks_like), ("b1:9092 (10.0.0.1:9092)", expected));
    }
}

#[tokio::test(start_paused = true)]
async fn a_length_of_two_gibibytes_is_refused() {
    let error = refused_for(&[0x7f, 0xff, 0xff, 0xff, 1, 2, 3]).await;
    let ErrorKind::FrameSize { length, limit, setting, .. } = error.kind() else { panic!("{error}") };
    assert_eq!((*length, *limit, *setting), (0x7fff_ffff, 100 << 20, "receive_message_max_bytes"));
}

#[tokio::test(start_paused = true)]
async fn garbage_is_refused() {
    let error = refused_for(&[0, 0, 0, 8, 9, 9, 9, 9, 9, 9, 9, 9]).await;
    let ErrorKind::Malformed { detail, .. } = error.kind() else { panic!("{error}") };
    assert!(detail.contains("correlation id"), "{detail}");
}

#[tokio::test(start_paused = true)]
async fn where_no_address_is_a_brokers_all_are_told_at_once() {
    let network = Network::default();
    for address in ["b1:80", "b2:80"] {
        network.listen(address, |mut peer| async move { peer.write(b"HTTP/1.1 400 Bad Request").await });
    }
    let error = Client::connect_over(network, config(&["b1:80", "b2:80"])).await.unwrap_err();
    let ErrorKind::Unreachable { attempts, waited, .. } = error.kind() else { panic!("{error}") };
    assert!(attempts.len() == 2 && attempts.iter().all(|attempt| attempt.reason.contains("HTTP")));
    assert!(*waited < SECOND, "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_listener_that_closes_at_once_is_told_with_a_guess_and_not_stormed() {
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&accepted);
    let (error, after) = refused_by(move |mut peer| {
        count.fetch_add(1, Ordering::SeqCst);
        async move { drop(peer.request().await) }
    })
    .await;
    let ErrorKind::Unreachable { attempts, waited, setting, .. } = error.kind() else { panic!("{error}") };
    assert_eq!((attempts.len(), *waited, after, *setting), (1, after, 3 * SECOND, "bootstrap_timeout"));
    assert_eq!(attempts[0].address, "b1:9092");
    assert!(attempts[0].reason.contains("a listener for TLS"), "{}", attempts[0].reason);
    let accepted = accepted.load(Ordering::SeqCst);
    assert!((3..12).contains(&accepted), "{accepted} connections in three seconds");
}

#[tokio::test(start_paused = true)]
async fn a_silent_broker_costs_one_request_timeout_and_the_connection() {
    let (network, client) = one_broker(never).await;
    let before = network.connections();
    let started = Instant::now();
    let error = beat(&client, 30 * SECOND).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Timeout { setting: "request_timeout", .. }), "{error}");
    assert_eq!(started.elapsed(), 30 * SECOND);
    let again = beat(&client, SECOND).await.unwrap_err();
    assert!(matches!(again.kind(), ErrorKind::Timeout { .. }), "{again}");
    assert_eq!(network.connections(), before + 2);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_cut_off_fails_the_call_and_the_next_one_succeeds() {
    let network = Network::default();
    network.broker("b1:9092", 2, never);
    let cut = Arc::new(AtomicUsize::new(0));
    network.listen("b2:9092", move |mut peer| {
        let cut = Arc::clone(&cut);
        async move {
            peer.shake_hands().await;
            while let Some(received) = peer.request().await {
                let frame = Response::from(HeartbeatResponse::default());
                let frame =
                    frame.encode_frame(received.version, received.correlation_id).unwrap().into_bytes();
                if cut.fetch_add(1, Ordering::SeqCst) == 0 {
                    peer.write(&frame[..7]).await;
                    return;
                }
                peer.write(&frame).await;
            }
        }
    });
    let client = connect(&network, &["b1:9092"]).await;
    let beat = || client.call(Target::Broker(NodeId(2)), Purpose::COORDINATOR, heartbeat(), SECOND);
    let error = beat().await.unwrap_err();
    assert!(error.to_string().contains("in the middle of an answer"), "{error}");
    assert!(error.is_retriable());
    beat().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_call_leaves_its_neighbours_alone() {
    let network = Network::default();
    network.broker("b1:9092", 2, never);
    network.listen("b2:9092", |mut peer| async move {
        peer.shake_hands().await;
        // Both answers come after the first caller has gone.
        let (first, second) = (peer.request().await.unwrap(), peer.request().await.unwrap());
        tokio::time::sleep(5 * SECOND).await;
        peer.answer(&first, &HeartbeatResponse { error_code: 1, ..Default::default() }.into()).await;
        peer.answer(&second, &HeartbeatResponse { error_code: 2, ..Default::default() }.into()).await;
    });
    let client = connect(&network, &["b1:9092"]).await;
    let before = network.connections();
    let call = || client.call(Target::Broker(NodeId(2)), Purpose::COORDINATOR, heartbeat(), 20 * SECOND);
    let (cancelled, neighbour) = tokio::join!(tokio::time::timeout(SECOND, call()), call());
    assert!(cancelled.is_err());
    let response = HeartbeatResponse::try_from(neighbour.unwrap().response).unwrap();
    assert_eq!((response.error_code, network.connections()), (2, before + 1));
}

#[tokio::test(start_paused = true)]
async fn idle_connections_are_closed_and_opened_again_unnoticed() {
    let (network, client) = one_broker(alive).await;
    beat(&client, SECOND).await.unwrap();
    let before = network.connections();
    beat(&client, SECOND).await.unwrap();
    assert_eq!(network.connections(), before);
    tokio::time::sleep(Duration::from_secs(541)).await;
    beat(&client, SECOND).await.unwrap();
    assert_eq!(network.connections(), before + 1);
}

#[tokio::test(start_paused = true)]
async fn purposes_do_not_wait_for_each_other() {
    let (_network, client) = one_broker(|received: &Received| match received.request {
        Request::Heartbeat(_) => Reply::Never,
        _ => Reply::Now(ProduceResponse::default().into()),
    })
    .await;
    let node = Target::Broker(NodeId(1));
    let blocked = client.call(node, Purpose::COORDINATOR, heartbeat(), 10 * SECOND);
    let started = Instant::now();
    let request = ProduceRequest { acks: -1, ..ProduceRequest::default() }.into();
    let free = client.call(node, Purpose::Produce, request, SECOND);
    let (blocked, free) = tokio::join!(blocked, async {
        let answer = free.await;
        (answer, started.elapsed())
    });
    assert!(blocked.is_err());
    assert!(free.0.is_ok() && free.1 < SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_large_request_arrives_whole_through_a_small_pipe() {
    let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
    let (_network, client) = one_broker(move |received: &Received| {
        sender.try_send(received.request.clone()).unwrap();
        Reply::Now(ProduceResponse::default().into())
    })
    .await;
    let partition = |index| PartitionProduceData {
        index,
        records: Some(bytes::Bytes::from(vec![u8::try_from(index).unwrap(); 300_000])),
        ..Default::default()
    };
    let partition_data = (0..5).map(partition).collect();
    let topic_data = vec![TopicProduceData { partition_data, ..Default::default() }];
    let request = Request::from(ProduceRequest { acks: -1, topic_data, ..ProduceRequest::default() });
    client.call(Target::Broker(NodeId(1)), Purpose::Produce, request.clone(), SECOND).await.unwrap();
    assert_eq!(receiver.recv().await, Some(request));
}

#[tokio::test(start_paused = true)]
async fn a_topic_is_found_or_the_error_says_why_not() {
    let (_network, client) = one_broker(never).await;
    let topic = client.topic(&"t".into(), SECOND, "max_block").await.unwrap();
    assert_eq!(topic.partition_count(), 1);

    let started = Instant::now();
    let error = client.topic(&"nothing".into(), 7 * SECOND, "max_block").await.unwrap_err();
    let ErrorKind::UnknownTopic { waited, setting, .. } = error.kind() else { panic!("{error}") };
    assert_eq!((*waited, *setting, started.elapsed()), (7 * SECOND, "max_block", 7 * SECOND));

    let started = Instant::now();
    for _ in 0..2 {
        let error = client.topic(&"secret".into(), 7 * SECOND, "max_block").await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::NotAuthorized { name, .. } if name == "secret"), "{error}");
    }
    let error = client.topic(&"no/name".into(), 7 * SECOND, "max_block").await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::InvalidTopic { .. }), "{error}");
    assert!(started.elapsed() < SECOND, "these are told at once");
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_a_topic_can_be_dropped() {
    let (_network, client) = one_broker(never).await;
    let nothing = "nothing".into();
    let wait = client.topic(&nothing, 60 * SECOND, "max_block");
    assert!(tokio::time::timeout(SECOND, wait).await.is_err());
    client.topic(&"t".into(), SECOND, "max_block").await.unwrap();
}

/// A client of one broker that lists only itself; the client's connection to it is closed, and `then` says what is
/// there when it looks again.
async fn looks_again(then: impl FnOnce(&Network)) -> Client {
    let (network, client) = one_broker(|_| Reply::Hangup).await;
    then(&network);
    let hung_up = client.call(Target::Any, Purpose::General, heartbeat(), SECOND).await;
    assert!(hung_up.is_err());
    client
}

#[tokio::test(start_paused = true)]
async fn a_call_to_an_unknown_broker_waits_for_a_view_until_its_deadline() {
    let client = looks_again(|network| network.silence("b1:9092")).await;
    let started = Instant::now();
    let call = client.call(Target::Broker(NodeId(9)), Purpose::General, metadata(), 3 * SECOND);
    let error = call.await.unwrap_err();
    let ErrorKind::Timeout { what, after, .. } = error.kind() else { panic!("{error}") };
    assert_eq!((*after, started.elapsed()), (3 * SECOND, 3 * SECOND));
    assert!(what.contains("broker 9"), "{what}");
}

/// A group's coordinator that was killed: a broker still tells it when metadata lists it no more.
#[tokio::test(start_paused = true)]
async fn a_call_to_a_broker_that_the_next_view_lacks_too_fails_unsent() {
    let (_network, client) = one_broker(never).await;
    let started = Instant::now();
    let error = client.call(Target::Broker(NodeId(9)), Purpose::General, metadata(), 30 * SECOND).await;
    let error = error.unwrap_err();
    assert!(started.elapsed() < 2 * SECOND, "{:?}", started.elapsed());
    assert!(error.is_retriable() && error.to_string().contains("broker 9"), "{error}");
}

/// With a call that finds nobody and yet counts as one that can be sent, the client's task would turn without end.
#[tokio::test(start_paused = true)]
async fn a_connection_to_a_broker_that_the_view_lacks_is_not_taken_for_any() {
    let network = Network::default();
    let is_gone = Arc::new(AtomicBool::new(false));
    let view = {
        let is_gone = Arc::clone(&is_gone);
        move |request: &MetadataRequest| {
            let mut cluster = cluster(2, request);
            if is_gone.load(Ordering::Relaxed) {
                cluster.brokers.retain(|broker| broker.node_id == 2);
            }
            cluster
        }
    };
    network.broker_of("b1:9092", view.clone(), alive);
    network.broker_of("b2:9092", view, alive);
    let client = connect(&network, &["b1:9092"]).await;
    let beat = |target| client.call(target, Purpose::COORDINATOR, heartbeat(), 20 * SECOND);
    beat(Target::Broker(NodeId(1))).await.unwrap();
    is_gone.store(true, Ordering::Relaxed);
    client.refresh();
    while client.snapshot().broker(NodeId(1)).is_some() {
        tokio::time::sleep(SECOND).await;
    }
    for target in [Target::Any, Target::Controller] {
        assert_eq!(beat(target).await.unwrap().node, NodeId(2));
    }
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_the_next_view_has_gets_the_calls_that_wait_for_it() {
    let client = looks_again(|network| {
        network.broker("b1:9092", 2, never);
        network.broker("b2:9092", 2, alive);
    })
    .await;
    let call = client.call(Target::Broker(NodeId(2)), Purpose::COORDINATOR, heartbeat(), 20 * SECOND);
    call.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_closed_client_answers_every_call_with_closed() {
    let (_network, client) = one_broker(never).await;
    let other = client.clone();
    let waiting = tokio::spawn(async move { beat(&other, 30 * SECOND).await });
    tokio::time::sleep(SECOND).await;
    client.close();
    client.close();
    let is_closed = |error: Error| matches!(error.kind(), ErrorKind::Closed { what: "client", .. });
    assert!(is_closed(waiting.await.unwrap().unwrap_err()));
    assert!(is_closed(beat(&client, SECOND).await.unwrap_err()));
    assert!(is_closed(client.topic(&"t".into(), SECOND, "x").await.unwrap_err()));
    assert!(client.shared().is_closed());
}

#[tokio::test(start_paused = true)]
async fn dropping_the_last_handle_ends_every_task_and_connection() {
    let alive_tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let (_network, client) = one_broker(alive).await;
    beat(&client, SECOND).await.unwrap();
    let clone = client.clone();
    drop(client);
    beat(&clone, SECOND).await.unwrap();
    assert!(alive_tasks() > 0);
    drop(clone);
    tokio::time::sleep(SECOND).await;
    assert_eq!(alive_tasks(), 0, "the brokers' ends see that theirs are closed, too");
}

#[tokio::test(start_paused = true)]
async fn dropping_a_connect_ends_what_it_began() {
    let network = Network::default();
    network.silence("b1:9092");
    let connecting = connect(&network, &["b1:9092"]);
    assert!(tokio::time::timeout(SECOND, connecting).await.is_err());
    tokio::time::sleep(SECOND).await;
    // Only the silent listener's own task is left.
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 1);
}

#[test]
fn a_runtime_that_ends_first_fails_what_is_pending() {
    let builder = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let runtime = builder();
    let (_network, client) = runtime.block_on(one_broker(never));
    let mailbox = Mailbox::new(Arc::default());
    let call = |token| Call {
        token,
        target: Target::Broker(NodeId(1)),
        purpose: Purpose::General,
        request: heartbeat(),
        deadline: client.now().instant + 30 * SECOND,
        max_version: None,
    };
    client.submit(call(Token(1)), mailbox.reply(Token(1)));
    runtime.block_on(tokio::task::yield_now());
    assert!(mailbox.take().is_empty());
    drop(runtime);
    client.submit(call(Token(2)), mailbox.reply(Token(2)));
    let outcomes = mailbox.take();
    assert_eq!(outcomes.iter().map(|(token, _)| *token).collect::<Vec<_>>(), [Token(1), Token(2)]);
    for (_, outcome) in outcomes {
        assert!(matches!(outcome.unwrap_err().error.kind(), ErrorKind::Closed { .. }));
    }
    let error = builder().block_on(client.topic(&"t".into(), SECOND, "x")).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Closed { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn debug_output_names_the_cluster_only() {
    let (_network, client) = one_broker(never).await;
    assert_eq!(format!("{client:?}"), r#"Client { bootstrap: ["b1:9092"], client_id: "milena", .. }"#);
}
