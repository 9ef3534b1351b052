//! `consumer`: reads a topic as a member of a group, and tells what it was given, what it read and what it committed.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use milena::{
    Assignor, Batch, Commit, Config, Consumer, ConsumerBuilder, ConsumerHandle, CooperativeStickyAssignor,
    GroupProtocol, OffsetAndMetadata, RangeAssignor, RebalanceListener, RoundRobinAssignor, StickyAssignor,
    TopicPartition,
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

/// Java's default of `max.poll.records`: a poll is over when it has as many, or when nothing more is there.
const POLL_RECORDS: u64 = 500;
/// Java's classes are named so, and milena's assignors as they are.
const JAVA: &str = "org.apache.kafka.clients.consumer.";

#[derive(Debug)]
pub(crate) struct Options {
    topic: String,
    bootstrap: Vec<String>,
    group: String,
    /// `None` for no limit.
    max_messages: Option<u64>,
    verbose: bool,
    auto_commit: bool,
    poll_records: u64,
    client: Changes<Config>,
    consumer: Changes<ConsumerBuilder>,
}

impl Options {
    pub(crate) fn parse(line: Vec<String>) -> Result<Self, String> {
        let options = [
            "--topic",
            "--bootstrap-server",
            "--group-id",
            "--group-protocol",
            "--group-remote-assignor",
            "--group-instance-id",
            "--max-messages",
            "--session-timeout",
            "--reset-policy",
            "--assignment-strategy",
            "--command-config",
        ];
        let given = Arguments::parse(line, &options, &["--verbose", "--enable-autocommit"])?;
        let protocol = protocol(&given)?;
        let assignors = assignors(given.text("--assignment-strategy").unwrap_or("range"))?;
        let assignor = given.text("--group-remote-assignor").map(str::to_owned);
        let mut properties = Properties::read(given.text("--command-config"))?;
        let client = settings::client(&mut properties);
        let mut consumer = settings::consumer(&mut properties);
        let poll_records = properties.take("max.poll.records", settings::number).unwrap_or(POLL_RECORDS);
        let auto_commit = given.flag("--enable-autocommit");
        let interval = properties.take("auto.commit.interval.ms", settings::number).unwrap_or(5_000);
        properties.end()?;
        let commit =
            if auto_commit { Commit::Every(Duration::from_millis(interval)) } else { Commit::Manual };
        let policy = settings::reset_policy(given.text("--reset-policy").unwrap_or("earliest"));
        let (start, gone) = policy.map_err(|reason| format!("--reset-policy {reason}"))?;
        let instance = given.text("--group-instance-id").map(str::to_owned);
        let session = given.number("--session-timeout")?.map(Duration::from_millis);
        consumer.push(move |builder| {
            let builder = builder.start_at(start).on_out_of_range(gone).commit(commit);
            let builder = builder.protocol(protocol).assignors(assignors);
            let builder = assignor.into_iter().fold(builder, ConsumerBuilder::server_assignor);
            let builder = instance.into_iter().fold(builder, ConsumerBuilder::group_instance_id);
            session.into_iter().fold(builder, ConsumerBuilder::session_timeout)
        });
        Ok(Self {
            topic: given.required("--topic")?,
            bootstrap: given.addresses("--bootstrap-server")?,
            group: given.required("--group-id")?,
            max_messages: given.limit("--max-messages")?,
            verbose: given.flag("--verbose"),
            auto_commit,
            poll_records,
            client,
            consumer,
        })
    }
}

fn protocol(given: &Arguments) -> Result<GroupProtocol, String> {
    let protocol = settings::group_protocol(given.text("--group-protocol").unwrap_or("classic"));
    let protocol = protocol.map_err(|reason| format!("--group-protocol {reason}"))?;
    if given.text("--group-remote-assignor").is_some() && protocol == GroupProtocol::Classic {
        return Err("--group-remote-assignor: only --group-protocol consumer has one".to_owned());
    }
    Ok(protocol)
}

/// The strategies of the classic protocol, by their own names or those of Java's classes.
fn assignors(names: &str) -> Result<Vec<Arc<dyn Assignor>>, String> {
    let assignor = |name: &str| -> Result<Arc<dyn Assignor>, String> {
        Ok(match name.strip_prefix(JAVA).unwrap_or(name) {
            "range" | "RangeAssignor" => Arc::new(RangeAssignor),
            "roundrobin" | "RoundRobinAssignor" => Arc::new(RoundRobinAssignor),
            "sticky" | "StickyAssignor" => Arc::new(StickyAssignor),
            "cooperative-sticky" | "CooperativeStickyAssignor" => Arc::new(CooperativeStickyAssignor),
            _ => {
                let known = "range, roundrobin, sticky or cooperative-sticky";
                return Err(format!(
                    "--assignment-strategy {name}: must be {known}, or Java's class of that name"
                ));
            }
        })
    };
    names.split(',').map(|name| assignor(name.trim())).collect()
}

pub(crate) async fn run(mut options: Options, lines: Lines, stop: Stop) -> Outcome {
    let config = std::mem::take(&mut options.client).apply(Config::new(options.bootstrap.clone()));
    let Some(connected) = connect(config, &stop).await else { return Outcome::Stopped };
    let owned = Arc::new(Owned::default());
    let built = connected.and_then(|client| {
        let builder = client.consumer(&options.group).topics([options.topic.as_str()]);
        let builder = std::mem::take(&mut options.consumer).apply(builder);
        let listener = Listener { owned: Arc::clone(&owned), lines: lines.clone() };
        Ok((builder.on_rebalance(listener).build()?, client))
    });
    match built {
        Ok((consumer, client)) => {
            lines.print("startup_complete", &json!({})).await;
            let mut run = Run { options, lines: lines.clone(), consumer, owned, consumed: 0 };
            let outcome = run.until(&stop).await;
            lines.print("shutdown_requested", &json!({})).await;
            if let Err(error) = run.close().await {
                tracing::warn!("close the consumer: {error}");
            }
            client.close();
            outcome
        }
        Err(error) => {
            lines.print("fatal", &json!({ "message": error.to_string() })).await;
            Outcome::Fatal
        }
    }
}

/// The partitions that the consumer was told it has.
#[derive(Debug, Default)]
struct Owned {
    partitions: Mutex<BTreeSet<TopicPartition>>,
    /// Held from when records are taken until they are committed, and while partitions are given up: what is printed is
    /// committed before they go, and nothing of theirs is printed afterwards.
    turn: tokio::sync::Mutex<()>,
}

impl Owned {
    fn has(&self, partition: &TopicPartition) -> bool {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner).contains(partition)
    }

    fn change(&self, partitions: &[TopicPartition], now_owned: bool) {
        let mut owned = self.partitions.lock().unwrap_or_else(PoisonError::into_inner);
        for partition in partitions {
            if now_owned {
                owned.insert(partition.clone());
            } else {
                owned.remove(partition);
            }
        }
    }
}

struct Listener {
    owned: Arc<Owned>,
    lines: Lines,
}

impl RebalanceListener for Listener {
    fn assigned<'a>(
        &'a self,
        _: &'a ConsumerHandle,
        partitions: &'a [TopicPartition],
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(async move {
            self.owned.change(partitions, true);
            self.lines.print("partitions_assigned", &listed(partitions)).await;
        })
    }

    fn revoking<'a>(
        &'a self,
        _: &'a ConsumerHandle,
        partitions: &'a [TopicPartition],
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(async move {
            let _turn = self.owned.turn.lock().await;
            self.owned.change(partitions, false);
            self.lines.print("partitions_revoked", &listed(partitions)).await;
        })
    }

    fn lost(&self, partitions: &[TopicPartition]) {
        self.owned.change(partitions, false);
        self.lines.print_blocking("partitions_lost", &listed(partitions));
    }
}

fn listed(partitions: &[TopicPartition]) -> Value {
    let one = |p: &TopicPartition| json!({"topic": p.topic.as_str(), "partition": p.partition.0});
    json!({"partitions": partitions.iter().map(one).collect::<Vec<_>>()})
}

/// What was printed of one partition in a poll.
#[derive(Debug)]
struct Printed {
    count: u64,
    first: i64,
    last: i64,
}

struct Run {
    options: Options,
    lines: Lines,
    consumer: Consumer,
    owned: Arc<Owned>,
    consumed: u64,
}

impl Run {
    async fn until(&mut self, stop: &Stop) -> Outcome {
        while self.left() > 0 {
            let next = tokio::select! {
                biased;
                () = stop.requested() => return Outcome::Stopped,
                next = self.consumer.next_batch() => next,
            };
            match next {
                Some(Ok(batch)) => self.take(batch).await,
                Some(Err(error)) if error.is_fatal() => return self.fatal(&error.to_string()).await,
                Some(Err(error)) => self.report(&error).await,
                None => return self.fatal("the consumer has closed").await,
            }
        }
        Outcome::Stopped
    }

    fn left(&self) -> u64 {
        self.options.max_messages.map_or(u64::MAX, |most| most.saturating_sub(self.consumed))
    }

    async fn report(&self, error: &milena::Error) {
        let fields = json!({"error": name_of(error), "message": error.to_string()});
        self.lines.print("consumer_error", &fields).await;
    }

    async fn fatal(&self, message: &str) -> Outcome {
        self.lines.print("fatal", &json!({ "message": message })).await;
        Outcome::Fatal
    }

    /// One poll: this batch and what else is there already. Prints it, then commits it.
    async fn take(&mut self, first: Batch) {
        let owned = Arc::clone(&self.owned);
        let _turn = owned.turn.lock().await;
        let mut poll: BTreeMap<TopicPartition, Printed> = BTreeMap::new();
        let mut next = Some(first);
        while let Some(batch) = next {
            self.print_records(&batch, &mut poll).await;
            next = self.another(&poll).await;
        }
        if poll.is_empty() {
            return;
        }
        let summaries = poll.iter().map(|(p, printed)| {
            json!({"topic": p.topic.as_str(), "partition": p.partition.0, "count": printed.count,
                   "minOffset": printed.first, "maxOffset": printed.last})
        });
        let count: u64 = poll.values().map(|printed| printed.count).sum();
        let fields = json!({"count": count, "partitions": summaries.collect::<Vec<_>>()});
        self.lines.print("records_consumed", &fields).await;
        self.lines.flush().await;
        if !self.options.auto_commit {
            self.commit(&poll).await;
        }
    }

    /// One more batch if it is there at once. With automatic commits there is none: asking for it says that the last
    /// one is done with, which is true only when it is printed.
    async fn another(&self, poll: &BTreeMap<TopicPartition, Printed>) -> Option<Batch> {
        let taken: u64 = poll.values().map(|printed| printed.count).sum();
        if self.options.auto_commit || taken >= self.options.poll_records || self.left() == 0 {
            return None;
        }
        tokio::select! {
            biased;
            next = self.consumer.next_batch() => match next? {
                Ok(batch) => Some(batch),
                Err(error) => {
                    self.report(&error).await;
                    None
                }
            },
            () = std::future::ready(()) => None,
        }
    }

    async fn print_records(&mut self, batch: &Batch, poll: &mut BTreeMap<TopicPartition, Printed>) {
        // It was taken when its partition was about to be given up: whoever gets it reads it.
        if !self.owned.has(batch.topic_partition()) {
            return;
        }
        for record in batch.records() {
            if self.left() == 0 {
                return;
            }
            let record = match record {
                Ok(record) => record,
                Err(error) => return self.report(&error).await,
            };
            let offset = record.offset().0;
            if self.options.verbose {
                let text =
                    |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
                let fields = json!({"key": text(record.key()), "value": text(record.value()),
                    "topic": batch.topic().as_str(), "partition": batch.partition().0, "offset": offset});
                self.lines.print("record_data", &fields).await;
            }
            let printed = poll.entry(batch.topic_partition().clone());
            let printed = printed.or_insert(Printed { count: 0, first: offset, last: offset });
            (printed.count, printed.last) = (printed.count + 1, offset);
            self.consumed += 1;
        }
    }

    async fn commit(&self, poll: &BTreeMap<TopicPartition, Printed>) {
        let offsets: BTreeMap<TopicPartition, OffsetAndMetadata> = poll
            .iter()
            .map(|(partition, printed)| (partition.clone(), OffsetAndMetadata::new(printed.last + 1)))
            .collect();
        let listed = offsets.iter().map(|(p, committed)| {
            json!({"topic": p.topic.as_str(), "partition": p.partition.0, "offset": committed.offset.0})
        });
        let mut fields = json!({"offsets": listed.collect::<Vec<_>>(), "success": true});
        if let Err(error) = self.consumer.commit_offsets(offsets).await {
            fields["success"] = false.into();
            fields["error"] = error.to_string().into();
        }
        self.lines.print("offsets_committed", &fields).await;
    }

    async fn close(&self) -> milena::Result<()> {
        if self.options.auto_commit {
            // All that was handed out is printed, and nothing after it will say so.
            if let Err(error) = self.consumer.commit().await {
                tracing::warn!("commit what was read last: {error}");
            }
        }
        self.consumer.close().await
    }
}
