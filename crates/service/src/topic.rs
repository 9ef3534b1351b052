//! Topics that know what their events are.

use std::{borrow::Cow, fmt, marker::PhantomData};

use milena::{Message, TopicName};

use crate::{
    envelope::Envelope,
    ev,
    event::{Codec, Event},
    handler_error::HandlerError,
    outcome::{IntoOutcome, Outcome},
    outgoing::Outgoing,
    undecodable::Undecodable,
};

/// A topic with events of type `E`: a value, most often a constant, that gives a [`Router`](crate::Router) the topic's
/// name and publishes nothing else there. The same type of event can live in several topics.
///
/// ```
/// use milena_service::{Emit, Ev, Event, JsonCodec, Router, Topic};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct UserCreated { user_id: u64 }
///
/// impl Event for UserCreated {
///     const TYPE: &'static str = "user.created";
///     type Codec = JsonCodec;
/// }
///
/// #[derive(Serialize, Deserialize)]
/// struct WelcomeQueued { user_id: u64 }
///
/// impl Event for WelcomeQueued {
///     const TYPE: &'static str = "welcome.queued";
///     type Codec = JsonCodec;
/// }
///
/// const USERS: Topic<UserCreated> = Topic::new("user.created");
/// const WELCOME: Topic<WelcomeQueued> = Topic::new("welcome.queued");
///
/// async fn on_user(Ev(user): Ev<UserCreated>) -> Emit<WelcomeQueued> {
///     Emit(WELCOME, WelcomeQueued { user_id: user.user_id })
/// }
///
/// let router: Router = Router::new().topic(USERS, on_user);
/// ```
pub struct Topic<E> {
    name: Cow<'static, str>,
    event: PhantomData<fn() -> E>,
}

impl<E: Event> Topic<E> {
    /// The topic of this name. One whose name is known only when the program runs is made by [`From<String>`].
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        const {
            assert!(!E::TYPE.is_empty(), "the type of an event must not be empty");
            assert!(E::VERSION > 0, "versions of events are counted from 1 on");
        }
        Self { name: Cow::Borrowed(name), event: PhantomData }
    }

    /// An event as it is published in this topic, with the event's key: it happens now, and has an id of its own.
    ///
    /// If a handler returns it, its id is made anew, of the group, the handler, the record that was handled (the id and
    /// source of its event, or else its place and timestamp), this topic, the type and the key of the event, and how
    /// many such the handler has returned in front of it. So a record that is handled again, because an instance died
    /// before its offset was committed, leads to events of the same ids, and who reads them can tell
    /// ([`Dedup`](crate::Dedup)). Of a [batch](crate::batch) of several records nothing follows, since it is another one
    /// when it comes again.
    ///
    /// # Errors
    /// The event cannot be encoded: a failure of the kind `encode`, which is dead-lettered.
    pub fn outgoing(&self, event: &E) -> Result<Outgoing, HandlerError> {
        Ok(self.outgoing_with(Envelope::now::<E>(), event)?.with_fresh_id())
    }

    /// An event with id, time, source, correlation and causation of this envelope, whoever publishes it. The type, the
    /// version and the media type are `E`'s.
    ///
    /// ```
    /// # use milena_service::{Event, JsonCodec, Topic};
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct UserCreated { user_id: u64 }
    /// # impl Event for UserCreated { const TYPE: &'static str = "user.created"; type Codec = JsonCodec; }
    /// use milena_service::Envelope;
    ///
    /// const USERS: Topic<UserCreated> = Topic::new("user.created");
    ///
    /// let mut envelope = Envelope::now::<UserCreated>();
    /// envelope.correlation_id = Some("request-17".to_owned());
    /// let record = USERS.outgoing_with(envelope, &UserCreated { user_id: 7 }).unwrap();
    /// assert_eq!(record.header_named("ce_correlationid"), Some(Some(&b"request-17"[..])));
    /// ```
    ///
    /// # Errors
    /// As [`outgoing`](Self::outgoing).
    pub fn outgoing_with(&self, envelope: Envelope, event: &E) -> Result<Outgoing, HandlerError> {
        let value = E::Codec::encode(event)
            .map_err(|error| HandlerError::dead_letter(error.into_inner()).kind("encode"))?;
        let mut outgoing = Outgoing::new(self, value);
        if let Some(key) = event.key() {
            outgoing = outgoing.key(key);
        }
        let envelope = Envelope {
            event_type: E::TYPE.to_owned(),
            version: Some(E::VERSION),
            content_type: Some(E::Codec::CONTENT_TYPE.to_owned()),
            ..envelope
        };
        Ok(envelope.write(outgoing))
    }

    /// Reads the event of a record, from whatever topic it is, as [`Ev`](crate::Ev) does; `None` for a tombstone.
    ///
    /// # Errors
    /// The record is no event of this type, or one that cannot be read.
    pub fn read(&self, message: &Message) -> Result<Option<E>, Undecodable> {
        ev::read(message)
    }
}

impl<E> Topic<E> {
    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl<E: Event> From<String> for Topic<E> {
    fn from(name: String) -> Self {
        Self { name: Cow::Owned(name), ..Self::new("") }
    }
}

impl<E> From<Topic<E>> for TopicName {
    fn from(topic: Topic<E>) -> Self {
        Self::from(topic.name())
    }
}

impl<E> From<&Topic<E>> for TopicName {
    fn from(topic: &Topic<E>) -> Self {
        Self::from(topic.name())
    }
}

impl<E> Clone for Topic<E> {
    fn clone(&self) -> Self {
        Self { name: self.name.clone(), event: PhantomData }
    }
}

impl<E> fmt::Debug for Topic<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Topic").field(&self.name).finish()
    }
}

/// An event to publish, and where: what handlers return. Several are returned as a pair, or as a `Vec`.
///
/// An event that cannot be encoded dead-letters the record that led to it, as a failure of the kind `encode`.
#[derive(Clone, Debug)]
pub struct Emit<E>(pub Topic<E>, pub E);

impl<E: Event> IntoOutcome for Emit<E> {
    fn into_outcome(self) -> Outcome {
        self.0.outgoing(&self.1).into_outcome()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

    use std::time::{Duration, SystemTime};

    use bytes::Bytes;
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::event::JsonCodec;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Moved {
        id: u64,
        #[serde(serialize_with = "finite")]
        by: f64,
    }

    fn finite<S: serde::Serializer>(by: &f64, to: S) -> Result<S::Ok, S::Error> {
        match by.is_finite() {
            true => to.serialize_f64(*by),
            false => Err(serde::ser::Error::custom("not finite")),
        }
    }

    impl Event for Moved {
        const TYPE: &'static str = "moved";
        const VERSION: u32 = 4;
        const SOURCE: &'static str = "/map";
        type Codec = JsonCodec;

        fn key(&self) -> Option<Bytes> {
            Some(self.id.to_string().into())
        }
    }

    const MOVES: Topic<Moved> = Topic::new("moves");

    fn text<'a>(outgoing: &'a Outgoing, header: &str) -> &'a str {
        std::str::from_utf8(outgoing.header_named(header).flatten().unwrap_or_default()).unwrap()
    }

    #[test]
    fn an_event_is_published_with_its_key_and_envelope() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
        let event = Moved { id: 7, by: 0.5 };
        let outgoing = MOVES.outgoing_with(Envelope::of::<Moved>("e-1", time), &event).unwrap();
        assert_eq!((&**outgoing.topic(), outgoing.key_bytes()), ("moves", Some(&b"7"[..])));
        assert_eq!(outgoing.value_bytes(), Some(&br#"{"id":7,"by":0.5}"#[..]));
        let headers: Vec<_> = outgoing.headers().collect();
        let texts: Vec<_> = headers
            .iter()
            .map(|(name, value)| (*name, std::str::from_utf8(value.unwrap()).unwrap()))
            .collect();
        let expected = [
            ("ce_specversion", "1.0"),
            ("ce_id", "e-1"),
            ("ce_type", "moved"),
            ("ce_source", "/map"),
            ("ce_time", "2026-09-21T14:13:20.000000Z"),
            ("ce_dataversion", "4"),
            ("content-type", "application/json"),
        ];
        assert_eq!(texts, expected);
        let message = Message::from_record(&outgoing.record(&headers), 0);
        assert_eq!(MOVES.read(&message).unwrap(), Some(event));
    }

    #[test]
    fn each_event_has_an_id_of_its_own_that_sorts_by_time() {
        let ids = [(); 2].map(|()| {
            let outgoing = MOVES.outgoing(&Moved { id: 7, by: 0.5 }).unwrap();
            uuid::Uuid::parse_str(text(&outgoing, "ce_id")).unwrap()
        });
        assert_ne!(ids[0], ids[1]);
        assert_eq!(ids[0].get_version_num(), 7);
    }

    #[test]
    fn type_and_version_are_those_of_the_event_whatever_the_envelope_says() {
        let mut envelope = Envelope::now::<Moved>();
        (envelope.event_type, envelope.version) = ("other".to_owned(), None);
        envelope.causation_id = Some("c".to_owned());
        let outgoing = MOVES.outgoing_with(envelope, &Moved { id: 7, by: 0.5 }).unwrap();
        assert_eq!((text(&outgoing, "ce_type"), text(&outgoing, "ce_dataversion")), ("moved", "4"));
        assert_eq!(text(&outgoing, "ce_causationid"), "c");
    }

    #[test]
    fn what_is_emitted_is_published_and_what_cannot_be_encoded_is_a_dead_letter() {
        let emit = |by| Emit(MOVES, Moved { id: 7, by });
        let Outcome::Ack(published) = (emit(0.5), vec![emit(1.5), emit(2.5)]).into_outcome() else {
            panic!("no ack")
        };
        assert_eq!(published.outgoing().len(), 3);
        let Outcome::DeadLetter(failure) = emit(f64::NAN).into_outcome() else { panic!("no dead letter") };
        assert_eq!((failure.kind(), failure.to_string().as_str()), ("encode", "not finite"));
    }

    #[test]
    fn a_topic_is_named_when_compiled_or_when_run() {
        let later: Topic<Moved> = Topic::from(format!("{}.eu", MOVES.name()));
        assert_eq!((later.name(), &*TopicName::from(&later)), ("moves.eu", "moves.eu"));
        assert_eq!(format!("{later:?}"), r#"Topic("moves.eu")"#);
    }
}
