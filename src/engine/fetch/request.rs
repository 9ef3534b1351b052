//! Builds one fetch request.

use std::collections::HashMap;

use super::{cursor::Cursor, types::Settings};
use crate::{
    types::{TopicName, TopicPartition},
    wire::{
        messages::{
            FetchRequest,
            fetch_request::{FetchPartition, FetchTopic},
        },
        str::Str,
        uuid::Uuid,
    },
};

/// The newest version that names topics; later ones know their ids only.
const BY_NAME: i16 = 12;
/// The session epoch of a request that belongs to no session and asks for none (KIP-227).
const NO_SESSION: i32 = -1;

/// A request that grows partition by partition, in the order in which the broker shall serve them.
#[derive(Debug, Default)]
pub(super) struct Builder {
    topics: Vec<FetchTopic>,
    places: HashMap<TopicName, usize>,
    without_id: bool,
    /// The most bytes that one of the partitions needs.
    largest: usize,
}

/// A request that is ready to go.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) request: FetchRequest,
    pub(super) max_version: Option<i16>,
    /// By which the answer is read.
    pub(super) names: HashMap<Uuid, TopicName>,
}

impl Builder {
    pub(super) fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// Asks for `offset` of a partition, and for `max_bytes` at most.
    pub(super) fn add(&mut self, partition: &TopicPartition, cursor: &Cursor, offset: i64, max_bytes: usize) {
        let Some(leader) = cursor.leader else { return };
        self.largest = self.largest.max(max_bytes);
        self.without_id |= leader.topic_id.is_zero();
        let asked = FetchPartition {
            partition: partition.partition.0,
            current_leader_epoch: leader.wire_epoch(),
            fetch_offset: offset,
            partition_max_bytes: wire_bytes(max_bytes),
            ..FetchPartition::default()
        };
        let place = *self.places.entry(partition.topic.clone()).or_insert(self.topics.len());
        if place == self.topics.len() {
            self.topics.push(FetchTopic {
                topic: Str::from(&partition.topic),
                topic_id: leader.topic_id,
                ..FetchTopic::default()
            });
        }
        if let Some(topic) = self.topics.get_mut(place) {
            topic.partitions.push(asked);
        }
    }

    /// `max_bytes` bounds the whole response; a single batch that is larger comes all the same.
    pub(super) fn build(self, settings: &Settings, max_bytes: usize, max_wait_ms: i32) -> Built {
        let topics = &self.topics;
        let names = self
            .places
            .into_iter()
            .filter_map(|(name, place)| Some((topics.get(place)?.topic_id, name)))
            .collect();
        let request = FetchRequest {
            replica_id: -1,
            max_wait_ms,
            min_bytes: settings.min_bytes,
            max_bytes: wire_bytes(max_bytes.max(self.largest)),
            isolation_level: i8::from(settings.read_committed),
            session_epoch: NO_SESSION,
            topics: self.topics,
            ..FetchRequest::default()
        };
        Built { request, max_version: self.without_id.then_some(BY_NAME), names }
    }
}

fn wire_bytes(bytes: usize) -> i32 {
    i32::try_from(bytes).unwrap_or(i32::MAX)
}
