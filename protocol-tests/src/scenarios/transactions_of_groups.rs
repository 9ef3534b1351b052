//! What is promised of transactions that hold the offsets of groups.

use std::time::Duration;

use milena::{
    Client, Code, Commit, ErrorKind, GroupProtocol, OffsetAndMetadata, Processor, Record, TopicPartition,
};
use tokio::task::JoinHandle;

use super::groups::settle;
use super::transactions::write;
use crate::suite::{Stage, eventually, take, text};
use crate::verify::{differences, read_committed};

/// The shortest session that a broker allows by default.
const SESSION: Duration = Duration::from_secs(6);

/// 20, in short: what is read is written exactly once and in its order, while nodes and those who work are killed.
/// `tests/exactly_once.rs` is the long form, with programs that are killed (-9).
pub(crate) async fn s20_consume_transform_produce_is_exactly_once_under_kills(stage: Stage) {
    const PARTITIONS: u32 = 3;
    const PER_ROUND: usize = 100;
    let client = stage.client().await;
    let [from, to] = [stage.topic(&client, PARTITIONS).await, stage.topic(&client, PARTITIONS).await];
    let mut workers =
        [Worker::start(&stage, 0, &from, &to).await, Worker::start(&stage, 1, &from, &to).await];
    for (round, node) in (0..).zip(1..=3) {
        stage.cluster().kill(node).await.unwrap();
        for (index, first) in (0..).zip((0..).step_by(PER_ROUND)).take(3) {
            let values = (first..first + PER_ROUND).map(|number| format!("{round} {number}"));
            stage
                .write(&client, &TopicPartition::new(from.as_str(), index), &values.collect::<Vec<_>>())
                .await;
        }
        let victim = round % workers.len();
        workers[victim].die();
        workers[victim] = Worker::start(&stage, victim, &from, &to).await;
        eventually("all of it is there", async || {
            let copied = read_committed(&client, &to, PARTITIONS).await.ok()?;
            let copied: usize = copied.values().map(Vec::len).sum();
            (copied >= (round + 1) * PER_ROUND * 3).then_some(())
        })
        .await;
        stage.cluster().start_again(node).await.unwrap();
    }
    let original = read_committed(&client, &from, PARTITIONS).await.unwrap();
    let copy = read_committed(&client, &to, PARTITIONS).await.unwrap();
    assert_eq!(differences(&original, &copy), Vec::<String>::new());
}

/// Copies a topic, and begins anew whenever it fails.
struct Worker {
    client: Client,
    task: JoinHandle<()>,
}

impl Worker {
    async fn start(stage: &Stage, number: usize, from: &str, to: &str) -> Self {
        let client = stage.client().await;
        let (id, group) = (stage.name(&format!("worker-{number}")), stage.name("group"));
        let (ours, from, to) = (client.clone(), from.to_owned(), to.to_owned());
        let task = tokio::spawn(async move {
            loop {
                // A supervisor does not ask why either.
                let _ = Self::work(&ours, &id, &group, &from, &to).await;
            }
        });
        Self { client, task }
    }

    async fn work(client: &Client, id: &str, group: &str, from: &str, to: &str) -> milena::Result<()> {
        let producer = client.producer().transactional(id).await?;
        let member = client.consumer(group).topics([from]).session_timeout(SESSION);
        let member = member.heartbeat_interval(Duration::from_millis(500));
        let mut processor = Processor::new(member, producer)?.max_records(20);
        let copy = |transaction: milena::TransactionHandle, message: milena::Message| async move {
            let record = Record::new(to, message.value().unwrap_or_default());
            transaction.enqueue(record.partition(message.partition())).await.map(drop)
        };
        processor.run(copy).await
    }

    /// Its connections end, and its group learns of it by the end of its session.
    fn die(&mut self) {
        self.client.close();
        self.task.abort();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// 23: offsets that were read in a generation that is over, of a partition that was given up, are refused, and the
/// transaction with them; what its new owner reads again is taken (KIP-447).
pub(crate) async fn s23_offsets_in_a_transaction_are_fenced_by_the_generation(stage: Stage) {
    let client = stage.client().await;
    for protocol in [GroupProtocol::Classic, GroupProtocol::Auto] {
        commit_what_was_given_up(&stage, &client, protocol).await;
    }
}

async fn commit_what_was_given_up(stage: &Stage, client: &Client, protocol: GroupProtocol) {
    let topic = stage.topic(client, 2).await;
    let output = TopicPartition::new(stage.topic(client, 1).await, 0);
    for partition in 0..2 {
        let input = TopicPartition::new(topic.as_str(), partition);
        stage.write(client, &input, &["read".to_owned()]).await;
    }
    let group = stage.name(&format!("group-{protocol:?}"));
    let member = || {
        let member = client.consumer(&group).topics([topic.as_str()]).commit(Commit::Manual);
        let member = member.heartbeat_interval(Duration::from_millis(500));
        member.protocol(protocol).build().unwrap()
    };
    let id = stage.name(&format!("id-{protocol:?}"));
    let mut producer = client.producer().transactional(id).await.unwrap();
    let first = member();
    take(&first, 2).await;
    let over = first.group_metadata().unwrap();
    let second = member();
    settle(&[(&first, 1), (&second, 1)]).await;
    let given_up = second.assignment()[0].clone();

    let next = [(given_up.clone(), OffsetAndMetadata::new(1))];
    let transaction = producer.begin().await.unwrap();
    write(&transaction, &output, &["written too late".to_owned()]).await;
    let refused = transaction.commit_offsets(&over, next.clone().into()).await.unwrap_err();
    assert!(refused.requires_abort(), "{refused}");
    let ErrorKind::TransactionAborted { cause: Some(cause), .. } = refused.kind() else {
        panic!("{refused}")
    };
    // The second for members under the consumer protocol, where the request has a word for it.
    let codes = [Code::ILLEGAL_GENERATION, Code::STALE_MEMBER_EPOCH];
    assert!(cause.code().is_some_and(|code| codes.contains(&code)), "{refused}");
    let refused = transaction.commit().await.unwrap_err();
    assert!(refused.requires_abort(), "{refused}");
    let committed = async || second.committed(std::slice::from_ref(&given_up)).await.ok();
    assert_eq!(eventually("the group tells", committed).await, [].into());

    assert_eq!(text(&take(&second, 1).await[0]), "read", "again, for nothing is committed");
    let transaction = producer.begin().await.unwrap();
    write(&transaction, &output, &["written".to_owned()]).await;
    transaction.commit_offsets(&second.group_metadata().unwrap(), next.clone().into()).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(eventually("the group tells", committed).await, next.into());
    let copied = read_committed(client, &output.topic, 1).await.unwrap();
    assert_eq!(copied, [(0, vec!["written".to_owned()])].into());
}
