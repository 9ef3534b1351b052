//! The four codecs of Kafka's record batches, each in both directions and in pure Rust.
//!
//! Decompression streams under a cap: it never reserves memory because a length in the data says so, and stops with
//! [`CompressError::TooLarge`] at the first byte over the cap.

mod gzip;
mod lz4;
mod snappy;
mod types;
mod xxh32;
#[cfg(feature = "zstd")]
mod zstd;

use bytes::Bytes;

pub(crate) use types::{Codec, CompressError, Compression};

/// Appends `input`, compressed, to `out`.
///
/// # Errors
/// [`CompressError::NotBuilt`] only: every input can be compressed.
pub(crate) fn compress(
    compression: Compression,
    input: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), CompressError> {
    match compression.codec {
        Codec::None => out.extend_from_slice(input),
        Codec::Gzip => gzip::compress(input, compression.level, out),
        Codec::Snappy => snappy::compress(input, out),
        Codec::Lz4 => lz4::compress(input, out),
        #[cfg(feature = "zstd")]
        Codec::Zstd => zstd::compress(input, compression.level, out),
        #[cfg(not(feature = "zstd"))]
        Codec::Zstd => return Err(CompressError::NotBuilt { codec: Codec::Zstd, feature: "zstd" }),
    }
    Ok(())
}

/// Text-like records shrink to about a quarter, so this much room mostly suffices.
const USUAL_RATIO: usize = 4;

/// Appends what `input` decompresses to, at most `limit` bytes, to `out`.
///
/// After an error `out` may hold a part of the data.
pub(crate) fn decompress(
    codec: Codec,
    input: &[u8],
    limit: usize,
    out: &mut Vec<u8>,
) -> Result<(), CompressError> {
    decompress_by(lz4::decompress, codec, input, limit, out)
}

/// As [`decompress`], what a message of magic 0 holds: the checksum in the header of its LZ4 frames is not looked at, since
/// Kafka wrote a wrong one (KAFKA-3160).
pub(crate) fn decompress_of_magic_0(
    codec: Codec,
    input: &[u8],
    limit: usize,
    out: &mut Vec<u8>,
) -> Result<(), CompressError> {
    decompress_by(lz4::decompress_unchecked, codec, input, limit, out)
}

/// Takes the data and the limit, and appends to what comes last.
type Decompress = fn(&[u8], usize, &mut Vec<u8>) -> Result<(), CompressError>;

fn decompress_by(
    lz4: Decompress,
    codec: Codec,
    input: &[u8],
    limit: usize,
    out: &mut Vec<u8>,
) -> Result<(), CompressError> {
    // Where a codec reads one byte over the limit, that must not overflow.
    let limit = limit.min(isize::MAX.unsigned_abs() - 1);
    out.reserve(input.len().saturating_mul(USUAL_RATIO).min(limit));
    match codec {
        Codec::None if input.len() > limit => Err(CompressError::TooLarge { codec, limit }),
        Codec::None => {
            out.extend_from_slice(input);
            Ok(())
        }
        Codec::Gzip => gzip::decompress(input, limit, out),
        Codec::Snappy => snappy::decompress(input, limit, out),
        Codec::Lz4 => lz4(input, limit, out),
        #[cfg(feature = "zstd")]
        Codec::Zstd => zstd::decompress(input, limit, out),
        #[cfg(not(feature = "zstd"))]
        Codec::Zstd => Err(CompressError::NotBuilt { codec, feature: "zstd" }),
    }
}

/// Decompressed data in no more memory than it needs: records may be kept for long.
pub(crate) fn shrunk(mut data: Vec<u8>) -> Bytes {
    if data.capacity() / 2 > data.len() {
        data.shrink_to_fit();
    }
    Bytes::from(data)
}

#[cfg(test)]
mod tests;
