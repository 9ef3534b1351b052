//! Clients of other makers: what they write milena reads, what milena writes they read, and the embedded cluster serves
//! them as it serves milena.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "tests")]

mod admin;
mod exchange;
mod groups;
mod transactions;

use milena::testing::Cluster;
use milena::{Client, Config, NewTopic};
use protocol_tests::broker::{RealCluster, Version, or_skip};
use protocol_tests::foreign::Foreign;
use protocol_tests::raw::{self, Outcome};
use serde_json::Value;

/// Both at one cluster.
struct Pair {
    milena: Client,
    other: Foreign,
    /// Of a node, for questions that no client asks.
    address: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn java_and_milena_on_kafka() {
    let start = || RealCluster::start(Version::V4_4_0, 1);
    let Some(cluster) = or_skip(tokio::task::spawn_blocking(start).await.unwrap()) else { return };
    let Some(other) = or_skip(Foreign::java(&cluster.bootstrap())) else { return };
    let mut pair = Pair::new(vec![cluster.bootstrap()], other).await;
    exchange::every_record_arrives_as_it_was_written(&mut pair).await;
    transactions::only_what_was_committed_is_read(&mut pair).await;
    transactions::an_open_transaction_holds_back_its_partition_alone(&mut pair).await;
    transactions::what_milena_commits_is_read(&mut pair).await;
    groups::two_members_share_and_take_over(&mut pair).await;
    groups::a_member_of_each_maker(&mut pair).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn java_and_milena_on_the_embedded_cluster() {
    let cluster = Cluster::builder().start().await.unwrap();
    let Some(other) = or_skip(Foreign::java(&cluster.bootstrap().join(","))) else { return };
    let mut pair = Pair::new(cluster.bootstrap(), other).await;
    exchange::every_record_arrives_as_it_was_written(&mut pair).await;
    transactions::only_what_was_committed_is_read(&mut pair).await;
    transactions::an_open_transaction_holds_back_its_partition_alone(&mut pair).await;
    transactions::what_milena_commits_is_read(&mut pair).await;
    groups::two_members_share_and_take_over(&mut pair).await;
    groups::a_member_of_each_maker(&mut pair).await;
    admin::topics_come_and_go(&mut pair, "TopicExistsException").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn librdkafka_and_milena_on_the_embedded_cluster() {
    let cluster = Cluster::builder().start().await.unwrap();
    let Some(other) = or_skip(Foreign::librdkafka(&cluster.bootstrap().join(","))) else { return };
    let mut pair = Pair::new(cluster.bootstrap(), other).await;
    exchange::every_record_arrives_as_it_was_written(&mut pair).await;
    transactions::what_milena_commits_is_read(&mut pair).await;
    groups::two_members_share_and_take_over(&mut pair).await;
    groups::a_member_of_each_maker(&mut pair).await;
    admin::topics_come_and_go(&mut pair, "TOPIC_ALREADY_EXISTS").await;
}

impl Pair {
    async fn new(bootstrap: Vec<String>, other: Foreign) -> Self {
        let address = bootstrap[0].clone();
        Self { milena: Client::connect(Config::new(bootstrap)).await.unwrap(), other, address }
    }

    async fn create(&self, topic: &str, partitions: u32) {
        let topic = NewTopic::new(topic).partitions(partitions);
        for (_, created) in self.milena.admin().create_topics([topic]).await.unwrap() {
            created.unwrap();
        }
    }

    /// What a node answers to a request that no client makes.
    fn ask_raw(&self, api: &str, version: i16, body: &Value) -> Value {
        let mut connection = raw::Line::connect(&self.address).unwrap();
        connection.send(api, version, body).unwrap();
        let Outcome::Answer(answer) = connection.receive().unwrap() else { panic!("the broker hangs up") };
        answer
    }
}
