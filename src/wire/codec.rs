//! The primitives of Kafka's message format, and the two traits that every generated message implements.
//!
//! A message is read from one [`bytes::Bytes`] by a [`Reader`] and written by a [`Writer`] into [`Segments`]: the small
//! fields lie in one buffer, and large `records` and `bytes` fields are passed on as they are, to be written vectored.
mod error;
mod reader;
mod segments;
mod writer;

#[cfg(test)]
pub(crate) use error::DecodeErrorKind;
pub(crate) use error::{DecodeError, EncodeError};
pub(crate) use reader::Reader;
pub(crate) use segments::Segments;
pub(crate) use writer::{Writer, check_encode_version, present, tagged, unsupported};

/// A message, or a part of one, that can be written in a version of its schema.
pub(crate) trait Encode {
    /// Writes `self` as `version` lays it out. After an error the writer holds half a message and must be dropped.
    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError>;
}

/// A message, or a part of one, that can be read in a version of its schema.
pub(crate) trait Decode: Sized {
    /// Reads what `version` lays out and leaves the reader behind it. Fields that the version lacks get the schema's
    /// default.
    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError>;
}

#[cfg(test)]
mod tests;
