//! In which racks partitions have replicas (KIP-881).

use std::collections::{BTreeMap, BTreeSet};

use crate::{types::TopicName, wire::str::Str};

/// A rack, by its place among those that there are.
pub(super) type Rack = u16;

/// The racks of partitions. Nothing is known of those of a topic that is not in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Racks {
    ids: BTreeMap<Str, Rack>,
    /// By topic and number, in order.
    of: BTreeMap<TopicName, Vec<Vec<Rack>>>,
}

impl Racks {
    /// Of each topic, by number, the racks of the partition's replicas.
    pub(crate) fn new(topics: impl IntoIterator<Item = (TopicName, Vec<BTreeSet<Str>>)>) -> Self {
        let mut racks = Self::default();
        for (topic, partitions) in topics {
            let ids = partitions.into_iter().map(|names| {
                let mut ids: Vec<Rack> = names.into_iter().filter_map(|name| racks.id_of(name)).collect();
                ids.sort_unstable();
                ids
            });
            let ids = ids.collect();
            racks.of.insert(topic, ids);
        }
        racks
    }

    fn id_of(&mut self, name: Str) -> Option<Rack> {
        let next = Rack::try_from(self.ids.len()).ok()?;
        Some(*self.ids.entry(name).or_insert(next))
    }

    pub(super) fn has(&self, topic: &TopicName, number: usize, rack: &str) -> bool {
        let id = self.ids.iter().find(|(name, _)| &***name == rack).map(|(_, id)| *id);
        let racks = self.of.get(topic).and_then(|partitions| partitions.get(number));
        id.zip(racks).is_some_and(|(id, racks)| racks.binary_search(&id).is_ok())
    }

    /// What there is to gain for members that stand here with these topics. Nothing, if no member says where it stands, or all
    /// partitions are in the same racks.
    pub(super) fn nearness<'a, 'b>(
        &'a self,
        of_members: impl Iterator<Item = Option<&'b Str>>,
        topics: impl Iterator<Item = &'a TopicName>,
    ) -> Option<Nearness<'a>> {
        let of_members = of_members.map(|rack| rack.and_then(|rack| self.ids.get(rack).copied()));
        let of_members: Vec<Option<Rack>> = of_members.collect();
        if of_members.iter().all(Option::is_none) {
            return None;
        }
        let of_topics: Vec<&[Vec<Rack>]> =
            topics.map(|topic| self.of.get(topic).map_or(&[][..], Vec::as_slice)).collect();
        let mut partitions = of_topics.iter().copied().flatten();
        let first = partitions.next()?;
        partitions.any(|racks| racks != first).then_some(Nearness { of_topics, of_members })
    }
}

/// Who stands near what. Members and topics go by their places among those that were asked about.
pub(super) struct Nearness<'a> {
    of_topics: Vec<&'a [Vec<Rack>]>,
    of_members: Vec<Option<Rack>>,
}

impl Nearness<'_> {
    /// Whether a replica of the partition is in the member's rack.
    pub(super) fn is_near(&self, member: usize, topic: usize, number: usize) -> bool {
        self.of_members[member].is_some_and(|rack| self.racks(topic, number).binary_search(&rack).is_ok())
    }

    /// In which racks a partition has replicas.
    pub(super) fn racks(&self, topic: usize, number: usize) -> &[Rack] {
        self.of_topics[topic].get(number).map_or(&[], Vec::as_slice)
    }

    /// Where a member stands.
    pub(super) fn rack_of(&self, member: usize) -> Option<Rack> {
        self.of_members[member]
    }
}
