//! What it costs to hand a record to a handler: beside the bare call, and beside axum's dispatch of the same handler.
//!
//! `cargo bench -p milena-service --features testing,axum --bench dispatch`. The three are measured in turn within each
//! round, and the best round of each counts. The process fails if a call costs more than [`LIMIT`] times axum's.

#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a bench reads the clock, prints what it measured, and stops at what is wrong"
)]

#[path = "../../../benches/support/cpu.rs"]
mod cpu;

use std::{
    future::Future,
    hint::black_box,
    pin::pin,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use axum::{
    body::Body,
    http::{HeaderMap, Request, StatusCode},
    routing::post,
};
use cpu::thread_time;
use milena::{Header, Record};
use milena_service::{Headers, Json, Router, State, testing::TestRouter};
use tower_service::Service;

const ROUNDS: usize = 15;
const CALLS: usize = 20_000;
/// How many times axum's cost ours may be.
const LIMIT: f64 = 1.5;
const BODY: &str = r#"{"order":17,"customer":"c-4711","total":1999}"#;
const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[derive(Clone, Default)]
struct App {
    total: Arc<AtomicU64>,
}

#[derive(serde::Deserialize)]
struct Order {
    order: u64,
    customer: String,
    total: u64,
}

/// What the handler does, once its arguments are there.
fn handle(app: &App, trace: Option<&[u8]>, order: &Order) {
    let len = trace.map_or(0, <[u8]>::len) + order.customer.len();
    app.total.fetch_add(order.total + order.order + len as u64, Ordering::Relaxed);
}

async fn ours(State(app): State<App>, headers: Headers, Json(order): Json<Order>) {
    handle(&app, headers.get("traceparent"), &order);
}

async fn axums(
    axum::extract::State(app): axum::extract::State<App>,
    headers: HeaderMap,
    axum::Json(order): axum::Json<Order>,
) {
    handle(&app, headers.get("traceparent").map(|value| value.as_bytes()), &order);
}

/// The handler alone, its arguments made by hand.
async fn bare(app: &App, body: &[u8]) {
    let order: Order = serde_json::from_slice(body).unwrap();
    handle(app, Some(TRACE.as_bytes()), &order);
}

fn main() -> ExitCode {
    let app = App::default();
    let router = TestRouter::new(Router::new().topic("orders", ours).with_state(app.clone()));
    let mut http = axum::Router::new().route("/orders", post(axums)).with_state(app.clone());
    let mut best = [Duration::MAX; 3];
    for _ in 0..ROUNDS {
        best[0] = best[0].min(time(|| (0..CALLS).for_each(|_| now(bare(&app, black_box(BODY.as_bytes()))))));

        let headers: [Header<'_>; 2] =
            [("content-type", Some(b"application/json")), ("traceparent", Some(TRACE.as_bytes()))];
        let record = Record::new("orders", BODY).key("c-4711").headers(&headers);
        let deliveries: Vec<_> = (0..CALLS).map(|_| router.delivery([record])).collect();
        best[1] = best[1].min(time(|| {
            for delivery in deliveries {
                assert!(now(router.call(delivery)).is_ack());
            }
        }));

        let request = || {
            let request = Request::post("/orders").header("content-type", "application/json");
            request.header("traceparent", TRACE).body(Body::from(BODY)).unwrap()
        };
        let requests: Vec<_> = (0..CALLS).map(|_| request()).collect();
        best[2] = best[2].min(time(|| {
            for request in requests {
                assert_eq!(now(http.call(request)).unwrap().status(), StatusCode::OK);
            }
        }));
    }
    black_box(app.total.load(Ordering::Relaxed));
    let [bare, ours, axums] = best.map(|took| took.as_secs_f64() * 1e9 / CALLS as f64);
    println!("nanoseconds of CPU per call, best of {ROUNDS} rounds");
    println!("  the handler alone, with its JSON  {bare:>8.0}");
    println!("  milena-service                    {ours:>8.0}");
    println!("  axum                              {axums:>8.0}");
    println!("  milena-service to axum            {:>8.2}  (at most {LIMIT})", ours / axums);
    if ours / axums <= LIMIT { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn time(work: impl FnOnce()) -> Duration {
    let start = thread_time();
    work();
    thread_time().saturating_sub(start)
}

/// What is ready at once.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("nothing here waits"),
    }
}
