//! What records of a table's topic become.

use bytes::Bytes;
use milena::Message;
use serde::de::DeserializeOwned;

use crate::{event::Event, extract::FromKey, failure::BoxError, topic::Topic, undecodable::Undecodable};

/// Makes entries of the records of a table's topic. The default is [`DecodeJson`]; a [`Topic`] of events, whose newest
/// event of each key is the value, and a pair of functions, one for keys and one for values, are ones too.
///
/// What it makes should own its bytes: a slice of a record, such as [`Message::shared_value`], keeps the whole batch
/// that the record came in, which may be megabytes, for as long as the entry is there.
pub trait Decode<K, V>: Send + Sync + 'static {
    /// The key, also of tombstones.
    ///
    /// # Errors
    /// A key that is missing, or is not what was expected.
    fn key(&self, record: &Message) -> Result<K, BoxError>;

    /// The value of a record that has one.
    ///
    /// # Errors
    /// A value that is not what was expected.
    fn value(&self, record: &Message) -> Result<V, BoxError>;
}

/// Values are JSON; keys are text, numbers or bytes, as [`FromKey`] takes them.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "it has nothing to say")]
pub struct DecodeJson;

impl<K: FromKey, V: DeserializeOwned> Decode<K, V> for DecodeJson {
    fn key(&self, record: &Message) -> Result<K, BoxError> {
        key(record)
    }

    fn value(&self, record: &Message) -> Result<V, BoxError> {
        let value = record.value().ok_or(Undecodable::NoValue)?;
        Ok(serde_json::from_slice(value).map_err(Undecodable::Json)?)
    }
}

/// Values are events, brought up to their current version; keys are text, numbers or bytes, as [`FromKey`] takes them.
impl<K: FromKey, E: Event> Decode<K, E> for Topic<E> {
    fn key(&self, record: &Message) -> Result<K, BoxError> {
        key(record)
    }

    fn value(&self, record: &Message) -> Result<E, BoxError> {
        Ok(self.read(record)?.ok_or(Undecodable::NoValue)?)
    }
}

fn key<K: FromKey>(record: &Message) -> Result<K, BoxError> {
    // A copy, so that the key does not keep its batch.
    Ok(K::from_key(record.key().map(Bytes::copy_from_slice))?)
}

impl<K, V, F, G> Decode<K, V> for (F, G)
where
    F: Fn(&Message) -> Result<K, BoxError> + Send + Sync + 'static,
    G: Fn(&Message) -> Result<V, BoxError> + Send + Sync + 'static,
{
    fn key(&self, record: &Message) -> Result<K, BoxError> {
        self.0(record)
    }

    fn value(&self, record: &Message) -> Result<V, BoxError> {
        self.1(record)
    }
}
