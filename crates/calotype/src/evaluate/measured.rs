//! What a comparison gives: numbers with their protocols, and what makes them hard to compare with others.

use serde_json::{Map, Value, json};

use super::picture_set::SetFacts;
use crate::error::{Error, Result};

/// What cannot be measured, and why.
#[derive(Debug)]
pub(super) struct Unmeasurable {
    /// What its numbers would be called.
    pub(super) numbers: Vec<String>,
    pub(super) reason: Error,
}

impl Unmeasurable {
    /// Takes an error about the metric of these numbers: the others can still be measured.
    ///
    /// # Errors
    /// The error, if it is about more: a file, an option, somebody who stopped the work.
    pub(super) fn take(numbers: Vec<String>, reason: Error) -> Result<Self> {
        match reason {
            Error::Data { .. } | Error::Shape { .. } | Error::NonFinite { .. } => {
                Ok(Self { numbers, reason })
            }
            other => Err(other),
        }
    }
}

/// Numbers and warnings.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Measured {
    /// The report of each metric by its name, and of each side: `generated_set`, `reference_set`.
    pub numbers: Map<String, Value>,
    /// Each once.
    pub warnings: Vec<String>,
}

impl Measured {
    pub(super) fn warn(&mut self, warnings: impl IntoIterator<Item = String>) {
        for warning in warnings {
            if !self.warnings.contains(&warning) {
                self.warnings.push(warning);
            }
        }
    }

    /// A report without a value for each number that cannot be measured, or is none.
    ///
    /// # Errors
    /// The first reason, if nothing else is measured.
    pub(super) fn complete(mut self, unmeasurable: Vec<Unmeasurable>) -> Result<Self> {
        for Unmeasurable { numbers, reason } in &unmeasurable {
            let report = json!({ "value": null, "reason": reason.to_string() });
            self.numbers.extend(numbers.iter().map(|name| (name.clone(), report.clone())));
        }
        let is_report = |report: &&Value| report.get("value").is_some() || report.get("file").is_some();
        let missing = |report: &&Value| report.get("reason").is_some();
        let nothing_else = self.numbers.values().filter(is_report).all(|report| missing(&report));
        match unmeasurable.into_iter().next() {
            Some(first) if nothing_else => return Err(first.reason),
            _ => {}
        }
        for report in self.numbers.values_mut() {
            // JSON has no NaN.
            if report.get("value").is_some_and(Value::is_null) && report.get("reason").is_none() {
                report["reason"] = json!("the result is no finite number");
            }
        }
        Ok(self)
    }

    /// What a folder holds; the first reading of it counts.
    pub(super) fn facts(&mut self, side: &str, facts: &SetFacts) {
        self.numbers.entry(format!("{side}_set")).or_insert(json!(facts));
    }

    /// All of it in one object. `commit`: of the program.
    pub fn to_json(&self, commit: &str) -> Value {
        let mut all = self.numbers.clone();
        all.insert("warnings".into(), json!(self.warnings));
        let versions = json!({ "calotype": env!("CARGO_PKG_VERSION"), "commit": commit });
        all.insert("versions".into(), versions);
        Value::Object(all)
    }
}
