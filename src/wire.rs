//! Bytes to values and back, with no state: frames, messages, record batches, codecs.

#![allow(dead_code, unused_imports, reason = "the machines that call this come next")]

pub(crate) mod batch;
pub(crate) mod calls;
pub(crate) mod codec;
pub(crate) mod compress;
pub(crate) mod crc;
#[cfg(feature = "testing")]
pub(crate) mod doors;
pub(crate) mod frame;
pub(crate) mod messages;
pub(crate) mod str;
pub(crate) mod uuid;
pub(crate) mod varint;
pub(crate) mod versions;
