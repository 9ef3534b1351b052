//! How a consumer is a member of its group.

use std::{collections::BTreeSet, time::Duration};

use crate::{engine::backoff::Backoff, types::TopicName, wire::str::Str};

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
