//! What becomes of records that cannot be handled.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use milena::{Code, Error};
use milena_service::{
    Batch, DeadLetter, HandlerError, IntoRoute, Json, Key, Outgoing, Retry, Router, ServiceError, State,
    batch, testing::MockProducer,
};

use crate::support::{Seen, cluster, count, pairs, produce, records, service, settled, until};

const DLQ: &str = "orders.billing.dlq";

/// Fails "bad" ones, as often as they are tried.
async fn picky(
    State(seen): State<Seen>,
    Key(key): Key<String>,
    Json(value): Json<String>,
) -> Result<(), HandlerError> {
    seen.note(&key, &value);
    if value.starts_with("bad") {
        return Err(HandlerError::retry(format!("cannot stand {value}")).kind("picky"));
    }
    Ok(())
}

fn quoted<'a>(records: &[(&'a str, &str)]) -> Vec<(&'a str, String)> {
    records.iter().map(|(key, value)| (*key, format!("\"{value}\""))).collect()
}

#[tokio::test(start_paused = true)]
async fn a_record_that_always_fails_is_dead_lettered_once_with_its_provenance() {
    let (cluster, client) = cluster(2).await;
    produce(&client, quoted(&[("a", "1"), ("a", "bad"), ("a", "2"), ("b", "3")])).await;
    let seen = Seen::default();
    let router = Router::new().topic("orders", picky.dead_letter()).with_state(seen.clone());
    let running = service(&client, router).start().await.unwrap();
    settled(&running).await;
    assert_eq!(
        seen.of("a"),
        ["1", "bad", "bad", "bad", "2"],
        "three tries, and nothing of its key meanwhile"
    );
    assert_eq!(count(&cluster, DLQ, 2).await, 1);
    let letter = records(&client, DLQ, 1).await.remove(0);
    assert_eq!((letter.key(), letter.value()), (Some(&b"a"[..]), Some(&b"\"bad\""[..])));
    let told = DeadLetter::of(&letter).unwrap();
    assert_eq!((told.topic.as_str(), told.offset.0, &*told.group), ("orders", 1, "billing"));
    assert_eq!((&*told.handler, &*told.error_type, told.attempts), ("picky", "picky", 3));
    assert_eq!(told.error_message, "cannot stand bad");
    assert!(running.health().is_ready());
    let page = running.metrics();
    assert!(
        page.contains("milena_dead_letters_total{") && page.contains("error_type=\"picky\"} 1"),
        "{page}"
    );
}

#[tokio::test(start_paused = true)]
async fn other_keys_go_on_while_one_is_tried_again() {
    let (_cluster, client) = cluster(1).await;
    produce(&client, quoted(&[("a", "bad"), ("a", "later"), ("b", "1"), ("c", "2")])).await;
    let seen = Seen::default();
    let patient = picky
        .retry(Retry::times(3).backoff(Duration::from_secs(30), 1, Duration::from_secs(30)))
        .dead_letter();
    let running = service(&client, Router::new().topic("orders", patient).with_state(seen.clone()))
        .start()
        .await
        .unwrap();
    until("b and c are done", || seen.of("b").len() == 1 && seen.of("c").len() == 1).await;
    assert_eq!(seen.of("a"), ["bad"]);
    settled(&running).await;
    assert_eq!(seen.of("a"), ["bad", "bad", "bad", "bad", "later"]);
}

#[tokio::test(start_paused = true)]
async fn without_a_dead_letter_topic_a_lane_halts_and_the_service_is_not_ready() {
    let (_cluster, client) = cluster(1).await;
    let healed = Arc::new(AtomicU32::new(0));
    produce(&client, pairs(&[("a", "1"), ("a", "2"), ("b", "3")])).await;
    async fn refuse_a(
        State((seen, healed)): State<(Seen, Arc<AtomicU32>)>,
        Key(key): Key<String>,
        Json(number): Json<u64>,
    ) -> Result<(), HandlerError> {
        if key == "a" && healed.load(Ordering::SeqCst) == 0 {
            return Err(HandlerError::dead_letter("not a"));
        }
        seen.note(&key, &number.to_string());
        Ok(())
    }
    let seen = Seen::default();
    let router = || Router::new().topic("orders", refuse_a).with_state((seen.clone(), Arc::clone(&healed)));
    let running = service(&client, router()).start().await.unwrap();
    let health = running.health();
    until("the lane has halted", || !health.halted().is_empty() && seen.len() == 1).await;
    assert_eq!(seen.of("b"), ["3"], "the other key goes on");
    let halted = health.halted().remove(0);
    assert_eq!((halted.offset.0, &*halted.handler, &*halted.error), (0, "refuse_a", "not a"));
    assert!(!health.is_ready() && health.is_live());
    // Nothing of it is committed: who comes next stands before the same record.
    running.stop().await.unwrap();
    let running = service(&client, router()).start().await.unwrap();
    let health = running.health();
    until("the lane has halted again", || !health.halted().is_empty()).await;
    health.retry_halted();
    until("it has halted once more", || !health.halted().is_empty()).await;
    healed.store(1, Ordering::SeqCst);
    health.retry_halted();
    settled(&running).await;
    assert_eq!(seen.of("a"), ["1", "2"]);
    assert!(health.is_ready(), "{:?}", health.problems());
}

#[tokio::test(start_paused = true)]
async fn panics_and_timeouts_are_failures_like_others() {
    let (_cluster, client) = cluster(1).await;
    produce(&client, quoted(&[("a", "panic"), ("b", "hang"), ("c", "fine")])).await;
    async fn rude(State(seen): State<Seen>, Key(key): Key<String>, Json(value): Json<String>) {
        seen.note(&key, &value);
        match &*value {
            "panic" => panic!("that was it"),
            "hang" => std::future::pending().await,
            _ => {}
        }
    }
    let seen = Seen::default();
    let route = rude.timeout(Duration::from_secs(2)).retry(Retry::times(1)).dead_letter();
    let running = service(&client, Router::new().topic("orders", route).with_state(seen.clone()))
        .start()
        .await
        .unwrap();
    settled(&running).await;
    assert_eq!((seen.of("a").len(), seen.of("b").len(), seen.of("c").len()), (2, 2, 1));
    let letters = records(&client, DLQ, 2).await;
    let mut told: Vec<(String, String)> = letters
        .iter()
        .map(|letter| DeadLetter::of(letter).unwrap())
        .map(|letter| (letter.error_type, letter.error_message))
        .collect();
    told.sort();
    assert_eq!(told[0], ("panic".into(), "that was it".into()));
    assert_eq!(told[1].0, "timeout");
}

#[tokio::test(start_paused = true)]
async fn what_does_not_decode_is_dead_lettered_at_once_with_its_bytes() {
    let (_cluster, client) = cluster(1).await;
    produce(&client, pairs(&[("a", "{no json"), ("a", "\"1\"")])).await;
    let seen = Seen::default();
    let router = Router::new().topic("orders", picky.dead_letter()).with_state(seen.clone());
    let running = service(&client, router).start().await.unwrap();
    settled(&running).await;
    assert_eq!(seen.of("a"), ["1"]);
    let letter = records(&client, DLQ, 1).await.remove(0);
    assert_eq!(letter.value(), Some(&b"{no json"[..]));
    assert_eq!(DeadLetter::of(&letter).unwrap().attempts, 1, "another try would not help");
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_fails_is_taken_apart_so_that_only_the_bad_one_is_dead_lettered() {
    let (cluster, client) = cluster(1).await;
    produce(&client, quoted(&[("a", "1"), ("b", "bad"), ("c", "2")])).await;
    async fn store(
        State(seen): State<Seen>,
        Batch(records): Batch<(Key<String>, Json<String>)>,
    ) -> Result<(), HandlerError> {
        if records.iter().any(|(_, Json(value))| value == "bad") {
            return Err(HandlerError::dead_letter("a bad one"));
        }
        records.iter().for_each(|(Key(key), Json(value))| seen.note(key, value));
        Ok(())
    }
    let seen = Seen::default();
    let router = Router::new().topic("orders", batch(store).dead_letter()).with_state(seen.clone());
    let running = service(&client, router).start().await.unwrap();
    settled(&running).await;
    assert_eq!(seen.all(), [("a".into(), "1".into()), ("c".into(), "2".into())]);
    assert_eq!(count(&cluster, DLQ, 1).await, 1);
    assert_eq!(DeadLetter::of(&records(&client, DLQ, 1).await[0]).unwrap().offset.0, 1);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_published_is_no_fault_of_the_record() {
    let (_cluster, client) = cluster(1).await;
    produce(&client, pairs(&[("a", "1"), ("a", "2")])).await;
    async fn copy(State(seen): State<Seen>, Json(number): Json<u64>) -> Result<Outgoing, HandlerError> {
        seen.note("copied", &number.to_string());
        Outgoing::json("copies", &number)
    }
    let mock = MockProducer::new();
    mock.refuse("copies", Error::broker(Code::NOT_ENOUGH_REPLICAS, "Produce", "copies-0"));
    let seen = Seen::default();
    let route = copy.retry(Retry::none()).dead_letter();
    let running = service(&client, Router::new().topic("orders", route).with_state(seen.clone()))
        .publisher(mock.publisher())
        .start()
        .await
        .unwrap();
    until("it is not ready", || running.health().problems().join("").contains("cannot publish")).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(seen.of("copied"), ["1"], "what was handled is not handled again for it");
    mock.allow("copies");
    settled(&running).await;
    assert_eq!((seen.of("copied").len(), mock.sent_to("copies").len(), mock.sent_to(DLQ).len()), (2, 2, 0));
    assert!(running.health().is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_that_cannot_be_written_holds_its_lane_and_the_handler_is_not_asked_again() {
    let (_cluster, client) = cluster(1).await;
    produce(&client, quoted(&[("a", "bad"), ("a", "1")])).await;
    let mock = MockProducer::new();
    mock.refuse(DLQ, Error::broker(Code::NOT_ENOUGH_REPLICAS, "Produce", DLQ));
    let seen = Seen::default();
    let route = picky.retry(Retry::none()).dead_letter();
    let running = service(&client, Router::new().topic("orders", route).with_state(seen.clone()))
        .publisher(mock.publisher())
        .start()
        .await
        .unwrap();
    until("it is not ready", || running.health().problems().join("").contains("cannot write a dead letter"))
        .await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(seen.of("a"), ["bad"]);
    mock.allow(DLQ);
    settled(&running).await;
    assert_eq!((seen.of("a"), mock.sent_to(DLQ).len()), (vec!["bad".to_owned(), "1".to_owned()], 1));
}

#[tokio::test(start_paused = true)]
async fn dead_letter_topics_are_created_like_their_topics_or_named_in_an_error() {
    let (_cluster, client) = cluster(5).await;
    let router = || Router::new().topic("orders", picky.dead_letter()).with_state(Seen::default());
    let refused = service(&client, router()).create_topics(false).start().await.unwrap_err();
    assert!(
        matches!(&refused, ServiceError::MissingTopics { topics, .. } if topics == &[(DLQ.into(), Some(5))]),
        "{refused:?}"
    );
    assert!(refused.to_string().contains("orders.billing.dlq (5 partitions)"), "{refused}");
    let running = service(&client, router()).start().await.unwrap();
    let described = client.admin().describe_topics([DLQ]).await.unwrap();
    assert_eq!(described[DLQ].as_ref().unwrap().partitions.len(), 5);
    running.stop().await.unwrap();
    // They stand now.
    service(&client, router()).create_topics(false).start().await.unwrap().stop().await.unwrap();

    let missing = Router::new().topic("none", picky).with_state(Seen::default());
    let refused = service(&client, missing).start().await.unwrap_err();
    assert!(refused.to_string().contains(" none"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn what_is_put_together_wrongly_is_told_all_at_once() {
    let (_cluster, client) = cluster(1).await;
    let itself = picky.dead_letter().dead_letter_to("orders");
    let router = Router::new().topic("orders", itself).topic("orders", picky).with_state(Seen::default());
    let refused = milena_service::Service::new(&client, "").router(router).start().await.unwrap_err();
    let ServiceError::Setup { problems } = &refused else { panic!("{refused:?}") };
    assert_eq!(problems.len(), 3, "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_partition_full_of_stuck_records_does_not_keep_the_others_from_being_read() {
    let (_cluster, client) = cluster(2).await;
    let producer = client.producer().build().unwrap();
    let big = format!("\"{}\"", "x".repeat(1_000));
    for number in 0..2_000 {
        let value = if number == 0 { "\"bad\"".to_owned() } else { big.clone() };
        drop(
            producer.enqueue(milena::Record::new("orders", &value).key("stuck").partition(0)).await.unwrap(),
        );
        if number % 10 == 0 {
            let value = format!("\"{number}\"");
            drop(
                producer
                    .enqueue(milena::Record::new("orders", &value).key("free").partition(1))
                    .await
                    .unwrap(),
            );
        }
    }
    producer.close().await.unwrap();
    let seen = Seen::default();
    let router = Router::new().topic("orders", picky.retry(Retry::none())).with_state(seen.clone());
    let running = service(&client, router)
        .in_flight_bytes(64 << 10)
        .consumer(|consumer| consumer.partition_max_bytes(20 << 10))
        .start()
        .await
        .unwrap();
    until("the other partition is done", || seen.of("free").len() == 200).await;
    assert_eq!(seen.of("stuck"), ["bad"]);
    assert_eq!(running.health().halted().len(), 1);
}
