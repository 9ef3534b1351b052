//! What tells a record from all others, however often it comes, and the ids that follow from it.

use std::{borrow::Cow, collections::HashMap};

use milena::Message;
use serde::Serialize;
use uuid::Uuid;

use crate::{delivery::Place, envelope::Attributes, failure::BoxError, outgoing::Outgoing};

/// In which ids follow from what they are made of. It tells them from those that others make by the same rules.
const NAMESPACE: Uuid = Uuid::from_u128(0x0f6c_97d2_5b0e_4c33_9d3a_6e41_c8a7_2b95);

/// By what a record is known when it comes again.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(crate) enum Identity<'a> {
    /// That of the event in it: by CloudEvents, ids are unique to their source.
    Event(Cow<'a, str>, Cow<'a, str>),
    /// Its place in the log: topic, partition, offset. The timestamp tells it from the record that has this place in a
    /// topic of the same name, if this one is deleted and created anew.
    Place(&'a str, i32, i64, i64),
}

impl<'a> Identity<'a> {
    /// That of the event in the record, in binary or structured mode. Of a record with no id, or with attributes that
    /// cannot be read, it is the place.
    pub(crate) fn of(record: &'a Message) -> Self {
        Self::told(record, &Attributes::of(record).unwrap_or_default())
    }

    /// The same, of a record that has these attributes.
    pub(crate) fn told(record: &'a Message, attributes: &Attributes<'a>) -> Self {
        match &attributes.id {
            Some(id) if !id.is_empty() => {
                Self::Event(attributes.source.clone().unwrap_or_default(), id.clone())
            }
            _ => {
                let (partition, offset) = (record.partition().0, record.offset().0);
                Self::Place(record.topic().as_str(), partition, offset, record.timestamp())
            }
        }
    }

    /// That of the event with this id, in no source.
    pub(crate) const fn chosen(id: String) -> Self {
        Self::Event(Cow::Borrowed(""), Cow::Owned(id))
    }

    /// How long what others have chosen in it is, in bytes.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Event(source, id) => source.len() + id.len(),
            Self::Place(..) => 0,
        }
    }

    /// As text, for one handler of one group: JSON, in which no part can pass for another.
    pub(crate) fn for_handler(&self, group: &str, handler: &str) -> Result<String, BoxError> {
        Ok(serde_json::to_string(&(group, handler, self))?)
    }
}

/// Makes anew the ids that nobody has chosen: of the record that was handled, the topic, type and key of the event, and
/// how many such there are in front of it. So a record that is handled again, because nobody knows any more that it was,
/// leads to events of the same ids.
pub(crate) fn name_after(published: &mut [Outgoing], cause: &Identity<'_>, place: &Place) {
    if !published.iter().any(Outgoing::has_fresh_id) {
        return;
    }
    let Ok(cause) = cause.for_handler(&place.group, &place.handler) else { return };
    let mut alike: HashMap<Vec<u8>, u32> = HashMap::new();
    for outgoing in published.iter_mut().filter(|outgoing| outgoing.has_fresh_id()) {
        let event_type = outgoing.header_named("ce_type").flatten();
        let parts = (&cause, outgoing.topic().as_str(), event_type, outgoing.key_bytes());
        let Ok(mut name) = serde_json::to_vec(&parts) else { continue };
        let before = alike.entry(name.clone()).or_default();
        name.extend(before.to_be_bytes());
        *before += 1;
        outgoing.set_fresh_id(Uuid::new_v5(&NAMESPACE, &name).to_string());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::{collections::BTreeSet, time::SystemTime};

    use bytes::Bytes;
    use milena::{Header, Record};
    use serde::Deserialize;

    use super::*;
    use crate::{
        envelope::Envelope,
        event::{Event, JsonCodec},
        headers::ID,
        newer::Newer,
        topic::Topic,
    };

    fn message(headers: &[(&str, &str)], value: &str, timestamp: i64) -> Message {
        let headers: Vec<Header<'_>> =
            headers.iter().map(|(name, value)| (*name, Some(value.as_bytes()))).collect();
        Message::from_record(&Record::new("t", value).headers(&headers).timestamp(timestamp), 7)
    }

    fn event<'a>(source: &'a str, id: &'a str) -> Identity<'a> {
        Identity::Event(source.into(), id.into())
    }

    #[test]
    fn an_event_is_known_by_its_id_and_source_in_either_mode() {
        let binary = message(&[("ce_source", "/users"), ("ce_id", "1")], "1", 5);
        assert_eq!(Identity::of(&binary), event("/users", "1"));
        let structured = [("content-type", "application/cloudevents+json")];
        let structured = message(&structured, r#"{"id":"1","source":"/users","data":1}"#, 5);
        assert_eq!(Identity::of(&structured), event("/users", "1"));
        assert_eq!(Identity::of(&message(&[("ce_id", "1")], "1", 5)), event("", "1"));
    }

    #[test]
    fn what_has_no_id_is_known_by_its_place_and_time() {
        let place = |timestamp| Identity::Place("t", 0, 7, timestamp);
        let broken = [("content-type", "application/cloudevents+json")];
        for headers in [&[][..], &[("ce_source", "/users")], &[("ce_id", "")], &broken] {
            assert_eq!(Identity::of(&message(headers, "no event", 5)), place(5), "{headers:?}");
        }
        // A topic that was deleted and created anew has other records in the same places.
        assert_eq!(Identity::of(&message(&[], "1", 6)), place(6));
    }

    #[derive(Serialize, Deserialize)]
    struct Turned(u32);

    impl Event for Turned {
        const TYPE: &'static str = "turned";
        type Codec = JsonCodec;

        fn key(&self) -> Option<Bytes> {
            Some(self.0.to_string().into())
        }
    }

    const TURNS: Topic<Turned> = Topic::new("turns");

    /// The ids of what this handler of this group publishes for `cause`.
    fn ids(mut published: Vec<Outgoing>, cause: &Message, (group, handler): (&str, &str)) -> Vec<String> {
        let place = Place::of_tests(group, handler, Newer::default());
        name_after(&mut published, &Identity::of(cause), &place);
        let id = |outgoing: &Outgoing| outgoing.header_named(ID).unwrap().unwrap().to_vec();
        published.iter().map(|outgoing| String::from_utf8(id(outgoing)).unwrap()).collect()
    }

    #[test]
    fn a_record_that_is_handled_again_leads_to_events_of_the_same_ids() {
        let turns = |numbers: &[u32]| numbers.iter().map(|n| TURNS.outgoing(&Turned(*n)).unwrap()).collect();
        let here = ("g", "h");
        let [event, other] = ["1", "2"].map(|id| message(&[("ce_id", id)], "1", 5));
        let plain = message(&[], "1", 5);
        for cause in [&event, &plain] {
            let first = ids(turns(&[1, 2, 2]), cause, here);
            assert_eq!(first, ids(turns(&[1, 2, 2]), cause, here));
            assert!(Uuid::parse_str(&first[0]).is_ok(), "{first:?}");
            assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), 3, "those that are alike are numbered");
            let turned = ids(turns(&[2, 1, 2]), cause, here);
            assert_eq!([&turned[1], &turned[0], &turned[2]], [&first[0], &first[1], &first[2]]);
        }
        let of = |cause, place| ids(turns(&[1]), cause, place).remove(0);
        let all = [
            of(&event, here),
            of(&other, here),
            of(&plain, here),
            of(&event, ("g2", "h")),
            of(&event, ("g", "h2")),
        ];
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "{all:?}");
    }

    #[test]
    fn ids_that_somebody_has_chosen_stay() {
        let envelope = Envelope::of::<Turned>("mine", SystemTime::UNIX_EPOCH);
        let chosen = TURNS.outgoing_with(envelope, &Turned(1)).unwrap();
        let late = TURNS.outgoing(&Turned(1)).unwrap().header(ID, "late");
        let plain = Outgoing::new("t", "1").header(ID, "by hand");
        let cause = message(&[("ce_id", "1")], "1", 5);
        assert_eq!(ids(vec![chosen, late, plain], &cause, ("g", "h")), ["mine", "late", "by hand"]);
    }
}
