//! How a consumer is a member of its group.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    engine::{backoff::Backoff, partition::Identity},
    error::{Error, ErrorKind},
    types::TopicName,
    wire::str::Str,
};

/// Settings of a membership.
#[derive(Clone, Debug)]
pub(crate) struct GroupSettings {
    pub(crate) group: Str,
    /// The name of a static member (KIP-345).
    pub(crate) instance_id: Option<Str>,
    pub(crate) topics: BTreeSet<TopicName>,
    /// Where the member stands, for assignors that know racks (KIP-881).
    pub(crate) rack: Option<Str>,
    /// Which of the coordinator's assignors is to be used; its own choice without one (KIP-848).
    pub(crate) server_assignor: Option<Str>,
    /// After so long without a heartbeat the coordinator takes the member for dead.
    pub(crate) session_timeout: Duration,
    pub(crate) heartbeat_interval: Duration,
    /// How long the members may take to give up what they own.
    pub(crate) rebalance_timeout: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) retry: Backoff,
}

impl GroupSettings {
    /// Who commits, under this id in this generation.
    pub(super) fn identity(&self, member_id: &Str, generation: i32) -> Identity {
        Identity { member_id: member_id.clone(), instance_id: self.instance_id.clone(), generation }
    }

    /// How long an answer to a heartbeat is waited for: a coordinator that hangs is to be noticed while there is time to
    /// find another.
    pub(super) fn heartbeat_patience(&self) -> Duration {
        self.request_timeout.min(self.session_timeout / 3)
    }

    /// Another member has taken over the name of this one.
    pub(super) fn fenced(&self) -> Error {
        let identity = self.instance_id.as_deref().unwrap_or_default();
        let identity = format!("group.instance.id {identity:?} of group {:?}", &*self.group);
        ErrorKind::Fenced { identity }.into()
    }

    #[cfg(test)]
    pub(crate) fn of_tests(instance_id: Option<&str>) -> Self {
        const SECOND: Duration = Duration::from_secs(1);
        Self {
            group: "g".into(),
            instance_id: instance_id.map(Str::from),
            topics: ["t".into()].into(),
            rack: None,
            server_assignor: None,
            session_timeout: 45 * SECOND,
            heartbeat_interval: 3 * SECOND,
            rebalance_timeout: 300 * SECOND,
            request_timeout: 30 * SECOND,
            retry: Backoff { first: SECOND / 10, max: SECOND },
        }
    }
}
