//! Reading without a group.

use std::time::Duration;

use milena::{ErrorKind, Offset, Partition, Position};

use crate::support::{LONG, cluster, number, produce, take, tp};

#[tokio::test(start_paused = true)]
async fn a_reader_gets_every_record_of_a_topic_in_the_order_of_its_partitions() {
    let (_cluster, client) = cluster(3, 6).await;
    produce(&client, 0..1_000, 6).await;
    let reader = client.reader().topics(["t"]).build().unwrap();
    let mut last = [-1_i64; 6];
    for _ in 0..1_000 {
        let message = reader.next().await.unwrap().unwrap();
        let Partition(partition) = message.partition();
        let place = &mut last[usize::try_from(partition).unwrap()];
        assert_eq!(message.offset(), Offset(*place + 1));
        assert_eq!(i64::from(number(&message)), (*place + 1) * 6 + i64::from(partition));
        *place += 1;
    }
    produce(&client, 0..1, 6).await;
    assert_eq!(take(&reader, 1).await, [0], "and what is written later");
}

#[tokio::test(start_paused = true)]
async fn reading_starts_where_it_is_told_to() {
    let (_cluster, client) = cluster(1, 1).await;
    produce(&client, 0..10, 1).await;
    let starting = |position| client.reader().partitions([(tp(0), position)]).build().unwrap();
    assert_eq!(take(&starting(Position::Earliest), 1).await, [0]);
    assert_eq!(take(&starting(Position::At(Offset(7))), 1).await, [7]);
    assert_eq!(take(&starting(Position::Timestamp(0)), 1).await, [0]);
    assert_eq!(take(&starting(Position::Ago(Duration::from_secs(3600))), 1).await, [0]);
    let at_end = starting(Position::Latest);
    while at_end.position(&tp(0)).is_none() {
        tokio::task::yield_now().await;
    }
    produce(&client, 10..11, 1).await;
    assert_eq!(take(&at_end, 1).await, [10]);
}

#[tokio::test(start_paused = true)]
async fn batches_borrow_and_streams_yield() {
    let (_cluster, client) = cluster(1, 1).await;
    produce(&client, 0..500, 1).await;
    let reader = client.reader().topics(["t"]).build().unwrap();
    let mut expected = 0..500;
    let mut next = Offset(0);
    while next < Offset(500) {
        let batch = reader.next_batch().await.unwrap().unwrap();
        assert_eq!((batch.first_offset(), batch.high_watermark()), (next, Offset(500)));
        for record in batch.records() {
            let value = expected.next().unwrap().to_string();
            assert_eq!(record.unwrap().value(), Some(value.as_bytes()));
        }
        next = batch.next_offset();
    }
    assert_eq!(reader.position(&tp(0)), Some(Offset(500)));
}

#[tokio::test(start_paused = true)]
async fn a_seek_goes_back_and_forth() {
    let (_cluster, client) = cluster(1, 1).await;
    produce(&client, 0..100, 1).await;
    let reader = client.reader().topics(["t"]).build().unwrap();
    assert_eq!(take(&reader, 3).await, [0, 1, 2]);
    reader.seek(&[(tp(0), Position::At(Offset(50)))]).await.unwrap();
    assert_eq!(take(&reader, 2).await, [50, 51]);
    reader.seek(&[(tp(0), Position::Earliest)]).await.unwrap();
    assert_eq!(take(&reader, 1).await, [0]);
    let error = reader.seek(&[(tp(9), Position::Earliest)]).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::NotAssigned { partition, .. } if *partition == tp(9)));
}

#[tokio::test(start_paused = true)]
async fn the_lag_is_known_without_asking() {
    let (_cluster, client) = cluster(1, 1).await;
    produce(&client, 0..10, 1).await;
    let reader = client.reader().topics(["t"]).build().unwrap();
    assert_eq!(reader.lag(&tp(0)), None, "nothing is known yet");
    take(&reader, 3).await;
    assert_eq!(reader.lag(&tp(0)), Some(7));
    take(&reader, 7).await;
    assert_eq!(reader.lag(&tp(0)), Some(0));
    produce(&client, 10..15, 1).await;
    let grows = async {
        while reader.lag(&tp(0)) != Some(5) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LONG, grows).await.unwrap();
    reader.seek(&[(tp(0), Position::At(Offset(2)))]).await.unwrap();
    assert_eq!((reader.lag(&tp(0)), reader.lag(&tp(1))), (Some(13), None));
}
