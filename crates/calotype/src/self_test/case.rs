//! One golden case: its inputs, what was found, and whether that is what was expected.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::arrays::{Array, array};
use crate::error::{Error, Result};

/// A case of a file.
#[derive(Debug, Clone, Deserialize)]
pub struct Case {
    /// Unique within its file.
    pub id: String,
    /// Selects the computation.
    pub kind: String,
    /// All that the computation may use.
    pub inputs: Value,
    /// Names and values, or `{"error": true}`.
    pub expected: Map<String, Value>,
    /// For every number of `expected`.
    pub tol: Tolerance,
}

/// |got − expected| ≤ abs + rel · |expected|.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Tolerance {
    abs: f64,
    rel: f64,
}

impl Case {
    /// Compares what was found with what is expected.
    ///
    /// # Errors
    /// What differs: name, expected, got and tolerance.
    pub fn compare(&self, found: &Result<Found>) -> std::result::Result<(), String> {
        let refusal = self.expected.get("error") == Some(&Value::Bool(true));
        match found {
            // A case that cannot be read has refused nothing.
            Err(error @ Error::Format { .. }) => Err(error.to_string()),
            Err(_) if refusal => Ok(()),
            Err(error) => Err(error.to_string()),
            Ok(found) if refusal => Err(format!("expected an error, got {}", Value::Object(found.0.clone()))),
            Ok(found) => self.expected.iter().try_for_each(|(key, expected)| {
                let got = found.0.get(key).ok_or_else(|| format!("`{key}` was not computed"))?;
                let holds = if key.ends_with("_at_least") {
                    at_least(got, expected)
                } else {
                    self.tol.equal(got, expected)
                };
                holds.map_err(|reason| format!("{key}: {reason}"))
            }),
        }
    }
}

impl Tolerance {
    fn equal(self, got: &Value, expected: &Value) -> std::result::Result<(), String> {
        match (got, expected) {
            (Value::Array(got), Value::Array(expected)) if got.len() == expected.len() => {
                got.iter().zip(expected).enumerate().try_for_each(|(i, (got, expected))| {
                    self.equal(got, expected).map_err(|reason| format!("[{i}] {reason}"))
                })
            }
            (Value::Array(got), Value::Array(expected)) => {
                Err(format!("expected {} entries, got {}", expected.len(), got.len()))
            }
            (Value::Number(g), Value::Number(e)) => {
                let (g, e) = (g.as_f64().unwrap_or(f64::NAN), e.as_f64().unwrap_or(f64::NAN));
                let allowed = self.abs + self.rel * e.abs();
                if (g - e).abs() <= allowed {
                    Ok(())
                } else {
                    Err(format!("expected {e}, got {g}, tolerance {allowed:e}"))
                }
            }
            (Value::String(got), Value::String(expected)) if got == expected => Ok(()),
            _ => Err(format!("expected {expected}, got {got}")),
        }
    }
}

fn at_least(got: &Value, bound: &Value) -> std::result::Result<(), String> {
    match (got.as_f64(), bound.as_f64()) {
        (Some(got), Some(bound)) if got >= bound => Ok(()),
        _ => Err(format!("expected at least {bound}, got {got}")),
    }
}

/// Named results of a computation.
#[derive(Debug, Clone, Default)]
pub struct Found(Map<String, Value>);

impl Found {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// With a number.
    pub fn number(self, key: &str, value: f64) -> Self {
        self.with(key, to_json(value))
    }

    /// With a list.
    pub fn list<T: Copy + Into<f64>>(self, key: &str, values: &[T]) -> Self {
        self.with(key, values.iter().map(|&v| to_json(v.into())).collect())
    }

    /// With a list of counts.
    pub fn counts(self, key: &str, values: &[usize]) -> Self {
        self.list(key, &values.iter().map(|&v| v as f64).collect::<Vec<_>>())
    }

    /// With rows of `columns` numbers.
    pub fn rows(self, key: &str, values: &[f64], columns: usize) -> Self {
        let row = |row: &[f64]| row.iter().map(|&v| to_json(v)).collect::<Value>();
        self.with(key, values.chunks(columns.max(1)).map(row).collect())
    }

    /// With numbers of any shape.
    pub fn array(self, key: &str, array: &Array) -> Self {
        self.with(key, nested(array))
    }

    fn with(mut self, key: &str, value: Value) -> Self {
        self.0.insert(key.to_owned(), value);
        self
    }
}

fn nested(array: &Array) -> Value {
    match array.shape.len() {
        0 => to_json(array.values[0]),
        _ => array.parts().iter().map(nested).collect(),
    }
}

/// JSON has no number for what is not finite.
fn to_json(value: f64) -> Value {
    serde_json::Number::from_f64(value)
        .map_or_else(|| Value::String(value.to_string().to_lowercase()), Value::Number)
}

/// The error of a case that asks for what does not exist, or lacks what its kind needs: it fails, even
/// where an error is expected. No computation gives an `Error::Format`. A value outside of its type's range (−1, 1e99 or
/// a fraction for an integer, a text for a number) is no such error: it is refused as any other value out of its range.
pub fn unreadable(key: &str, expected: impl std::fmt::Display, got: impl std::fmt::Display) -> Error {
    Error::format(
        std::path::Path::new(key),
        "input of a golden case",
        format!("expected {expected}, got {got}"),
    )
}

/// The `inputs` of a case, or an object inside.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a>(pub &'a Value);

impl<'a> Inputs<'a> {
    /// The value of a key that must be there.
    pub fn get(self, key: &str) -> Result<&'a Value> {
        self.0.get(key).ok_or_else(|| unreadable(key, "a value", "nothing"))
    }

    /// Whether the key is there.
    pub fn has(self, key: &str) -> bool {
        self.0.get(key).is_some()
    }

    /// An object.
    pub fn object(self, key: &str) -> Result<Self> {
        Ok(Self(self.get(key)?))
    }

    /// Numbers of any shape.
    pub fn array(self, key: &str) -> Result<Array> {
        array(self.get(key)?)
    }

    /// A list of numbers.
    pub fn list(self, key: &str) -> Result<Vec<f64>> {
        Ok(self.array(key)?.values)
    }

    /// A number, which may be `"inf"`, `"-inf"` or `"nan"`.
    pub fn number(self, key: &str) -> Result<f64> {
        number(self.get(key)?)
    }

    /// An integer from 0 to 2^53.
    pub fn integer(self, key: &str) -> Result<usize> {
        integer(self.number(key)?)
    }

    /// A list of integers from 0 to 2^53.
    pub fn integers(self, key: &str) -> Result<Vec<usize>> {
        self.list(key)?.into_iter().map(integer).collect()
    }

    /// A string.
    pub fn text(self, key: &str) -> Result<&'a str> {
        self.get(key)?.as_str().ok_or_else(|| unreadable(key, "a string", "another value"))
    }

    /// One of an enum, by its name in `choices`.
    pub fn choice<T: Copy>(self, key: &str, choices: &[(&str, T)]) -> Result<T> {
        let name = self.text(key)?;
        let found = choices.iter().find(|(choice, _)| *choice == name);
        found.map(|(_, value)| *value).ok_or_else(|| {
            let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
            unreadable(key, format!("one of {}", names.join(", ")), format!("`{name}`"))
        })
    }
}

/// Of larger ones a JSON number does not say which is meant.
const LARGEST_INTEGER: f64 = (1_u64 << 53) as f64;

/// # Errors
/// `Error::Argument` for what is no such integer: a computation that takes one refuses it.
fn integer(value: f64) -> Result<usize> {
    if value.fract() == 0.0 && (0.0..=LARGEST_INTEGER).contains(&value) {
        return Ok(value as usize);
    }
    Err(Error::argument("an integer", "0 to 2^53", value))
}

/// A JSON number, or the name of one that JSON does not have.
///
/// # Errors
/// `Error::Argument` for a value of another type: a computation that takes a number refuses it.
pub fn number(value: &Value) -> Result<f64> {
    match value {
        Value::Number(n) => n.as_f64(),
        Value::String(s) if s == "inf" => Some(f64::INFINITY),
        Value::String(s) if s == "-inf" => Some(f64::NEG_INFINITY),
        Value::String(s) if s == "nan" => Some(f64::NAN),
        _ => None,
    }
    .ok_or_else(|| Error::argument("a number", "a number, \"inf\", \"-inf\" or \"nan\"", value))
}
