//! Events through a service: who caused what, and what is newer than it.

use std::{sync::Arc, time::Duration};

use milena::{
    Code, Message, Position,
    testing::{Api, Fault, Rule},
};
use milena_service::{
    DeadLetter, Dedup, Emit, Envelope, Ev, Event, IntoRoute, JsonCodec, MemoryDedup, Newer, Outgoing, Router,
    Service, State, Table, Topic, UpcastError,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::support::{Seen, cluster, records, service, settled, until};

#[derive(Serialize, Deserialize)]
struct Ordered(u64);

impl Event for Ordered {
    const TYPE: &'static str = "ordered";
    type Codec = JsonCodec;
}

#[derive(Serialize, Deserialize)]
struct Charged(u64);

impl Event for Charged {
    const TYPE: &'static str = "charged";
    type Codec = JsonCodec;
}

const ORDERS: Topic<Ordered> = Topic::new("orders");
const CHARGES: Topic<Charged> = Topic::new("charges");

async fn charge(State(seen): State<Seen>, Ev(Ordered(id)): Ev<Ordered>) -> Emit<Charged> {
    seen.note("order", &id.to_string());
    Emit(CHARGES, Charged(id))
}

#[tokio::test(start_paused = true)]
async fn what_a_handler_emits_tells_what_caused_it() {
    let (cluster, client) = cluster(1).await;
    cluster.create_topic("charges", 1).await.unwrap();
    let publisher = milena_service::Publisher::start(&client).unwrap();
    let mut envelope = Envelope::now::<Ordered>();
    envelope.correlation_id = Some("request-1".to_owned());
    publisher.send(&ORDERS.outgoing_with(envelope.clone(), &Ordered(7)).unwrap()).await.unwrap();

    let router = Router::new().topic(ORDERS, charge).with_state(Seen::default());
    let running = service(&client, router).start().await.unwrap();
    settled(&running).await;

    let charged = records(&client, "charges", 1).await.remove(0);
    assert_eq!(CHARGES.read(&charged).unwrap().unwrap().0, 7);
    let caused = Envelope::read(&charged).unwrap().unwrap();
    assert_eq!(caused.causation_id, Some(envelope.id));
    assert_eq!(caused.correlation_id.as_deref(), Some("request-1"));
}

/// An instance dies when it has published and before it has committed; its successor handles the record again.
#[tokio::test(start_paused = true)]
async fn who_emits_again_emits_the_same_events_and_who_reads_them_can_tell() {
    let (cluster, client) = cluster(1).await;
    for topic in ["charges", "receipts"] {
        cluster.create_topic(topic, 1).await.unwrap();
    }
    let publisher = milena_service::Publisher::start(&client).unwrap();
    publisher.publish(&ORDERS, &Ordered(7)).await.unwrap();
    let lost = Rule::new(Fault::Refuse(Code::GROUP_AUTHORIZATION_FAILED)).on(Api::OffsetCommit);
    let lost = cluster.fault(lost).await.unwrap();
    let emits = || {
        let router = Router::new().topic(ORDERS, charge).with_state(Seen::default());
        service(&client, router).start()
    };
    let first = emits().await.unwrap();
    let charged = records(&client, "charges", 1).await;
    let _ = first.stop().await;
    lost.remove().await.unwrap();
    let second = emits().await.unwrap();
    settled(&second).await;
    let again = records(&client, "charges", 2).await;
    let id = |message: &Message| Envelope::read(message).unwrap().unwrap().id;
    assert_eq!((id(&again[0]), id(&again[1])), (id(&charged[0]), id(&charged[0])));

    async fn receipt(State(seen): State<Seen>, Ev(Charged(id)): Ev<Charged>) {
        seen.note("charge", &id.to_string());
    }
    let seen = Seen::default();
    let dedup = Dedup::new(MemoryDedup::new(10));
    let router = Router::new().topic(CHARGES, receipt).layer(dedup).with_state(seen.clone());
    let reader = Service::new(&client, "receipts").router(router);
    let reader = reader.consumer(|consumer| consumer.start_at(Position::Earliest)).start().await.unwrap();
    settled(&reader).await;
    assert_eq!(seen.len(), 1);
    let page = reader.metrics();
    let hits = page.lines().find(|line| line.starts_with("milena_dedup_hits_total{")).unwrap();
    assert!(hits.contains("handler=\"receipt\"") && hits.ends_with(" 1"), "{hits}");
}

/// A version that [`Ordered`] does not know, and one that it does.
async fn newer_and_known(client: &milena::Client) {
    let publisher = milena_service::Publisher::start(client).unwrap();
    let newer = Outgoing::new("orders", "{}").header("ce_type", "ordered").header("ce_dataversion", "2");
    publisher.send_all(&[newer, ORDERS.outgoing(&Ordered(8)).unwrap()]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_event_of_a_newer_version_is_dead_lettered_at_once_or_skipped() {
    for newer in [Newer::DeadLetter, Newer::Skip] {
        let (cluster, client) = cluster(1).await;
        cluster.create_topic("charges", 1).await.unwrap();
        newer_and_known(&client).await;
        let seen = Seen::default();
        let router =
            Router::new().topic(ORDERS, charge.dead_letter().on_newer(newer)).with_state(seen.clone());
        let running = service(&client, router).start().await.unwrap();
        settled(&running).await;
        assert_eq!(seen.of("order"), ["8"]);
        if newer == Newer::DeadLetter {
            let letter = DeadLetter::of(&records(&client, "orders.billing.dlq", 1).await[0]).unwrap();
            assert_eq!((letter.error_type.as_str(), letter.attempts), ("newer_version", 1));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_of_a_newer_version_halts_its_lane_where_the_route_says_so() {
    let (_cluster, client) = cluster(1).await;
    newer_and_known(&client).await;
    let seen = Seen::default();
    let router =
        Router::new().topic(ORDERS, charge.dead_letter().on_newer(Newer::Halt)).with_state(seen.clone());
    let running = service(&client, router).start().await.unwrap();
    let health = running.health();
    until("the lane has halted", || !health.halted().is_empty()).await;
    let halted = health.halted().remove(0);
    assert_eq!(halted.offset.0, 0);
    assert!(halted.error.contains("version 2; versions up to 1"), "{}", halted.error);
    assert_eq!(seen.len(), 0, "what has no key either waits behind it");
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Renamed(String);

/// Version 1 was a number.
impl Event for Renamed {
    const TYPE: &'static str = "renamed";
    const VERSION: u32 = 2;
    type Codec = JsonCodec;

    fn upcast(_: u32, value: Value) -> Result<Value, UpcastError> {
        Ok(value.to_string().into())
    }
}

const NAMES: Topic<Renamed> = Topic::new("names");

#[tokio::test(start_paused = true)]
async fn a_table_of_events_shows_the_newest_of_each_key_in_the_version_of_today() {
    let (cluster, client) = cluster(1).await;
    cluster.create_topic("names", 2).await.unwrap();
    let publisher = milena_service::Publisher::start(&client).unwrap();
    let old = Outgoing::new("names", "7").header("ce_type", "renamed").header("ce_dataversion", "1");
    publisher.send(&old.key("old")).await.unwrap();
    let names: Table<String, Renamed> = Table::of_events(&client, NAMES).start().await.unwrap();
    let why = names.check().unwrap_err();
    assert_eq!(why, "the table of names has not read everything yet");
    for name in ["Ada", "Grace"] {
        let published = publisher.publish_keyed(&NAMES, "new", &Renamed(name.to_owned())).await.unwrap();
        names.wait_for(published.position().unwrap(), Duration::from_secs(60)).await.unwrap();
        assert_eq!(names.get("new"), Some(Arc::new(Renamed(name.to_owned()))), "one reads what one wrote");
    }
    names.ready().await.unwrap();
    assert_eq!((names.check(), names.get("old")), (Ok(()), Some(Arc::new(Renamed("7".to_owned())))));

    let foreign = publisher.send(&ORDERS.outgoing(&Ordered(7)).unwrap()).await.unwrap().position();
    assert!(names.wait_for(foreign.unwrap(), Duration::ZERO).await.is_err(), "it is not in this topic");
    publisher.send(&Outgoing::new("names", "8").key("k").header("ce_type", "ordered")).await.unwrap();
    until("the table fails", || names.failure().is_some()).await;
    assert!(names.check().unwrap_err().contains("the event is ordered"), "{:?}", names.check());
}
