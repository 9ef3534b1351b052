//! What an assignor is, and what it is told.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
};

use bytes::Bytes;

use super::racks::Racks;
use crate::{
    types::{TopicName, TopicPartition},
    wire::str::Str,
};

/// Says which member of a group reads which partitions, under the classic protocol. Java: `ConsumerPartitionAssignor`.
///
/// Members name the assignors that they know when they join (`ConsumerBuilder::assignors`), the coordinator takes
/// one that all of them know, and the member that leads the group runs it. It runs in the consumer's task, which heartbeats
/// wait for: it should take milliseconds, and must not block.
///
/// ```
/// use milena::{Assignor, GroupMember, SubscribedTopics, TopicPartition};
///
/// /// Everything to the member with the least id.
/// #[derive(Debug)]
/// struct OneReader;
///
/// impl Assignor for OneReader {
///     fn name(&self) -> &str {
///         "one-reader"
///     }
///
///     fn assign(&self, members: &[GroupMember], topics: &SubscribedTopics) -> Vec<Vec<TopicPartition>> {
///         let reader = (0..members.len()).min_by_key(|place| members[*place].id());
///         let mut shares = vec![Vec::new(); members.len()];
///         if let Some(reader) = reader {
///             let wanted = topics.partitions().filter(|partition| members[reader].wants(&partition.topic));
///             shares[reader] = wanted.collect();
///         }
///         shares
///     }
/// }
/// ```
pub trait Assignor: fmt::Debug + Send + Sync {
    /// By which members agree on it: it means the same for all of them.
    fn name(&self) -> &str;

    /// Whether members may go on reading while the group rebalances, and give up only what goes to others, in a second
    /// rebalance (KIP-429). A consumer does so if all its assignors are cooperative. Default: no.
    ///
    /// Of a cooperative assignor is held back what moves from a member that still reads it: that member gives it up and
    /// joins again, and then it is assigned. The assignor need not care.
    fn is_cooperative(&self) -> bool {
        false
    }

    /// What a member says of itself for this assignor when it joins, beside its topics: `last` is what it was
    /// assigned last, in which generation (-1 for none). Default: nothing.
    fn user_data(&self, last: &[TopicPartition], generation: i32) -> Bytes {
        let _ = (last, generation);
        Bytes::new()
    }

    /// What each member reads, in the order of `members`. Each partition goes to one member, which must want its
    /// topic: whatever does not is left unassigned, with a warning.
    fn assign(&self, members: &[GroupMember], topics: &SubscribedTopics) -> Vec<Vec<TopicPartition>>;
}

/// A member of a group, as it tells its leader of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    pub(crate) id: Str,
    pub(crate) instance_id: Option<Str>,
    pub(crate) topics: BTreeSet<TopicName>,
    pub(crate) owned: Vec<TopicPartition>,
    pub(crate) generation: i32,
    pub(crate) rack: Option<Str>,
    pub(crate) user_data: Bytes,
}

impl GroupMember {
    /// One of which nothing is known but its name.
    pub(crate) fn silent(id: Str, instance_id: Option<Str>) -> Self {
        let (topics, owned, user_data) = (BTreeSet::new(), Vec::new(), Bytes::new());
        Self { id, instance_id, topics, owned, generation: -1, rack: None, user_data }
    }

    /// Its id, which the coordinator has given to it.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The name of a static member (`group.instance.id`, KIP-345).
    #[must_use]
    pub fn instance_id(&self) -> Option<&str> {
        self.instance_id.as_deref()
    }

    /// Whether it reads this topic.
    #[must_use]
    pub fn wants(&self, topic: &TopicName) -> bool {
        self.topics.contains(topic)
    }

    /// The topics that it reads.
    pub fn topics(&self) -> impl Iterator<Item = &TopicName> {
        self.topics.iter()
    }

    /// What it goes on reading while the group rebalances, as a member of a cooperative group.
    #[must_use]
    pub fn owned(&self) -> &[TopicPartition] {
        &self.owned
    }

    /// In which generation it was assigned what it owns; -1 if it owns nothing or does not say so (before KIP-792).
    #[must_use]
    pub fn generation(&self) -> i32 {
        self.generation
    }

    /// Where it stands (`client.rack`, KIP-881).
    #[must_use]
    pub fn rack(&self) -> Option<&str> {
        self.rack.as_deref()
    }

    /// What it says for this assignor: [`Assignor::user_data`].
    #[must_use]
    pub fn user_data(&self) -> &[u8] {
        &self.user_data
    }

    /// Static members in the order of their names, which outlive restarts, then the others.
    pub(super) fn compare(&self, other: &Self) -> Ordering {
        match (&self.instance_id, &other.instance_id) {
            (Some(a), Some(b)) => a.cmp(b),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => self.id.cmp(&other.id),
        }
    }
}

/// The topics that the members of a group read, as far as they exist.
#[derive(Clone, Debug, Default)]
pub struct SubscribedTopics {
    counts: BTreeMap<TopicName, u32>,
    pub(super) racks: Racks,
}

impl SubscribedTopics {
    pub(crate) fn new(counts: BTreeMap<TopicName, u32>, racks: Racks) -> Self {
        Self { counts, racks }
    }

    /// How many partitions each topic has, in the order of names.
    pub fn iter(&self) -> impl Iterator<Item = (&TopicName, u32)> {
        self.counts.iter().map(|(topic, count)| (topic, *count))
    }

    /// How many partitions a topic has; `None` if it does not exist.
    #[must_use]
    pub fn partition_count(&self, topic: &TopicName) -> Option<u32> {
        self.counts.get(topic).copied()
    }

    /// All partitions, in the order of topics and numbers.
    pub fn partitions(&self) -> impl Iterator<Item = TopicPartition> {
        self.iter().flat_map(|(topic, count)| {
            let numbers = 0..i32::try_from(count).unwrap_or(i32::MAX);
            numbers.map(move |number| TopicPartition::new(topic, number))
        })
    }

    /// Whether a broker in this rack has a replica of the partition, from which a member there reads at less cost (KIP-392,
    /// KIP-881). Not known, and so not so, where no member says where it stands.
    #[must_use]
    pub fn has_replica_in(&self, partition: &TopicPartition, rack: &str) -> bool {
        let number = usize::try_from(partition.partition.0);
        number.is_ok_and(|number| self.racks.has(&partition.topic, number, rack))
    }

    /// Something for each partition, to begin with this.
    pub(super) fn table<T: Clone>(&self, first: &T) -> Table<'_, T> {
        let column = |count| vec![first.clone(); usize::try_from(count).unwrap_or(usize::MAX)];
        Table { columns: self.iter().map(|(topic, count)| (topic, column(count))).collect() }
    }
}

/// Something for each partition.
pub(super) struct Table<'a, T> {
    columns: HashMap<&'a TopicName, Vec<T>>,
}

impl<T> Table<'_, T> {
    /// That of a partition; `None` if the partition does not exist.
    pub(super) fn get_mut(&mut self, partition: &TopicPartition) -> Option<&mut T> {
        let number = usize::try_from(partition.partition.0).ok()?;
        self.columns.get_mut(&partition.topic)?.get_mut(number)
    }
}
