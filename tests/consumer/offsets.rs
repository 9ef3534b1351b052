//! Where logs begin and end, and how old what is read is.

use std::time::Duration;

use milena::{
    Code, ErrorKind, Isolation, Offset, OffsetSpec, Record, TopicPartition,
    testing::{Api, Fault, Rule},
};

use crate::support::{cluster, produce, take, tp};

/// A minute in milliseconds.
const MINUTE: i64 = 60_000;

#[tokio::test(start_paused = true)]
async fn the_ends_of_logs_and_offsets_at_times_are_told_by_their_leaders() {
    let (_cluster, client) = cluster(3, 4).await;
    let producer = client.producer().build().unwrap();
    for number in 0..12_i32 {
        let record =
            Record::new("t", "v").partition(number % 3).timestamp(1_000 + i64::from(number) * MINUTE);
        producer.send(record).await.unwrap();
    }
    let reader = client.reader().topics(["t"]).build().unwrap();
    let partitions = [0, 1, 2, 3].map(tp);
    let begin = reader.beginning_offsets(&partitions).await.unwrap();
    assert_eq!(begin, partitions.clone().map(|partition| (partition, Offset(0))).into());
    let end = reader.end_offsets(&partitions).await.unwrap();
    assert_eq!(end, [(tp(0), Offset(4)), (tp(1), Offset(4)), (tp(2), Offset(4)), (tp(3), Offset(0))].into());

    // Partition 0 has records of minutes 0, 3, 6 and 9.
    let times = [(tp(0), 4 * MINUTE), (tp(1), 0), (tp(2), 1_000 * MINUTE), (tp(3), 0)];
    let found = reader.offsets_for_times(&times).await.unwrap();
    let found: Vec<_> = found.into_iter().map(|(p, found)| (p, found.offset, found.timestamp)).collect();
    let expected = [(tp(0), Offset(2), Some(1_000 + 6 * MINUTE)), (tp(1), Offset(0), Some(1_000 + MINUTE))];
    assert_eq!(found, expected, "where nothing is as young there is nothing");
    assert_eq!(reader.end_offsets(&[]).await.unwrap(), [].into());
}

#[tokio::test(start_paused = true)]
async fn what_is_not_committed_yet_lies_behind_the_end() {
    let (_cluster, client) = cluster(1, 1).await;
    let mut producer = client.producer().transactional("x").await.unwrap();
    let transaction = producer.begin().await.unwrap();
    transaction.send(Record::new("t", "open")).await.unwrap();
    let asked = || [(tp(0), OffsetSpec::Latest)];
    for (isolation, expected) in [(Isolation::ReadCommitted, 0), (Isolation::ReadUncommitted, 1)] {
        let reader = client.reader().topics(["t"]).isolation(isolation).build().unwrap();
        assert_eq!(reader.end_offsets(&[tp(0)]).await.unwrap()[&tp(0)], Offset(expected));
        let mut listed = client.admin().list_offsets(asked(), isolation).await.unwrap();
        let listed = listed.remove(&tp(0)).unwrap().unwrap().unwrap();
        assert_eq!((listed.offset, listed.timestamp), (Offset(expected), None));
    }
}

#[tokio::test(start_paused = true)]
async fn each_partition_that_has_no_offset_says_why() {
    let (cluster, client) = cluster(1, 2).await;
    let none = TopicPartition::new("none", 0);
    let denied = Rule::new(Fault::Refuse(Code::TOPIC_AUTHORIZATION_FAILED)).on(Api::ListOffsets).times(1);
    cluster.fault(denied).await.unwrap();
    let asked =
        [(tp(1), OffsetSpec::Latest), (tp(2), OffsetSpec::Latest), (none.clone(), OffsetSpec::Latest)];
    let admin = client.admin().timeout(Duration::from_secs(5));
    let listed = admin.list_offsets(asked, Isolation::ReadCommitted).await.unwrap();
    let error = |partition: &TopicPartition| listed[partition].as_ref().unwrap_err().kind();
    assert!(matches!(error(&tp(1)), ErrorKind::NotAuthorized { .. }), "{:?}", error(&tp(1)));
    assert!(matches!(error(&tp(2)), ErrorKind::UnknownPartition { count: 2, .. }), "{:?}", error(&tp(2)));
    let ErrorKind::UnknownTopic { setting: "Admin::timeout", .. } = error(&none) else {
        panic!("{:?}", error(&none))
    };

    let reader = client.reader().topics(["t"]).build().unwrap();
    let refused = reader.end_offsets(&[tp(0), tp(2)]).await.unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::UnknownPartition { .. }), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn leaders_that_fail_or_change_are_asked_again_and_not_for_ever() {
    let (cluster, client) = cluster(3, 3).await;
    produce(&client, 0..9, 3).await;
    let reader = client.reader().topics(["t"]).build().unwrap();
    let partitions = [0, 1, 2].map(tp);
    let faults = [
        Fault::Refuse(Code::NOT_LEADER_OR_FOLLOWER),
        Fault::Refuse(Code::OFFSET_NOT_AVAILABLE),
        Fault::CloseBefore,
        Fault::Ignore,
    ];
    for fault in faults {
        let rule = cluster.fault(Rule::new(fault.clone()).on(Api::ListOffsets).times(2)).await.unwrap();
        let end = reader.end_offsets(&partitions).await.unwrap();
        assert_eq!(end, partitions.clone().map(|partition| (partition, Offset(3))).into(), "{fault:?}");
        assert_eq!(rule.hits(), 2, "{fault:?}");
    }
    cluster.fault(Rule::new(Fault::Refuse(Code::LEADER_NOT_AVAILABLE)).on(Api::ListOffsets)).await.unwrap();
    let refused = reader.end_offsets(&partitions).await.unwrap_err();
    assert_eq!(refused.code(), Some(Code::LEADER_NOT_AVAILABLE), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn the_lag_in_time_is_the_age_of_what_was_handed_out_last() {
    let (_cluster, client) = cluster(1, 1).await;
    let producer = client.producer().build().unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let now = i64::try_from(now.as_millis()).unwrap();
    for (value, age) in [("0", 30 * MINUTE), ("1", 20 * MINUTE), ("2", 10 * MINUTE)] {
        producer.send(Record::new("t", value).timestamp(now - age)).await.unwrap();
    }
    let reader = client.reader().topics(["t"]).build().unwrap();
    assert_eq!(reader.time_lag(&tp(0)), None, "nothing was handed out");
    for age in [30, 20] {
        take(&reader, 1).await;
        let lag = reader.time_lag(&tp(0)).unwrap();
        let expected = Duration::from_secs(age * 60);
        assert!(lag.abs_diff(expected) < Duration::from_secs(60), "{lag:?} for {expected:?}");
    }
    take(&reader, 1).await;
    assert_eq!(reader.time_lag(&tp(0)), Some(Duration::ZERO), "it has everything");
    assert_eq!(reader.time_lag(&tp(1)), None);
}
