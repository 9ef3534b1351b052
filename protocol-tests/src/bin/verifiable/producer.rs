//! `producer`: sends increasing numbers, and tells what became of each.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, UNIX_EPOCH},
};

use milena::{Acks, Config, Delivered, Error, Producer, ProducerBuilder, Record};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::{
    Outcome,
    arguments::Arguments,
    connect,
    lines::Lines,
    properties::Properties,
    settings::{self, Changes},
    stop::Stop,
};

/// The most records that are on their way at once.
const IN_FLIGHT: u32 = 1 << 14;

#[derive(Debug)]
pub(crate) struct Options {
    topic: String,
    bootstrap: Vec<String>,
    /// `None` for no limit.
    max_messages: Option<u64>,
    /// Records per second; `None` for as fast as it goes.
    throughput: Option<u64>,
    acks: Option<Acks>,
    idempotent: bool,
    value_prefix: Option<String>,
    repeating_keys: Option<u64>,
    create_time: Option<i64>,
    client: Changes<Config>,
    producer: Changes<ProducerBuilder>,
}

impl Options {
    pub(crate) fn parse(line: Vec<String>) -> Result<Self, String> {
        let options = [
            "--topic",
            "--bootstrap-server",
            "--max-messages",
            "--throughput",
            "--acks",
            "--value-prefix",
            "--repeating-keys",
            "--message-create-time",
            "--command-config",
            "--transactional-id",
            "--transaction-size",
            "--abort-every",
            "--transaction-timeout",
        ];
        let given = Arguments::parse(line, &options, &["--idempotent"])?;
        for option in ["--transactional-id", "--transaction-size", "--abort-every", "--transaction-timeout"] {
            if given.text(option).is_some() {
                return Err(format!("{option}: milena has no transactions yet"));
            }
        }
        let mut properties = Properties::read(given.text("--command-config"))?;
        let (client, producer) = (settings::client(&mut properties), settings::producer(&mut properties));
        properties.end()?;
        let acks = given.text("--acks").map(settings::acks).transpose();
        let repeating_keys = given.number::<u64>("--repeating-keys")?;
        if repeating_keys == Some(0) {
            return Err("--repeating-keys 0: there must be at least one key".to_owned());
        }
        Ok(Self {
            topic: given.required("--topic")?,
            bootstrap: given.addresses("--bootstrap-server")?,
            max_messages: given.limit("--max-messages")?,
            throughput: given.limit("--throughput")?.filter(|&rate| rate > 0),
            acks: acks.map_err(|reason| format!("--acks {reason}"))?,
            idempotent: given.flag("--idempotent"),
            value_prefix: given.text("--value-prefix").map(str::to_owned),
            repeating_keys,
            create_time: given.number("--message-create-time")?.filter(|&time: &i64| time >= 0),
            client,
            producer,
        })
    }

    fn value(&self, number: u64) -> String {
        self.value_prefix.as_ref().map_or_else(|| number.to_string(), |prefix| format!("{prefix}.{number}"))
    }

    fn key(&self, number: u64) -> Option<String> {
        self.repeating_keys.map(|keys| (number % keys).to_string())
    }
}

pub(crate) async fn run(mut options: Options, lines: Lines, stop: Stop) -> Outcome {
    let config = std::mem::take(&mut options.client).apply(Config::new(options.bootstrap.clone()));
    let Some(connected) = connect(config, &stop).await else { return Outcome::Stopped };
    let built = connected.and_then(|client| {
        let mut builder = std::mem::take(&mut options.producer).apply(client.producer());
        builder = options.acks.into_iter().fold(builder, ProducerBuilder::acks);
        if options.idempotent {
            builder = builder.idempotence(true);
        }
        Ok((builder.build()?, client))
    });
    match built {
        Ok((producer, client)) => {
            lines.print("startup_complete", &json!({})).await;
            let run = Run::new(options, lines.clone(), stop);
            let outcome = run.send_all(producer).await;
            client.close();
            outcome
        }
        Err(error) => {
            lines.print("fatal", &json!({ "message": error.to_string() })).await;
            Outcome::Fatal
        }
    }
}

/// One run, shared with the tasks that wait for deliveries.
#[derive(Debug)]
struct Run {
    options: Options,
    lines: Lines,
    stop: Stop,
    acked: AtomicU64,
    /// The first error that ends the producer.
    fatal: OnceLock<String>,
}

impl Run {
    fn new(options: Options, lines: Lines, stop: Stop) -> Arc<Self> {
        Arc::new(Self { options, lines, stop, acked: AtomicU64::new(0), fatal: OnceLock::new() })
    }

    async fn send_all(self: Arc<Self>, producer: Producer) -> Outcome {
        let (started, started_unix) = (Instant::now(), unix_ms());
        let permits = Arc::new(Semaphore::new(IN_FLIGHT as usize));
        let mut sent = 0;
        while self.options.max_messages.is_none_or(|most| sent < most) {
            let turn = async {
                self.wait_for_turn(started, sent).await;
                Arc::clone(&permits).acquire_owned().await
            };
            let permit = tokio::select! {
                biased;
                () = self.stop.requested() => break,
                permit = turn => permit,
            };
            let create_time = self.options.create_time.map(|first| first + unix_ms() - started_unix);
            let enqueued = tokio::select! {
                biased;
                enqueued = self.enqueue(&producer, sent, create_time) => Some(enqueued),
                // The record is not sent: it still waited for room, or for the topic to be known.
                () = self.stop.requested() => None,
            };
            match enqueued {
                Some(Ok(delivery)) => {
                    let (run, number) = (Arc::clone(&self), sent);
                    tokio::spawn(async move {
                        run.report(number, delivery.await).await;
                        drop(permit);
                    });
                }
                Some(Err(error)) => self.report_error(sent, &error).await,
                None => {
                    self.report_failed(sent, "Stopped", "the program was stopped before it was sent").await;
                }
            }
            sent += 1;
        }
        // Every delivery is settled when it returns, and every task has reported when all permits are back.
        let closed = producer.close().await;
        let _all = permits.acquire_many(IN_FLIGHT).await;
        if let Err(error) = closed {
            let _ = self.fatal.set(error.to_string());
        }
        self.conclude(sent, started.elapsed()).await
    }

    /// Waits until a record may be sent without going over the rate.
    async fn wait_for_turn(&self, started: Instant, number: u64) {
        let Some(rate) = self.options.throughput else { return };
        let due = started + Duration::from_secs_f64(number as f64 / rate as f64);
        // Timers are too coarse for single records at high rates.
        if due > Instant::now() + Duration::from_millis(1) {
            tokio::time::sleep_until(due.into()).await;
        }
    }

    async fn enqueue(
        &self,
        producer: &Producer,
        number: u64,
        create_time: Option<i64>,
    ) -> milena::Result<milena::Delivery> {
        let (key, value) = (self.options.key(number), self.options.value(number));
        let mut record = Record::new(&self.options.topic, &value);
        record = key.iter().fold(record, |record, key| record.key(key));
        record = create_time.into_iter().fold(record, Record::timestamp);
        producer.enqueue(record).await
    }

    async fn report(&self, number: u64, outcome: milena::Result<Delivered>) {
        match outcome {
            Ok(delivered) => {
                self.acked.fetch_add(1, Ordering::Relaxed);
                // Java says -1 where the broker does not say.
                let offset = delivered.offset.map_or(-1, |offset| offset.0);
                let fields =
                    self.about(number, json!({"partition": delivered.partition.0, "offset": offset}));
                self.lines.print("producer_send_success", &fields).await;
            }
            Err(error) => self.report_error(number, &error).await,
        }
    }

    async fn report_error(&self, number: u64, error: &Error) {
        let message = error.to_string();
        self.report_failed(number, &name_of(error), &message).await;
        if error.is_fatal() {
            let _ = self.fatal.set(message);
            self.stop.request();
        }
    }

    async fn report_failed(&self, number: u64, exception: &str, message: &str) {
        let fields = self.about(number, json!({"exception": exception, "message": message}));
        self.lines.print("producer_send_error", &fields).await;
    }

    /// The fields that every outcome has, and more.
    fn about(&self, number: u64, mut fields: Value) -> Value {
        fields["key"] = self.options.key(number).into();
        fields["value"] = self.options.value(number).into();
        fields["topic"] = self.options.topic.as_str().into();
        fields
    }

    async fn conclude(&self, sent: u64, took: Duration) -> Outcome {
        if let Some(message) = self.fatal.get() {
            self.lines.print("fatal", &json!({ "message": message })).await;
        }
        let acked = self.acked.load(Ordering::Relaxed);
        let rate = acked as f64 / took.as_secs_f64();
        let target = self.options.throughput.map_or_else(|| json!(-1), Value::from);
        let fields =
            json!({"sent": sent, "acked": acked, "target_throughput": target, "avg_throughput": rate});
        self.lines.print("tool_data", &fields).await;
        if self.fatal.get().is_some() { Outcome::Fatal } else { Outcome::Stopped }
    }
}

/// Kafka's name of the error, or milena's where a broker did not say it.
pub(crate) fn name_of(error: &Error) -> String {
    if let Some(name) = error.code().and_then(milena::Code::name) {
        return name.to_owned();
    }
    let kind = format!("{:?}", error.kind());
    kind.chars().take_while(char::is_ascii_alphanumeric).collect()
}

fn unix_ms() -> i64 {
    i64::try_from(UNIX_EPOCH.elapsed().unwrap_or_default().as_millis()).unwrap_or(i64::MAX)
}
