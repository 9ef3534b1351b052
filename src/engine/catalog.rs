//! The view of the cluster: which brokers there are, and who leads which partition.

pub(crate) mod snapshot;
