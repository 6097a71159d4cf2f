//! How a picture was made, as the text `parameters` of stable-diffusion-webui (AUTOMATIC1111).
//!
//! It lies inside the picture, and many programs read it:
//!
//! ```text
//! a cat, (sharp focus:1.2)
//! Negative prompt: blurry
//! Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 42, Size: 512x512
//! ```

use std::fmt;

/// What begins the line from which on lines are negative prompt.
const NEGATIVE: &str = "Negative prompt:";

/// The last line is fields if it has so many of them; else it is prompt.
const FEWEST_FIELDS: usize = 3;

/// Prompts and named values. `Display` writes the text, [`parse`] reads it.
///
/// What is written is read back unless the text cannot hold it. It has no quoting for prompts: space at the
/// ends of their lines, empty lines around them and a line that begins with `Negative prompt:` are lost.
/// With fewer than three fields they are read as prompt, or a last line of prompt that looks like fields as
/// fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GenerationParameters {
    /// The prompt; may have several lines.
    pub prompt: String,
    /// The negative prompt; may have several lines.
    pub negative_prompt: String,
    /// `Steps`, `Sampler`, … and their values, in order. Keys are two or more letters, digits, spaces and
    /// `_ - /`, the first a letter, a digit or `_`; values are any text.
    pub fields: Vec<(String, String)>,
}

impl GenerationParameters {
    /// The value of a field; of the last one if there are several of that name, as webui reads them.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.fields.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }
}

impl fmt::Display for GenerationParameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.prompt.clone();
        if !self.negative_prompt.is_empty() {
            text += &format!("\n{NEGATIVE} {}", self.negative_prompt);
        }
        let fields: Vec<String> =
            self.fields.iter().map(|(key, value)| format!("{key}: {}", quoted(value))).collect();
        text += &format!("\n{}", fields.join(", "));
        f.write_str(text.trim())
    }
}

/// The value as it stands, or as a JSON string if it would not be read back otherwise.
fn quoted(value: &str) -> String {
    let bare = !value.contains([',', ':', '\n', '"']) && !value.is_empty() && value.trim() == value;
    if bare { value.into() } else { serde_json::Value::from(value).to_string() }
}

/// Reads the text of a picture. Nothing is refused: without a line of fields all of it is prompt.
///
/// The grammar is that of stable-diffusion-webui's `parse_generation_parameters`; values are left as they
/// are, so `Size` is one field, and fields that are missing are not made up.
pub fn parse(text: &str) -> GenerationParameters {
    let text = text.trim();
    let (lines, last) = text.rsplit_once('\n').map_or(("", text), |(lines, last)| (lines, last));
    let mut parameters = GenerationParameters { fields: fields(last), ..Default::default() };
    let lines = if parameters.fields.len() < FEWEST_FIELDS {
        parameters.fields.clear();
        text
    } else {
        lines
    };
    let mut into = &mut parameters.prompt;
    for line in lines.split('\n').map(str::trim) {
        let line = match line.strip_prefix(NEGATIVE) {
            Some(rest) => {
                into = &mut parameters.negative_prompt;
                rest.trim()
            }
            None => line,
        };
        if !into.is_empty() {
            into.push('\n');
        }
        into.push_str(line);
    }
    parameters
}

/// All `key: value` of a line; what lies between them is skipped.
fn fields(line: &str) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    let mut rest = line;
    while let Some((key, after)) = next_key(rest) {
        let (value, after) = value(after.trim_start());
        fields.push((key.into(), value));
        rest = after;
    }
    fields
}

/// The first key, and what follows its colon.
fn next_key(text: &str) -> Option<(&str, &str)> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(':').find_map(|(colon, _)| {
        let before = &text[..colon];
        let run = before.trim_end_matches(|c| is_word(c) || matches!(c, ' ' | '-' | '/'));
        let key = before[run.len()..].trim_start_matches(|c| !is_word(c));
        key.chars().nth(1).map(|_| (key, &text[colon + 1..]))
    })
}

/// The value that `text` begins with, and what follows its comma.
fn value(text: &str) -> (String, &str) {
    let ends = |&end: &usize| text[end..].is_empty() || text[end..].starts_with(',');
    let end = end_of_quoted(text).filter(ends).or_else(|| text.find(',')).unwrap_or(text.len());
    let (written, rest) = text.split_at(end);
    let is_quoted = written.starts_with('"') && written.ends_with('"');
    let string = if is_quoted { serde_json::from_str(written).ok() } else { None };
    (string.unwrap_or_else(|| written.into()), rest.strip_prefix(',').unwrap_or(rest))
}

/// Where the quoted string that `text` begins with ends.
fn end_of_quoted(text: &str) -> Option<usize> {
    let mut escaped = false;
    let closing = text.strip_prefix('"')?.bytes().position(|byte| {
        let closes = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        closes
    });
    closing.map(|at| at + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITTEN: &str = "girl with an artist's beret, ((eyeshadow)), by Alphonse Mucha\n\
        second line\n\
        Negative prompt: ugly, (((deformed))), [blurry]\n\
        bad: anatomy\n\
        Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 965400086, Size: 512x512, \
        Model hash: 45dee52b, Denoising strength: 0.75, Clip skip: 2, \
        Lora hashes: \"detail: 0a1b, style: 2c3d\", Version: v1.10.1";

    fn parameters(prompt: &str, negative_prompt: &str, fields: &[(&str, &str)]) -> GenerationParameters {
        let own = |(key, value): &(&str, &str)| (key.to_string(), value.to_string());
        GenerationParameters {
            prompt: prompt.into(),
            negative_prompt: negative_prompt.into(),
            fields: fields.iter().map(own).collect(),
        }
    }

    #[test]
    fn a_text_of_webui_is_read_and_written_again() {
        let read = parse(WRITTEN);
        let prompt = "girl with an artist's beret, ((eyeshadow)), by Alphonse Mucha\nsecond line";
        assert_eq!(read.prompt, prompt);
        assert_eq!(read.negative_prompt, "ugly, (((deformed))), [blurry]\nbad: anatomy");
        assert_eq!(read.fields.len(), 11);
        assert_eq!(read.get("Sampler"), Some("DPM++ 2M"));
        assert_eq!(read.get("Lora hashes"), Some("detail: 0a1b, style: 2c3d"));
        assert_eq!(read.get("Size"), Some("512x512"));
        assert_eq!(read.get("ENSD"), None);
        assert_eq!(read.to_string(), WRITTEN);
        assert_eq!(parse(&WRITTEN.replace('\n', "\r\n")), read);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let looks_like_fields = "Steps: 1, Sampler: x, CFG scale: 2";
        let texts = ["", "a", "日本, 🦀: \"quoted\" \\ (a:1.2)", "two\n\nlines:", "\"", looks_like_fields];
        let values = [
            "1",
            "",
            " space ",
            "a, b",
            "a: b",
            "a\nb\r\t",
            "\"quoted\"",
            "\"",
            "\\",
            "a \"b\", \\\"c",
            "日本",
        ];
        for prompt in texts {
            for negative in texts {
                for value in values {
                    let fields = [("Steps", value), ("a-b/c_ d", value), ("日本", value)];
                    let written = parameters(prompt, negative, &fields);
                    assert_eq!(parse(&written.to_string()), written, "{written}");
                }
            }
        }
        for prompt in ["", "a: b, cc: d", "two\nlines"] {
            assert_eq!(parse(&parameters(prompt, "", &[]).to_string()), parameters(prompt, "", &[]));
        }
    }

    // What stable-diffusion-webui's `parse_generation_parameters` makes of the same texts.
    #[test]
    fn lines_and_fields_are_told_apart_as_in_webui() {
        assert_eq!(parse("a\nSteps: 1, Seed: 2"), parameters("a\nSteps: 1, Seed: 2", "", &[]));
        assert_eq!(
            parse("aa: 1, bb: 2, cc: 3"),
            parameters("", "", &[("aa", "1"), ("bb", "2"), ("cc", "3")])
        );
        assert_eq!(
            parse(" \n a \n\nNegative prompt:\n b\nNegative prompt: c "),
            parameters("a\n", "b\nc", &[])
        );
        let fields = [("kk", "v w "), ("aa", "\"x\" "), ("bb", "\"x\" y"), ("cc", "\"open"), ("dd", "e: f")];
        assert_eq!(
            parse("kk: v w , aa: \"x\" , ?.bb:\"x\" y, z: 1, - cc: \"open, dd:  e: f").fields,
            parameters("", "", &fields).fields
        );
        assert_eq!(parse("aa: 1, aa: 2, aa: 3").get("aa"), Some("3"));
    }
}
