//! Writes messages of magic 0 and 1, as brokers stored them.

#![allow(clippy::unwrap_used, reason = "tests")]

use crate::wire::compress::{self, Codec, Compression};

/// The attribute of a message whose timestamp the broker has set.
pub(crate) const LOG_APPEND_TIME: u8 = 1 << 3;

/// One message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Old<'a> {
    pub(crate) magic: i8,
    pub(crate) offset: i64,
    pub(crate) attributes: u8,
    /// Not in magic 0.
    pub(crate) timestamp: i64,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
}

impl<'a> Old<'a> {
    pub(crate) fn new(magic: i8, offset: i64, value: &'a str) -> Self {
        let value = Some(value.as_bytes());
        Self { magic, offset, attributes: 0, timestamp: 1_000 + offset, key: Some(b"key"), value }
    }

    pub(crate) fn write(&self) -> Vec<u8> {
        let mut checked = vec![self.magic.cast_unsigned(), self.attributes];
        if self.magic > 0 {
            checked.extend_from_slice(&self.timestamp.to_be_bytes());
        }
        for bytes in [self.key, self.value] {
            let length = bytes.map_or(-1, |bytes| i32::try_from(bytes.len()).unwrap());
            checked.extend_from_slice(&length.to_be_bytes());
            checked.extend_from_slice(bytes.unwrap_or_default());
        }
        let crc = crc32fast::hash(&checked).to_be_bytes();
        let length = i32::try_from(crc.len() + checked.len()).unwrap().to_be_bytes();
        [&self.offset.to_be_bytes()[..], &length, &crc, &checked].concat()
    }
}

/// A message that holds others. `attributes` are those beside the codec.
pub(crate) fn wrapped(magic: i8, offset: i64, attributes: u8, codec: Codec, messages: &[Old<'_>]) -> Vec<u8> {
    let plain: Vec<u8> = messages.iter().flat_map(Old::write).collect();
    wrap(magic, offset, attributes, codec, &plain)
}

/// A message that holds these bytes.
pub(crate) fn wrap(magic: i8, offset: i64, attributes: u8, codec: Codec, plain: &[u8]) -> Vec<u8> {
    let mut value = Vec::new();
    compress::compress(Compression::new(codec), plain, &mut value).unwrap();
    let attributes = attributes | codec.id();
    Old { magic, offset, attributes, timestamp: 9_000, key: None, value: Some(&value) }.write()
}
