//! Dropped futures, consumers and runtimes.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
    time::Duration,
};

use milena::{Commit, Consumer, ErrorKind, Offset, OffsetAndMetadata, Position};

use crate::support::{cluster, number, produce, take, tp};

/// Polls a future this often, with other tasks running in between, then drops it.
async fn poll_times<F: Future>(future: F, times: usize) -> Option<F::Output> {
    let mut future = pin!(future);
    for _ in 0..times {
        let polled = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await;
        if let Poll::Ready(output) = polled {
            return Some(output);
        }
        tokio::time::sleep(Duration::from_micros(100)).await;
    }
    None
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_at_any_wait_loses_nothing() {
    for times in 0..8 {
        let (_cluster, client) = cluster(2, 2).await;
        let reader = client.reader().topics(["t"]).build().unwrap();
        let mut numbers = Vec::new();
        for round in 0..20 {
            produce(&client, round * 4..(round + 1) * 4, 2).await;
            for _ in 0..4 {
                if let Some(message) = poll_times(reader.next(), times).await {
                    numbers.push(number(&message.unwrap().unwrap()));
                }
            }
        }
        let missing = 80 - numbers.len();
        numbers.extend(take(&reader, missing).await);
        numbers.sort_unstable();
        assert_eq!(numbers, (0..80).collect::<Vec<_>>(), "dropped after {times} polls");
    }
}

#[tokio::test(start_paused = true)]
async fn batches_and_streams_that_are_dropped_at_any_wait_lose_nothing() {
    for times in 0..8 {
        let (_cluster, client) = cluster(2, 2).await;
        let reader = client.reader().topics(["t"]).build().unwrap();
        let mut numbers = Vec::new();
        for round in 0..20 {
            produce(&client, round * 4..(round + 1) * 4, 2).await;
            if let Some(batch) = poll_times(reader.next_batch(), times).await {
                let batch = batch.unwrap().unwrap();
                let value = |value: &[u8]| std::str::from_utf8(value).unwrap().parse::<i32>().unwrap();
                numbers.extend(batch.records().map(|record| value(record.unwrap().value().unwrap())));
            }
            let mut stream = pin!(reader.stream());
            let next = poll_fn(|cx| futures_core::Stream::poll_next(stream.as_mut(), cx));
            if let Some(message) = poll_times(next, times).await {
                numbers.push(number(&message.unwrap().unwrap()));
            }
        }
        let missing = 80 - numbers.len();
        numbers.extend(take(&reader, missing).await);
        numbers.sort_unstable();
        assert_eq!(numbers, (0..80).collect::<Vec<_>>(), "dropped after {times} polls");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_look_at_what_is_committed_changes_nothing() {
    for times in 0..8 {
        let (_cluster, client) = cluster(1, 1).await;
        produce(&client, 0..10, 1).await;
        let member = client.consumer("g").topics(["t"]).commit(Commit::Manual).build().unwrap();
        take(&member, 5).await;
        poll_times(member.committed(&[tp(0)]), times).await;
        let offsets = [(tp(0), OffsetAndMetadata::new(3))];
        poll_times(member.commit_offsets(offsets.into()), times).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let committed = member.committed(&[tp(0)]).await.unwrap();
        let expected = (times > 0).then_some(Offset(3));
        assert_eq!(committed.get(&tp(0)).map(|committed| committed.offset), expected, "{times} polls");
        assert_eq!(take(&member, 1).await, [5]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_commit_a_seek_and_a_close_go_on_when_they_are_dropped() {
    for times in 1..6 {
        let (_cluster, client) = cluster(1, 1).await;
        produce(&client, 0..20, 1).await;
        let member = client.consumer("g").topics(["t"]).commit(Commit::Manual).build().unwrap();
        take(&member, 5).await;
        poll_times(member.commit(), times).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(member.committed(&[tp(0)]).await.unwrap()[&tp(0)].offset, Offset(5), "{times} polls");
        poll_times(member.seek(&[(tp(0), Position::At(Offset(15)))]), times).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(take(&member, 1).await, [15]);
        poll_times(member.close(), times).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(member.next().await.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_consumer_hands_its_partitions_over_at_once() {
    let (_cluster, client) = cluster(1, 2).await;
    let first = client.consumer("g").topics(["t"]).build().unwrap();
    produce(&client, 0..2, 2).await;
    take(&first, 2).await;
    let start = tokio::time::Instant::now();
    drop(first);
    let second = client.consumer("g").topics(["t"]).build().unwrap();
    while second.assignment().len() != 2 {
        let _ = tokio::time::timeout(Duration::from_millis(100), second.next()).await;
    }
    assert!(start.elapsed() < Duration::from_secs(10), "not by its session timeout: {:?}", start.elapsed());
}

#[test]
fn a_consumer_whose_runtime_is_gone_fails_and_hangs_nothing() {
    let build =
        || tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let runtime = build();
    let member: Consumer = runtime.block_on(async {
        let (_cluster, client) = cluster(1, 1).await;
        produce(&client, 0..5, 1).await;
        let member = client.consumer("g").topics(["t"]).build().unwrap();
        take(&member, 1).await;
        member
    });
    drop(runtime);
    build().block_on(async {
        let error = loop {
            // What was fetched before may still come.
            if let Err(error) = member.next().await.unwrap() {
                break error;
            }
        };
        assert!(matches!(error.kind(), ErrorKind::Closed { .. }), "{error}");
        assert!(matches!(member.commit().await.unwrap_err().kind(), ErrorKind::Closed { .. }));
        assert!(matches!(member.close().await.unwrap_err().kind(), ErrorKind::Closed { .. }));
    });
}
