//! The argument of handlers that is an event.

use std::future::{self, Future};

use milena::Message;

use crate::{
    delivery::Delivery,
    envelope::{Attributes, Data, broken},
    event::{Codec, Event},
    extract::Extract,
    handler_error::HandlerError,
    newer::NewerVersion,
    undecodable::Undecodable,
};

/// The event in the record, brought up to its current version. A record without a value is rejected; `Option<Ev<E>>`
/// takes it for `None`.
///
/// The record's attributes of CloudEvents count, in binary or in structured mode: an event of another type is rejected,
/// one of an older version is [brought up](Event::upcast), and what becomes of a newer one is said by
/// [`Route::on_newer`](crate::Route::on_newer). A record without such attributes is taken for an event of the current
/// version. What cannot be decoded is dead-lettered; see [`Undecodable`].
#[derive(Clone, Copy, Debug)]
pub struct Ev<E>(pub E);

impl<S: Sync, E: Event> Extract<S> for Ev<E> {
    type Rejection = HandlerError;

    fn extract(delivery: &Delivery, _: &S) -> impl Future<Output = Result<Self, HandlerError>> + Send {
        future::ready(extract(delivery).and_then(|event| Ok(Self(event.ok_or(Undecodable::NoValue)?))))
    }
}

impl<S: Sync, E: Event> Extract<S> for Option<Ev<E>> {
    type Rejection = HandlerError;

    fn extract(delivery: &Delivery, _: &S) -> impl Future<Output = Result<Self, HandlerError>> + Send {
        future::ready(extract(delivery).map(|event| event.map(Ev)))
    }
}

fn extract<E: Event>(delivery: &Delivery) -> Result<Option<E>, HandlerError> {
    read(delivery.message()).map_err(|undecodable| match undecodable {
        Undecodable::Newer(newer) => delivery.newer().judge(newer),
        other => other.into(),
    })
}

/// Reads the event of a record; `None` for a tombstone.
pub(crate) fn read<E: Event>(message: &Message) -> Result<Option<E>, Undecodable> {
    let attributes = Attributes::of(message)?;
    if let Some(found) = attributes.event_type.as_deref().filter(|found| *found != E::TYPE) {
        return Err(Undecodable::EventType { expected: E::TYPE, found: found.to_owned() });
    }
    let version = attributes.version()?.unwrap_or(E::VERSION);
    let bytes = match attributes.data {
        Data::Bytes(bytes) => bytes,
        Data::Tombstone => return Ok(None),
        Data::Missing => return Err(broken("it is in structured mode and has no data")),
    };
    if version > E::VERSION {
        return Err(NewerVersion { event_type: E::TYPE, found: version, known: E::VERSION }.into());
    }
    E::Codec::decode(version, &bytes).map(Some).map_err(|error| error.undecodable::<E>(version))
}

#[cfg(test)]
mod tests;
