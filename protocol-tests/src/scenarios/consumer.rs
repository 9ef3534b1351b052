//! What is promised to whoever reads records.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use milena::{
    Client, Code, Compression, Consumer, Error, ErrorKind, GroupProtocol, Isolation, NewTopic, Offset,
    OffsetSpec, OnOutOfRange, Position, Record, TopicPartition,
};

use crate::broker::Version;
use crate::suite::{Seen, Stage, eventually, take, text};
use crate::target::Target;

const FETCH: i16 = 1;

/// 26: a topic that was compacted, with gaps and with a batch that lost all its records, is read to its end from
/// wherever one begins.
pub(crate) async fn s26_a_compacted_topic_is_read_to_its_end(stage: Stage) {
    const ROUNDS: i64 = 12;
    const KEYS: i64 = 5;
    let client = stage.client().await;
    // A batch that is half a second younger than the segment begins a new one; all but the newest are compacted.
    let topic = stage
        .topic_with(
            &client,
            1,
            &[
                ("cleanup.policy", "compact"),
                ("segment.ms", "500"),
                ("min.cleanable.dirty.ratio", "0.01"),
                ("delete.retention.ms", "0"),
            ],
        )
        .await;
    let partition = TopicPartition::new(topic.as_str(), 0);
    let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    // Two producers take turns: everything of the first is superseded in the end, and its last batch stays empty.
    let producers = [client.producer().build().unwrap(), client.producer().build().unwrap()];
    for round in 0..ROUNDS {
        let producer = &producers[usize::from(round + 1 >= ROUNDS / 2)];
        let mut deliveries = Vec::new();
        for key in 0..KEYS {
            let (key, value) = (key.to_string(), format!("{round}"));
            let at = now - (ROUNDS - round) * 1_000;
            deliveries
                .push(producer.enqueue(Record::new(&topic, &value).key(&key).timestamp(at)).await.unwrap());
        }
        producer.flush().await.unwrap();
        for delivery in deliveries {
            delivery.await.unwrap();
        }
    }
    let end = Offset(ROUNDS * KEYS);
    let read_from = async |position| {
        let reader = client.reader().partitions([(partition.clone(), position)]).build().unwrap();
        let mut read = Vec::new();
        while reader.position(&partition).is_none_or(|at| at < end) {
            read.extend(tokio::time::timeout(Duration::from_millis(20), reader.next()).await);
        }
        let read: Vec<_> = read.into_iter().map(|message| message.unwrap().unwrap()).collect();
        (reader, read)
    };
    stage.cluster().compact(&topic).await.unwrap();
    // The newest segment is never compacted, so that the last two rounds stay.
    eventually("it is compacted", async || {
        let (_, read) = read_from(Position::Earliest).await;
        (read.len() <= usize::try_from(3 * KEYS).unwrap()).then_some(())
    })
    .await;
    for start in 0..end.0 {
        let (reader, read) = read_from(Position::At(Offset(start))).await;
        let offsets: Vec<i64> = read.iter().map(|message| message.offset().0).collect();
        assert!(offsets.is_sorted_by(|a, b| a < b) && offsets.iter().all(|at| *at >= start), "{offsets:?}");
        let newest = read.iter().filter(|message| text(message) == format!("{}", ROUNDS - 1)).count();
        assert_eq!(i64::try_from(newest).unwrap(), (end.0 - start).min(KEYS), "from {start}: {offsets:?}");
        if start == 0 {
            producers[1].send(Record::new(&topic, "more").key("more")).await.unwrap();
            assert_eq!(text(&take(&reader, 1).await[0]), "more", "reading goes on");
        }
    }
}

/// 27: reading starts where it is told to: at either end, at a time, a while ago, at an offset.
pub(crate) async fn s27_reading_starts_where_it_is_told_to(stage: Stage) {
    let client = stage.client().await;
    let partition = TopicPartition::new(stage.topic(&client, 1).await, 0);
    let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    let hour = 3_600_000;
    let producer = client.producer().build().unwrap();
    // One record an hour, the last one now.
    for number in 0..10 {
        let value = number.to_string();
        let record = Record::new(&partition.topic, &value).partition(0);
        producer.send(record.timestamp(now - (9 - number) * hour)).await.unwrap();
    }
    let first = async |position| {
        let reader = client.reader().partitions([(partition.clone(), position)]).build().unwrap();
        text(&take(&reader, 1).await[0])
    };
    assert_eq!(first(Position::Earliest).await, "0");
    assert_eq!(first(Position::At(Offset(7))).await, "7");
    assert_eq!(first(Position::Timestamp(now - 3 * hour)).await, "6", "the record of that very time");
    assert_eq!(first(Position::Timestamp(now - 3 * hour + 1)).await, "7", "the next one");
    assert_eq!(first(Position::Ago(Duration::from_secs(5_400))).await, "8", "an hour and a half ago");
    let at_end = [Position::Latest, Position::Timestamp(now + hour)]
        .map(|position| client.reader().partitions([(partition.clone(), position)]).build().unwrap());
    for reader in &at_end {
        eventually("the end is known", async || reader.position(&partition)).await;
    }
    producer.send(Record::new(&partition.topic, "10")).await.unwrap();
    for reader in &at_end {
        assert_eq!(text(&take(reader, 1).await[0]), "10", "only what is written from now on");
    }
}

/// 27 and 28: where records were deleted before they were read, reading goes on as was said, never silently at the end.
pub(crate) async fn s28_deleted_records_are_passed_as_was_said(stage: Stage) {
    let client = stage.client().await;
    let partition = TopicPartition::new(stage.topic(&client, 1).await, 0);
    let values: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    stage.write(&client, &partition, &values).await;
    // One reader is under way when the records go.
    let builder = client.reader().partitions([(partition.clone(), Position::At(Offset(5)))]);
    let under_way = builder.build().unwrap();
    assert_eq!(text(&take(&under_way, 1).await[0]), "5");
    stage.delete_records(&client, &partition.topic, 60).await;

    let from = |policy| {
        let builder = client.reader().partitions([(partition.clone(), Position::At(Offset(10)))]);
        builder.on_out_of_range(policy).build().unwrap()
    };
    assert_eq!(text(&take(&from(OnOutOfRange::Earliest), 1).await[0]), "60", "the oldest that is there");
    let at_end = from(OnOutOfRange::Latest);
    eventually("it is at the end", async || at_end.position(&partition).filter(|at| *at == Offset(100)))
        .await;
    let refusing = from(OnOutOfRange::Fail);
    let error = error(&refusing).await;
    let ErrorKind::OffsetOutOfRange { offset: 10, setting: "on_out_of_range", .. } = error.kind() else {
        panic!("{error}")
    };
    refusing.seek(&[(partition.clone(), Position::At(Offset(99)))]).await.unwrap();
    assert_eq!(text(&take(&refusing, 1).await[0]), "99");
    let rest = take(&under_way, 1).await;
    assert!(["6", "60"].contains(&&*text(&rest[0])), "what it had fetched, or the oldest: {rest:?}");
    let default = client.reader().topics([partition.topic.as_str()]).build().unwrap();
    assert_eq!(text(&take(&default, 1).await[0]), "60");
}

const MARK: &[u8] = b"damage me on the way";

/// 33: a batch whose checksum is wrong is fetched again; when that does not help it is an error that tells where to go
/// on, and other partitions are read meanwhile.
pub(crate) async fn s33_a_corrupt_batch_stops_its_partition_alone(stage: Stage) {
    let client = stage.client().await;
    let topic = stage.topic(&client, 2).await;
    let producer = client.producer().compression(Compression::None).build().unwrap();
    for value in [&b"before"[..], MARK, b"after"] {
        producer.send(Record::new(&topic, value).partition(0)).await.unwrap();
    }
    producer.send(Record::new(&topic, "other").partition(1)).await.unwrap();

    let (met, heals) = damaged(&stage, 2).await;
    let reader = heals.reader().topics([topic.as_str()]).build().unwrap();
    let mut values: Vec<_> = take(&reader, 4).await.iter().map(text).collect();
    values.sort_unstable();
    assert_eq!(values, ["after", "before", &String::from_utf8_lossy(MARK), "other"]);
    assert!(met.load(Ordering::SeqCst) >= 3, "it was damaged twice");

    let (_, stays) = damaged(&stage, usize::MAX).await;
    let reader = stays.reader().topics([topic.as_str()]).build().unwrap();
    let error = error(&reader).await;
    let ErrorKind::CorruptBatch { partition, offset: 1, next_offset: Some(next), .. } = error.kind() else {
        panic!("{error}")
    };
    assert_eq!(*partition, TopicPartition::new(topic.as_str(), 0));
    producer.send(Record::new(&topic, "more").partition(1)).await.unwrap();
    while text(&take(&reader, 1).await[0]) != "more" {}
    reader.seek(&[(partition.clone(), Position::At(Offset(*next)))]).await.unwrap();
    assert_eq!(text(&take(&reader, 1).await[0]), "after");
}

/// A client on whose way the marked record is damaged the first `times` times that it comes by, and how often it has.
async fn damaged(stage: &Stage, times: usize) -> (Arc<AtomicUsize>, Client) {
    let met = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&met);
    let client = stage.watched(move |last, bytes| {
        let place = bytes.windows(MARK.len()).position(|window| window == MARK).filter(|_| last == FETCH);
        if let Some(place) = place.filter(|_| count.fetch_add(1, Ordering::SeqCst) < times) {
            bytes[place] ^= 1;
        }
        Seen::Pass
    });
    (met, client.await)
}

/// 34: a record that is larger than what one fetch should bring is delivered all the same.
pub(crate) async fn s34_a_record_larger_than_a_fetch_is_delivered(stage: Stage) {
    let client = stage.client().await;
    let topic = stage.topic(&client, 2).await;
    let producer = client.producer().compression(Compression::None).build().unwrap();
    let large = "x".repeat(200_000);
    for (partition, value) in [(0, "small"), (0, &large), (0, &large), (0, "last"), (1, &large), (1, "other")]
    {
        producer.send(Record::new(&topic, value).partition(partition)).await.unwrap();
    }
    let builder = client.reader().topics([topic.as_str()]);
    let reader = builder.partition_max_bytes(1_000).fetch_max_bytes(2_000).build().unwrap();
    let mut lengths = [Vec::new(), Vec::new()];
    for message in take(&reader, 6).await {
        lengths[usize::try_from(message.partition().0).unwrap()].push(text(&message).len());
    }
    assert_eq!(lengths, [vec![5, 200_000, 200_000, 4], vec![200_000, 5]]);
}

/// 35: a paused partition hands nothing out, and when it is resumed goes on with the very next record.
pub(crate) async fn s35_pause_and_resume_lose_and_repeat_nothing(stage: Stage) {
    let client = stage.client().await;
    let topic = stage.topic(&client, 2).await;
    let [paused, other] = [0, 1].map(|index| TopicPartition::new(topic.as_str(), index));
    let numbers = |from: usize| (from..from + 500).map(|number| number.to_string()).collect::<Vec<_>>();
    for from in [0, 500] {
        stage.write(&client, &paused, &numbers(from)).await;
        stage.write(&client, &other, &numbers(from)).await;
    }
    let reader = client.reader().topics([topic.as_str()]).build().unwrap();
    let mut read: [Vec<String>; 2] = Default::default();
    let mut read_one = async || {
        let message = take(&reader, 1).await.remove(0);
        read[usize::try_from(message.partition().0).unwrap()].push(text(&message));
        message.partition()
    };
    for partition in [&paused, &other] {
        eventually("its position is known", async || reader.position(partition)).await;
    }
    for _ in 0..20 {
        reader.pause(std::slice::from_ref(&paused));
        let position = reader.position(&paused);
        for _ in 0..5 {
            assert_eq!(read_one().await, other.partition);
        }
        assert_eq!(reader.position(&paused), position);
        reader.resume(std::slice::from_ref(&paused));
        reader.pause(std::slice::from_ref(&other));
        for _ in 0..5 {
            assert_eq!(read_one().await, paused.partition);
        }
        reader.resume(std::slice::from_ref(&other));
    }
    let seen: usize = read.iter().map(Vec::len).sum();
    for message in take(&reader, 2_000 - seen).await {
        read[usize::try_from(message.partition().0).unwrap()].push(text(&message));
    }
    assert_eq!(read, [[numbers(0), numbers(500)].concat(), [numbers(0), numbers(500)].concat()]);
}

/// The next error; records are passed.
async fn error(consumer: &Consumer) -> Error {
    let wait = async {
        loop {
            if let Err(error) = consumer.next().await.expect("the consumer is open") {
                return error;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect("no error came")
}

/// The ends of logs, and offsets at times, are what the records say, also with an open transaction.
pub(crate) async fn logs_tell_their_offsets(stage: Stage) {
    const MINUTE: i64 = 60_000;
    let client = stage.client().await;
    let topic = stage.topic(&client, 3).await;
    let partitions = [0, 1, 2].map(|index| TopicPartition::new(topic.as_str(), index));
    let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    let producer = client.producer().build().unwrap();
    for (partition, count) in partitions.iter().zip([4, 2, 0]) {
        for number in 0..count {
            let record = Record::new(&topic, "v").partition(partition.partition);
            producer.send(record.timestamp(now - (10 - number) * MINUTE)).await.unwrap();
        }
    }
    let mut transactions = client.producer().transactional(stage.name("id")).await.unwrap();
    let open = transactions.begin().await.unwrap();
    open.send(Record::new(&topic, "open").partition(partitions[1].partition)).await.unwrap();

    let reader = client.reader().topics([topic.as_str()]).build().unwrap();
    let ends = |offsets: [i64; 3]| partitions.clone().into_iter().zip(offsets.map(Offset)).collect();
    let begin = reader.beginning_offsets(&partitions).await.unwrap();
    let end = reader.end_offsets(&partitions).await.unwrap();
    assert_eq!((begin, end), (ends([0, 0, 0]), ends([4, 2, 0])), "in front of the open transaction");
    let latest = partitions.clone().map(|partition| (partition, OffsetSpec::Latest));
    let listed = client.admin().list_offsets(latest, Isolation::ReadUncommitted).await.unwrap();
    let listed = listed.into_iter().map(|(partition, listed)| (partition, listed.unwrap().unwrap().offset));
    assert_eq!(listed.collect::<BTreeMap<_, _>>(), ends([4, 3, 0]), "and behind it");
    open.commit().await.unwrap();

    let times = partitions.clone().map(|partition| (partition, now - 8 * MINUTE));
    // Brokers write the markers of a committed transaction a little later.
    let all_found = async || {
        let found = reader.offsets_for_times(&times).await.unwrap();
        (found.len() == 2).then_some(found)
    };
    let found = eventually("what was committed is found", all_found).await;
    let found: Vec<_> = found.into_iter().map(|(p, found)| (p, found.offset, found.timestamp)).collect();
    let [(first, at), (second, written)] =
        &found.iter().map(|(p, o, t)| ((p, o.0), *t)).collect::<Vec<_>>()[..]
    else {
        panic!("{found:?}")
    };
    assert_eq!((*first, *at), ((&partitions[0], 2), Some(now - 8 * MINUTE)));
    assert_eq!(*second, (&partitions[1], 2), "the first that is younger");
    assert!(written.is_some_and(|written| written >= now), "{found:?}");
}

/// What is written to partitions that were added to a topic, before whoever reads it has heard of them, is read, although
/// reading had begun at the end: in no group, and by members of either protocol.
pub(crate) async fn nothing_of_partitions_that_are_added_is_missed(stage: Stage) {
    let client = stage.client().await;
    // The coordinator of the consumer protocol assigns sooner than this, every five seconds on Kafka.
    let slow = stage.config().metadata_max_age(Duration::from_secs(12));
    let slow = Client::connect(slow).await.unwrap();
    let readers = [None, Some(GroupProtocol::Classic), Some(GroupProtocol::Auto)].map(async |protocol| {
        let topic = stage.topic(&client, 1).await;
        let reader = match protocol {
            Some(protocol) => slow.consumer(stage.name(&format!("group-{protocol:?}"))).protocol(protocol),
            None => slow.reader(),
        };
        let reader = reader.topics([topic.as_str()]).start_at(Position::Latest).build().unwrap();
        let first = TopicPartition::new(topic.as_str(), 0);
        eventually("it reads", async || reader.position(&first)).await;
        stage.cluster().add_partitions(&topic, 3).await.unwrap();
        let producer = stage.client().await.producer().build().unwrap();
        for (index, value) in [(0, "0 a"), (1, "1 a"), (1, "1 b"), (2, "2 a"), (0, "0 b"), (2, "2 b")] {
            let record = Record::new(&topic, value).partition(index);
            // Brokers learn of the partitions one after the other.
            drop(eventually("a broker knows of it", async || producer.enqueue(record).await.ok()).await);
        }
        producer.close().await.unwrap();
        let mut read: Vec<_> = take(&reader, 6).await.iter().map(text).collect();
        read.sort_unstable();
        assert_eq!(read, ["0 a", "0 b", "1 a", "1 b", "2 a", "2 b"], "{protocol:?}");
    });
    let [alone, classic, auto] = readers;
    tokio::join!(alone, classic, auto);
}

/// Topics are read whose names match, by members of either protocol and in no group: also those that appear later,
/// where none is there at first; and one that is deleted is no more.
pub(crate) async fn topics_are_read_whose_names_match(stage: Stage) {
    let config = stage.config().metadata_max_age(Duration::from_secs(1));
    let client = Client::connect(config).await.unwrap();
    for (way, protocol) in [None, Some(GroupProtocol::Classic), Some(GroupProtocol::Auto)].iter().enumerate()
    {
        let group = stage.name(&format!("group-{way}"));
        let builder = match protocol {
            Some(protocol) => client.consumer(&group).protocol(*protocol),
            None => client.reader(),
        };
        let name = |end: &str| stage.name(&format!("{way}.{end}"));
        let pattern = format!("{}(a|b)+", name("").replace('.', r"\."));
        let consumer = builder.topics_matching(pattern).build().unwrap();
        let nothing = tokio::time::timeout(Duration::from_secs(3), consumer.next()).await;
        assert!(nothing.is_err(), "{nothing:?}");

        for (end, value) in [("a", "1"), ("ab", "2"), ("abc", "no match")] {
            stage.create(&client, NewTopic::new(name(end)).partitions(2)).await;
            stage.described(&client, &name(end)).await;
            stage.write(&client, &TopicPartition::new(name(end), 0), &[value.to_owned()]).await;
        }
        let mut read: Vec<_> = take(&consumer, 2).await.iter().map(text).collect();
        read.sort();
        assert_eq!(read, ["1", "2"], "way {way}");
        let shares = async |count: usize| {
            eventually("it reads these partitions alone", async || {
                let _ = tokio::time::timeout(Duration::from_millis(50), consumer.next()).await;
                (consumer.assignment().len() == count).then_some(())
            })
            .await;
        };
        shares(4).await;
        client.admin().delete_topics([name("a")]).await.unwrap();
        shares(2).await;
        consumer.close().await.unwrap();
    }
}

/// The group's coordinator says which topics match (KIP-848), those that appear later too; an older one says that it does
/// not.
pub(crate) async fn topics_are_read_that_the_coordinator_matches(stage: Stage) {
    let client = stage.client().await;
    let name = |end: &str| stage.name(end);
    let pattern = format!("{}(a|b)+", name("").replace('.', r"\."));
    let member = || client.consumer(name("group")).topics_matched_by_brokers(&pattern).build().unwrap();
    let member = member();
    if matches!(stage.target(), Target::Kafka { version: Version::V3_9_1, .. }) {
        let told = member.next().await.unwrap().unwrap_err();
        assert!(matches!(told.kind(), ErrorKind::UnsupportedVersion { .. }), "{told}");
        return;
    }
    for (end, value) in [("a", "1"), ("ab", "2"), ("abc", "no match")] {
        stage.create(&client, NewTopic::new(name(end)).partitions(2)).await;
        stage.described(&client, &name(end)).await;
        stage.write(&client, &TopicPartition::new(name(end), 0), &[value.to_owned()]).await;
    }
    let mut read: Vec<_> = take(&member, 2).await.iter().map(text).collect();
    read.sort();
    assert_eq!(read, ["1", "2"]);
    client.admin().delete_topics([name("a")]).await.unwrap();
    eventually("what has gone is not assigned any more", async || {
        let _ = tokio::time::timeout(Duration::from_millis(50), member.next()).await;
        (member.assignment().len() == 2).then_some(())
    })
    .await;
    member.close().await.unwrap();

    // As Kafka's expressions, which look neither ahead nor back.
    for wrong in ["a(", "(?=a)b"] {
        let member = client.consumer(name("wrong")).topics_matched_by_brokers(wrong).build().unwrap();
        let told = member.next().await.unwrap().unwrap_err();
        assert_eq!(told.code(), Some(Code::INVALID_REGULAR_EXPRESSION), "{told}");
        assert!(told.to_string().contains(wrong), "{told}");
    }
}

/// A backlog comes over the wire once: 1.9 MB as lz4 made them, and next to nothing beside.
pub(crate) async fn a_compressed_backlog_is_fetched_once(stage: Stage) {
    const BYTES: u64 = 1_900_000;
    let writer = stage.client().await;
    let topic = stage.topic(&writer, 2).await;
    let producer = writer.producer().compression(Compression::Lz4).build().unwrap();
    let mut dice = 0x2545_f491_4f6c_dd1d_u64;
    let mut written = 0_u32;
    while writer.metrics().brokers.values().map(|broker| broker.bytes_out).sum::<u64>() < BYTES {
        // Noise, of which lz4 makes nothing smaller, and a part that it does.
        let noise = (0..12).flat_map(|_| {
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            dice.to_le_bytes()
        });
        let value: Vec<u8> = noise.chain([b'x'; 40]).collect();
        drop(producer.enqueue(Record::new(&topic, &value)).await.unwrap());
        written += 1;
    }
    producer.close().await.unwrap();
    let client = stage.client().await;
    let reader = client.reader().topics([topic.as_str()]).build().unwrap();
    for number in 0..written {
        let next = tokio::time::timeout(Duration::from_secs(60), reader.next()).await;
        next.unwrap_or_else(|_| panic!("only {number} of {written} came")).unwrap().unwrap();
    }
    let sent: u64 = writer.metrics().brokers.values().map(|broker| broker.bytes_out).sum();
    let fetched: u64 = client.metrics().brokers.values().map(|broker| broker.bytes_in).sum();
    assert!(sent >= BYTES && fetched <= sent + 200_000, "{fetched} bytes came of {sent} that were written");
}
