//! Futures that are dropped at every one of their waits.

use std::time::Duration;

use milena::{
    Client, Config, ErrorKind, NewTopic, Record,
    testing::{Api, Cluster, Fault, Rule},
};

use crate::support::{SECOND, cluster, poll_times, values};

/// How often futures are polled at most before they are dropped: enough for each to finish when it is not.
const POLLS: usize = 40;

async fn slow(cluster: &Cluster, api: Api) {
    cluster.fault(Rule::new(Fault::Delay(Duration::from_micros(700))).on(api)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_dropped_connect_leaves_nothing_behind() {
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let cluster = Cluster::builder().nodes(2).in_memory().start().await.unwrap();
    slow(&cluster, Api::ApiVersions).await;
    slow(&cluster, Api::Metadata).await;
    let before = tasks();
    let mut connected = 0;
    for times in 0..POLLS {
        let connecting = Client::connect_over(cluster.transport(), Config::new(cluster.bootstrap()));
        connected += usize::from(poll_times(connecting, times).await.is_some());
        tokio::time::sleep(SECOND).await;
        assert_eq!(tasks(), before, "dropped after {times} polls");
    }
    assert!((1..POLLS).contains(&connected), "{connected}");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_send_is_sent_once_or_not_at_all() {
    let mut acknowledged = 0;
    for times in 0..POLLS {
        let (cluster, client) = cluster(2, 1).await;
        for api in [Api::Metadata, Api::InitProducerId, Api::Produce] {
            slow(&cluster, api).await;
        }
        let producer = client.producer().build().unwrap();
        let mut known = Vec::new();
        for number in 0..10 {
            let value = format!("{number}");
            if let Some(delivered) = poll_times(producer.send(Record::new("t", &value)), times).await {
                delivered.unwrap();
                known.push(value);
            }
        }
        acknowledged += known.len();
        producer.send(Record::new("t", "last")).await.unwrap();
        assert_eq!(producer.buffered_bytes(), 0);
        producer.close().await.unwrap();

        let end = cluster.log_end_offset("t", 0).await.unwrap().unwrap();
        let reader = client.reader().topics(["t"]).build().unwrap();
        let written = values(&reader, usize::try_from(end).unwrap()).await;
        assert!(written.is_sorted(), "in order and each once, after {times} polls: {written:?}");
        assert!(written.windows(2).all(|pair| pair[0] != pair[1]), "{written:?}");
        assert!(known.iter().all(|value| written.contains(value)), "{known:?} of {written:?}");
    }
    assert!((1..10 * POLLS).contains(&acknowledged), "{acknowledged}");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_enqueue_takes_no_room() {
    for times in 0..POLLS {
        let (cluster, client) = cluster(1, 1).await;
        slow(&cluster, Api::Produce).await;
        let builder = client.producer().buffer_memory(1_500).max_request_size(1_500);
        let producer = builder.build().unwrap();
        let large = vec![b'x'; 1_200];
        let mut taken = 0;
        for _ in 0..5 {
            taken += i64::from(poll_times(producer.enqueue(Record::new("t", &large)), times).await.is_some());
        }
        producer.flush().await.unwrap();
        assert_eq!(producer.buffered_bytes(), 0, "after {times} polls");
        producer.send(Record::new("t", &large)).await.unwrap();
        assert_eq!(cluster.log_end_offset("t", 0).await.unwrap(), Some(taken + 1), "after {times} polls");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_flush_still_flushes_and_a_dropped_close_still_closes() {
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    for times in 1..POLLS {
        let (cluster, client) = cluster(1, 1).await;
        slow(&cluster, Api::Produce).await;
        let producer = client.producer().linger(60 * SECOND).build().unwrap();
        drop(producer.enqueue(Record::new("t", "flushed")).await.unwrap());
        poll_times(producer.flush(), times).await;
        tokio::time::sleep(SECOND).await;
        assert_eq!(cluster.log_end_offset("t", 0).await.unwrap(), Some(1), "after {times} polls");

        let before = tasks();
        drop(producer.enqueue(Record::new("t", "closed")).await.unwrap());
        poll_times(producer.clone().close(), times).await;
        let error = producer.send(Record::new("t", "late")).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Closed { .. }), "{error}");
        tokio::time::sleep(SECOND).await;
        assert_eq!(cluster.log_end_offset("t", 0).await.unwrap(), Some(2), "after {times} polls");
        assert_eq!(tasks(), before - 1, "the producer's task has ended, though there is a clone");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_admin_call_harms_none_that_follows() {
    for times in 0..POLLS {
        let (cluster, client) = cluster(2, 1).await;
        for api in [Api::CreateTopics, Api::DeleteTopics, Api::DescribeCluster, Api::Metadata] {
            slow(&cluster, api).await;
        }
        let admin = client.admin();
        poll_times(admin.create_topics([NewTopic::new("new")]), times).await;
        poll_times(admin.validate_topics([NewTopic::new("other")]), times).await;
        poll_times(admin.list_topics(), times).await;
        poll_times(admin.describe_topics(["t"]), times).await;
        poll_times(admin.describe_cluster(), times).await;
        poll_times(admin.delete_topics(["t"]), times).await;
        tokio::time::sleep(SECOND).await;
        let listed: Vec<_> =
            admin.list_topics().await.unwrap().into_iter().map(|topic| topic.name.to_string()).collect();
        // Whatever was sent was carried out, and nothing else.
        let created = listed.iter().filter(|name| *name == "new").count();
        let kept = listed.iter().filter(|name| *name == "t").count();
        assert_eq!(listed.len(), created + kept, "after {times} polls: {listed:?}");
        assert_eq!(admin.describe_cluster().await.unwrap().brokers.len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn records_race_with_timers_in_a_select_and_none_is_lost() {
    let (cluster, client) = cluster(2, 1).await;
    slow(&cluster, Api::Produce).await;
    slow(&cluster, Api::Fetch).await;
    let producer = client.producer().build().unwrap();
    let reader = client.reader().topics(["t"]).build().unwrap();
    let mut read = Vec::new();
    let mut number = 0;
    let mut sending = Box::pin(producer.send(Record::new("t", "0")));
    let mut values_left: Vec<&'static str> = (1..200).rev().map(|n| &*n.to_string().leak()).collect();
    while number < 200 || read.len() < 200 {
        tokio::select! {
            delivered = &mut sending, if number < 200 => {
                delivered.unwrap();
                number += 1;
                if let Some(value) = values_left.pop() {
                    sending = Box::pin(producer.send(Record::new("t", value)));
                }
            }
            message = reader.next() => {
                let message = message.unwrap().unwrap();
                read.push(std::str::from_utf8(message.value().unwrap()).unwrap().parse::<i32>().unwrap());
            }
            () = tokio::time::sleep(Duration::from_micros(300)) => {}
        }
    }
    assert_eq!(read, (0..200).collect::<Vec<_>>());
}
