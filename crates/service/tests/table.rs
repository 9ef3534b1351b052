//! Tables on the embedded cluster, in memory and on virtual time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests"
)]

use std::{
    future::Future,
    ops::Bound::{self, Excluded, Included, Unbounded},
    sync::Arc,
    time::Duration,
};

use milena::{
    Client, Code, Config, ErrorKind, Message, Offset, Producer, Record, Resource, TopicPartition,
    testing::{Api, Cluster, Fault, FaultHandle, Rule},
};
use milena_service::{BoxError, Decode, LogPosition, OnUndecodable, Table, TableBuilder, TableError};

/// Virtual time that nothing should take.
const LONG: Duration = Duration::from_secs(300);
const SECOND: Duration = Duration::from_secs(1);

struct Stage {
    cluster: Cluster,
    client: Client,
    producer: Producer,
}

impl Stage {
    /// A cluster of three with the compacted topic "t".
    async fn new(partitions: usize) -> Self {
        let cluster =
            Cluster::builder().nodes(3).topic_with("t", partitions, &[("cleanup.policy", "compact")]);
        let cluster = cluster.in_memory().start().await.unwrap();
        let client = connect(&cluster).await;
        let producer = client.producer().build().unwrap();
        Self { cluster, client, producer }
    }

    async fn put(&self, key: &str, value: u32) -> LogPosition {
        self.send(Record::new("t", &value.to_string()).key(key)).await
    }

    async fn remove(&self, key: &str) -> LogPosition {
        self.send(Record::tombstone("t", key)).await
    }

    async fn send(&self, record: Record<'_>) -> LogPosition {
        let delivered = self.producer.send(record).await.unwrap();
        LogPosition::of_delivered("t", &delivered).unwrap()
    }

    fn table(&self) -> TableBuilder<String, u32> {
        Table::builder(&self.client, "t")
    }

    async fn ready(&self) -> Table<String, u32> {
        let table = self.table().start().await.unwrap();
        soon(table.ready()).await.unwrap();
        table
    }

    /// Nothing is read until the rule is removed.
    async fn hold_fetches(&self) -> FaultHandle {
        let rule = Rule::new(Fault::CloseBefore).on(Api::Fetch);
        self.cluster.fault(rule).await.unwrap()
    }
}

async fn connect(cluster: &Cluster) -> Client {
    Client::connect_over(cluster.transport(), Config::new(cluster.bootstrap())).await.unwrap()
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, future).await.expect("it takes for ever")
}

/// Waits until something is so.
async fn until(mut is_so: impl FnMut() -> bool) {
    soon(async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

fn entries(table: &Table<String, u32>) -> Vec<(String, u32)> {
    table.snapshot().into_iter().map(|(key, value)| (key, *value)).collect()
}

fn pairs(expected: &[(&str, u32)]) -> Vec<(String, u32)> {
    expected.iter().map(|(key, value)| ((*key).to_owned(), *value)).collect()
}

fn tp(partition: i32) -> TopicPartition {
    TopicPartition::new("t", partition)
}

#[tokio::test(start_paused = true)]
async fn a_table_is_ready_when_it_holds_what_was_there_and_follows_what_comes() {
    let stage = Stage::new(3).await;
    for (value, key) in (0..).zip(["a", "b", "c", "d", "a"]) {
        stage.put(key, value).await;
    }
    stage.remove("b").await;
    let table = stage.table().start().await.unwrap();
    soon(table.ready()).await.unwrap();
    assert!(table.is_ready());
    assert_eq!(entries(&table), pairs(&[("a", 4), ("c", 2), ("d", 3)]));
    assert_eq!((table.get("a").as_deref(), table.get("b"), table.len()), (Some(&4), None, 3));
    assert!(table.contains_key("d") && !table.is_empty());

    let position = stage.remove("a").await;
    soon(table.wait_for(&position, LONG)).await.unwrap();
    assert_eq!(entries(&table), pairs(&[("c", 2), ("d", 3)]));
    let range = |range: (Bound<String>, Bound<String>), limit| table.range(range, limit).len();
    assert_eq!(range((Excluded("c".to_owned()), Unbounded), 9), 1);
    assert_eq!(range((Unbounded, Unbounded), 1), 1);
    assert_eq!(range((Included("d".to_owned()), Included("c".to_owned())), 9), 0);
}

#[tokio::test(start_paused = true)]
async fn a_table_of_nothing_is_ready_too() {
    let stage = Stage::new(2).await;
    let table = stage.ready().await;
    assert!(table.is_empty());
    for partition in 0..2 {
        stage.send(Record::new("t", "1").key("gone").partition(partition)).await;
        stage.cluster.delete_records("t", partition, 1).await.unwrap();
    }
    assert!(stage.ready().await.is_empty(), "nor does it wait for what was deleted");
}

#[tokio::test(start_paused = true)]
async fn what_was_written_is_there_when_it_was_waited_for() {
    let stage = Stage::new(3).await;
    let table = stage.ready().await;
    for value in 0..100 {
        let key = (value % 7).to_string();
        let position = stage.put(&key, value).await;
        table.wait_for(position.clone(), LONG).await.unwrap();
        assert_eq!(table.get(&key).as_deref(), Some(&value));
        table.wait_for(position, Duration::ZERO).await.expect("it is there already");
    }
}

#[tokio::test(start_paused = true)]
async fn markers_and_aborted_records_hold_nobody_up() {
    let stage = Stage::new(1).await;
    let mut producer = stage.client.producer().transactional("tx").await.unwrap();
    let transaction = producer.begin().await.unwrap();
    transaction.send(Record::new("t", "1").key("a")).await.unwrap();
    transaction.commit().await.unwrap();
    let transaction = producer.begin().await.unwrap();
    let aborted = transaction.send(Record::new("t", "2").key("a")).await.unwrap();
    transaction.abort().await.unwrap();

    let table = stage.ready().await;
    assert_eq!(entries(&table), pairs(&[("a", 1)]));
    table.wait_for(LogPosition::of_delivered("t", &aborted).unwrap(), Duration::ZERO).await.unwrap();

    let transaction = producer.begin().await.unwrap();
    let open = transaction.send(Record::new("t", "3").key("a")).await.unwrap();
    let open = LogPosition::of_delivered("t", &open).unwrap();
    let timeout = table.wait_for(&open, SECOND).await.unwrap_err();
    assert!(matches!(&timeout, TableError::Timeout { after: SECOND, .. }), "{timeout}");
    assert_eq!(timeout.to_string(), "the table has not got to t-0@4 in 1s");
    assert_eq!(entries(&stage.ready().await), pairs(&[("a", 1)]), "what is open is not waited for");
    let waiter = tokio::spawn({
        let table = table.clone();
        let open = open.clone();
        async move { table.wait_for(open, LONG).await }
    });
    tokio::task::yield_now().await;
    transaction.abort().await.unwrap();
    soon(waiter).await.unwrap().unwrap();

    let transaction = producer.begin().await.unwrap();
    let unwatched = transaction.send(Record::new("t", "4").key("a")).await.unwrap();
    transaction.abort().await.unwrap();
    tokio::time::sleep(10 * SECOND).await;
    let position = LogPosition::of_delivered("t", &unwatched).unwrap();
    table.wait_for(position, SECOND).await.expect("it was passed while nobody waited");
    assert_eq!(entries(&table), pairs(&[("a", 1)]));
}

#[tokio::test(start_paused = true)]
async fn a_compacted_log_is_read_over_its_gaps() {
    let stage = Stage::new(1).await;
    for value in 0..50 {
        stage.put(["a", "b"][value as usize % 2], value).await;
    }
    assert!(stage.cluster.compact("t", 0).await.unwrap());
    let table = stage.ready().await;
    assert_eq!(entries(&table), pairs(&[("a", 48), ("b", 49)]));
    table.wait_for((tp(0), Offset(3)), Duration::ZERO).await.expect("it was compacted away");
}

#[tokio::test(start_paused = true)]
async fn a_position_elsewhere_is_not_waited_for() {
    let stage = Stage::new(1).await;
    let table = stage.ready().await;
    let elsewhere = LogPosition::new(TopicPartition::new("u", 0), 0);
    let error = table.wait_for(&elsewhere, LONG).await.unwrap_err();
    assert!(matches!(&error, TableError::NotRead { position, .. } if *position == elsewhere), "{error}");
    let before = tokio::time::Instant::now();
    let error = table.wait_for((&tp(5), Offset(0)), SECOND).await.unwrap_err();
    assert!(matches!(error, TableError::NotRead { .. }), "{error}");
    assert!(before.elapsed() >= SECOND, "the partition might have appeared");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_decoded_fails_the_table_which_keeps_what_it_has() {
    let stage = Stage::new(1).await;
    stage.put("a", 1).await;
    let table = stage.ready().await;
    let mut changes = table.changes();
    stage.put("a", 2).await;
    let bad = stage.send(Record::new("t", "no number").key("b")).await;
    let behind = stage.put("c", 3).await;
    let error = table.wait_for(behind, LONG).await.unwrap_err();
    assert!(matches!(&error, TableError::Undecodable { at, .. } if *at == bad), "{error}");
    assert_eq!(error.to_string(), "the record t-0@2 cannot be decoded");
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("JSON"));
    assert!(table.ready().await.is_err() && !table.is_ready());
    assert_eq!(entries(&table), pairs(&[("a", 2)]));
    assert!(table.wait_for((tp(0), Offset(1)), LONG).await.is_ok(), "it had got there");
    assert!(changes.changed().await.is_ok() && changes.changed().await.is_err());
    let health = table.health();
    assert!(!health.is_ready && matches!(health.failure, Some(TableError::Undecodable { .. })));
    let why = table.check().unwrap_err();
    assert!(why.starts_with("the record t-0@2 cannot be decoded: the value is not the JSON"), "{why}");
    soon(table.stop()).await;
    assert!(matches!(table.failure(), Some(TableError::Undecodable { .. })), "the first failure counts");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_decoded_is_counted_if_it_is_skipped() {
    let stage = Stage::new(1).await;
    stage.put("a", 1).await;
    stage.send(Record::new("t", "no number").key("a")).await;
    stage.send(Record::new("t", "7").key(&[0xff])).await;
    stage.send(Record::tombstone("t", &[0xff])).await;
    stage.put("b", 2).await;
    let table = stage.table().on_undecodable(OnUndecodable::Skip).start().await.unwrap();
    soon(table.ready()).await.unwrap();
    assert_eq!((table.undecodable(), table.health().undecodable), (3, 3));
    assert_eq!(entries(&table), pairs(&[("a", 1), ("b", 2)]));
}

#[tokio::test(start_paused = true)]
async fn a_record_without_a_key_cannot_be_decoded() {
    let cluster = Cluster::builder().topic("t", 1).in_memory().start().await.unwrap();
    let client = connect(&cluster).await;
    client.producer().build().unwrap().send(Record::new("t", "1")).await.unwrap();
    let table: Table<String, u32> = Table::start(&client, "t").await.unwrap();
    let error = soon(table.ready()).await.unwrap_err();
    assert!(matches!(error, TableError::Undecodable { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn too_many_keys_fail_the_table_and_name_the_setting() {
    let stage = Stage::new(1).await;
    for value in 0..5 {
        stage.put(&value.to_string(), value).await;
    }
    let table = stage.table().max_entries(3).start().await.unwrap();
    let error = soon(table.ready()).await.unwrap_err();
    assert_eq!(error.to_string(), "the record t-0@3 has a key more than the 3 that max_entries allows");
    assert_eq!(table.len(), 3);
    let error = stage.table().max_entries(0).start().await.unwrap_err();
    assert_eq!(error.to_string(), "max_entries cannot be 0: it must be 1 or more");
}

struct Upper;

impl Decode<String, String> for Upper {
    fn key(&self, record: &Message) -> Result<String, BoxError> {
        Ok(String::from_utf8(record.key().ok_or("no key")?.to_vec())?)
    }

    fn value(&self, record: &Message) -> Result<String, BoxError> {
        Ok(String::from_utf8(record.value().ok_or("no value")?.to_vec())?.to_uppercase())
    }
}

#[tokio::test(start_paused = true)]
async fn records_are_decoded_as_the_user_says() {
    let stage = Stage::new(1).await;
    stage.send(Record::new("t", "text").key("1")).await;
    let table = Table::builder(&stage.client, "t").decode(Upper).start().await.unwrap();
    soon(table.ready()).await.unwrap();
    assert_eq!(table.get("1"), Some(Arc::new("TEXT".to_owned())));
    let key = |record: &Message| -> Result<u8, BoxError> {
        Ok(std::str::from_utf8(record.key().ok_or("no key")?)?.parse()?)
    };
    let value = |record: &Message| -> Result<usize, BoxError> { Ok(record.value().map_or(0, <[u8]>::len)) };
    let table = Table::builder(&stage.client, "t").decode((key, value)).start().await.unwrap();
    soon(table.ready()).await.unwrap();
    assert_eq!(table.snapshot(), [(1, Arc::new(4))]);
}

#[tokio::test(start_paused = true)]
async fn large_batches_are_applied_in_turns() {
    let stage = Stage::new(1).await;
    for value in 0..5_000_u32 {
        let (key, value) = ((value % 3_000).to_string(), value.to_string());
        drop(stage.producer.enqueue(Record::new("t", &value).key(&key)).await.unwrap());
    }
    stage.producer.flush().await.unwrap();
    let table = stage.ready().await;
    assert_eq!((table.len(), table.get("1999").as_deref()), (3_000, Some(&4_999)));
    assert_eq!(table.get("2000").as_deref(), Some(&2_000));
}

#[tokio::test(start_paused = true)]
async fn records_that_were_deleted_before_they_were_read_fail_the_table() {
    let stage = Stage::new(1).await;
    stage.put("a", 1).await;
    let table = stage.ready().await;
    assert_eq!(table.check(), Ok(()));
    let held = stage.hold_fetches().await;
    until(|| held.hits() > 0).await;
    stage.put("a", 2).await;
    let last = stage.put("b", 3).await;
    stage.cluster.delete_records("t", 0, 2).await.unwrap();
    held.remove().await.unwrap();
    let error = table.wait_for(last, LONG).await.unwrap_err();
    let TableError::Client { error, .. } = &error else { panic!("{error}") };
    assert!(matches!(error.kind(), ErrorKind::OffsetOutOfRange { .. }), "{error}");
    assert_eq!(entries(&table), pairs(&[("a", 1)]));
}

#[tokio::test(start_paused = true)]
async fn records_that_were_deleted_before_anything_was_read_are_not_missed() {
    let stage = Stage::new(1).await;
    for value in 0..5 {
        stage.put(&value.to_string(), value).await;
    }
    let held = stage.hold_fetches().await;
    let table = stage.table().start().await.unwrap();
    until(|| held.hits() > 0).await;
    stage.cluster.delete_records("t", 0, 3).await.unwrap();
    held.remove().await.unwrap();
    soon(table.ready()).await.unwrap();
    assert_eq!(entries(&table), pairs(&[("3", 3), ("4", 4)]));
}

#[tokio::test(start_paused = true)]
async fn lost_records_fail_the_table() {
    let stage = Stage::new(1).await;
    stage.put("a", 1).await;
    stage.put("b", 2).await;
    let table = stage.ready().await;
    stage.cluster.lose_records("t", 0, 1).await.unwrap();
    until(|| table.failure().is_some()).await;
    let Some(TableError::Client { error, .. }) = table.failure() else { panic!("{table:?}") };
    assert!(matches!(error.kind(), ErrorKind::LogTruncated { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_is_created_anew_fails_the_table() {
    let stage = Stage::new(1).await;
    stage.put("a", 1).await;
    let table = stage.ready().await;
    stage.cluster.delete_topic("t").await.unwrap();
    stage.cluster.create_topic("t", 1).await.unwrap();
    until(|| table.failure().is_some()).await;
    let Some(TableError::Client { error, .. }) = table.failure() else { panic!("{table:?}") };
    assert!(matches!(error.kind(), ErrorKind::TopicRecreated { .. }), "{error}");
    assert_eq!(entries(&table), pairs(&[("a", 1)]));
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_is_gone_fails_the_table_after_its_timeout() {
    let stage = Stage::new(1).await;
    let table = stage.table().topic_timeout(10 * SECOND).start().await.unwrap();
    soon(table.ready()).await.unwrap();
    stage.cluster.delete_topic("t").await.unwrap();
    until(|| table.failure().is_some()).await;
    let Some(TableError::Client { error, .. }) = table.failure() else { panic!("{table:?}") };
    assert!(matches!(error.kind(), ErrorKind::UnknownTopic { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_table_waits_for_its_topic_to_appear_but_not_for_ever() {
    let stage = Stage::new(1).await;
    let missing = Table::<String, u32>::builder(&stage.client, "late");
    let error = missing.topic_timeout(5 * SECOND).start().await.unwrap_err();
    let TableError::Client { error, .. } = &error else { panic!("{error}") };
    assert!(matches!(error.kind(), ErrorKind::UnknownTopic { .. }), "{error}");
    let late = Table::<String, u32>::start(&stage.client, "late");
    let created = async {
        tokio::time::sleep(SECOND).await;
        stage.cluster.create_topic("late", 2).await.unwrap();
    };
    let (table, ()) = soon(async { tokio::join!(late, created) }).await;
    soon(table.unwrap().ready()).await.unwrap();
    let invalid = Table::<String, u32>::start(&stage.client, "no/topic").await.unwrap_err();
    assert!(matches!(invalid, TableError::Client { .. }), "{invalid}");
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_may_not_be_read_is_an_error() {
    let stage = Stage::new(1).await;
    stage.cluster.deny(Resource::Topic, "t").await.unwrap();
    let error = stage.table().start().await.unwrap_err();
    let TableError::Client { error, .. } = &error else { panic!("{error}") };
    assert!(matches!(error.kind(), ErrorKind::NotAuthorized { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn leaders_that_come_and_go_hold_the_table_up_and_do_not_fail_it() {
    let stage = Stage::new(3).await;
    let table = stage.ready().await;
    for node in 1..=3 {
        stage.cluster.stop_node(node).await.unwrap();
        let position = stage.put("a", u32::try_from(node).unwrap()).await;
        soon(table.wait_for(position, LONG)).await.unwrap();
        stage.cluster.start_node(node).await.unwrap();
    }
    assert_eq!(entries(&table), pairs(&[("a", 3)]));
}

#[tokio::test(start_paused = true)]
async fn an_error_that_passes_is_told_until_something_is_read() {
    let stage = Stage::new(1).await;
    stage.put("a", 1).await;
    let rule = Rule::new(Fault::Refuse(Code::INVALID_REQUEST)).on(Api::Fetch).topic("t");
    let refused = stage.cluster.fault(rule).await.unwrap();
    let table = stage.table().start().await.unwrap();
    until(|| table.health().last_error.is_some()).await;
    let error = table.health().last_error.unwrap();
    assert_eq!(error.code(), Some(Code::INVALID_REQUEST));
    assert!(table.failure().is_none() && !table.is_ready());
    refused.remove().await.unwrap();
    soon(table.ready()).await.unwrap();
    assert!(table.health().last_error.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_stopped_table_says_so_and_keeps_what_it_has() {
    let stage = Stage::new(1).await;
    stage.put("a", 1).await;
    let table = stage.ready().await;
    let waiter = tokio::spawn({
        let table = table.clone();
        async move { table.wait_for((tp(0), Offset(9)), LONG).await }
    });
    tokio::task::yield_now().await;
    soon(table.stop()).await;
    soon(table.stop()).await;
    assert!(matches!(soon(waiter).await.unwrap(), Err(TableError::Stopped { .. })));
    assert!(matches!(table.ready().await, Err(TableError::Stopped { .. })));
    assert_eq!((entries(&table), table.is_ready()), (pairs(&[("a", 1)]), false));
}

#[tokio::test(start_paused = true)]
async fn the_last_handle_ends_the_table() {
    let stage = Stage::new(1).await;
    let table = stage.ready().await;
    let mut changes = table.changes();
    let other = table.clone();
    drop(table);
    let position = stage.put("a", 1).await;
    soon(other.wait_for(position, LONG)).await.unwrap();
    soon(changes.changed()).await.unwrap();
    drop(other);
    assert!(matches!(soon(changes.changed()).await, Err(TableError::Stopped { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_closed_client_fails_its_tables() {
    let stage = Stage::new(1).await;
    let client = connect(&stage.cluster).await;
    let table: Table<String, u32> = Table::start(&client, "t").await.unwrap();
    soon(table.ready()).await.unwrap();
    client.close();
    until(|| table.failure().is_some()).await;
    soon(table.stop()).await;
}

#[tokio::test(start_paused = true)]
async fn a_decoder_that_panics_leaves_nobody_waiting() {
    let stage = Stage::new(1).await;
    stage.put("a", 1).await;
    let key = |record: &Message| -> Result<String, BoxError> {
        assert!(record.key().is_none(), "this test panics on purpose");
        Ok(String::new())
    };
    let value = |_: &Message| -> Result<u32, BoxError> { Ok(1) };
    let table = Table::builder(&stage.client, "t").decode((key, value)).start().await.unwrap();
    assert!(matches!(soon(table.ready()).await, Err(TableError::Stopped { .. })));
    soon(table.stop()).await;
}

#[tokio::test(start_paused = true)]
async fn changes_are_told_once_however_many_there_were() {
    let stage = Stage::new(1).await;
    stage.put("a", 0).await;
    let table = stage.ready().await;
    let mut changes = table.changes();
    let nothing = tokio::time::timeout(10 * SECOND, changes.changed()).await;
    assert!(nothing.is_err(), "nothing has changed since");
    for value in 1..10 {
        let position = stage.put("a", value).await;
        table.wait_for(position, LONG).await.unwrap();
    }
    let first = soon(changes.changed()).await.unwrap();
    assert!(tokio::time::timeout(10 * SECOND, changes.changed()).await.is_err());
    stage.remove("a").await;
    assert!(soon(changes.changed()).await.unwrap() > first);
    assert!(table.is_empty());
}

#[tokio::test(start_paused = true)]
async fn old_entries_go_by_themselves() {
    let stage = Stage::new(1).await;
    stage.put("old", 1).await;
    tokio::time::sleep(30 * SECOND).await;
    stage.put("young", 2).await;
    let table = stage.table().expire_after(60 * SECOND).start().await.unwrap();
    soon(table.ready()).await.unwrap();
    assert_eq!(table.len(), 2);
    let mut changes = table.changes();
    soon(changes.changed()).await.unwrap();
    assert_eq!(entries(&table), pairs(&[("young", 2)]));
    soon(changes.changed()).await.unwrap();
    assert!(table.is_empty());
    let table = stage.table().expire_after(60 * SECOND).max_entries(1).start().await.unwrap();
    soon(table.ready()).await.unwrap();
    assert!(table.is_empty(), "what is old when it is read was never there");
}

#[tokio::test(start_paused = true)]
async fn partitions_that_are_added_are_read_too() {
    let mut stage = Stage::new(1).await;
    let config = Config::new(stage.cluster.bootstrap()).metadata_max_age(SECOND);
    stage.client = Client::connect_over(stage.cluster.transport(), config).await.unwrap();
    stage.put("a", 1).await;
    let table = stage.ready().await;
    stage.cluster.add_partitions("t", 3).await.unwrap();
    let elsewhere = connect(&stage.cluster).await.producer().build().unwrap();
    for partition in [1, 2] {
        let key = [b'k', partition];
        let record = Record::new("t", "7").key(&key).partition(i32::from(partition));
        let delivered = elsewhere.send(record).await.unwrap();
        let position = LogPosition::of_delivered("t", &delivered).unwrap();
        soon(table.wait_for(position, LONG)).await.unwrap();
    }
    assert_eq!(table.len(), 3);
}
