//! The curves of a part's training: its log, thinned for a screen.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::Path;

use calotype::Error;
use serde_json::{Map, Value, json};

use crate::problem::Answer;

/// Points of a curve, at most.
const MOST: usize = 2000;
/// Longer logs are read to here, in bytes.
const LARGEST: u64 = 256 << 20;

/// What a log says from a step on: training numbers by step, validation numbers as points of their own. A missing log says
/// nothing; lines that a crash has cut are left out.
///
/// # Errors
/// 500 where the log cannot be read.
pub fn read(path: &Path, part: &str, since: f64) -> Answer<Value> {
    let mut lines: Vec<(f64, Map<String, Value>)> = Vec::new();
    let mut validation: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for line in objects(path)? {
        let Some(step) = line.get("step").and_then(Value::as_f64).filter(|step| *step >= since) else {
            continue;
        };
        let (of_validation, of_training): (Vec<_>, Vec<_>) = line
            .into_iter()
            .filter(|(name, value)| name != "step" && (value.is_number() || value.is_null()))
            .partition(|(name, _)| name.starts_with("validation_"));
        for (name, value) in of_validation {
            validation.entry(name).or_default().push(json!([step, value]));
        }
        if !of_training.is_empty() {
            lines.push((step, of_training.into_iter().collect()));
        }
    }
    let lines = thinned(lines);
    let mut series = Map::new();
    let mut names: Vec<&String> = Vec::new();
    for name in lines.iter().flat_map(|(_, line)| line.keys()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    for name in names {
        let values: Vec<&Value> =
            lines.iter().map(|(_, line)| line.get(name).unwrap_or(&Value::Null)).collect();
        series.insert(name.clone(), json!(values));
    }
    series.extend(validation.into_iter().map(|(name, points)| (name, json!(points))));
    let steps: Vec<f64> = lines.iter().map(|(step, _)| *step).collect();
    Ok(json!({ "part": part, "steps": steps, "series": series }))
}

/// Every n-th of too many lines, and always the last.
fn thinned<T>(lines: Vec<T>) -> Vec<T> {
    let every = lines.len().div_ceil(MOST).max(1);
    let last = lines.len().saturating_sub(1);
    let kept = lines.into_iter().enumerate().filter(|(i, _)| i.is_multiple_of(every) || *i == last);
    kept.map(|(_, line)| line).collect()
}

fn objects(path: &Path) -> Answer<Vec<Map<String, Value>>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(vec![]),
        opened => opened.map_err(Error::io("read", path))?,
    };
    let mut reader = BufReader::new(file.take(LARGEST));
    let (mut objects, mut line) = (Vec::new(), Vec::new());
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line).map_err(Error::io("read", path))?;
        if read == 0 {
            return Ok(objects);
        }
        if let Ok(Value::Object(object)) = serde_json::from_slice(&line) {
            objects.push(object);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_becomes_curves() {
        let path = std::env::temp_dir().join(format!("calotype-series-{}.jsonl", std::process::id()));
        let text = "{\"step\":0,\"loss\":2.0,\"learning_rate\":0.1}\n{\"step\":1,\"loss\":null}\n\
                    {\"step\":1,\"validation_psnr\":20.5}\n{\"step\":2,\"loss\":1.0,\"note\":\"x\"}\n{\"step\":3,\"lo";
        std::fs::write(&path, text).unwrap();
        let all = read(&path, "vae", f64::NEG_INFINITY).unwrap();
        assert_eq!(all["steps"], json!([0.0, 1.0, 2.0]));
        assert_eq!(all["series"]["loss"], json!([2.0, null, 1.0]));
        assert_eq!(all["series"]["learning_rate"], json!([0.1, null, null]));
        assert_eq!(all["series"]["validation_psnr"], json!([[1.0, 20.5]]));
        assert_eq!(read(&path, "vae", 2.0).unwrap()["steps"], json!([2.0]));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(read(&path, "vae", 0.0).unwrap()["steps"], json!([]));
    }

    #[test]
    fn long_logs_are_thinned() {
        let kept = thinned((0..9999).collect::<Vec<_>>());
        assert!(kept.len() <= MOST + 1 && kept[0] == 0 && kept.last() == Some(&9998));
        assert_eq!(thinned(vec![1, 2, 3]), [1, 2, 3]);
    }
}
