//! Logs, read line by line: a log may be larger than memory should be.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::Path;

use serde_json::{Map, Value};

use super::series::{Series, Smoothing};
use crate::error::{Error, Result};

/// A line longer than this is not one of ours, in bytes.
const LONGEST_LINE: u64 = 1 << 20;
/// More different names than this are not metrics or events.
const MOST_NAMES: usize = 256;

/// Every number of a part's log.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// In the order in which they first appear.
    pub(super) series: Vec<Series>,
}

impl Log {
    /// Reads the log at `path`, up to and with step `until`; a missing log is empty. `null` and values too
    /// large to draw become gaps; what is not a number is passed over.
    ///
    /// # Errors
    /// `Error::Io`; `Error::Format` with the line's number.
    pub(super) fn read(path: &Path, smoothing: Smoothing, until: Option<f64>) -> Result<Self> {
        let mut log = Self::default();
        read_lines(path, |line| {
            let Some(step) = line.get("step").and_then(Value::as_f64) else { return Ok(()) };
            if until.is_some_and(|until| step > until) {
                return Ok(());
            }
            for (name, value) in line.iter().filter(|(name, _)| *name != "step") {
                let value = match value {
                    Value::Number(number) => number.as_f64().unwrap_or(f64::NAN),
                    Value::Null => f64::NAN,
                    _ => continue,
                };
                log.series_mut(name, smoothing)?.push(step, value);
            }
            Ok(())
        })?;
        Ok(log)
    }

    fn series_mut(&mut self, name: &str, smoothing: Smoothing) -> std::result::Result<&mut Series, String> {
        let index = match self.series.iter().position(|series| series.name == name) {
            Some(index) => index,
            None if self.series.len() == MOST_NAMES => return Err(format!("more than {MOST_NAMES} metrics")),
            None => {
                self.series.push(Series::new(name, smoothing));
                self.series.len() - 1
            }
        };
        Ok(&mut self.series[index])
    }

    pub(super) fn get(&self, name: &str) -> Option<&Series> {
        self.series.iter().find(|series| series.name == name)
    }

    /// The last step on any line.
    pub(super) fn last_step(&self) -> Option<f64> {
        self.series.iter().map(|series| series.last_step).reduce(f64::max)
    }
}

/// How often each kind of event is in the log at `path`; a missing log has none.
///
/// # Errors
/// As [`Log::read`].
pub(super) fn count_events(path: &Path) -> Result<BTreeMap<String, u64>> {
    let mut counts = BTreeMap::new();
    read_lines(path, |line| {
        let Some(kind) = line.get("event").and_then(Value::as_str) else { return Ok(()) };
        if let Some(count) = counts.get_mut(kind) {
            *count += 1;
        } else if counts.len() == MOST_NAMES {
            return Err(format!("more than {MOST_NAMES} kinds of events"));
        } else {
            counts.insert(kind.to_owned(), 1);
        }
        Ok(())
    })?;
    Ok(counts)
}

/// Calls `each` for every complete line. A crash can cut the last line, which is then left out; any other
/// line must be a JSON object.
fn read_lines(
    path: &Path,
    mut each: impl FnMut(&Map<String, Value>) -> std::result::Result<(), String>,
) -> Result<()> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        opened => opened.map_err(Error::io("read", path))?,
    };
    let mut reader = BufReader::with_capacity(1 << 18, file);
    let mut line = Vec::new();
    for number in 1usize.. {
        let broken = |reason: String| Error::format(path, "JSON lines", format!("line {number}{reason}"));
        line.clear();
        let mut limited = reader.by_ref().take(LONGEST_LINE);
        limited.read_until(b'\n', &mut line).map_err(Error::io("read", path))?;
        if !line.ends_with(b"\n") {
            return if line.len() as u64 == LONGEST_LINE {
                Err(broken(format!(" is longer than {LONGEST_LINE} bytes")))
            } else {
                Ok(())
            };
        }
        let object = serde_json::from_slice(&line).map_err(|error| {
            let text = error.to_string();
            // serde_json counts lines within the one line that it was given.
            let reason = text.split(" at line ").next().unwrap_or(&text);
            broken(format!(", column {}: {reason}", error.column()))
        })?;
        each(&object).map_err(|reason| broken(format!(": {reason}")))?;
    }
    Ok(())
}
