//! `tokenizer.json`: which of what such a file may describe is a T5 tokenizer.
//!
//! The steps are run as the file has them; only steps that T5's dialects have are taken, and nothing that could fail
//! later than here.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::charsmap;

/// Types of the steps before the text is cut.
const NORMALIZERS: [&str; 4] = ["Sequence", "Precompiled", "Strip", "Replace"];
/// The pattern of [`NORMALIZERS`]' `Replace`: runs of spaces.
const RUNS_OF_SPACES: &str = " {2,}";
/// Steps that cut the text.
const PRE_TOKENIZERS: [&str; 3] = ["Sequence", "WhitespaceSplit", "Metaspace"];
/// Settings that this reader has itself, or has no use for.
const DROPPED: [&str; 4] = ["truncation", "padding", "post_processor", "decoder"];

/// The file without what [`DROPPED`] names. Text: what is not T5's.
pub fn checked(mut json: Value) -> Result<Value, String> {
    let model = json["model"]["type"].as_str().unwrap_or("none");
    if model != "Unigram" {
        return Err(format!("its model has type `{model}`, T5's is `Unigram`"));
    }
    check_steps(&json["normalizer"], "normalizers", &NORMALIZERS)?;
    check_steps(&json["pre_tokenizer"], "pretokenizers", &PRE_TOKENIZERS)?;
    let file = json.as_object_mut().ok_or("it is no JSON object")?;
    for key in DROPPED {
        file.remove(key);
    }
    Ok(json)
}

/// A step, those of a sequence under `list`, or none.
fn check_steps(step: &Value, list: &str, known: &[&str]) -> Result<(), String> {
    if step.is_null() {
        return Ok(());
    }
    let kind = step["type"].as_str().unwrap_or_default();
    if !known.contains(&kind) {
        return Err(format!("it has a step of type `{kind}`, T5's are {}", known.join(", ")));
    }
    match kind {
        "Sequence" => {
            step[list].as_array().into_iter().flatten().try_for_each(|s| check_steps(s, list, known))
        }
        "Precompiled" => {
            let text = step["precompiled_charsmap"].as_str().unwrap_or_default();
            let bytes = STANDARD.decode(text).map_err(|e| format!("`precompiled_charsmap`: {e}"))?;
            charsmap::check(&bytes)
        }
        "Replace" => match step["pattern"]["Regex"].as_str() {
            Some(RUNS_OF_SPACES) | None => Ok(()),
            Some(other) => Err(format!("it replaces `{other}`, T5's replaces `{RUNS_OF_SPACES}` alone")),
        },
        _ => Ok(()),
    }
}
