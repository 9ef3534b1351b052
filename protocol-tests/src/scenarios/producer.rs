//! What is promised to whoever writes records.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use milena::{
    Acks, Code, Compression, Delivery, ErrorKind, Offset, Partition, Position, Record, TopicPartition,
    partition_for_key,
};

use crate::suite::{Seen, Stage, eventually, take, text};

const PRODUCE: i16 = 0;

/// 1: ordered, gapless and without duplicates, while the leader is moved twenty times.
pub(crate) async fn s01_order_is_kept_while_leaders_move(stage: Stage) {
    const RECORDS: usize = 100_000;
    const MOVES: usize = 20;
    const PARTITIONS: i32 = 3;
    let client = stage.client().await;
    let topic = stage.topic(&client, 3).await;
    let producer = client.producer().build().unwrap();
    let mut deliveries: Vec<Vec<Delivery>> = (0..PARTITIONS).map(|_| Vec::new()).collect();
    let mut numbers = 0..RECORDS;
    for (turn, partition) in (0..PARTITIONS).cycle().take(MOVES).enumerate() {
        for number in numbers.by_ref().take(RECORDS / MOVES) {
            let place = number % deliveries.len();
            let value = number.to_string();
            let record = Record::new(&topic, &value).partition(i32::try_from(place).unwrap());
            deliveries[place].push(producer.enqueue(record).await.unwrap());
        }
        assert_eq!(numbers.start, (turn + 1) * RECORDS / MOVES);
        stage.move_leader(&client, &TopicPartition::new(topic.as_str(), partition)).await;
    }
    for partition in deliveries {
        for (delivery, expected) in partition.into_iter().zip(0..) {
            assert_eq!(delivery.await.unwrap().offset, Some(Offset(expected)));
        }
    }
    producer.close().await.unwrap();

    let reader = client.reader().topics([topic.as_str()]).build().unwrap();
    let mut next: BTreeMap<Partition, usize> = BTreeMap::new();
    for message in take(&reader, RECORDS).await {
        let first = usize::try_from(message.partition().0).unwrap();
        let expected = next.entry(message.partition()).or_insert(first);
        assert_eq!(text(&message), expected.to_string(), "in partition {}", message.partition());
        *expected += 3;
    }
    assert_nothing_more(&stage, &topic, &[(0, 33_334), (1, 33_333), (2, 33_333)]).await;
}

/// 1: a leader takes the first batch that it sees of a producer, whatever its sequence. So the order holds from the first
/// record on, though brokers refuse the first batches: those of a topic of a moment ago, which not all of them know yet,
/// or by a rule where there are rules.
pub(crate) async fn s01_the_first_batches_keep_their_order_though_the_first_is_refused(stage: Stage) {
    use milena::testing::{Api, Fault, Rule};
    const PARTITIONS: usize = 12;
    const ROUNDS: usize = 5;
    const EACH: usize = 20;
    let client = stage.client().await;
    for round in 0..ROUNDS {
        let topic = stage.name(&format!("new-{round}"));
        let refused = match stage.cluster().embedded() {
            Some(cluster) => {
                let rule = Rule::new(Fault::Refuse(Code::NOT_LEADER_OR_FOLLOWER)).on(Api::Produce);
                Some(cluster.fault(rule.topic(topic.as_str()).partition(0).times(1)).await.unwrap())
            }
            None => None,
        };
        let partitions = u32::try_from(PARTITIONS).unwrap();
        stage.create(&client, milena::NewTopic::new(topic.as_str()).partitions(partitions)).await;
        // Each record fills a batch of its own.
        let producer = client.producer().batch_size(300).compression(Compression::None).build().unwrap();
        let mut deliveries = Vec::new();
        for number in 0..PARTITIONS * EACH {
            let partition = i32::try_from(number % PARTITIONS).unwrap();
            let value = format!("{number:0250}");
            deliveries
                .push(producer.enqueue(Record::new(&topic, &value).partition(partition)).await.unwrap());
        }
        for (number, delivery) in deliveries.into_iter().enumerate() {
            let expected = i64::try_from(number / PARTITIONS).unwrap();
            assert_eq!(delivery.await.unwrap().offset, Some(Offset(expected)), "record {number}");
        }
        producer.close().await.unwrap();
        if let Some(refused) = refused {
            assert_eq!(refused.hits(), 1);
        }
        let each = i64::try_from(EACH).unwrap();
        let ends: Vec<_> = (0..).take(PARTITIONS).map(|partition| (partition, each)).collect();
        assert_nothing_more(&stage, &topic, &ends).await;
    }
}

/// 2: ordered, gapless and without duplicates, while every seventh answer is lost with its connection, after the broker
/// has written what was asked.
pub(crate) async fn s02_records_are_written_once_when_answers_are_lost(stage: Stage) {
    const RECORDS: usize = 20_000;
    const PARTITIONS: usize = 3;
    let answers = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&answers);
    let client = stage.watched(move |last, _| {
        let is_lost = last == PRODUCE && count.fetch_add(1, Ordering::SeqCst) % 7 == 6;
        if is_lost { Seen::Cut } else { Seen::Pass }
    });
    let client = client.await;
    let topic = stage.topic(&client, 3).await;
    let producer = client.producer().batch_size(2_000).compression(Compression::None).build().unwrap();
    let mut deliveries = Vec::new();
    for number in 0..RECORDS {
        let value = number.to_string();
        let partition = i32::try_from(number % PARTITIONS).unwrap();
        deliveries.push(producer.enqueue(Record::new(&topic, &value).partition(partition)).await.unwrap());
    }
    for (number, delivery) in deliveries.into_iter().enumerate() {
        let expected = i64::try_from(number / PARTITIONS).unwrap();
        assert_eq!(delivery.await.unwrap().offset, Some(Offset(expected)), "record {number}");
    }
    producer.close().await.unwrap();
    // A busy machine puts more batches into each request.
    assert!(answers.load(Ordering::SeqCst) > 20, "{answers:?} answers are too few to lose some");
    assert_nothing_more(&stage, &topic, &[(0, 6_667), (1, 6_667), (2, 6_666)]).await;
}

/// 3: what cannot be delivered while a broker is frozen fails; what is sent later is written, and nothing is taken for
/// something else (the batch after the failed one has as many records).
pub(crate) async fn s03_a_frozen_broker_costs_only_what_was_overdue(stage: Stage) {
    let client =
        milena::Client::connect(stage.config().request_timeout(Duration::from_secs(1))).await.unwrap();
    let partition = TopicPartition::new(stage.topic(&client, 1).await, 0);
    let producer = client.producer().delivery_timeout(Duration::from_secs(2)).build().unwrap();
    let send = async |value: &str| producer.send(Record::new(&partition.topic, value).partition(0)).await;
    send("before").await.unwrap();
    let leader = stage.leader(&client, &partition).await;

    stage.cluster().pause(leader).await.unwrap();
    let overdue = send("overdue").await.unwrap_err();
    assert!(matches!(overdue.kind(), ErrorKind::Undelivered { .. }), "{overdue}");
    stage.cluster().resume(leader).await.unwrap();

    let mut written = vec![("before".to_owned(), Offset(0))];
    for number in 0..20 {
        let value = format!("after {number}");
        // Until the broker is back, these may be overdue as well.
        match send(&value).await {
            Ok(delivered) => written.push((value, delivered.offset.unwrap())),
            Err(error) => assert!(matches!(error.kind(), ErrorKind::Undelivered { .. }), "{error}"),
        }
    }
    assert!(written.len() > 1, "it never came back");
    let last = written.last().unwrap().1.0;
    let reader = client.reader().topics([partition.topic.as_str()]).build().unwrap();
    let read = take(&reader, usize::try_from(last + 1).unwrap()).await;
    let read: Vec<_> = read.iter().map(|message| (text(message), message.offset())).collect();
    for acknowledged in &written {
        assert!(read.contains(acknowledged), "{acknowledged:?} was acknowledged and never written: {read:?}");
    }
    let values: std::collections::BTreeSet<_> = read.iter().map(|(value, _)| value).collect();
    assert_eq!(values.len(), read.len(), "nothing comes twice: {read:?}");
    let before_after = overdue.maybe_written() || !values.iter().any(|value| *value == "overdue");
    assert!(before_after, "what is said not to be written is not written: {read:?}");
}

/// 4: a sequence that the broker does not expect is recovered from, in order.
pub(crate) async fn s04_an_out_of_order_sequence_is_recovered_from(stage: Stage) {
    use milena::testing::{Api, Fault, Rule};
    let client = stage.client().await;
    let topic = stage.topic(&client, 1).await;
    let producer = client.producer().batch_size(300).build().unwrap();
    producer.send(Record::new(&topic, "first")).await.unwrap();
    let refused = Rule::new(Fault::Refuse(Code::OUT_OF_ORDER_SEQUENCE_NUMBER)).on(Api::Produce);
    let refused = refused.topic(topic.as_str()).times(1);
    let refused = stage.cluster().embedded().unwrap().fault(refused).await.unwrap();
    let values: Vec<String> = (0..50).map(|number| format!("{number:0100}")).collect();
    let mut deliveries = Vec::new();
    for value in &values {
        deliveries.push(producer.enqueue(Record::new(&topic, value)).await.unwrap());
    }
    for (delivery, expected) in deliveries.into_iter().zip(1..) {
        assert_eq!(delivery.await.unwrap().offset, Some(Offset(expected)));
    }
    assert_eq!(refused.hits(), 1);
    let reader = client.reader().topics([topic.as_str()]).build().unwrap();
    let read: Vec<String> = take(&reader, 51).await.iter().map(text).collect();
    assert_eq!(read[1..], values);
}

/// 5: the answers to five batches in flight are lost after they were written: sent again, they are acknowledged with
/// the offsets that they got, and are written once.
pub(crate) async fn s05_five_batches_sent_again_keep_their_offsets(stage: Stage) {
    let armed = Arc::new(AtomicBool::new(false));
    let cuts = Arc::new(AtomicUsize::new(0));
    let eye = {
        let (armed, cuts) = (Arc::clone(&armed), Arc::clone(&cuts));
        move |last: i16, _: &mut [u8]| {
            if last != PRODUCE || !armed.swap(false, Ordering::SeqCst) {
                return Seen::Pass;
            }
            cuts.fetch_add(1, Ordering::SeqCst);
            Seen::Cut
        }
    };
    let client = stage.watched(eye).await;
    let topic = stage.topic(&client, 1).await;
    // Each record fills a batch of its own.
    let producer = client.producer().batch_size(300).compression(Compression::None).build().unwrap();
    const ROUNDS: usize = 20;
    for round in 0..ROUNDS {
        armed.store(true, Ordering::SeqCst);
        let mut deliveries = Vec::new();
        for number in 0..5 {
            let value = format!("{:0250}", round * 5 + number);
            deliveries.push(producer.enqueue(Record::new(&topic, &value)).await.unwrap());
        }
        for (number, delivery) in deliveries.into_iter().enumerate() {
            let expected = i64::try_from(round * 5 + number).unwrap();
            assert_eq!(delivery.await.unwrap().offset, Some(Offset(expected)));
        }
    }
    assert_eq!(cuts.load(Ordering::SeqCst), ROUNDS, "each round lost an answer");
    producer.close().await.unwrap();
    assert_nothing_more(&stage, &topic, &[(0, 100)]).await;
}

/// 8: keys go where Java's client sends them: ten thousand keys, against a table that Java made.
pub(crate) async fn s08_keys_go_where_java_sends_them(stage: Stage) {
    /// One line for each key: Java's hash of it, made positive, modulo [`MODULUS`].
    const JAVA: &str = include_str!("../../data/murmur2-java-4.4.0.txt");
    const MODULUS: u32 = 2_520;
    const PARTITIONS: u32 = 12;
    let client = stage.client().await;
    let topic = stage.topic(&client, PARTITIONS).await;
    let producer = client.producer().build().unwrap();
    let mut deliveries = Vec::new();
    for (number, line) in (0..).zip(JAVA.lines()) {
        let (key, java) = (golden_key(number), line.parse::<u32>().unwrap());
        assert_eq!(partition_for_key(&key, MODULUS), Partition(java.cast_signed()), "key {number}");
        let delivery = producer.enqueue(Record::new(&topic, "v").key(&key)).await.unwrap();
        deliveries.push((number, java % PARTITIONS, delivery));
    }
    assert_eq!(deliveries.len(), 10_000);
    for (number, partition, delivery) in deliveries {
        assert_eq!(delivery.await.unwrap().partition, Partition(partition.cast_signed()), "key {number}");
    }
}

/// The bytes of a key of the table: `data/Murmur2.java` makes the same.
fn golden_key(number: u32) -> Vec<u8> {
    let mut state = number;
    let bytes = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_103_515_245).wrapping_add(12_345);
        (state >> 16) as u8
    });
    bytes.take((number % 41) as usize).collect()
}

/// 9, the part that needs nobody else: every codec's batches come back from the broker as they were.
pub(crate) async fn s09_every_codec_round_trips(stage: Stage) {
    let client = stage.client().await;
    let topic = stage.topic(&client, 1).await;
    let partition = TopicPartition::new(topic.as_str(), 0);
    let codecs = [
        Compression::None,
        Compression::gzip(6),
        Compression::Snappy,
        Compression::Lz4,
        Compression::zstd(3),
    ];
    let noise: String =
        (0..20_000_u32).map(|n| char::from(b'a' + (n.wrapping_mul(n) >> 7) as u8 % 26)).collect();
    let values = [String::new(), "x".to_owned(), "repeats ".repeat(10_000), noise];
    for codec in codecs {
        let producer = client.producer().compression(codec).linger(Duration::from_millis(5)).build().unwrap();
        for value in &values {
            drop(producer.enqueue(Record::new(&topic, value)).await.unwrap());
        }
        producer.close().await.unwrap();
    }
    let reader = client.reader().partitions([(partition, Position::Earliest)]).build().unwrap();
    let read: Vec<String> = take(&reader, 4 * codecs.len()).await.iter().map(text).collect();
    for of_one_codec in read.chunks(4) {
        assert_eq!(of_one_codec, values);
    }
}

/// 10: what each kind of acknowledgement says of offsets; all that was acknowledged is there.
pub(crate) async fn s10_acknowledgements_say_what_they_know(stage: Stage) {
    let client = stage.client().await;
    let topic = stage.topic(&client, 1).await;
    for (acks, offset) in [(Acks::All, Some(Offset(0))), (Acks::Leader, Some(Offset(1))), (Acks::None, None)]
    {
        let producer = client.producer().acks(acks).build().unwrap();
        let delivered = producer.send(Record::new(&topic, "x")).await.unwrap();
        assert_eq!(delivered.offset, offset, "{acks:?}");
        producer.close().await.unwrap();
    }
    let reader = client.reader().topics([topic.as_str()]).build().unwrap();
    assert_eq!(take(&reader, 3).await.len(), 3);
}

/// 10: with too few replicas a record that wants them all is not acknowledged, and is once they are back.
pub(crate) async fn s10_all_replicas_means_all_that_are_wanted(stage: Stage) {
    let client =
        milena::Client::connect(stage.config().request_timeout(Duration::from_secs(2))).await.unwrap();
    let topic = stage.topic_with(&client, 1, &[("min.insync.replicas", "3")]).await;
    let partition = TopicPartition::new(topic.as_str(), 0);
    let hasty = client.producer().delivery_timeout(Duration::from_secs(4)).build().unwrap();
    let patient = client.producer().build().unwrap();
    hasty.send(Record::new(&topic, "with three")).await.unwrap();
    let leader = stage.leader(&client, &partition).await;
    stage.cluster().kill(leader % 3 + 1).await.unwrap();
    // A replica counts until the others have noticed that it is gone.
    eventually("a record is refused for want of replicas", async || {
        let refused = hasty.send(Record::new(&topic, "with two")).await.err()?;
        let ErrorKind::Undelivered { cause, .. } = refused.kind() else { panic!("{refused}") };
        let codes = [Code::NOT_ENOUGH_REPLICAS, Code::NOT_ENOUGH_REPLICAS_AFTER_APPEND];
        cause.as_ref()?.code().filter(|code| codes.contains(code))
    })
    .await;
    let waiting = patient.enqueue(Record::new(&topic, "with three again")).await.unwrap();
    assert!(waiting.try_outcome().is_none());
    stage.cluster().start_again(leader % 3 + 1).await.unwrap();
    waiting.await.unwrap();
}

/// 11: a flush waits for every record, however long its batch would have lingered, and so does a close.
pub(crate) async fn s11_flush_and_close_settle_everything(stage: Stage) {
    let client = stage.client().await;
    let topic = stage.topic(&client, 3).await;
    let lingering = || client.producer().linger(Duration::from_secs(80)).build().unwrap();
    let mut written = 0;
    let mut enqueue = async |producer: &milena::Producer| {
        let mut deliveries = Vec::new();
        for _ in 0..500 {
            deliveries.push(producer.enqueue(Record::new(&topic, "x")).await.unwrap());
        }
        written += 500;
        deliveries
    };
    let settled = |deliveries: &[Delivery]| deliveries.iter().all(|d| matches!(d.try_outcome(), Some(Ok(_))));

    let producer = lingering();
    let deliveries = enqueue(&producer).await;
    producer.flush().await.unwrap();
    assert!(settled(&deliveries), "after the flush");
    eventually("the memory is free", async || (producer.buffered_bytes() == 0).then_some(())).await;
    let deliveries = enqueue(&producer).await;
    producer.close().await.unwrap();
    assert!(settled(&deliveries), "after the close");
    let producer = lingering();
    let deliveries = enqueue(&producer).await;
    drop(producer);
    for delivery in deliveries {
        delivery.await.unwrap();
    }
    let reader = client.reader().topics([topic.as_str()]).build().unwrap();
    assert_eq!(take(&reader, written).await.len(), 1_500);
}

/// 12: while a broker is frozen, records take the memory that they were given and no more; then all are written.
pub(crate) async fn s12_a_frozen_broker_pushes_back(stage: Stage) {
    const MEMORY: usize = 256 << 10;
    // What was sent to a frozen node of the embedded cluster is never answered, and is sent again after this.
    let client =
        milena::Client::connect(stage.config().request_timeout(Duration::from_secs(2))).await.unwrap();
    let partition = TopicPartition::new(stage.topic(&client, 1).await, 0);
    let builder = client.producer().buffer_memory(MEMORY).max_request_size(64 << 10).batch_size(32 << 10);
    let producer = builder.build().unwrap();
    let value = "x".repeat(10_000);
    let record = Record::new(&partition.topic, &value);
    producer.send(record).await.unwrap();
    let leader = stage.leader(&client, &partition).await;
    stage.cluster().pause(leader).await.unwrap();
    let mut deliveries = Vec::new();
    let refused = loop {
        match producer.try_enqueue(record) {
            Ok(delivery) => deliveries.push(delivery),
            Err(refused) => break refused.error,
        }
        assert!(producer.buffered_bytes() <= MEMORY);
    };
    let ErrorKind::Full { limit: MEMORY, setting: "buffer_memory", .. } = refused.kind() else {
        panic!("{refused}")
    };
    assert!(deliveries.len() > 10, "{} records fit", deliveries.len());
    let waits = tokio::time::timeout(Duration::ZERO, producer.enqueue(record)).await;
    assert!(waits.is_err(), "there is no room");
    stage.cluster().resume(leader).await.unwrap();
    producer.enqueue(record).await.unwrap().await.unwrap();
    for delivery in deliveries {
        delivery.await.unwrap();
    }
    eventually("the memory is free", async || (producer.buffered_bytes() == 0).then_some(())).await;
}

/// 13: a topic that is not there is waited for as long as was said, and is not created by being asked for, though the
/// brokers would.
pub(crate) async fn s13_an_unknown_topic_is_an_error_and_stays_unknown(stage: Stage) {
    let client = stage.client().await;
    let topic = stage.name("nowhere");
    let producer = client.producer().max_block(Duration::from_secs(2)).build().unwrap();
    let error = producer.send(Record::new(&topic, "x")).await.unwrap_err();
    let ErrorKind::UnknownTopic { topic: named, setting: "max_block", .. } = error.kind() else {
        panic!("{error}")
    };
    assert_eq!(named.as_str(), topic);
    let listed = client.admin().list_topics().await.unwrap();
    assert!(!listed.iter().any(|listed| listed.name.as_str() == topic), "it was created");
    stage.create(&client, milena::NewTopic::new(topic.as_str())).await;
    eventually("it is found", async || producer.send(Record::new(&topic, "x")).await.ok()).await;
}

/// 14: what a quota holds up is written all the same, once, and the time is counted.
pub(crate) async fn s14_a_throttled_producer_waits_and_loses_nothing(stage: Stage) {
    let client = stage.client().await;
    let topic = stage.topic(&client, 1).await;
    stage.cluster().throttle_producers(&stage.name("throttled")).await.unwrap();
    let throttled = milena::Client::connect(stage.config().client_id(stage.name("throttled"))).await.unwrap();
    let producer = throttled.producer().compression(Compression::None).build().unwrap();
    let sent = send_until_throttled(&throttled, &producer, &topic).await;
    producer.send(Record::new(&topic, "one more")).await.unwrap();
    producer.close().await.unwrap();
    assert_nothing_more(&stage, &topic, &[(0, sent + 1)]).await;
}

/// 14: after an answer that asks for silence no request begins on its connection until the time is over, though records
/// wait (KIP-219).
pub(crate) async fn s14_nothing_is_sent_while_throttled(stage: Stage) {
    const RECORDS: usize = 12;
    let client = stage.client().await;
    let topic = stage.topic(&client, 1).await;
    stage.cluster().throttle_producers(&stage.name("throttled")).await.unwrap();
    let (throttled, recording) = stage.recorded(stage.config().client_id(stage.name("throttled"))).await;
    // Each record fills a batch of its own, and more of them wait than are sent at once.
    let producer = throttled.producer().batch_size(10_000).compression(Compression::None);
    let producer = producer.build().unwrap();
    let sent = send_until_throttled(&throttled, &producer, &topic).await;
    let value = "x".repeat(10_000);
    let mut deliveries = Vec::new();
    for _ in 0..RECORDS {
        deliveries.push(producer.enqueue(Record::new(&topic, &value)).await.unwrap());
    }
    for (delivery, expected) in deliveries.into_iter().zip(sent..) {
        assert_eq!(delivery.await.unwrap().offset, Some(Offset(expected)));
    }
    producer.close().await.unwrap();
    let silences = recording.silences().unwrap();
    assert!(
        silences.iter().any(|silence| silence.broken.is_some()),
        "something was sent later: {silences:?}"
    );
    for silence in &silences {
        let kept = silence.broken.is_none_or(|broken| broken >= silence.since + silence.wanted);
        assert!(kept, "sent after {:?}: {silence:?}", silence.broken.map(|broken| broken - silence.since));
    }
}

/// Sends records one by one until a broker throttles, and tells how many.
async fn send_until_throttled(client: &milena::Client, producer: &milena::Producer, topic: &str) -> i64 {
    let value = "x".repeat(40_000);
    let throttle = || client.metrics().brokers.values().map(|broker| broker.throttle_time).sum::<Duration>();
    let mut sent = 0;
    // A new quota is not known to all brokers at once.
    while throttle().is_zero() {
        producer.send(Record::new(topic, &value)).await.unwrap();
        sent += 1;
        assert!(sent < 2_000, "no broker throttles");
    }
    sent
}

/// 15: headers, null keys, null values and both kinds of timestamps come back as they were sent.
pub(crate) async fn s15_headers_nulls_and_timestamps_round_trip(stage: Stage) {
    const SENT_AT: i64 = 1_234_567_890_123;
    let client = stage.client().await;
    let created = stage.topic(&client, 1).await;
    let appended = stage.topic_with(&client, 1, &[("message.timestamp.type", "LogAppendTime")]).await;
    let producer = client.producer().build().unwrap();
    let headers = [("a", Some(&b"1"[..])), ("", Some(b"")), ("b", None), ("a", Some("\u{fc}".as_bytes()))];
    for topic in [&created, &appended] {
        let full = Record::new(topic, "value").key("key").headers(&headers).timestamp(SENT_AT);
        let empty = Record::new(topic, "").key("").timestamp(SENT_AT + 1);
        let keyless = Record::new(topic, "keyless").timestamp(SENT_AT - 1);
        let tombstone = Record::tombstone(topic, "gone").timestamp(0);
        for (record, offset) in [full, empty, keyless, tombstone].into_iter().zip(0..) {
            let delivered = producer.send(record).await.unwrap();
            assert_eq!(delivered.offset, Some(Offset(offset)));
            let is_own = [SENT_AT, SENT_AT + 1, SENT_AT - 1, 0].contains(&delivered.timestamp);
            assert_eq!(is_own, topic == &created, "the broker's time on topics that use it: {delivered:?}");
        }
        let consumer = client.reader().topics([topic.as_str()]).start_at(Position::Earliest).build().unwrap();
        let read = take(&consumer, 4).await;
        let pairs: Vec<_> = read.iter().map(|message| (message.key(), message.value())).collect();
        let expected = [
            (Some(&b"key"[..]), Some(&b"value"[..])),
            (Some(b""), Some(b"")),
            (None, Some(b"keyless")),
            (Some(b"gone"), None),
        ];
        assert_eq!(pairs, expected, "an empty value is not a null one");
        assert!(read[0].headers().eq(headers), "headers keep their order, their doubles and their nulls");
        assert_eq!(read[1].headers().count(), 0);
        let times: Vec<i64> = read.iter().map(milena::Message::timestamp).collect();
        if topic == &created {
            assert_eq!(times, [SENT_AT, SENT_AT + 1, SENT_AT - 1, 0]);
        } else {
            assert!(times.iter().all(|time| *time > SENT_AT + 1) && times.is_sorted(), "{times:?}");
        }
    }
}

/// The partitions hold so many records and no more: a record that is written now gets the offset behind them.
pub(super) async fn assert_nothing_more(stage: &Stage, topic: &str, ends: &[(i32, i64)]) {
    let client = stage.client().await;
    let producer = client.producer().build().unwrap();
    for &(partition, end) in ends {
        let delivered = producer.send(Record::new(topic, "end").partition(partition)).await.unwrap();
        assert_eq!(delivered.offset, Some(Offset(end)), "the end of partition {partition}");
    }
}
