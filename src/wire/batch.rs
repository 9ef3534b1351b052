//! Record batches of magic 2 (KIP-98): the unit in which records are produced, stored and fetched.
//!
//! A batch is a header of 61 bytes, whose layout [`header`] names, and its records, compressed or not. [`encode`]
//! appends records into a growing batch, [`decode`] reads them lazily from a fetch response, and both borrow: a record
//! is copied once on its way in and not at all on its way out. What was written before there were batches, messages of
//! magic 0 and 1, [`legacy`] reads as such.

mod control;
mod decode;
mod encode;
mod error;
mod header;
mod legacy;
mod record;

pub(crate) use control::ControlType;
#[cfg(any(test, feature = "testing"))]
pub(crate) use control::{Marker, end_transaction_marker};
pub(crate) use decode::{Batch, Batches, RecordCursor};
pub(crate) use encode::{BatchBuilder, SealedBatch, Stamp, lone_record, size_bound};
pub(crate) use error::BatchError;
#[cfg(any(test, feature = "testing"))]
pub(crate) use error::BatchFault;
#[cfg(any(test, feature = "testing"))]
pub(crate) use header::{BatchHeader, HEADER_LEN, TimestampType, set_base_offset, set_leader_epoch};
#[cfg(test)]
pub(crate) use legacy::script as old;
pub(crate) use record::{HeadersIter, RawRecord, RecordRef, Span};

#[cfg(test)]
mod tests;
