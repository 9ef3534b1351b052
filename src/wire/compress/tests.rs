#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::io::Write as _;

use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};
use proptest::prelude::*;

use super::*;

/// What decompression may hold besides its result: states, tables, and the room in which the result grows.
const OVERHEAD: u64 = 1 << 20;

fn codecs() -> impl Iterator<Item = Codec> {
    Codec::ALL.into_iter().filter(|codec| cfg!(feature = "zstd") || *codec != Codec::Zstd)
}

/// Those that do more than copy.
fn real_codecs() -> impl Iterator<Item = Codec> {
    codecs().filter(|codec| *codec != Codec::None)
}

fn compressed(codec: Codec, input: &[u8]) -> Vec<u8> {
    compressed_at(Compression::new(codec), input)
}

fn compressed_at(compression: Compression, input: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    compress(compression, input, &mut out).unwrap();
    out
}

fn decompressed(codec: Codec, input: &[u8], limit: usize) -> Result<Vec<u8>, CompressError> {
    let mut out = Vec::new();
    decompress(codec, input, limit, &mut out)?;
    Ok(out)
}

/// Decompresses and also gives the most memory that was held at a time.
fn measured(codec: Codec, input: &[u8], limit: usize) -> (Result<Vec<u8>, CompressError>, u64) {
    let mut result = Ok(Vec::new());
    let memory = allocation_counter::measure(|| result = decompressed(codec, input, limit));
    (result, memory.bytes_max)
}

/// Text-like bytes that compress, of any length.
fn text(len: usize) -> Vec<u8> {
    (0..len).map(|i| b"the quick brown fox jumps over the lazy dog"[(i * i / 7 + i) % 43]).collect()
}

#[test]
fn every_codec_gives_back_what_it_was_given() {
    for codec in codecs() {
        for len in [0, 1, 12, 13, 100, 32 << 10, (32 << 10) + 1, 64 << 10, 200_000, 1 << 20] {
            let input = text(len);
            let output = decompressed(codec, &compressed(codec, &input), len);
            assert!(output.unwrap() == input, "{codec} of {len} bytes");
        }
    }
}

#[test]
fn every_level_gives_back_what_it_was_given() {
    let input = text(100_000);
    let levels = [(Codec::Gzip, [i32::MIN, 1, 6, 9, 10]), (Codec::Zstd, [i32::MIN, -5, 1, 19, i32::MAX])];
    for (codec, levels) in levels {
        for level in levels {
            if codecs().any(|built| built == codec) {
                let packed = compressed_at(Compression { codec, level: Some(level) }, &input);
                assert!(decompressed(codec, &packed, input.len()).unwrap() == input, "{codec} {level}");
            }
        }
    }
}

#[test]
fn the_limit_is_exact() {
    for codec in codecs() {
        for len in [1, 1000, 70_000, 300_000] {
            let data = compressed(codec, &text(len));
            assert!(decompressed(codec, &data, len).is_ok(), "{codec} of {len} bytes");
            let refused = decompressed(codec, &data, len - 1);
            assert_eq!(refused, Err(CompressError::TooLarge { codec, limit: len - 1 }));
        }
    }
}

#[test]
fn compressing_appends() {
    for codec in codecs() {
        let mut out = b"before".to_vec();
        compress(Compression::new(codec), b"record", &mut out).unwrap();
        assert_eq!(out[..6], *b"before");
        assert_eq!(decompressed(codec, &out[6..], 100).unwrap(), b"record");
        let mut all = b"before".to_vec();
        decompress(codec, &out[6..], 6, &mut all).unwrap();
        assert_eq!(all, b"beforerecord");
    }
}

#[test]
fn a_bomb_stops_at_the_limit() {
    const LIMIT: usize = 100_000;
    for codec in real_codecs() {
        let bomb = compressed(codec, &vec![0; 4 << 20]);
        let (result, memory) = measured(codec, &bomb, LIMIT);
        assert_eq!(result, Err(CompressError::TooLarge { codec, limit: LIMIT }));
        // Room for what is certain to come is made in proportion to the input, never beyond the limit.
        assert!(memory < LIMIT as u64 * 2 + OVERHEAD, "{codec} took {memory} bytes");
    }
}

#[test]
fn a_cut_stream_never_passes_for_a_whole_one() {
    let input = text(3_000);
    for codec in real_codecs() {
        let whole = compressed(codec, &input);
        for cut in 0..whole.len() {
            let result = decompressed(codec, &whole[..cut], input.len());
            // A framed Snappy stream is whole at the end of every chunk.
            assert!(result.is_err() || (codec == Codec::Snappy && cut == 16), "{codec} cut to {cut}");
        }
    }
}

#[test]
fn a_flipped_bit_does_no_harm() {
    let input = text(2_000);
    for codec in real_codecs() {
        let whole = compressed(codec, &input);
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let (result, memory) = measured(codec, &flipped, input.len());
            assert!(result.map_or(0, |output| output.len()) <= input.len());
            assert!(memory < OVERHEAD, "{codec} took {memory} bytes for bit {bit}");
        }
    }
}

#[test]
fn streams_in_a_row_are_read_as_java_reads_them() {
    for codec in real_codecs() {
        let row = [compressed(codec, b"one "), compressed(codec, b"two")].concat();
        let expected: &[u8] = if codec == Codec::Lz4 { b"one " } else { b"one two" };
        assert_eq!(decompressed(codec, &row, 100).unwrap(), expected, "{codec}");
    }
}

#[test]
fn raw_snappy_is_read() {
    let input = text(100_000);
    let raw = snap::raw::Encoder::new().compress_vec(&input).unwrap();
    assert_eq!(decompressed(Codec::Snappy, &raw, input.len()).unwrap(), input);
    assert_eq!(
        decompressed(Codec::Snappy, &raw, input.len() - 1),
        Err(CompressError::TooLarge { codec: Codec::Snappy, limit: input.len() - 1 })
    );
}

#[test]
fn a_snappy_block_is_not_believed() {
    // A block that announces 4 GiB less one byte, and one that announces 16 MiB in five bytes.
    for announced in [&[0xff, 0xff, 0xff, 0xff, 0x0f][..], &[0x80, 0x80, 0x80, 0x08, 0x00]] {
        let (result, memory) = measured(Codec::Snappy, announced, 1 << 30);
        assert!(result.is_err());
        assert!(memory < 4096, "took {memory} bytes");
    }
    let mut newer = compressed(Codec::Snappy, b"data");
    newer[15] = 2;
    assert!(matches!(decompressed(Codec::Snappy, &newer, 100), Err(CompressError::Corrupt { .. })));
}

#[test]
fn every_form_of_lz4_frame_is_read() {
    let input = text(300_000);
    for bits in 0..16u8 {
        for size in [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max1MB, BlockSize::Max4MB] {
            let mode = if bits & 1 == 0 { BlockMode::Independent } else { BlockMode::Linked };
            let info = FrameInfo::new()
                .block_size(size)
                .block_mode(mode)
                .block_checksums(bits & 2 != 0)
                .content_checksum(bits & 4 != 0)
                .content_size((bits & 8 != 0).then_some(input.len() as u64));
            let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
            encoder.write_all(&input).unwrap();
            let frame = encoder.finish().unwrap();
            let output = decompressed(Codec::Lz4, &frame, input.len());
            assert!(output.unwrap() == input, "{size:?} blocks, form {bits:04b}");
        }
    }
}

#[test]
fn our_lz4_frames_are_read_by_others() {
    for len in [0, 1, 65_536, 65_537, 200_000] {
        let input = text(len);
        let frame = compressed(Codec::Lz4, &input);
        let output = std::io::read_to_string(FrameDecoder::new(&frame[..])).unwrap();
        assert_eq!(output.as_bytes(), input);
    }
}

#[test]
fn wrong_lz4_checksums_are_found() {
    let info = FrameInfo::new().block_checksums(true).content_checksum(true);
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(&text(100)).unwrap();
    let frame = encoder.finish().unwrap();
    assert!(decompressed(Codec::Lz4, &frame, 100).is_ok());
    for at in [6, frame.len() - 9, frame.len() - 1] {
        let mut wrong = frame.clone();
        wrong[at] ^= 1;
        let result = decompressed(Codec::Lz4, &wrong, 100);
        assert!(matches!(result, Err(CompressError::Corrupt { .. })), "byte {at}: {result:?}");
    }
}

#[cfg(feature = "zstd")]
#[test]
fn a_zstd_window_is_not_believed() {
    // A frame with one stored block of four bytes. The descriptor says that a window follows and no content size.
    let frame = |window: u8| {
        let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, window];
        frame.extend_from_slice(&[4 << 3 | 1, 0, 0]);
        frame.extend_from_slice(b"data");
        frame
    };
    // 128 MiB, as level 22 writes it.
    let (result, memory) = measured(Codec::Zstd, &frame(17 << 3), 100);
    assert_eq!(result.unwrap(), b"data");
    assert!(memory < OVERHEAD, "took {memory} bytes");
    // 256 MiB and 4 TiB.
    for window in [18 << 3, 31 << 3] {
        let (result, memory) = measured(Codec::Zstd, &frame(window), 1 << 30);
        assert!(matches!(result, Err(CompressError::Corrupt { .. })), "{result:?}");
        assert!(memory < OVERHEAD, "took {memory} bytes");
    }
}

#[cfg(feature = "zstd")]
#[test]
fn a_zstd_content_size_is_not_believed() {
    // One segment whose eight-byte content size is far beyond what its single block can make.
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0b1110_0000];
    frame.extend_from_slice(&(100u64 << 20).to_le_bytes());
    frame.extend_from_slice(&[4 << 3 | 1, 0, 0]);
    frame.extend_from_slice(b"data");
    for limit in [100, 1 << 30] {
        let (result, memory) = measured(Codec::Zstd, &frame, limit);
        assert!(result.is_err());
        assert!(memory < OVERHEAD, "took {memory} bytes");
    }
}

#[cfg(not(feature = "zstd"))]
#[test]
fn a_codec_that_is_not_built_says_so() {
    let error = CompressError::NotBuilt { codec: Codec::Zstd, feature: "zstd" };
    assert_eq!(decompressed(Codec::Zstd, b"", 100), Err(error));
    assert_eq!(compress(Compression::new(Codec::Zstd), b"", &mut Vec::new()), Err(error));
}

proptest! {
    #[test]
    fn any_bytes_round_trip(input: Vec<u8>, id in 0u8..5) {
        let codec = Codec::from_id(id).unwrap();
        prop_assume!(codecs().any(|built| built == codec));
        prop_assert_eq!(decompressed(codec, &compressed(codec, &input), input.len()), Ok(input));
    }

    #[test]
    fn garbage_is_refused_within_the_limit(input: Vec<u8>, id in 1u8..5) {
        let (result, memory) = measured(Codec::from_id(id).unwrap(), &input, 1_000);
        prop_assert!(result.map_or(0, |output| output.len()) <= 1_000);
        prop_assert!(memory < OVERHEAD);
    }
}
