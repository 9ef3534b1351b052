//! What a member owns, what it was assigned, and what its coordinator knows of that.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    engine::catalog::snapshot::Snapshot,
    types::TopicPartition,
    wire::{
        messages::{
            consumer_group_heartbeat_request as request, consumer_group_heartbeat_response as response,
        },
        uuid::Uuid,
    },
};

/// A partition by its topic's id, as coordinators know it.
type Key = (Uuid, i32);

#[derive(Debug, Default)]
pub(super) struct Assignment {
    /// What was assigned last.
    target: BTreeSet<Key>,
    /// What is owned, with the ids that the topics had when it was taken on.
    owned: BTreeMap<TopicPartition, Uuid>,
    /// Whether what is owned is what was assigned.
    is_reached: bool,
    /// Whether the coordinator was told what is owned.
    is_told: bool,
}

/// The next step from what is owned to what is assigned. Nothing is added before all has been given up.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) revoke: Vec<TopicPartition>,
    pub(super) add: Vec<TopicPartition>,
    /// Whether partitions are assigned of topics that are not in the view of the cluster.
    pub(super) is_unresolved: bool,
}

impl Assignment {
    pub(super) fn assign(&mut self, assigned: response::Assignment) {
        let topics = assigned.topic_partitions.into_iter();
        self.target =
            topics.flat_map(|topic| topic.partitions.into_iter().map(move |p| (topic.topic_id, p))).collect();
        self.is_reached = false;
    }

    /// Whether what is owned is what was assigned.
    pub(super) fn is_reached(&self) -> bool {
        self.is_reached
    }

    /// The topics of what was assigned.
    pub(super) fn topics(&self) -> BTreeSet<Uuid> {
        self.target.iter().map(|(topic, _)| *topic).collect()
    }

    /// What is to be given up, or else what is taken on.
    pub(super) fn step(&mut self, snapshot: &Snapshot) -> Step {
        let mut step = Step::default();
        if self.is_reached {
            return step;
        }
        let target = &self.target;
        let given_up = self.owned.iter().filter(|(owned, id)| !target.contains(&(**id, owned.partition.0)));
        step.revoke = given_up.map(|(partition, _)| partition.clone()).collect();
        if !step.revoke.is_empty() {
            return step;
        }
        for (id, partition) in &self.target {
            let Some(name) = snapshot.topic_name(*id) else {
                step.is_unresolved = true;
                continue;
            };
            let partition = TopicPartition::new(name, *partition);
            if !self.owned.contains_key(&partition) {
                self.owned.insert(partition.clone(), *id);
                self.is_told = false;
                step.add.push(partition);
            }
        }
        self.is_reached = !step.is_unresolved;
        step
    }

    pub(super) fn give_up(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            self.owned.remove(partition);
        }
        self.is_told = false;
    }

    /// Forgets everything, and says what was owned.
    pub(super) fn clear(&mut self) -> Vec<TopicPartition> {
        std::mem::take(self).owned.into_keys().collect()
    }

    /// Whether the coordinator was told what is owned.
    pub(super) fn is_told(&self) -> bool {
        self.is_told
    }

    /// What is owned, to be told to the coordinator.
    pub(super) fn tell(&mut self) -> Vec<request::TopicPartitions> {
        self.is_told = true;
        let mut topics: BTreeMap<Uuid, Vec<i32>> = BTreeMap::new();
        for (partition, id) in &self.owned {
            topics.entry(*id).or_default().push(partition.partition.0);
        }
        let topics = topics.into_iter().map(|(topic_id, partitions)| request::TopicPartitions {
            topic_id,
            partitions,
            ..request::TopicPartitions::default()
        });
        topics.collect()
    }

    #[cfg(test)]
    pub(super) fn owns_nothing(&self) -> bool {
        self.owned.is_empty()
    }
}
