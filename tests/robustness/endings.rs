//! Clients, producers, consumers and runtimes that end, in any order, and calls that come too late.

use std::{sync::mpsc, thread, time::Duration};

use milena::{
    Client, Error, ErrorKind, Offset, Record,
    testing::{Api, Fault, Rule},
};
use tokio::{runtime::Runtime, time::Instant};

use crate::support::{SECOND, block_on, cluster, connect, values};

fn is_closed(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Closed { .. })
}

fn is_closed_or_undelivered(error: &Error) -> bool {
    is_closed(error)
        || matches!(error.kind(), ErrorKind::Undelivered { cause: Some(cause), .. } if is_closed(cause))
}

#[tokio::test(start_paused = true)]
async fn a_closed_client_ends_its_producers_at_once() {
    let (cluster, client) = cluster(1, 2).await;
    let producer = client.producer().max_in_flight(1).linger(SECOND).build().unwrap();
    producer.send(Record::new("t", "before").partition(0)).await.unwrap();
    cluster.fault(Rule::new(Fault::DropAnswer).on(Api::Produce)).await.unwrap();
    let sent = producer.enqueue(Record::new("t", "sent").partition(0)).await.unwrap();
    while cluster.log_end_offset("t", 0).await.unwrap() < Some(2) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let waiting = producer.enqueue(Record::new("t", "waiting").partition(1)).await.unwrap();
    let start = Instant::now();
    client.close();

    let (sent, waiting) = (sent.await.unwrap_err(), waiting.await.unwrap_err());
    assert!(is_closed_or_undelivered(&sent) && sent.maybe_written(), "{sent}");
    assert!(is_closed_or_undelivered(&waiting) && !waiting.maybe_written(), "{waiting}");
    for topic in ["t", "another"] {
        let error = producer.send(Record::new(topic, "late")).await.unwrap_err();
        assert!(is_closed(&error), "{topic}: {error}");
        let refused = producer.try_enqueue(Record::new(topic, "late")).unwrap_err();
        assert!(is_closed(&refused.error), "{topic}: {refused}");
    }
    assert!(is_closed(&producer.flush().await.unwrap_err()));
    assert_eq!(producer.buffered_bytes(), 0);
    let _ = producer.close().await;
    assert!(start.elapsed() < SECOND, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_closed_client_ends_its_consumers_at_once() {
    let (_cluster, client) = cluster(2, 2).await;
    client.producer().build().unwrap().send(Record::new("t", "x")).await.unwrap();
    let member = client.consumer("g").topics(["t"]).build().unwrap();
    let reader = client.reader().topics(["t"]).build().unwrap();
    for consumer in [&member, &reader] {
        values(consumer, 1).await;
    }
    let start = Instant::now();
    client.close();
    for consumer in [&member, &reader] {
        for _ in 0..2 {
            let error = consumer.next().await.unwrap().unwrap_err();
            assert!(is_closed(&error), "{error}");
        }
    }
    assert!(is_closed(&member.commit().await.unwrap_err()));
    let _ = member.close().await;
    assert!(start.elapsed() < SECOND, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_is_made_from_a_closed_client_is_closed() {
    let (_cluster, client) = cluster(1, 1).await;
    client.close();
    let start = Instant::now();
    assert!(is_closed(&client.admin().list_topics().await.unwrap_err()));
    assert!(is_closed(&client.admin().describe_cluster().await.unwrap_err()));
    match client.producer().build() {
        Ok(producer) => assert!(is_closed(&producer.send(Record::new("t", "x")).await.unwrap_err())),
        Err(error) => assert!(is_closed(&error), "{error}"),
    }
    for builder in [client.consumer("g"), client.reader()] {
        match builder.topics(["t"]).build() {
            Ok(consumer) => assert!(is_closed(&consumer.next().await.unwrap().unwrap_err())),
            Err(error) => assert!(is_closed(&error), "{error}"),
        }
    }
    assert!(start.elapsed() < SECOND, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_producer_that_closes_takes_no_more_and_settles_what_it_has() {
    let (cluster, client) = cluster(1, 1).await;
    let builder = client.producer().buffer_memory(1_500).max_request_size(1_500);
    let producer = builder.linger(SECOND).build().unwrap();
    let large = vec![b'x'; 1_200];
    cluster.fault(Rule::new(Fault::Delay(3 * SECOND)).on(Api::Produce).times(1)).await.unwrap();
    let first = producer.enqueue(Record::new("t", &large)).await.unwrap();
    let other = producer.clone();
    let task = tokio::spawn(async move { other.send(Record::new("t", &vec![b'y'; 1_200])).await });
    tokio::time::sleep(Duration::from_millis(10)).await;
    producer.clone().close().await.unwrap();
    assert_eq!(first.await.unwrap().offset, Some(Offset(0)));
    let waiting = task.await.unwrap().unwrap_err();
    assert!(is_closed(&waiting), "one that waits for room is told: {waiting}");
    assert!(is_closed(&producer.close().await.unwrap_err()));
    assert_eq!(cluster.log_end_offset("t", 0).await.unwrap(), Some(1));
}

#[tokio::test(start_paused = true)]
async fn everything_ends_when_everything_is_dropped() {
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let (cluster, client) = cluster(3, 3).await;
    drop(client);
    tokio::time::sleep(SECOND).await;
    let before = tasks();
    let client = connect(&cluster).await;
    let producer = client.producer().build().unwrap();
    let consumer = client.consumer("g").topics(["t"]).build().unwrap();
    let reader = client.reader().topics(["t"]).build().unwrap();
    producer.send(Record::new("t", "x")).await.unwrap();
    values(&consumer, 1).await;
    values(&reader, 1).await;
    assert!(tasks() > before);
    drop((client, producer, consumer, reader));
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!(tasks(), before);
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

#[test]
fn on_many_threads_a_new_producer_sends_at_once() {
    let runtime = runtime();
    for _ in 0..50 {
        let (cluster, client) = runtime.block_on(cluster(1, 1));
        let producer = runtime.block_on(async { client.producer().build() }).unwrap();
        let sent = async { tokio::time::timeout(60 * SECOND, producer.send(Record::new("t", "x"))).await };
        runtime.block_on(sent).expect("its task has missed the view of the cluster").unwrap();
        runtime.block_on(cluster.shutdown());
    }
}

/// What a call comes to on a thread without a runtime; a call that hangs fails the test.
fn without_runtime<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, outcome) = mpsc::channel();
    let thread = thread::spawn(move || drop(sender.send(call())));
    let outcome = outcome.recv_timeout(60 * SECOND);
    outcome.unwrap_or_else(|_| panic!("the call hangs or has panicked: {:?}", thread.is_finished()))
}

#[test]
fn outside_a_runtime_calls_work_or_say_that_they_need_one() {
    let runtime = runtime();
    let (cluster, client) = runtime.block_on(cluster(1, 1));
    let producer = runtime.block_on(async { client.producer().build() }).unwrap();
    let reader = runtime.block_on(async { client.reader().topics(["t"]).build() }).unwrap();
    let needs = |error: &Error, expected: &str| matches!(error.kind(), ErrorKind::NoRuntime { call, .. } if *call == expected);

    let error =
        without_runtime(|| block_on(Client::connect(milena::Config::new(["127.0.0.1:9"])))).unwrap_err();
    assert!(needs(&error, "Client::connect"), "{error}");
    let builder = client.producer();
    let error = without_runtime(|| builder.build()).unwrap_err();
    assert!(needs(&error, "ProducerBuilder::build"), "{error}");
    let builder = client.reader().topics(["t"]);
    let error = without_runtime(|| builder.build()).unwrap_err();
    assert!(needs(&error, "ConsumerBuilder::build"), "{error}");
    // These wait, which takes a clock.
    let other = producer.clone();
    let error = without_runtime(move || block_on(other.send(Record::new("u", "x")))).unwrap_err();
    assert!(needs(&error, "Producer::enqueue"), "{error}");
    let admin = client.admin();
    let error = without_runtime(move || block_on(admin.list_topics())).unwrap_err();
    assert!(needs(&error, "Metadata"), "{error}");

    // With the topic known there is nothing to wait for but other tasks.
    runtime.block_on(producer.send(Record::new("t", "x"))).unwrap();
    without_runtime(move || {
        block_on(async {
            producer.send(Record::new("t", "y")).await.unwrap();
            producer.flush().await.unwrap();
            producer.close().await.unwrap();
            for expected in [&b"x"[..], b"y"] {
                assert_eq!(reader.next().await.unwrap().unwrap().value(), Some(expected));
            }
            reader.close().await.unwrap();
        });
    });
    runtime.block_on(cluster.shutdown());
}

#[test]
fn a_runtime_that_ends_in_the_middle_of_a_send_leaves_nobody_waiting() {
    for late in [false, true] {
        let runtime = runtime();
        let (cluster, client) = runtime.block_on(cluster(1, 1));
        let (producer, reader) = runtime.block_on(async {
            let producer = client.producer().build().unwrap();
            producer.send(Record::new("t", "x")).await.unwrap();
            let reader = client.reader().topics(["t"]).build().unwrap();
            values(&reader, 1).await;
            cluster.fault(Rule::new(Fault::DropAnswer).on(Api::Produce)).await.unwrap();
            (producer, reader)
        });
        let (sender, enqueued) = mpsc::channel();
        let other = producer.clone();
        let sends = move || {
            block_on(async {
                let delivery = other.enqueue(Record::new("t", "y")).await.unwrap();
                sender.send(()).unwrap();
                delivery.await
            })
        };
        let reads = move || block_on(reader.next());
        let (sending, reading) = (thread::spawn(sends), thread::spawn(reads));
        enqueued.recv().unwrap();
        if late {
            while runtime.block_on(cluster.log_end_offset("t", 0)).unwrap() < Some(2) {}
        }
        drop(runtime);
        let error = without_runtime(|| sending.join().unwrap()).unwrap_err();
        assert!(is_closed_or_undelivered(&error) && (error.maybe_written() || !late), "{error}");
        // The reader may have been handed the record before.
        if let Err(error) = without_runtime(|| reading.join().unwrap()).unwrap() {
            assert!(is_closed(&error), "{error}");
        }
        let error = without_runtime(move || block_on(producer.send(Record::new("t", "z")))).unwrap_err();
        assert!(is_closed_or_undelivered(&error), "{error}");
        drop((client, cluster));
    }
}
