//! What is said of an event beside its data: CloudEvents 1.0, by its binding to Kafka.

mod attributes;
mod base64;

use std::{
    borrow::Cow,
    future::{self, Future},
    time::SystemTime,
};

use bytes::Bytes;
use milena::Message;
use uuid::{NoContext, Timestamp, Uuid};

#[cfg(feature = "testing")]
pub(crate) use attributes::is_json;
pub(crate) use attributes::{Attributes, Data, broken};

use crate::{
    clock,
    delivery::Delivery,
    event::{Codec, Event},
    extract::Extract,
    headers::{CAUSATION_ID, CORRELATION_ID, ID},
    outgoing::Outgoing,
    rfc3339,
    undecodable::Undecodable,
};

/// What is said of an event beside its data: the attributes of [CloudEvents](https://cloudevents.io) 1.0.
///
/// Events are written in CloudEvents' binary mode, in which attributes are headers: `ce_specversion`, `ce_id`,
/// `ce_type`, `ce_source`, `ce_time`, `ce_dataversion`, `ce_correlationid`, `ce_causationid`, and `content-type`.
/// Structured mode, in which they stand in the value with the data, is read too, as JSON. The record's key says what
/// CloudEvents' `partitionkey` says, which is therefore not written.
///
/// As an extractor it rejects records that are no CloudEvents; `Option<Envelope>` takes them for `None`.
///
/// ```
/// use milena_service::{Envelope, HandlerError};
///
/// async fn note(envelope: Envelope) -> Result<(), HandlerError> {
///     println!("{} has id {}", envelope.event_type, envelope.id);
///     Ok(())
/// }
/// # let _: milena_service::Router = milena_service::Router::new().topic("t", note);
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The event's id, by which copies of it are told from others. Where this crate makes it, it is a UUID: one of
    /// version 7, which sorts by time, or, of an event that a handler returns, one of version 5, which
    /// [follows](crate::Topic::outgoing) from the record that was handled.
    pub id: String,
    /// The type; see [`Event::TYPE`].
    pub event_type: String,
    /// The source; see [`Event::SOURCE`].
    pub source: String,
    /// When it happened. It is written to the microsecond, as UTC, in the years 1970 to 9999.
    pub time: Option<SystemTime>,
    /// The version of the data; see [`Event::VERSION`].
    pub version: Option<u32>,
    /// The id that is the same for all events that come from one beginning, most often the first one's.
    pub correlation_id: Option<String>,
    /// The id of the event by which this one was caused.
    pub causation_id: Option<String>,
    /// The media type of the data.
    pub content_type: Option<String>,
}

impl Envelope {
    /// That of an event of type `E` with this id, which happened at this time.
    pub fn of<E: Event>(id: impl Into<String>, time: SystemTime) -> Self {
        Self {
            id: id.into(),
            event_type: E::TYPE.to_owned(),
            source: E::SOURCE.to_owned(),
            time: Some(time),
            version: Some(E::VERSION),
            correlation_id: None,
            causation_id: None,
            content_type: Some(E::Codec::CONTENT_TYPE.to_owned()),
        }
    }

    /// That of an event of type `E` which happens now, with an id of its own. In tests whose time is
    /// paused (`tokio::time::pause`) it moves with that.
    #[must_use]
    pub fn now<E: Event>() -> Self {
        let time = clock::wall();
        Self::of::<E>(new_id(time), time)
    }

    /// Reads that of a record; `None` if the record is no CloudEvent.
    ///
    /// # Errors
    /// [`Undecodable::Envelope`]: an attribute that CloudEvents asks for is missing, or one is not what it should be.
    pub fn read(message: &Message) -> Result<Option<Self>, Undecodable> {
        let attributes = Attributes::of(message)?;
        if !attributes.claim_to_be_an_event() {
            return Ok(None);
        }
        let version = attributes.version()?;
        let time = attributes.time.as_deref().map(|text| {
            rfc3339::parse(text).ok_or_else(|| broken(format!("its time {text:?} is not one of RFC 3339")))
        });
        Ok(Some(Self {
            time: time.transpose()?,
            version,
            id: required("id", attributes.id)?,
            event_type: required("type", attributes.event_type)?,
            source: required("source", attributes.source)?,
            correlation_id: attributes.correlation_id.map(Cow::into_owned),
            causation_id: attributes.causation_id.map(Cow::into_owned),
            content_type: attributes.content_type.map(Cow::into_owned),
        }))
    }

    /// Adds the headers of binary mode.
    pub(crate) fn write(self, mut outgoing: Outgoing) -> Outgoing {
        let mut add = |name: &'static str, value: Option<Bytes>| {
            if value.is_some() {
                outgoing.add_header(Cow::Borrowed(name), value);
            }
        };
        add("ce_specversion", Some(Bytes::from_static(b"1.0")));
        add(ID, Some(self.id.into()));
        add("ce_type", Some(self.event_type.into()));
        add("ce_source", Some(self.source.into()));
        add("ce_time", self.time.map(|time| rfc3339::micros(time).into()));
        add("ce_dataversion", self.version.map(|version| version.to_string().into()));
        add(CORRELATION_ID, self.correlation_id.map(Bytes::from));
        add(CAUSATION_ID, self.causation_id.map(Bytes::from));
        add("content-type", self.content_type.map(Bytes::from));
        outgoing
    }
}

fn required(name: &str, value: Option<Cow<'_, str>>) -> Result<String, Undecodable> {
    let value = value.filter(|value| !value.is_empty());
    value.map(Cow::into_owned).ok_or_else(|| broken(format!("it has no {name}")))
}

/// An id of an event that happened then: a UUID of version 7, so that ids sort by time.
fn new_id(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Uuid::new_v7(Timestamp::from_unix(NoContext, since.as_secs(), since.subsec_nanos())).to_string()
}

/// Says of the events among what a handler publishes that `cause` led to them: its id becomes their `ce_causationid`,
/// its correlation id (or, if it is the first of all, its id) their `ce_correlationid`, unless they say something
/// else.
pub(crate) fn caused_by(published: &mut [Outgoing], cause: &Attributes<'_>) {
    let causation = cause.id.as_ref();
    let correlation = cause.correlation_id.as_ref().or(causation);
    for outgoing in published.iter_mut().filter(|outgoing| outgoing.is_event()) {
        for (name, value) in [(CORRELATION_ID, correlation), (CAUSATION_ID, causation)] {
            if let (Some(value), None) = (value, outgoing.header_named(name)) {
                outgoing.add_header(Cow::Borrowed(name), Some(value.clone().into_owned().into()));
            }
        }
    }
}

impl<S: Sync> Extract<S> for Envelope {
    type Rejection = Undecodable;

    fn extract(delivery: &Delivery, _: &S) -> impl Future<Output = Result<Self, Undecodable>> + Send {
        let none = || broken("it has no attributes of one".to_owned());
        future::ready(Self::read(delivery.message()).and_then(|read| read.ok_or_else(none)))
    }
}

impl<S: Sync> Extract<S> for Option<Envelope> {
    type Rejection = Undecodable;

    fn extract(delivery: &Delivery, _: &S) -> impl Future<Output = Result<Self, Undecodable>> + Send {
        future::ready(Envelope::read(delivery.message()))
    }
}

#[cfg(test)]
mod tests;
