//! Texts of people's files: UTF-8 with or without a mark before it, and UTF-16 with one.

use std::borrow::Cow;

/// The text in UTF-8, without the byte order mark that some editors put before it. What is neither is left as it is.
pub(super) fn in_utf8(bytes: &[u8]) -> Cow<'_, [u8]> {
    let decoded = match bytes {
        [0xef, 0xbb, 0xbf, rest @ ..] => return Cow::Borrowed(rest),
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        _ => None,
    };
    decoded.map_or(Cow::Borrowed(bytes), |text| Cow::Owned(text.into_bytes()))
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Option<String> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let units: Vec<u16> = pairs.iter().map(|pair| unit(*pair)).collect();
    String::from_utf16(&units).ok().filter(|_| rest.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_say_how_a_text_is_stored() {
        for text in ["", "a cat", "két macska\n𝄞"] {
            let units: Vec<u16> = text.encode_utf16().collect();
            let little: Vec<u8> =
                [0xfeff].iter().chain(&units).flat_map(|unit: &u16| unit.to_le_bytes()).collect();
            let big: Vec<u8> =
                [0xfeff].iter().chain(&units).flat_map(|unit: &u16| unit.to_be_bytes()).collect();
            let marked = ["\u{feff}", text].concat();
            for bytes in [&little[..], &big, marked.as_bytes(), text.as_bytes()] {
                assert_eq!(in_utf8(bytes), text.as_bytes(), "{bytes:?}");
            }
        }
        // Half a unit, half a pair: no text.
        for bytes in [&b"\xff\xfea\0b"[..], b"\xfe\xff\xd8\x00", b"caf\xe9"] {
            assert_eq!(in_utf8(bytes), bytes);
        }
    }
}
