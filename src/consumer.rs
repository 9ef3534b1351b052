//! The consumer: records come out, alone or as a member of a group.

mod builder;
mod companions;
mod driver;
mod events;
mod handle;
mod inner;
mod listener;
mod offsets;
mod settings;
mod stream;

pub use builder::ConsumerBuilder;
pub use events::ConsumerEvents;
pub use handle::Consumer;
pub use inner::ConsumerHandle;
pub use listener::RebalanceListener;
pub use settings::{Commit, GroupProtocol, OnOutOfRange, OnRecreated, OnTruncation};
pub use stream::{PartitionStream, RecordStream};
