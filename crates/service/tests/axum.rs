//! HTTP beside a service: probes, metrics, and one shutdown. By the real clock: hyper counts by it.
#![cfg(feature = "axum")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests"
)]

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use axum::{Router as Http, routing::get};
use milena::{Client, Config, Position, Record, testing::Cluster};
use milena_service::{HandlerError, IntoRoute, Json, Router, Service, State};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
};

const LONG: Duration = Duration::from_secs(30);

#[derive(Clone, Default)]
struct App {
    handled: Arc<AtomicU32>,
    refuses: Arc<AtomicBool>,
}

async fn on_order(State(app): State<App>, Json(_): Json<u64>) -> Result<(), HandlerError> {
    if app.refuses.load(Ordering::SeqCst) {
        return Err(HandlerError::halt("enough"));
    }
    app.handled.fetch_add(1, Ordering::SeqCst);
    Ok(())
}

/// The status and the body of an answer.
async fn ask(at: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(at).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

async fn until_answered(at: SocketAddr, path: &str, status: u16) -> String {
    let wait = async {
        loop {
            let (found, body) = ask(at, path).await;
            if found == status {
                return body;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LONG, wait).await.unwrap_or_else(|_| panic!("{path} never answered {status}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_and_metrics_tell_of_the_service_and_all_stops_together() {
    let cluster = Cluster::builder().topic("orders", 1).in_memory().start().await.unwrap();
    let client = Client::connect_over(cluster.transport(), Config::new(cluster.bootstrap())).await.unwrap();
    let producer = client.producer().build().unwrap();
    producer.send(Record::new("orders", "1").key("a")).await.unwrap();

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let app = App::default();
    let (release, released) = oneshot::channel::<()>();
    let (enter, entered) = oneshot::channel::<()>();
    let slow = Arc::new(std::sync::Mutex::new(Some((enter, released))));
    let http = Http::new().route("/hello", get(|| async { "hello" })).route(
        "/slow",
        get(move || async move {
            let (enter, released) = slow.lock().unwrap().take().unwrap();
            enter.send(()).unwrap();
            released.await.unwrap();
            "slow"
        }),
    );
    let (stop, stopped) = oneshot::channel::<()>();
    let service = Service::new(&client, "billing")
        .router(Router::new().topic("orders", on_order.named("orders")).with_state(app.clone()))
        .consumer(|consumer| consumer.start_at(Position::Earliest));
    let running = tokio::spawn(service.run_with_axum_until(listener, http, async { stopped.await.unwrap() }));

    assert_eq!(until_answered(at, "/readyz", 200).await, "ready\n");
    assert_eq!(ask(at, "/livez").await, (200, "live\n".to_owned()));
    assert_eq!(ask(at, "/hello").await, (200, "hello".to_owned()));
    tokio::time::timeout(LONG, async {
        while app.handled.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
    let page = ask(at, "/metrics").await.1;
    assert!(page.contains("milena_handler_outcomes_total{") && page.contains("outcome=\"ack\""), "{page}");

    app.refuses.store(true, Ordering::SeqCst);
    producer.send(Record::new("orders", "2").key("a")).await.unwrap();
    let problems = until_answered(at, "/readyz", 503).await;
    assert_eq!(problems, "orders has halted at orders-0@1: enough\n");

    // What HTTP answers is waited for, and then all is over.
    let slow = tokio::spawn(async move { ask(at, "/slow").await });
    entered.await.unwrap();
    stop.send(()).unwrap();
    tokio::time::timeout(LONG, async { while TcpStream::connect(at).await.is_ok() {} }).await.unwrap();
    assert!(!running.is_finished(), "a request is being answered");
    release.send(()).unwrap();
    assert_eq!(slow.await.unwrap(), (200, "slow".to_owned()));
    tokio::time::timeout(LONG, running).await.unwrap().unwrap().unwrap();
}
