//! Who may answer for a partition, and in whose time.

use super::topic::Partition;
use crate::error::Code;

/// Whether the node leads.
pub(super) fn check_leader(partition: &Partition, node: i32) -> Result<(), Code> {
    if partition.leader == Some(node) { Ok(()) } else { Err(Code::NOT_LEADER_OR_FOLLOWER) }
}

/// A client that knows another epoch than the leader's is behind, or ahead (KIP-320). -1 claims nothing.
pub(super) fn check_epoch(partition: &Partition, claimed: i32) -> Result<(), Code> {
    if claimed < 0 || claimed == partition.leader_epoch {
        Ok(())
    } else if claimed < partition.leader_epoch {
        Err(Code::FENCED_LEADER_EPOCH)
    } else {
        Err(Code::UNKNOWN_LEADER_EPOCH)
    }
}
