//! What the client counts, and how it is told.
//!
//! Whoever moves batches and requests adds to counters here, one relaxed addition for each batch or request and never
//! one for each record. A snapshot reads them without stopping anybody, so its numbers may differ by what happens
//! meanwhile.

mod broker;
mod family;
mod gauge;
mod histogram;
mod partition;
mod producer;
mod registry;
mod snapshot;

pub use broker::BrokerMetrics;
pub(crate) use broker::LinkMeter;
pub(crate) use gauge::Share;
pub use histogram::Histogram;
pub use partition::{ConsumedMetrics, ProducedMetrics};
pub use producer::ProducerMetrics;
pub(crate) use registry::Metrics;
pub use snapshot::{ConsumerMetrics, MetricsSnapshot};
