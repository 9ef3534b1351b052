//! What a producer sends, and what it tells of each record.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, UNIX_EPOCH},
};

use milena::{Acks, Config, Delivered, Error, ProducerBuilder, Record};
use serde_json::{Value, json};

use super::{
    Outcome,
    arguments::Arguments,
    lines::Lines,
    properties::Properties,
    settings::{self, Changes},
    stop::Stop,
};

#[derive(Debug)]
pub(crate) struct Options {
    pub(super) topic: String,
    pub(super) bootstrap: Vec<String>,
    /// `None` for no limit.
    max_messages: Option<u64>,
    /// Records per second; `None` for as fast as it goes.
    throughput: Option<u64>,
    pub(super) acks: Option<Acks>,
    pub(super) idempotent: bool,
    value_prefix: Option<String>,
    repeating_keys: Option<u64>,
    pub(super) create_time: Option<i64>,
    pub(super) transactions: Option<Transactions>,
    pub(super) client: Changes<Config>,
    pub(super) producer: Changes<ProducerBuilder>,
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
        let transactions = Transactions::parse(&given)?;
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
            transactions,
            client,
            producer,
        })
    }

    /// Whether there is a record of this number.
    pub(super) fn has(&self, number: u64) -> bool {
        self.max_messages.is_none_or(|most| number < most)
    }

    fn value(&self, number: u64) -> String {
        self.value_prefix.as_ref().map_or_else(|| number.to_string(), |prefix| format!("{prefix}.{number}"))
    }

    fn key(&self, number: u64) -> Option<String> {
        self.repeating_keys.map(|keys| (number % keys).to_string())
    }
}

/// How the numbers are put into transactions.
#[derive(Debug)]
pub(crate) struct Transactions {
    pub(super) id: String,
    pub(super) timeout: Duration,
    pub(super) size: u64,
    /// Every so many transactions, one is aborted.
    abort_every: Option<u64>,
}

impl Transactions {
    pub(super) fn parse(given: &Arguments) -> Result<Option<Self>, String> {
        let size = given.number("--transaction-size")?;
        let abort_every = given.number("--abort-every")?;
        let timeout = given.number("--transaction-timeout")?;
        let Some(id) = given.text("--transactional-id") else {
            return match (size, abort_every, timeout) {
                (None, None, None) => Ok(None),
                _ => Err("transactions need a --transactional-id".to_owned()),
            };
        };
        if size == Some(0) || abort_every == Some(0) {
            return Err("--transaction-size and --abort-every are at least 1".to_owned());
        }
        let timeout = Duration::from_millis(timeout.unwrap_or(60_000));
        Ok(Some(Self { id: id.to_owned(), timeout, size: size.unwrap_or(50), abort_every }))
    }

    pub(super) fn aborts(&self, number: u64) -> bool {
        self.abort_every.is_some_and(|every| (number + 1).is_multiple_of(every))
    }
}

/// What is in a record.
pub(super) struct Text {
    key: Option<String>,
    value: String,
    timestamp: Option<i64>,
}

impl Text {
    pub(super) fn record<'a>(&'a self, topic: &'a str) -> Record<'a> {
        let record = Record::new(topic, &self.value);
        let record = self.key.iter().fold(record, |record, key| record.key(key));
        self.timestamp.into_iter().fold(record, Record::timestamp)
    }
}

/// One run, shared with the tasks that wait for deliveries.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) options: Options,
    pub(super) lines: Lines,
    pub(super) stop: Stop,
    acked: AtomicU64,
    /// The first error that ends the producer.
    fatal: OnceLock<String>,
}

impl Run {
    pub(super) fn new(options: Options, lines: Lines, stop: Stop) -> Arc<Self> {
        Arc::new(Self { options, lines, stop, acked: AtomicU64::new(0), fatal: OnceLock::new() })
    }

    /// Waits until a record may be sent without going over the rate.
    pub(super) async fn wait_for_turn(&self, started: Instant, number: u64) {
        let Some(rate) = self.options.throughput else { return };
        let due = started + Duration::from_secs_f64(number as f64 / rate as f64);
        // Timers are too coarse for single records at high rates.
        if due > Instant::now() + Duration::from_millis(1) {
            tokio::time::sleep_until(due.into()).await;
        }
    }

    /// What is in the record of this number, by a program that has started then.
    pub(super) fn text(&self, number: u64, started_unix: i64) -> Text {
        let timestamp = self.options.create_time.map(|first| first + unix_ms() - started_unix);
        Text { key: self.options.key(number), value: self.options.value(number), timestamp }
    }

    pub(super) async fn report(&self, number: u64, outcome: milena::Result<Delivered>, txn: Option<u64>) {
        match outcome {
            Ok(delivered) => {
                self.acked.fetch_add(1, Ordering::Relaxed);
                // Java says -1 where the broker does not say.
                let offset = delivered.offset.map_or(-1, |offset| offset.0);
                let fields = json!({"partition": delivered.partition.0, "offset": offset});
                let fields = self.about(number, fields, txn);
                self.lines.print("producer_send_success", &fields).await;
            }
            Err(error) => self.report_error(number, &error, txn).await,
        }
    }

    pub(super) async fn report_error(&self, number: u64, error: &Error, txn: Option<u64>) {
        let message = error.to_string();
        self.report_failed(number, &name_of(error), &message, txn).await;
        if error.is_fatal() {
            self.end(message);
        }
    }

    /// The producer is at its end.
    pub(super) fn end(&self, message: String) {
        let _ = self.fatal.set(message);
        self.stop.request();
    }

    pub(super) async fn report_failed(&self, number: u64, exception: &str, message: &str, txn: Option<u64>) {
        let fields = self.about(number, json!({"exception": exception, "message": message}), txn);
        self.lines.print("producer_send_error", &fields).await;
    }

    /// The fields that every outcome has, and more.
    fn about(&self, number: u64, mut fields: Value, txn: Option<u64>) -> Value {
        if let Some(txn) = txn {
            fields["txn"] = txn.into();
        }
        fields["key"] = self.options.key(number).into();
        fields["value"] = self.options.value(number).into();
        fields["topic"] = self.options.topic.as_str().into();
        fields
    }

    pub(super) async fn conclude(&self, sent: u64, took: Duration) -> Outcome {
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

pub(super) fn unix_ms() -> i64 {
    i64::try_from(UNIX_EPOCH.elapsed().unwrap_or_default().as_millis()).unwrap_or(i64::MAX)
}
