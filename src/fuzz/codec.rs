//! Compression.

use super::input::Input;
use crate::wire::compress::{Codec, Compression, compress, decompress};

/// What an input may decompress to at most.
const LIMIT: usize = 1 << 20;

/// Decompresses arbitrary bytes under two caps, and checks that they come back from compression.
///
/// Input: the codec's id (modulo five), a level, a cap in units of 16 bytes (one byte each), then the data.
pub fn codec(input: &[u8]) {
    let mut input = Input::new(input);
    let codec = Codec::from_id(input.byte() % 5).expect("five codecs");
    let level = Some(i32::from(input.byte().cast_signed()));
    let small = usize::from(input.byte()) * 16;
    let data = input.rest();
    let all = within(codec, data, LIMIT);
    let capped = within(codec, data, small);
    match (&all, &capped) {
        (Some(all), Some(capped)) => assert!(all == capped, "the cap changes the data"),
        (Some(all), None) => assert!(all.len() > small, "refused for a cap that it keeps"),
        (None, Some(_)) => panic!("a smaller cap lets more through"),
        (None, None) => {}
    }
    let mut packed = Vec::new();
    compress(Compression { codec, level }, data, &mut packed).expect("every codec is built");
    assert_eq!(
        within(codec, &packed, data.len()).as_deref(),
        Some(data),
        "a round trip must not change the data"
    );
}

fn within(codec: Codec, data: &[u8], limit: usize) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let result = decompress(codec, data, limit, &mut out);
    // One byte tells "too large" from "just fits".
    assert!(out.len() <= limit + 1, "{} bytes under a cap of {limit}", out.len());
    result.ok().inspect(|()| assert!(out.len() <= limit, "passed over the cap")).map(|()| out)
}
