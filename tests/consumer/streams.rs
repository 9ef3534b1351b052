//! Partitions that are read by tasks of their own.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::{Pin, pin},
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_core::Stream;
use milena::{Commit, ConsumerHandle, ErrorKind, Offset, PartitionStream, RebalanceListener, TopicPartition};
use tokio::task::JoinSet;

use crate::groups::settle;
use crate::support::{LONG, cluster, number, produce, take, tp};

/// Gives each partition a task, which writes down what it reads and that it has ended.
#[derive(Clone, Default)]
struct Tasks(Arc<Mutex<Notes>>);

#[derive(Default)]
struct Notes {
    tasks: JoinSet<()>,
    read: BTreeMap<i32, Vec<i32>>,
    ended: Vec<i32>,
}

impl RebalanceListener for Tasks {
    fn assigned<'a>(
        &'a self,
        consumer: &'a ConsumerHandle,
        partitions: &'a [TopicPartition],
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        for partition in partitions {
            let (mut records, tasks) = (consumer.partition_stream(partition).unwrap(), self.clone());
            let index = partition.partition.0;
            let works = async move {
                while let Some(message) = records.next().await {
                    let mut notes = tasks.0.lock().unwrap();
                    notes.read.entry(index).or_default().push(number(&message.unwrap()));
                }
                tasks.0.lock().unwrap().ended.push(index);
            };
            drop(self.0.lock().unwrap().tasks.spawn(works));
        }
        Box::pin(std::future::ready(()))
    }
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let looks = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(LONG, looks).await.is_ok(), "{what}");
}

#[tokio::test(start_paused = true)]
async fn each_partition_may_have_its_task_until_it_goes_to_another_member() {
    let (_cluster, client) = cluster(2, 4).await;
    produce(&client, 0..40, 4).await;
    let tasks = Tasks::default();
    let builder = client.consumer("g").topics(["t"]).commit(Commit::Every(Duration::from_secs(1)));
    let first = builder.clone().on_rebalance(tasks.clone()).build().unwrap();
    let read = |count: usize| {
        let tasks = tasks.clone();
        move || tasks.0.lock().unwrap().read.values().map(Vec::len).sum::<usize>() == count
    };
    until("all is read", read(40)).await;
    for (index, numbers) in &tasks.0.lock().unwrap().read {
        let expected: Vec<i32> = (0..40).filter(|number| number % 4 == *index).collect();
        assert_eq!(*numbers, expected, "in order");
    }
    let second = builder.build().unwrap();
    assert_eq!(settle(&[(&first, 2), (&second, 2)]).await, [], "what was read is committed");
    let mut ended = tasks.0.lock().unwrap().ended.clone();
    ended.sort_unstable();
    let gone: Vec<i32> = second.assignment().iter().map(|partition| partition.partition.0).collect();
    assert_eq!(ended, gone, "and no others");

    produce(&client, 40..48, 4).await;
    let others = take(&second, 4).await;
    assert!(others.iter().all(|number| gone.contains(&(number % 4)) && *number >= 40), "{others:?}");
    until("the rest", read(44)).await;
    first.close().await.unwrap();
    until("all tasks end", || tasks.0.lock().unwrap().ended.len() == 4).await;
    let committed = second.committed(&[0, 1, 2, 3].map(tp)).await.unwrap();
    assert!(committed.values().all(|committed| committed.offset >= Offset(9)), "{committed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_dropped_leaves_its_partition_to_the_consumer() {
    let (_cluster, client) = cluster(1, 2).await;
    produce(&client, 0..10, 2).await;
    let reader = client.reader().topics(["t"]).build().unwrap();
    until("they are assigned", || reader.assignment().len() == 2).await;
    let mut stream = reader.partition_stream(&tp(1)).unwrap();
    assert_eq!(stream.topic_partition(), &tp(1));
    assert_eq!(number(&stream.next().await.unwrap().unwrap()), 1);
    let batch = stream.next_batch().await.unwrap().unwrap();
    assert_eq!(batch.first_offset(), Offset(1));
    let mut numbers = take(&reader, 5).await;
    assert!(
        tokio::time::timeout(Duration::from_secs(5), reader.next()).await.is_err(),
        "no more of the other"
    );
    produce(&client, 10..12, 2).await;
    drop(stream);
    numbers.extend(take(&reader, 2).await);
    numbers.sort_unstable();
    assert_eq!(numbers, [0, 2, 4, 6, 8, 10, 11]);
    let refused = reader.partition_stream(&tp(7)).unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::NotAssigned { .. }), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn it_is_a_stream_too_and_ends_with_the_consumer() {
    let (_cluster, client) = cluster(1, 1).await;
    produce(&client, 0..3, 1).await;
    let reader = client.reader().topics(["t"]).build().unwrap();
    until("it is assigned", || reader.assignment().len() == 1).await;
    let mut stream: Pin<&mut PartitionStream> = pin!(reader.partition_stream(&tp(0)).unwrap());
    let mut numbers = Vec::new();
    let mut reader = Some(reader);
    while let Some(message) = std::future::poll_fn(|cx| stream.as_mut().poll_next(cx)).await {
        numbers.push(number(&message.unwrap()));
        if numbers.len() == 3 {
            drop(reader.take());
        }
    }
    assert_eq!(numbers, [0, 1, 2]);
}
