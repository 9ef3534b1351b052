//! What a Produce request carries, by topic.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::lane::Lane;
use crate::{
    types::TopicName,
    wire::{
        messages::produce_request::{PartitionProduceData, TopicProduceData},
        uuid::Uuid,
    },
};

/// The batches of a request, put together by topic.
#[derive(Debug, Default)]
pub(super) struct Body {
    pub(super) topics: Vec<TopicProduceData>,
    /// The places of all topics but the first, which mostly is the only one.
    places: BTreeMap<TopicName, usize>,
}

impl Body {
    pub(super) fn add(&mut self, lane: &Lane, records: Bytes) {
        let topics = &mut self.topics;
        let name = &lane.queue.topic;
        let is_first = topics.first().is_none_or(|first| *first.name == *name.as_str());
        let at = if is_first { 0 } else { *self.places.entry(name.clone()).or_insert(topics.len()) };
        if at == topics.len() {
            topics.push(TopicProduceData {
                name: name.as_str().into(),
                topic_id: lane.topic_id.unwrap_or(Uuid::ZERO),
                ..TopicProduceData::default()
            });
        }
        if let Some(topic) = topics.get_mut(at) {
            topic.partition_data.push(PartitionProduceData {
                index: lane.queue.partition.0,
                records: Some(records),
                ..PartitionProduceData::default()
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        engine::produce::{
            gate::Gate,
            queue::{LaneId, PartitionQueue},
            spares::Spares,
        },
        types::Partition,
    };

    #[test]
    fn each_topic_stands_once_with_all_its_partitions() {
        let (spares, gate) = (Arc::new(Spares::new(0)), Arc::new(Gate::open()));
        let mut body = Body::default();
        for (topic, index) in [("b", 0), ("a", 0), ("b", 1), ("c", 7), ("a", 2), ("c", 1)] {
            let (spares, gate) = (Arc::clone(&spares), Arc::clone(&gate));
            let queue = PartitionQueue::new(LaneId(0), topic.into(), Partition(index), spares, gate);
            body.add(&Lane::new(Arc::new(queue)), Bytes::new());
        }
        let partitions = |topic: &TopicProduceData| {
            let indexes = topic.partition_data.iter().map(|partition| partition.index).collect::<Vec<_>>();
            (topic.name.to_string(), indexes)
        };
        let found: Vec<_> = body.topics.iter().map(partitions).collect();
        let expected = [("b", vec![0, 1]), ("a", vec![0, 2]), ("c", vec![7, 1])];
        assert_eq!(found, expected.map(|(topic, indexes)| (topic.to_owned(), indexes)));
    }
}
