//! What tells a record from all others, however often it comes.

use std::borrow::Cow;

use milena::Message;
use serde::Serialize;

use crate::{envelope::Attributes, failure::BoxError};

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
        match Attributes::of(record) {
            Ok(Attributes { id: Some(id), source, .. }) if !id.is_empty() => {
                Self::Event(source.unwrap_or_default(), id)
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

#[cfg(test)]
mod tests {
    use milena::{Header, Record};

    use super::*;

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
}
