//! A cluster, and futures that are given up.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::Duration,
};

use milena::{Client, Config, Consumer, testing::Cluster};

pub(crate) const SECOND: Duration = Duration::from_secs(1);
/// Longer than a join whose answer is lost is waited for.
const LONG: Duration = Duration::from_secs(1_000);

/// A cluster with the topic "t" of so many partitions.
pub(crate) async fn cluster(nodes: u16, partitions: usize) -> (Cluster, Client) {
    let cluster = Cluster::builder().nodes(nodes).topic("t", partitions).in_memory().start().await.unwrap();
    let client = connect(&cluster).await;
    (cluster, client)
}

pub(crate) async fn connect(cluster: &Cluster) -> Client {
    Client::connect_over(cluster.transport(), Config::new(cluster.bootstrap())).await.unwrap()
}

/// The next values of a consumer, errors passed over.
pub(crate) async fn values(consumer: &Consumer, count: usize) -> Vec<String> {
    let mut values = Vec::new();
    while values.len() < count {
        let next = tokio::time::timeout(LONG, consumer.next()).await;
        let next = next.unwrap_or_else(|_| panic!("only {} of {count} records came", values.len()));
        if let Ok(message) = next.unwrap() {
            values.push(String::from_utf8(message.value().unwrap().to_vec()).unwrap());
        }
    }
    values
}

/// Polls a future this often, with other tasks running in between, then drops it.
pub(crate) async fn poll_times<F: Future>(future: F, times: usize) -> Option<F::Output> {
    let mut future = pin!(future);
    for _ in 0..times {
        if let Poll::Ready(output) = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await {
            return Some(output);
        }
        tokio::time::sleep(Duration::from_micros(100)).await;
    }
    None
}

/// Runs a future on this thread, without any runtime.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread::park();
    }
}
