//! What the core tells its driver.

use crate::{
    engine::{
        catalog::snapshot::LeaderHint,
        commit::{Offsets, Ticket},
    },
    error::Error,
    types::{TopicName, TopicPartition},
};

/// What a driver is to do.
#[derive(Debug)]
pub(crate) enum Event {
    /// The topic is to be in the views of the cluster.
    Want(TopicName),
    /// The view of the cluster is stale.
    Refresh,
    /// A broker named the leader of a partition.
    LeaderHint(LeaderHint),
    /// A commit that was asked for has ended.
    Committed { ticket: Ticket, result: Result<(), Error> },
    /// A look-up of committed offsets that was asked for has ended.
    Looked { ticket: Ticket, result: Result<Offsets, Error> },
    /// The listener is to be told, and its end to be reported under this number.
    Listener { number: u64, change: Change },
    /// The consumer has done what it does before it ends.
    Closed,
}

/// What happens to an assignment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Assigned(Vec<TopicPartition>),
    Revoking(Vec<TopicPartition>),
    Lost(Vec<TopicPartition>),
}
