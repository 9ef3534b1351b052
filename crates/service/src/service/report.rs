//! The numbers of a service and its client, as a page that Prometheus reads.
//!
//! Everything is looked up when the page is asked for, so partitions that are given up have no series any more.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};

use milena::{BrokerMetrics, Client, ConsumedMetrics, ProducedMetrics, TopicName, TopicPartition};

use super::shared::{Shared, Target};
use crate::{
    clock,
    lanes::Held,
    metrics::{Label, Reading, Text},
};

/// Makes the page. It is cheap to clone.
#[derive(Clone)]
pub(crate) struct Report {
    shared: Arc<Shared>,
    client: Client,
}

impl Report {
    pub(super) const fn new(shared: Arc<Shared>, client: Client) -> Self {
        Self { shared, client }
    }

    pub(crate) fn page(&self) -> String {
        let mut text = Text::default();
        let targets: BTreeMap<_, _> = self.shared.routes.iter().collect();
        handlers(&mut text, &self.shared, &targets);
        lanes(&mut text, &self.shared);
        lag(&mut text, &self.shared, &self.client);
        clients(&mut text, &self.client);
        text.into_page()
    }
}

type Targets<'a> = BTreeMap<&'a TopicName, &'a Arc<Target>>;

fn handlers(text: &mut Text, shared: &Shared, targets: &Targets<'_>) {
    let all = targets.iter().map(|(topic, target)| {
        let labels = [
            ("messaging_system", "kafka"),
            ("messaging_destination_name", topic.as_str()),
            ("messaging_consumer_group_name", shared.group.as_str()),
            ("handler", target.place.handler.as_str()),
        ];
        (labels, target)
    });
    let all: Vec<_> = all.collect();
    let name = "messaging_process_duration_seconds";
    text.metric(name, "histogram", "How long handlers take.");
    for (labels, target) in &all {
        text.histogram(name, labels, &target.meters.duration());
    }
    let name = "milena_end_to_end_latency_seconds";
    text.metric(name, "histogram", "How old records are, by their timestamps, when they are done with.");
    for (labels, target) in &all {
        text.histogram(name, labels, &target.meters.latency());
    }
    let name = "milena_handler_outcomes_total";
    text.metric(name, "counter", "Outcomes of handlers; error_type is the kind of the failure.");
    for (labels, target) in &all {
        for (outcome, error_type, count) in target.meters.outcomes() {
            let own = [("outcome", outcome), ("error_type", error_type.as_str())];
            text.sample(name, &[labels.as_slice(), own.as_slice()].concat(), count);
        }
    }
    let name = "milena_dedup_hits_total";
    text.metric(name, "counter", "Records that were skipped because they had been handled already.");
    for (labels, target) in &all {
        text.sample(name, labels, target.place.duplicates.load(Ordering::Relaxed));
    }
    let name = "milena_dead_letters_total";
    text.metric(name, "counter", "Records that have gone to a dead-letter topic.");
    for (labels, target) in &all {
        for (error_type, count) in target.meters.dead_letters() {
            text.sample(name, &[labels.as_slice(), &[("error_type", error_type.as_str())]].concat(), count);
        }
    }
}

fn lanes(text: &mut Text, shared: &Shared) {
    let now = clock::now();
    let lanes = shared.lanes();
    let held: Vec<_> = lanes.partitions().map(|(partition, held)| (Place::of(partition), held)).collect();
    let age = |(partition, since)| (Place::of(partition), now.saturating_duration_since(since));
    let ages: Vec<_> = lanes.oldest().into_iter().map(age).collect();
    let running = lanes.running();
    drop(lanes);
    let held_by =
        |value: fn(&Held) -> usize| held.iter().map(move |(at, held)| (at.labels(&[]), value(held)));
    let about = ("milena_inflight_records", "gauge", "Records that were read and are not done with.");
    text.samples(about, held_by(|held| held.records));
    text.samples(("milena_inflight_bytes", "gauge", "Their bytes."), held_by(|held| held.bytes));
    let help = "Keys whose first record is to be tried again, or cannot be handled.";
    text.samples(("milena_lanes_blocked", "gauge", help), held_by(|held| held.blocked_lanes));
    let help = "How long ago the oldest record was read that is not done with.";
    let ages = ages.iter().map(|(at, age)| (at.labels(&[]), age.as_secs_f64()));
    text.samples(("milena_oldest_incomplete_age_seconds", "gauge", help), ages);
    text.samples(("milena_handlers_running", "gauge", "Handlers that run."), [(Vec::new(), running)]);
}

/// A partition, as labels name it.
struct Place {
    topic: TopicName,
    partition: String,
}

impl Place {
    fn of(partition: &TopicPartition) -> Self {
        Self { topic: partition.topic.clone(), partition: partition.partition.to_string() }
    }

    fn labels<'a>(&'a self, first: &[Label<'a>]) -> Vec<Label<'a>> {
        [first, &[("topic", self.topic.as_str()), ("partition", self.partition.as_str())]].concat()
    }
}

fn lag(text: &mut Text, shared: &Shared, client: &Client) {
    let Some(consumer) = shared.consumer.get() else { return };
    let mut assigned = consumer.assignment();
    assigned.sort();
    let lag = |partition| (Place::of(partition), consumer.lag(partition), consumer.time_lag(partition));
    let lags: Vec<_> = assigned.iter().map(lag).collect();
    let records = |first| {
        let known = lags.iter().filter_map(|(at, lag, _)| Some((at, (*lag)?)));
        known.map(move |(at, lag)| (at.labels(&[first]), lag))
    };
    let group = ("consumergroup", shared.group.as_str());
    let help = "Records that are not read yet, of the partitions that are owned.";
    text.samples(("kafka_consumergroup_lag", "gauge", help), records(group));
    let help = "The same, under the name of Java's client.";
    let about = ("kafka_consumer_fetch_manager_records_lag", "gauge", help);
    text.samples(about, records(("client_id", client.client_id())));
    let help = "How long ago the record was written that was read last; 0 where none is unread.";
    let times =
        lags.iter().filter_map(|(at, _, lag)| Some((at.labels(&[group]), lag.as_ref()?.as_secs_f64())));
    text.samples(("milena_consumergroup_lag_seconds", "gauge", help), times);
}

/// A counter: its name, what it counts, and how it is taken from what was counted.
type Counter<T> = (&'static str, &'static str, fn(&T) -> u64);

const PRODUCED: [Counter<ProducedMetrics>; 4] = [
    ("kafka_producer_topic_record_send_total", ACKNOWLEDGED, |counted| counted.records),
    ("kafka_producer_topic_byte_total", "Their bytes as sent, compressed.", |counted| counted.bytes),
    ("kafka_producer_topic_record_error_total", "Records that failed.", |counted| counted.failed_records),
    ("kafka_producer_topic_record_retry_total", "Batches that were sent again.", |counted| counted.retries),
];
const CONSUMED: [Counter<ConsumedMetrics>; 3] = [
    ("kafka_consumer_fetch_manager_records_consumed_total", READ, |counted| counted.records),
    ("kafka_consumer_fetch_manager_bytes_consumed_total", "Their bytes as fetched, compressed.", |counted| {
        counted.bytes
    }),
    ("kafka_consumer_fetch_manager_fetch_total", "Answers to fetches that held something.", |counted| {
        counted.fetches
    }),
];
const BROKERS: [Counter<BrokerMetrics>; 5] = [
    ("milena_broker_requests_total", "Requests that were sent.", |counted| counted.requests),
    ("milena_broker_errors_total", "Requests that ended without an answer.", |counted| counted.errors),
    ("milena_broker_bytes_out_total", "Bytes that were written.", |counted| counted.bytes_out),
    ("milena_broker_bytes_in_total", "Bytes that were read.", |counted| counted.bytes_in),
    ("milena_broker_connections_failed_total", "Attempts to connect that failed.", |counted| {
        counted.connections_failed
    }),
];
const ACKNOWLEDGED: &str = "Records that were acknowledged.";
const READ: &str = "Records that were read.";

/// The client's own numbers: under the names of Micrometer's binder for Java's client, where that has the same.
fn clients(text: &mut Text, client: &Client) {
    let snapshot = client.metrics();
    let (system, id) = (("messaging_system", "kafka"), ("client_id", client.client_id()));
    let name = "messaging_client_operation_duration_seconds";
    text.metric(name, "histogram", "How long records take from being enqueued to being acknowledged.");
    let sends = [system, ("messaging_operation_name", "send"), id];
    text.histogram(name, &sends, &Reading::of(&snapshot.producers.delivery_time));

    let topics = snapshot.produced_by_topic();
    let sent = ("messaging_client_sent_messages_total", ACKNOWLEDGED, PRODUCED[0].2);
    counters(text, &[sent], &[system], "messaging_destination_name", &topics);
    counters(text, &PRODUCED, &[id], "topic", &topics);
    let topics = snapshot.consumed_by_topic();
    let read = ("messaging_client_consumed_messages_total", READ, CONSUMED[0].2);
    counters(text, &[read], &[system], "messaging_destination_name", &topics);
    counters(text, &CONSUMED, &[id], "topic", &topics);

    let nodes = snapshot.brokers.iter().map(|(node, counted)| (node.to_string(), counted.clone())).collect();
    counters(text, &BROKERS, &[id], "node_id", &nodes);
    let name = "milena_broker_request_latency_seconds";
    let help = "How long brokers take to answer; fetches wait for records, and joins for others.";
    text.metric(name, "histogram", help);
    for (node, counted) in &nodes {
        text.histogram(name, &[id, ("node_id", node)], &Reading::of(&counted.request_latency));
    }
}

/// Counters of several topics or brokers, each behind the labels that all have in common.
fn counters<K: AsRef<str>, T>(
    text: &mut Text,
    counters: &[Counter<T>],
    common: &[Label<'_>],
    label: &'static str,
    counted: &BTreeMap<K, T>,
) {
    for (name, help, value) in counters {
        text.metric(name, "counter", help);
        for (key, counted) in counted {
            text.sample(name, &[common, &[(label, key.as_ref())]].concat(), value(counted));
        }
    }
}
