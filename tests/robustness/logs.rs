//! What is said about trouble: whatever may lose or delay data, as a warning that names what it is about.

use std::{
    cell::RefCell,
    fmt,
    sync::{Arc, Mutex, Once},
};

use milena::{
    Client, Code, Config, GroupProtocol, OnOutOfRange, Position, Record, TopicPartition,
    testing::{Api, Fault, Rule},
};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use crate::support::{SECOND, cluster, connect, values};

/// Every event of this thread since it was made, as "LEVEL message field=value …".
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

thread_local! {
    static LOG: RefCell<Option<Log>> = const { RefCell::new(None) };
}

/// Hands each event to the log of its thread. There is one for the whole process: whether anybody listens to a line of
/// code is remembered for all threads, so that subscribers that come and go beside each other miss events.
struct Ear;

impl Subscriber for Ear {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("milena")
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        LOG.with_borrow(|log| {
            let Some(log) = log else { return };
            let mut line = Line(format!("{}", event.metadata().level()));
            event.record(&mut line);
            log.0.lock().unwrap().push(line.0);
        });
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 += &format!(" {value:?}");
        } else {
            self.0 += &format!(" {}={value:?}", field.name());
        }
    }
}

impl Log {
    /// Listens to this thread, which is its test's own, from now on.
    fn listen() -> Self {
        static EAR: Once = Once::new();
        EAR.call_once(|| tracing::subscriber::set_global_default(Ear).unwrap());
        let log = Self::default();
        LOG.set(Some(log.clone()));
        log
    }

    fn clear(&self) {
        self.0.lock().unwrap().clear();
    }

    /// Asserts that a line of this level holds all of these.
    fn says(&self, level: Level, parts: &[&str]) {
        let lines = self.0.lock().unwrap();
        let fits =
            |line: &String| line.starts_with(level.as_str()) && parts.iter().all(|part| line.contains(part));
        assert!(lines.iter().any(fits), "nothing says {level} {parts:?}: {lines:#?}");
    }

    fn is_quiet(&self) {
        let lines = self.0.lock().unwrap();
        let loud: Vec<_> =
            lines.iter().filter(|line| !line.starts_with("DEBUG") && !line.starts_with("TRACE")).collect();
        assert!(loud.is_empty(), "{loud:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn connections_are_details_and_the_cluster_that_answers_is_news() {
    let log = Log::listen();
    let (_cluster, client) = cluster(2, 1).await;
    log.says(Level::DEBUG, &["connecting", "broker=", "attempt=0"]);
    log.says(Level::DEBUG, &["connected", "peer="]);
    log.says(Level::INFO, &["the cluster answers", "brokers=2"]);
    let producer = client.producer().build().unwrap();
    producer.send(Record::new("t", "x")).await.unwrap();
    log.says(Level::INFO, &["the producer has its id", "producer_id="]);
    log.clear();
    // An idle connection is closed, and opened again, with no fuss.
    tokio::time::sleep(600 * SECOND).await;
    producer.send(Record::new("t", "x")).await.unwrap();
    log.says(Level::DEBUG, &["closing an idle connection"]);
    log.is_quiet();
}

#[tokio::test(start_paused = true)]
async fn records_that_are_late_or_lost_are_warned_of() {
    let (cluster, client) = cluster(1, 1).await;
    let producer = client.producer().delivery_timeout(35 * SECOND).build().unwrap();
    producer.send(Record::new("t", "secret value").key("secret key")).await.unwrap();
    let log = Log::listen();

    cluster.fault(Rule::new(Fault::Throttle(SECOND)).on(Api::Produce).times(2)).await.unwrap();
    producer.send(Record::new("t", "secret value")).await.unwrap();
    log.says(Level::WARN, &["throttled", "throttle_ms=1000", "broker=1"]);
    log.clear();
    producer.send(Record::new("t", "secret value")).await.unwrap();
    log.is_quiet();

    cluster.fault(Rule::new(Fault::CloseAfter).on(Api::Produce).times(1)).await.unwrap();
    producer.send(Record::new("t", "secret value")).await.unwrap();
    log.says(Level::WARN, &["connection lost", "unanswered=1"]);
    log.says(Level::DEBUG, &["batch will be sent again", "t-0"]);

    cluster.fault(Rule::new(Fault::Refuse(Code::POLICY_VIOLATION)).on(Api::Produce).times(1)).await.unwrap();
    producer.send(Record::new("t", "secret value")).await.unwrap_err();
    log.says(Level::WARN, &["records were not delivered", "t-0", "records=1", "POLICY_VIOLATION"]);
    producer.send(Record::new("t", "secret value")).await.unwrap();
    log.says(Level::INFO, &["sequences begin anew"]);
    log.clear();

    cluster.stop_node(1).await.unwrap();
    producer.send(Record::new("t", "secret value")).await.unwrap_err();
    log.says(Level::WARN, &["records were not delivered", "t-0", "delivery_timeout"]);
    log.says(Level::WARN, &["no broker answers"]);
    log.says(Level::DEBUG, &["no connection", "attempt="]);
    assert!(log.0.lock().unwrap().iter().all(|line| !line.contains("secret")));
}

#[tokio::test(start_paused = true)]
async fn what_keeps_a_consumer_from_reading_is_warned_of() {
    let log = Log::listen();
    let (cluster, client) = cluster(1, 1).await;
    let producer = client.producer().build().unwrap();
    for _ in 0..5 {
        producer.send(Record::new("t", "x")).await.unwrap();
    }
    cluster.delete_records("t", 0, 3).await.unwrap();
    let zero = || [(TopicPartition::new("t", 0), Position::At(milena::Offset(0)))];
    let reader = client.reader().partitions(zero()).on_out_of_range(OnOutOfRange::Earliest).build().unwrap();
    values(&reader, 1).await;
    log.says(Level::WARN, &["the log does not hold the offset to read", "t-0", "offset=0"]);

    let missing = client.reader().topics(["nowhere"]).topic_timeout(SECOND).build().unwrap();
    missing.next().await.unwrap().unwrap_err();
    log.says(Level::WARN, &["a topic cannot be read", "nowhere", "topic_timeout"]);

    let classic = |client: &Client| client.consumer("g").topics(["t"]).protocol(GroupProtocol::Classic);
    let config = Config::new(cluster.bootstrap());
    let other = Client::connect_over(cluster.transport(), config).await.unwrap();
    let member = classic(&client).max_poll_interval(10 * SECOND).build().unwrap();
    values(&member, 1).await;
    log.says(Level::INFO, &["assigned", "group=g", "generation=1"]);
    let second = classic(&other).build().unwrap();
    let joined = async { while member.next().await.is_some() {} };
    let _ = tokio::time::timeout(10 * SECOND, joined).await;
    log.says(Level::INFO, &["rebalancing", "group=g"]);
    drop(second);
    tokio::time::sleep(60 * SECOND).await;
    log.says(Level::WARN, &["no record was asked for", "group=g"]);
    drop(connect(&cluster).await);
}
