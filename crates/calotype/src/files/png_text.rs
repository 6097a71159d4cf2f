//! Texts inside PNG files (`tEXt` and `iTXt` chunks), where programs keep how a picture was made.
//!
//! The crate `png` writes the chunks. They are read here, because it passes over a text that is built wrongly,
//! keeps the two kinds apart, so that their order is lost, and unpacks the picture. Of the format
//! (<https://www.w3.org/TR/png-3/>) only its chunks are known here: length, type, data and CRC-32 one after
//! another, from `IHDR` to `IEND`.

use std::fmt::Display;

use png::text_metadata::{EncodableTextChunk, ITXtChunk, TEXtChunk};

const SIGNATURE: &[u8; 8] = b"\x89PNG\r\n\x1a\n";

/// The format's own limit for the data of a chunk.
const MAX_LENGTH: usize = (1 << 31) - 1;

/// Bytes of a chunk before its text, at most: a keyword of 79 and the five zeros of `iTXt`.
const LONGEST_START: usize = 79 + 5;

/// A chunk of which length and CRC are right.
struct Chunk<'a> {
    kind: &'a [u8],
    data: &'a [u8],
    /// Where the next one begins.
    end: usize,
}

/// Keywords and texts in the order of the file. Compressed texts (`zTXt`, and `iTXt` with its flag set) are
/// left out; what follows `IEND` is not looked at.
///
/// # Errors
/// What is wrong and at which byte: no PNG, a chunk that claims more than there is, a wrong CRC, a text chunk
/// that is not built as one, no `IEND`.
pub fn read(png: &[u8]) -> Result<Vec<(String, String)>, String> {
    let mut texts = Vec::new();
    let mut at = header(png)?.end;
    loop {
        let chunk = chunk_at(png, at)?;
        let text = match chunk.kind {
            b"tEXt" => Some(latin_1_text(chunk.data)),
            b"iTXt" => international_text(chunk.data).transpose(),
            b"IEND" => return Ok(texts),
            _ => None,
        };
        if let Some(text) = text {
            texts.push(text.map_err(|reason| format!("{} at byte {at}: {reason}", name(chunk.kind)))?);
        }
        at = chunk.end;
    }
}

/// The same file with a chunk for each (keyword, text) after `IHDR`, before the texts it has already: `tEXt`
/// if the text is Latin-1, else `iTXt`, as Pillow chooses.
///
/// # Errors
/// What is wrong: no PNG; a keyword that is not 1 to 79 printable Latin-1 characters with single spaces
/// between them; a text with a NUL character or of 2 GiB.
pub fn insert(png: &[u8], entries: &[(&str, &str)]) -> Result<Vec<u8>, String> {
    let (before, after) = png.split_at(header(png)?.end);
    let mut with_texts = before.to_vec();
    for &(keyword, text) in entries {
        check_keyword(keyword)?;
        let fault = |reason: &dyn Display| format!("text of `{keyword}`: {reason}");
        if text.contains('\0') {
            return Err(fault(&"holds a NUL character, which ends a text in a PNG"));
        }
        // The crate writes any length.
        if text.len() > MAX_LENGTH - LONGEST_START {
            return Err(fault(&format!("{} bytes do not fit in a chunk", text.len())));
        }
        let written = if text.chars().all(is_latin_1) {
            TEXtChunk::new(keyword, text).encode(&mut with_texts)
        } else {
            ITXtChunk::new(keyword, text).encode(&mut with_texts)
        };
        written.map_err(|error| fault(&error))?;
    }
    with_texts.extend(after);
    Ok(with_texts)
}

/// `IHDR`, which every PNG begins with.
fn header(png: &[u8]) -> Result<Chunk<'_>, String> {
    if !png.starts_with(SIGNATURE) {
        return Err("not a PNG: the signature is missing".into());
    }
    let first = chunk_at(png, SIGNATURE.len())?;
    match first.kind {
        b"IHDR" => Ok(first),
        other => Err(format!("the first chunk should be `IHDR`, it is {}", name(other))),
    }
}

/// The chunk that begins at byte `at`, which is inside the file or its end.
fn chunk_at(png: &[u8], at: usize) -> Result<Chunk<'_>, String> {
    let rest = &png[at..];
    let Some((&[a, b, c, d, kind @ ..], data)) = rest.split_first_chunk::<8>() else {
        return Err(format!("the file ends at byte {} without `IEND`", png.len()));
    };
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    if length > MAX_LENGTH || data.len() < 4 || length > data.len() - 4 {
        let left = data.len().saturating_sub(4);
        return Err(format!("{} at byte {at}: claims {length} bytes, {left} are left", name(&kind)));
    }
    let (checked, after) = rest[4..].split_at(4 + length);
    if after[..4] != crc32fast::hash(checked).to_be_bytes() {
        return Err(format!(
            "{} at byte {at}: its CRC is wrong, the data were changed or damaged",
            name(&kind)
        ));
    }
    Ok(Chunk { kind: &checked[..4], data: &checked[4..], end: at + 12 + length })
}

/// A chunk's type, for messages.
fn name(kind: &[u8]) -> String {
    format!("`{}`", kind.escape_ascii())
}

/// keyword, NUL, text.
fn latin_1_text(data: &[u8]) -> Result<(String, String), String> {
    let (keyword, text) = split_at_nul(data).ok_or("no NUL character after the keyword")?;
    Ok((from_latin_1(keyword), from_latin_1(text)))
}

/// keyword, NUL, whether compressed, method, language, NUL, translated keyword, NUL, text; `None` if
/// compressed.
fn international_text(data: &[u8]) -> Result<Option<(String, String)>, String> {
    let (keyword, rest) = split_at_nul(data).ok_or("no NUL character after the keyword")?;
    let [compressed, _method, rest @ ..] = rest else { return Err("ends after the keyword".into()) };
    if *compressed != 0 {
        return Ok(None);
    }
    let (_language, rest) = split_at_nul(rest).ok_or("no NUL character after the language")?;
    let (_translated, text) = split_at_nul(rest).ok_or("no NUL character after the translated keyword")?;
    let text = std::str::from_utf8(text).map_err(|error| format!("the text is not UTF-8: {error}"))?;
    Ok(Some((from_latin_1(keyword), text.into())))
}

fn split_at_nul(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let nul = data.iter().position(|&byte| byte == 0)?;
    Some((&data[..nul], &data[nul + 1..]))
}

/// Latin-1 is the first 256 characters of Unicode.
fn from_latin_1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

fn is_latin_1(c: char) -> bool {
    u8::try_from(c).is_ok()
}

fn check_keyword(keyword: &str) -> Result<(), String> {
    let printable = |c| matches!(c, ' '..='~' | '\u{a1}'..='\u{ff}');
    let single_spaces = keyword.trim_matches(' ') == keyword && !keyword.contains("  ");
    if (1..=79).contains(&keyword.chars().count()) && keyword.chars().all(printable) && single_spaces {
        return Ok(());
    }
    Err(format!("keyword `{}`: expected 1 to 79 printable Latin-1 characters", keyword.escape_debug()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_refuses;

    /// One red pixel, by Pillow 13.0.0.
    const PLAIN: &[u8] =
        b"\x89PNG\x0d\x0a\x1a\x0a\x00\x00\x00\x0dIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x02\x00\x00\x00\
        \x90wS\xde\x00\x00\x00\x0cIDATx\x9cc\xf8\xcf\xc0\x00\x00\x03\x01\x01\x00\xc9\xfe\x92\xef\x00\x00\
        \x00\x00IEND\xaeB`\x82";
    /// The same with `pnginfo` of two texts and a compressed one.
    const WITH_TEXTS: &[u8] =
        b"\x89PNG\x0d\x0a\x1a\x0a\x00\x00\x00\x0dIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x02\x00\x00\x00\
        \x90wS\xde\x00\x00\x00\x19tEXtparameters\x00caf\xe9\x0aSteps: 20\x86iW\x00\x00\x00\x00\x15iTXtTi\
        tle\x00\x00\x00\x00\x00\xe6\x97\xa5\xe6\x9c\xac \xf0\x9f\xa6\x80\x9a \x15U\x00\x00\x00\x15zTXtz\
        \x00\x00x\x9cK\xce\xcf-(J-.NM\x01\x00\x17?\x046\xb6\xd2\xea\xdb\x00\x00\x00\x0cIDATx\x9cc\xf8\
        \xcf\xc0\x00\x00\x03\x01\x01\x00\xc9\xfe\x92\xef\x00\x00\x00\x00IEND\xaeB`\x82";
    const ENTRIES: [(&str, &str); 2] = [("parameters", "caf\u{e9}\nSteps: 20"), ("Title", "日本 🦀")];

    fn own(texts: &[(&str, &str)]) -> Vec<(String, String)> {
        texts.iter().map(|(keyword, text)| (keyword.to_string(), text.to_string())).collect()
    }

    #[test]
    fn pillow_writes_what_is_read_here_and_the_same_bytes() {
        assert_eq!(read(PLAIN).unwrap(), []);
        assert_eq!(insert(PLAIN, &[]).unwrap(), PLAIN);
        assert_eq!(read(WITH_TEXTS).unwrap(), own(&ENTRIES));
        let compressed = chunk_at(WITH_TEXTS, 33).and_then(|one| chunk_at(WITH_TEXTS, one.end)).unwrap();
        let end = chunk_at(WITH_TEXTS, compressed.end).unwrap();
        assert_eq!(end.kind, b"zTXt");
        let without = [&WITH_TEXTS[..compressed.end], &WITH_TEXTS[end.end..]].concat();
        assert_eq!(insert(PLAIN, &ENTRIES).unwrap(), without);
    }

    #[test]
    fn every_text_comes_back() {
        let long = "x".repeat(100_000);
        let entries = [("a", ""), ("b b", "\u{ff}"), ("c", "\u{100}"), ("a", "twice\r\n\t"), ("d", &long)];
        assert_eq!(read(&insert(PLAIN, &entries).unwrap()).unwrap(), own(&entries));
    }

    #[test]
    fn a_changed_bit_and_a_missing_byte_are_noticed() {
        for length in 0..WITH_TEXTS.len() {
            assert!(read(&WITH_TEXTS[..length]).is_err(), "{length} bytes");
        }
        for bit in 0..8 * WITH_TEXTS.len() {
            let mut png = WITH_TEXTS.to_vec();
            png[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&png).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn lengths_that_lie_and_texts_without_form_are_refused() {
        for length in [u32::MAX, 1 << 31, MAX_LENGTH as u32, 1000] {
            let mut png = PLAIN.to_vec();
            png[33..37].copy_from_slice(&length.to_be_bytes());
            let reason = read(&png).unwrap_err();
            assert!(reason.contains(&format!("claims {length} bytes")), "{reason}");
        }
        let chunks: [(&[u8; 4], &[u8], &str); 5] = [
            (b"tEXt", b"key", "after the keyword"),
            (b"iTXt", b"key\0\0", "ends after"),
            (b"iTXt", b"key\0\0\0en", "after the language"),
            (b"iTXt", b"key\0\0\0\0", "translated"),
            (b"iTXt", b"key\0\0\0\0\0\xff", "UTF-8"),
        ];
        for (kind, data, expected) in chunks {
            let checked = [kind, data].concat();
            let (length, crc) = (data.len() as u32, crc32fast::hash(&checked));
            let chunk = [&length.to_be_bytes()[..], &checked, &crc.to_be_bytes()].concat();
            let png = [&PLAIN[..33], &chunk, &PLAIN[33..]].concat();
            let reason = read(&png).unwrap_err();
            assert!(reason.contains(expected), "{reason}");
        }
    }

    #[test]
    fn keywords_and_texts_that_png_cannot_hold_are_refused() {
        let long = "k".repeat(80);
        for keyword in ["", " a", "a ", "a  b", "a\0", "a\n", "\u{a0}", "日", &long] {
            let refused = format!("keyword `{}`: expected 1 to 79", keyword.escape_debug());
            assert_refuses(insert(PLAIN, &[(keyword, "text")]), &refused);
        }
        assert_refuses(insert(PLAIN, &[("key", "a\0b")]), "text of `key`: holds a NUL character");
        assert_refuses(insert(b"GIF89a", &[("key", "text")]), "not a PNG: the signature is missing");
    }
}
