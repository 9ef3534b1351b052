//! What tests of machines say to them.

use std::time::Instant;

use super::{
    machine::{Answer, Failure, Now, Outcome},
    partition::Leader,
};
use crate::{
    error::ErrorKind,
    types::NodeId,
    wire::{calls::Response, uuid::Uuid},
};

#[expect(clippy::disallowed_methods, reason = "an anchor that tests count from")]
pub(crate) fn start() -> Now {
    Now { instant: Instant::now(), unix_ms: 1_700_000_000_000 }
}

pub(crate) fn answer(version: i16, response: impl Into<Response>) -> Outcome {
    Ok(Answer { node: NodeId(1), version, response: response.into() })
}

pub(crate) fn failure() -> Outcome {
    let kind = ErrorKind::Io {
        peer: "b:1".into(),
        kind: std::io::ErrorKind::ConnectionReset,
        detail: "reset".into(),
    };
    Err(Failure { maybe_sent: true, error: kind.into() })
}

/// A topic's id that is not zero.
pub(crate) fn topic_id(byte: u8) -> Uuid {
    Uuid::from_bytes([byte; 16])
}

pub(crate) fn leader(node: i32) -> Leader {
    Leader { node: NodeId(node), epoch: Some(3), topic_id: topic_id(7) }
}
