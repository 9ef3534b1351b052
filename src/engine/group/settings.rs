//! How a consumer is a member of its group.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use crate::{
    engine::{
        assign::Assignor,
        backoff::{Backoff, Random},
        partition::Identity,
    },
    error::{Code, Error, ErrorKind},
    types::TopicName,
    wire::{str::Str, uuid::Uuid},
};

/// The id of a member that nobody else has (KIP-1082).
pub(crate) fn member_id(random: &mut Random) -> Str {
    let halves = [random.next_u64(), random.next_u64()].map(u64::to_be_bytes);
    let mut id = [0; 16];
    id.iter_mut().zip(halves.as_flattened()).for_each(|(to, from)| *to = *from);
    Uuid::from_bytes(id).to_string().as_str().into()
}

/// Settings of a membership.
#[derive(Clone, Debug)]
pub(crate) struct GroupSettings {
    pub(crate) group: Str,
    /// The name of a static member (KIP-345).
    pub(crate) instance_id: Option<Str>,
    pub(crate) topics: BTreeSet<TopicName>,
    /// The coordinator matches the names of topics with this, beside those topics (KIP-848).
    pub(crate) regex: Option<Str>,
    /// Where the member stands, for assignors that know racks (KIP-881).
    pub(crate) rack: Option<Str>,
    /// Who may say who reads what under the classic protocol, the most wanted one first. At least one.
    pub(crate) assignors: Vec<Arc<dyn Assignor>>,
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
    /// Who commits, under this id in this generation, and may keep what is owned in the next one.
    pub(super) fn identity(&self, member_id: &Str, generation: i32) -> Identity {
        Identity {
            member_id: member_id.clone(),
            instance_id: self.instance_id.clone(),
            generation,
            keeps: true,
        }
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

    /// What the user is told, with the setting to change where it is known.
    pub(super) fn refused(&self, code: Code, request: &'static str) -> Error {
        let subject = self.group.to_string();
        if code != Code::INCONSISTENT_GROUP_PROTOCOL {
            return Error::broker(code, request, subject);
        }
        let names: Vec<_> = self.assignors.iter().map(|assignor| assignor.name()).collect();
        let names = names.join(", ");
        let message = format!("the group's members have none of this member's assignors in common: {names}");
        ErrorKind::Broker { code, request, subject, message: Some(message) }.into()
    }

    #[cfg(test)]
    pub(crate) fn of_tests(instance_id: Option<&str>) -> Self {
        const SECOND: Duration = Duration::from_secs(1);
        Self {
            group: "g".into(),
            instance_id: instance_id.map(Str::from),
            topics: ["t".into()].into(),
            regex: None,
            rack: None,
            assignors: vec![Arc::new(crate::engine::assign::RangeAssignor)],
            server_assignor: None,
            session_timeout: 45 * SECOND,
            heartbeat_interval: 3 * SECOND,
            rebalance_timeout: 300 * SECOND,
            request_timeout: 30 * SECOND,
            retry: Backoff { first: SECOND / 10, max: SECOND },
        }
    }
}
