//! Envelopes as they are written, read, and broken.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::time::Duration;

use milena::{Header, Record};
use proptest::{option, prelude::*};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::*;
use crate::event::JsonCodec;

#[derive(Serialize, Deserialize)]
struct Ticked;

impl Event for Ticked {
    const TYPE: &'static str = "ticked";
    const VERSION: u32 = 2;
    const SOURCE: &'static str = "/clock";
    type Codec = JsonCodec;
}

fn message(headers: &[Header<'_>], value: Option<&[u8]>) -> Message {
    let record = match value {
        Some(value) => Record::new("t", value),
        None => Record::empty("t"),
    };
    Message::from_record(&record.headers(headers), 0)
}

fn received(outgoing: &Outgoing) -> Message {
    let headers: Vec<Header<'_>> = outgoing.headers().collect();
    Message::from_record(&outgoing.record(&headers), 0)
}

fn binary<'a>(headers: &'a [(&'a str, &'a str)]) -> Message {
    let headers: Vec<Header<'_>> =
        headers.iter().map(|(name, value)| (*name, Some(value.as_bytes()))).collect();
    message(&headers, Some(b"1"))
}

fn structured(content_type: &str, envelope: &Value) -> Message {
    let headers = [("content-type", Some(content_type.as_bytes()))];
    message(&headers, Some(envelope.to_string().as_bytes()))
}

fn why(message: &Message) -> String {
    let Err(Undecodable::Envelope(reason)) = Envelope::read(message) else { panic!("it must be broken") };
    reason.to_string()
}

const REQUIRED: [(&str, &str); 3] = [("ce_id", "1"), ("ce_type", "ticked"), ("ce_source", "/clock")];

fn time() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000)
}

#[test]
fn an_envelope_is_read_as_it_was_written() {
    let mut envelope = Envelope::of::<Ticked>("e-1", time());
    assert_eq!((&*envelope.event_type, &*envelope.source), ("ticked", "/clock"));
    assert_eq!((envelope.version, envelope.content_type.as_deref()), (Some(2), Some("application/json")));
    envelope.correlation_id = Some("e-0".to_owned());
    let read = Envelope::read(&received(&envelope.clone().write(Outgoing::new("t", "1"))));
    assert_eq!(read.unwrap(), Some(envelope));
}

#[test]
fn a_record_without_attributes_is_no_event() {
    assert_eq!(Envelope::read(&message(&[], Some(b"1"))).unwrap(), None);
    let others = [("traceparent", "00-1"), ("content-type", "application/json"), ("ce_unknown", "1")];
    assert_eq!(Envelope::read(&binary(&others)).unwrap(), None);
}

#[test]
fn what_foreign_producers_leave_out_is_none() {
    let read = Envelope::read(&binary(&REQUIRED)).unwrap().unwrap();
    assert_eq!((read.time, read.version, read.content_type), (None, None, None));
    let null =
        [("ce_id", Some(&b"1"[..])), ("ce_type", Some(b"t")), ("ce_source", Some(b"/")), ("ce_time", None)];
    assert_eq!(Envelope::read(&message(&null, None)).unwrap().unwrap().time, None);
}

#[test]
fn a_header_that_comes_twice_counts_as_it_came_last() {
    let twice = [&REQUIRED[..], &[("ce_id", "2")]].concat();
    assert_eq!(Envelope::read(&binary(&twice)).unwrap().unwrap().id, "2");
}

#[test]
fn broken_attributes_say_what_is_wrong() {
    for (missing, name) in [(0, "id"), (1, "type"), (2, "source")] {
        let mut headers = REQUIRED.to_vec();
        headers[missing].1 = "";
        assert_eq!(why(&binary(&headers)), format!("it has no {name}"));
        headers.remove(missing);
        assert_eq!(why(&binary(&headers)), format!("it has no {name}"));
    }
    let with = |name, value| why(&binary(&[&REQUIRED[..], &[(name, value)]].concat()));
    assert_eq!(with("ce_time", "noon"), "its time \"noon\" is not one of RFC 3339");
    assert_eq!(with("ce_dataversion", "0"), "its dataversion is \"0\", and no number from 1 on");
    assert_eq!(with("ce_specversion", "0.3"), "its specversion is \"0.3\"; what is read is 1.0");
    assert_eq!(why(&message(&[("ce_id", Some(b"\xff"))], None)), "its ce_id is not UTF-8");
}

#[test]
fn structured_mode_is_read() {
    let envelope = json!({
        "specversion": "1.0", "id": "e-1", "type": "ticked", "source": "/clock",
        "time": "2026-09-21T16:13:20+02:00", "dataversion": "2", "causationid": null, "correlationid": 7,
        "datacontenttype": "application/json", "extension": { "of": "others" }, "data": 1,
    });
    let mut expected = Envelope::of::<Ticked>("e-1", time());
    expected.correlation_id = Some("7".to_owned());
    for content_type in ["application/cloudevents+json", "APPLICATION/CloudEvents+Json ; charset=utf-8"] {
        assert_eq!(Envelope::read(&structured(content_type, &envelope)).unwrap().as_ref(), Some(&expected));
    }
    assert_eq!(why(&structured("application/cloudevents", &json!({}))), "it has no id");
}

#[test]
fn structured_mode_that_cannot_be_read_says_why() {
    let json = "application/cloudevents+json";
    for format in ["+avro", "-batch+json"] {
        let text =
            format!("it is in structured mode as application/cloudevents{format}; what is read is +json");
        assert_eq!(why(&structured(&format!("application/cloudevents{format}"), &json!({}))), text);
    }
    let null = message(&[("content-type", Some(json.as_bytes()))], None);
    assert_eq!(why(&null), "it is in structured mode and has no value");
    assert!(why(&structured(json, &json!([1]))).starts_with("invalid type: sequence"));
    assert_eq!(why(&structured(json, &json!({ "id": {} }))), "its id is no text");
    let both = json!({ "data": 1, "data_base64": "Zg==" });
    assert_eq!(why(&structured(json, &both)), "it has both data and data_base64");
    assert_eq!(why(&structured(json, &json!({ "data_base64": "Z" }))), "its data_base64 is not base64");
}

#[test]
fn data_in_structured_mode_is_what_its_media_type_says() {
    let data = |media_type: Option<&str>, text: &str| {
        let media_type = media_type.map_or(String::new(), |name| format!(r#""datacontenttype":"{name}","#));
        let value = format!(r#"{{{media_type}"data":{text}}}"#);
        let headers = [("content-type", Some(&b"application/cloudevents+json"[..]))];
        let message = message(&headers, Some(value.as_bytes()));
        let Data::Bytes(bytes) = Attributes::of(&message).unwrap().data else { panic!("no data") };
        String::from_utf8(bytes.into_owned()).unwrap()
    };
    let number = "123456789012345678901234567890.10";
    assert_eq!(data(None, number), number, "numbers stay as they are written");
    assert_eq!(data(None, r#""a""#), r#""a""#);
    assert_eq!(data(Some("application/problem+json; charset=utf-8"), r#""a""#), r#""a""#);
    assert_eq!(data(Some("text/plain"), r#""a\n""#), "a\n");
    assert_eq!(data(Some("text/plain"), "{}"), "{}");
    assert_eq!(data(None, "null"), "null");
}

#[test]
fn what_a_record_led_to_tells_so() {
    let event = |id: &str| Envelope::of::<Ticked>(id, time());
    let first = received(&event("e-1").write(Outgoing::new("t", "1")));
    let envelope = |outgoing: &Outgoing| Envelope::read(&received(outgoing)).unwrap().unwrap();

    let plain = Outgoing::new("t", "1");
    let mut own = event("e-3");
    own.correlation_id = Some("mine".to_owned());
    let mut published = [event("e-2").write(plain.clone()), plain.clone(), own.write(plain.clone())];
    caused_by(&mut published, &Attributes::of(&first).unwrap());
    let [second, untouched, own] = published;
    assert_eq!(untouched, plain, "what is no event stays as it is");
    assert_eq!(envelope(&own).correlation_id.as_deref(), Some("mine"));
    assert_eq!(envelope(&own).causation_id.as_deref(), Some("e-1"));
    let ids = |envelope: Envelope| (envelope.correlation_id.unwrap(), envelope.causation_id.unwrap());
    assert_eq!(ids(envelope(&second)), ("e-1".to_owned(), "e-1".to_owned()));

    let mut third = [event("e-4").write(plain.clone())];
    let second = received(&second);
    caused_by(&mut third, &Attributes::of(&second).unwrap());
    assert_eq!(ids(envelope(&third[0])), ("e-1".to_owned(), "e-2".to_owned()));

    let mut uncaused = [event("e-5").write(plain)];
    caused_by(&mut uncaused, &Attributes::of(&message(&[], Some(b"1"))).unwrap());
    assert_eq!(envelope(&uncaused[0]).causation_id, None, "the cause has no id");
}

#[tokio::test(start_paused = true)]
async fn events_that_happen_now_follow_the_tests_clock() {
    let before = Envelope::now::<Ticked>();
    tokio::time::advance(Duration::from_secs(86_400)).await;
    let after = Envelope::now::<Ticked>();
    let passed = after.time.unwrap().duration_since(before.time.unwrap()).unwrap();
    assert!(passed > Duration::from_secs(80_000), "{passed:?}");
    assert!(before.id < after.id, "ids sort by time");
}

fn envelopes() -> impl Strategy<Value = Envelope> {
    let time = option::of((0..253_402_300_800_u64, 0..1_000_000_u32));
    let text = || option::of(".{0,12}");
    (".{1,12}", ".{1,12}", ".{1,12}", time, option::of(1..u32::MAX), text(), text(), text()).prop_map(
        |(id, event_type, source, time, version, correlation_id, causation_id, other)| Envelope {
            id,
            event_type,
            source,
            time: time.map(|(secs, micros)| SystemTime::UNIX_EPOCH + Duration::new(secs, micros * 1_000)),
            version,
            correlation_id,
            causation_id,
            content_type: other.map(|other| format!("text/{other}")),
        },
    )
}

proptest! {
    #[test]
    fn every_envelope_is_read_as_it_was_written(envelope in envelopes()) {
        let outgoing = envelope.clone().write(Outgoing::new("t", "1"));
        prop_assert_eq!(Envelope::read(&received(&outgoing)).unwrap(), Some(envelope));
    }

    #[test]
    fn every_envelope_is_read_from_structured_mode_as_from_binary(envelope in envelopes()) {
        let outgoing = envelope.clone().write(Outgoing::new("t", "1"));
        let members = outgoing.headers().map(|(name, value)| {
            let name = name.strip_prefix("ce_").unwrap_or("datacontenttype").to_owned();
            (name, Value::from(String::from_utf8_lossy(value.unwrap())))
        });
        let message = structured("application/cloudevents+json", &Value::Object(members.collect()));
        prop_assert_eq!(Envelope::read(&message).unwrap(), Some(envelope));
    }

    #[test]
    fn no_bytes_of_others_are_fatal(
        headers in proptest::collection::vec(
            (prop_oneof!["ce_(id|type|time|source|dataversion|specversion)", "content-type"],
             option::of(prop_oneof![
                 proptest::collection::vec(any::<u8>(), 0..40),
                 "application/cloudevents.{0,8}".prop_map(String::into_bytes),
                 "[0-9TZ:.+-]{0,30}".prop_map(String::into_bytes),
             ])), 0..8),
        value in option::of(prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..60),
            r#"\{("(id|time|data|data_base64)":("[A-Za-z0-9+/=]{0,9}"|[0-9.e-]{1,5}),?){0,4}\}"#
                .prop_map(String::into_bytes),
        ]),
    ) {
        let headers: Vec<Header<'_>> =
            headers.iter().map(|(name, value)| (&**name, value.as_deref())).collect();
        let message = message(&headers, value.as_deref());
        let _ = Envelope::read(&message);
        let _ = crate::ev::read::<Ticked>(&message);
        let attributes = Attributes::of(&message).unwrap_or_default();
        caused_by(&mut [Outgoing::new("t", "1").header("ce_id", "1")], &attributes);
        let _ = crate::identity::Identity::of(&message);
    }
}
