//! Reads choices out of a fuzzer's bytes.

use std::time::Instant;

use crate::engine::machine::Now;

/// Draws from the front. When all bytes are used up, every choice is the smallest.
#[derive(Debug)]
pub(super) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> u8 {
        self.array::<1>()[0]
    }

    pub(super) fn i16(&mut self) -> i16 {
        i16::from_be_bytes(self.array())
    }

    pub(super) fn i32(&mut self) -> i32 {
        i32::from_be_bytes(self.array())
    }

    pub(super) fn is(&mut self) -> bool {
        self.byte() % 2 == 1
    }

    /// A number below `count`, of one byte; 0 if `count` is 0.
    pub(super) fn below(&mut self, count: usize) -> usize {
        usize::from(self.byte()).checked_rem(count).unwrap_or(0)
    }

    /// One of `all`, by one byte.
    pub(super) fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    /// Bytes behind their length, which is two bytes; fewer if fewer are left.
    pub(super) fn bytes(&mut self) -> &'a [u8] {
        let length = usize::from(u16::from_be_bytes(self.array()));
        self.take(length)
    }

    /// All that is left.
    pub(super) fn rest(&mut self) -> &'a [u8] {
        self.take(usize::MAX)
    }

    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let taken = self.take(N);
        array[..taken.len()].copy_from_slice(taken);
        array
    }
}

/// The moment at which every run begins. Only what passes after it means anything.
pub(super) fn start() -> Now {
    #[expect(clippy::disallowed_methods, reason = "an instant comes from nowhere else")]
    let instant = Instant::now();
    Now { instant, unix_ms: 1_700_000_000_000 }
}
