//! What a comparison gives: numbers with their protocols, and what makes them hard to compare with others.

use serde_json::{Map, Value, json};

use super::picture_set::SetFacts;
use crate::error::Error;

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

    /// What cannot be measured, and why: a report without a value.
    pub(super) fn cannot(&mut self, numbers: Vec<String>, reason: &Error) {
        let report = json!({ "value": null, "reason": reason.to_string() });
        self.numbers.extend(numbers.into_iter().map(|name| (name, report.clone())));
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
