//! When partitions may be written to.

/// How a partition comes into the open transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Joining {
    /// Not at all: there are no transactions, and every partition may be written to.
    Unneeded,
    /// Not now: none is open.
    Barred,
    /// By being written to (transactions version 2, KIP-890).
    ByWriting,
    /// By the coordinator's being told first (version 1).
    ByAsking,
}
