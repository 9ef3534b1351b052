//! Which partitions records without a key are better sent to.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::{
    super::{lane::Lane, topics::TopicQueues},
    Sender,
};
use crate::{
    engine::{machine::Now, produce::spread::Spread},
    types::{NodeId, Partition},
};

/// The shares of partitions are computed anew no more often: that costs a look at each of them.
const INTERVAL: Duration = Duration::from_millis(20);

impl Sender {
    /// Computes the shares of the partitions of those topics that were chosen from since.
    pub(super) fn weigh(&mut self, now: Now) {
        if self.weighed_at.is_some_and(|at| now.instant < at + INTERVAL) {
            return;
        }
        self.weighed_at = Some(now.instant);
        let silent = self.silent_brokers(now);
        for topic in self.accumulator.topics().filter(|topic| topic.take_picked()) {
            self.weigh_topic(&silent, topic);
        }
    }

    pub(super) fn weigh_topic(&self, silent: &BTreeSet<NodeId>, topic: &TopicQueues) {
        let rules = &self.config.partitioning;
        let Some(known) = self.snapshot.topic(&topic.topic) else { return };
        let led = known.partitions.iter().filter_map(|(index, info)| Some((Partition(*index), info.leader?)));
        let led: Vec<(Partition, NodeId, usize)> =
            led.map(|(partition, leader)| (partition, leader, self.waiting(topic, partition))).collect();
        let available: Arc<[Partition]> = led.iter().map(|(partition, ..)| *partition).collect();

        let in_rack = |leader: &NodeId| {
            let rack = self.snapshot.broker(*leader).and_then(|broker| broker.rack.as_deref());
            rules.rack.is_some() && rack == rules.rack.as_deref()
        };
        // Each preference holds as long as it leaves something to choose from.
        let mut chosen = led;
        for prefers in [&in_rack as &dyn Fn(&NodeId) -> bool, &|leader| !silent.contains(leader)] {
            if chosen.iter().any(|(_, leader, _)| prefers(leader)) {
                chosen.retain(|(_, leader, _)| prefers(leader));
            }
        }
        let queues: Vec<(Partition, usize)> = chosen
            .into_iter()
            .map(|(partition, _, waiting)| (partition, if rules.adaptive { waiting } else { 0 }))
            .collect();
        topic.set_spread(Spread::by_queues(available, &queues));
    }

    /// How many batches of a partition are not acknowledged.
    fn waiting(&self, topic: &TopicQueues, partition: Partition) -> usize {
        let queue = usize::try_from(partition.0).ok().and_then(|index| topic.partitions.get(index));
        let Some(queue) = queue else { return 0 };
        queue.waiting() + self.lanes.get(&queue.id).map_or(0, |lane| lane.outstanding().count())
    }

    /// The brokers that have had something to take for longer than this, and took nothing.
    pub(super) fn silent_brokers(&mut self, now: Now) -> BTreeSet<NodeId> {
        let Some(timeout) = self.config.partitioning.availability_timeout else { return BTreeSet::new() };
        let has_work = |lane: &Lane| lane.outstanding().next().is_some();
        let busy: BTreeSet<NodeId> =
            self.lanes.values().filter(|lane| has_work(lane)).filter_map(|lane| lane.leader).collect();
        let mut silent = BTreeSet::new();
        for (id, line) in &mut self.brokers {
            // What it did not take was sent elsewhere, or given up.
            if !busy.contains(id) {
                line.silent_since = None;
            }
            let since = line.silent_since.map(|since| now.instant.saturating_duration_since(since));
            if since.is_some_and(|since| since > timeout) {
                silent.insert(*id);
            }
        }
        silent
    }
}
