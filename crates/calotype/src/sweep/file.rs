//! What a sweep is asked for in its TOML file: a base recipe, variants of it, and seeds.
//!
//! ```toml
//! base = "smoke"                    # a recipe in the program, or a file beside this one
//! seeds = [0, 1, 2]                 # optional: everything is trained with each of them
//! set.diffusion.training.steps = 90 # optional: keys of the recipe, for all, the base too
//!
//! [[variants]]
//! name = "l1"
//! group = "The error of a pixel"    # optional: a table of its own
//! set.vae.reconstruction = "l1"     # keys of the recipe
//! without = ["vae.beta_warm_up"]    # keys of the base that the variant does not have
//! ```

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::{Table, Value};

use crate::demo::built_in;
use crate::error::{Error, Result};
use crate::trainer::Recipe;

/// The name of the base among the variants.
pub const BASE: &str = "base";
/// Characters of a variant's name, at most: it is the name of a folder.
const LONGEST_NAME: usize = 64;

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    base: String,
    seeds: Option<Vec<u64>>,
    #[serde(default)]
    set: Table,
    #[serde(default)]
    variants: Vec<WrittenVariant>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenVariant {
    name: String,
    #[serde(default)]
    group: String,
    #[serde(default)]
    set: Table,
    #[serde(default)]
    without: Vec<String>,
}

/// A sweep's file, with the recipes that it makes.
#[derive(Debug, Clone)]
pub struct SweepFile {
    /// The file.
    pub path: PathBuf,
    /// The base first.
    pub variants: Vec<Variant>,
}

/// One way to train and to measure, with every seed.
#[derive(Debug, Clone)]
pub struct Variant {
    /// Unlike that of any other.
    pub name: String,
    /// Heading of the table that it is in.
    pub group: String,
    /// With each seed.
    pub recipes: Vec<Recipe>,
}

impl SweepFile {
    /// Reads and checks a sweep, and the recipe of each of its variants.
    ///
    /// # Errors
    /// `Error::Io`; `Error::Format` for bad TOML and unknown keys, of the sweep or of a recipe; `Error::Config` for a
    /// value out of range, and for a variant that cannot be told from another.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        let written: Written = toml::from_str(&text).map_err(|e| Error::format(path, "sweep (TOML)", e))?;
        let refuse = |key: String, expected: &str, got: String| Err(Error::config(path, key, expected, got));
        let (recipe, mut base) = base(path, &written.base)?;
        if written.set.contains_key("seed") {
            return refuse("set.seed".into(), "no seed: `seeds` has them", "one".into());
        }
        let mut called = recipe.path().to_owned();
        if !written.set.is_empty() {
            merge(&mut base, &written.set);
            called = PathBuf::from(format!("{}: `set` of the base", path.display()));
        }
        let seeds = match written.seeds {
            None => vec![recipe.seed],
            Some(seeds) => {
                let twice = (1..seeds.len()).any(|i| seeds[..i].contains(&seeds[i]));
                if seeds.is_empty() || twice {
                    return refuse("seeds".into(), "at least one, each once", format!("{seeds:?}"));
                }
                seeds
            }
        };
        let mut variants: Vec<Variant> = Vec::new();
        let of_base = (BASE.to_owned(), String::new(), called, base.clone());
        let of_variants = written.variants.iter().map(|variant| {
            let called = path.display().to_string() + &format!(": variant `{}`", variant.name);
            let table = variant.recipe(path, base.clone())?;
            Ok((variant.name.clone(), variant.group.clone(), PathBuf::from(called), table))
        });
        for variant in std::iter::once(Ok(of_base)).chain(of_variants) {
            let (name, group, called, table) = variant?;
            if variants.iter().any(|other| other.name.eq_ignore_ascii_case(&name)) {
                return refuse(format!("variants.{name}"), "a name of its own", format!("`{name}` twice"));
            }
            let recipes =
                seeds.iter().map(|&seed| with_seed(&called, &table, seed)).collect::<Result<_>>()?;
            variants.push(Variant { name, group, recipes });
        }
        Ok(Self { path: path.to_owned(), variants })
    }
}

impl WrittenVariant {
    /// The base with what the variant changes. `path`: of the sweep.
    fn recipe(&self, path: &Path, base: Table) -> Result<Table> {
        let refuse = |key: &str, expected: &str, got: String| {
            Err(Error::config(path, format!("variants.{}{key}", self.name), expected, got))
        };
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_.+".contains(c);
        let named = self.name.starts_with(|c: char| c.is_ascii_alphanumeric()) && self.name.chars().all(fits);
        if !named || self.name.len() > LONGEST_NAME {
            let expected = "a name of at most 64 letters, digits, `-`, `_`, `.` and `+`: it names a folder";
            return refuse("", expected, format!("`{}`", self.name));
        }
        if self.set.is_empty() && self.without.is_empty() {
            let expected = "keys of the recipe in `set` or `without`: the base itself is always measured";
            return refuse("", expected, "none".into());
        }
        if self.set.contains_key("seed") {
            return refuse(".set.seed", "no seed: `seeds` of the sweep has them", "one".into());
        }
        let mut recipe = base;
        for key in &self.without {
            if !remove(&mut recipe, key) {
                return refuse(".without", "keys that the base has", format!("`{key}`"));
            }
        }
        merge(&mut recipe, &self.set);
        Ok(recipe)
    }
}

/// The recipe that a sweep varies, and its table.
fn base(sweep: &Path, name: &str) -> Result<(Recipe, Table)> {
    let (path, text) = match built_in(name) {
        Some(text) => (PathBuf::from(format!("{name}.toml")), text.to_owned()),
        None => {
            let path = sweep.parent().unwrap_or(Path::new("")).join(name);
            if !path.is_file() {
                let got = format!("`{name}`, and there is no file `{}`", path.display());
                let expected = "demo, full, smoke or a recipe beside this file";
                return Err(Error::config(sweep, "base", expected, got));
            }
            let text = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
            (path, text)
        }
    };
    // As a text, so that faults of the base have a line.
    let recipe = Recipe::parse(&path, &text)?;
    let table = text.parse().map_err(|e| Error::format(&path, "recipe (TOML)", e))?;
    Ok((recipe, table))
}

fn with_seed(called: &Path, table: &Table, seed: u64) -> Result<Recipe> {
    let mut table = table.clone();
    let seed = i64::try_from(seed).map_err(|_| Error::config(called, "seed", "at most 2⁶³ − 1", seed))?;
    table.insert("seed".into(), Value::Integer(seed));
    Recipe::of_table(called, table)
}

/// Tables are merged, key by key; any other value takes the place of the old one.
fn merge(into: &mut Table, from: &Table) {
    for (key, value) in from {
        match (into.get_mut(key), value) {
            (Some(Value::Table(old)), Value::Table(new)) => merge(old, new),
            _ => _ = into.insert(key.clone(), value.clone()),
        }
    }
}

/// Removes a dotted key; whether it was there.
fn remove(table: &mut Table, key: &str) -> bool {
    match key.split_once('.') {
        None => table.remove(key).is_some(),
        Some((first, rest)) => {
            table.get_mut(first).and_then(Value::as_table_mut).is_some_and(|inside| remove(inside, rest))
        }
    }
}
