//! Transactions against the embedded cluster, in memory and on virtual time, in both versions of the protocol.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests"
)]

use std::{collections::BTreeMap, future::Future, task::Poll, time::Duration};

use milena::{
    Client, Code, Config, Consumer, ErrorKind, GroupMetadata, GroupProtocol, Isolation, OffsetAndMetadata,
    Position, Record, Resource, TopicPartition, TransactionalProducer,
    testing::{Api, Cluster, Fault, Rule},
};

const SECOND: Duration = Duration::from_secs(1);

struct Stage {
    cluster: Cluster,
    client: Client,
}

impl Stage {
    async fn new(version: u8) -> Self {
        let cluster = Cluster::builder().nodes(3).topic("t", 2).topic("u", 1).transaction_version(version);
        let cluster = cluster.in_memory().start().await.unwrap();
        let client = connect(&cluster).await;
        Self { cluster, client }
    }

    async fn producer(&self) -> TransactionalProducer {
        self.client.producer().transactional("tx").await.unwrap()
    }

    /// What is in both topics, as one who reads like this sees it, in the order of the partitions.
    async fn read(&self, isolation: Isolation) -> Vec<String> {
        let reader =
            self.client.reader().topics(["t", "u"]).isolation(isolation).start_at(Position::Earliest);
        let reader = reader.build().unwrap();
        let mut values = Vec::new();
        // On virtual time this takes none: it is over when nothing more comes.
        while let Ok(next) = tokio::time::timeout(20 * SECOND, reader.next()).await {
            let message = next.unwrap().unwrap();
            values.push(String::from_utf8(message.value().unwrap().to_vec()).unwrap());
        }
        reader.close().await.unwrap();
        values.sort();
        values
    }

    async fn committed(&self) -> Vec<String> {
        self.read(Isolation::ReadCommitted).await
    }
}

async fn connect(cluster: &Cluster) -> Client {
    Client::connect_over(cluster.transport(), Config::new(cluster.bootstrap())).await.unwrap()
}

/// Runs a test in both versions of the protocol.
fn in_both_versions<F: Future<Output = ()>>(test: impl Fn(Stage) -> F) {
    for version in [1, 2] {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.unwrap().block_on(async { test(Stage::new(version).await).await });
    }
}

/// Polls a future once, and drops it.
async fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    let mut future = Box::pin(future);
    std::future::poll_fn(|cx| {
        Poll::Ready(match future.as_mut().poll(cx) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    })
    .await
}

fn offsets(partition: i32, offset: i64) -> BTreeMap<TopicPartition, OffsetAndMetadata> {
    [(TopicPartition::new("t", partition), OffsetAndMetadata::new(offset))].into()
}

#[test]
fn what_is_committed_is_seen_together_and_what_is_aborted_never() {
    in_both_versions(async |stage| {
        let mut producer = stage.producer().await;
        for round in 0..4 {
            let transaction = producer.begin().await.unwrap();
            for partition in 0..2 {
                let value = format!("{round}-{partition}");
                drop(transaction.enqueue(Record::new("t", &value).partition(partition)).await.unwrap());
            }
            transaction.send(Record::new("u", &format!("{round}-u"))).await.unwrap();
            let before = stage.committed().await;
            assert!(before.iter().all(|value| !value.starts_with(&round.to_string())), "{before:?}");
            if round % 2 == 0 {
                transaction.commit().await.unwrap();
            } else {
                transaction.abort().await.unwrap();
            }
        }
        assert_eq!(stage.committed().await, ["0-0", "0-1", "0-u", "2-0", "2-1", "2-u"]);
        assert_eq!(stage.read(Isolation::ReadUncommitted).await.len(), 12);
        producer.close().await.unwrap();
    });
}

#[test]
fn a_transaction_that_is_dropped_is_aborted() {
    in_both_versions(async |stage| {
        let mut producer = stage.producer().await;
        let transaction = producer.begin().await.unwrap();
        transaction.send(Record::new("t", "dropped")).await.unwrap();
        drop(transaction);
        let transaction = producer.begin().await.unwrap();
        transaction.send(Record::new("t", "kept")).await.unwrap();
        transaction.commit().await.unwrap();
        assert_eq!(stage.committed().await, ["kept"]);
    });
}

#[test]
fn a_commit_goes_on_when_its_future_is_dropped() {
    in_both_versions(async |stage| {
        let mut producer = stage.producer().await;
        let transaction = producer.begin().await.unwrap();
        drop(transaction.enqueue(Record::new("t", "a")).await.unwrap());
        assert!(poll_once(transaction.commit()).await.is_none(), "it takes a round trip");
        let transaction = producer.begin().await.unwrap();
        assert_eq!(stage.committed().await, ["a"], "the next begin waits for the outcome");
        transaction.abort().await.unwrap();
    });
}

#[test]
fn a_begin_that_is_dropped_leaves_nothing_open() {
    in_both_versions(async |stage| {
        let mut producer = stage.producer().await;
        for _ in 0..3 {
            drop(poll_once(producer.begin()).await);
            tokio::task::yield_now().await;
        }
        let transaction = producer.begin().await.unwrap();
        transaction.send(Record::new("t", "a")).await.unwrap();
        transaction.commit().await.unwrap();
        assert_eq!(stage.committed().await, ["a"]);
    });
}

#[test]
fn an_empty_transaction_commits_without_a_request() {
    in_both_versions(async |stage| {
        let mut producer = stage.producer().await;
        let transaction = producer.begin().await.unwrap();
        transaction.commit().await.unwrap();
        producer.begin().await.unwrap().abort().await.unwrap();
        let journal = stage.cluster.journal().await.unwrap();
        assert!(journal.iter().all(|entry| entry.api != Api::EndTxn));
    });
}

#[test]
fn a_second_instance_fences_the_first() {
    in_both_versions(async |stage| {
        let mut first = stage.producer().await;
        let transaction = first.begin().await.unwrap();
        transaction.send(Record::new("t", "zombie")).await.unwrap();
        let mut second = stage.producer().await;
        let error = transaction.commit().await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Fenced { .. }) && error.is_fatal(), "{error}");
        let error = first.begin().await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Fenced { .. }), "every call says the same: {error}");
        let transaction = second.begin().await.unwrap();
        transaction.send(Record::new("t", "heir")).await.unwrap();
        transaction.commit().await.unwrap();
        assert_eq!(stage.committed().await, ["heir"]);
        first.close().await.unwrap();
    });
}

#[test]
fn a_handle_takes_part_until_the_end_and_no_longer() {
    in_both_versions(async |stage| {
        let mut producer = stage.producer().await;
        let transaction = producer.begin().await.unwrap();
        let handle = transaction.handle();
        let task = tokio::spawn({
            let handle = handle.clone();
            async move { handle.send(Record::new("t", "from a task")).await }
        });
        task.await.unwrap().unwrap();
        transaction.commit().await.unwrap();
        let ended = |kind: &ErrorKind| matches!(kind, ErrorKind::TransactionEnded { .. });
        let error = handle.send(Record::new("t", "late")).await.unwrap_err();
        assert!(ended(error.kind()), "{error}");
        let transaction = producer.begin().await.unwrap();
        assert!(ended(handle.send(Record::new("t", "late")).await.unwrap_err().kind()));
        let group = GroupMetadata::of_group("g");
        assert!(ended(handle.commit_offsets(&group, offsets(0, 1)).await.unwrap_err().kind()));
        transaction.commit().await.unwrap();
        assert_eq!(stage.committed().await, ["from a task"]);
    });
}

#[test]
fn offsets_count_with_the_transaction_and_not_before() {
    in_both_versions(async |stage| {
        let mut producer = stage.producer().await;
        let consumer = stage.client.consumer("g").topics(["t"]).build().unwrap();
        let committed = async |consumer: &Consumer| {
            let found = consumer.committed(&[TopicPartition::new("t", 0)]).await.unwrap();
            found.values().map(|committed| committed.offset.0).collect::<Vec<_>>()
        };
        let transaction = producer.begin().await.unwrap();
        transaction.send(Record::new("u", "a")).await.unwrap();
        transaction.commit_offsets(&GroupMetadata::of_group("g"), offsets(0, 5)).await.unwrap();
        transaction.abort().await.unwrap();
        assert_eq!(committed(&consumer).await, []);
        let transaction = producer.begin().await.unwrap();
        transaction.commit_offsets(&GroupMetadata::of_group("g"), offsets(0, 7)).await.unwrap();
        transaction.commit().await.unwrap();
        assert_eq!(committed(&consumer).await, [7], "of offsets alone");
        consumer.close().await.unwrap();
    });
}

#[test]
fn a_record_that_cannot_be_delivered_fails_the_transaction_and_the_producer_goes_on() {
    in_both_versions(async |stage| {
        let mut producer = stage.producer().await;
        let rule = Rule::new(Fault::Refuse(Code::POLICY_VIOLATION)).on(Api::Produce).topic("u").times(1);
        let fault = stage.cluster.fault(rule).await.unwrap();
        let transaction = producer.begin().await.unwrap();
        drop(transaction.enqueue(Record::new("t", "lost with it")).await.unwrap());
        let error = transaction.send(Record::new("u", "refused")).await.unwrap_err();
        assert_eq!(error.code(), Some(Code::POLICY_VIOLATION), "{error}");
        let error = transaction.send(Record::new("t", "too late")).await.unwrap_err();
        assert!(error.requires_abort() && error.code() == Some(Code::POLICY_VIOLATION), "{error}");
        let error = transaction.commit().await.unwrap_err();
        assert!(error.requires_abort() && error.code() == Some(Code::POLICY_VIOLATION), "{error}");
        assert_eq!(fault.hits(), 1);
        let transaction = producer.begin().await.unwrap();
        transaction.send(Record::new("u", "kept")).await.unwrap();
        transaction.commit().await.unwrap();
        assert_eq!(stage.committed().await, ["kept"]);
    });
}

#[test]
fn a_transaction_that_is_open_for_too_long_is_aborted_and_the_next_one_goes_on() {
    in_both_versions(async |stage| {
        let builder = stage.client.producer().transaction_timeout(10 * SECOND);
        let mut producer = builder.transactional("tx").await.unwrap();
        let transaction = producer.begin().await.unwrap();
        transaction.send(Record::new("t", "slow")).await.unwrap();
        tokio::time::sleep(30 * SECOND).await;
        let error = transaction.commit().await.unwrap_err();
        assert!(error.requires_abort() && error.to_string().contains("transaction_timeout"), "{error}");
        let transaction = producer.begin().await.unwrap();
        transaction.send(Record::new("t", "quick")).await.unwrap();
        transaction.commit().await.unwrap();
        assert_eq!(stage.committed().await, ["quick"]);
    });
}

#[test]
fn an_end_whose_answer_is_lost_is_asked_for_until_it_is_known() {
    in_both_versions(async |stage| {
        let mut producer = stage.producer().await;
        for (round, fault) in
            [Fault::CloseBefore, Fault::CloseAfter, Fault::DropAnswer].into_iter().enumerate()
        {
            let rule = Rule::new(fault).on(Api::EndTxn).times(1);
            let fault = stage.cluster.fault(rule).await.unwrap();
            let transaction = producer.begin().await.unwrap();
            transaction.send(Record::new("t", &format!("{round}"))).await.unwrap();
            transaction.commit().await.unwrap();
            assert_eq!(fault.hits(), 1);
        }
        assert_eq!(stage.committed().await, ["0", "1", "2"]);
    });
}

#[test]
fn the_coordinator_may_stop_in_the_middle() {
    in_both_versions(async |stage| {
        let mut producer = stage.producer().await;
        for round in 0..3 {
            let transaction = producer.begin().await.unwrap();
            transaction.send(Record::new("t", &format!("{round}"))).await.unwrap();
            let coordinator = stage.cluster.coordinator("tx").await.unwrap().unwrap();
            stage.cluster.stop_node(coordinator).await.unwrap();
            transaction.commit().await.unwrap();
            stage.cluster.start_node(coordinator).await.unwrap();
        }
        assert_eq!(stage.committed().await, ["0", "1", "2"]);
    });
}

#[test]
fn a_refused_id_is_told_when_the_producer_is_made() {
    in_both_versions(async |stage| {
        stage.cluster.deny(Resource::TransactionalId, "tx").await.unwrap();
        let error = stage.client.producer().transactional("tx").await.unwrap_err();
        assert!(error.is_fatal(), "{error}");
        let ErrorKind::ProducerFailed { cause, .. } = error.kind() else { panic!("{error}") };
        assert!(
            matches!(cause.kind(), ErrorKind::NotAuthorized { resource: Resource::TransactionalId, .. }),
            "{cause}"
        );
    });
}

#[test]
fn settings_that_do_not_go_with_transactions_are_refused() {
    in_both_versions(async |stage| {
        let builder = stage.client.producer().acks(milena::Acks::Leader).transaction_timeout(Duration::ZERO);
        let error = builder.transactional("").await.unwrap_err();
        let ErrorKind::Config { problems, .. } = error.kind() else { panic!("{error}") };
        let settings: Vec<_> = problems.iter().map(|problem| problem.setting).collect();
        assert_eq!(settings, ["transactional_id", "idempotence", "transaction_timeout"]);
    });
}

#[test]
fn a_generation_that_is_over_cannot_commit() {
    for (protocol, codes) in [
        (GroupProtocol::Classic, &[Code::ILLEGAL_GENERATION][..]),
        // The first of transactions' versions has no word for it.
        (GroupProtocol::Consumer, &[Code::ILLEGAL_GENERATION, Code::STALE_MEMBER_EPOCH]),
    ] {
        in_both_versions(async |stage| commit_late(stage, protocol, codes).await);
    }
}

async fn commit_late(stage: Stage, protocol: GroupProtocol, codes: &[Code]) {
    let feeder = stage.client.producer().build().unwrap();
    feeder.send(Record::new("t", "in").partition(0)).await.unwrap();
    let builder = stage.client.consumer("g").topics(["t"]).protocol(protocol);
    let old = builder.clone().build().unwrap();
    old.next().await.unwrap().unwrap();
    let member = old.group_metadata().unwrap();
    assert!(member.member().is_some_and(|(id, generation)| !id.is_empty() && generation > 0));
    let new = builder.build().unwrap();
    while new.assignment().is_empty() {
        tokio::time::sleep(SECOND).await;
    }
    assert_eq!(old.group_metadata().unwrap(), member, "nothing was handed out since");
    // What the old one has kept it may still commit (KIP-1251).
    let given_up = new.assignment()[0].partition.0;
    let mut producer = stage.producer().await;
    let transaction = producer.begin().await.unwrap();
    transaction.send(Record::new("u", "out")).await.unwrap();
    let error = transaction.commit_offsets(&member, offsets(given_up, 1)).await.unwrap_err();
    assert!(error.requires_abort() && error.code().is_some_and(|code| codes.contains(&code)), "{error}");
    assert!(transaction.commit().await.unwrap_err().requires_abort());
    assert_eq!(stage.committed().await, ["in"]);
}
