//! What services read, and what they have handled, kept in topics: tables, and deduplication.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use milena::{Client, Message, Record};
use milena_service::{
    BoxError, Dedup, Envelope, Ev, Event, IntoRoute, Key, LogPosition, Outgoing, Published, Publisher,
    Router, State, Table, Topic, TopicDedup,
};
use serde::{Deserialize, Serialize};

use super::kit::{Notes, PARTITIONS, PATIENCE, assigned, count, dead_letters, service, within};
use crate::suite::{Stage, eventually};

#[derive(Debug, PartialEq, Event, Serialize, Deserialize)]
#[event(type = "user.renamed", source = "/users", key = id)]
struct Renamed {
    id: u64,
    name: String,
}

impl Renamed {
    fn new(id: u64, name: impl Into<String>) -> Self {
        Self { id, name: name.into() }
    }
}

/// A table over a compacted topic is ready when it holds what was there, and serves what was written to whoever waits for
/// it; what was deleted is gone, and what was aborted never was.
pub(crate) async fn a_table_is_ready_when_it_has_caught_up_and_serves_what_was_written(stage: Stage) {
    const USERS: u64 = 20;
    let client = stage.client().await;
    let configs = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "500"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("delete.retention.ms", "0"),
    ];
    let users: Topic<Renamed> = stage.topic_with(&client, 3, &configs).await.into();
    let publisher = Publisher::start(&client).unwrap();
    let mut expected = BTreeMap::new();
    for round in 0..5 {
        for id in 0..USERS {
            let name = format!("{id} of {round}");
            publisher.publish(&users, &Renamed::new(id, name.as_str())).await.unwrap();
            expected.insert(id, name);
        }
    }
    for id in (0..USERS).step_by(4) {
        publisher.send(&Outgoing::tombstone(&users, id.to_string())).await.unwrap();
        expected.remove(&id);
    }
    stage.cluster().compact(users.name()).await.unwrap();
    let mut ledger = Ledger { table: start_table(&client, &users).await, publisher, users, expected };
    ledger.check();

    for id in 0..USERS {
        if id % 3 == 0 { ledger.deletes(id).await } else { ledger.renames(id, "new").await }
    }
    ledger.survives_transactions(&client, &stage.name("tx")).await;
    ledger.renames(5, "behind the transactions").await;
    let late = start_table(&client, &ledger.users).await;
    assert_eq!(late.snapshot(), ledger.table.snapshot(), "who comes later finds the same");
    late.stop().await;
    ledger.table.stop().await;
    ledger.publisher.stop().await.unwrap();
}

type Users = Table<u64, Renamed>;

async fn start_table(client: &Client, users: &Topic<Renamed>) -> Users {
    let key = |record: &Message| -> Result<u64, BoxError> {
        Ok(std::str::from_utf8(record.key().ok_or("no key")?)?.parse()?)
    };
    let decode = users.clone();
    let value =
        move |record: &Message| -> Result<Renamed, BoxError> { Ok(decode.read(record)?.ok_or("no value")?) };
    let table = Table::builder(client, users).decode((key, value)).start().await.unwrap();
    within(PATIENCE, table.ready()).await.unwrap();
    table
}

/// A table, and what it ought to hold.
struct Ledger {
    table: Users,
    publisher: Publisher,
    users: Topic<Renamed>,
    expected: BTreeMap<u64, String>,
}

impl Ledger {
    fn check(&self) {
        let held: BTreeMap<u64, String> =
            self.table.snapshot().into_iter().map(|(id, renamed)| (id, renamed.name.clone())).collect();
        assert_eq!(held, self.expected);
    }

    async fn renames(&mut self, id: u64, name: &str) {
        let published = self.publisher.publish(&self.users, &Renamed::new(id, name)).await.unwrap();
        self.expected.insert(id, name.to_owned());
        self.has_seen(&published).await;
    }

    async fn deletes(&mut self, id: u64) {
        let tombstone = Outgoing::tombstone(&self.users, id.to_string());
        let published = self.publisher.send(&tombstone).await.unwrap();
        self.expected.remove(&id);
        self.has_seen(&published).await;
    }

    /// Whoever has waited for what he has written reads it.
    async fn has_seen(&self, published: &Published) {
        let position = LogPosition::new(published.topic_partition(), published.offset.unwrap());
        self.table.wait_for(position, PATIENCE).await.unwrap();
        self.check();
    }

    /// An aborted transaction, one that is open while another table starts and is committed then, and an aborted one at the
    /// end.
    async fn survives_transactions(&mut self, client: &Client, id: &str) {
        let mut producer = client.producer().transactional(id).await.unwrap();
        for (name, is_committed) in [("aborted", false), ("committed", true), ("aborted again", false)] {
            let transaction = producer.begin().await.unwrap();
            let mut last = None;
            for user in 0..5 {
                let (key, value) = (user.to_string(), serde_json::to_vec(&Renamed::new(user, name)).unwrap());
                let record = Record::new(self.users.name(), &value).key(&key);
                let delivered = transaction.send(record).await.unwrap();
                last = LogPosition::of_delivered(self.users.name(), &delivered);
            }
            // What is open is neither waited for nor seen.
            let meanwhile = start_table(client, &self.users).await;
            self.check();
            assert_eq!(meanwhile.snapshot(), self.table.snapshot());
            if is_committed {
                transaction.commit().await.unwrap();
                self.expected.extend((0..5).map(|user| (user, name.to_owned())));
            } else {
                transaction.abort().await.unwrap();
            }
            self.table.wait_for(last.unwrap(), PATIENCE).await.unwrap();
            // The other partitions.
            eventually("the table holds it", async || {
                let is_there = |id| self.table.get(&id).map(|user| user.name.clone());
                (0..5).all(|id| is_there(id).as_ref() == self.expected.get(&id)).then_some(())
            })
            .await;
            self.check();
        }
    }
}

/// Events that come twice, be it at once, after their partition has gone to another instance, or after the one that has
/// handled them has stopped, are handled once: instances share what they know in a topic.
pub(crate) async fn a_duplicate_event_is_handled_once(stage: Stage) {
    const COUNT: u64 = 60;
    const HOUR: Duration = Duration::from_secs(3_600);
    let client = stage.client().await;
    let ids = TopicDedup::new_topic(stage.name("ids"), HOUR).partitions(3);
    stage.create(&client, ids).await;
    stage.described(&client, &stage.name("ids")).await;
    let users: Topic<Renamed> = stage.topic(&client, PARTITIONS).await.into();
    let (group, notes) = (stage.name("g"), Notes::default());
    let start = async |instance: usize| {
        let client = stage.client().await;
        let ids = TopicDedup::builder(&client, stage.name("ids")).keep_for(HOUR).start().await.unwrap();
        within(PATIENCE, ids.ready()).await.unwrap();
        let dedup = Dedup::new(Arc::new(ids));
        let router = Router::new().topic(&users, once.dead_letter()).layer(dedup.clone());
        let service = service(&client, &group, router.with_state((instance, notes.clone())));
        (dedup, service.start().await.unwrap())
    };
    let publisher = Publisher::start(&client).unwrap();
    let mut published = 0;
    let mut publish = async |ids: Range<u64>| {
        let event = |id| users.outgoing_with(envelope(id), &Renamed::new(id % 20, id.to_string())).unwrap();
        let events: Vec<Outgoing> = ids.map(event).collect();
        published += events.len();
        publisher.send_all(&events).await.unwrap();
    };
    let (first_dedup, first) = start(0).await;
    publish(0..COUNT).await;
    publish(0..COUNT).await;
    within(PATIENCE, first.settled()).await;

    let (second_dedup, second) = start(1).await;
    eventually("they share the partitions", async || (assigned(&second) > 0).then_some(())).await;
    publish(0..2 * COUNT).await;
    let all = async || (notes.all().len() >= 2 * COUNT as usize).then_some(());
    eventually("what is new is handled", all).await;
    for running in [&first, &second] {
        within(PATIENCE, running.settled()).await;
    }
    assert!(notes.has_worked(1), "the second has handled some");

    first.stop().await.unwrap();
    let knows = async || (second_dedup.store().health().entries == 2 * COUNT as usize).then_some(());
    eventually("the second knows what the first has handled", knows).await;
    publish(0..2 * COUNT).await;
    eventually("it has everything", async || (assigned(&second) == PARTITIONS as usize).then_some(())).await;
    within(PATIENCE, second.settled()).await;
    second.stop().await.unwrap();

    let handled: BTreeSet<String> = notes.all().into_iter().map(|note| note.value).collect();
    assert_eq!(handled, (0..2 * COUNT).map(|id| id.to_string()).collect());
    assert_eq!(notes.all().len(), handled.len(), "each once");
    let hits = usize::try_from(first_dedup.hits() + second_dedup.hits()).unwrap();
    assert!(hits >= published - handled.len(), "{hits} of {published}");
    let topic = users.name();
    assert_eq!(count(&client, &dead_letters(topic, &group)).await, 0);
}

async fn once(
    State((instance, notes)): State<(usize, Notes)>,
    Key(key): Key<String>,
    Ev(renamed): Ev<Renamed>,
) {
    notes.note(instance, key, renamed.name);
}

fn envelope(id: u64) -> Envelope {
    Envelope::of::<Renamed>(format!("event-{id}"), SystemTime::now())
}
