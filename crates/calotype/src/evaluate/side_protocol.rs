//! How the numbers of a side were made, so that what differs is not compared, and what is not known is said.

use serde_json::{Map, Value, json};

use crate::error::{Error, Result};

/// What a side's numbers depend on ([`Extractor::protocol`](super::extractor::Extractor::protocol)), or that
/// its file does not say: those of other programs do not.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SideProtocol(Option<Map<String, Value>>);

impl SideProtocol {
    /// From the JSON of a report or file: an object, or null for an unknown protocol.
    ///
    /// # Errors
    /// `Error::Data` for anything else.
    pub fn new(value: Value) -> Result<Self> {
        match value {
            Value::Object(known) => Ok(Self(Some(known))),
            Value::Null => Ok(Self(None)),
            other => Err(Error::data("protocol", "a JSON object", other)),
        }
    }

    /// Whether the side says how it was made.
    pub fn is_known(&self) -> bool {
        self.0.is_some()
    }

    /// The extractor's name: `inception`, `clip`, `onnx` or another program's.
    pub fn extractor(&self) -> Option<&str> {
        self.0.as_ref()?.get("extractor")?.as_str()
    }

    /// For files and reports: the object, or null.
    pub fn to_json(&self) -> Value {
        self.0.clone().map_or(Value::Null, Value::Object)
    }

    /// Refuses sides that were made in different ways. One that does not say passes, with a warning
    /// ([`warnings`](super::warnings::warnings)).
    ///
    /// # Errors
    /// `Error::Data` naming the first thing that differs, or that only one side says.
    pub fn require_comparable(&self, reference: &Self) -> Result<()> {
        let (Some(ours), Some(theirs)) = (&self.0, &reference.0) else { return Ok(()) };
        match ours.keys().chain(theirs.keys()).find(|&key| ours.get(key) != theirs.get(key)) {
            None => Ok(()),
            Some(key) => {
                let say = |side: &Map<String, Value>| side.get(key).map_or("none".into(), Value::to_string);
                let expected = format!("the same {key} on both sides, {}", say(theirs));
                Err(Error::data("protocol", expected, say(ours)))
            }
        }
    }

    /// Refuses parts of one set that were not made in one way, or of which only one says how.
    ///
    /// # Errors
    /// As [`require_comparable`](Self::require_comparable).
    pub fn require_same(&self, other: &Self) -> Result<()> {
        self.require_comparable(other)?;
        if self.is_known() == other.is_known() {
            Ok(())
        } else {
            Err(Error::data(
                "protocol",
                "parts of one set that all say how they were made, or none",
                "one with protocol.json and one without",
            ))
        }
    }

    /// The protocol of a number about these sides: what they have in common, or, where a side does not say,
    /// each side's own under `generated` and `reference`, the unknown as `unknown`.
    pub fn of_report(generated: &Self, reference: Option<&Self>) -> Map<String, Value> {
        match (generated, reference) {
            (Self(Some(known)), None) => known.clone(),
            (Self(Some(ours)), Some(Self(Some(_)))) => ours.clone(),
            _ => {
                let say = |side: &Self| side.0.clone().map_or(json!("unknown"), Value::Object);
                let sides = [("generated", Some(generated)), ("reference", reference)];
                sides.iter().filter_map(|(name, side)| Some(((*name).to_owned(), say((*side)?)))).collect()
            }
        }
    }

    /// What names of metrics on these sides end in. Only Inception's are FID, IS and KID: `-clip` and `-onnx`
    /// say what others are. None where no side says.
    pub fn suffix(generated: &Self, reference: Option<&Self>) -> Option<String> {
        let extractor = generated.extractor().or_else(|| reference?.extractor())?;
        Some(if extractor == "inception" { String::new() } else { format!("-{extractor}") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_refuses;

    fn of(value: Value) -> SideProtocol {
        SideProtocol::new(value).unwrap()
    }

    #[test]
    fn what_only_one_side_says_is_a_difference_in_either_direction() {
        let short = of(json!({ "extractor": "inception" }));
        let long = of(json!({ "extractor": "inception", "resize": "a" }));
        for (ours, theirs) in [(&short, &long), (&long, &short)] {
            let message = ours.require_comparable(theirs).unwrap_err().to_string();
            assert!(message.contains("resize") && message.contains("none"), "{message}");
        }
        long.require_same(&long).unwrap();
    }

    #[test]
    fn an_unknown_side_stays_unknown() {
        let (known, unknown) = (of(json!({ "extractor": "clip" })), of(Value::Null));
        unknown.require_comparable(&known).unwrap();
        for (one, other) in [(&unknown, &known), (&known, &unknown)] {
            assert_refuses(one.require_same(other), "protocol: expected parts of one set that all say");
        }
        unknown.require_same(&unknown).unwrap();
        let report = SideProtocol::of_report(&unknown, Some(&known));
        assert_eq!(
            (&report["generated"], &report["reference"]["extractor"]),
            (&json!("unknown"), &json!("clip"))
        );
        assert_eq!(SideProtocol::suffix(&unknown, Some(&known)).as_deref(), Some("-clip"));
        assert_eq!(SideProtocol::suffix(&unknown, None), None);
        assert_refuses(SideProtocol::new(json!("tf-fid")), "protocol: expected a JSON object");
    }
}
