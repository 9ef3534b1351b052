//! gzip (RFC 1952) over flate2's deflate.

use std::cell::RefCell;
use std::io::{ErrorKind, Read};

use flate2::bufread::MultiGzDecoder;
use flate2::{Compress, Compression as Level, Crc, FlushCompress, Status};

use super::types::{Codec, CompressError};

const DEFAULT_LEVEL: i32 = 6;

/// A gzip header with no name, time or flags, from an unknown system, as Java's `GZIPOutputStream` writes it since
/// Java 16.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

thread_local! {
    /// A deflate state is 300 KB, so each thread keeps the one of the level that it used last.
    static DEFLATE: RefCell<Option<(u32, Compress)>> = const { RefCell::new(None) };
}

pub(super) fn compress(input: &[u8], level: Option<i32>, out: &mut Vec<u8>) {
    let level = level.unwrap_or(DEFAULT_LEVEL).clamp(1, 9).unsigned_abs();
    out.extend_from_slice(&HEADER);
    DEFLATE.with_borrow_mut(|kept| {
        let mut deflate = match kept.take() {
            Some((of, mut deflate)) if of == level => {
                deflate.reset();
                deflate
            }
            _ => Compress::new(Level::new(level), false),
        };
        deflate_all(&mut deflate, input, out);
        *kept = Some((level, deflate));
    });
    let mut crc = Crc::new();
    crc.update(input);
    out.extend_from_slice(&crc.sum().to_le_bytes());
    out.extend_from_slice(&crc.amount().to_le_bytes());
}

fn deflate_all(deflate: &mut Compress, input: &[u8], out: &mut Vec<u8>) {
    loop {
        // The state is fresh, so it has consumed only of this input: the cast is exact.
        let rest = input.get(deflate.total_in() as usize..).unwrap_or_default();
        out.reserve((rest.len() / 4).max(256));
        match deflate.compress_vec(rest, out, FlushCompress::Finish) {
            Ok(Status::StreamEnd) => return,
            // More room is needed: deflate fails only when it is misused.
            Ok(Status::Ok | Status::BufError) => {}
            Err(_) => return debug_assert!(false, "deflate refused its input"),
        }
    }
}

pub(super) fn decompress(input: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), CompressError> {
    let start = out.len();
    // One byte over the limit tells "too large" from "just fits".
    let mut members = MultiGzDecoder::new(input).take(limit as u64 + 1);
    match members.read_to_end(out) {
        Ok(_) if out.len() - start > limit => Err(CompressError::TooLarge { codec: Codec::Gzip, limit }),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
            Err(CompressError::Truncated { codec: Codec::Gzip })
        }
        Err(_) => Err(CompressError::Corrupt { codec: Codec::Gzip, reason: "no legal gzip stream" }),
    }
}
