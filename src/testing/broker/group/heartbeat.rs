//! Heartbeats of the consumer protocol.

use super::Group;
use crate::error::Code;
use crate::testing::broker::call::Call;
use crate::testing::broker::heartbeat::{HeartbeatSettings, Refusal, Topics};
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
        let joins = request.member_epoch == 0;
        let is_one = self.members.is_empty() || (joins && self.upgrade(call.now, topics));
        if !is_one {
            return Err((Code::GROUP_ID_NOT_FOUND, format!("Group {} is not a consumer group.", self.id)));
        }
        let response = self.consumers.heartbeat(call, request, fresh_id, settings, topics);
        self.downgrade_if_classic(call.now);
        response
    }
}
