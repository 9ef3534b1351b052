//! Records that do not parse, although their checksum is right: nobody knows what they were.

use milena::{Client, Compression, GroupProtocol, Record, TopicPartition};
use milena_service::{IntoRoute, Raw, Router, State};

use super::kit::{Notes, PATIENCE, committed, ends, service, within};
use crate::suite::{Seen, Stage, eventually};

const FETCH: i16 = 1;
const MARK: &[u8] = b"a record of no known length";
/// The header of a batch, and what comes before the value in a record with neither key nor times.
const IN_FRONT: usize = 61 + 6;
const CHECKSUM: std::ops::Range<usize> = 17..21;

/// What cannot be read stops its partition, and makes the service not ready: nothing behind it is handled, and nothing of
/// it committed, as another build may be able to read it. The other partitions go on.
pub(crate) async fn a_record_that_does_not_parse_stops_its_partition_alone(stage: Stage) {
    let client = stage.client().await;
    let topic = stage.topic(&client, 2).await;
    let producer = client.producer().compression(Compression::None).build().unwrap();
    let send = async |partition: i32, value: &[u8]| {
        producer.send(Record::new(&topic, value).partition(partition)).await.unwrap();
    };
    for value in [&b"before"[..], MARK, b"behind"] {
        send(0, value).await;
    }
    send(1, b"other").await;

    let (group, notes) = (stage.name("group"), Notes::default());
    let note = |State(notes): State<Notes>, Raw(record): Raw| async move {
        notes.note(
            0,
            String::new(),
            String::from_utf8_lossy(record.value().unwrap_or_default()).into_owned(),
        );
    };
    let router = Router::new().topic(topic.as_str(), note.dead_letter()).with_state(notes.clone());
    let running = service(&damaged(&stage).await, &group, router).start().await.unwrap();
    let health = running.health();
    let broken = format!("{topic}-0 cannot be read");
    let is_told = || health.problems().iter().any(|why| why.starts_with(&broken));
    eventually("the service is not ready", async || is_told().then_some(())).await;
    send(0, b"late").await;
    send(1, b"more").await;
    let handled = async || (notes.all().len() >= 3).then_some(());
    eventually("the other partition goes on", handled).await;
    assert!(is_told(), "it stays so: {health:?}");
    within(PATIENCE, running.stop()).await.unwrap();

    let mut values: Vec<_> = notes.keyed().into_values().flatten().collect();
    values.sort_unstable();
    assert_eq!(values, ["before", "more", "other"]);
    let committed = committed(&client, &group, &topic, GroupProtocol::Auto).await;
    let [first, second] = [0, 1].map(|index| TopicPartition::new(topic.as_str(), index));
    assert_eq!(committed[&first], 1, "in front of what cannot be read");
    assert_eq!(committed[&second], ends(&client, &topic).await[&second]);
}

/// A client to whom the marked record comes with a length that it has not.
async fn damaged(stage: &Stage) -> Client {
    stage
        .watched(|last, bytes| {
            let place = bytes.windows(MARK.len()).position(|window| window == MARK).filter(|_| last == FETCH);
            if let Some(start) = place.and_then(|place| place.checked_sub(IN_FRONT)) {
                let batch = &mut bytes[start..];
                let end = 12 + u32::from_be_bytes([batch[8], batch[9], batch[10], batch[11]]) as usize;
                batch[61] = 2;
                let checksum = crc32c::crc32c(&batch[CHECKSUM.end..end]);
                batch[CHECKSUM].copy_from_slice(&checksum.to_be_bytes());
            }
            Seen::Pass
        })
        .await
}
