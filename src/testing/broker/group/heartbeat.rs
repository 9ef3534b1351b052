//! Heartbeats of the consumer protocol.

use super::Group;
use super::consumer::{HeartbeatSettings, Refusal, Topics};
use crate::error::Code;
use crate::testing::broker::call::Call;
use crate::wire::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use crate::wire::str::Str;

impl Group {
    /// A member under the consumer protocol is heard of.
    pub(in crate::testing::broker) fn consumer_heartbeat(
        &mut self,
        call: &Call,
        request: &ConsumerGroupHeartbeatRequest,
        fresh_id: Str,
        settings: HeartbeatSettings,
        topics: &Topics,
    ) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
        if !self.members.is_empty() {
            // Kafka takes the group over, member by member; here a group is one or the other.
            return Err((Code::GROUP_ID_NOT_FOUND, format!("Group {} is not a consumer group.", self.id)));
        }
        self.consumers.heartbeat(call, request, fresh_id, settings, topics)
    }
}
