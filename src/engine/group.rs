//! Membership in a consumer group, by either of Kafka's protocols.

mod classic;
mod consumer;
mod heartbeat;
mod protocol;
mod settings;
mod share;

pub(crate) use classic::Classic;
pub(crate) use consumer::ConsumerGroup;
pub(crate) use protocol::{Event, Protocol};
pub(crate) use settings::{GroupSettings, member_id};
pub(crate) use share::{ShareEvent, ShareGroup, ShareSettings};
