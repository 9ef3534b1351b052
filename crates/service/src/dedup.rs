//! Deduplication: what was handled is not handled again.

mod flight;
mod id;
mod layer;
mod memory;
mod seen;
mod store;
mod topic;

pub use layer::{Dedup, Deduplicated};
pub use memory::MemoryDedup;
pub use store::DedupStore;
pub use topic::{TopicDedup, TopicDedupBuilder};
