//! What members and their leader tell each other through the coordinator, which does not look into it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::assignor::GroupMember;
use crate::{
    types::{TopicName, TopicPartition},
    wire::{
        codec::{Decode, DecodeError, Encode, Reader, Writer},
        messages::{
            ConsumerProtocolAssignment, ConsumerProtocolSubscription, consumer_protocol_assignment,
            consumer_protocol_subscription,
        },
        str::Str,
    },
};

/// The newest version of the consumer protocol. Older readers skip what they do not know at the end.
const NEWEST: i16 = 3;
/// Assignments have said the same since the first version.
const ASSIGNMENT: i16 = 0;

/// What a member says of itself when it joins.
#[derive(Clone, Debug)]
pub(crate) struct Subscription<'a> {
    pub(crate) topics: &'a BTreeSet<TopicName>,
    pub(crate) user_data: Bytes,
    /// What it goes on reading, as a member of a cooperative group, and since which generation (KIP-429, KIP-792).
    pub(crate) owned: &'a [TopicPartition],
    pub(crate) generation: i32,
    /// Where it stands (KIP-881).
    pub(crate) rack: Option<&'a Str>,
}

impl Subscription<'_> {
    pub(crate) fn encode(self) -> Bytes {
        let owned = by_topic(self.owned).into_iter().map(|(topic, partitions)| {
            consumer_protocol_subscription::TopicPartition { topic: topic.into(), partitions }
        });
        let message = ConsumerProtocolSubscription {
            topics: self.topics.iter().map(Str::from).collect(),
            user_data: (!self.user_data.is_empty()).then_some(self.user_data),
            owned_partitions: owned.collect(),
            generation_id: self.generation,
            rack_id: self.rack.cloned(),
        };
        encode(&message, NEWEST)
    }
}

/// Reads what a member has said. Partitions with numbers below 0 do not exist, so nobody owns them.
pub(crate) fn read_subscription(
    id: Str,
    instance_id: Option<Str>,
    bytes: Bytes,
) -> Result<GroupMember, DecodeError> {
    let message: ConsumerProtocolSubscription = decode(bytes)?;
    let owned = message.owned_partitions.into_iter().flat_map(|topic| {
        let name = TopicName::from(topic.topic);
        topic.partitions.into_iter().map(move |partition| TopicPartition::new(&name, partition))
    });
    Ok(GroupMember {
        id,
        instance_id,
        topics: message.topics.into_iter().map(TopicName::from).collect(),
        owned: owned.filter(|partition| partition.partition.0 >= 0).collect(),
        generation: message.generation_id,
        rack: message.rack_id,
        user_data: message.user_data.unwrap_or_default(),
    })
}

/// What the leader tells a member.
pub(crate) fn assignment(partitions: &[TopicPartition]) -> Bytes {
    let topics = by_topic(partitions).into_iter().map(|(topic, partitions)| {
        consumer_protocol_assignment::TopicPartition { topic: topic.into(), partitions }
    });
    let message = ConsumerProtocolAssignment {
        assigned_partitions: topics.collect(),
        ..ConsumerProtocolAssignment::default()
    };
    encode(&message, ASSIGNMENT)
}

/// Reads what the leader has told, sorted and each partition once. No bytes mean no partition.
pub(crate) fn read_assignment(bytes: Bytes) -> Result<Vec<TopicPartition>, DecodeError> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let message: ConsumerProtocolAssignment = decode(bytes)?;
    let mut assigned = BTreeSet::new();
    for topic in message.assigned_partitions {
        let name = TopicName::from(topic.topic);
        assigned.extend(topic.partitions.iter().map(|partition| TopicPartition::new(&name, *partition)));
    }
    Ok(assigned.into_iter().collect())
}

/// Partitions as messages have them.
pub(super) fn by_topic(partitions: &[TopicPartition]) -> BTreeMap<&TopicName, Vec<i32>> {
    let mut topics: BTreeMap<&TopicName, Vec<i32>> = BTreeMap::new();
    for partition in partitions {
        topics.entry(&partition.topic).or_default().push(partition.partition.0);
    }
    topics
}

/// Encodes with the version in front. These messages have no field that can fail to be encoded.
fn encode(message: &impl Encode, version: i16) -> Bytes {
    let mut writer = Writer::new();
    writer.i16(version);
    let encoded = message.encode(&mut writer, version);
    debug_assert!(encoded.is_ok(), "{encoded:?}");
    writer.finish().into_bytes()
}

/// Decodes by the version in front; one newer than ours only adds what we do not read.
fn decode<T: Decode>(bytes: Bytes) -> Result<T, DecodeError> {
    let mut reader = Reader::new(bytes);
    let version = reader.i16("version")?;
    T::decode(&mut reader, version.min(NEWEST))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let topics: BTreeSet<TopicName> = ["b".into(), "a".into()].into();
        let partitions =
            [("a", 0), ("a", 2), ("b", 1)].map(|(topic, index)| TopicPartition::new(topic, index));
        let rack = Str::from("r");
        let said = Subscription {
            topics: &topics,
            user_data: Bytes::from_static(b"mine"),
            owned: &partitions,
            generation: 7,
            rack: Some(&rack),
        };
        let read = read_subscription("m".into(), Some("i".into()), said.encode()).unwrap();
        let expected = GroupMember {
            id: "m".into(),
            instance_id: Some("i".into()),
            topics,
            owned: partitions.to_vec(),
            generation: 7,
            rack: Some(rack),
            user_data: Bytes::from_static(b"mine"),
        };
        assert_eq!(read, expected);
        assert_eq!(read_assignment(assignment(&partitions)).unwrap(), partitions);
        assert_eq!(read_assignment(Bytes::new()).unwrap(), []);
        assert!(read_assignment(Bytes::from_static(&[0, 1, 255])).is_err());
    }
}
