//! Where the reading of assigned partitions starts: looks up what the group has committed.

use std::collections::BTreeMap;

use super::{Membership, Start};
use crate::{
    engine::{
        catalog::snapshot::Snapshot,
        commit::Offsets,
        consumer::reading::Reading,
        machine::{Now, deadline_after},
        partition::{Claim, Spot},
    },
    error::Result,
    types::{Position, TopicName, TopicPartition},
};

impl Membership {
    /// The partition appeared while its topic was read already: what was written before it was assigned is not passed
    /// over, where the group has committed nothing.
    pub(in super::super) fn miss_nothing_of(&mut self, partition: TopicPartition) {
        self.late.insert(partition);
    }

    /// The same of those that this client has not heard of yet, while it has of their topics: who assigned them knew sooner.
    pub(super) fn miss_nothing_of_unknown(&mut self, partitions: &[TopicPartition], snapshot: &Snapshot) {
        let is_unknown = |TopicPartition { topic, partition }: &&TopicPartition| {
            snapshot.topic(topic).is_some_and(|topic| !topic.partitions.contains_key(&partition.0))
        };
        self.late.extend(partitions.iter().filter(is_unknown).cloned());
    }

    /// Where the group has committed is where reading starts; where it has not, `otherwise` says.
    pub(in super::super) fn needs_committed(&mut self, now: Now, needed: Vec<Start>) {
        if !needed.is_empty() {
            let partitions = needed.iter().map(|(partition, ..)| partition.clone()).collect();
            let ticket = self.look_up(now, partitions);
            self.starts.insert(ticket, needed);
        }
    }

    /// Reads the partitions from where the group has committed, unless the listener has chosen another position.
    pub(super) fn start(&mut self, now: Now, reading: &Reading, partitions: Vec<(TopicPartition, Claim)>) {
        let (start_at, late) = (self.start_at, &self.late);
        let start = |(partition, claim): (TopicPartition, Claim)| match start_at {
            Position::Latest if late.contains(&partition) => (partition, claim, Position::Earliest),
            _ => (partition, claim, start_at),
        };
        let waiting =
            partitions.into_iter().filter(|(partition, claim)| reading.claim(partition) == Some(*claim));
        let starts = waiting.map(start).collect();
        self.needs_committed(now, starts);
    }

    pub(super) fn starts_known(
        &mut self,
        now: Now,
        starts: Vec<Start>,
        result: Result<Offsets>,
        reading: &mut Reading,
    ) {
        let offsets = match result {
            Ok(offsets) => offsets,
            Err(error) if are_of_several_topics(&starts) => {
                // What is refused of one topic is not to hold up the others.
                tracing::debug!(group = %self.settings.group.group, %error, "looking up each topic alone");
                let mut topics: BTreeMap<TopicName, Vec<Start>> = BTreeMap::new();
                for start in starts {
                    topics.entry(start.0.topic.clone()).or_default().push(start);
                }
                topics.into_values().for_each(|starts| self.needs_committed(now, starts));
                return;
            }
            Err(error) => {
                tracing::warn!(group = %self.settings.group.group, %error, "the committed offsets cannot be looked up");
                reading.hand().fail(None, error);
                // It is asked again: to guess would lose or repeat records.
                let at = deadline_after(now, self.settings.commits.retry.max);
                let (at, mut refused) = self.refused.take().unwrap_or((at, Vec::new()));
                refused.extend(starts);
                self.refused = Some((at, refused));
                return;
            }
        };
        for (partition, claim, otherwise) in starts {
            let committed = offsets.get(&partition);
            if let Some(committed) = committed {
                let spot = Spot { offset: committed.offset.0, leader_epoch: committed.leader_epoch };
                self.auto.cover(partition.clone(), spot);
            }
            reading.start_at_committed(now, &partition, claim, committed, otherwise);
        }
    }
}

fn are_of_several_topics(starts: &[Start]) -> bool {
    let mut topics = starts.iter().map(|(partition, ..)| &partition.topic);
    topics.next().is_some_and(|first| topics.any(|topic| topic != first))
}
