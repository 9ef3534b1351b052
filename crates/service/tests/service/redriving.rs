//! Dead letters on their way back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use milena::Record;
use milena_service::{
    Batch, HandlerError, IntoRoute, Json, Key, Redrive, Retry, Router, Service, State, batch,
};

use crate::support::{Seen, cluster, count, numbers, produce, records, service, settled};

const DLQ: &str = "orders.billing.dlq";

#[derive(Clone, Default)]
struct App {
    seen: Seen,
    works: Arc<AtomicBool>,
}

async fn moody(
    State(app): State<App>,
    Key(key): Key<String>,
    Json(number): Json<u64>,
) -> Result<(), HandlerError> {
    if !app.works.load(Ordering::SeqCst) && number % 2 == 1 {
        return Err(HandlerError::retry("not now").kind(if number % 3 == 0 { "third" } else { "other" }));
    }
    app.seen.note(&key, &number.to_string());
    Ok(())
}

fn router(app: &App) -> Router {
    Router::new().topic("orders", moody.retry(Retry::none()).dead_letter()).with_state(app.clone())
}

#[tokio::test(start_paused = true)]
async fn dead_letters_go_back_to_their_group_alone_and_in_order() {
    let (cluster, client) = cluster(2).await;
    produce(&client, numbers(&["a", "b", "c"], 60)).await;
    let (app, other) = (App::default(), App::default());
    other.works.store(true, Ordering::SeqCst);
    let running = service(&client, router(&app)).start().await.unwrap();
    let others = Service::new(&client, "shipping").router(router(&other));
    let others =
        others.consumer(|consumer| consumer.start_at(milena::Position::Earliest)).start().await.unwrap();
    settled(&running).await;
    settled(&others).await;
    assert_eq!((app.seen.len(), other.seen.len(), count(&cluster, DLQ, 2).await), (30, 60, 30));

    let report = Redrive::new(&client, DLQ).dry_run().await.unwrap();
    assert_eq!((report.redriven, report.by_error["third"], report.by_error["other"]), (30, 10, 20));
    assert_eq!(count(&cluster, "orders", 2).await, 60, "it was a dry run");

    app.works.store(true, Ordering::SeqCst);
    let report =
        Redrive::new(&client, DLQ).filter(|letter| letter.error_type == "other").run().await.unwrap();
    assert_eq!((report.redriven, report.filtered), (20, 10), "{report}");
    settled(&running).await;
    settled(&others).await;
    assert_eq!((app.seen.len(), other.seen.len()), (50, 60), "the other group has done them long ago");
    let again = app.seen.of("b").into_iter().skip(10).collect::<Vec<_>>();
    let expected: Vec<String> = (0..60).filter(|n| n % 3 == 1 && n % 2 == 1).map(|n| n.to_string()).collect();
    assert_eq!(again, expected, "in the order of before");
    // It goes on where it has ended.
    assert_eq!(Redrive::new(&client, DLQ).run().await.unwrap().redriven, 0);
}

#[tokio::test(start_paused = true)]
async fn a_batch_holds_nothing_that_was_redriven_for_another_group() {
    let (_cluster, client) = cluster(1).await;
    produce(&client, numbers(&["a"], 10)).await;
    let (app, stored) = (App::default(), Seen::default());
    async fn store(State(seen): State<Seen>, Batch(records): Batch<Json<u64>>) {
        records.iter().for_each(|Json(number)| seen.note("stored", &number.to_string()));
    }
    let running = service(&client, router(&app)).start().await.unwrap();
    let batches = Router::new().topic("orders", batch(store)).with_state(stored.clone());
    let others = Service::new(&client, "archive").router(batches);
    let others =
        others.consumer(|consumer| consumer.start_at(milena::Position::Earliest)).start().await.unwrap();
    settled(&running).await;
    app.works.store(true, Ordering::SeqCst);
    assert_eq!(Redrive::new(&client, DLQ).run().await.unwrap().redriven, 5);
    produce(&client, vec![("a", "10".to_owned())]).await;
    settled(&running).await;
    settled(&others).await;
    assert_eq!((app.seen.len(), stored.len()), (11, 11));
}

#[tokio::test(start_paused = true)]
async fn what_fails_over_and_over_is_left_in_the_end() {
    let (cluster, client) = cluster(1).await;
    produce(&client, vec![("a", "1".to_owned())]).await;
    let app = App::default();
    let running = service(&client, router(&app)).start().await.unwrap();
    for times in 0..3 {
        settled(&running).await;
        assert_eq!(count(&cluster, DLQ, 1).await, times + 1);
        let report = Redrive::new(&client, DLQ).most_redrives(2).run().await.unwrap();
        assert_eq!((report.redriven, report.exhausted), if times < 2 { (1, 0) } else { (0, 1) });
    }
    assert_eq!(
        records(&client, DLQ, 3).await[2].headers().last_named("dlq-redrive-count"),
        Some(Some(&b"2"[..]))
    );
}

#[tokio::test(start_paused = true)]
async fn no_more_go_back_than_the_rate_allows_and_foreign_records_are_counted() {
    let (_cluster, client) = cluster(1).await;
    produce(&client, numbers(&["a"], 20)).await;
    let app = App::default();
    let running = service(&client, router(&app)).start().await.unwrap();
    settled(&running).await;
    let producer = client.producer().build().unwrap();
    producer.send(Record::new(DLQ, "no letter")).await.unwrap();
    let before = tokio::time::Instant::now();
    let report = Redrive::new(&client, DLQ).per_second(1).run().await.unwrap();
    assert_eq!((report.redriven, report.foreign), (10, 1));
    assert!(before.elapsed() >= Duration::from_secs(9), "{:?}", before.elapsed());
}
