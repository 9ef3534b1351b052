//! Events as handlers get them, and what becomes of records that are none.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::{Arc, Mutex};

use milena::{Header, Record};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::*;
use crate::{
    delivery::Place,
    event::{JsonCodec, UpcastError},
    extract::Batch,
    handler::Handler,
    newer::Newer,
    outcome::Outcome,
    route::Route,
};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct UserCreated {
    id: u64,
    locale: String,
}

impl Event for UserCreated {
    const TYPE: &'static str = "user.created";
    const VERSION: u32 = 3;
    type Codec = JsonCodec;

    /// Nobody is left who could read version 1.
    fn upcast(from: u32, mut value: Value) -> Result<Value, UpcastError> {
        match from {
            2 => {
                let fields = value.as_object_mut().ok_or_else(|| UpcastError::new("not an object"))?;
                fields.insert("locale".to_owned(), "en".into());
                Ok(value)
            }
            _ => Err(UpcastError::missing(from)),
        }
    }
}

fn message(headers: &[Header<'_>], value: Option<&[u8]>) -> Message {
    let record = match value {
        Some(value) => Record::new("users", value),
        None => Record::tombstone("users", "7"),
    };
    Message::from_record(&record.headers(headers), 0)
}

/// A message in binary mode, of this type and version.
fn event(event_type: &str, version: &str, value: Option<&Value>) -> Message {
    let value = value.map(Value::to_string);
    let headers = [("ce_type", Some(event_type.as_bytes())), ("ce_dataversion", Some(version.as_bytes()))];
    message(&headers, value.as_deref().map(str::as_bytes))
}

fn place(newer: Newer) -> Arc<Place> {
    Arc::new(Place::of_tests("g", "h", newer))
}

/// What becomes of messages that are handled together on a route that asks for `T`.
async fn handle<T: Extract<()> + 'static>(newer: Newer, first: Message, rest: &[Message]) -> Outcome {
    let (endpoint, plan) = Route::<()>::new(async |_: T| ()).on_newer(newer).into_parts(());
    endpoint.handle(Delivery::new(first, rest.into(), 1, place(plan.newer))).await.unwrap()
}

fn kind_of(outcome: &Outcome) -> (&'static str, &str, String) {
    let failure = outcome.failure().unwrap();
    (outcome.name(), failure.kind(), failure.to_string())
}

async fn rejected(message: Message) -> (String, String) {
    let outcome = handle::<Ev<UserCreated>>(Newer::default(), message, &[]).await;
    let (name, kind, text) = kind_of(&outcome);
    assert_eq!(name, "dead_letter", "{text}");
    (kind.to_owned(), text)
}

fn ada(id: u64) -> Value {
    json!({ "id": id, "locale": "de" })
}

#[tokio::test]
async fn a_handler_gets_the_event_in_its_current_version() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let handler = {
        let seen = Arc::clone(&seen);
        move |Ev(user): Ev<UserCreated>| {
            seen.lock().unwrap().push(user);
            future::ready(())
        }
    };
    for message in [
        event("user.created", "3", Some(&ada(1))),
        event("user.created", "2", Some(&json!({ "id": 2 }))),
        message(&[], Some(ada(3).to_string().as_bytes())),
        message(&[("ce_type", Some(b"user.created"))], Some(ada(4).to_string().as_bytes())),
    ] {
        let delivery = Delivery::new(message, Arc::default(), 1, place(Newer::default()));
        assert!(Handler::call(&handler, &delivery, &()).await.is_ack());
    }
    let user = |id, locale: &str| UserCreated { id, locale: locale.to_owned() };
    assert_eq!(*seen.lock().unwrap(), [user(1, "de"), user(2, "en"), user(3, "de"), user(4, "de")]);
}

#[tokio::test]
async fn structured_mode_is_read_too() {
    let content_type = [("content-type", Some(&b"Application/CloudEvents+JSON; charset=utf-8"[..]))];
    let mut envelope = json!({
        "specversion": "1.0", "id": "1", "source": "/users", "type": "user.created", "dataversion": 2,
        "data": { "id": 7 },
    });
    let read_it = |envelope: &Value| {
        read::<UserCreated>(&message(&content_type, Some(envelope.to_string().as_bytes())))
    };
    let expected = UserCreated { id: 7, locale: "en".to_owned() };
    assert_eq!(read_it(&envelope).unwrap().unwrap(), expected);

    let fields = envelope.as_object_mut().unwrap();
    fields.remove("data");
    fields.insert("data_base64".to_owned(), "eyJpZCI6N30=".into());
    assert_eq!(read_it(&envelope).unwrap().unwrap(), expected);

    envelope.as_object_mut().unwrap().remove("data_base64");
    assert_eq!(read_it(&envelope).unwrap_err().kind(), "envelope", "no data is no tombstone");
    assert_eq!(read::<UserCreated>(&message(&content_type, None)).unwrap_err().kind(), "envelope");
}

#[tokio::test]
async fn a_tombstone_is_none_or_a_dead_letter() {
    let tombstone = || event("user.created", "9", None);
    let outcome = handle::<Option<Ev<UserCreated>>>(Newer::default(), tombstone(), &[]).await;
    assert!(outcome.is_ack(), "{outcome:?}");
    assert!(read::<UserCreated>(&tombstone()).unwrap().is_none());
    assert_eq!(rejected(tombstone()).await.0, "no_value");
}

#[tokio::test]
async fn what_cannot_be_read_is_a_dead_letter_that_says_why() {
    let cases = [
        (
            event("user.renamed", "3", Some(&ada(1))),
            "event_type",
            "the event is user.renamed, where the handler asks for user.created",
        ),
        (
            event("user.created", "3", Some(&json!({ "id": 7 }))),
            "data",
            "the data cannot be decoded as user.created version 3: missing field `locale`",
        ),
        (
            event("user.created", "1", Some(&ada(1))),
            "upcast",
            "user.created version 1 cannot be brought up to the version behind it: \
             there is no upcaster from version 1",
        ),
        (
            event("user.created", "2", Some(&json!(7))),
            "upcast",
            "user.created version 2 cannot be brought up to the version behind it: not an object",
        ),
        (
            event("user.created", "two", Some(&ada(1))),
            "envelope",
            "the record is not a CloudEvent that can be read: \
             its dataversion is \"two\", and no number from 1 on",
        ),
        (
            event("user.created", "4", Some(&ada(1))),
            "newer_version",
            "the event is user.created version 4; versions up to 3 are known",
        ),
    ];
    for (message, kind, text) in cases {
        let (found, said) = rejected(message).await;
        assert_eq!(found, kind);
        assert!(said.starts_with(text), "{said}");
    }
}

#[tokio::test]
async fn the_route_says_what_becomes_of_a_newer_version() {
    let newer = || event("user.created", "4", Some(&json!({ "unheard": "of" })));
    let outcome = handle::<Ev<UserCreated>>(Newer::Halt, newer(), &[]).await;
    assert_eq!((outcome.name(), outcome.failure().unwrap().kind()), ("halt", "newer_version"));
    let outcome = handle::<Option<Ev<UserCreated>>>(Newer::Skip, newer(), &[]).await;
    assert!(matches!(&outcome, Outcome::Skip(reason) if reason.contains("version 4")), "{outcome:?}");
}

#[tokio::test]
async fn one_record_to_skip_or_to_halt_at_is_not_that_for_its_batch() {
    type Users = Batch<Ev<UserCreated>>;
    let (known, newer) =
        (event("user.created", "3", Some(&ada(1))), event("user.created", "4", Some(&ada(2))));
    let outcome = handle::<Users>(Newer::Skip, known.clone(), std::slice::from_ref(&newer)).await;
    assert_eq!((outcome.name(), outcome.failure().unwrap().kind()), ("dead_letter", "skip_of_one"));
    let outcome = handle::<Users>(Newer::Halt, known.clone(), std::slice::from_ref(&newer)).await;
    assert_eq!((outcome.name(), outcome.failure().unwrap().kind()), ("dead_letter", "newer_version"));
    assert_eq!(handle::<Users>(Newer::Skip, newer.clone(), &[]).await.name(), "skip");
    assert_eq!(handle::<Users>(Newer::Halt, newer, &[]).await.name(), "halt");
    assert!(handle::<Users>(Newer::Skip, known.clone(), &[known]).await.is_ack());
}
