use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

/// Bytes to be sent, in pieces that are not copied together. As a [`Buf`] it is what is left to send, so that a driver
/// writes it vectored and advances it by what was taken.
#[derive(Clone, Debug, Default)]
pub(crate) struct Segments {
    parts: VecDeque<Bytes>,
    remaining: usize,
}

impl Segments {
    /// Has room for `parts` pieces.
    pub(crate) fn with_capacity(parts: usize) -> Self {
        Self { parts: VecDeque::with_capacity(parts), remaining: 0 }
    }

    /// Appends a piece.
    pub(crate) fn push(&mut self, part: Bytes) {
        if !part.is_empty() {
            self.remaining = self.remaining.saturating_add(part.len());
            self.parts.push_back(part);
        }
    }

    /// Bytes left to send.
    pub(crate) fn len(&self) -> usize {
        self.remaining
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.remaining == 0
    }

    /// The pieces left to send, in order.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &Bytes> {
        self.parts.iter()
    }

    /// One buffer of it all: copied unless there is only one piece.
    pub(crate) fn into_bytes(mut self) -> Bytes {
        if self.parts.len() <= 1 {
            return self.parts.pop_front().unwrap_or_default();
        }
        let mut all = BytesMut::with_capacity(self.remaining);
        for part in &self.parts {
            all.extend_from_slice(part);
        }
        all.freeze()
    }
}

impl Buf for Segments {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        self.parts.front().map_or(&[], |part| part)
    }

    fn chunks_vectored<'a>(&'a self, dst: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (slot, part) in dst.iter_mut().zip(&self.parts) {
            *slot = IoSlice::new(part);
            filled += 1;
        }
        filled
    }

    /// Passes over `count` bytes; over more than are left, nothing is left.
    fn advance(&mut self, count: usize) {
        let mut count = count.min(self.remaining);
        self.remaining -= count;
        while let Some(front) = self.parts.front_mut() {
            if count < front.len() {
                front.advance(count);
                break;
            }
            count -= front.len();
            self.parts.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sending_takes_the_pieces_from_the_front() {
        let mut segments = Segments::default();
        for part in ["abc", "", "d", "efgh"] {
            segments.push(Bytes::from_static(part.as_bytes()));
        }
        assert_eq!((segments.len(), segments.parts().count()), (8, 3));
        let mut slices = [IoSlice::new(&[]); 2];
        assert_eq!(segments.chunks_vectored(&mut slices), 2);
        assert_eq!((&*slices[0], &*slices[1]), (&b"abc"[..], &b"d"[..]));
        segments.advance(4);
        assert_eq!((segments.chunk(), segments.remaining()), (&b"efgh"[..], 4));
        segments.advance(1);
        assert_eq!(segments.clone().into_bytes(), &b"fgh"[..]);
        segments.advance(100);
        assert!(segments.is_empty());
        assert!(segments.chunk().is_empty());
    }
}
