//! The layer around handlers, with the ids in memory.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, reason = "tests")]

use std::{sync::Mutex, time::Duration};

use milena::Record;
use tokio::sync::Notify;

use super::*;
use crate::{
    Batch, BoxError, HandlerError, IntoRoute, MemoryDedup, Meta, Newer, Outgoing, Route, batch,
    delivery::Place, done::Then, endpoint::Endpoint,
};

/// A route of group "g", with a layer around it.
struct Stage {
    endpoint: Endpoint,
    place: Arc<Place>,
    calls: Arc<Mutex<Vec<Vec<i64>>>>,
}

fn place(group: &str, handler: &str) -> Arc<Place> {
    Arc::new(Place::of_tests(group, handler, Newer::default()))
}

impl Stage {
    fn of<S: DedupStore>(
        dedup: &Dedup<S>,
        outcome: impl Fn(usize) -> Outcome + Clone + Send + Sync + 'static,
    ) -> Self {
        let calls: Arc<Mutex<Vec<Vec<i64>>>> = Arc::default();
        let seen = Arc::clone(&calls);
        let handler = move |Batch(records): Batch<Meta>| {
            let mut seen = seen.lock().unwrap();
            seen.push(records.iter().map(|record| record.offset.0).collect());
            let outcome = outcome(seen.len());
            async move { outcome }
        };
        let (endpoint, _) = batch(handler).layer(dedup.clone()).into_parts(());
        Self { endpoint, place: place("g", "h"), calls }
    }

    fn acks<S: DedupStore>(dedup: &Dedup<S>) -> Self {
        Self::of(dedup, |_| Outcome::ack())
    }

    fn delivery(&self, records: &[(&str, i64)]) -> Delivery {
        let mut messages = records.iter().map(|(id, offset)| message(&[("ce_id", id)], *offset));
        let first = messages.next().unwrap();
        Delivery::new(first, messages.collect(), 1, Arc::clone(&self.place))
    }

    async fn handle(&self, records: &[(&str, i64)]) -> Outcome {
        self.endpoint.handle(self.delivery(records)).await.unwrap_or_else(|never| match never {})
    }

    /// Handles a delivery as the runtime does that can publish everything.
    async fn settle(&self, records: &[(&str, i64)]) -> &'static str {
        let outcome = self.handle(records).await;
        let name = outcome.name();
        if let Outcome::Ack(done) = outcome {
            done.into_parts().1.run().await.unwrap();
        }
        name
    }

    fn calls(&self) -> Vec<Vec<i64>> {
        self.calls.lock().unwrap().clone()
    }
}

fn message(headers: &[(&str, &str)], offset: i64) -> Message {
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, Some(value.as_bytes()))).collect();
    Message::from_record(&Record::new("t", "v").headers(&headers), offset)
}

fn memory() -> Dedup<MemoryDedup> {
    Dedup::new(MemoryDedup::new(100))
}

fn then(outcome: Outcome) -> Then {
    let Outcome::Ack(done) = outcome else { panic!("{outcome:?}") };
    done.into_parts().1
}

#[tokio::test]
async fn what_was_handled_is_skipped_when_it_comes_again() {
    let dedup = memory();
    let stage = Stage::acks(&dedup);
    assert_eq!(stage.settle(&[("a", 0)]).await, "ack");
    assert!(matches!(stage.handle(&[("a", 1)]).await, Outcome::Skip(reason) if reason == "duplicate"));
    assert_eq!(stage.settle(&[("b", 2)]).await, "ack");
    assert_eq!((stage.calls(), dedup.hits()), (vec![vec![0], vec![2]], 1));
    assert_eq!(dedup.store().len(), 2);
}

#[tokio::test]
async fn an_id_is_kept_only_when_everything_was_published() {
    let stage = Stage::of(&memory(), |_| Outcome::Ack(vec![Outgoing::new("out", "v")].into()));
    let outcome = stage.handle(&[("a", 0)]).await;
    drop(outcome); // It could not be published.
    assert_eq!(stage.settle(&[("a", 0)]).await, "ack");
    assert_eq!(stage.settle(&[("a", 0)]).await, "skip");
    assert_eq!(stage.calls().len(), 2);
}

#[tokio::test]
async fn what_was_not_done_is_handled_again() {
    let outcome = |call| match call {
        1 => Outcome::Retry { failure: Failure::named("error", "no"), after: None },
        2 => Outcome::DeadLetter(Failure::named("error", "no")),
        3 => Outcome::Skip("not mine".into()),
        _ => Outcome::ack(),
    };
    let stage = Stage::of(&memory(), outcome);
    for expected in ["retry", "dead_letter", "skip", "ack", "skip"] {
        assert_eq!(stage.settle(&[("a", 0)]).await, expected);
    }
    assert_eq!(stage.calls().len(), 4, "the last was a duplicate");
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_of_what_is_being_handled_waits_until_that_is_settled() {
    let stage = Stage::acks(&memory());
    let mut first = then(stage.handle(&[("a", 0)]).await);
    let mut second = Box::pin(stage.settle(&[("a", 1)]));
    let early = tokio::time::timeout(Duration::from_secs(60), &mut second).await;
    assert!(early.is_err(), "the first is not settled");
    assert_eq!(stage.settle(&[("b", 2)]).await, "ack", "others do not wait");
    first.run().await.unwrap();
    drop(first);
    assert_eq!(second.await, "skip");

    let failed = stage.handle(&[("c", 3)]).await;
    let mut second = Box::pin(stage.settle(&[("c", 4)]));
    assert!(tokio::time::timeout(Duration::from_secs(60), &mut second).await.is_err());
    drop(failed);
    assert_eq!(second.await, "ack", "its turn has come");
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_is_dropped_frees_its_record() {
    let entered = Arc::new(Notify::new());
    let seen = Arc::clone(&entered);
    let handler = move || {
        seen.notify_one();
        std::future::pending::<()>()
    };
    let (endpoint, _) = handler.named("h").layer(memory()).into_parts(());
    let delivery = || Delivery::new(message(&[("ce_id", "a")], 0), Arc::default(), 1, place("g", "h"));
    let first = tokio::time::timeout(Duration::from_secs(1), endpoint.handle(delivery())).await;
    assert!(first.is_err());
    entered.notified().await;
    let second = tokio::time::timeout(Duration::from_secs(1), endpoint.handle(delivery())).await;
    assert!(second.is_err());
    tokio::time::timeout(Duration::from_secs(1), entered.notified()).await.unwrap();
}

#[tokio::test]
async fn of_a_batch_the_handler_gets_what_is_new() {
    let dedup = memory();
    let stage = Stage::acks(&dedup);
    assert_eq!(stage.settle(&[("a", 0), ("b", 1), ("a", 2)]).await, "ack");
    assert_eq!(stage.settle(&[("b", 3), ("c", 4), ("a", 5), ("d", 6)]).await, "ack");
    assert_eq!(stage.settle(&[("d", 7), ("c", 8)]).await, "skip");
    assert_eq!((stage.calls(), dedup.hits()), (vec![vec![0, 1], vec![4, 6]], 5));
    assert_eq!(stage.place.duplicates.load(Ordering::Relaxed), 5, "for the metrics of the handler");
}

#[tokio::test(start_paused = true)]
async fn batches_with_the_same_ids_do_not_wait_for_each_other() {
    let stage = Arc::new(Stage::acks(&memory()));
    let mut tasks = tokio::task::JoinSet::new();
    for turn in 0..20 {
        let stage = Arc::clone(&stage);
        tasks.spawn(async move {
            let records = if turn % 2 == 0 { [("a", turn), ("b", turn)] } else { [("b", turn), ("a", turn)] };
            stage.settle(&records).await
        });
    }
    let all = tokio::time::timeout(Duration::from_secs(60), tasks.join_all()).await.unwrap();
    assert_eq!(all.iter().filter(|name| **name == "ack").count(), 1);
    assert_eq!(stage.calls().len(), 1);
}

/// The id of a record in this place.
fn id(
    headers: &[(&str, &str)],
    offset: i64,
    place: Arc<Place>,
    chosen: Option<&str>,
) -> Result<String, BoxError> {
    let message = message(headers, offset);
    let delivery = Delivery::new(message.clone(), Arc::default(), 1, place);
    id::of(&delivery, &message, chosen.map(str::to_owned))
}

#[test]
fn ids_say_whose_they_are_and_no_two_look_alike() {
    let of = |headers: &[(&str, &str)], chosen| id(headers, 7, place("g", "h"), chosen).unwrap();
    assert_eq!(of(&[("ce_source", "/users"), ("ce_id", "1")], None), r#"["g","h",["/users","1"]]"#);
    assert_eq!(
        of(&[("ce_source", "/users"), ("ce_id", "1")], Some("order-1")),
        r#"["g","h",["","order-1"]]"#
    );
    assert_eq!(of(&[("ce_id", r#"1","2"#)], None), r#"["g","h",["","1\",\"2"]]"#);
    let other = id(&[("ce_id", "1")], 7, place("g", "other"), None).unwrap();
    assert_eq!(other, r#"["g","other",["","1"]]"#);
}

#[tokio::test]
async fn an_id_that_is_too_long_is_dead_lettered() {
    let long = "x".repeat(1_024);
    assert!(id(&[("ce_id", &long)], 0, place("g", "h"), None).is_ok());
    let stage = Stage::acks(&memory());
    let outcome = stage.handle(&[(&format!("{long}x"), 0)]).await;
    let Outcome::DeadLetter(failure) = outcome else { panic!("{outcome:?}") };
    assert_eq!(failure.kind(), "dedup");
    assert!(failure.to_string().contains("1025 bytes; the limit is 1024"), "{failure}");
}

#[tokio::test]
async fn ids_may_be_chosen() {
    let dedup = Dedup::by(MemoryDedup::new(9), |record| {
        let order = record.headers().last_named("order").flatten()?;
        Some(String::from_utf8_lossy(order).into_owned())
    });
    let handler = || async {};
    let (endpoint, _) = Route::new(handler).layer(dedup).into_parts(());
    let settle = async |headers: &[(&str, &str)]| {
        let delivery = Delivery::new(message(headers, 0), Arc::default(), 1, place("g", "h"));
        let Ok(outcome) = endpoint.handle(delivery).await;
        let name = outcome.name();
        if let Outcome::Ack(done) = outcome {
            done.into_parts().1.run().await.unwrap();
        }
        name
    };
    assert_eq!(settle(&[("order", "1"), ("ce_id", "a")]).await, "ack");
    assert_eq!(settle(&[("order", "1"), ("ce_id", "b")]).await, "skip");
    assert_eq!(settle(&[("ce_id", "b")]).await, "ack");
    assert_eq!(settle(&[("ce_id", "b")]).await, "skip");
}

/// A store that fails when it is told to.
#[derive(Default)]
struct Unsure {
    cannot_tell: Mutex<bool>,
    cannot_keep: Mutex<usize>,
    kept: Mutex<Vec<String>>,
}

impl DedupStore for Unsure {
    async fn contains(&self, id: &str) -> Result<bool, BoxError> {
        if *self.cannot_tell.lock().unwrap() {
            return Err("it cannot be reached".into());
        }
        Ok(self.kept.lock().unwrap().iter().any(|kept| kept == id))
    }

    async fn insert(&self, ids: &[String]) -> Result<(), BoxError> {
        let mut left = self.cannot_keep.lock().unwrap();
        if *left > 0 {
            *left -= 1;
            return Err("it cannot be reached".into());
        }
        self.kept.lock().unwrap().extend(ids.iter().cloned());
        Ok(())
    }
}

#[tokio::test]
async fn a_store_that_cannot_tell_has_the_record_tried_again() {
    let store = Arc::new(Unsure::default());
    let stage = Stage::acks(&Dedup::new(Arc::clone(&store)));
    *store.cannot_tell.lock().unwrap() = true;
    let outcome = stage.handle(&[("a", 0)]).await;
    assert!(matches!(&outcome, Outcome::Retry { failure, .. } if failure.kind() == "dedup"), "{outcome:?}");
    assert!(stage.calls().is_empty());
    *store.cannot_tell.lock().unwrap() = false;
    assert_eq!(stage.settle(&[("a", 0)]).await, "ack");
}

#[tokio::test]
async fn a_store_that_cannot_keep_an_id_is_asked_again_without_the_handler() {
    let store = Arc::new(Unsure::default());
    let stage = Stage::acks(&Dedup::new(Arc::clone(&store)));
    *store.cannot_keep.lock().unwrap() = 2;
    let mut then = then(stage.handle(&[("a", 0)]).await);
    for _ in 0..2 {
        assert_eq!(then.run().await.unwrap_err().to_string(), "it cannot be reached");
    }
    then.run().await.unwrap();
    drop(then);
    assert_eq!((stage.settle(&[("a", 1)]).await, stage.calls().len()), ("skip", 1));
}

#[tokio::test]
async fn an_error_of_a_handler_is_passed_on() {
    let handler = || async { Err::<(), _>(HandlerError::dead_letter("bad")) };
    let (endpoint, _) = Route::new(handler).layer(memory()).into_parts(());
    let delivery = Delivery::new(message(&[], 0), Arc::default(), 1, place("g", "h"));
    let Ok(outcome) = endpoint.handle(delivery).await;
    assert_eq!(outcome.name(), "dead_letter");
}
