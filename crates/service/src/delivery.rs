//! A record, or several, on the way to a handler.

use std::{
    any::{Any, TypeId},
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use milena::{Message, TopicName};
use tokio::sync::watch;

use crate::newer::Newer;

/// A record, or with a [batch handler](crate::batch) several of one partition, on the way to a handler: what
/// [extractors](crate::Extract) read, and what layers see. It is cheap to clone.
#[derive(Clone)]
pub struct Delivery {
    first: Message,
    rest: Arc<[Message]>,
    attempt: u32,
    place: Arc<Place>,
    extensions: Vec<(TypeId, Arc<dyn Any + Send + Sync>)>,
}

/// Where a delivery is handled: the same for all of a route.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) group: String,
    pub(crate) handler: String,
    /// What becomes of events of versions that are not known yet.
    pub(crate) newer: Newer,
    /// Turns true when the service begins to stop.
    pub(crate) stopping: watch::Receiver<bool>,
    /// How many records layers have found to be handled already.
    pub(crate) duplicates: AtomicU64,
}

impl Place {
    pub(crate) const fn new(
        group: String,
        handler: String,
        newer: Newer,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        Self { group, handler, newer, stopping, duplicates: AtomicU64::new(0) }
    }

    #[cfg(test)]
    pub(crate) fn of_tests(group: &str, handler: &str, newer: Newer) -> Self {
        Self::new(group.to_owned(), handler.to_owned(), newer, watch::channel(false).1)
    }
}

impl Delivery {
    pub(crate) fn new(first: Message, rest: Arc<[Message]>, attempt: u32, place: Arc<Place>) -> Self {
        Self { first, rest, attempt, place, extensions: Vec::new() }
    }

    /// The record; of a batch the first.
    #[must_use]
    pub const fn message(&self) -> &Message {
        &self.first
    }

    /// All records, in the order of their offsets.
    pub fn messages(&self) -> impl Iterator<Item = &Message> {
        std::iter::once(&self.first).chain(self.rest.iter())
    }

    /// How many records there are.
    #[must_use]
    pub fn len(&self) -> usize {
        1 + self.rest.len()
    }

    /// `false`: a delivery has at least one record.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &TopicName {
        self.first.topic()
    }

    /// The how manieth try this is, from 1 on. It is counted by this instance, and begins anew with another.
    #[must_use]
    pub const fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The group of the service.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.place.group
    }

    /// The name of the handler.
    #[must_use]
    pub fn handler(&self) -> &str {
        &self.place.handler
    }

    /// Adds a value that [`Ext`](crate::Ext) extracts, in place of an earlier one of its type: what layers have to say to
    /// handlers.
    pub fn insert<T: Send + Sync + 'static>(&mut self, value: T) {
        self.extensions.retain(|(id, _)| *id != TypeId::of::<T>());
        self.extensions.push((TypeId::of::<T>(), Arc::new(value)));
    }

    /// A value that a layer has added.
    #[must_use]
    pub fn extension<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        let (_, value) = self.extensions.iter().find(|(id, _)| *id == TypeId::of::<T>())?;
        Arc::clone(value).downcast().ok()
    }

    /// The same delivery of some of its records; `None` if `keep` keeps none.
    #[must_use]
    pub fn retain(mut self, mut keep: impl FnMut(&Message) -> bool) -> Option<Self> {
        if self.rest.is_empty() {
            return keep(&self.first).then_some(self);
        }
        let mut kept = self.messages().filter(|message| keep(message)).cloned();
        let first = kept.next()?;
        let rest = kept.collect();
        self.first = first;
        self.rest = rest;
        Some(self)
    }

    /// The delivery of each record alone, which is what extractors of batches read.
    pub(crate) fn each(&self) -> impl Iterator<Item = Self> {
        self.messages().map(|message| Self {
            first: message.clone(),
            rest: Arc::default(),
            attempt: self.attempt,
            place: Arc::clone(&self.place),
            extensions: self.extensions.clone(),
        })
    }

    /// Some of its records were handled already.
    pub(crate) fn count_duplicates(&self, records: u64) {
        self.place.duplicates.fetch_add(records, Ordering::Relaxed);
    }

    pub(crate) fn newer(&self) -> Newer {
        self.place.newer
    }

    pub(crate) fn stopping(&self) -> watch::Receiver<bool> {
        self.place.stopping.clone()
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("first", &self.first)
            .field("records", &self.len())
            .field("attempt", &self.attempt)
            .field("handler", &self.place.handler)
            .finish_non_exhaustive()
    }
}
