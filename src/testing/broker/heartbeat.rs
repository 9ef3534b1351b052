//! What coordinators that assign by themselves have in common, of consumer groups (KIP-848) and of share groups (KIP-932).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::error::Code;
use crate::wire::str::Str;
use crate::wire::uuid::Uuid;

/// The epoch of who joins, and of who leaves for good.
pub(super) const JOIN: i32 = 0;
pub(super) const LEAVE: i32 = -1;

/// A partition by its topic's id.
pub(super) type Key = (Uuid, i32);

/// What a heartbeat is refused with: a code and the reason.
pub(super) type Refusal = (Code, String);

/// The topics that there are: id and number of partitions.
pub(super) type Topics = BTreeMap<Str, (Uuid, i32)>;

/// How the coordinator is set.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeartbeatSettings {
    pub(super) session: Duration,
    pub(super) interval: Duration,
    pub(super) max_size: usize,
}

pub(super) fn unknown(member: &Str) -> Refusal {
    (Code::UNKNOWN_MEMBER_ID, format!("Member {member} is not a member of the group."))
}

/// The partitions of each topic.
pub(super) fn by_topic(keys: &BTreeSet<Key>) -> BTreeMap<Uuid, Vec<i32>> {
    let mut topics: BTreeMap<Uuid, Vec<i32>> = BTreeMap::new();
    for (id, partition) in keys {
        topics.entry(*id).or_default().push(*partition);
    }
    topics
}
