//! A group, as an admin sees it.

use bytes::Bytes;

use super::{Group, Phase};
use crate::wire::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use crate::wire::messages::list_groups_response::ListedGroup;

impl Group {
    /// Kafka's name of the state.
    pub(in crate::testing::broker) fn state_name(&self) -> &'static str {
        if let Some(name) = self.consumers.state_name() {
            return name;
        }
        match self.phase {
            Phase::Empty => "Empty",
            Phase::Preparing { .. } => "PreparingRebalance",
            Phase::Completing => "CompletingRebalance",
            Phase::Stable => "Stable",
        }
    }

    pub(in crate::testing::broker) fn listed(&self) -> ListedGroup {
        ListedGroup {
            group_id: self.id.clone(),
            protocol_type: match self.consumers.is_empty() {
                true => self.protocol_type.clone().unwrap_or_default(),
                false => "consumer".into(),
            },
            group_state: self.state_name().into(),
            group_type: if self.consumers.is_empty() { "classic" } else { "consumer" }.into(),
            ..ListedGroup::default()
        }
    }

    pub(in crate::testing::broker) fn described(&self) -> DescribedGroup {
        let is_stable = self.phase == Phase::Stable;
        let members = self.members.iter().map(|member| DescribedGroupMember {
            member_id: member.id.clone(),
            group_instance_id: member.instance.clone(),
            client_id: member.client_id.clone(),
            client_host: "/127.0.0.1".into(),
            member_metadata: if is_stable { member.metadata(self.protocol.as_ref()) } else { Bytes::new() },
            // During a rebalance it is the one of before.
            member_assignment: member.assignment.clone(),
            ..DescribedGroupMember::default()
        });
        DescribedGroup {
            group_id: self.id.clone(),
            group_state: self.state_name().into(),
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            protocol_data: self.protocol.clone().filter(|_| is_stable).unwrap_or_default(),
            members: members.collect(),
            ..DescribedGroup::default()
        }
    }
}
