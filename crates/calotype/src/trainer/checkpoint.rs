//! Training state on disk.

use std::collections::HashMap;
use std::path::Path;

use super::optimizer::AdamW;
use crate::error::{Error, Result};
use crate::formats::safetensors_io;

/// Saves weights, moments, averages and the number of steps, whole or not at all. `recipe` is the
/// part's settings as JSON: a resume under other settings is refused.
///
/// # Errors
/// `Error::Io`.
pub fn save(path: &Path, optimizer: &AdamW, recipe: &str) -> Result<()> {
    let metadata = HashMap::from([
        ("steps".to_owned(), optimizer.steps().to_string()),
        ("recipe".to_owned(), recipe.to_owned()),
    ]);
    safetensors_io::write_with_metadata(path, &optimizer.state(), metadata)
}

/// Puts a saved state back into `optimizer`.
///
/// # Errors
/// `Error::Io`, `Error::Format` for a truncated file, `Error::Config` if the recipe has changed,
/// `Error::Weights` if the network has.
pub fn load(path: &Path, optimizer: &mut AdamW, recipe: &str) -> Result<()> {
    let metadata = safetensors_io::read_metadata(path)?;
    let saved = metadata.get("recipe").map_or("", String::as_str);
    if saved != recipe {
        return Err(Error::Config {
            path: path.to_owned(),
            key: "recipe".into(),
            expected: format!("the settings that this run began with: {saved}"),
            got: recipe.to_owned(),
        });
    }
    let steps = metadata
        .get("steps")
        .and_then(|steps| steps.parse().ok())
        .ok_or_else(|| Error::format(path, "training state", "it has no number of steps"))?;
    optimizer.restore(path, safetensors_io::read(path)?, steps)
}
