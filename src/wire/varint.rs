//! Variable-length integers: base-128 groups, low group first, as in Protocol Buffers.
//!
//! Record batches write signed numbers in zigzag form (`ByteUtils.writeVarint`, `writeVarlong`); the flexible message
//! versions write unsigned ones. A number may be padded with zero groups, as Java's reader allows, but not beyond the
//! groups that its type can need.

use std::fmt;

/// Groups that a 32-bit number can need.
pub(crate) const MAX_LEN_32: usize = 5;
/// Groups that a 64-bit number can need.
pub(crate) const MAX_LEN_64: usize = 10;

/// Why bytes are not a variable-length integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VarintError {
    /// The number does not fit its type, or has more groups than the type can need.
    TooLarge,
    /// The input ends within the number.
    Truncated,
}

impl fmt::Display for VarintError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "variable-length integer is too large for its type",
            Self::Truncated => "input ends within a variable-length integer",
        })
    }
}

/// Reads a zigzag 32-bit number at `*pos` and moves `*pos` behind it.
#[inline]
pub(crate) fn read_i32(buf: &[u8], pos: &mut usize) -> Result<i32, VarintError> {
    read_u32(buf, pos).map(unzigzag_32)
}

/// Reads a zigzag 64-bit number at `*pos` and moves `*pos` behind it.
#[inline]
pub(crate) fn read_i64(buf: &[u8], pos: &mut usize) -> Result<i64, VarintError> {
    read_u64(buf, pos).map(unzigzag_64)
}

/// Reads an unsigned 32-bit number at `*pos` and moves `*pos` behind it.
#[inline]
pub(crate) fn read_u32(buf: &[u8], pos: &mut usize) -> Result<u32, VarintError> {
    match *buf.get(*pos..).unwrap_or_default() {
        [low, ..] if low < 0x80 => {
            *pos += 1;
            Ok(u32::from(low))
        }
        [low, high, ..] if high < 0x80 => {
            *pos += 2;
            Ok(u32::from(low & 0x7f) | u32::from(high) << 7)
        }
        _ => {
            let wide = read_groups(buf, pos, MAX_LEN_32)?;
            u32::try_from(wide).map_err(|_| VarintError::TooLarge)
        }
    }
}

/// Reads an unsigned 64-bit number at `*pos` and moves `*pos` behind it.
#[inline]
pub(crate) fn read_u64(buf: &[u8], pos: &mut usize) -> Result<u64, VarintError> {
    match *buf.get(*pos..).unwrap_or_default() {
        [low, ..] if low < 0x80 => {
            *pos += 1;
            Ok(u64::from(low))
        }
        [low, high, ..] if high < 0x80 => {
            *pos += 2;
            Ok(u64::from(low & 0x7f) | u64::from(high) << 7)
        }
        _ => read_groups(buf, pos, MAX_LEN_64),
    }
}

/// Reads at most `max_len` groups. Numbers of one and two are read in line, for most are so small.
#[cold]
fn read_groups(buf: &[u8], pos: &mut usize, max_len: usize) -> Result<u64, VarintError> {
    let mut value = 0u64;
    let tail = buf.get(*pos..).unwrap_or_default();
    for (index, &byte) in tail.iter().take(max_len).enumerate() {
        let group = u64::from(byte & 0x7f);
        let shift = 7 * index;
        // The tenth group holds the one bit that is left of 64.
        if shift == 63 && group > 1 {
            return Err(VarintError::TooLarge);
        }
        value |= group << shift;
        if byte < 0x80 {
            *pos += index + 1;
            return Ok(value);
        }
    }
    Err(if tail.len() < max_len { VarintError::Truncated } else { VarintError::TooLarge })
}

/// Writes `value` to the front of `out` and returns its length; `out` must have room for it.
///
/// In line wherever it is used: records are appended by five of these.
#[inline(always)]
pub(crate) fn write_u64(out: &mut [u8], value: u64) -> usize {
    // Casts to a byte keep the low bits, of which seven are the group.
    match out {
        [low, ..] if value < 1 << 7 => {
            *low = value as u8;
            1
        }
        [low, high, ..] if value < 1 << 14 => {
            *low = value as u8 | 0x80;
            *high = (value >> 7) as u8;
            2
        }
        _ => write_groups(out, value),
    }
}

fn write_groups(out: &mut [u8], mut value: u64) -> usize {
    let len = len_u64(value);
    debug_assert!(len <= out.len(), "no room for a variable-length integer");
    for slot in out.iter_mut().take(len) {
        *slot = value as u8 | 0x80;
        value >>= 7;
    }
    if let Some(last) = out.get_mut(len - 1) {
        *last &= 0x7f;
    }
    len
}

/// Appends an unsigned number.
#[inline]
pub(crate) fn put_u64(out: &mut Vec<u8>, value: u64) {
    let mut groups = [0; MAX_LEN_64];
    let len = write_u64(&mut groups, value);
    out.extend_from_slice(groups.get(..len).unwrap_or_default());
}

/// How many bytes `value` takes.
#[inline]
pub(crate) const fn len_u64(value: u64) -> usize {
    // Seven bits a group; zero takes one group as well. At most 64 bits, so the cast is exact.
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// How many bytes `value` takes in zigzag form.
#[inline]
pub(crate) const fn len_i64(value: i64) -> usize {
    len_u64(zigzag(value))
}

/// Maps numbers of small magnitude to small unsigned numbers: 0, -1, 1, -2 to 0, 1, 2, 3.
#[inline]
pub(crate) const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

const fn unzigzag_64(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

const fn unzigzag_32(value: u32) -> i32 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use proptest::prelude::*;

    fn signed(value: i64) -> Vec<u8> {
        let mut out = Vec::new();
        put_u64(&mut out, zigzag(value));
        out
    }

    #[test]
    fn known_encodings() {
        // From Kafka's own ByteUtilsTest.
        let cases: [(i64, &[u8]); 9] = [
            (0, &[0x00]),
            (-1, &[0x01]),
            (1, &[0x02]),
            (63, &[0x7e]),
            (-64, &[0x7f]),
            (64, &[0x80, 0x01]),
            (-8193, &[0x81, 0x80, 0x01]),
            (i64::from(i32::MAX), &[0xfe, 0xff, 0xff, 0xff, 0x0f]),
            (i64::MIN, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
        ];
        for (value, bytes) in cases {
            assert_eq!(signed(value), bytes, "{value}");
            assert_eq!(read_i64(bytes, &mut 0), Ok(value));
        }
    }

    #[test]
    fn numbers_that_do_not_fit_are_refused() {
        let six = [0x80, 0x80, 0x80, 0x80, 0x80, 0x00];
        assert_eq!(read_u32(&six, &mut 0), Err(VarintError::TooLarge));
        assert_eq!(read_u64(&six, &mut 0), Ok(0));
        assert_eq!(read_u32(&[0xff, 0xff, 0xff, 0xff, 0x10], &mut 0), Err(VarintError::TooLarge));
        let eleven = [0x80; 11];
        assert_eq!(read_u64(&eleven, &mut 0), Err(VarintError::TooLarge));
        let mut tenth_too_big = [0xff; 10];
        tenth_too_big[9] = 0x02;
        assert_eq!(read_u64(&tenth_too_big, &mut 0), Err(VarintError::TooLarge));
    }

    #[test]
    fn an_end_within_a_number_is_truncation_and_leaves_the_position() {
        let mut pos = 1;
        assert_eq!(read_u32(&[0x00, 0x80, 0x80], &mut pos), Err(VarintError::Truncated));
        assert_eq!(pos, 1);
        assert_eq!(read_u64(&[], &mut 0), Err(VarintError::Truncated));
        assert_eq!(read_u64(&[1], &mut 7), Err(VarintError::Truncated));
    }

    proptest! {
        #[test]
        fn sixty_four_bits_round_trip(value: i64) {
            let bytes = signed(value);
            prop_assert_eq!(bytes.len(), len_i64(value));
            let mut pos = 0;
            prop_assert_eq!(read_i64(&bytes, &mut pos), Ok(value));
            prop_assert_eq!(pos, bytes.len());
        }

        #[test]
        fn thirty_two_bits_round_trip(value: i32) {
            let bytes = signed(i64::from(value));
            prop_assert!(bytes.len() <= MAX_LEN_32);
            prop_assert_eq!(read_i32(&bytes, &mut 0), Ok(value));
        }

        #[test]
        fn any_bytes_give_a_number_or_an_error(bytes: Vec<u8>, start in 0usize..12) {
            let mut pos = start;
            if read_u64(&bytes, &mut pos).is_ok() {
                prop_assert!(pos > start && pos <= bytes.len());
            } else {
                prop_assert_eq!(pos, start);
            }
        }
    }
}
