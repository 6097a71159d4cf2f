//! Recipes as a list of dotted keys: what one says, and what several say differently.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use toml::{Table, Value};

use super::folder::{RunFolder, TrainedPart};
use crate::error::{Error, Result};

/// A larger file is not a recipe, in bytes.
const LARGEST: u64 = 4 << 20;

/// `recipe.toml` of a run; none if it has none.
///
/// # Errors
/// `Error::Io`; `Error::Format` if it is not TOML.
pub(super) fn read(run: &RunFolder) -> Result<Option<Table>> {
    let path = run.recipe();
    if !path.exists() {
        return Ok(None);
    }
    let size = fs::metadata(&path).map_err(Error::io("read", &path))?.len();
    if size > LARGEST {
        return Err(Error::format(&path, "TOML", format!("{size} bytes are too many for a recipe")));
    }
    let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
    text.parse().map(Some).map_err(|error: toml::de::Error| Error::format(&path, "TOML", error.message()))
}

/// The steps that a recipe plans for a part: `[PART.training] steps`.
pub(super) fn planned_steps(recipe: &Table, part: TrainedPart) -> Option<u64> {
    let steps = recipe.get(part.name())?.get("training")?.get("steps")?.as_integer()?;
    u64::try_from(steps).ok()
}

/// Dotted keys with their values; arrays are values.
fn flat(table: &Table) -> BTreeMap<String, &Value> {
    fn walk<'a>(prefix: &str, table: &'a Table, into: &mut BTreeMap<String, &'a Value>) {
        for (key, value) in table {
            let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
            match value {
                Value::Table(inner) => walk(&key, inner, into),
                value => _ = into.insert(key, value),
            }
        }
    }
    let mut keys = BTreeMap::new();
    walk("", table, &mut keys);
    keys
}

/// Keys whose values are not all the same, by name, each with one value for each recipe, as TOML. A run
/// without a recipe has no values and makes no difference.
pub(super) fn differences(recipes: &[Option<Table>]) -> Vec<(String, Vec<Option<String>>)> {
    let flat: Vec<Option<BTreeMap<String, &Value>>> =
        recipes.iter().map(|recipe| recipe.as_ref().map(flat)).collect();
    let keys: BTreeSet<&String> = flat.iter().flatten().flat_map(|recipe| recipe.keys()).collect();
    let mut rows = Vec::new();
    for key in keys {
        let values: Vec<Option<&Value>> =
            flat.iter().flatten().map(|recipe| recipe.get(key).copied()).collect();
        let same = values.windows(2).all(|pair| match (pair[0], pair[1]) {
            (Some(one), Some(next)) => equal(one, next),
            (one, next) => one.is_none() && next.is_none(),
        });
        if !same {
            let shown = |recipe: &Option<BTreeMap<String, &Value>>| {
                recipe.as_ref().and_then(|recipe| recipe.get(key)).map(|value| value.to_string())
            };
            rows.push((key.clone(), flat.iter().map(shown).collect()));
        }
    }
    rows
}

/// 1 and 1.0 are the same setting.
fn equal(a: &Value, b: &Value) -> bool {
    let number =
        |value: &Value| value.as_float().or_else(|| value.as_integer().map(|integer| integer as f64));
    match (number(a), number(b)) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}
