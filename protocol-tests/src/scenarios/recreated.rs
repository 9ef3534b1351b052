//! What is promised of topics that are deleted, and created anew under their names.

use milena::{
    Client, Commit, ConsumerBuilder, ErrorKind, GroupProtocol, NewTopic, OnRecreated, Position,
    TopicPartition,
};

use crate::suite::{Stage, eventually, take, text};

/// 32: a reader of a topic that is deleted, and created anew under its name, says so or reads the new one from its
/// beginning, as it was told; no offset of the old one is committed to the new one.
pub(crate) async fn s32_a_topic_created_anew_is_not_taken_for_the_old_one(stage: Stage) {
    let client = stage.client().await;
    for (number, protocol) in
        [None, Some(GroupProtocol::Classic), Some(GroupProtocol::Auto)].iter().enumerate()
    {
        let group = stage.name(&format!("group-{number}"));
        let builder = |topic: &str| match protocol {
            Some(protocol) => {
                client.consumer(&group).protocol(*protocol).commit(Commit::Manual).topics([topic])
            }
            None => client.reader().topics([topic]),
        };
        say_so(&stage, &client, builder).await;
        follow(&stage, &client, builder).await;
    }
}

async fn say_so(stage: &Stage, client: &Client, builder: impl Fn(&str) -> ConsumerBuilder) {
    let partition = TopicPartition::new(stage.topic(client, 1).await, 0);
    stage.write(client, &partition, &["old 0", "old 1", "old 2"].map(str::to_owned)).await;
    let reader = builder(partition.topic.as_str()).build().unwrap();
    take(&reader, 3).await;
    create_anew(stage, client, &partition).await;
    let said = eventually("the reader says so", async || match reader.next().await? {
        Ok(message) => panic!("{} was handed out", text(&message)),
        Err(error) => matches!(error.kind(), ErrorKind::TopicRecreated { .. }).then_some(error),
    });
    said.await;
    if reader.group_metadata().is_ok() {
        // Refused or not, by then the partition may be between two owners.
        let _ = reader.commit().await;
        let committed = reader.committed(std::slice::from_ref(&partition)).await.unwrap();
        let committed = committed.get(&partition).map_or(0, |committed| committed.offset.0);
        assert_eq!(committed, 0, "an offset of the topic that is gone");
    }
    // A member may get the partition anew meanwhile.
    eventually("it reads where it is told to", async || {
        reader.seek(&[(partition.clone(), Position::Earliest)]).await.ok()
    })
    .await;
    let read = eventually("it reads", async || reader.next().await?.ok()).await;
    assert_eq!(text(&read), "new 0");
}

async fn follow(stage: &Stage, client: &Client, builder: impl Fn(&str) -> ConsumerBuilder) {
    let partition = TopicPartition::new(stage.topic(client, 1).await, 0);
    stage.write(client, &partition, &["old 0", "old 1", "old 2"].map(str::to_owned)).await;
    let reader = builder(partition.topic.as_str()).on_recreated(OnRecreated::Follow).build().unwrap();
    take(&reader, 3).await;
    create_anew(stage, client, &partition).await;
    let read: Vec<_> = take(&reader, 2).await.iter().map(text).collect();
    assert_eq!(read, ["new 0", "new 1"]);
}

async fn create_anew(stage: &Stage, client: &Client, partition: &TopicPartition) {
    let topic = partition.topic.as_str();
    for (_, deleted) in client.admin().delete_topics([topic]).await.unwrap() {
        deleted.unwrap();
    }
    stage.create(client, NewTopic::new(topic).partitions(1)).await;
    // Another client: this one's producers may not know yet.
    let writer = stage.client().await;
    stage.described(&writer, topic).await;
    stage.write(&writer, partition, &["new 0", "new 1"].map(str::to_owned)).await;
}
