//! CRC-32C, and how that of a whole changes with a part of it; and the CRC-32 of messages older than batches.

/// The Castagnoli polynomial, lowest power in the highest bit.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// x^(8·2^n) modulo the polynomial for each n: what 2^n more bytes multiply a CRC by.
static BYTES: [u32; 32] = powers();

/// The CRC-32C of `data`.
#[inline]
pub(crate) fn crc32c(data: &[u8]) -> u32 {
    crc32c::crc32c(data)
}

/// The CRC-32 of `data`, by the polynomial of Ethernet and gzip.
pub(crate) fn crc32(data: &[u8]) -> u32 {
    crc32fast::hash(data)
}

/// What a difference between two CRCs becomes once the same `len` bytes follow: XORed to the CRC of one whole it gives
/// that of the other.
///
/// It takes a fraction of a microsecond, less than the CRC of a few kilobytes. (The crc32c crate's own
/// `crc32c_combine` takes as long as the CRC of 256 KiB.)
pub(crate) fn carry(mut difference: u32, mut len: usize) -> u32 {
    for power in BYTES {
        if len & 1 != 0 {
            difference = multiply(power, difference);
        }
        len >>= 1;
    }
    debug_assert_eq!(len, 0, "more bytes than a batch has");
    difference
}

/// The product of two polynomials modulo [`POLYNOMIAL`].
const fn multiply(mut a: u32, mut b: u32) -> u32 {
    let mut product = 0;
    while a != 0 {
        if a & 1 << 31 != 0 {
            product ^= b;
        }
        a <<= 1;
        b = if b & 1 == 0 { b >> 1 } else { b >> 1 ^ POLYNOMIAL };
    }
    product
}

const fn powers() -> [u32; 32] {
    let mut powers = [0; 32];
    // x^8: x^0 is the highest bit.
    let mut power = 1 << (31 - 8);
    let mut n = 0;
    while n < powers.len() {
        powers[n] = power;
        power = multiply(power, power);
        n += 1;
    }
    powers
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_check_values_of_the_standards() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    proptest! {
        #[test]
        fn a_carried_difference_is_that_of_the_wholes(one: [u8; 40], other: [u8; 40], len in 0usize..100_000) {
            let tail: Vec<u8> = (0..len).map(|i| (i * 31 % 251) as u8).collect();
            let whole = |head: &[u8]| crc32c(&[head, &tail].concat());
            let carried = carry(crc32c(&one) ^ crc32c(&other), len);
            prop_assert_eq!(whole(&one) ^ carried, whole(&other));
        }
    }
}
