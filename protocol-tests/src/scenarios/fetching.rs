//! What is promised of fetches, whatever becomes of brokers and of what they remember.

use milena::{Client, NewTopic, NodeId, TopicPartition};
use serde_json::{Value, json};

use crate::raw::{Line, Outcome};
use crate::suite::{Recording, Stage, eventually, take, text};

/// FETCH_SESSION_ID_NOT_FOUND
const UNKNOWN_SESSION: i64 = 70;

/// 29: an unclean election loses records that were read. The reader goes back to where the logs part, and reads what is
/// there now (KIP-320).
pub(crate) async fn s29_an_unclean_truncation_is_noticed(stage: Stage) {
    let client = stage.client().await;
    let topic = stage.name("t");
    let configs = [("unclean.leader.election.enable", "true"), ("min.insync.replicas", "1")];
    let placed = NewTopic::new(topic.as_str()).assignments([[NodeId(1), NodeId(2)]]);
    let placed = configs.iter().fold(placed, |topic, (key, value)| topic.config(*key, *value));
    stage.create(&client, placed).await;
    let partition = TopicPartition::new(topic.as_str(), 0);
    let numbered = |what: &str| -> Vec<String> { (0..10).map(|number| format!("{what}/{number}")).collect() };
    let reader = client.reader().topics([topic.as_str()]).build().unwrap();
    let read = async |count| -> Vec<String> { take(&reader, count).await.iter().map(text).collect() };
    stage.write(&client, &partition, &numbered("kept")).await;
    assert_eq!(read(10).await, numbered("kept"));
    let leader = stage.leader(&client, &partition).await;
    let other = 3 - leader;
    if let Some(embedded) = stage.cluster().embedded() {
        stage.write(&client, &partition, &numbered("lost")).await;
        assert_eq!(read(10).await, numbered("lost"));
        embedded.lose_records(&topic, 0, 10).await.unwrap();
    } else {
        // One replica stands still while records are written, and leads when the other is gone.
        stage.cluster().pause(other).await.unwrap();
        eventually("the leader is in sync alone", async || {
            in_sync(&client, &partition).await.filter(|n| *n == 1)
        })
        .await;
        stage.write(&client, &partition, &numbered("lost")).await;
        assert_eq!(read(10).await, numbered("lost"));
        stage.cluster().kill(leader).await.unwrap();
        stage.cluster().resume(other).await.unwrap();
        eventually("the other leads", async || {
            (stage.leader(&client, &partition).await == other).then_some(())
        })
        .await;
    }
    let client = stage.client().await;
    stage.write(&client, &partition, &numbered("new")).await;
    let messages = take(&reader, 10).await;
    assert_eq!(messages[0].offset().0, 10, "where the logs part");
    assert_eq!(messages.iter().map(text).collect::<Vec<_>>(), numbered("new"));
}

/// How many replicas of a partition are in sync.
async fn in_sync(client: &Client, partition: &TopicPartition) -> Option<usize> {
    let described = client.admin().describe_topics([partition.topic.as_str()]).await.ok()?;
    let topic = described.into_values().next()?.ok()?;
    topic.partitions.first().map(|partition| partition.isr.len())
}

/// 30: a reader that says where it is reads from the replica there, and from the leader when that replica is gone
/// (KIP-392).
pub(crate) async fn s30_the_nearest_replica_is_read_and_its_loss_survived(stage: Stage) {
    let writer = stage.client().await;
    let topic = stage.topic(&writer, 1).await;
    let partition = TopicPartition::new(topic.as_str(), 0);
    let leader = stage.leader(&writer, &partition).await;
    let nearest = leader % 3 + 1;
    let (client, recording) = stage.recorded(stage.config().client_rack(format!("rack-{nearest}"))).await;
    let reader = client.reader().topics([topic.as_str()]).build().unwrap();
    let mut from = 0;
    let mut goes_on = async || {
        let values: Vec<String> = (from..from + 10).map(|number: i32| number.to_string()).collect();
        stage.write(&writer, &partition, &values).await;
        assert_eq!(take(&reader, 10).await.iter().map(text).collect::<Vec<_>>(), values);
        from += 10;
    };
    goes_on().await;
    eventually("the leader names the replica", async || {
        let fetches = recording.fetches().unwrap();
        fetches.iter().any(|answer| preferred(answer) == Some(i64::from(nearest))).then_some(())
    })
    .await;
    let address = stage.address(&writer, nearest).await;
    let served =
        || recording.fetches_from(&address).unwrap().iter().filter(|answer| has_records(answer)).count();
    let before = served();
    goes_on().await;
    assert!(served() > before, "they came from node {nearest}");
    stage.cluster().kill(nearest).await.unwrap();
    goes_on().await;
    goes_on().await;
}

fn has_records(answer: &Value) -> bool {
    let records = answer.pointer("/Responses/0/Partitions/0/Records");
    records.and_then(Value::as_array).is_some_and(|batches| !batches.is_empty())
}

/// Whom a leader prefers that the first partition is read from.
fn preferred(answer: &Value) -> Option<i64> {
    let partition = answer.pointer("/Responses/0/Partitions/0")?;
    partition["PreferredReadReplica"].as_i64().filter(|node| *node >= 0)
}

/// 31: when a broker gives up a fetch session, as it does where others need the room, the reader begins another, and
/// neither loses nor repeats a record (KIP-227).
pub(crate) async fn s31_fetch_sessions_are_evicted_unnoticed(stage: Stage) {
    const ROUNDS: usize = 4;
    const EACH: usize = 50;
    let (client, recording) = stage.recorded(stage.config()).await;
    let topic = stage.topic(&client, 1).await;
    let partition = TopicPartition::new(topic.as_str(), 0);
    let address = stage.leader_address(&client, &partition).await;
    let reader = client.reader().topics([topic.as_str()]).build().unwrap();
    let writer = stage.client().await;
    let mut ended: Vec<i64> = Vec::new();
    for round in 0..ROUNDS {
        let values: Vec<String> = (0..EACH).map(|number| format!("{round}/{number}")).collect();
        stage.write(&writer, &partition, &values).await;
        let read: Vec<String> = take(&reader, EACH).await.iter().map(text).collect();
        assert_eq!(read, values);
        let session = eventually("the reader has a session that is not over", async || {
            let id = sessions(&recording).pop()?;
            (!ended.contains(&id)).then_some(id)
        });
        let session = session.await;
        end_session(&address, session);
        ended.push(session);
    }
    let refused = |answer: &&Value| answer["ErrorCode"] == UNKNOWN_SESSION;
    let refusals = recording.fetches().unwrap().iter().filter(refused).count();
    assert!(refusals >= ROUNDS - 1, "{refusals} fetches were refused for sessions {ended:?}");
}

/// The sessions in which fetches were answered, the newest last.
fn sessions(recording: &Recording) -> Vec<i64> {
    let fetches = recording.fetches().unwrap();
    fetches.iter().filter_map(|answer| answer["SessionId"].as_i64()).filter(|id| *id != 0).collect()
}

/// Ends a session, as only the one whose it is should.
fn end_session(address: &str, id: i64) {
    let mut connection = Line::connect(address).unwrap();
    let last = json!({ "ReplicaId": -1, "SessionId": id, "SessionEpoch": -1, "MaxBytes": 1 << 20 });
    connection.send("Fetch", 11, &last).unwrap();
    assert!(matches!(connection.receive().unwrap(), Outcome::Answer(_)), "the broker answers");
}
