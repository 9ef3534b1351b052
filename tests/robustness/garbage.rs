//! Brokers that answer garbage, and wires that damage what passes over them.

use std::{
    panic,
    sync::{
        Arc, Mutex, Once,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use milena::{
    Acks, Client, GroupProtocol, NewTopic, Partition, Record,
    testing::{Api, Cluster, Fault, Rule},
};

use crate::{
    support::{SECOND, cluster, connect, values},
    watched::watched,
};

/// Whatever is no answer.
fn garbage() -> Vec<(&'static str, Vec<u8>)> {
    let framed = |body: &[u8]| [&i32::try_from(body.len()).unwrap().to_be_bytes()[..], body].concat();
    vec![
        ("2 GiB", vec![0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 1]),
        ("a negative length", vec![0xff; 8]),
        ("a length of 0", vec![0; 4]),
        ("a length of 3", vec![0, 0, 0, 3, 1, 2, 3]),
        ("HTTP", b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
        ("SSH", b"SSH-2.0-OpenSSH_9.6\r\n".to_vec()),
        ("TLS", vec![0x15, 3, 3, 0, 2, 2, 80]),
        ("a foreign correlation id", framed(&[0xff; 40])),
        ("an old correlation id", framed(&[0; 40])),
        ("64 KiB of noise", (1..1_u32 << 16).map(|n| !(n.wrapping_mul(2_654_435_761) >> 13) as u8).collect()),
        ("the beginning of a frame", vec![0, 0, 1, 0, 0, 0]),
    ]
}

/// Sends, reads, commits and describes, and has everything come out right.
async fn work(client: &Client, round: usize, protocol: GroupProtocol) {
    let producer = client.producer().build().unwrap();
    for number in 0..4 {
        let value = format!("{round}-{number}");
        producer.send(Record::new("t", &value)).await.unwrap();
    }
    producer.close().await.unwrap();
    client.admin().describe_cluster().await.unwrap();
    let name = format!("new-{round}");
    client.admin().create_topics([NewTopic::new(&*name)]).await.unwrap()[&*name].as_ref().unwrap();
    client.admin().delete_topics([&*name]).await.unwrap()[&*name].as_ref().unwrap();
    let member = client.consumer("g").topics(["t"]).protocol(protocol).build().unwrap();
    let mut read = values(&member, 4).await;
    read.sort_unstable();
    assert_eq!(read, (0..4).map(|number| format!("{round}-{number}")).collect::<Vec<_>>());
    while member.commit().await.is_err() {
        tokio::time::sleep(SECOND).await;
    }
    member.close().await.unwrap();
    let reader = client.reader().topics(["t"]).build().unwrap();
    values(&reader, 4 * (round + 1)).await;
}

#[tokio::test(start_paused = true)]
async fn garbage_in_place_of_any_answer_is_recovered_from() {
    let apis = [
        Api::ApiVersions,
        Api::Metadata,
        Api::InitProducerId,
        Api::Produce,
        Api::DescribeCluster,
        Api::CreateTopics,
        Api::DeleteTopics,
        Api::FindCoordinator,
        Api::JoinGroup,
        Api::SyncGroup,
        Api::Heartbeat,
        Api::OffsetFetch,
        Api::ListOffsets,
        Api::Fetch,
        Api::OffsetCommit,
        Api::LeaveGroup,
        Api::ConsumerGroupHeartbeat,
    ];
    for (what, bytes) in garbage() {
        let (cluster, client) = cluster(2, 2).await;
        let mut round = 0;
        work(&client, round, GroupProtocol::Auto).await;
        for api in apis {
            let protocol = match api {
                Api::JoinGroup | Api::SyncGroup | Api::Heartbeat | Api::LeaveGroup => GroupProtocol::Classic,
                _ => GroupProtocol::Auto,
            };
            round += 1;
            // A client that is connecting is told at once that nothing there is a broker.
            let client = connect(&cluster).await;
            // What is never completed costs a request timeout each time.
            let times = if what == "the beginning of a frame" { 1 } else { 2 };
            let rule = Rule::new(Fault::Garbage(bytes.clone())).on(api).times(times);
            let rule = cluster.fault(rule).await.unwrap();
            work(&client, round, protocol).await;
            assert!(rule.hits() > 0 || api == Api::Heartbeat, "{what} for {api}");
        }
    }
}

/// Panics in any thread and task of this process.
fn panics() -> usize {
    static HOOK: Once = Once::new();
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            PANICS.fetch_add(1, Ordering::SeqCst);
            before(info);
        }));
    });
    PANICS.load(Ordering::SeqCst)
}

/// Damages one byte in about `one_in` while it is switched on.
fn damage(seed: u64, one_in: u64, on: &Arc<AtomicBool>) -> impl Fn(&mut [u8]) + Send + Sync + use<> {
    let (state, on) = (AtomicU64::new(seed), Arc::clone(on));
    move |bytes: &mut [u8]| {
        if on.load(Ordering::SeqCst) {
            for byte in bytes {
                let mut x = state.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::SeqCst);
                x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
                x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
                if x % one_in == 0 {
                    *byte ^= 1 << ((x >> 32) % 8);
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn answers_that_are_damaged_at_random_make_nobody_panic_or_hang() {
    panics();
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    for seed in 0..6 {
        let cluster = Cluster::builder().nodes(2).topic("t", 2).in_memory().start().await.unwrap();
        let written = Arc::new(Mutex::new(0));
        drop(connect(&cluster).await);
        tokio::time::sleep(SECOND).await;
        let before = tasks();
        let on = Arc::new(AtomicBool::new(false));
        let client = watched(&cluster, damage(seed, 300 << seed, &on)).await;
        let producer = client.producer().delivery_timeout(40 * SECOND).build().unwrap();
        let loose = client.producer().acks(Acks::Leader).delivery_timeout(40 * SECOND).build().unwrap();
        let member = client.consumer("g").topics(["t"]).build().unwrap();
        let reader = client.reader().topics(["t"]).build().unwrap();
        on.store(true, Ordering::SeqCst);
        let sends = async {
            for number in 0..10 {
                let value = format!("{number}");
                for producer in [&producer, &loose] {
                    let sent = producer.send(Record::new("t", &value).partition(Partition(number % 2))).await;
                    *written.lock().unwrap() += u32::from(sent.is_ok());
                }
            }
        };
        let reads = async {
            loop {
                tokio::select! {
                    _ = member.next() => {}
                    _ = reader.next_batch() => {}
                    () = tokio::time::sleep(SECOND) => drop(member.commit().await),
                }
            }
        };
        let admin = client.admin().timeout(10 * SECOND);
        let asks = async {
            loop {
                drop(admin.describe_cluster().await);
                drop(admin.describe_topics(["t"]).await);
                drop(admin.create_topics([NewTopic::new("u")]).await);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let all = async {
            tokio::select! { () = sends => {}, () = reads => {}, () = asks => {} }
        };
        let done = tokio::time::timeout(Duration::from_secs(2 * 60 * 41), all).await;
        assert!(done.is_ok(), "seed {seed} hangs");

        on.store(false, Ordering::SeqCst);
        // A delivery timeout, and a request timeout for what is in flight then.
        let ends = async { tokio::join!(producer.close(), loose.close(), member.close(), reader.close()) };
        assert!(tokio::time::timeout(80 * SECOND, ends).await.is_ok(), "seed {seed} does not end");
        drop((client, admin));
        tokio::time::sleep(60 * SECOND).await;
        assert_eq!((tasks(), panics()), (before, 0), "seed {seed}");
    }
}
