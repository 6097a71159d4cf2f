//! JSON lines: the numbers of logged steps, and what happened in between.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::files::atomic;

/// Appends `{"step": …, name: value, …}` lines to a file.
#[derive(Debug)]
pub struct MetricsLog {
    path: PathBuf,
    file: File,
}

impl MetricsLog {
    /// Opens the log of a run that stands at `step`: lines of later steps (from before a crash) are
    /// dropped.
    ///
    /// # Errors
    /// `Error::Io`; `Error::Format` if the file holds something else.
    pub fn open(path: &Path, step: usize) -> Result<Self> {
        let lines = if path.exists() && step > 0 { read_lines(path)? } else { vec![] };
        let kept: String = lines
            .into_iter()
            .filter(|line| line.get("step").and_then(Value::as_u64).is_some_and(|s| s < step as u64))
            .map(|line| format!("{}\n", Value::Object(line)))
            .collect();
        atomic::write(path, kept.as_bytes())?;
        let file = File::options().append(true).open(path).map_err(Error::io("write", path))?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// One line of numbers.
    ///
    /// # Errors
    /// `Error::Io`.
    pub fn write(&mut self, step: usize, values: &[(&str, f64)]) -> Result<()> {
        self.write_line(step, values.iter().map(|&(name, value)| (name, Value::from(value))))
    }

    /// One line about something that happened: `{"step": …, "event": …, name: value, …}`.
    ///
    /// # Errors
    /// `Error::Io`.
    pub fn event(&mut self, step: usize, event: &str, values: &[(&str, Value)]) -> Result<()> {
        let name = [("event", Value::from(event))];
        self.write_line(step, name.into_iter().chain(values.iter().cloned()))
    }

    fn write_line<'a>(&mut self, step: usize, values: impl Iterator<Item = (&'a str, Value)>) -> Result<()> {
        let mut line = Map::new();
        line.insert("step".into(), step.into());
        line.extend(values.map(|(name, value)| (name.to_owned(), value)));
        let line = format!("{}\n", Value::Object(line));
        self.file.write_all(line.as_bytes()).map_err(Error::io("write", &self.path))
    }
}

fn read_lines(path: &Path) -> Result<Vec<Map<String, Value>>> {
    let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
    // A crash can cut the last line; only that one may be broken.
    let complete = text.rfind('\n').map_or("", |end| &text[..end]);
    complete
        .lines()
        .map(|line| serde_json::from_str(line).map_err(|e| Error::format(path, "JSON lines", e)))
        .collect()
}

/// The points (step, value) of one name, for charts.
///
/// # Errors
/// As [`MetricsLog::open`].
pub fn read_series(path: &Path, name: &str) -> Result<Vec<(f64, f64)>> {
    Ok(read_lines(path)?
        .iter()
        .filter_map(|line| Some((line.get("step")?.as_f64()?, line.get(name)?.as_f64()?)))
        .collect())
}
