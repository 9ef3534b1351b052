use std::fmt;

/// Kafka's 128-bit identifier, of a topic for one. Shown as Kafka shows it: 22 characters of URL-safe base64.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Uuid([u8; 16]);

impl Uuid {
    /// What the protocol writes for "no id".
    pub(crate) const ZERO: Self = Self([0; 16]);

    pub(crate) const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    pub(crate) fn is_zero(&self) -> bool {
        *self == Self::ZERO
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        // 128 bits are 21 characters of six bits and one of two, which stand in front of four zero bits.
        let bits = u128::from_be_bytes(self.0);
        let mut sixes = (0..21).map(|i| (bits >> (122 - 6 * i)) & 0x3f).chain([(bits & 0b11) << 4]);
        sixes.try_for_each(|six| {
            let symbol = usize::try_from(six).ok().and_then(|six| ALPHABET.get(six)).copied();
            fmt::Write::write_char(f, char::from(symbol.unwrap_or(b'?')))
        })
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_shown_as_kafka_shows_it() {
        // Kafka's own constants: Uuid.ZERO_UUID and the id of its metadata topic.
        assert_eq!(Uuid::ZERO.to_string(), "AAAAAAAAAAAAAAAAAAAAAA");
        let mut one = [0; 16];
        one[15] = 1;
        assert_eq!(Uuid::from_bytes(one).to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!(Uuid::from_bytes([0xff; 16]).to_string(), "_____________________w");
    }
}
