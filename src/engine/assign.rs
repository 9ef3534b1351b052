//! Who reads what under the classic protocol: what members say of themselves, and the assignors that their leader runs.

mod assignor;
#[cfg(feature = "testing")]
pub(crate) mod doors;
mod racks;
mod range;
mod round_robin;
mod sticky;
pub(crate) mod wire;

use std::sync::Arc;

pub use assignor::{Assignor, GroupMember, SubscribedTopics};
pub(crate) use racks::Racks;
pub use range::RangeAssignor;
pub use round_robin::RoundRobinAssignor;
pub use sticky::{CooperativeStickyAssignor, StickyAssignor};

use crate::types::TopicPartition;

/// Whether a member with these assignors goes on reading while its group rebalances. If one of them is eager, the
/// coordinator may take that one, whose leader gives away what is still read.
pub(crate) fn is_cooperative(assignors: &[Arc<dyn Assignor>]) -> bool {
    assignors.iter().all(|assignor| assignor.is_cooperative())
}

/// Runs an assignor, and holds it to its promise. Of a cooperative one is held back what somebody else still reads.
pub(crate) fn assign(
    assignor: &dyn Assignor,
    members: &[GroupMember],
    topics: &SubscribedTopics,
) -> Vec<Vec<TopicPartition>> {
    let mut shares = assignor.assign(members, topics);
    if shares.len() > members.len() {
        tracing::warn!(
            assignor = assignor.name(),
            "an assignor has assigned partitions to more members than there are"
        );
    }
    shares.resize_with(members.len(), Vec::new);
    let mut is_taken = topics.table(&false);
    for (member, share) in members.iter().zip(&mut shares) {
        share.retain(|partition| {
            let mut take =
                || is_taken.get_mut(partition).is_some_and(|taken| !std::mem::replace(taken, true));
            let is_right = member.wants(&partition.topic) && take();
            if !is_right {
                tracing::warn!(
                    assignor = assignor.name(), member = %member.id, %partition,
                    "an assignor has assigned a partition that does not exist, is not wanted, or is assigned already"
                );
            }
            is_right
        });
    }
    if assignor.is_cooperative() {
        hold_back(members, topics, &mut shares);
    }
    shares
}

/// Who says that they still read a partition.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Readers {
    Nobody,
    One(usize),
    Several,
}

/// Whoever still reads a partition that goes to another member gives it up once it has seen its own assignment, and joins
/// again: until then nobody gets it. That holds for whatever claim, an old one too: who makes it may still read.
fn hold_back(members: &[GroupMember], topics: &SubscribedTopics, shares: &mut [Vec<TopicPartition>]) {
    let mut readers = topics.table(&Readers::Nobody);
    for (place, member) in members.iter().enumerate() {
        for partition in &member.owned {
            let Some(readers) = readers.get_mut(partition) else { continue };
            let is_alone = matches!(*readers, Readers::Nobody) || *readers == Readers::One(place);
            *readers = if is_alone { Readers::One(place) } else { Readers::Several };
        }
    }
    for (place, share) in shares.iter_mut().enumerate() {
        share.retain(|partition| {
            let readers = readers.get_mut(partition).map_or(Readers::Nobody, |readers| *readers);
            matches!(readers, Readers::Nobody) || readers == Readers::One(place)
        });
    }
}

#[cfg(test)]
mod tests;
