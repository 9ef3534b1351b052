//! What tests of machines say to them.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Instant;

use bytes::{Bytes, BytesMut};

use super::{
    machine::{Answer, Failure, Now, Outcome},
    partition::Leader,
};
use crate::{
    error::ErrorKind,
    types::NodeId,
    wire::{
        batch::{BatchBuilder, set_base_offset, set_leader_epoch},
        calls::Response,
        compress::Compression,
        uuid::Uuid,
    },
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

/// A batch of `count` records from `offset` on, with values of `size` bytes.
pub(crate) fn batch(offset: i64, count: u32, size: usize) -> Bytes {
    let mut builder = BatchBuilder::new(0, 0);
    for _ in 0..count {
        builder.append(1_000, Some(b"key"), Some(&vec![b'v'; size]), &[]).unwrap();
    }
    placed(builder.seal(Compression::NONE).unwrap().bytes(), offset)
}

/// A batch as a broker stores it at `offset`.
pub(crate) fn placed(batch: &[u8], offset: i64) -> Bytes {
    let mut bytes = BytesMut::from(batch);
    set_base_offset(&mut bytes, offset);
    set_leader_epoch(&mut bytes, 3);
    bytes.freeze()
}
