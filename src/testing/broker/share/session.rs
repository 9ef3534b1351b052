//! Share sessions: what the members of share groups read of a node, request by request.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::Code;
use crate::wire::str::Str;
use crate::wire::uuid::Uuid;

/// The epoch of the request that opens a session, and of the last one.
pub(in crate::testing::broker) const INITIAL_EPOCH: i32 = 0;
pub(in crate::testing::broker) const FINAL_EPOCH: i32 = -1;

/// Whose session it is, and with which node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::testing::broker) struct SessionKey {
    pub(in crate::testing::broker) node: i32,
    pub(in crate::testing::broker) group: Str,
    pub(in crate::testing::broker) member: Str,
}

/// A partition by its topic's id.
pub(in crate::testing::broker) type Key = (Uuid, i32);

/// The sessions with all nodes.
#[derive(Debug, Default)]
pub(in crate::testing::broker) struct ShareSessions {
    by_key: BTreeMap<SessionKey, Session>,
    /// Counts the sessions that were opened.
    opened: u64,
}

#[derive(Debug)]
struct Session {
    /// Tells it from others of the same member.
    number: u64,
    /// That of the next request.
    epoch: i32,
    /// The connection over which the last request came.
    connection: u64,
    partitions: BTreeSet<Key>,
}

impl ShareSessions {
    /// Opens a session, in the place of the one that the member had, if there is room beside the others of the node.
    pub(in crate::testing::broker) fn open(
        &mut self,
        key: &SessionKey,
        connection: u64,
        limit: usize,
    ) -> Result<(), Code> {
        self.by_key.remove(key);
        let of_node = self.by_key.keys().filter(|other| other.node == key.node).count();
        if of_node >= limit {
            return Err(Code::SHARE_SESSION_LIMIT_REACHED);
        }
        self.opened += 1;
        let session = Session { number: self.opened, epoch: 1, connection, partitions: BTreeSet::new() };
        self.by_key.insert(key.clone(), session);
        Ok(())
    }

    /// A request of a session has come; it must be the last one, or the next.
    pub(in crate::testing::broker) fn go_on(
        &mut self,
        key: &SessionKey,
        epoch: i32,
        connection: u64,
    ) -> Result<(), Code> {
        let session = self.by_key.get_mut(key).ok_or(Code::SHARE_SESSION_NOT_FOUND)?;
        if epoch == FINAL_EPOCH {
            return Ok(());
        }
        if epoch != session.epoch {
            return Err(Code::INVALID_SHARE_SESSION_EPOCH);
        }
        session.epoch = epoch.checked_add(1).unwrap_or(1);
        session.connection = connection;
        Ok(())
    }

    /// Changes what a session reads. What is named and forgotten at once is named for its acknowledgements alone.
    pub(in crate::testing::broker) fn update(
        &mut self,
        key: &SessionKey,
        named: impl Iterator<Item = Key>,
        forgotten: impl Iterator<Item = Key>,
    ) {
        let Some(session) = self.by_key.get_mut(key) else { return };
        session.partitions.extend(named);
        for partition in forgotten {
            session.partitions.remove(&partition);
        }
    }

    /// What tells the session from others of the same member, if there is one.
    pub(in crate::testing::broker) fn number(&self, key: &SessionKey) -> Option<u64> {
        self.by_key.get(key).map(|session| session.number)
    }

    /// What a session reads. Another partition comes first each time, so that none takes all the room.
    pub(in crate::testing::broker) fn partitions(&self, key: &SessionKey) -> Vec<Key> {
        let Some(session) = self.by_key.get(key) else { return Vec::new() };
        let mut partitions: Vec<Key> = session.partitions.iter().copied().collect();
        let turn = usize::try_from(session.epoch.saturating_sub(1)).unwrap_or(0);
        let first = turn.checked_rem(partitions.len()).unwrap_or(0);
        partitions.rotate_left(first);
        partitions
    }

    pub(in crate::testing::broker) fn remove(&mut self, key: &SessionKey) {
        self.by_key.remove(key);
    }

    /// The sessions that were last used over a connection.
    pub(in crate::testing::broker) fn over(&self, connection: u64) -> Vec<SessionKey> {
        let over = self.by_key.iter().filter(|(_, session)| session.connection == connection);
        over.map(|(key, _)| key.clone()).collect()
    }
}
