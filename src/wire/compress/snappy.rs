//! Snappy, in the framing of xerial's snappy-java, which Kafka's Java client writes, and raw, which some others write.
//!
//! A stream is a 16-byte header, then chunks: a 32-bit big-endian length and that many bytes of raw Snappy. A header
//! may come again in place of a chunk: streams can be concatenated.

use std::cell::RefCell;

use snap::raw;

use super::types::{Codec, CompressError};

const MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const HEADER_LEN: usize = 16;
/// Version and lowest compatible version, both 1.
const VERSIONS: [u8; 8] = [0, 0, 0, 1, 0, 0, 0, 1];
/// How much snappy-java puts into one chunk.
const CHUNK: usize = 32 * 1024;
/// No element of the Snappy format makes more than this many bytes of each of its own: a copy of 64 bytes takes three.
const MAX_RATIO: usize = 22;

thread_local! {
    static ENCODER: RefCell<raw::Encoder> = RefCell::new(raw::Encoder::new());
}

pub(super) fn compress(input: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSIONS);
    ENCODER.with_borrow_mut(|encoder| {
        for chunk in input.chunks(CHUNK) {
            compress_chunk(encoder, chunk, out);
        }
    });
}

fn compress_chunk(encoder: &mut raw::Encoder, chunk: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    let data = start + 4;
    out.resize(data + raw::max_compress_len(chunk.len()), 0);
    // The encoder refuses only inputs of 4 GiB and outputs that are too small.
    let len = out.get_mut(data..).and_then(|room| encoder.compress(chunk, room).ok()).unwrap_or_default();
    debug_assert!(len > 0, "snappy refused a chunk");
    if let Some(prefix) = out.get_mut(start..data) {
        // A chunk of 32 KiB stays far below 4 GiB, so the cast is exact.
        prefix.copy_from_slice(&(len as u32).to_be_bytes());
    }
    out.truncate(data + len);
}

pub(super) fn decompress(input: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), CompressError> {
    let start = out.len();
    if !input.starts_with(&MAGIC) {
        return decompress_raw(input, start, limit, out);
    }
    let mut rest = skip_header(input)?;
    while !rest.is_empty() {
        if rest.starts_with(&MAGIC) {
            rest = skip_header(rest)?;
            continue;
        }
        let (prefix, tail) = rest.split_first_chunk::<4>().ok_or(TRUNCATED)?;
        let len = usize::try_from(u32::from_be_bytes(*prefix)).unwrap_or(usize::MAX);
        let (chunk, tail) = tail.split_at_checked(len).ok_or(TRUNCATED)?;
        decompress_raw(chunk, start, limit, out)?;
        rest = tail;
    }
    Ok(())
}

const TRUNCATED: CompressError = CompressError::Truncated { codec: Codec::Snappy };

/// Cuts off a header. Java refuses a stream whose lowest compatible version is above its own, 1.
fn skip_header(input: &[u8]) -> Result<&[u8], CompressError> {
    let (header, rest) = input.split_first_chunk::<HEADER_LEN>().ok_or(TRUNCATED)?;
    match header.last_chunk::<4>() {
        Some(compatible) if i32::from_be_bytes(*compatible) <= 1 => Ok(rest),
        _ => Err(corrupt("the stream needs a newer version of the framing")),
    }
}

/// Appends one raw block; `out` holds at most `limit` bytes from `start` on afterwards.
fn decompress_raw(input: &[u8], start: usize, limit: usize, out: &mut Vec<u8>) -> Result<(), CompressError> {
    let end = out.len();
    let announced = raw::decompress_len(input).map_err(|_| corrupt("bad length of a block"))?;
    if announced > limit.saturating_sub(end - start) {
        return Err(CompressError::TooLarge { codec: Codec::Snappy, limit });
    }
    // The announced length is a claim: reserve no more than these bytes can make.
    if announced > input.len().saturating_mul(MAX_RATIO) {
        return Err(corrupt("a block announces more than its bytes can make"));
    }
    if input.is_empty() {
        return Err(TRUNCATED);
    }
    out.resize(end + announced, 0);
    let room = out.get_mut(end..).unwrap_or_default();
    raw::Decoder::new().decompress(input, room).map_err(|_| corrupt("no legal block"))?;
    Ok(())
}

const fn corrupt(reason: &'static str) -> CompressError {
    CompressError::Corrupt { codec: Codec::Snappy, reason }
}
