//! The memory of finished batches, for the next ones.

use std::sync::Mutex;

use bytes::BytesMut;

use crate::sync::lock;

/// Buffers to write batches into. Fresh memory costs more than filling it, because the kernel clears every page: an
/// append into a fresh batch of 256 KiB was measured at five times one into a used one.
#[derive(Debug)]
pub(crate) struct Spares {
    /// The most bytes that are kept.
    limit: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    buffers: Vec<BytesMut>,
    bytes: usize,
}

/// Smaller ones are not worth keeping, and larger ones too much to keep.
const WORTH_KEEPING: std::ops::RangeInclusive<usize> = 16 << 10..=2 << 20;

impl Spares {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, kept: Mutex::default() }
    }

    pub(crate) fn take(&self) -> Option<BytesMut> {
        let mut kept = lock(&self.kept);
        let buffer = kept.buffers.pop()?;
        kept.bytes -= buffer.capacity();
        Some(buffer)
    }

    pub(crate) fn put(&self, buffer: BytesMut) {
        if WORTH_KEEPING.contains(&buffer.capacity()) {
            let mut kept = lock(&self.kept);
            if kept.bytes + buffer.capacity() <= self.limit {
                kept.bytes += buffer.capacity();
                kept.buffers.push(buffer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_buffers_of_a_batch_s_size_are_kept() {
        let spares = Spares::new(4 << 20);
        spares.put(BytesMut::with_capacity(1 << 10));
        spares.put(BytesMut::with_capacity(4 << 20));
        assert!(spares.take().is_none());
        for _ in 0..100 {
            spares.put(BytesMut::with_capacity(256 << 10));
        }
        assert_eq!(std::iter::from_fn(|| spares.take()).count(), 16);
        spares.put(BytesMut::with_capacity(256 << 10));
        assert!(spares.take().is_some(), "what was taken leaves room");
    }
}
