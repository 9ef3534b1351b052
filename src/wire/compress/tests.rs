#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use proptest::prelude::*;

use super::*;

fn codecs() -> impl Iterator<Item = Codec> {
    Codec::ALL.into_iter().filter(|codec| cfg!(feature = "zstd") || *codec != Codec::Zstd)
}

fn compressed(codec: Codec, input: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    compress(Compression::new(codec), input, &mut out).unwrap();
    out
}

fn decompressed(codec: Codec, input: &[u8], limit: usize) -> Result<Vec<u8>, CompressError> {
    let mut out = Vec::new();
    decompress(codec, input, limit, &mut out)?;
    Ok(out)
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

proptest! {
    #[test]
    fn any_bytes_round_trip(input: Vec<u8>, id in 0u8..5) {
        let codec = Codec::from_id(id).unwrap();
        prop_assume!(codecs().any(|it| it == codec));
        prop_assert_eq!(decompressed(codec, &compressed(codec, &input), input.len()), Ok(input));
    }

    #[test]
    fn garbage_is_refused_within_the_limit(input: Vec<u8>, id in 1u8..5) {
        let codec = Codec::from_id(id).unwrap();
        let mut out = Vec::new();
        let _ = decompress(codec, &input, 1000, &mut out);
        prop_assert!(out.capacity() < 1 << 20);
    }
}
