//! The range assignor.

use std::collections::BTreeMap;

use super::assignor::{Assignor, GroupMember, SubscribedTopics};
use crate::types::{TopicName, TopicPartition};

/// Topic by topic, members in order get consecutive runs of partitions, the first ones one more where they do not divide
/// evenly: partitions of the same number of several topics come to the same member. Where members say in which racks they
/// stand, each gets as many, but first those that have a replica there (KIP-881); topics of the same size, with the same
/// readers, are dealt out alike all the same. Java: `RangeAssignor`.
#[derive(Clone, Copy, Debug, Default)]
pub struct RangeAssignor;

impl Assignor for RangeAssignor {
    fn name(&self) -> &'static str {
        "range"
    }

    fn assign(&self, members: &[GroupMember], topics: &SubscribedTopics) -> Vec<Vec<TopicPartition>> {
        let mut order: Vec<usize> = (0..members.len()).collect();
        order.sort_by(|a, b| members[*a].compare(&members[*b]));
        // Topics that are dealt out alike.
        let mut alike: BTreeMap<(Vec<usize>, u32), Vec<&TopicName>> = BTreeMap::new();
        for (topic, count) in topics.iter() {
            let readers: Vec<usize> =
                order.iter().copied().filter(|place| members[*place].wants(topic)).collect();
            if !readers.is_empty() {
                alike.entry((readers, count)).or_default().push(topic);
            }
        }
        let mut shares = vec![Vec::new(); members.len()];
        for ((readers, count), names) in alike {
            let owners = deal(members, topics, &readers, count, &names);
            for topic in names {
                for (number, owner) in (0..).zip(&owners) {
                    shares[readers[*owner]].push(TopicPartition::new(topic, number));
                }
            }
        }
        shares.iter_mut().for_each(|share| share.sort_unstable());
        shares
    }
}

/// Which of the readers gets each number of these topics.
fn deal(
    members: &[GroupMember],
    topics: &SubscribedTopics,
    readers: &[usize],
    count: u32,
    names: &[&TopicName],
) -> Vec<usize> {
    let all = usize::try_from(count).unwrap_or(usize::MAX);
    let (each, extra) = (all / readers.len(), all % readers.len());
    let mut room: Vec<usize> = (0..readers.len()).map(|turn| each + usize::from(turn < extra)).collect();
    let mut owners: Vec<Option<usize>> = vec![None; all];
    let of_readers = readers.iter().map(|place| members[*place].rack.as_ref());
    if let Some(nearness) = topics.racks.nearness(of_readers, names.iter().copied()) {
        for (reader, room) in room.iter_mut().enumerate() {
            let is_near = |number| (0..names.len()).all(|topic| nearness.is_near(reader, topic, number));
            let free = owners.iter_mut().enumerate().filter(|(_, owner)| owner.is_none());
            for (_, owner) in free.filter(|(number, _)| is_near(*number)).take(*room) {
                *owner = Some(reader);
                *room -= 1;
            }
        }
    }
    let mut turns = room.iter().enumerate().flat_map(|(reader, room)| std::iter::repeat_n(reader, *room));
    owners.into_iter().map(|owner| owner.or_else(|| turns.next()).unwrap_or(0)).collect()
}
