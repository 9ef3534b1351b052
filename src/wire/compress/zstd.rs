//! Zstandard over structured-zstd.

use std::cell::RefCell;

use structured_zstd::decoding::FrameDecoder;
use structured_zstd::decoding::errors::FrameDecoderError;
use structured_zstd::encoding::{CompressionLevel, FrameCompressor};

use super::types::{Codec, CompressError};

const DEFAULT_LEVEL: i32 = 3;
/// libzstd's own range.
const LEVELS: std::ops::RangeInclusive<i32> = -131_072..=22;
/// The largest window that libzstd reads unless told otherwise (`ZSTD_WINDOWLOG_LIMIT_DEFAULT`); level 22 writes it.
const MAX_WINDOW: u64 = 1 << 27;
/// No bytes make more than four that repeat one byte through a whole block of 128 KiB.
const MAX_RATIO: usize = (128 << 10) / 4;
/// A decoder that holds more than this after use is dropped, not kept for the thread.
const KEEP: usize = 4 << 20;
/// How much room a step of decompression gets at least and at most.
const MIN_STEP: usize = 16 << 10;
const MAX_STEP: usize = 1 << 20;

thread_local! {
    /// The tables of a level are megabytes, so each thread keeps those that it used last.
    static ENCODER: RefCell<Option<(i32, FrameCompressor)>> = const { RefCell::new(None) };
    static DECODER: RefCell<Option<FrameDecoder>> = const { RefCell::new(None) };
}

pub(super) fn compress(input: &[u8], level: Option<i32>, out: &mut Vec<u8>) {
    let level = level.unwrap_or(DEFAULT_LEVEL).clamp(*LEVELS.start(), *LEVELS.end());
    ENCODER.with_borrow_mut(|kept| {
        let mut encoder = match kept.take() {
            Some((of, encoder)) if of == level => encoder,
            _ => FrameCompressor::new(CompressionLevel::Level(level)),
        };
        if out.is_empty() {
            encoder.compress_independent_frame_into(input, out);
        } else {
            // The encoder clears what it is given.
            out.extend_from_slice(&encoder.compress_independent_frame(input));
        }
        *kept = Some((level, encoder));
    });
}

pub(super) fn decompress(input: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), CompressError> {
    DECODER.with_borrow_mut(|kept| {
        let mut decoder = kept.take().unwrap_or_default();
        // The ceiling is a constant in range, so this cannot fail.
        let ceiling = decoder.set_max_window_size(MAX_WINDOW);
        debug_assert!(ceiling.is_ok(), "window ceiling out of range");
        let result = decompress_frames(&mut decoder, input, limit, out);
        // After an error the decoder is in an unknown state.
        if result.is_ok() && decoder.workspace_size() <= KEEP {
            *kept = Some(decoder);
        }
        result
    })
}

/// Reads frame after frame, as Java's `ZstdInputStream` does.
fn decompress_frames(
    decoder: &mut FrameDecoder,
    mut input: &[u8],
    limit: usize,
    out: &mut Vec<u8>,
) -> Result<(), CompressError> {
    let start = out.len();
    if input.is_empty() {
        return Err(TRUNCATED);
    }
    while !input.is_empty() {
        if let Some(rest) = skip_skippable(input)? {
            input = rest;
            continue;
        }
        decoder.init(&mut input).map_err(|error| convert(&error))?;
        // Zero if the frame does not say. The decoder reserves what the frame says, so that must be possible.
        let announced = usize::try_from(decoder.content_size()).unwrap_or(usize::MAX);
        if announced > limit - (out.len() - start) {
            return Err(CompressError::TooLarge { codec: Codec::Zstd, limit });
        }
        if announced > input.len().saturating_mul(MAX_RATIO) {
            return Err(corrupt("a frame announces more than its bytes can make"));
        }
        loop {
            let end = out.len();
            let left = limit - (end - start);
            // Growing with what was there so far; one byte over the limit tells "too large" from "just fits".
            let step = (end - start).clamp(MIN_STEP, MAX_STEP).min(left + 1);
            out.resize(end + step, 0);
            let target = out.get_mut(end..).unwrap_or_default();
            let (read, written) = decoder.decode_from_to(input, target).map_err(|error| convert(&error))?;
            out.truncate(end + written);
            input = input.get(read..).unwrap_or_default();
            if written > left {
                return Err(CompressError::TooLarge { codec: Codec::Zstd, limit });
            }
            if decoder.is_finished() && decoder.can_collect() == 0 {
                break;
            }
            if read == 0 && written == 0 {
                return Err(TRUNCATED);
            }
        }
    }
    Ok(())
}

/// The bytes behind a skippable frame, if one starts here (RFC 8878, 3.1.2).
fn skip_skippable(input: &[u8]) -> Result<Option<&[u8]>, CompressError> {
    let Some((magic, rest)) = input.split_first_chunk::<4>() else { return Err(TRUNCATED) };
    if !(0x184d_2a50..=0x184d_2a5f).contains(&u32::from_le_bytes(*magic)) {
        return Ok(None);
    }
    let (len, rest) = rest.split_first_chunk::<4>().ok_or(TRUNCATED)?;
    let len = usize::try_from(u32::from_le_bytes(*len)).unwrap_or(usize::MAX);
    rest.get(len..).map(Some).ok_or(TRUNCATED)
}

const TRUNCATED: CompressError = CompressError::Truncated { codec: Codec::Zstd };

fn convert(error: &FrameDecoderError) -> CompressError {
    let reason = match error {
        FrameDecoderError::WindowSizeTooBig { .. } => "the window is larger than 128 MiB",
        FrameDecoderError::ReadFrameHeaderError(_) => "no Zstandard frame",
        _ => "no legal frame",
    };
    corrupt(reason)
}

const fn corrupt(reason: &'static str) -> CompressError {
    CompressError::Corrupt { codec: Codec::Zstd, reason }
}
