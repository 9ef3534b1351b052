//! Ids in a topic, on the embedded cluster, in memory and on virtual time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests"
)]

use std::{future::Future, time::Duration};

use milena::{
    Client, Code, Config, Record,
    testing::{Api, Cluster, Fault, Rule},
};
use milena_service::{DedupStore, TableError, TopicDedup};

/// Virtual time that nothing should take.
const LONG: Duration = Duration::from_secs(300);
const HOUR: Duration = Duration::from_secs(3_600);

async fn cluster() -> (Cluster, Client) {
    let cluster = Cluster::builder().nodes(3).in_memory().start().await.unwrap();
    let client = connect(&cluster).await;
    let topic = TopicDedup::new_topic("ids", HOUR).partitions(3).replication(3);
    for (_, created) in client.admin().create_topics([topic]).await.unwrap() {
        created.unwrap();
    }
    (cluster, client)
}

async fn connect(cluster: &Cluster) -> Client {
    Client::connect_over(cluster.transport(), Config::new(cluster.bootstrap())).await.unwrap()
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, future).await.expect("it takes for ever")
}

async fn start(client: &Client) -> TopicDedup {
    soon(TopicDedup::builder(client, "ids").keep_for(HOUR).start()).await.unwrap()
}

async fn insert(store: &TopicDedup, ids: &[&str]) {
    let ids: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
    soon(store.insert(&ids)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_id_is_known_at_once_here_and_soon_elsewhere() {
    let (cluster, client) = cluster().await;
    let here = start(&client).await;
    let elsewhere = start(&connect(&cluster).await).await;
    assert!(!soon(here.contains("a")).await.unwrap());
    for turn in 0..20 {
        let ids = [format!("{turn}-a"), format!("{turn}-b"), format!("{turn}-c"), format!("{turn}-a")];
        soon(here.insert(&ids)).await.unwrap();
        for id in &ids {
            assert!(here.contains(id).await.unwrap(), "{id}");
            soon(async {
                while !elsewhere.contains(id).await.unwrap() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            })
            .await;
        }
    }
    assert_eq!(here.health().entries, 60);

    let late = Rule::new(Fault::Delay(Duration::from_secs(1))).on(Api::Fetch);
    let late = cluster.fault(late).await.unwrap();
    for turn in 0..5 {
        let id = format!("late-{turn}");
        insert(&here, &[&id]).await;
        assert!(here.contains(&id).await.unwrap(), "{id}");
    }
    assert!(late.hits() > 0);
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_comes_back_knows_what_was_handled_before() {
    let (_cluster, client) = cluster().await;
    let before = start(&client).await;
    insert(&before, &["a", "b"]).await;
    soon(before.stop()).await;
    soon(before.stop()).await;
    assert!(before.contains("a").await.is_err());
    assert!(before.insert(&["c".to_owned()]).await.is_err());

    let after = start(&client).await;
    assert!(soon(after.contains("a")).await.unwrap(), "it waits until all was read");
    assert!(soon(after.contains("b")).await.unwrap() && !soon(after.contains("c")).await.unwrap());
    soon(after.ready()).await.unwrap();
    assert!(after.health().is_ready);
}

#[tokio::test(start_paused = true)]
async fn ids_are_forgotten_after_their_time() {
    let (_cluster, client) = cluster().await;
    let store = start(&client).await;
    insert(&store, &["a"]).await;
    tokio::time::sleep(HOUR / 2).await;
    insert(&store, &["b"]).await;
    tokio::time::sleep(HOUR / 2 + Duration::from_secs(5)).await;
    assert!(!store.contains("a").await.unwrap() && store.contains("b").await.unwrap());
    insert(&store, &["a"]).await;
    assert!(store.contains("a").await.unwrap());
    let after = start(&client).await;
    soon(after.ready()).await.unwrap();
    assert_eq!(after.health().entries, 2);
}

#[tokio::test(start_paused = true)]
async fn too_many_ids_and_foreign_records_fail_the_store() {
    let (_cluster, client) = cluster().await;
    let store = TopicDedup::builder(&client, "ids").max_ids(2).start().await.unwrap();
    insert(&store, &["a", "b"]).await;
    let error = soon(store.insert(&["c".to_owned()])).await.unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(TableError::Full { limit: 2, .. })), "{error}");
    assert!(store.contains("a").await.is_err(), "it does not promise too much");

    let store = start(&client).await;
    client.producer().build().unwrap().send(Record::new("ids", "no key").key(&[0xff])).await.unwrap();
    let error = soon(async {
        loop {
            if let Err(error) = store.contains("a").await {
                break error;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    let error = error.await;
    assert!(matches!(error.downcast_ref(), Some(TableError::Undecodable { .. })), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_id_that_is_not_acknowledged_is_not_kept() {
    let (cluster, client) = cluster().await;
    let store = start(&client).await;
    let refuse = Rule::new(Fault::Refuse(Code::TOPIC_AUTHORIZATION_FAILED)).on(Api::Produce);
    let refused = cluster.fault(refuse).await.unwrap();
    assert!(soon(store.insert(&["a".to_owned()])).await.is_err());
    assert!(!soon(store.contains("a")).await.unwrap());
    refused.remove().await.unwrap();
    insert(&store, &["a"]).await;
    assert!(store.contains("a").await.unwrap());
}
