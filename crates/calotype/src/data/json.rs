//! JSON as programs write it: Python's `json` writes numbers that are none as `NaN` and `Infinity`, which JSON lacks.

use serde::de::DeserializeOwned;

/// What stands where JSON would have `null`.
const NO_NUMBERS: [&[u8]; 3] = [b"NaN", b"-Infinity", b"Infinity"];

/// Parses `text`; numbers that are none are `null`.
///
/// # Errors
/// The parser's about the text as it is.
pub(super) fn parse<T: DeserializeOwned>(text: &[u8]) -> serde_json::Result<T> {
    serde_json::from_slice(text).or_else(|error| match without_odd_numbers(text) {
        Some(text) => serde_json::from_slice(&text).map_err(|_| error),
        None => Err(error),
    })
}

/// The text with `null` in place of each such number outside of strings; `None` if there is none.
fn without_odd_numbers(text: &[u8]) -> Option<Vec<u8>> {
    let mut changed = Vec::with_capacity(text.len());
    let (mut found, mut in_string, mut at) = (false, false, 0);
    while let Some(&byte) = text.get(at) {
        let odd = NO_NUMBERS.into_iter().find(|odd| !in_string && text[at..].starts_with(odd));
        if let Some(odd) = odd {
            changed.extend(b"null");
            found = true;
            at += odd.len();
            continue;
        }
        changed.push(byte);
        at += 1;
        match byte {
            b'\\' if in_string => {
                changed.extend(text.get(at));
                at += 1;
            }
            b'"' => in_string = !in_string,
            _ => {}
        }
    }
    found.then_some(changed)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn numbers_that_are_none_are_null() {
        for (text, expected) in [
            (r#"{"a": NaN}"#, json!({ "a": null })),
            (r#"{"a":[1,-Infinity,Infinity], "b":"x"}"#, json!({ "a": [1, null, null], "b": "x" })),
            (r#"{"NaN": "NaN \" NaN", "b": NaN}"#, json!({ "NaN": "NaN \" NaN", "b": null })),
            (r#"{"a": "NaN"}"#, json!({ "a": "NaN" })),
        ] {
            assert_eq!(parse::<Value>(text.as_bytes()).unwrap(), expected, "{text}");
        }
        for text in ["{\"a\": NaN", "{\"a\": nan}", "NaNNaN", "{\"a", "\"\\", ""] {
            let own = serde_json::from_str::<Value>(text).unwrap_err().to_string();
            assert_eq!(parse::<Value>(text.as_bytes()).unwrap_err().to_string(), own, "{text}");
        }
    }
}
