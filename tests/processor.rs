//! Reading, processing and writing exactly once, against the embedded cluster, in memory and on virtual time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests"
)]

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use milena::{
    Client, Code, Config, ErrorKind, GroupProtocol, Message, Position, Processor, Record, TransactionHandle,
    testing::{Api, Cluster, Entry, Fault, Rule},
};

const SECOND: Duration = Duration::from_secs(1);
const PARTITIONS: usize = 4;

async fn start() -> (Cluster, Client) {
    let cluster = Cluster::builder().nodes(3).topic("in", PARTITIONS).topic("out", 2);
    let cluster = cluster.in_memory().start().await.unwrap();
    let client = Client::connect_over(cluster.transport(), Config::new(cluster.bootstrap())).await.unwrap();
    (cluster, client)
}

async fn feed(client: &Client, range: std::ops::Range<usize>) {
    let producer = client.producer().build().unwrap();
    for number in range {
        producer.send(Record::new("in", &number.to_string()).key(&number.to_string())).await.unwrap();
    }
    producer.close().await.unwrap();
}

async fn processor(client: &Client, id: &str) -> Processor {
    let producer = client.producer().transactional(id).await.unwrap();
    Processor::new(client.consumer("g").topics(["in"]), producer).unwrap().max_records(7)
}

async fn copy(transaction: TransactionHandle, message: Message) -> milena::Result<()> {
    let value = message.value().unwrap();
    drop(transaction.enqueue(Record::new("out", value)).await?);
    Ok(())
}

/// The numbers in `out` that are committed, in ascending order.
async fn written(client: &Client) -> Vec<usize> {
    let reader = client.reader().topics(["out"]).start_at(Position::Earliest).build().unwrap();
    let mut numbers = Vec::new();
    while let Ok(next) = tokio::time::timeout(20 * SECOND, reader.next()).await {
        let message = next.unwrap().unwrap();
        numbers.push(std::str::from_utf8(message.value().unwrap()).unwrap().parse().unwrap());
    }
    reader.close().await.unwrap();
    numbers.sort_unstable();
    numbers
}

/// Waits until so many records are committed in `out`.
async fn until_written(client: &Client, count: usize) -> Vec<usize> {
    let deadline = tokio::time::Instant::now() + 600 * SECOND;
    loop {
        let numbers = written(client).await;
        if numbers.len() >= count {
            return numbers;
        }
        assert!(tokio::time::Instant::now() < deadline, "{} of {count} were written", numbers.len());
    }
}

#[tokio::test(start_paused = true)]
async fn every_record_counts_once() {
    let (_cluster, client) = start().await;
    feed(&client, 0..100).await;
    let mut processor = processor(&client, "a").await;
    let mut records = 0;
    while records < 100 {
        records += processor.step(copy).await.unwrap().unwrap();
    }
    processor.close().await.unwrap();
    assert_eq!(written(&client).await, (0..100).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn members_that_come_and_go_lose_and_repeat_nothing() {
    let (_cluster, client) = start().await;
    let feeder = tokio::spawn({
        let client = client.clone();
        async move {
            for part in 0..30 {
                feed(&client, part * 20..(part + 1) * 20).await;
                tokio::time::sleep(SECOND).await;
            }
        }
    });
    let mut members = Vec::new();
    for round in 0..6 {
        let mut processor = processor(&client, &format!("member-{round}")).await;
        // Every other one is dropped in the middle of whatever it does, the others stay.
        let life = if round % 2 == 0 { 13 * SECOND } else { 10_000 * SECOND };
        members.push(tokio::spawn(async move { tokio::time::timeout(life, processor.run(copy)).await }));
        tokio::time::sleep(5 * SECOND).await;
    }
    feeder.await.unwrap();
    assert_eq!(until_written(&client, 600).await, (0..600).collect::<Vec<_>>());
    for member in members {
        member.abort();
    }
}

/// The same partition comes back in another generation, in the middle of a transaction.
#[tokio::test(start_paused = true)]
async fn a_partition_that_goes_and_comes_back_in_a_transaction_is_written_once() {
    let (cluster, client) = start().await;
    cluster.create_topic("one", 1).await.unwrap();
    let feeder = client.producer().build().unwrap();
    for number in 0..10 {
        feeder.send(Record::new("one", &number.to_string())).await.unwrap();
    }
    let producer = client.producer().transactional("a").await.unwrap();
    // By the consumer protocol it would stay where it is.
    let member = client.consumer("g").topics(["one"]).protocol(GroupProtocol::Classic);
    let mut processor = Processor::new(member.clone(), producer).unwrap().max_wait(30 * SECOND);
    let calls = AtomicUsize::new(0);
    let mut records = 0;
    while records < 10 {
        let process = |transaction, message| {
            let rebalances = calls.fetch_add(1, Ordering::Relaxed) == 2;
            let other = rebalances.then(|| member.clone().build().unwrap());
            async move {
                copy(transaction, message).await?;
                let Some(other) = other else { return Ok(()) };
                while other.group_metadata().is_err() {
                    tokio::time::sleep(SECOND / 10).await;
                }
                other.close().await
            }
        };
        records += processor.step(process).await.unwrap().unwrap();
    }
    assert!(calls.load(Ordering::Relaxed) > 10, "some were processed again");
    assert_eq!(written(&client).await, (0..10).collect::<Vec<_>>());
}

/// Its coordinator dies before it misses the member, which does not lead the group and so could join the same generation
/// again: what it had sent before must not be committed any more, since it reads the same records anew.
#[tokio::test(start_paused = true)]
async fn offsets_of_before_a_loss_are_not_committed_after_it() {
    for protocol in [GroupProtocol::Classic, GroupProtocol::Consumer] {
        let cluster = Cluster::builder().nodes(3).topic("in", 1).topic("out", 2).topic("other", 1);
        let cluster = cluster.settings(|settings| {
            // Not missed, whoever coordinates the group.
            settings.group_consumer_session_timeout = 60 * SECOND;
        });
        let cluster = cluster.in_memory().start().await.unwrap();
        let connect = async |id| {
            let config = Config::new(cluster.bootstrap()).client_id(id);
            Client::connect_over(cluster.transport(), config).await.unwrap()
        };
        let other = connect("other").await;
        let leader = other.consumer("g").topics(["other"]).protocol(protocol).build().unwrap();
        while leader.assignment().is_empty() {
            tokio::time::sleep(SECOND / 20).await;
        }
        let client = connect("copier").await;
        feed(&client, 0..10).await;
        let member = client.consumer("g").topics(["in"]).protocol(protocol).session_timeout(10 * SECOND);
        let producer = client.producer().transactional("a").await.unwrap();
        let mut processor = Processor::new(member, producer).unwrap();
        let held = cluster.fault(Rule::new(Fault::CloseBefore).on(Api::TxnOffsetCommit)).await.unwrap();
        let unheard = [Api::Heartbeat, Api::ConsumerGroupHeartbeat];
        let unheard = unheard.map(|api| Rule::new(Fault::CloseBefore).on(api).client_id("copier"));
        let looked_up = async |count: usize| {
            let is_look_up = |entry: &&Entry| entry.api == Api::OffsetFetch && entry.client_id == "copier";
            while cluster.journal().await.unwrap().iter().filter(is_look_up).count() < count {
                tokio::time::sleep(SECOND / 20).await;
            }
        };
        let running = tokio::spawn(async move { processor.run(copy).await });
        looked_up(1).await;
        while held.hits() == 0 {
            tokio::time::sleep(SECOND / 20).await;
        }
        let mut faults = Vec::new();
        for rule in unheard {
            faults.push(cluster.fault(rule).await.unwrap());
        }
        for _ in 0..3 {
            tokio::time::sleep(5 * SECOND).await;
            let coordinator = cluster.coordinator("g").await.unwrap().unwrap();
            cluster.stop_node(coordinator).await.unwrap();
            cluster.start_node(coordinator).await.unwrap();
        }
        for fault in faults {
            fault.remove().await.unwrap();
        }
        looked_up(2).await;
        held.remove().await.unwrap();
        assert_eq!(until_written(&client, 10).await, (0..10).collect::<Vec<_>>(), "{protocol:?}");
        tokio::time::sleep(30 * SECOND).await;
        assert_eq!(written(&client).await, (0..10).collect::<Vec<_>>(), "{protocol:?}");
        running.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_fails_is_processed_again() {
    let (cluster, client) = start().await;
    feed(&client, 0..20).await;
    let mut processor = processor(&client, "a").await;
    let faults = [
        Rule::new(Fault::Refuse(Code::POLICY_VIOLATION)).on(Api::Produce).topic("out").skip(1).times(1),
        Rule::new(Fault::Refuse(Code::ILLEGAL_GENERATION)).on(Api::TxnOffsetCommit).skip(2).times(1),
        Rule::new(Fault::CloseAfter).on(Api::EndTxn).skip(1).times(1),
    ];
    let mut handles = Vec::new();
    for fault in faults {
        handles.push(cluster.fault(fault).await.unwrap());
    }
    let (mut records, mut failures) = (0, 0);
    while records < 20 {
        let committed = processor.step(copy).await.unwrap().unwrap();
        failures += usize::from(committed == 0);
        records += committed;
    }
    assert!(handles.iter().all(|fault| fault.hits() == 1));
    assert_eq!((records, failures), (20, 2), "a lost answer to an end is no failure");
    assert_eq!(written(&client).await, (0..20).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn what_the_user_s_code_refuses_is_told_and_read_again() {
    #[derive(Debug)]
    enum Refusal {
        Odd,
        Kafka(#[expect(dead_code, reason = "shown when the test fails")] milena::Error),
    }
    impl From<milena::Error> for Refusal {
        fn from(error: milena::Error) -> Self {
            Self::Kafka(error)
        }
    }
    let (_cluster, client) = start().await;
    feed(&client, 0..10).await;
    let mut processor = processor(&client, "a").await;
    let calls = AtomicUsize::new(0);
    let (mut records, mut refusals) = (0, 0);
    while records < 10 {
        let picky = |transaction, message| {
            // Each time but the fourth.
            let refuses = calls.fetch_add(1, Ordering::Relaxed) == 3;
            async move {
                copy(transaction, message).await?;
                if refuses { Err(Refusal::Odd) } else { Ok(()) }
            }
        };
        match processor.step(picky).await {
            Ok(committed) => records += committed.unwrap(),
            Err(Refusal::Odd) => refusals += 1,
            Err(error) => panic!("{error:?}"),
        }
    }
    assert_eq!((records, refusals), (10, 1));
    assert_eq!(written(&client).await, (0..10).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_step_that_is_dropped_is_made_again() {
    let (_cluster, client) = start().await;
    feed(&client, 0..30).await;
    let mut processor = processor(&client, "a").await;
    let mut records = 0;
    for attempt in 0.. {
        let patience = Duration::from_millis(attempt * 37);
        if let Ok(outcome) = tokio::time::timeout(patience, processor.step(copy)).await {
            records += outcome.unwrap().unwrap();
        }
        if written(&client).await.len() >= 30 {
            break;
        }
    }
    assert!(records <= 30);
    assert_eq!(written(&client).await, (0..30).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn it_ends_when_its_consumer_is_closed_or_another_takes_its_place() {
    let (_cluster, client) = start().await;
    feed(&client, 0..5).await;
    let mut first = processor(&client, "a").await;
    let mut second = processor(&client, "a").await;
    let error = first.run(copy).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Fenced { .. }), "{error}");
    first.close().await.unwrap();
    second.consumer().close().await.unwrap();
    second.run(copy).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn it_needs_a_group() {
    let (_cluster, client) = start().await;
    let producer = client.producer().transactional("a").await.unwrap();
    let error = Processor::new(client.reader().topics(["in"]), producer).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Config { .. }), "{error}");
}
