//! Which partition a record goes to.

use std::fmt;

use crate::{record::Record, types::Partition};

/// Chooses partitions.
///
/// `count` is how many partitions the topic has, online or not: a key must not move because a partition is offline
/// for a while. `available` are those that have a leader now, in ascending order.
pub trait Partitioner: Send + Sync + fmt::Debug {
    /// The partition for a record; `None` leaves it to the default.
    fn partition(&self, record: &Record<'_>, count: u32, available: &[Partition]) -> Option<Partition>;
}

/// Where Java's default partitioner puts a key: murmur2, made positive, modulo the number of partitions.
///
/// ```
/// assert_eq!(milena::partition_for_key(b"order-1", 6), milena::Partition(4));
/// ```
#[must_use]
pub fn partition_for_key(key: &[u8], count: u32) -> Partition {
    let positive = murmur2(key) & 0x7fff_ffff;
    let index = positive.checked_rem(count).unwrap_or(0);
    Partition(i32::try_from(index).unwrap_or(0))
}

/// MurmurHash 2 with the seed of Kafka's clients.
fn murmur2(bytes: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;
    // Keys are shorter than 4 GiB: records are.
    let mut hash = SEED ^ (bytes.len() as u32);
    let (words, rest) = bytes.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k = (k ^ (k >> R)).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    if !rest.is_empty() {
        let tail = rest.iter().rev().fold(0_u32, |tail, byte| (tail << 8) | u32::from(*byte));
        hash = (hash ^ tail).wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values computed with Java's `Utils.murmur2`.
    #[test]
    fn hashes_equal_java_s() {
        for (key, hash) in [
            ("21", -973_932_308_i32),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
        }
    }
}
