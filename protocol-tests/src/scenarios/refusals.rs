//! What a topic does not take from a producer.

use std::time::Duration;

use milena::{Code, Compression, ErrorKind, Offset, Record};

use super::producer::assert_nothing_more;
use crate::suite::{Stage, take, text};

/// 6: a batch that the topic does not take for its size is sent in parts, in order; a flush waits for all of them.
pub(crate) async fn s06_a_batch_too_large_for_its_topic_is_split(stage: Stage) {
    const RECORDS: usize = 60;
    let client = stage.client().await;
    for codec in [Compression::None, Compression::gzip(1)] {
        let topic = stage.topic_with(&client, 1, &[("max.message.bytes", "2000")]).await;
        let builder = client.producer().compression(codec).linger(Duration::from_millis(100));
        let producer = builder.build().unwrap();
        let values: Vec<String> = (0..RECORDS as u32).map(|number| noise(number, 500)).collect();
        let mut deliveries = Vec::new();
        for value in &values {
            deliveries.push(producer.enqueue(Record::new(&topic, value)).await.unwrap());
        }
        producer.flush().await.unwrap();
        for (delivery, expected) in deliveries.into_iter().zip(0..) {
            let delivered = delivery.try_outcome().expect("the flush has waited for it").unwrap();
            assert_eq!(delivered.offset, Some(Offset(expected)), "{codec:?}");
        }
        let reader = client.reader().topics([topic.as_str()]).build().unwrap();
        let read: Vec<String> = take(&reader, RECORDS).await.iter().map(text).collect();
        assert_eq!(read, values);
        assert_nothing_more(&stage, &topic, &[(0, RECORDS as i64)]).await;
    }
}

/// Text that does not compress well.
fn noise(seed: u32, length: u32) -> String {
    let letters = (seed * length..).take(length as usize);
    letters.map(|n| char::from(b'a' + (n.wrapping_mul(n).wrapping_mul(n) >> 9) as u8 % 26)).collect()
}

/// 7: a record that is too large fails, here or at the broker, and no other does.
pub(crate) async fn s07_a_record_too_large_fails_alone(stage: Stage) {
    let client = stage.client().await;
    let topic = stage.topic_with(&client, 1, &[("max.message.bytes", "10000")]).await;
    let builder = client.producer().compression(Compression::None).batch_size(2_000);
    let producer = builder.max_request_size(100_000).build().unwrap();
    let (for_the_broker, for_the_client) = ("b".repeat(20_000), "c".repeat(200_000));
    let error = producer.send(Record::new(&topic, &for_the_client)).await.unwrap_err();
    let ErrorKind::RecordTooLarge { limit: Some(100_000), setting: "max_request_size", .. } = error.kind()
    else {
        panic!("{error}")
    };
    let mut deliveries = Vec::new();
    for value in ["first", &for_the_broker, "second"] {
        deliveries.push(producer.enqueue(Record::new(&topic, value)).await.unwrap());
    }
    let mut outcomes = Vec::new();
    for delivery in deliveries {
        outcomes.push(delivery.await.map(|delivered| delivered.offset));
    }
    let error = outcomes.remove(1).unwrap_err();
    let ErrorKind::RecordTooLarge { size, limit: None, setting: "max.message.bytes", .. } = error.kind()
    else {
        panic!("{error}")
    };
    assert!((20_000..20_200).contains(size) && !error.maybe_written(), "{error}");
    let outcomes: Vec<_> = outcomes.into_iter().map(Result::unwrap).collect();
    assert_eq!(outcomes, [Some(Offset(0)), Some(Offset(1))]);
}

/// 7: of a batch only the records fail that the broker names, with what it says of them (KIP-467).
pub(crate) async fn s07_only_the_records_that_are_named_fail(stage: Stage) {
    let client = stage.client().await;
    let topic = stage.topic_with(&client, 1, &[("cleanup.policy", "compact")]).await;
    let producer = client.producer().linger(Duration::from_millis(100)).build().unwrap();
    let mut deliveries = Vec::new();
    for number in 0..30 {
        let value = number.to_string();
        let record = Record::new(&topic, &value);
        let record = if number % 3 == 1 { record } else { record.key(&value) };
        deliveries.push((number, producer.enqueue(record).await.unwrap()));
    }
    let mut next = 0;
    for (number, delivery) in deliveries {
        let outcome = delivery.await;
        if number % 3 == 1 {
            let error = outcome.unwrap_err();
            let ErrorKind::Broker { code: Code::INVALID_RECORD, message: Some(message), .. } = error.kind()
            else {
                panic!("{error}")
            };
            assert!(message.to_lowercase().contains("key"), "{message}");
        } else {
            assert_eq!(outcome.unwrap().offset, Some(Offset(next)), "record {number}");
            next += 1;
        }
    }
    assert_eq!(next, 20);
    producer.close().await.unwrap();
}
