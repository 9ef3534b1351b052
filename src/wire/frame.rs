//! Cuts what a connection receives into frames: four bytes of length, then as many bytes.

use std::fmt;

use bytes::{Bytes, BytesMut};

/// The length in front of a frame.
const PREFIX_BYTES: usize = 4;

/// The least that a frame can hold: a correlation id.
const MIN_FRAME: usize = 4;

/// The room to read into while little is known of what comes.
const READ_BYTES: usize = 16 << 10;

/// Splits frames off a buffer, and refuses lengths that no peer of ours sends.
#[derive(Clone, Debug)]
pub(crate) struct FrameDecoder {
    max_frame: usize,
    /// The longest frame that came whole, with its prefix.
    longest: usize,
}

impl FrameDecoder {
    /// `max_frame` is the longest frame in bytes, without its prefix: the setting `receive_message_max_bytes`.
    pub(crate) fn new(max_frame: usize) -> Self {
        Self { max_frame, longest: 0 }
    }

    /// The next frame without its prefix, if all of it is in `buf`. After an error the connection is of no more use: where
    /// the next frame begins is unknown.
    pub(crate) fn next(&mut self, buf: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
        let Some(length) = self.length(buf)? else { return Ok(None) };
        let end = PREFIX_BYTES.saturating_add(length);
        if buf.len() < end {
            return Ok(None);
        }
        self.longest = self.longest.max(end);
        let frame = buf.split_to(end).freeze();
        Ok(Some(frame.slice(PREFIX_BYTES..)))
    }

    /// How many bytes to reserve in `buf` before reading into it. The room ends where the frame ends. It at most doubles
    /// what has really arrived of this frame, or is as much as a frame before had, so that a length alone makes nobody
    /// allocate; and where frames are much alike, as the answers to fetches are, none is copied as it grows.
    pub(crate) fn want(&self, buf: &[u8]) -> usize {
        match self.length(buf) {
            Ok(Some(length)) => {
                let missing = PREFIX_BYTES.saturating_add(length).saturating_sub(buf.len());
                missing.min(buf.len().max(self.longest).max(READ_BYTES))
            }
            Ok(None) | Err(_) => READ_BYTES,
        }
    }

    /// The length that `buf` begins with, once it is all there.
    fn length(&self, buf: &[u8]) -> Result<Option<usize>, FrameError> {
        let Some(prefix) = buf.first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
        let length = i32::from_be_bytes(*prefix);
        match usize::try_from(length) {
            Ok(length) if (MIN_FRAME..=self.max_frame).contains(&length) => Ok(Some(length)),
            _ => Err(FrameError { length, limit: self.max_frame, looks_like: other_protocol(*prefix) }),
        }
    }
}

/// A length that no frame has. The setting that holds the limit is `receive_message_max_bytes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameError {
    /// The length announced, in bytes.
    pub(crate) length: i32,
    /// The longest frame allowed.
    pub(crate) limit: usize,
    /// The protocol whose first bytes these would be.
    pub(crate) looks_like: Option<&'static str>,
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { length, limit, looks_like } = self;
        write!(f, "a frame of {length} bytes was announced, ")?;
        if usize::try_from(*length).is_ok_and(|length| length > *limit) {
            write!(f, "over the limit of {limit} (receive_message_max_bytes)")?;
        } else {
            write!(f, "under the {MIN_FRAME} bytes that every frame has")?;
        }
        match looks_like {
            Some(protocol) => write!(f, "; the bytes look like {protocol}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for FrameError {}

/// What else than Kafka's protocol begins with these bytes. Read as a length, each is over 300 MB.
fn other_protocol(prefix: [u8; PREFIX_BYTES]) -> Option<&'static str> {
    match prefix {
        [b'H', b'T', b'T', b'P'] => Some("HTTP"),
        [b'S', b'S', b'H', b'-'] => Some("SSH"),
        // The kinds of TLS records: change cipher spec, alert, handshake, data; then the major version.
        [0x14..=0x17, 3, ..] => Some("TLS"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use bytes::BufMut;
    use proptest::prelude::*;

    use super::*;

    fn framed(bodies: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for body in bodies {
            bytes.put_u32(u32::try_from(body.len()).unwrap());
            bytes.extend_from_slice(body);
        }
        bytes
    }

    proptest! {
        #[test]
        fn frames_come_out_whole_however_they_arrive(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 4..40), 0..6),
            steps in prop::collection::vec(1..30usize, 1..20),
        ) {
            let mut decoder = FrameDecoder::new(1000);
            let bytes = framed(&bodies);
            let (mut buf, mut found, mut rest) = (BytesMut::new(), Vec::new(), bytes.as_slice());
            for step in steps.iter().cycle() {
                while let Some(frame) = decoder.next(&mut buf).unwrap() {
                    found.push(frame.to_vec());
                }
                if rest.is_empty() {
                    break;
                }
                let (now, later) = rest.split_at((*step).min(rest.len()));
                buf.extend_from_slice(now);
                rest = later;
            }
            prop_assert_eq!(found, bodies);
            prop_assert!(buf.is_empty());
        }
    }

    fn error(prefix: [u8; 4]) -> FrameError {
        FrameDecoder::new(100 << 20).next(&mut BytesMut::from(&prefix[..])).unwrap_err()
    }

    #[test]
    fn lengths_that_no_frame_has_are_refused_before_the_frame_arrives() {
        let limit = 100 << 20;
        assert_eq!(error([0xff; 4]), FrameError { length: -1, limit, looks_like: None });
        assert_eq!(error([0, 0, 0, 3]), FrameError { length: 3, limit, looks_like: None });
        let too_long = error([0x7f, 0xff, 0xff, 0xff]);
        assert_eq!(too_long, FrameError { length: i32::MAX, limit, looks_like: None });
        assert_eq!(
            too_long.to_string(),
            "a frame of 2147483647 bytes was announced, over the limit of 104857600 (receive_message_max_bytes)"
        );
        assert!(error([0x80, 0, 0, 0]).to_string().contains("under the 4 bytes"));
    }

    #[test]
    fn the_limit_itself_is_allowed() {
        let mut decoder = FrameDecoder::new(8);
        assert_eq!(decoder.next(&mut BytesMut::from(&[0, 0, 0, 8][..])), Ok(None));
        assert!(decoder.next(&mut BytesMut::from(&[0, 0, 0, 9][..])).is_err());
    }

    #[test]
    fn other_protocols_are_named() {
        assert_eq!(error(*b"HTTP").looks_like, Some("HTTP"));
        assert_eq!(error(*b"SSH-").looks_like, Some("SSH"));
        // An alert, as a TLS server answers a client that speaks plain text.
        assert_eq!(error([0x15, 3, 3, 0]).looks_like, Some("TLS"));
        assert!(error([0x15, 3, 3, 0]).to_string().ends_with("look like TLS"));
    }

    #[test]
    fn the_room_to_read_into_never_outgrows_what_has_arrived() {
        let mut decoder = FrameDecoder::new(100 << 20);
        let whole = framed(&[vec![1; 1 << 20]]);
        // The prefix alone promises a mebibyte and gets no more than an empty buffer would.
        assert_eq!(decoder.want(&[]), READ_BYTES);
        assert_eq!(decoder.want(&whole[..4]), READ_BYTES);
        assert_eq!(decoder.want(&whole[..100_000]), 100_000);
        assert_eq!(decoder.want(&whole[..(1 << 20) - 6]), 10);
        let (mut arrived, mut rounds) = (4usize, 0);
        while arrived < whole.len() {
            arrived += decoder.want(&whole[..arrived]);
            rounds += 1;
        }
        assert_eq!(arrived, whole.len());
        assert!(rounds <= 8, "{rounds} rounds for a mebibyte");

        assert!(decoder.next(&mut BytesMut::from(&whole[..])).unwrap().is_some());
        assert_eq!(decoder.want(&whole[..4]), 1 << 20, "as much came before");
        assert_eq!(decoder.want(&[0x05, 0, 0, 0]), whole.len(), "and no more than that");
    }
}
