//! Transactions: what one commits the other reads, and nothing of what it aborts.

use std::time::Duration;

use milena::{Consumer, Isolation, Offset, Position, Record, TopicPartition, Transaction};
use protocol_tests::foreign::Line;
use protocol_tests::suite::{eventually, take};
use serde_json::{Value, json};

use crate::Pair;
use crate::exchange::{assert_same, lines};

const EACH: usize = 25;

/// A partition as two transactional producers fill it: what is in it, and what is committed of that.
struct Log {
    partition: TopicPartition,
    end: i64,
    records: Vec<(bool, Line)>,
}

/// Two producers take turns in one partition, and every third transaction is aborted: from any offset on, the committed
/// records are read and nothing else; without isolation all of them, and never a control record.
pub(crate) async fn only_what_was_committed_is_read(pair: &mut Pair) {
    pair.create("transactions", 1).await;
    let mut log = Log { partition: TopicPartition::new("transactions", 0), end: 0, records: Vec::new() };
    let ids = ["one", "two"];
    for round in 0..6 {
        let commits = [round % 3 != 0, round % 2 == 0];
        ids.iter().for_each(|id| drop(pair.other.ask(&["begin", id], &[]).unwrap()));
        for (id, commit) in ids.iter().zip(commits).chain(ids.iter().zip(commits)) {
            let records = log.append(commit);
            pair.other.ask(&["send", id], &records).unwrap();
        }
        for (id, commit) in ids.iter().zip(commits) {
            pair.other.ask(&[if commit { "commit" } else { "abort" }, id], &[]).unwrap();
            log.marked(pair).await;
        }
    }
    // A committed record at the end, by which a reader sees that nothing came before it that should not have.
    pair.other.ask(&["begin", "one"], &[]).unwrap();
    let records = log.append(true);
    pair.other.ask(&["send", "one"], &records).unwrap();
    pair.other.ask(&["commit", "one"], &[]).unwrap();

    let step = EACH / 2 + 1;
    for from in (0..log.end - 1).step_by(step) {
        log.assert_read(pair, Isolation::ReadCommitted, from).await;
    }
    log.assert_read(pair, Isolation::ReadUncommitted, 0).await;
}

/// The same the other way round: the other, who reads what is committed, reads all of it and nothing else.
pub(crate) async fn what_milena_commits_is_read(pair: &mut Pair) {
    pair.create("by-milena", 1).await;
    let mut log = Log { partition: TopicPartition::new("by-milena", 0), end: 0, records: Vec::new() };
    let mut producers = Vec::new();
    for id in ["milena-one", "milena-two"] {
        producers.push(pair.milena.producer().transactional(id).await.unwrap());
    }
    for round in 0..6 {
        let commits = [round % 3 != 0, round % 2 == 0];
        let mut open = Vec::new();
        for producer in &mut producers {
            open.push(producer.begin().await.unwrap());
        }
        for _ in 0..2 {
            for (transaction, commit) in open.iter().zip(commits) {
                write(transaction, &log.append(commit)).await;
            }
        }
        for (transaction, commit) in open.into_iter().zip(commits) {
            if commit { transaction.commit().await } else { transaction.abort().await }.unwrap();
            log.marked(pair).await;
        }
    }
    // By which a reader sees that nothing came before it that should not have.
    let transaction = producers[0].begin().await.unwrap();
    write(&transaction, &log.append(true)).await;
    transaction.commit().await.unwrap();

    let committed: Vec<Line> =
        log.records.iter().filter(|(commit, _)| *commit).map(|(_, line)| line.clone()).collect();
    let count = committed.len().to_string();
    assert_same(&pair.other.read(&["read", &log.partition.topic, "0", &count]).unwrap(), &committed);
}

/// Writes the records; each must get its offset.
async fn write(transaction: &Transaction<'_>, records: &[Line]) {
    let mut deliveries = Vec::new();
    for line in records {
        let record = Record::new(&line.topic, line.value.as_deref().unwrap_or_default());
        let record = record.partition(line.partition).timestamp(line.timestamp);
        deliveries.push(transaction.enqueue(record).await.unwrap());
    }
    for (delivery, line) in deliveries.into_iter().zip(records) {
        assert_eq!(delivery.await.unwrap().offset.unwrap().0, line.offset, "{line:?}");
    }
}

/// Behind the first record of an open transaction nothing is read, not even what others wrote, but in its partition alone;
/// when it ends all of it comes.
pub(crate) async fn an_open_transaction_holds_back_its_partition_alone(pair: &mut Pair) {
    pair.create("held", 2).await;
    let mut held = Log { partition: TopicPartition::new("held", 0), end: 0, records: Vec::new() };
    let mut free = Log { partition: TopicPartition::new("held", 1), end: 0, records: Vec::new() };
    let (before, inside, behind) = (held.append(true), held.append(true), held.append(true));
    let elsewhere = free.append(true);
    pair.other.ask(&["produce", "none"], &before).unwrap();
    pair.other.ask(&["begin", "one"], &[]).unwrap();
    pair.other.ask(&["send", "one"], &inside).unwrap();
    pair.other.ask(&["produce", "none"], &behind).unwrap();

    let reader = reader(pair, &held.partition, Isolation::ReadCommitted, 0);
    assert_same(&lines(&take(&reader, EACH).await), &before);
    pair.other.ask(&["produce", "none"], &elsewhere).unwrap();
    free.assert_read(pair, Isolation::ReadCommitted, 0).await;
    held.assert_read(pair, Isolation::ReadUncommitted, 0).await;
    let next = tokio::time::timeout(Duration::ZERO, reader.next()).await;
    assert!(next.is_err(), "the open transaction is in front of {next:?}");

    pair.other.ask(&["commit", "one"], &[]).unwrap();
    assert_same(&lines(&take(&reader, 2 * EACH).await), &[inside, behind].concat());
}

impl Log {
    fn append(&mut self, commit: bool) -> Vec<Line> {
        let first = self.end;
        self.end += i64::try_from(EACH).unwrap();
        let lines = (first..self.end).map(|offset| Line {
            topic: self.partition.topic.to_string(),
            partition: self.partition.partition.0,
            offset,
            timestamp: offset,
            key: None,
            value: Some(format!("record {offset}").into_bytes()),
            headers: Vec::new(),
        });
        let lines: Vec<Line> = lines.collect();
        self.records.extend(lines.iter().map(|line| (commit, line.clone())));
        lines
    }

    /// A transaction has ended: its marker takes an offset. The coordinator answers before the marker is written (KIP-98),
    /// so that what another producer writes next could come in front of it.
    async fn marked(&mut self, pair: &Pair) {
        self.end += 1;
        let partition = json!({ "PartitionIndex": self.partition.partition.0, "Timestamp": -1 });
        let topic = json!({ "Name": &*self.partition.topic, "Partitions": [partition] });
        let latest = json!({ "ReplicaId": -1, "IsolationLevel": 0, "Topics": [topic] });
        eventually("the marker is written", async || {
            let answer = pair.ask_raw("ListOffsets", 2, &latest);
            let end = answer.pointer("/Topics/0/Partitions/0/Offset").and_then(Value::as_i64);
            (end == Some(self.end)).then_some(())
        })
        .await;
    }

    async fn assert_read(&self, pair: &Pair, isolation: Isolation, from: i64) {
        let all = isolation == Isolation::ReadUncommitted;
        let visible = self.records.iter().filter(|(commit, line)| line.offset >= from && (all || *commit));
        let visible: Vec<Line> = visible.map(|(_, line)| line.clone()).collect();
        let reader = reader(pair, &self.partition, isolation, from);
        assert_same(&lines(&take(&reader, visible.len()).await), &visible);
    }
}

fn reader(pair: &Pair, partition: &TopicPartition, isolation: Isolation, from: i64) -> Consumer {
    let start = [(partition.clone(), Position::At(Offset(from)))];
    pair.milena.reader().partitions(start).isolation(isolation).build().unwrap()
}
