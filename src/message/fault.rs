//! Batches that cannot be read.

use crate::{
    error::{Error, ErrorKind},
    types::TopicPartition,
    wire::batch::BatchError,
};

/// What a user learns of a batch that cannot be read.
pub(crate) fn corrupt_batch(partition: &TopicPartition, error: &BatchError) -> Error {
    let kind = ErrorKind::CorruptBatch {
        partition: partition.clone(),
        offset: error.base_offset,
        next_offset: error.last_offset.and_then(|last| last.checked_add(1)),
        detail: error.fault.to_string(),
    };
    kind.into()
}
