//! `#[derive(Event)]`, as users write it.

#![cfg(feature = "derive")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use milena::{Message, Record};
use milena_service::{Codec, CodecError, Emit, Event, IntoOutcome, JsonCodec, Outcome, Topic};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

#[derive(Debug, PartialEq, Serialize, Deserialize, Event)]
#[event(type = "user.created", version = 3, source = "/users", key = user_id)]
#[event(upcast(1 => upcasters::from_text, 2 => with_locale))]
struct UserCreated {
    user_id: u64,
    mail: String,
    locale: String,
}

mod upcasters {
    use serde_json::{Value, json};

    /// `7 ada@example.org`
    pub(super) fn from_text(value: Value) -> Result<Value, Malformed> {
        let parsed = value.as_str().and_then(|text| text.split_once(' '));
        let parsed = parsed.and_then(|(id, mail)| Some((id.parse::<u64>().ok()?, mail)));
        let (user_id, mail) = parsed.ok_or(Malformed)?;
        Ok(json!({ "user_id": user_id, "mail": mail }))
    }

    #[derive(Debug)]
    pub(super) struct Malformed;

    impl std::error::Error for Malformed {}

    impl std::fmt::Display for Malformed {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("no id and mail")
        }
    }
}

fn with_locale(mut value: Value) -> Value {
    if let Some(fields) = value.as_object_mut() {
        fields.insert("locale".to_owned(), "en".into());
    }
    value
}

const USERS: Topic<UserCreated> = Topic::new("users");

fn ada() -> UserCreated {
    UserCreated { user_id: 7, mail: "ada@example.org".to_owned(), locale: "en".to_owned() }
}

fn read(version: &str, value: &Value) -> Result<Option<UserCreated>, String> {
    let value = value.to_string();
    let headers = [("ce_dataversion", Some(version.as_bytes()))];
    let record = Record::new("users", &value).headers(&headers);
    USERS.read(&Message::from_record(&record, 0)).map_err(|undecodable| undecodable.kind().to_owned())
}

#[test]
fn a_derived_event_is_published_with_what_was_said_of_it() {
    assert_eq!((UserCreated::TYPE, UserCreated::VERSION, UserCreated::SOURCE), ("user.created", 3, "/users"));
    let outgoing = USERS.outgoing(&ada()).unwrap();
    assert_eq!(outgoing.key_bytes(), Some(&b"7"[..]));
    assert_eq!(outgoing.header_named("ce_type"), Some(Some(&b"user.created"[..])));
    assert_eq!(outgoing.header_named("ce_dataversion"), Some(Some(&b"3"[..])));
    assert_eq!(outgoing.header_named("ce_source"), Some(Some(&b"/users"[..])));
}

#[test]
fn the_upcasters_are_called_in_turn() {
    assert_eq!(read("1", &json!("7 ada@example.org")), Ok(Some(ada())));
    assert_eq!(read("2", &json!({ "user_id": 7, "mail": "ada@example.org" })), Ok(Some(ada())));
    assert_eq!(read("3", &serde_json::to_value(ada()).unwrap()), Ok(Some(ada())));
    assert_eq!(read("1", &json!("ada")), Err("upcast".to_owned()));
    assert_eq!(read("4", &json!({})), Err("newer_version".to_owned()));
    let error = <JsonCodec as Codec<UserCreated>>::decode(1, b"7").unwrap_err();
    assert_eq!(error.to_string(), "the step up from version 1 failed: no id and mail");
}

#[test]
fn what_is_not_said_has_defaults() {
    #[derive(Debug, PartialEq, Serialize, Deserialize, Event)]
    #[event(type = "ticked")]
    enum Ticked {
        Once,
    }
    assert_eq!((Ticked::VERSION, Ticked::SOURCE, Ticked::Once.key()), (1, "/", None));
    assert!(Ticked::upcast(1, Value::Null).unwrap_err().to_string().contains("no upcaster"));
}

#[test]
fn keys_and_codecs_may_be_of_any_kind() {
    struct Text;

    impl<E: From<String> + AsRef<str>> Codec<E> for Text {
        const CONTENT_TYPE: &'static str = "text/plain";

        fn encode(event: &E) -> Result<Vec<u8>, CodecError> {
            Ok(event.as_ref().as_bytes().to_vec())
        }

        fn decode(_: u32, bytes: &[u8]) -> Result<E, CodecError> {
            Ok(std::str::from_utf8(bytes)?.to_owned().into())
        }
    }

    #[derive(Event)]
    #[event(type = "said", codec = Text, key = 0)]
    struct Said(String);

    impl From<String> for Said {
        fn from(text: String) -> Self {
            Self(text)
        }
    }

    impl AsRef<str> for Said {
        fn as_ref(&self) -> &str {
            &self.0
        }
    }

    let Outcome::Ack(published) = Emit(Topic::new("said"), Said("hello".to_owned())).into_outcome() else {
        panic!("no ack")
    };
    assert_eq!(published.outgoing()[0].key_bytes(), Some(&b"hello"[..]));
    assert_eq!(published.outgoing()[0].header_named("content-type"), Some(Some(&b"text/plain"[..])));
}

#[test]
fn a_generic_type_is_an_event_for_all_that_fit() {
    #[derive(Serialize, Deserialize, Event)]
    #[event(type = "changed", key = of)]
    #[serde(bound = "T: Serialize + DeserializeOwned")]
    struct Changed<T: Send + 'static>
    where
        T: Serialize + DeserializeOwned,
    {
        of: String,
        to: T,
    }
    let topic: Topic<Changed<u8>> = Topic::new("changes");
    let outgoing = topic.outgoing(&Changed { of: "a".to_owned(), to: 1 }).unwrap();
    assert_eq!(outgoing.value_bytes(), Some(&br#"{"of":"a","to":1}"#[..]));
}
