//! Builds one fetch request.

use std::collections::HashMap;

use super::{
    cursor::Cursor,
    session::{Asked, Session},
    types::Settings,
};
use crate::{
    types::{TopicName, TopicPartition},
    wire::{
        messages::{FetchRequest, fetch_request::FetchTopic},
        str::Str,
    },
};

/// A request that grows partition by partition, in the order in which the broker shall serve them.
#[derive(Debug)]
pub(super) struct Builder<'a> {
    settings: &'a Settings,
    session: &'a mut Session,
    topics: Vec<FetchTopic>,
    places: HashMap<TopicName, usize>,
    /// The most bytes that one of the partitions needs for a single batch.
    largest: usize,
}

impl<'a> Builder<'a> {
    /// `by_id`: all topics have one.
    pub(super) fn new(settings: &'a Settings, session: &'a mut Session, by_id: bool) -> Self {
        session.begin(by_id);
        Self::again(settings, session)
    }

    /// The last request once more, whose partitions the session still has.
    pub(super) fn again(settings: &'a Settings, session: &'a mut Session) -> Self {
        Self { settings, session, topics: Vec::new(), places: HashMap::new(), largest: 0 }
    }

    /// Whether no partition needs more bytes than the others.
    pub(super) fn is_even(&self) -> bool {
        self.largest == 0
    }

    /// Whether there is nothing to read.
    pub(super) fn is_empty(&self) -> bool {
        self.session.wanted() == 0
    }

    /// Reads a partition from `offset` on; the request says so only if the broker does not know it yet.
    pub(super) fn add(&mut self, partition: &TopicPartition, cursor: &Cursor, offset: i64) {
        let Some(leader) = cursor.leader else { return };
        if cursor.max_bytes > self.settings.partition_max_bytes {
            self.largest = self.largest.max(cursor.max_bytes);
        }
        let asked = Asked {
            offset,
            max_bytes: wire_bytes(cursor.max_bytes),
            leader_epoch: leader.wire_epoch(),
            last_fetched_epoch: cursor.lineage.last_epoch(),
        };
        if !self.session.wants(leader.topic_id, partition, asked) {
            return;
        }
        let place = *self.places.entry(partition.topic.clone()).or_insert(self.topics.len());
        if place == self.topics.len() {
            self.topics.push(FetchTopic {
                topic: Str::from(&partition.topic),
                topic_id: leader.topic_id,
                ..FetchTopic::default()
            });
        }
        if let Some(topic) = self.topics.get_mut(place) {
            topic.partitions.push(asked.of(partition.partition));
        }
    }

    /// `max_bytes` bounds the whole response; a single batch that is larger comes all the same.
    pub(super) fn build(self, max_bytes: usize, max_wait_ms: i32) -> FetchRequest {
        let settings = self.settings;
        let forgotten_topics_data = self.session.forget();
        let (session_id, session_epoch) = self.session.stamp();
        FetchRequest {
            replica_id: -1,
            max_wait_ms,
            min_bytes: settings.min_bytes,
            max_bytes: wire_bytes(max_bytes.max(self.largest)),
            isolation_level: i8::from(settings.read_committed),
            session_id,
            session_epoch,
            topics: self.topics,
            rack_id: settings.rack.clone(),
            forgotten_topics_data,
            ..FetchRequest::default()
        }
    }
}

fn wire_bytes(bytes: usize) -> i32 {
    i32::try_from(bytes).unwrap_or(i32::MAX)
}
