//! Membership in a consumer group, by either of Kafka's protocols.

mod classic;
mod protocol;
mod settings;

pub(crate) use classic::Classic;
pub(crate) use protocol::{Event, Protocol};
pub(crate) use settings::GroupSettings;
