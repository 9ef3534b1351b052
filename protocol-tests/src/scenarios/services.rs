//! What is promised to services, which stand on the client: order, retries, dead letters, an end under load.

mod damage;
mod kit;
mod read_models;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use milena::{Client, GroupProtocol, Position};
use milena_service::{
    DeadLetter, HandlerError, IntoRoute, Json, Key, Meta, Redrive, Retry, Router, Running, State, Stopping,
};

pub(crate) use self::damage::a_record_that_does_not_parse_stops_its_partition_alone;
use self::kit::{
    KEYS, Notes, PARTITIONS, PATIENCE, Writer, assert_handled, assigned, committed, count, dead_letters,
    ends, service, within, write,
};
pub(crate) use self::read_models::{
    a_duplicate_event_is_handled_once, a_table_is_ready_when_it_has_caught_up_and_serves_what_was_written,
};
use crate::suite::{Stage, eventually, take};
use crate::verify::Keyed;

/// The shortest session that a broker allows by default.
const SHORT_SESSION: Duration = Duration::from_secs(6);

/// Instances of a service start, stop, are dropped and die while records flow and handlers fail. Every record is handled
/// at least once, those of a key in order, though the next owner of a key may repeat some; none is dead-lettered.
pub(crate) async fn a_service_keeps_the_order_of_keys_through_retries_and_rebalances(stage: Stage) {
    tokio::join!(
        instances_come_and_go(&stage, GroupProtocol::Classic),
        instances_come_and_go(&stage, GroupProtocol::Auto)
    );
}

async fn instances_come_and_go(stage: &Stage, protocol: GroupProtocol) {
    let client = stage.client().await;
    let topic = stage.topic(&client, PARTITIONS).await;
    let mut crew = Crew::new(stage, &topic, protocol);
    let writer = Writer::start(&client, &topic);
    crew.joins().await;
    crew.joins().await;
    // Some keys cannot be handled while their owners change.
    crew.is_down.store(true, Ordering::Relaxed);
    crew.joins().await;
    crew.instances.remove(0).running.stop().await.unwrap();
    crew.gets_on().await;
    crew.is_down.store(false, Ordering::Relaxed);
    crew.joins().await;
    // Without a word: it stops on its own.
    drop(crew.instances.remove(0).running);
    crew.gets_on().await;
    crew.is_down.store(true, Ordering::Relaxed);
    if protocol == GroupProtocol::Classic {
        // Its group learns of it by the end of its session, which brokers do not let members shorten by the other protocol.
        let dead = crew.instances.remove(0);
        dead.client.close();
        let mut running = dead.running;
        assert!(within(PATIENCE, running.ended()).await.is_err(), "it cannot go on without a client");
    }
    crew.joins().await;
    crew.is_down.store(false, Ordering::Relaxed);
    crew.gets_on().await;
    let written = writer.stop().await;
    crew.finish(&written).await;
}

struct Crew<'a> {
    stage: &'a Stage,
    group: String,
    topic: String,
    protocol: GroupProtocol,
    instances: Vec<Instance>,
    made: usize,
    notes: Notes,
    is_down: Arc<AtomicBool>,
}

struct Instance {
    client: Client,
    running: Running,
}

/// What a handler knows: whose it is, and what it depends on.
#[derive(Clone)]
struct Worker {
    instance: usize,
    notes: Notes,
    /// Something without which some keys cannot be handled.
    is_down: Arc<AtomicBool>,
}

async fn moody(
    State(worker): State<Worker>,
    Key(key): Key<String>,
    Json(number): Json<u64>,
    at: Meta,
) -> Result<(), HandlerError> {
    // As long as work takes.
    tokio::time::sleep(Duration::from_millis(2)).await;
    if worker.is_down.load(Ordering::Relaxed) && (number % KEYS).is_multiple_of(5) {
        return Err(HandlerError::retry("not for this key"));
    }
    if number % 7 == 0 && at.attempt < 3 {
        return Err(HandlerError::retry("not at once"));
    }
    worker.notes.note(worker.instance, key, number.to_string());
    Ok(())
}

impl<'a> Crew<'a> {
    fn new(stage: &'a Stage, topic: &str, protocol: GroupProtocol) -> Self {
        Self {
            stage,
            group: stage.name(&format!("{protocol:?}")),
            topic: topic.to_owned(),
            protocol,
            instances: Vec::new(),
            made: 0,
            notes: Notes::default(),
            is_down: Arc::default(),
        }
    }

    /// Another instance, that has got to work.
    async fn joins(&mut self) {
        // A client of its own, so that it can die alone.
        let client = self.stage.client().await;
        let instance = self.made;
        self.made += 1;
        let (notes, is_down) = (self.notes.clone(), Arc::clone(&self.is_down));
        let patient =
            Retry::times(1_000_000).backoff(Duration::from_millis(5), 2, Duration::from_millis(100));
        let router = Router::new().topic(self.topic.as_str(), moody.retry(patient).dead_letter());
        let router = router.with_state(Worker { instance, notes, is_down });
        let protocol = self.protocol;
        let service = service(&client, &self.group, router).consumer(move |consumer| {
            let consumer = consumer.session_timeout(SHORT_SESSION);
            consumer.protocol(protocol).heartbeat_interval(Duration::from_millis(500))
        });
        let running = service.start().await.unwrap();
        self.instances.push(Instance { client, running });
        eventually("it handles something", async || self.notes.has_worked(instance).then_some(())).await;
        self.gets_on().await;
    }

    /// Waits until more is handled.
    async fn gets_on(&self) {
        let before = self.notes.all().len();
        eventually("more is handled", async || (self.notes.all().len() >= before + 100).then_some(())).await;
    }

    async fn finish(self, written: &Keyed) {
        let Self { stage, group, topic, instances, notes, .. } = self;
        notes.until_all_are_handled(written).await;
        for instance in &instances {
            within(PATIENCE, instance.running.settled()).await;
        }
        for instance in instances {
            instance.running.stop().await.unwrap();
        }
        assert_handled(written, &notes.keyed());
        let client = stage.client().await;
        assert_eq!(committed(&client, &group, &topic, self.protocol).await, ends(&client, &topic).await);
        assert_eq!(count(&client, &dead_letters(&topic, &group)).await, 0);
    }
}

/// Records that always fail go to the dead-letter topic, each once, and say where they come from and why. When the cause is
/// mended they are redriven, and handled by their group alone, those of a key in order.
pub(crate) async fn what_always_fails_is_dead_lettered_once_and_redrives(stage: Stage) {
    const COUNT: u64 = 300;
    let client = stage.client().await;
    let topic = stage.topic(&client, PARTITIONS).await;
    let (group, notes, others_notes) = (stage.name("g"), Notes::default(), Notes::default());
    let (is_broken, never_broken) = (Arc::new(AtomicBool::new(true)), Arc::<AtomicBool>::default());
    let start = async |group: &str, notes: &Notes, is_broken: &Arc<AtomicBool>| {
        let retry = Retry::times(2).backoff(Duration::from_millis(5), 1, Duration::from_millis(5));
        let router = Router::new().topic(topic.as_str(), poisoned.retry(retry).dead_letter());
        let router = router.with_state((notes.clone(), Arc::clone(is_broken)));
        service(&client, group, router).start().await.unwrap()
    };
    let running = start(&group, &notes, &is_broken).await;
    let others = start(&stage.name("h"), &others_notes, &never_broken).await;
    let written = write(&client, &topic, 0..COUNT).await;
    let poison: BTreeSet<u64> = (0..COUNT).filter(|number| is_poison(*number)).collect();
    for running in [&running, &others] {
        within(PATIENCE, running.settled()).await;
    }
    assert_eq!(notes.all().len(), COUNT as usize - poison.len());

    let dlq = dead_letters(&topic, &group);
    assert_eq!(stage.described(&client, &dlq).await.partitions.len(), PARTITIONS as usize);
    check_letters(&client, &topic, &group, &poison).await;

    is_broken.store(false, Ordering::Relaxed);
    let before = notes.all().len();
    let report = Redrive::new(&client, dlq.as_str()).run().await.unwrap();
    assert_eq!(report.redriven, poison.len() as u64, "{report}");
    for running in [&running, &others] {
        within(PATIENCE, running.settled()).await;
    }
    let redriven = Notes(Arc::new(Mutex::new(notes.all()[before..].to_vec()))).keyed();
    let of_poison = |values: &Vec<String>| {
        values.iter().filter(|value| is_poison(value.parse().unwrap())).cloned().collect::<Vec<_>>()
    };
    let expected: Keyed = written.iter().map(|(key, values)| (key.clone(), of_poison(values))).collect();
    let expected: Keyed = expected.into_iter().filter(|(_, values)| !values.is_empty()).collect();
    assert_eq!(redriven, expected, "each once, in the order of its key");
    assert_eq!(others_notes.keyed(), written, "each once, and what was redriven is not theirs");
    assert_eq!(count(&client, &dlq).await, poison.len() as i64, "nothing has failed again");
    assert_eq!(Redrive::new(&client, dlq.as_str()).run().await.unwrap().redriven, 0, "nothing is left");
    running.stop().await.unwrap();
    others.stop().await.unwrap();
}

const fn is_poison(number: u64) -> bool {
    number % 4 == 1
}

async fn poisoned(
    State((notes, is_broken)): State<(Notes, Arc<AtomicBool>)>,
    Key(key): Key<String>,
    Json(number): Json<u64>,
) -> Result<(), HandlerError> {
    if is_poison(number) && is_broken.load(Ordering::Relaxed) {
        return Err(HandlerError::retry(format!("cannot stand {number}")).kind("poison"));
    }
    notes.note(0, key, number.to_string());
    Ok(())
}

/// The dead letters are those of the poison, each once and as it was, with its provenance.
async fn check_letters(client: &Client, topic: &str, group: &str, poison: &BTreeSet<u64>) {
    let dlq = dead_letters(topic, group);
    assert_eq!(count(client, &dlq).await, poison.len() as i64);
    let read = async |topic: &str, count| {
        let reader = client.reader().topics([topic]).start_at(Position::Earliest).build().unwrap();
        take(&reader, count).await
    };
    let mut origins = BTreeMap::new();
    for message in read(topic, usize::try_from(count(client, topic).await).unwrap()).await {
        origins.insert((message.partition(), message.offset()), message);
    }
    let mut found = BTreeSet::new();
    for letter in read(&dlq, poison.len()).await {
        let told = DeadLetter::of(&letter).expect("it has the headers of a dead letter");
        let origin = &origins[&(told.partition, told.offset)];
        assert_eq!((letter.key(), letter.value()), (origin.key(), origin.value()));
        assert_eq!((told.topic.as_str(), told.timestamp), (topic, origin.timestamp()));
        assert_eq!((told.group.as_str(), told.handler.as_str()), (group, "poisoned"));
        let number: u64 = serde_json::from_slice(letter.value().unwrap()).unwrap();
        assert_eq!((told.error_type.as_str(), told.attempts, told.redrive_count), ("poison", 3, 0));
        assert_eq!(told.error_message, format!("cannot stand {number}"));
        assert!(told.first_failed_at.is_some());
        assert!(found.insert(number), "{number} is there twice");
    }
    assert_eq!(found, *poison);
}

/// An instance that is told to stop in the midst of its work ends it, fails nothing, and leaves its group at once: the
/// other one has all partitions long before a session could have ended, and does the rest.
pub(crate) async fn a_service_that_stops_under_load_loses_and_dead_letters_nothing(stage: Stage) {
    tokio::join!(
        stops_under_load(&stage, GroupProtocol::Classic),
        stops_under_load(&stage, GroupProtocol::Auto)
    );
}

async fn stops_under_load(stage: &Stage, protocol: GroupProtocol) {
    const COUNT: u64 = 6_000;
    /// By the consumer protocol it is the broker's to say, and the default is 45 s.
    const LONG_SESSION: Duration = Duration::from_secs(300);
    const LESS_THAN_A_SESSION: Duration = Duration::from_secs(30);
    const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);
    let client = stage.client().await;
    let topic = stage.topic(&client, PARTITIONS).await;
    let (group, notes) = (stage.name(&format!("{protocol:?}")), Notes::default());
    let start = async |instance: usize| {
        let route = busy.retry(Retry::none()).dead_letter();
        let router = Router::new().topic(topic.as_str(), route).with_state((instance, notes.clone()));
        let service = service(&stage.client().await, &group, router).consumer(move |consumer| {
            let consumer = consumer.session_timeout(LONG_SESSION);
            consumer.protocol(protocol).heartbeat_interval(Duration::from_millis(500))
        });
        service.concurrency(8).drain_timeout(DRAIN_TIMEOUT).start().await.unwrap()
    };
    let (first, second) = (start(0).await, start(1).await);
    let all = PARTITIONS as usize;
    let shares = async || {
        let shares = [assigned(&first), assigned(&second)];
        (shares.iter().sum::<usize>() == all && !shares.contains(&0)).then_some(())
    };
    eventually("both have a share", shares).await;
    let load = tokio::spawn({
        let (client, topic) = (client.clone(), topic.clone());
        async move { write(&client, &topic, 0..COUNT).await }
    });
    eventually("both are at it", async || (notes.has_worked(0) && notes.has_worked(1)).then_some(())).await;
    within(DRAIN_TIMEOUT, first.stop()).await.unwrap();
    assert!(notes.all().len() < COUNT as usize, "it was stopped in the midst of it");
    let written = load.await.unwrap();
    within(LESS_THAN_A_SESSION, async {
        while assigned(&second) < all {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    notes.until_all_are_handled(&written).await;
    within(PATIENCE, second.settled()).await;
    second.stop().await.unwrap();
    assert_handled(&written, &notes.keyed());
    assert_eq!(committed(&client, &group, &topic, protocol).await, ends(&client, &topic).await);
    assert_eq!(count(&client, &dead_letters(&topic, &group)).await, 0);
}

/// Every third record fails if its service stops meanwhile, as what depends on something that has stopped already.
async fn busy(
    State((instance, notes)): State<(usize, Notes)>,
    Key(key): Key<String>,
    Json(number): Json<u64>,
    mut stopping: Stopping,
) -> Result<(), HandlerError> {
    let work = tokio::time::sleep(Duration::from_millis(10));
    if number % 3 == 0 {
        tokio::select! {
            () = work => {}
            () = stopping.requested() => return Err(HandlerError::dead_letter("the service stops")),
        }
    } else {
        work.await;
    }
    notes.note(instance, key, number.to_string());
    Ok(())
}
