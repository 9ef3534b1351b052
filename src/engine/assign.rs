//! Who reads what: the subscriptions and assignments of the classic protocol, and the range assignor.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};

use bytes::Bytes;

use crate::{
    types::{Partition, TopicName, TopicPartition},
    wire::{
        codec::{Decode, DecodeError, Encode, Reader, Writer},
        messages::{ConsumerProtocolAssignment, ConsumerProtocolSubscription, consumer_protocol_assignment},
        str::Str,
    },
};

/// The newest version of the consumer protocol. Older readers skip what they do not know at the end.
const NEWEST: i16 = 3;
/// Assignments have said the same since the first version.
const ASSIGNMENT: i16 = 0;

/// A member of a group, as its leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) id: Str,
    /// The name of a static member (KIP-345).
    pub(crate) instance_id: Option<Str>,
    pub(crate) topics: BTreeSet<TopicName>,
}

/// What each member gets, by member id.
pub(crate) type Plan = BTreeMap<Str, Vec<TopicPartition>>;

/// What a member says when it joins: the topics that it wants to read.
pub(crate) fn subscription(topics: &BTreeSet<TopicName>) -> Bytes {
    let message = ConsumerProtocolSubscription {
        topics: topics.iter().map(Str::from).collect(),
        ..ConsumerProtocolSubscription::default()
    };
    encode(&message, NEWEST)
}

/// Reads what a member has said.
pub(crate) fn read_subscription(bytes: Bytes) -> Result<BTreeSet<TopicName>, DecodeError> {
    let message: ConsumerProtocolSubscription = decode(bytes)?;
    Ok(message.topics.into_iter().map(TopicName::from).collect())
}

/// What the leader tells a member.
pub(crate) fn assignment(partitions: &[TopicPartition]) -> Bytes {
    let mut by_topic: BTreeMap<&TopicName, Vec<i32>> = BTreeMap::new();
    for partition in partitions {
        by_topic.entry(&partition.topic).or_default().push(partition.partition.0);
    }
    let topics = by_topic.into_iter().map(|(topic, partitions)| {
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

/// The range assignor, as Java has it: topic by topic, members in the order of their instance ids (those without
/// come after, in the order of their member ids) get consecutive runs of partitions; the first ones get one more
/// where they do not divide evenly.
pub(crate) fn range(members: &[Member], partitions: &BTreeMap<TopicName, u32>) -> Plan {
    let mut order: Vec<&Member> = members.iter().collect();
    order.sort_by(|a, b| compare(a, b));
    let mut plan: Plan = order.iter().map(|member| (member.id.clone(), Vec::new())).collect();
    for (topic, count) in partitions {
        let readers: Vec<&Member> =
            order.iter().copied().filter(|member| member.topics.contains(topic)).collect();
        let all = i32::try_from(*count).unwrap_or(i32::MAX);
        let among = i32::try_from(readers.len()).unwrap_or(i32::MAX);
        let (Some(each), Some(extra)) = (all.checked_div(among), all.checked_rem(among)) else { continue };
        let mut first = 0;
        for (place, member) in (0..).zip(readers) {
            let end = first + each + i32::from(place < extra);
            let run = (first..end).map(|index| TopicPartition::new(topic, Partition(index)));
            plan.entry(member.id.clone()).or_default().extend(run);
            first = end;
        }
    }
    plan
}

fn compare(a: &Member, b: &Member) -> Ordering {
    match (&a.instance_id, &b.instance_id) {
        (Some(a), Some(b)) => a.cmp(b),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a.id.cmp(&b.id),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;

    fn member(id: &str, instance_id: Option<&str>, topics: &[&str]) -> Member {
        let topics = topics.iter().map(|topic| TopicName::from(*topic)).collect();
        Member { id: id.into(), instance_id: instance_id.map(Str::from), topics }
    }

    fn shares(plan: &Plan) -> Vec<(String, String)> {
        let names = |partitions: &[TopicPartition]| {
            partitions.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        plan.iter().map(|(member, partitions)| (member.to_string(), names(partitions))).collect()
    }

    #[test]
    fn the_first_members_get_one_more() {
        let members = [member("b", None, &["t", "u"]), member("a", None, &["t"]), member("c", None, &["t"])];
        let plan = range(&members, &[("t".into(), 7), ("u".into(), 2)].into());
        let expected = [("a", "t-0 t-1 t-2"), ("b", "t-3 t-4 u-0 u-1"), ("c", "t-5 t-6")];
        assert_eq!(shares(&plan), expected.map(|(member, share)| (member.into(), share.into())));
    }

    #[test]
    fn static_members_come_first_in_the_order_of_their_names() {
        let members =
            [member("a", None, &["t"]), member("z", Some("2"), &["t"]), member("y", Some("1"), &["t"])];
        let plan = range(&members, &[("t".into(), 3)].into());
        let expected = [("a", "t-2"), ("y", "t-0"), ("z", "t-1")];
        assert_eq!(shares(&plan), expected.map(|(member, share)| (member.into(), share.into())));
    }

    #[test]
    fn what_is_written_is_read() {
        let topics: BTreeSet<TopicName> = ["b".into(), "a".into()].into();
        assert_eq!(read_subscription(subscription(&topics)).unwrap(), topics);
        let partitions =
            [("a", 0), ("a", 2), ("b", 1)].map(|(topic, index)| TopicPartition::new(topic, index));
        assert_eq!(read_assignment(assignment(&partitions)).unwrap(), partitions);
        assert_eq!(read_assignment(Bytes::new()).unwrap(), []);
        assert!(read_assignment(Bytes::from_static(&[0, 1, 255])).is_err());
    }

    proptest! {
        #[test]
        fn every_partition_has_one_owner_who_wants_it(
            wants in prop::collection::vec(prop::collection::btree_set(0..4_u8, 0..4), 1..6),
            counts in prop::collection::vec(0..20_u32, 4),
        ) {
            let name = |topic: u8| TopicName::from(format!("t{topic}"));
            let members: Vec<Member> = wants.iter().enumerate().map(|(place, topics)| Member {
                id: format!("m{place}").into(),
                instance_id: None,
                topics: topics.iter().map(|topic| name(*topic)).collect(),
            }).collect();
            let partitions = (0..4_u8).zip(&counts).map(|(topic, count)| (name(topic), *count)).collect();
            let plan = range(&members, &partitions);
            let mut seen = BTreeSet::new();
            for member in &members {
                let share = plan.get(&member.id).cloned().unwrap_or_default();
                for partition in share {
                    prop_assert!(member.topics.contains(&partition.topic));
                    prop_assert!(seen.insert(partition));
                }
            }
            for (topic, count) in &partitions {
                let wanted = members.iter().any(|member| member.topics.contains(topic));
                let owned = seen.iter().filter(|partition| partition.topic == *topic).count();
                prop_assert_eq!(owned, if wanted { *count as usize } else { 0 });
            }
        }
    }
}
