//! The producer: records go in, acknowledgements come out.

mod builder;
mod creation;
mod delivery;
mod driver;
mod handle;
mod observer;
mod packer;
mod partitioner;
mod settings;
mod transaction;

pub use builder::ProducerBuilder;
pub use delivery::{Delivered, Delivery, TrySendError};
pub use handle::Producer;
pub use observer::{BatchDelivery, ProducerInterceptor};
pub use partitioner::{Partitioner, partition_for_key};
pub use settings::{Acks, Compression, RecreatedTopics};
pub use transaction::{Transaction, TransactionHandle, TransactionalProducer};
