//! The numbers of a service and its client, as a page that Prometheus reads.
//!
//! Everything is looked up when the page is asked for, so partitions that are given up have no series any more.

use std::{collections::BTreeMap, sync::Arc};

use milena::Client;

use super::shared::{Shared, Target};
use crate::{clock, metrics::Text};

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
        lag(&mut text, &self.shared);
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

fn lag(text: &mut Text, shared: &Shared) {
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

fn clients(text: &mut Text, client: &Client) {
    let snapshot = client.metrics();
    let name = "messaging_client_sent_messages_total";
    text.metric(name, "counter", "Records that brokers have acknowledged.");
    for (topic, counted) in snapshot.produced_by_topic() {
        text.sample(
            name,
            &[("messaging_system", "kafka"), ("messaging_destination_name", &topic)],
            counted.records,
        );
    }
    let name = "messaging_client_consumed_messages_total";
    text.metric(name, "counter", "Records that were read.");
    for (topic, counted) in snapshot.consumed_by_topic() {
        text.sample(
            name,
            &[("messaging_system", "kafka"), ("messaging_destination_name", &topic)],
            counted.records,
        );
    }
}
