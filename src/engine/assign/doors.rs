//! A way in for benches: groups of any size.

use super::{CooperativeStickyAssignor, GroupMember, Racks, SubscribedTopics, assign};
use crate::{
    types::{TopicName, TopicPartition},
    wire::str::Str,
};

/// Partitions per topic.
const PER_TOPIC: usize = 100;
const RACKS: usize = 3;

/// What makes a group hard to assign for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GroupShape {
    /// All members want all topics.
    Alike,
    /// Each member wants two thirds of the topics.
    Different,
    /// All members want all topics, and stand in three racks; each partition has replicas in two.
    Racks,
}

/// A group, and what there is to assign.
#[derive(Debug)]
pub struct AssignedGroup {
    members: Vec<GroupMember>,
    topics: SubscribedTopics,
}

impl AssignedGroup {
    /// One in which nobody has anything yet.
    #[must_use]
    pub fn new(shape: GroupShape, members: usize, partitions: usize) -> Self {
        let count = partitions.div_ceil(PER_TOPIC);
        let names: Vec<TopicName> = (0..count).map(|at| format!("topic-{at}").into()).collect();
        let rack = |place: usize| Str::from(format!("rack-{}", place % RACKS).as_str());
        let members = (0..members).map(|place| {
            let wants = |at: &usize| shape != GroupShape::Different || !(at + place).is_multiple_of(RACKS);
            GroupMember {
                topics: (0..count).filter(wants).map(|at| names[at].clone()).collect(),
                rack: (shape == GroupShape::Racks).then(|| rack(place)),
                ..GroupMember::silent(format!("member-{place:05}").as_str().into(), None)
            }
        });
        let replicas =
            |at: usize| (0..PER_TOPIC).map(move |number| [rack(at + number), rack(at + number + 1)]);
        let racks = names.iter().enumerate().map(|(at, name)| {
            (name.clone(), replicas(at).map(|racks| racks.into_iter().collect()).collect())
        });
        let counts = names.iter().map(|name| (name.clone(), PER_TOPIC.try_into().unwrap_or(u32::MAX)));
        Self {
            members: members.collect(),
            topics: SubscribedTopics::new(counts.collect(), Racks::new(racks)),
        }
    }

    /// Assigns all partitions by the cooperative sticky assignor.
    #[must_use]
    pub fn assign(&self) -> Vec<Vec<TopicPartition>> {
        assign(&CooperativeStickyAssignor, &self.members, &self.topics)
    }

    /// Every member has what it was assigned; then the last one leaves.
    pub fn lose_one(&mut self, shares: Vec<Vec<TopicPartition>>) {
        for (member, share) in self.members.iter_mut().zip(shares) {
            (member.owned, member.generation) = (share, 1);
        }
        self.members.pop();
    }
}
