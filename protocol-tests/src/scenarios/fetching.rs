//! What is promised of fetches, whatever becomes of brokers and of what they remember.

use milena::TopicPartition;
use serde_json::{Value, json};

use crate::raw::{Line, Outcome};
use crate::suite::{Recording, Stage, eventually, take, text};

/// FETCH_SESSION_ID_NOT_FOUND
const UNKNOWN_SESSION: i64 = 70;

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
