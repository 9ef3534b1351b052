//! The share consumer: members of a share group read the same partitions, and say of each record what becomes of it.

mod builder;
mod driver;
mod handle;
mod inner;
mod message;
mod settings;

pub use builder::ShareConsumerBuilder;
pub use handle::{ShareConsumer, ShareStream};
pub use message::ShareMessage;
pub use settings::{Acknowledge, AcquireMode};
