//! Control records: the markers that end a transaction in a partition.

use std::fmt;

#[cfg(any(test, feature = "testing"))]
use bytes::Bytes;

#[cfg(any(test, feature = "testing"))]
use super::{
    encode::{AppendError, BatchBuilder},
    header::{Attributes, BatchHeader},
};

/// What a control record says: the second number of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ControlType {
    /// The producer's transaction is aborted: its records so far are void.
    Abort,
    /// The producer's transaction is committed.
    Commit,
    /// Something that concerns no client, such as a KRaft snapshot's frame; to be skipped.
    Other(i16),
}

impl ControlType {
    /// Reads the key of a control record: a version, then the type. Later versions may append to it.
    pub(crate) fn parse(key: Option<&[u8]>) -> Result<Self, ControlError> {
        let key = key.unwrap_or_default();
        let too_short = ControlError::KeyTooShort { len: key.len() };
        let (version, rest) = key.split_first_chunk::<2>().ok_or(too_short)?;
        let version = i16::from_be_bytes(*version);
        if version < 0 {
            return Err(ControlError::Version(version));
        }
        let kind = rest.first_chunk::<2>().ok_or(too_short)?;
        Ok(match i16::from_be_bytes(*kind) {
            0 => Self::Abort,
            1 => Self::Commit,
            other => Self::Other(other),
        })
    }
}

/// Why a control record's key cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ControlError {
    /// The key holds no version and type.
    KeyTooShort { len: usize },
    /// The version is negative.
    Version(i16),
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyTooShort { len } => write!(f, "key of a control record has {len} bytes, less than 4"),
            Self::Version(version) => write!(f, "key of a control record has version {version}"),
        }
    }
}

/// What a transaction's end is made of.
#[cfg(any(test, feature = "testing"))]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Marker {
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    pub(crate) coordinator_epoch: i32,
    pub(crate) commit: bool,
    /// Milliseconds since the epoch.
    pub(crate) timestamp: i64,
}

/// The batch that a broker appends to end a transaction, at base offset 0.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn end_transaction_marker(marker: Marker) -> Result<Bytes, AppendError> {
    let [version, kind] = [0i16, i16::from(marker.commit)].map(i16::to_be_bytes);
    let key = [version, kind].concat();
    let value = [&version[..], &marker.coordinator_epoch.to_be_bytes()].concat();
    let mut builder = BatchBuilder::new(0, 0);
    builder.append(marker.timestamp, Some(&key), Some(&value), &[])?;
    let header = BatchHeader {
        base_offset: 0,
        leader_epoch: -1,
        crc: 0,
        attributes: Attributes::default().with_transactional(true).with_control(true),
        last_offset_delta: 0,
        base_timestamp: marker.timestamp,
        max_timestamp: marker.timestamp,
        producer_id: marker.producer_id,
        producer_epoch: marker.producer_epoch,
        base_sequence: -1,
        count: 1,
    };
    Ok(builder.complete_as(&header))
}
