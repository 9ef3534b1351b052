//! Spans, with the names of OpenTelemetry's conventions for messaging, and the traces that records carry.
//!
//! Alone in its process, one test after the other: whether a span is wanted is kept for all threads.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests"
)]

#[path = "service/support.rs"]
#[allow(dead_code, reason = "it serves other tests as well")]
mod support;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use milena::{Code, Error, Header, Record};
use milena_service::{HandlerError, IntoRoute, Json, Outgoing, Publisher, Router, testing::MockProducer};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record as Recorded},
};

use support::{cluster, records, service, settled};

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

type Fields = BTreeMap<String, String>;

/// Keeps the spans of this crate, with their fields.
#[derive(Clone, Default)]
struct Spans {
    next: Arc<AtomicU64>,
    kept: Arc<Mutex<BTreeMap<u64, Fields>>>,
}

impl Spans {
    fn named(&self, name: &str) -> Vec<Fields> {
        self.kept
            .lock()
            .unwrap()
            .values()
            .filter(|fields| fields.get("otel.name").is_some_and(|n| n == name))
            .cloned()
            .collect()
    }
}

struct Into<'a>(&'a mut Fields);

impl Visit for Into<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}").trim_matches('"').to_owned());
    }
}

impl Subscriber for Spans {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_span() && metadata.target().starts_with("milena_service")
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let id = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        let mut fields = Fields::new();
        attributes.record(&mut Into(&mut fields));
        self.kept.lock().unwrap().insert(id, fields);
        Id::from_u64(id)
    }

    fn record(&self, id: &Id, values: &Recorded<'_>) {
        values.record(&mut Into(self.kept.lock().unwrap().get_mut(&id.into_u64()).unwrap()));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

async fn invoice(Json(order): Json<u64>) -> Result<Outgoing, HandlerError> {
    if order == 0 {
        return Err(HandlerError::dead_letter("nothing").kind("empty"));
    }
    Outgoing::json("invoices", &order)
}

/// Held by the test that runs.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[tokio::test(start_paused = true)]
async fn what_is_handled_and_published_has_spans_and_one_trace() {
    let _alone = ALONE.lock().await;
    let spans = Spans::default();
    let _guard = tracing::subscriber::set_default(spans.clone());
    let (cluster, client) = cluster(1).await;
    cluster.create_topic("invoices", 1).await.unwrap();
    let producer = client.producer().build().unwrap();
    let headers: [Header<'_>; 2] = [("traceparent", Some(TRACE.as_bytes())), ("ce_id", Some(b"e-1"))];
    producer.send(Record::new("orders", "7").key("a").headers(&headers)).await.unwrap();
    producer.send(Record::new("orders", "0").key("b")).await.unwrap();
    let running =
        service(&client, Router::new().topic("orders", invoice.dead_letter())).start().await.unwrap();
    settled(&running).await;

    let handled = spans.named("process orders");
    assert_eq!(handled.len(), 2, "{handled:?}");
    let first = handled.iter().find(|fields| fields["messaging.kafka.message.key"] == "a").unwrap();
    let expected = [
        ("otel.kind", "consumer"),
        ("messaging.system", "kafka"),
        ("messaging.operation.name", "process"),
        ("messaging.operation.type", "process"),
        ("messaging.destination.name", "orders"),
        ("messaging.destination.partition.id", "0"),
        ("messaging.consumer.group.name", "billing"),
        ("messaging.kafka.offset", "0"),
        ("messaging.message.id", "e-1"),
        ("traceparent", TRACE),
        ("handler", "invoice"),
        ("attempt", "1"),
    ];
    for (name, value) in expected {
        assert_eq!(first.get(name).map(String::as_str), Some(value), "{name} in {first:?}");
    }
    let second = handled.iter().find(|fields| fields["messaging.kafka.message.key"] == "b").unwrap();
    assert_eq!(second["error.type"], "empty");
    let sent = spans.named("send invoices");
    assert_eq!((sent.len(), sent[0]["otel.kind"].as_str()), (1, "producer"));

    let invoice = records(&client, "invoices", 1).await.remove(0);
    assert_eq!(
        invoice.headers().last_named("traceparent"),
        Some(Some(TRACE.as_bytes())),
        "the trace goes on"
    );
}

#[tokio::test(start_paused = true)]
async fn what_brokers_refuse_is_told_by_their_code() {
    let _alone = ALONE.lock().await;
    let spans = Spans::default();
    let _guard = tracing::subscriber::set_default(spans.clone());
    let mock = MockProducer::new();
    mock.fail_next([Error::broker(Code::NOT_ENOUGH_REPLICAS, "Produce", "orders-0")]);
    assert!(mock.publisher().publish_json("orders", "k", &1).await.is_err());
    let (_cluster, client) = cluster(1).await;
    let stopped = Publisher::start(&client).unwrap();
    stopped.clone().stop().await.unwrap();
    assert!(stopped.publish_json("orders", "k", &1).await.is_err());
    let types: Vec<_> = spans.named("send orders").iter().map(|span| span["error.type"].clone()).collect();
    assert_eq!(types, ["NOT_ENOUGH_REPLICAS", "_OTHER"]);
}
