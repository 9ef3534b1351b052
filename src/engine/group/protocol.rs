//! What the protocols of groups have in common.

use std::{collections::BTreeSet, fmt, sync::Arc, time::Instant};

use crate::{
    engine::{
        catalog::snapshot::Snapshot,
        machine::{Failure, Now, Outbox, Outcome, Token},
        partition::Identity,
    },
    error::{Code, Disposition, Error, ErrorKind},
    types::{NodeId, TopicName, TopicPartition},
    wire::calls::Response,
};

/// How a member and its coordinator agree on which partitions the member owns.
pub(crate) trait Protocol: fmt::Debug + Send {
    /// Whether the coordinator is needed.
    fn needs_coordinator(&self) -> bool;

    fn set_coordinator(&mut self, node: Option<NodeId>);

    /// Who commits, while there is a generation to commit in.
    fn identity(&self) -> Option<Identity>;

    /// Whether it is about to become a member, or its share is not settled.
    fn is_rebalancing(&self) -> bool;

    /// Becomes a member, if it is not one.
    fn join(&mut self, now: Now, reason: &'static str);

    /// These are the topics to be read, from the next join or heartbeat on, which is soon.
    fn subscribe(&mut self, topics: BTreeSet<TopicName>);

    /// What was to be revoked has been given up.
    fn revoked(&mut self, now: Now);

    /// Leaves the group. A static member only stops: its partitions wait for it (KIP-345), unless others would wait for
    /// it. What is owned must have been given up before; it is lost otherwise. [`Event::Left`] tells when it is done.
    fn leave(&mut self, now: Now, reason: &'static str, out: &mut Outbox<Event>);

    /// The view of the cluster has changed.
    fn catalog(&mut self, now: Now, snapshot: &Snapshot, out: &mut Outbox<Event>);

    fn tick(&mut self, now: Now, snapshot: &Arc<Snapshot>, out: &mut Outbox<Event>);

    fn deadline(&self) -> Option<Instant>;

    /// Takes what came of a call.
    fn answer(&mut self, now: Now, token: Token, outcome: Outcome, out: &mut Outbox<Event>);

    /// Asserts what must hold between two steps.
    #[cfg(test)]
    fn check(&self);
}

/// What the group tells the rest of the consumer.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// These partitions are owned from now on, beside those that were. May be none.
    Assigned(Vec<TopicPartition>),
    /// [`Protocol::identity`] is another one; what is owned is owned all the same.
    Renewed,
    /// These must be given up: stop reading them, let the user finish, commit, then say [`Protocol::revoked`].
    Revoke(Vec<TopicPartition>),
    /// These are owned by somebody else already: nothing of them may be committed.
    Lost(Vec<TopicPartition>),
    /// The node is not the coordinator, or cannot be reached.
    CoordinatorLost(NodeId),
    /// The partitions of these topics must be known: the leader assigns them, or they are assigned already.
    Want(BTreeSet<TopicName>),
    /// The coordinator refuses for a reason that asking again does not change. It is asked again all the same, slowly.
    Refused(Error),
    /// The coordinator does not speak this protocol.
    Unsupported(Error),
    /// The view of the cluster is stale.
    Refresh,
    /// The member can never be one again.
    Fatal(Error),
    /// The group was left, as was asked.
    Left,
}

/// The answer of the kind that was asked for.
pub(super) fn read<T: TryFrom<Response>>(outcome: Outcome) -> Result<T, Error> {
    let malformed = || {
        let detail = "the answer belongs to another request".to_owned();
        Error::from(ErrorKind::Malformed { peer: "the coordinator".to_owned(), detail })
    };
    match outcome {
        Ok(answer) => T::try_from(answer.response).map_err(|_| malformed()),
        Err(Failure { error, .. }) => Err(error),
    }
}

/// Whether asking the same again could not change anything.
pub(super) fn is_settled(outcome: &Result<Code, Error>) -> bool {
    match outcome {
        Ok(code) => matches!(code.disposition(), Disposition::Done | Disposition::Fail),
        Err(error) => !error.may_pass(),
    }
}
