//! What goes over the wire: how much, and what happens if some of it is damaged on the way.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use milena::{Client, Compression, ErrorKind, Offset, Position, Record, testing::Cluster};

use crate::{
    support::{error, tp},
    watched::watched,
};

/// A cluster with topic "t" and a client with nobody on its way.
async fn cluster(partitions: usize) -> (Cluster, Client) {
    let cluster = Cluster::builder().topic("t", partitions).in_memory().start().await.unwrap();
    let client = watched(&cluster, |_| {}).await;
    (cluster, client)
}

const MARK: &[u8] = b"damage me on the way";

/// Damages the marked record the first `times` times that it comes by.
fn damage(times: usize) -> (Arc<AtomicUsize>, impl Fn(&mut [u8]) + Send + Sync + 'static) {
    let met = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&met);
    let eye = move |bytes: &mut [u8]| {
        let place = bytes.windows(MARK.len()).position(|window| window == MARK);
        if let Some(place) = place.filter(|_| count.fetch_add(1, Ordering::SeqCst) < times) {
            bytes[place] ^= 1;
        }
    };
    (met, eye)
}

/// Partition 0 holds "before", the marked record and "after", each in a batch of its own; partition 1 holds "other".
async fn marked_records(client: &Client) {
    let producer = client.producer().compression(Compression::None).build().unwrap();
    for value in [&b"before"[..], MARK, b"after"] {
        producer.send(Record::new("t", value).partition(0)).await.unwrap();
    }
    producer.send(Record::new("t", "other").partition(1)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn damage_on_the_way_heals() {
    let (cluster, client) = cluster(2).await;
    marked_records(&client).await;
    let (met, eye) = damage(2);
    let reader = watched(&cluster, eye).await.reader().topics(["t"]).build().unwrap();
    let mut values = Vec::new();
    for _ in 0..4 {
        values.push(reader.next().await.unwrap().unwrap().value().unwrap().to_vec());
    }
    values.sort_unstable();
    assert_eq!(values, [&b"after"[..], b"before", MARK, b"other"]);
    assert_eq!(met.load(Ordering::SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn damage_that_stays_stops_its_partition_alone_until_a_seek() {
    let (cluster, client) = cluster(2).await;
    marked_records(&client).await;
    let (met, eye) = damage(usize::MAX);
    let reader = watched(&cluster, eye).await.reader().topics(["t"]).build().unwrap();
    let error = error(&reader).await;
    let ErrorKind::CorruptBatch { partition, offset: 1, next_offset: Some(next), .. } = error.kind() else {
        panic!("{error}")
    };
    assert_eq!(*partition, tp(0));
    assert_eq!(met.load(Ordering::SeqCst), 3, "fetched twice again");
    let producer = client.producer().build().unwrap();
    producer.send(Record::new("t", "more").partition(1)).await.unwrap();
    while reader.next().await.unwrap().unwrap().value() != Some(b"more") {}
    assert_eq!(reader.position(&tp(0)), Some(Offset(1)));
    reader.seek(&[(tp(0), Position::At(Offset(*next)))]).await.unwrap();
    assert_eq!(reader.next().await.unwrap().unwrap().value(), Some(&b"after"[..]));
}

#[tokio::test(start_paused = true)]
async fn a_backlog_is_downloaded_once() {
    const BATCHES: usize = 1_200;
    let (cluster, client) = cluster(3).await;
    let producer = client.producer().compression(Compression::None).build().unwrap();
    let value = vec![b'x'; 16 << 10];
    for index in 0..BATCHES {
        let partition = i32::try_from(index % 3).unwrap();
        producer.send(Record::new("t", &value).partition(partition)).await.unwrap();
    }
    let downloaded = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&downloaded);
    let eye = move |bytes: &mut [u8]| {
        count.fetch_add(bytes.len(), Ordering::SeqCst);
    };
    let reader = watched(&cluster, eye).await.reader().topics(["t"]).build().unwrap();
    for _ in 0..BATCHES {
        reader.next().await.unwrap().unwrap();
    }
    let (downloaded, stored) = (downloaded.load(Ordering::SeqCst), BATCHES * value.len());
    assert!(downloaded * 10 <= stored * 11, "{downloaded} bytes for {stored}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_user_of_a_small_buffer_downloads_once_too() {
    let (cluster, client) = cluster(3).await;
    let producer = client.producer().compression(Compression::None).build().unwrap();
    let value = vec![b'x'; 1 << 10];
    for index in 0..3_000 {
        drop(producer.enqueue(Record::new("t", &value).partition(index % 3)).await.unwrap());
    }
    producer.close().await.unwrap();
    let downloaded = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&downloaded);
    let eye = move |bytes: &mut [u8]| {
        count.fetch_add(bytes.len(), Ordering::SeqCst);
    };
    let builder = watched(&cluster, eye).await.reader().topics(["t"]);
    let reader = builder.partition_max_bytes(300 << 10).buffered_bytes(1 << 20).build().unwrap();
    for index in 0..3_000 {
        reader.next().await.unwrap().unwrap();
        if index % 100 == 0 {
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
    }
    // Batches of up to 256 KiB do not fit a whole number of times into 300 KiB.
    let (downloaded, stored) = (downloaded.load(Ordering::SeqCst), 3_000 * value.len());
    assert!(downloaded < stored * 2, "{downloaded} bytes for {stored}");
}
