//! Who commits offsets.

use crate::wire::str::Str;
use crate::wire::uuid::Uuid;

/// Who commits.
#[derive(Clone, Copy, Debug)]
pub(in crate::testing::broker) struct Committer<'a> {
    /// Below 0 for one that is no member.
    pub(in crate::testing::broker) generation: i32,
    pub(in crate::testing::broker) member_id: &'a Str,
    pub(in crate::testing::broker) instance: Option<&'a Str>,
    /// Whether the request's version knows of the consumer protocol.
    pub(in crate::testing::broker) knows_epochs: bool,
    /// Whether brokers know in which epoch a member was given each partition (KIP-1251).
    pub(in crate::testing::broker) assignment_epochs: bool,
    /// What is committed, by the ids of topics; without what is not there.
    pub(in crate::testing::broker) partitions: &'a [(Uuid, i32)],
}
