//! The two ways in which transactions are spoken of.

/// How transactions are spoken of. It changes between transactions only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// The coordinator is told of each partition and group before it is written to.
    V1,
    /// Writing says it, and each end of a transaction bumps the epoch (KIP-890).
    V2,
}
