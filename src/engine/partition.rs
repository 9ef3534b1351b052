//! What the consumer's machines say to each other about a partition and about the member that owns it.

use crate::{
    error::Code,
    types::{MemberMetadata, NodeId, TopicPartition},
    wire::{str::Str, uuid::Uuid},
};

/// Names one stay of a partition with a consumer at one position: assigning, seeking and resetting each make a new one.
/// Whatever was asked under an older claim is void: its answers and its data are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Claim(u64);

/// Hands out claims, each once.
#[derive(Debug, Default)]
pub(crate) struct Claims(u64);

impl Claims {
    pub(crate) fn next(&mut self) -> Claim {
        self.0 = self.0.wrapping_add(1);
        Claim(self.0)
    }
}

/// A place in a partition: the next offset, and the leader epoch of the batch in front of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(crate) offset: i64,
    pub(crate) leader_epoch: Option<i32>,
}

/// Who leads a partition, as far as the catalog knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leader {
    pub(crate) node: NodeId,
    /// By which a broker refuses those whose view of the leadership is older than its own (KIP-320).
    pub(crate) epoch: Option<i32>,
    /// [`Uuid::ZERO`] where the cluster is too old to have one.
    pub(crate) topic_id: Uuid,
}

impl Leader {
    /// The epoch as requests carry it.
    pub(crate) fn wire_epoch(&self) -> i32 {
        self.epoch.unwrap_or(-1)
    }
}

/// A leader epoch as brokers write it, where -1 stands for none.
pub(crate) fn epoch_from_wire(epoch: i32) -> Option<i32> {
    (epoch >= 0).then_some(epoch)
}

/// What an error is about: the topic as a whole where it is a matter of authorization.
pub(crate) fn subject(code: Code, partition: &TopicPartition) -> String {
    if code == Code::TOPIC_AUTHORIZATION_FAILED {
        partition.topic.as_str().to_owned()
    } else {
        partition.to_string()
    }
}

/// Who commits: the member and its generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) member_id: Str,
    pub(crate) instance_id: Option<Str>,
    pub(crate) generation: i32,
    /// Whether what is owned in this generation may be owned in the next one too.
    pub(crate) keeps: bool,
}

impl From<&Identity> for MemberMetadata {
    fn from(identity: &Identity) -> Self {
        Self {
            member_id: (&*identity.member_id).into(),
            instance_id: identity.instance_id.as_deref().map(Into::into),
            generation: identity.generation,
        }
    }
}
