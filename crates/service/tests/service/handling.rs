//! What handlers get, and in which order.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use milena_service::{
    Batch, HandlerError, Headers, IntoRoute, Json, Key, Meta, Outgoing, Raw, Router, State, Stopping, batch,
};

use crate::support::{Seen, cluster, count, numbers, pairs, produce, records, service, settled};

async fn note(State(seen): State<Seen>, Key(key): Key<String>, Json(number): Json<u64>) {
    seen.note(&key, &number.to_string());
}

#[tokio::test(start_paused = true)]
async fn every_record_is_handled_and_committed() {
    let (_cluster, client) = cluster(3).await;
    produce(&client, numbers(&["a", "b", "c", "d", "e"], 1_000)).await;
    let seen = Seen::default();
    let router = Router::new().topic("orders", note).with_state(seen.clone());
    let running = service(&client, router).start().await.unwrap();
    settled(&running).await;
    for (index, key) in ["a", "b", "c", "d", "e"].into_iter().enumerate() {
        let expected: Vec<String> = (index..1_000).step_by(5).map(|number| number.to_string()).collect();
        assert_eq!(seen.of(key), expected, "the order of {key}");
    }
    running.stop().await.unwrap();
    // The next one has nothing to do.
    let router = Router::new().topic("orders", note).with_state(seen.clone());
    let running = service(&client, router).start().await.unwrap();
    settled(&running).await;
    assert_eq!(seen.len(), 1_000);
}

#[tokio::test(start_paused = true)]
async fn handlers_ask_for_what_they_want_in_any_order() {
    let (_cluster, client) = cluster(1).await;
    produce(&client, pairs(&[("k", "7")])).await;
    #[expect(clippy::too_many_arguments, reason = "to try many")]
    async fn all(
        at: Meta,
        State(seen): State<Seen>,
        Json(number): Json<u64>,
        headers: Headers,
        Key(key): Key<Option<String>>,
        Raw(message): Raw,
        stopping: Stopping,
        tombstone: Option<Json<u64>>,
    ) {
        assert_eq!((at.topic.as_str(), at.partition.0, at.offset.0, at.attempt), ("orders", 0, 0, 1));
        assert_eq!((headers.iter().count(), headers.text("none")), (0, None));
        assert_eq!((message.offset(), stopping.is_requested()), (at.offset, false));
        assert_eq!(tombstone.map(|Json(number)| number), Some(number));
        seen.note(&key.unwrap(), &number.to_string());
    }
    let seen = Seen::default();
    let running =
        service(&client, Router::new().topic("orders", all).with_state(seen.clone())).start().await.unwrap();
    settled(&running).await;
    assert_eq!(seen.of("k"), ["7"]);
}

#[tokio::test(start_paused = true)]
async fn keys_are_handled_side_by_side() {
    let (_cluster, client) = cluster(1).await;
    let keys = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    produce(&client, numbers(&keys, 20)).await;
    #[derive(Clone, Default)]
    struct Running {
        now: Arc<AtomicUsize>,
        most: Arc<AtomicUsize>,
    }
    async fn slow(State(running): State<Running>) {
        let now = running.now.fetch_add(1, Ordering::SeqCst) + 1;
        running.most.fetch_max(now, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_secs(1)).await;
        running.now.fetch_sub(1, Ordering::SeqCst);
    }
    for (concurrency, expected) in [(64, 10), (4, 4)] {
        let state = Running::default();
        let router = Router::new().topic("orders", slow).with_state(state.clone());
        let group = format!("g-{concurrency}");
        let running = milena_service::Service::new(&client, group)
            .router(router)
            .concurrency(concurrency)
            .consumer(|consumer| consumer.start_at(milena::Position::Earliest))
            .start()
            .await
            .unwrap();
        settled(&running).await;
        assert_eq!(state.most.load(Ordering::SeqCst), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn what_handlers_return_is_published_before_their_record_is_done() {
    let (cluster, client) = cluster(1).await;
    cluster.create_topic("invoices", 2).await.unwrap();
    produce(&client, numbers(&["a", "b"], 10)).await;
    async fn invoice(Key(key): Key<String>, Json(order): Json<u64>) -> Result<Vec<Outgoing>, HandlerError> {
        let invoice = Outgoing::json("invoices", &order)?.key(key);
        Ok(vec![invoice.clone(), invoice.header("copy", "1")])
    }
    let running = service(&client, Router::new().topic("orders", invoice)).start().await.unwrap();
    settled(&running).await;
    let invoices = records(&client, "invoices", 20).await;
    let of = |key: &str| {
        let own = invoices.iter().filter(|message| message.key() == Some(key.as_bytes()));
        own.map(|message| String::from_utf8_lossy(message.value().unwrap()).into_owned()).collect::<Vec<_>>()
    };
    assert_eq!(of("a"), ["0", "0", "2", "2", "4", "4", "6", "6", "8", "8"]);
    assert_eq!(invoices[0].headers().next(), Some(("content-type", Some(&b"application/json"[..]))));
    let page = running.metrics();
    let value = |name: &str| {
        let line =
            page.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in {page}"));
        line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
    };
    assert_eq!(
        value("kafka_producer_topic_record_send_total{client_id=\"milena\",topic=\"invoices\"}"),
        20.0
    );
    assert_eq!(
        value("kafka_consumer_fetch_manager_records_consumed_total{client_id=\"milena\",topic=\"orders\"}"),
        10.0
    );
    assert_eq!(
        value(
            "kafka_consumer_fetch_manager_records_lag{client_id=\"milena\",topic=\"orders\",partition=\"0\"}"
        ),
        0.0
    );
    let sends = "{messaging_system=\"kafka\",messaging_operation_name=\"send\",client_id=\"milena\"";
    let sent = value(&format!("messaging_client_operation_duration_seconds_count{sends}}}"));
    assert!(sent > 0.0);
    assert_eq!(
        value(&format!("messaging_client_operation_duration_seconds_bucket{sends},le=\"10\"}}")),
        sent
    );
    running.stop().await.unwrap();
    assert_eq!(count(&cluster, "invoices", 2).await, 20);
}

#[tokio::test(start_paused = true)]
async fn batches_come_together_and_in_order() {
    let (_cluster, client) = cluster(2).await;
    produce(&client, numbers(&["a", "b", "c"], 300)).await;
    #[derive(Clone, Default)]
    struct Sizes(Arc<std::sync::Mutex<Vec<usize>>>);
    async fn store(
        State((seen, sizes)): State<(Seen, Sizes)>,
        Batch(records): Batch<(Key<String>, Json<u64>)>,
    ) {
        sizes.0.lock().unwrap().push(records.len());
        for (Key(key), Json(number)) in records {
            seen.note(&key, &number.to_string());
        }
    }
    let (seen, sizes) = (Seen::default(), Sizes::default());
    let router = Router::new()
        .topic("orders", batch(store).max(40, Duration::from_millis(500)))
        .with_state((seen.clone(), sizes.clone()));
    let running = service(&client, router).start().await.unwrap();
    settled(&running).await;
    let sizes = sizes.0.lock().unwrap().clone();
    assert_eq!(sizes.iter().sum::<usize>(), 300);
    assert!(sizes.iter().all(|size| *size <= 40) && sizes.contains(&40), "{sizes:?}");
    let expected: Vec<String> = (0..300).step_by(3).map(|number| number.to_string()).collect();
    assert_eq!(seen.of("a"), expected);
}

#[tokio::test(start_paused = true)]
async fn layers_see_each_delivery_and_may_answer_for_the_handler() {
    use std::task::{Context, Poll};

    use milena_service::{Delivery, Endpoint, Ext, Handling, Outcome};
    use tower_layer::Layer;
    use tower_service::Service;

    #[derive(Clone)]
    struct Tenants;
    #[derive(Clone)]
    struct Tenanted(Endpoint);
    struct Tenant(String);

    impl Layer<Endpoint> for Tenants {
        type Service = Tenanted;
        fn layer(&self, inner: Endpoint) -> Tenanted {
            Tenanted(inner)
        }
    }
    type Answer = std::pin::Pin<Box<dyn Future<Output = Result<Outcome, std::convert::Infallible>> + Send>>;
    impl Service<Delivery> for Tenanted {
        type Response = Outcome;
        type Error = std::convert::Infallible;
        type Future = Answer;
        fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
            self.0.poll_ready(context)
        }
        fn call(&mut self, mut delivery: Delivery) -> Answer {
            let key = String::from_utf8_lossy(delivery.message().key().unwrap()).into_owned();
            if key == "foreign" {
                return Box::pin(std::future::ready(Ok(Outcome::Skip("of another tenant".into()))));
            }
            delivery.insert(Tenant(key));
            let handling: Handling = self.0.call(delivery);
            Box::pin(handling)
        }
    }
    async fn note_tenant(State(seen): State<Seen>, Ext(tenant): Ext<Tenant>, Json(number): Json<u64>) {
        seen.note(&tenant.0, &number.to_string());
    }
    let (_cluster, client) = cluster(1).await;
    produce(&client, pairs(&[("own", "1"), ("foreign", "2"), ("own", "3")])).await;
    let seen = Seen::default();
    let router = Router::new().topic("orders", note_tenant).layer(Tenants).with_state(seen.clone());
    let running = service(&client, router).start().await.unwrap();
    settled(&running).await;
    assert_eq!(seen.of("own"), ["1", "3"]);
    assert_eq!(seen.len(), 2);
    assert!(running.metrics().contains("outcome=\"skip\",error_type=\"\"} 1"), "{}", running.metrics());
}

#[tokio::test(start_paused = true)]
async fn several_topics_have_their_own_handlers() {
    let (cluster, client) = cluster(1).await;
    cluster.create_topic("payments", 1).await.unwrap();
    produce(&client, pairs(&[("o", "1")])).await;
    let producer = client.producer().build().unwrap();
    producer.send(milena::Record::new("payments", "2").key("p")).await.unwrap();
    let seen = Seen::default();
    let other = |State(seen): State<Seen>, Json(number): Json<u64>| async move {
        seen.note("payment", &number.to_string());
    };
    let router = Router::new()
        .topic("orders", note)
        .merge(Router::new().topic("payments", other.named("on_payment")))
        .with_state(seen.clone());
    let running = service(&client, router).start().await.unwrap();
    settled(&running).await;
    let keys: BTreeSet<String> = seen.all().into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys.into_iter().collect::<Vec<_>>(), ["o", "payment"]);
    let page = running.metrics();
    assert!(page.contains("handler=\"on_payment\"") && page.contains("handler=\"note\""), "{page}");
}
