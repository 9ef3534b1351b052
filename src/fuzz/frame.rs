//! What a connection receives, cut into frames.

use bytes::{Bytes, BytesMut};

use super::input::Input;
use crate::wire::frame::{FrameDecoder, FrameError};

const MAX_FRAME: usize = 1 << 20;
/// What may be reserved while little has arrived.
const AHEAD: usize = 16 << 10;

/// Decodes bytes that arrive at once, and again as they arrive in pieces: the frames are the same, and what is reserved
/// depends on what arrived, not on what is announced.
///
/// Input: the lengths of the pieces (bytes behind their length in two bytes), then what arrives.
pub fn frame(input: &[u8]) {
    let mut input = Input::new(input);
    let pieces: Vec<usize> = input.bytes().iter().map(|piece| usize::from(*piece) + 1).collect();
    let stream = input.rest();
    let whole = decode([stream].into_iter());
    let mut rest = stream;
    let mut pieces = pieces.iter().cycle();
    let cut = std::iter::from_fn(|| {
        let (piece, left) = rest.split_at(pieces.next().copied().unwrap_or(1).min(rest.len()));
        rest = left;
        (!piece.is_empty()).then_some(piece)
    });
    assert_eq!(decode(cut), whole, "the frames depend on how they arrive");
}

/// The frames, and what came behind the last: the error, or the bytes of a frame that is not whole.
fn decode<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Bytes>, Result<Vec<u8>, FrameError>) {
    let mut decoder = FrameDecoder::new(MAX_FRAME);
    let (mut buf, mut frames) = (BytesMut::new(), Vec::new());
    for piece in pieces {
        let want = decoder.want(&buf);
        assert!(want > 0, "a read into no room would never end");
        // A connection that carried a frame this long before may carry another.
        let longest = frames.iter().map(|frame: &Bytes| frame.len() + 4).max().unwrap_or(0);
        let most = buf.len().max(longest).max(AHEAD);
        assert!(want <= most, "reserves {want} bytes when {} have arrived", buf.len());
        buf.extend_from_slice(piece);
        loop {
            match decoder.next(&mut buf) {
                Ok(Some(frame)) => {
                    assert!(frame.len() <= MAX_FRAME, "a frame over the limit");
                    frames.push(frame);
                }
                Ok(None) => break,
                Err(error) => return (frames, Err(error)),
            }
        }
    }
    (frames, Ok(buf.to_vec()))
}
