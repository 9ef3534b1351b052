//! From start to stop.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use milena::{
    Record,
    testing::{Api, Fault, Rule},
};
use milena_service::{HandlerError, IntoRoute, Json, Key, Router, State, Stopping, Table};

use crate::support::{Seen, cluster, connect, count, numbers, pairs, produce, service, settled, until};

const SECOND: Duration = Duration::from_secs(1);

async fn slow(State(seen): State<Seen>, Key(key): Key<String>, Json(number): Json<u64>) {
    tokio::time::sleep(SECOND).await;
    seen.note(&key, &number.to_string());
}

#[tokio::test(start_paused = true)]
async fn a_service_that_stops_finishes_what_runs_and_gives_the_rest_back() {
    let (cluster, client) = cluster(2).await;
    produce(&client, numbers(&["a", "b", "c", "d"], 400)).await;
    let seen = Seen::default();
    let router = || Router::new().topic("orders", slow.dead_letter()).with_state(seen.clone());
    let running = service(&client, router()).start().await.unwrap();
    until("it is in the midst of it", || seen.len() >= 10).await;
    let before = tokio::time::Instant::now();
    running.stop().await.unwrap();
    assert!(before.elapsed() < 3 * SECOND, "what had not begun was given back");
    let done = seen.len();
    assert!(done < 100, "{done}");
    let second = service(&client, router()).start().await.unwrap();
    until("the rest is done", || seen.len() == 400).await;
    settled(&second).await;
    for (index, key) in ["a", "b", "c", "d"].into_iter().enumerate() {
        let expected: Vec<String> = (index..400).step_by(4).map(|number| number.to_string()).collect();
        assert_eq!(seen.of(key), expected, "each once, in order");
    }
    assert_eq!(count(&cluster, "orders.billing.dlq", 2).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_stops_leaves_its_group_at_once() {
    let (cluster, client) = cluster(2).await;
    produce(&client, numbers(&["a", "b"], 20)).await;
    let (seen, other) = (Seen::default(), connect(&cluster).await);
    let router = || Router::new().topic("orders", slow).with_state(seen.clone());
    let first = service(&client, router()).start().await.unwrap();
    until("it has begun", || seen.len() > 1).await;
    let second = service(&other, router()).start().await.unwrap();
    until("both are members", || second.health().is_ready()).await;
    first.stop().await.unwrap();
    let stopped = tokio::time::Instant::now();
    until("the rest is done", || seen.len() >= 20).await;
    assert!(stopped.elapsed() < 30 * SECOND, "nobody waits for a session to end: {:?}", stopped.elapsed());
    settled(&second).await;
}

#[tokio::test(start_paused = true)]
async fn handlers_that_do_not_end_are_dropped_and_their_records_given_back() {
    let (cluster, client) = cluster(1).await;
    produce(&client, pairs(&[("a", "1")])).await;
    let hangs = Arc::new(AtomicBool::new(true));
    async fn hang(State((seen, hangs)): State<(Seen, Arc<AtomicBool>)>, Key(key): Key<String>) {
        seen.note(&key, "begun");
        if hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        seen.note(&key, "done");
    }
    let seen = Seen::default();
    let router =
        || Router::new().topic("orders", hang.dead_letter()).with_state((seen.clone(), Arc::clone(&hangs)));
    let running = service(&client, router()).drain_timeout(5 * SECOND).start().await.unwrap();
    until("it hangs", || seen.len() == 1).await;
    let before = tokio::time::Instant::now();
    running.stop().await.unwrap();
    assert!((5 * SECOND..8 * SECOND).contains(&before.elapsed()), "{:?}", before.elapsed());
    hangs.store(false, Ordering::SeqCst);
    let running = service(&client, router()).start().await.unwrap();
    settled(&running).await;
    assert_eq!(seen.of("a"), ["begun", "begun", "done"]);
    assert_eq!(count(&cluster, "orders.billing.dlq", 1).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_failure_because_the_service_stops_is_none() {
    let (cluster, client) = cluster(1).await;
    produce(&client, pairs(&[("a", "1")])).await;
    async fn until_told(
        State(seen): State<Seen>,
        Key(key): Key<String>,
        mut stopping: Stopping,
    ) -> Result<(), HandlerError> {
        seen.note(&key, "begun");
        stopping.requested().await;
        Err(HandlerError::dead_letter("the service stops"))
    }
    let seen = Seen::default();
    let router = || Router::new().topic("orders", until_told.dead_letter()).with_state(seen.clone());
    let running = service(&client, router()).start().await.unwrap();
    until("it has begun", || seen.len() == 1).await;
    running.stop().await.unwrap();
    let running = service(&client, router()).start().await.unwrap();
    until("it has begun again", || seen.len() == 2).await;
    running.stop().await.unwrap();
    assert_eq!(count(&cluster, "orders.billing.dlq", 1).await, 0);
}

/// Instances come and go; of each key the records are handled in order, though some are handled more than once.
#[tokio::test(start_paused = true)]
async fn keys_keep_their_order_while_instances_come_and_go() {
    let (cluster, client) = cluster(4).await;
    let keys = ["a", "b", "c", "d", "e", "f", "g"];
    produce(&client, numbers(&keys, 700)).await;
    async fn flaky(
        State(seen): State<Seen>,
        Key(key): Key<String>,
        Json(number): Json<u64>,
        at: milena_service::Meta,
    ) -> Result<(), HandlerError> {
        tokio::time::sleep(Duration::from_millis(20)).await;
        if number % 9 == 0 && at.attempt == 1 {
            return Err(HandlerError::retry("not at once"));
        }
        seen.note(&key, &number.to_string());
        Ok(())
    }
    let seen = Seen::default();
    let router = || Router::new().topic("orders", flaky.dead_letter()).with_state(seen.clone());
    let first = service(&client, router()).start().await.unwrap();
    until("the first is at it", || seen.len() > 50).await;
    let second = service(&connect(&cluster).await, router()).start().await.unwrap();
    until("the second has joined", || seen.len() > 200).await;
    first.stop().await.unwrap();
    let third = service(&connect(&cluster).await, router()).start().await.unwrap();
    until("the third has joined", || seen.len() > 400).await;
    // Without a word.
    drop(second);
    until("all is done", || {
        let last: BTreeMap<String, u64> =
            seen.all().into_iter().map(|(key, number)| (key, number.parse().unwrap())).collect();
        last.len() == 7 && last.values().all(|number| *number >= 693)
    })
    .await;
    settled(&third).await;
    for (index, key) in keys.into_iter().enumerate() {
        let handled: Vec<u64> = seen.of(key).iter().map(|number| number.parse().unwrap()).collect();
        // What was done behind a record of another key that was not, is done once more: from there on, in order.
        let follows = |pair: &[u64]| pair[1] == pair[0] + 7 || pair[1] <= pair[0];
        assert!(
            handled[0] == index as u64 && handled.windows(2).all(follows),
            "the order of {key}: {handled:?}"
        );
        assert_eq!(handled.last(), Some(&(693 + index as u64)));
    }
    assert_eq!(count(&cluster, "orders.billing.dlq", 4).await, 0);
}

/// Brokers are asked where their logs end, since the last fetch may be older than what was written.
#[tokio::test(start_paused = true)]
async fn a_service_is_settled_when_everything_is_handled_that_was_there() {
    let (cluster, client) = cluster(2).await;
    async fn quick(State(seen): State<Seen>, Key(key): Key<String>, Json(number): Json<u64>) {
        seen.note(&key, &number.to_string());
    }
    let seen = Seen::default();
    let router = Router::new().topic("orders", quick).with_state(seen.clone());
    let running = service(&client, router).start().await.unwrap();
    settled(&running).await;
    cluster.fault(Rule::new(Fault::Delay(SECOND)).on(Api::Fetch)).await.unwrap();
    for round in 1..=5 {
        produce(&client, numbers(&["a", "b", "c"], 6)).await;
        settled(&running).await;
        assert_eq!(seen.len(), round * 6);
    }
}

#[tokio::test(start_paused = true)]
async fn series_of_partitions_that_were_given_up_vanish() {
    let (cluster, client) = cluster(2).await;
    produce(&client, numbers(&["a", "b", "c", "d"], 40)).await;
    let seen = Seen::default();
    let router = || Router::new().topic("orders", slow).with_state(seen.clone());
    let first = service(&client, router()).start().await.unwrap();
    settled(&first).await;
    let series =
        |page: &str| page.lines().filter(|line| line.starts_with("kafka_consumergroup_lag{")).count();
    assert_eq!(series(&first.metrics()), 2, "{}", first.metrics());
    let second = service(&connect(&cluster).await, router()).start().await.unwrap();
    until("they share", || series(&first.metrics()) == 1 && series(&second.metrics()) == 1).await;
    let inflight =
        |page: &str| page.lines().filter(|line| line.starts_with("milena_inflight_records{")).count();
    assert_eq!(inflight(&first.metrics()), 1);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_fails_is_started_again_and_one_that_runs_is_told_to_stop_behind_the_handlers() {
    let (_cluster, client) = cluster(1).await;
    produce(&client, pairs(&[("a", "1")])).await;
    let (seen, tasks) = (Seen::default(), Seen::default());
    let notes = tasks.clone();
    let running = service(&client, Router::new().topic("orders", slow).with_state(seen.clone()))
        .task("flaky", move |mut stopping| {
            let notes = notes.clone();
            async move {
                notes.note("flaky", "started");
                match notes.len() {
                    1 => return Err("no luck".into()),
                    2 => panic!("even less"),
                    _ => stopping.requested().await,
                }
                notes.note("flaky", "stopped");
                Ok(())
            }
        })
        .start()
        .await
        .unwrap();
    let health = running.health();
    until("it has failed", || health.problems().join("").contains("\"flaky\" has failed: no luck")).await;
    until("it has panicked", || health.problems().join("").contains("it has panicked: even less")).await;
    until("it runs", || health.is_ready()).await;
    settled(&running).await;
    running.stop().await.unwrap();
    assert_eq!(tasks.of("flaky"), ["started", "started", "started", "stopped"]);
    assert!(!health.is_live());
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_dropped_stops_on_its_own() {
    let (cluster, client) = cluster(1).await;
    produce(&client, numbers(&["a"], 3)).await;
    let seen = Seen::default();
    let router = || Router::new().topic("orders", slow).with_state(seen.clone());
    let running = service(&client, router()).start().await.unwrap();
    until("it has begun", || seen.len() == 1).await;
    let health = running.health();
    drop(running);
    until("it has ended", || !health.is_live()).await;
    let other = service(&connect(&cluster).await, router()).start().await.unwrap();
    settled(&other).await;
    assert_eq!(seen.of("a"), ["0", "1", "2"]);
}

/// By the real clock and on several threads, where answers to fetches come late.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_while_the_service_runs_is_waited_for_too() {
    let (_cluster, client) = cluster(4).await;
    let seen = Seen::default();
    async fn note(State(seen): State<Seen>, Key(key): Key<String>) {
        seen.note(&key, "");
    }
    let router = Router::new().topic("orders", note).with_state(seen.clone());
    let running = service(&client, router).start().await.unwrap();
    let producer = client.producer().build().unwrap();
    for number in 1..=50 {
        producer.send(Record::new("orders", "1").key(&number.to_string())).await.unwrap();
        settled(&running).await;
        assert_eq!(seen.len(), number);
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_service_that_has_ended_to_be_settled() {
    let (_cluster, client) = cluster(1).await;
    let router = Router::new().topic("orders", slow).with_state(Seen::default());
    let mut running = service(&client, router).start().await.unwrap();
    settled(&running).await;
    client.close();
    assert!(running.ended().await.is_err());
    settled(&running).await;
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_comes_a_moment_later_is_waited_for() {
    let (cluster, client) = cluster(1).await;
    let router = Router::new().topic("late", slow).with_state(Seen::default());
    let (started, _) = tokio::join!(service(&client, router).start(), async {
        tokio::time::sleep(SECOND).await;
        cluster.create_topic("late", 1).await.unwrap();
    });
    settled(&started.unwrap()).await;
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_topic_that_is_not_to_be_created_is_waited_for_too() {
    let (cluster, client) = cluster(1).await;
    let router = Router::new().topic("orders", slow.dead_letter()).with_state(Seen::default());
    let (started, _) = tokio::join!(service(&client, router).create_topics(false).start(), async {
        tokio::time::sleep(SECOND).await;
        cluster.create_topic("orders.billing.dlq", 1).await.unwrap();
    });
    settled(&started.unwrap()).await;
}

#[tokio::test(start_paused = true)]
async fn a_table_of_the_service_counts_for_its_readiness_and_ends_with_it() {
    let (cluster, client) = cluster(1).await;
    cluster.create_topic("prices", 1).await.unwrap();
    let producer = client.producer().build().unwrap();
    producer.send(Record::new("prices", "199").key("7")).await.unwrap();
    let prices: Table<u64, u64> = Table::start(&client, "prices").await.unwrap();
    let router = Router::new().topic("orders", slow).with_state(Seen::default());
    let running = service(&client, router).table(&prices).start().await.unwrap();
    let health = running.health();
    until("all is ready", || health.is_ready()).await;
    assert_eq!(prices.get(&7).as_deref(), Some(&199));
    // What the table cannot read is the service's trouble.
    producer.send(Record::new("prices", "1").key("seven")).await.unwrap();
    until("the table has failed", || health.problems().join("").contains("table prices: ")).await;
    assert!(health.problems()[0].contains("\"seven\" is not the number"), "{:?}", health.problems());
    running.stop().await.unwrap();
    assert_eq!(prices.get(&7).as_deref(), Some(&199), "what it had can still be read");
}
