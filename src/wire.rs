//! Bytes to values and back, with no state: frames, messages, record batches, codecs.

pub(crate) mod calls;
pub(crate) mod codec;
pub(crate) mod messages;
pub(crate) mod str;
pub(crate) mod uuid;
pub(crate) mod versions;
