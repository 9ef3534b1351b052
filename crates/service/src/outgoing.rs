//! A record that is to be published.

use std::borrow::Cow;

use bytes::Bytes;
use milena::{Header, Partition, Record, TopicName};
use serde::Serialize;

use crate::{handler_error::HandlerError, headers::ID};

/// A record that is to be published: what a handler returns, or what a [`Publisher`](crate::Publisher) is given. It owns
/// its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    topic: TopicName,
    partition: Option<Partition>,
    key: Option<Bytes>,
    value: Option<Bytes>,
    headers: Vec<(Cow<'static, str>, Option<Bytes>)>,
    /// Whether it is an event whose id was made for want of another.
    has_fresh_id: bool,
}

impl Outgoing {
    /// A record with a value and no key.
    pub fn new(topic: impl Into<TopicName>, value: impl Into<Bytes>) -> Self {
        Self { value: Some(value.into()), ..Self::empty(topic.into()) }
    }

    /// A record with a null value, which deletes `key` on a compacted topic.
    pub fn tombstone(topic: impl Into<TopicName>, key: impl Into<Bytes>) -> Self {
        Self { key: Some(key.into()), ..Self::empty(topic.into()) }
    }

    /// A record whose value is `value` in JSON, with a `content-type` that says so.
    ///
    /// # Errors
    /// A value that JSON has no form for.
    pub fn json(
        topic: impl Into<TopicName>,
        value: &(impl Serialize + ?Sized),
    ) -> Result<Self, HandlerError> {
        let value =
            serde_json::to_vec(value).map_err(|error| HandlerError::dead_letter(error).kind("encode"))?;
        Ok(Self::new(topic, value).header("content-type", "application/json"))
    }

    pub(crate) fn of(topic: TopicName, key: Option<Bytes>, value: Option<Bytes>) -> Self {
        Self { key, value, ..Self::empty(topic) }
    }

    /// With no more than `most` bytes of the value.
    pub(crate) fn with_value_cut(mut self, most: usize) -> Self {
        if let Some(value) = &mut self.value {
            value.truncate(most);
        }
        self
    }

    fn empty(topic: TopicName) -> Self {
        Self { topic, partition: None, key: None, value: None, headers: Vec::new(), has_fresh_id: false }
    }

    /// Sets the key. Records with the same key go to the same partition, and keep their order.
    #[must_use]
    pub fn key(self, key: impl Into<Bytes>) -> Self {
        Self { key: Some(key.into()), ..self }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(self, name: impl Into<Cow<'static, str>>, value: impl Into<Bytes>) -> Self {
        self.header_field(name.into(), Some(value.into()))
    }

    /// Chooses the partition, past the keys.
    #[must_use]
    pub fn partition(self, partition: impl Into<Partition>) -> Self {
        Self { partition: Some(partition.into()), ..self }
    }

    pub(crate) fn header_field(mut self, name: Cow<'static, str>, value: Option<Bytes>) -> Self {
        self.add_header(name, value);
        self
    }

    pub(crate) fn add_header(&mut self, name: Cow<'static, str>, value: Option<Bytes>) {
        self.has_fresh_id &= name != ID;
        self.headers.push((name, value));
    }

    /// Whether it has the id of an event.
    pub(crate) fn is_event(&self) -> bool {
        self.header_named(ID).is_some()
    }

    /// Says that the id of the event in it was made for want of another.
    pub(crate) fn with_fresh_id(self) -> Self {
        Self { has_fresh_id: true, ..self }
    }

    pub(crate) const fn has_fresh_id(&self) -> bool {
        self.has_fresh_id
    }

    /// Puts this id in place of the one that was made.
    pub(crate) fn set_fresh_id(&mut self, id: String) {
        if let Some((_, value)) = self.headers.iter_mut().find(|(name, _)| *name == ID) {
            *value = Some(id.into());
            self.has_fresh_id = false;
        }
    }

    /// The topic.
    #[must_use]
    pub const fn topic(&self) -> &TopicName {
        &self.topic
    }

    /// The key, if there is one.
    #[must_use]
    pub fn key_bytes(&self) -> Option<&[u8]> {
        self.key.as_deref()
    }

    /// The value; `None` for a tombstone.
    #[must_use]
    pub fn value_bytes(&self) -> Option<&[u8]> {
        self.value.as_deref()
    }

    /// The partition that was chosen for it.
    #[must_use]
    pub const fn given_partition(&self) -> Option<Partition> {
        self.partition
    }

    /// The headers, in their order.
    pub fn headers(&self) -> impl Iterator<Item = Header<'_>> {
        self.headers.iter().map(|(name, value)| (&**name, value.as_deref()))
    }

    /// The value of the last header of this name; the outer `None` says that there is none.
    #[must_use]
    pub fn header_named(&self, name: &str) -> Option<Option<&[u8]>> {
        self.headers().filter(|(other, _)| *other == name).last().map(|(_, value)| value)
    }

    /// The record in the client's form, which borrows from this one; `headers` are its [headers](Self::headers).
    pub(crate) fn record<'a>(&'a self, headers: &'a [Header<'a>]) -> Record<'a> {
        let mut record = match &self.value {
            Some(value) => Record::new(&self.topic, value),
            None => Record::empty(&self.topic),
        };
        if let Some(key) = &self.key {
            record = record.key(key);
        }
        if let Some(partition) = self.partition {
            record = record.partition(partition);
        }
        record.headers(headers)
    }
}
