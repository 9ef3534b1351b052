//! `copier`: copies a topic in transactions, the records and how far they were read together, as Kafka's
//! `TransactionalMessageCopier` does.

use std::{
    collections::BTreeMap,
    future::Future,
    hash::{BuildHasher, Hasher, RandomState},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, UNIX_EPOCH},
};

use milena::{
    Client, Commit, Config, Consumer, ConsumerBuilder, ConsumerHandle, Error, GroupMetadata, GroupProtocol,
    Isolation, Message, OffsetAndMetadata, Position, ProducerBuilder, RebalanceListener, Record,
    TopicPartition, TransactionalProducer,
};
use serde_json::{Value, json};

use super::{
    Outcome,
    arguments::Arguments,
    connect,
    lines::Lines,
    properties::Properties,
    sending::name_of,
    settings::{self, Changes},
    stop::Stop,
};

/// What Kafka's program is set to: several batches of a transaction are in flight at once.
const BATCH_SIZE: usize = 512;
const SESSION: Duration = Duration::from_secs(10);
const MAX_POLL_INTERVAL: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub(crate) struct Options {
    input: String,
    output: String,
    bootstrap: Vec<String>,
    group: String,
    transactional_id: String,
    /// The most records of a transaction.
    size: usize,
    /// `None` for no limit.
    max_messages: Option<u64>,
    aborts: bool,
    group_metadata: bool,
    idle_exit: Duration,
    client: Changes<Config>,
    producer: Changes<ProducerBuilder>,
    consumer: Changes<ConsumerBuilder>,
}

impl Options {
    pub(crate) fn parse(line: Vec<String>) -> Result<Self, String> {
        let options = [
            "--input-topic",
            "--input-partition",
            "--output-topic",
            "--broker-list",
            "--max-messages",
            "--consumer-group",
            "--transaction-size",
            "--transaction-timeout",
            "--transactional-id",
            "--idle-exit",
            "--command-config",
        ];
        let flags = ["--enable-random-aborts", "--group-mode", "--use-group-metadata"];
        let given = Arguments::parse(line, &options, &flags)?;
        if given.text("--input-partition").is_some() && !given.flag("--group-mode") {
            return Err(
                "--input-partition without --group-mode: milena reads what a group has committed as \
                        a member only"
                    .to_owned(),
            );
        }
        let mut properties = Properties::read(given.text("--command-config"))?;
        let client = settings::client(&mut properties);
        let mut producer = settings::producer(&mut properties);
        let session = properties.take("session.timeout.ms", settings::number).map(Duration::from_millis);
        let protocol = properties.take("group.protocol", settings::group_protocol);
        let mut consumer = settings::consumer(&mut properties);
        properties.end()?;
        consumer.push(move |builder| builder.session_timeout(session.unwrap_or(SESSION)));
        consumer.push(move |builder| builder.protocol(protocol.unwrap_or(GroupProtocol::Classic)));
        let timeout = Duration::from_millis(given.number("--transaction-timeout")?.unwrap_or(60_000));
        producer.push(move |builder| builder.transaction_timeout(timeout));
        let size = given.number("--transaction-size")?.unwrap_or(200);
        if size == 0 {
            return Err("--transaction-size 0: there must be at least one record".to_owned());
        }
        Ok(Self {
            input: given.required("--input-topic")?,
            output: given.required("--output-topic")?,
            bootstrap: given.addresses("--broker-list")?,
            group: given.text("--consumer-group").unwrap_or("-1").to_owned(),
            transactional_id: given.required("--transactional-id")?,
            size,
            max_messages: given.limit("--max-messages")?,
            aborts: given.flag("--enable-random-aborts"),
            group_metadata: given.flag("--use-group-metadata"),
            idle_exit: Duration::from_secs(given.number("--idle-exit")?.unwrap_or(20)),
            client,
            producer,
            consumer,
        })
    }
}

pub(crate) async fn run(mut options: Options, lines: Lines, stop: Stop) -> (Outcome, Value) {
    let config = std::mem::take(&mut options.client).apply(Config::new(options.bootstrap.clone()));
    let rebalanced = Rebalanced::default();
    let started = async {
        let Some(connected) = connect(config, &stop).await else { return Ok(None) };
        let client = connected?;
        tokio::select! {
            roles = roles(&mut options, &client, rebalanced.clone()) => Ok(Some((client.clone(), roles?))),
            () = stop.requested() => Ok(None),
        }
    };
    let (client, (mut producer, consumer)) = match started.await {
        Ok(Some(started)) => started,
        Ok(None) => return (Outcome::Stopped, json!({})),
        Err(error) => return (fatal(&lines, &told(&error)).await, json!({})),
    };
    let mut copier = Copier { options, lines, consumer, rebalanced, copied: Copied::default() };
    let outcome = match copier.until(&mut producer, &stop).await {
        Ok(()) => Outcome::Stopped,
        Err(message) => fatal(&copier.lines, &message).await,
    };
    let summary = copier.status("ShutdownComplete");
    for closed in [producer.close().await, copier.consumer.close().await] {
        if let Err(error) = closed {
            tracing::warn!("close: {error}");
        }
    }
    client.close();
    (outcome, summary)
}

async fn fatal(lines: &Lines, message: &str) -> Outcome {
    lines.print("fatal", &json!({ "message": message })).await;
    Outcome::Fatal
}

fn told(error: &Error) -> String {
    error.to_string()
}

/// The producer first: what an earlier instance left open is over before its input is read again.
async fn roles(
    options: &mut Options,
    client: &Client,
    rebalanced: Rebalanced,
) -> milena::Result<(TransactionalProducer, Consumer)> {
    let producer = std::mem::take(&mut options.producer).apply(client.producer().batch_size(BATCH_SIZE));
    let producer = producer.transactional(options.transactional_id.as_str()).await?;
    let consumer = client.consumer(&options.group).topics([options.input.as_str()]).commit(Commit::Manual);
    let consumer = consumer.isolation(Isolation::ReadCommitted);
    let consumer = consumer.max_poll_interval(MAX_POLL_INTERVAL).on_rebalance(rebalanced);
    Ok((producer, std::mem::take(&mut options.consumer).apply(consumer).build()?))
}

/// What a listener is told.
#[derive(Clone, Debug, Default)]
struct Rebalanced {
    /// Whether partitions were assigned, which was not printed yet.
    now: Arc<AtomicBool>,
    /// Whether they ever were: who was no member yet has none either.
    once: Arc<AtomicBool>,
}

impl RebalanceListener for Rebalanced {
    fn assigned<'a>(
        &'a self,
        _: &'a ConsumerHandle,
        _: &'a [TopicPartition],
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        self.now.store(true, Ordering::Relaxed);
        self.once.store(true, Ordering::Relaxed);
        Box::pin(std::future::ready(()))
    }
}

struct Copier {
    options: Options,
    lines: Lines,
    consumer: Consumer,
    rebalanced: Rebalanced,
    copied: Copied,
}

/// What was done.
#[derive(Debug, Default)]
struct Copied {
    records: u64,
    since_rebalance: u64,
    transactions: u64,
}

/// What becomes one transaction, and the membership in which it was read.
struct Poll {
    messages: Vec<Message>,
    membership: GroupMetadata,
}

impl Copier {
    /// Copies until it is to stop, has copied enough, or nothing has remained for as long as was said.
    async fn until(&mut self, producer: &mut TransactionalProducer, stop: &Stop) -> Result<(), String> {
        let mut busy = Instant::now();
        while self.left() > 0 {
            self.print_progress().await;
            let poll = tokio::select! {
                biased;
                () = stop.requested() => return Ok(()),
                poll = self.poll() => poll?,
            };
            let Some(poll) = poll else {
                match self.remaining() {
                    Some(0) if busy.elapsed() >= self.options.idle_exit => break,
                    Some(0) => {}
                    _ => busy = Instant::now(),
                }
                continue;
            };
            if !self.copy(producer, &poll).await? {
                tokio::select! {
                    biased;
                    () = stop.requested() => return Ok(()),
                    rewound = self.rewind() => rewound?,
                }
            }
            busy = Instant::now();
        }
        Ok(())
    }

    fn left(&self) -> u64 {
        self.options.max_messages.map_or(u64::MAX, |most| most.saturating_sub(self.copied.records))
    }

    /// How many offsets are still to be read; `None` while that is not known.
    fn remaining(&self) -> Option<u64> {
        if !self.rebalanced.once.load(Ordering::Relaxed) {
            return None;
        }
        let behind = self.consumer.assignment().iter().map(|p| self.consumer.lag(p)).sum::<Option<u64>>();
        behind.map(|behind| behind.min(self.left()))
    }

    /// The records of the next transaction, if any come: what is there at once and fits, all read in one generation.
    async fn poll(&self) -> Result<Option<Poll>, String> {
        let Ok(first) = tokio::time::timeout(POLL, self.consumer.next()).await else { return Ok(None) };
        let Some(first) = self.read(first).await? else { return Ok(None) };
        let membership = self.consumer.group_metadata().map_err(|error| told(&error))?;
        let mut messages = vec![first];
        let size = self.options.size.min(usize::try_from(self.left()).unwrap_or(usize::MAX));
        while messages.len() < size {
            let next = tokio::select! {
                biased;
                next = self.consumer.next() => next,
                () = std::future::ready(()) => break,
            };
            let Some(next) = self.read(next).await? else { break };
            if self.consumer.group_metadata().ok().as_ref() != Some(&membership) {
                // What came before it may be somebody else's by now.
                self.rewind().await?;
                return Ok(None);
            }
            messages.push(next);
        }
        Ok(Some(Poll { messages, membership }))
    }

    /// What came in place of a record is told, and dealt with.
    async fn read(&self, next: Option<milena::Result<Message>>) -> Result<Option<Message>, String> {
        let error = match next {
            None => return Err("the consumer has closed".to_owned()),
            Some(Ok(message)) => return Ok(Some(message)),
            Some(Err(error)) => error,
        };
        if error.is_fatal() {
            return Err(told(&error));
        }
        let fields = json!({"error": name_of(&error), "message": told(&error)});
        self.lines.print("consumer_error", &fields).await;
        Ok(None)
    }

    /// Reads on from what the group has committed, in all partitions that are assigned.
    async fn rewind(&self) -> Result<(), String> {
        let assigned = self.consumer.assignment().into_iter();
        let otherwise: Vec<_> = assigned.map(|partition| (partition, Position::Earliest)).collect();
        self.consumer.rewind(&otherwise).await.map_err(|error| told(&error))
    }

    /// Copies what was read in one transaction; whether it was committed.
    async fn copy(&mut self, producer: &mut TransactionalProducer, poll: &Poll) -> Result<bool, String> {
        let number = self.copied.transactions;
        self.copied.transactions += 1;
        let outcome = self.transact(producer, poll).await;
        let count = u64::try_from(poll.messages.len()).unwrap_or_default();
        let mut fields = json!({"txn": number, "records": count, "outcome": "committed"});
        let committed = match outcome {
            Ok(committed) => committed,
            // Whatever was asked last may have been done.
            Err(error) if error.is_fatal() => return Err(told(&error)),
            Err(error) if error.requires_abort() || error.is_retriable() => {
                fields["message"] = told(&error).into();
                false
            }
            Err(error) => return Err(told(&error)),
        };
        if committed {
            self.copied.records += count;
            self.copied.since_rebalance += count;
        } else {
            fields["outcome"] = "aborted".into();
        }
        self.lines.print("transaction_end", &fields).await;
        Ok(committed)
    }

    async fn transact(&self, producer: &mut TransactionalProducer, poll: &Poll) -> milena::Result<bool> {
        let transaction = producer.begin().await?;
        let mut offsets = BTreeMap::new();
        for message in &poll.messages {
            drop(transaction.enqueue(copy_of(&self.options.output, message)).await?);
            let next = OffsetAndMetadata::new(message.offset().0 + 1);
            offsets.insert(message.topic_partition().clone(), next);
        }
        let group = if self.options.group_metadata {
            poll.membership.clone()
        } else {
            GroupMetadata::of_group(self.options.group.as_str())
        };
        transaction.commit_offsets(&group, offsets).await?;
        if self.options.aborts && RandomState::new().build_hasher().finish().is_multiple_of(3) {
            transaction.abort().await?;
            return Ok(false);
        }
        transaction.commit().await?;
        Ok(true)
    }

    async fn print_progress(&mut self) {
        if self.remaining().is_some() && self.rebalanced.now.swap(false, Ordering::Relaxed) {
            self.copied.since_rebalance = 0;
            self.lines.print("progress", &self.status("RebalanceComplete")).await;
        }
        self.lines.print("progress", &self.status("ProcessLoop")).await;
    }

    fn status(&self, stage: &str) -> Value {
        // As Java says it where there is no limit and no partition.
        let remaining = self.remaining().unwrap_or_else(|| self.left().min(i64::MAX.unsigned_abs()));
        json!({"transactionalId": self.options.transactional_id, "stage": stage, "time": time_of_day(),
            "totalProcessed": self.copied.records, "consumed": self.copied.since_rebalance,
            "remaining": remaining})
    }
}

fn copy_of<'a>(topic: &'a str, message: &'a Message) -> Record<'a> {
    let record = match (message.key(), message.value()) {
        (Some(key), None) => Record::tombstone(topic, key),
        // A record without both cannot be said.
        (key, value) => {
            let record = Record::new(topic, value.unwrap_or_default());
            key.into_iter().fold(record, |record, key| record.key(key))
        }
    };
    record.partition(message.partition())
}

/// The time as Kafka's program tells it, but in UTC.
fn time_of_day() -> String {
    let now = UNIX_EPOCH.elapsed().unwrap_or_default();
    let (days, seconds) = (now.as_secs() / 86_400, now.as_secs() % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}/{month:02}/{day:02} {hour:02}:{minute:02}:{second:02}:{:03}", now.subsec_millis())
}

/// Year, month and day of a day that is counted from 1970.
fn date(mut days: u64) -> (u64, u64, u64) {
    let is_leap =
        |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let mut month = 1;
    for length in [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn dates_are_counted_with_leap_years() {
        let expected = [
            (0, (1970, 1, 1)),
            (59, (1970, 3, 1)),
            (11_016, (2000, 2, 29)),
            (11_322, (2000, 12, 31)),
            (20_513, (2026, 3, 1)),
        ];
        for (days, day) in expected {
            assert_eq!(date(days), day);
        }
    }
}
