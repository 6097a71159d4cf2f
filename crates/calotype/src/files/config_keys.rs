//! What all `config.json` files share: keys we do not know, values we do not support.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::error::{Error, Result};

/// The version of diffusers whose layout we write.
pub const DIFFUSERS_VERSION: &str = "0.42.1";

/// Keys that the typed part of a config does not name.
pub type Extra = serde_json::Map<String, Value>;

/// Refuses a value that is not in `supported`.
///
/// # Errors
/// `Error::Config`.
pub fn require(file: &str, key: &str, got: &str, supported: &[&str]) -> Result<()> {
    if supported.contains(&got) {
        Ok(())
    } else {
        Err(Error::config(file, key, supported.join(" or "), format!("`{got}`")))
    }
}

/// Refuses any key of `extra` that changes the architecture: everything but null, `false`, lists of these, names
/// that begin with `_`, and the values listed in `harmless` (null there stands for any value).
///
/// # Errors
/// `Error::Config` naming the key.
pub fn refuse_unknown(file: &str, extra: &Extra, harmless: &[(&str, Value)]) -> Result<()> {
    for (key, value) in extra {
        let known = harmless.iter().any(|(k, v)| k == key && (v.is_null() || same(v, value)));
        if !is_off(value) && !key.starts_with('_') && !known {
            return Err(Error::config(file, key, "a supported setting (null or false)", value));
        }
    }
    Ok(())
}

fn is_off(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(values) => values.iter().all(is_off),
        _ => false,
    }
}

/// 1 and 1.0 are the same.
fn same(a: &Value, b: &Value) -> bool {
    a == b || a.as_f64().is_some_and(|a| Some(a) == b.as_f64())
}

/// A number, or a list of one number again and again (`[96, 96]`); null is `None`.
///
/// # Errors
/// Serde's, for anything else.
pub fn one_number<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Option<usize>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Numbers {
        One(usize),
        List(Vec<usize>),
    }
    match Option::<Numbers>::deserialize(deserializer)? {
        None => Ok(None),
        Some(Numbers::One(number)) => Ok(Some(number)),
        Some(Numbers::List(list)) => match list.first() {
            Some(first) if list.iter().all(|number| number == first) => Ok(Some(*first)),
            _ => Err(serde::de::Error::custom(format!(
                "expected a number, or a list of one number, got {list:?}"
            ))),
        },
    }
}

/// [`one_number`] for sizes that say nothing about the network: of a list, the first.
///
/// # Errors
/// As there.
pub fn first_number<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Option<usize>, D::Error> {
    let value = Option::<Value>::deserialize(deserializer)?.unwrap_or_default();
    let first = value.as_array().and_then(|list| list.first()).unwrap_or(&value);
    Ok(first.as_u64().map(|number| number as usize))
}
