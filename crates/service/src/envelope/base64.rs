//! Base64, for data in structured mode.

/// The bytes that `text` says, by RFC 4648's standard alphabet; `None` if it says none. Padding may be left out.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let digits = digits.strip_suffix(b"==").or_else(|| digits.strip_suffix(b"=")).unwrap_or(digits);
    let padded = digits.len() != text.len();
    if digits.len() % 4 == 1 || (padded && !text.len().is_multiple_of(4)) {
        return None;
    }
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    for group in digits.chunks(4) {
        let mut bits = 0_u32;
        for digit in group {
            bits = bits << 6 | value(*digit)?;
        }
        // Three bytes for four digits; the bits that fill up the last digit are to be zero.
        let missing = 4 - group.len();
        let [_, all @ ..] = (bits << (6 * missing)).to_be_bytes();
        let (whole, rest) = all.split_at_checked(3 - missing)?;
        if rest.iter().any(|byte| *byte != 0) {
            return None;
        }
        bytes.extend_from_slice(whole);
    }
    Some(bytes)
}

fn value(digit: u8) -> Option<u32> {
    let value = match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_rfc_are_read_with_and_without_padding() {
        let examples = [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYmFy", "foobar")];
        for (text, bytes) in examples {
            assert_eq!(decode(text).as_deref(), Some(bytes.as_bytes()), "{text}");
            assert_eq!(decode(text.trim_end_matches('=')).as_deref(), Some(bytes.as_bytes()), "{text}");
        }
        assert_eq!(decode("/+8A").as_deref(), Some(&[0xff, 0xef, 0x00][..]));
    }

    #[test]
    fn what_is_not_base64_is_refused() {
        for text in
            ["Z", "Zg=", "=", "==", "====", "Zm9v=", "Zm9v====", "Zh==", "Zm9=", "Z-8=", "Zm 9v", "Zm9é"]
        {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}
