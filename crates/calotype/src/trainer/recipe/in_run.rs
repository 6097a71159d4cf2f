//! The recipe that a run keeps: `RUN/recipe.toml`.

use std::fs;

use toml::Table;

use super::Recipe;
use crate::error::{Error, Result};
use crate::files::atomic;
use crate::runs::folder::{RunFolder, TrainedPart};

impl Recipe {
    /// Keeps the recipe in the run: the part's own section and what all parts share; other parts' sections stay as
    /// they are.
    ///
    /// # Errors
    /// `Error::Io`; `Error::Format` if what the run has kept so far is not TOML.
    pub fn keep_in(&self, run: &RunFolder, part: TrainedPart) -> Result<()> {
        let path = run.recipe();
        let mut kept = Table::new();
        if path.exists() {
            let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
            kept = text.parse().map_err(|e| Error::format(&path, "TOML", e))?;
        }
        let own: Table = self.to_toml()?.parse().map_err(|e| Error::format(&path, "TOML", e))?;
        let is_part = |key: &str| TrainedPart::ALL.iter().any(|part| part.name() == key);
        kept.retain(|key, _| is_part(key));
        for (key, value) in own {
            if key == part.name() || !is_part(&key) || !kept.contains_key(&key) {
                kept.insert(key, value);
            }
        }
        let text = toml::to_string(&kept).map_err(|e| Error::format(&path, "TOML", e))?;
        atomic::write(&path, text.as_bytes())
    }
}
