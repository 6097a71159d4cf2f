//! Texts of people's files: UTF-8 and UTF-16, with or without a mark before it.

use std::borrow::Cow;

/// The text in UTF-8, without the byte order mark that some editors put before it. What is neither is left as it is.
///
/// UTF-16 without a mark is told by its first two characters, which are ASCII's in metadata and English: each has a byte
/// of zero, which no text in UTF-8 has.
pub(super) fn in_utf8(bytes: &[u8]) -> Cow<'_, [u8]> {
    let decoded = match bytes {
        [0xef, 0xbb, 0xbf, rest @ ..] => return Cow::Borrowed(rest),
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        [1..=255, 0, 1..=255, 0, ..] => utf16(bytes, u16::from_le_bytes),
        [0, 1..=255, 0, 1..=255, ..] => utf16(bytes, u16::from_be_bytes),
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
        // Without a mark, where two characters of ASCII begin it.
        for text in ["{\"text\": \"中\"}\n", "a 𝄞", "ab"] {
            let units: Vec<u16> = text.encode_utf16().collect();
            let little: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
            let big: Vec<u8> = units.iter().flat_map(|unit| unit.to_be_bytes()).collect();
            assert_eq!(in_utf8(&little), text.as_bytes());
            assert_eq!(in_utf8(&big), text.as_bytes());
        }
        // Half a unit, half a pair: no text.
        for bytes in [
            &b"\xff\xfea\0b"[..],
            b"\xfe\xff\xd8\x00",
            b"caf\xe9",
            b"a\0b\0c",
            b"\0a\0b\xd8\0",
            b"\0\0a\0",
            b"a\0",
        ] {
            assert_eq!(in_utf8(bytes), bytes);
        }
    }
}
