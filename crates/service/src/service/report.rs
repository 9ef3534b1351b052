//! The numbers of a service and its client, as a page that Prometheus reads.
//!
//! Everything is looked up when the page is asked for, so partitions that are given up have no series any more.

use std::{collections::BTreeMap, sync::Arc};

use milena::Client;

use super::shared::{Shared, Target};
use crate::{
    clock,
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

type Targets<'a> = BTreeMap<&'a milena::TopicName, &'a Arc<Target>>;

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
    let name = "milena_dead_letters_total";
    text.metric(name, "counter", "Records that have gone to a dead-letter topic.");
    for (labels, target) in &all {
        for (error_type, count) in target.meters.dead_letters() {
            text.sample(name, &[labels.as_slice(), &[("error_type", error_type.as_str())]].concat(), count);
        }
    }
}

fn lanes(text: &mut Text, shared: &Shared) {
    let lanes = shared.lanes();
    let held: Vec<_> = lanes.partitions().map(|(partition, held)| (partition.clone(), held)).collect();
    let running = lanes.running();
    let now = clock::now();
    let ages = lanes
        .oldest()
        .into_iter()
        .map(|(partition, since)| (partition.clone(), now.saturating_duration_since(since)));
    let ages: Vec<_> = ages.collect();
    drop(lanes);
    let mut each = |name: &str, help: &str, value: fn(&crate::lanes::Held) -> usize| {
        text.metric(name, "gauge", help);
        for (partition, held) in &held {
            let number = partition.partition.to_string();
            text.sample(name, &[("topic", &partition.topic), ("partition", &number)], value(held));
        }
    };
    each("milena_inflight_records", "Records that were read and are not done with.", |held| held.records);
    each("milena_inflight_bytes", "Their bytes.", |held| held.bytes);
    each(
        "milena_lanes_blocked",
        "Keys whose first record is to be tried again, or cannot be handled.",
        |held| held.blocked_lanes,
    );
    let name = "milena_oldest_incomplete_age_seconds";
    text.metric(name, "gauge", "How long ago the oldest record was read that is not done with.");
    for (partition, age) in &ages {
        let number = partition.partition.to_string();
        text.sample(name, &[("topic", &partition.topic), ("partition", &number)], age.as_secs_f64());
    }
    text.metric("milena_handlers_running", "gauge", "Handlers that run.");
    text.sample("milena_handlers_running", &[], running);
}

fn lag(text: &mut Text, shared: &Shared, client: &Client) {
    let Some(consumer) = shared.consumer.get() else { return };
    let mut assigned = consumer.assignment();
    assigned.sort();
    let name = "kafka_consumergroup_lag";
    text.metric(name, "gauge", "Records that are not read yet, of the partitions that are owned.");
    for partition in &assigned {
        if let Some(lag) = consumer.lag(partition) {
            let number = partition.partition.to_string();
            let labels =
                [("consumergroup", &*shared.group), ("topic", &partition.topic), ("partition", &number)];
            text.sample(name, &labels, lag);
        }
    }
    let name = "kafka_consumer_fetch_manager_records_lag";
    text.metric(name, "gauge", "The same, under the name of Java's client.");
    for partition in &assigned {
        if let Some(lag) = consumer.lag(partition) {
            let number = partition.partition.to_string();
            let labels =
                [("client_id", client.client_id()), ("topic", &partition.topic), ("partition", &number)];
            text.sample(name, &labels, lag);
        }
    }
    let name = "milena_consumergroup_lag_seconds";
    text.metric(
        name,
        "gauge",
        "How long ago the record was written that was read last; 0 where none is unread.",
    );
    for partition in &assigned {
        if let Some(lag) = consumer.time_lag(partition) {
            let number = partition.partition.to_string();
            let labels =
                [("consumergroup", &*shared.group), ("topic", &partition.topic), ("partition", &number)];
            text.sample(name, &labels, lag.as_secs_f64());
        }
    }
}

/// The client's own numbers: under the names of Micrometer's binder for Java's client, where that has the same.
fn clients(text: &mut Text, client: &Client) {
    let snapshot = client.metrics();
    let id = ("client_id", client.client_id());
    let name = "messaging_client_operation_duration_seconds";
    text.metric(name, "histogram", "How long records take from being enqueued to being acknowledged.");
    let sends = [("messaging_system", "kafka"), ("messaging_operation_name", "send"), id];
    text.histogram(name, &sends, &Reading::of(&snapshot.producers.delivery_time));

    let produced = snapshot.produced_by_topic();
    let name = "messaging_client_sent_messages_total";
    text.metric(name, "counter", "Records that were acknowledged.");
    for (topic, counted) in &produced {
        let labels = [("messaging_system", "kafka"), ("messaging_destination_name", topic.as_str())];
        text.sample(name, &labels, counted.records);
    }
    type Produced = fn(&milena::ProducedMetrics) -> u64;
    let counters: [(&str, &str, Produced); 4] = [
        ("kafka_producer_topic_record_send_total", "Records that were acknowledged.", |counted| {
            counted.records
        }),
        ("kafka_producer_topic_byte_total", "Their bytes as sent, compressed.", |counted| counted.bytes),
        ("kafka_producer_topic_record_error_total", "Records that failed.", |counted| counted.failed_records),
        ("kafka_producer_topic_record_retry_total", "Batches that were sent again.", |counted| {
            counted.retries
        }),
    ];
    for (name, help, value) in counters {
        text.metric(name, "counter", help);
        for (topic, counted) in &produced {
            text.sample(name, &[id, ("topic", topic.as_str())], value(counted));
        }
    }
    let consumed = snapshot.consumed_by_topic();
    let name = "messaging_client_consumed_messages_total";
    text.metric(name, "counter", "Records that were read.");
    for (topic, counted) in &consumed {
        let labels = [("messaging_system", "kafka"), ("messaging_destination_name", topic.as_str())];
        text.sample(name, &labels, counted.records);
    }
    type Consumed = fn(&milena::ConsumedMetrics) -> u64;
    let counters: [(&str, &str, Consumed); 3] = [
        ("kafka_consumer_fetch_manager_records_consumed_total", "Records that were read.", |counted| {
            counted.records
        }),
        (
            "kafka_consumer_fetch_manager_bytes_consumed_total",
            "Their bytes as fetched, compressed.",
            |counted| counted.bytes,
        ),
        ("kafka_consumer_fetch_manager_fetch_total", "Answers to fetches that held something.", |counted| {
            counted.fetches
        }),
    ];
    for (name, help, value) in counters {
        text.metric(name, "counter", help);
        for (topic, counted) in &consumed {
            text.sample(name, &[id, ("topic", topic.as_str())], value(counted));
        }
    }
    brokers(text, id, &snapshot);
}

fn brokers(text: &mut Text, id: Label<'_>, snapshot: &milena::MetricsSnapshot) {
    type Counted = fn(&milena::BrokerMetrics) -> u64;
    let counters: [(&str, &str, Counted); 5] = [
        ("milena_broker_requests_total", "Requests that were sent.", |counted| counted.requests),
        ("milena_broker_errors_total", "Requests that ended without an answer.", |counted| counted.errors),
        ("milena_broker_bytes_out_total", "Bytes that were written.", |counted| counted.bytes_out),
        ("milena_broker_bytes_in_total", "Bytes that were read.", |counted| counted.bytes_in),
        ("milena_broker_connections_failed_total", "Attempts to connect that failed.", |counted| {
            counted.connections_failed
        }),
    ];
    let nodes: Vec<(String, &milena::BrokerMetrics)> =
        snapshot.brokers.iter().map(|(node, counted)| (node.to_string(), counted)).collect();
    for (name, help, value) in counters {
        text.metric(name, "counter", help);
        for (node, counted) in &nodes {
            text.sample(name, &[id, ("node_id", node)], value(counted));
        }
    }
    let name = "milena_broker_request_latency_seconds";
    text.metric(
        name,
        "histogram",
        "How long brokers take to answer; fetches wait for records, and joins for others.",
    );
    for (node, counted) in &nodes {
        text.histogram(name, &[id, ("node_id", node)], &Reading::of(&counted.request_latency));
    }
}
