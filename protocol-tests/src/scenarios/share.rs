//! What is promised to the members of share groups (KIP-932).

use std::collections::BTreeSet;
use std::time::Duration;

use milena::{
    Acknowledge, AcquireMode, Client, ErrorKind, ShareConsumer, ShareConsumerBuilder, ShareMessage,
    TopicPartition,
};

use crate::broker::Version;
use crate::suite::{Stage, eventually};
use crate::target::Target;

const PATIENCE: Duration = Duration::from_secs(60);

/// Whether the brokers have share groups; older ones say that they have not.
async fn has_share_groups(stage: &Stage, client: &Client) -> bool {
    let Target::Kafka { version, .. } = *stage.target() else { return true };
    if version == Version::V4_4_0 {
        return true;
    }
    let member = client.share_consumer(stage.name("old")).topics(["nowhere"]).build().unwrap();
    let told = next(&member).await.unwrap_err();
    assert!(matches!(told.kind(), ErrorKind::UnsupportedVersion { .. }), "{told}");
    false
}

async fn next(consumer: &ShareConsumer) -> milena::Result<ShareMessage> {
    let next = tokio::time::timeout(PATIENCE, consumer.next()).await;
    next.unwrap_or_else(|_| panic!("no record came within {PATIENCE:?}")).unwrap()
}

fn text(message: &ShareMessage) -> String {
    String::from_utf8_lossy(message.value().unwrap()).into_owned()
}

async fn take(consumer: &ShareConsumer, count: usize) -> Vec<ShareMessage> {
    let mut taken = Vec::with_capacity(count);
    while taken.len() < count {
        taken.push(next(consumer).await.unwrap());
    }
    taken
}

/// A share group begins at the end of a partition: writes records until the first comes, and has them all accepted.
async fn begin(stage: &Stage, client: &Client, topic: &str, member: &ShareConsumer) {
    let partition = TopicPartition::new(topic, 0);
    eventually("the group has begun", async || {
        stage.write(client, &partition, &["begin".to_owned()]).await;
        let first = tokio::time::timeout(Duration::from_millis(500), member.next()).await.ok()?;
        first.unwrap().unwrap().accept();
        Some(())
    })
    .await;
    while let Ok(next) = tokio::time::timeout(Duration::from_secs(1), member.next()).await {
        next.unwrap().unwrap().accept();
    }
    member.commit().await.unwrap();
}

async fn none_comes(member: &ShareConsumer) {
    let next = tokio::time::timeout(Duration::from_secs(2), member.next()).await;
    assert!(next.is_err(), "{next:?}");
}

fn member(stage: &Stage, client: &Client, topic: &str) -> ShareConsumerBuilder {
    let member = client.share_consumer(stage.name("group")).topics([topic]);
    member.acknowledge(Acknowledge::Explicit)
}

fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

/// What is accepted or rejected never comes again; what is released comes again, and is counted, also what was dropped, and what
/// a member held that has closed.
pub(crate) async fn members_of_a_share_group_say_what_becomes_of_records(stage: Stage) {
    let client = stage.client().await;
    if !has_share_groups(&stage, &client).await {
        return;
    }
    let topic = stage.topic(&client, 1).await;
    let partition = TopicPartition::new(topic.as_str(), 0);
    let first = member(&stage, &client, &topic).build().unwrap();
    begin(&stage, &client, &topic, &first).await;
    assert_eq!(first.assignment().await.unwrap(), std::slice::from_ref(&partition));
    stage.write(&client, &partition, &numbers(0..10)).await;
    let mut read = take(&first, 10).await;
    assert_eq!(read.iter().map(text).collect::<Vec<_>>(), numbers(0..10));
    assert!(read.iter().all(|message| message.delivery_count() == 1));
    // In no order: 7 is dropped, 8 and 9 are held.
    let (nine, eight, seven) = (read.pop().unwrap(), read.pop().unwrap(), read.pop().unwrap());
    for (number, message) in read.into_iter().enumerate().rev() {
        match number {
            0 | 3 => message.release(),
            1 => message.reject(),
            _ => message.accept(),
        }
    }
    drop(seven);
    first.commit().await.unwrap();
    let again = take(&first, 3).await;
    assert_eq!(again.iter().map(text).collect::<BTreeSet<_>>(), ["0", "3", "7"].map(str::to_owned).into());
    assert!(again.iter().all(|message| message.delivery_count() == 2));
    again.into_iter().for_each(ShareMessage::accept);
    first.commit().await.unwrap();
    none_comes(&first).await;
    eight.renew();
    first.commit().await.unwrap();
    first.close().await.unwrap();
    drop((eight, nine));

    let second = member(&stage, &client, &topic).build().unwrap();
    let rest = take(&second, 2).await;
    assert_eq!(rest.iter().map(text).collect::<BTreeSet<_>>(), ["8", "9"].map(str::to_owned).into());
    assert!(rest.iter().all(|message| message.delivery_count() == 2), "{rest:?}");
    rest.into_iter().for_each(ShareMessage::accept);
    second.commit().await.unwrap();
    none_comes(&second).await;
    second.close().await.unwrap();
}

/// Two members read one partition side by side, and no record comes to both; what was handed out counts as accepted with
/// the next call.
pub(crate) async fn members_of_a_share_group_read_one_partition_side_by_side(stage: Stage) {
    let client = stage.client().await;
    if !has_share_groups(&stage, &client).await {
        return;
    }
    let topic = stage.topic(&client, 1).await;
    let partition = TopicPartition::new(topic.as_str(), 0);
    let implicit = || {
        let member = client.share_consumer(stage.name("group")).topics([topic.as_str()]);
        member.max_records(10).acquire_mode(AcquireMode::RecordLimit).build().unwrap()
    };
    let (first, second) = (implicit(), implicit());
    begin(&stage, &client, &topic, &first).await;
    eventually("both are members", async || {
        let _ = tokio::time::timeout(Duration::from_millis(50), second.next()).await;
        (!second.assignment().await.unwrap().is_empty()).then_some(())
    })
    .await;
    stage.write(&client, &partition, &numbers(0..100)).await;
    let mut read = BTreeSet::new();
    let mut counts = [0, 0];
    while read.len() < 100 {
        let (of, message) = tokio::select! {
            message = next(&first) => (0, message),
            message = next(&second) => (1, message),
        };
        let message = message.unwrap();
        assert_eq!(message.delivery_count(), 1, "{message:?}");
        assert!(read.insert(text(&message)), "{message:?} comes twice");
        counts[of] += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    first.commit().await.unwrap();
    second.commit().await.unwrap();
    none_comes(&first).await;
    first.close().await.unwrap();
    second.close().await.unwrap();
}
