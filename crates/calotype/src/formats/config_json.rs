//! What all `config.json` files share: keys we do not know, values we do not support.

use crate::error::{Error, Result};

/// Keys that the typed part of a config does not name.
pub type Extra = serde_json::Map<String, serde_json::Value>;

/// Refuses a value that is not in `supported`.
///
/// # Errors
/// `Error::Config`.
pub fn require(file: &str, key: &str, got: &str, supported: &[&str]) -> Result<()> {
    match supported.contains(&got) {
        true => Ok(()),
        false => Err(Error::Config {
            path: file.into(),
            key: key.into(),
            expected: supported.join(" or "),
            got: format!("`{got}`"),
        }),
    }
}

/// Refuses any key of `extra` that changes the architecture: everything but null, `false`, names
/// that begin with `_`, and the values listed in `harmless`.
///
/// # Errors
/// `Error::Config` naming the key.
pub fn refuse_unknown(file: &str, extra: &Extra, harmless: &[(&str, serde_json::Value)]) -> Result<()> {
    for (key, value) in extra {
        let off = value.is_null() || *value == serde_json::Value::Bool(false) || key.starts_with('_');
        if !off && !harmless.iter().any(|(k, v)| k == key && (v.is_null() || v == value)) {
            return Err(Error::Config {
                path: file.into(),
                key: key.clone(),
                expected: "a supported setting (null or false)".into(),
                got: value.to_string(),
            });
        }
    }
    Ok(())
}
