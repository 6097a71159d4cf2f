//! `GET /api/recipes/keys`: every key of a recipe with its default, range and meaning, as docs/recipes.md says them.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::http::Response;
use calotype::demo;
use serde::Serialize;
use serde_json::{Value, json};
use toml::Table;

use crate::answer;

/// The page that people read, and so one source of what is said about keys.
const PAGE: &str = include_str!("../../../../docs/recipes.md");

/// A key of a recipe.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Key {
    /// Dotted from the top.
    key: String,
    /// `number`, `integer`, `boolean`, `string`, `choice`, `table`.
    #[serde(rename = "type")]
    kind: &'static str,
    default: Value,
    least: Option<f64>,
    most: Option<f64>,
    choices: Option<Vec<String>>,
    /// What it means.
    help: String,
    /// The range in words.
    range: String,
    /// Its section; `top` for those of the whole run.
    part: String,
}

/// `GET /api/recipes/keys`.
pub async fn keys() -> Response<Body> {
    answer::json(&json!({ "keys": all() }))
}

fn all() -> Vec<Key> {
    let known = known_types();
    let mut sections: Vec<String> = vec![String::new()];
    let mut keys: Vec<Key> = Vec::new();
    for line in PAGE.lines() {
        if line.starts_with("## ") || line.starts_with("### ") {
            sections = of_heading(line);
        }
        let Some(cells) = cells(line) else { continue };
        if cells[0].is_empty() {
            // One more choice of the key above.
            let last = keys.last_mut().and_then(|key| key.choices.as_mut());
            last.into_iter().for_each(|choices| choices.extend(quoted(&cells[2])));
            continue;
        }
        for section in &sections {
            keys.push(Key::of(section, &cells, &known));
        }
    }
    keys
}

/// The sections that a heading is of: `[vae.training]`, `[clip.training]` are two.
fn of_heading(line: &str) -> Vec<String> {
    let named =
        line.split('`').skip(1).step_by(2).filter_map(|name| name.strip_prefix('[')?.strip_suffix(']'));
    let sections = named.flat_map(|name| match name.strip_prefix("….") {
        Some(rest) => ["vae", "clip", "diffusion"].map(|part| format!("{part}.{rest}")).to_vec(),
        None => vec![name.to_owned()],
    });
    let sections: Vec<String> = sections.collect();
    if sections.is_empty() { vec![String::new()] } else { sections }
}

/// Key, default, range and meaning of a row about a key.
fn cells(line: &str) -> Option<[String; 4]> {
    let inner = line.strip_prefix("| ")?.strip_suffix(" |")?;
    let cells: Vec<String> =
        inner.split(" | ").map(|cell| cell.trim().trim_start_matches('|').trim().to_owned()).collect();
    // An empty default leaves `| |`.
    let cells: [String; 4] = match <[String; 4]>::try_from(cells) {
        Ok(cells) => cells,
        Err(cells) if cells.len() == 3 => {
            let [key, range, meaning] = <[String; 3]>::try_from(cells).ok()?;
            [key, String::new(), range, meaning]
        }
        Err(_) => return None,
    };
    let is_key = cells[0].is_empty() || (cells[0].starts_with('`') && cells[0].ends_with('`'));
    is_key.then_some(cells)
}

/// What stands in `"quotes"` in backticks.
fn quoted(cell: &str) -> Vec<String> {
    let names = cell.split('`').skip(1).step_by(2);
    names.filter_map(|name| Some(name.strip_prefix('"')?.strip_suffix('"')?.to_owned())).collect()
}

impl Key {
    fn of(section: &str, cells: &[String; 4], known: &BTreeMap<String, &'static str>) -> Self {
        let [name, default, range, help] = cells;
        let name = name.trim_matches('`');
        let key = if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") };
        let choices = quoted(range);
        let plain = default.trim_matches('`').replace('−', "-");
        let default = serde_json::from_str::<Value>(&plain).unwrap_or(Value::Null);
        let (least, most) = bounds(range);
        let kind = match (&default, known.get(&key)) {
            _ if !choices.is_empty() => "choice",
            _ if range.contains("path") => "string",
            _ if range.contains('{') => "table",
            (Value::Bool(_), _) => "boolean",
            (_, Some(kind)) => kind,
            (Value::Number(number), _) if number.is_f64() => "number",
            (Value::Number(_), _) if range.contains("or more") => "integer",
            _ if range.starts_with("1 or more") => "integer",
            _ if least.is_some() || range.contains("finite") => "number",
            _ => "string",
        };
        Self {
            kind,
            default,
            least,
            most,
            choices: (!choices.is_empty()).then_some(choices),
            help: help.clone(),
            range: range.clone(),
            part: key.split_once('.').map_or("top", |(part, _)| part).to_owned(),
            key,
        }
    }
}

/// Of `1 or more`, `0 to 1`, `above 0`, `0 to below 1`.
fn bounds(range: &str) -> (Option<f64>, Option<f64>) {
    let words: Vec<&str> = range.split([' ', ';', ',']).collect();
    let number = |word: Option<&&str>| word.and_then(|word| word.parse::<f64>().ok());
    match words.as_slice() {
        ["above", rest @ ..] => (number(rest.first()), None),
        [least, "or", "more", ..] => (number(Some(least)), None),
        [least, "to", "below", most, ..] | [least, "to", most, ..] => {
            (number(Some(least)), number(Some(most)))
        }
        _ => (None, None),
    }
}

/// The types of keys, by the recipes of the program.
fn known_types() -> BTreeMap<String, &'static str> {
    let mut known = BTreeMap::new();
    for name in demo::built_in_names() {
        let table = demo::built_in(name).and_then(|text| text.parse::<Table>().ok()).unwrap_or_default();
        collect("", &table, &mut known);
    }
    known
}

fn collect(above: &str, table: &Table, known: &mut BTreeMap<String, &'static str>) {
    for (key, value) in table {
        let dotted = if above.is_empty() { key.clone() } else { format!("{above}.{key}") };
        let kind = match value {
            toml::Value::Table(inner) => {
                collect(&dotted, inner, known);
                continue;
            }
            toml::Value::Integer(_) => "integer",
            toml::Value::Float(_) => "number",
            toml::Value::Boolean(_) => "boolean",
            toml::Value::String(_) => "string",
            toml::Value::Array(_) | toml::Value::Datetime(_) => "table",
        };
        known.insert(dotted, kind);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_about_recipes_is_understood() {
        let keys = all();
        let find = |name: &str| keys.iter().find(|key| key.key == name).unwrap_or_else(|| panic!("{name}"));
        assert_eq!(
            (find("seed").part.as_str(), find("vae.beta").kind, find("vae.beta").least),
            ("top", "number", Some(0.0))
        );
        assert_eq!(find("vae.layers_per_block").default, json!(1));
        assert_eq!(find("data.transform.resize").choices.as_ref().unwrap().len(), 4);
        assert_eq!(find("clip.training.optimizer.rule").choices.as_ref().unwrap()[1], "muon");
        assert_eq!(
            (find("data.single_objects").least, find("data.single_objects").most),
            (Some(0.0), Some(1.0))
        );
        assert_eq!(find("diffusion.training.steps").kind, "integer");
        assert!(keys.iter().all(|key| !key.help.is_empty()));
    }

    #[test]
    fn every_key_of_the_programs_recipes_is_explained() {
        let keys = all();
        for name in known_types().into_keys() {
            let explained =
                keys.iter().any(|key| key.key == name || name.starts_with(&format!("{}.", key.key)));
            assert!(explained, "{name}");
        }
    }
}
