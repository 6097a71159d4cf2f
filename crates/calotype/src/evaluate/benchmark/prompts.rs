//! The benchmark's prompts: frozen by a version, the same on every machine and for every model.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::Pairs;
use crate::data::emoji_scenes::{EmojiScenes, EmojiScenesConfig, Noun, Scene};
use crate::error::{Error, Result};
use crate::files::atomic;
use crate::files::sha256::hex;

/// What a result is a result of. Scenes, captions, held-out pairs, checker and definitions of the accuracies are part of
/// it: a change of any of them is a new version.
pub const VERSION: &str = "emoji-scenes-1";
/// Seed of the scenes: of no recipe, so that no training was watched on them.
pub const SCENE_SEED: u64 = 1_841_001;
/// Side in pixels of the canvas that the scenes are laid out on, whatever the size of the model's pictures.
pub const CANVAS: u32 = 32;

/// Which prompts are asked: with [`PromptSet::default`], those to cite.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PromptSet {
    /// What the scenes are of; their order does not matter.
    pub nouns: Vec<Noun>,
    /// At most this many objects in a scene: 2, or 3 (in a tenth of the scenes).
    pub max_objects: usize,
    /// Seed of the scenes.
    pub scene_seed: u64,
    /// Prompts about unseen pairs, and as many about seen ones. Fewer are the first of more.
    pub count: usize,
}

impl Default for PromptSet {
    fn default() -> Self {
        Self { nouns: Noun::ALL.to_vec(), max_objects: 2, scene_seed: SCENE_SEED, count: 500 }
    }
}

impl PromptSet {
    /// The version, and what differs from it.
    pub fn name(&self) -> String {
        if self.scene_seed == SCENE_SEED {
            VERSION.to_owned()
        } else {
            format!("{VERSION} with scene seed {}", self.scene_seed)
        }
    }

    /// The scenes of one kind of pairs, numbers 0 to `count` − 1.
    ///
    /// # Errors
    /// `Error::Argument` for fewer than 2 prompts, another number of objects than 2 or 3, and as [`EmojiScenes::new`] for
    /// the nouns.
    pub fn scenes(&self, pairs: Pairs) -> Result<Vec<Scene>> {
        if self.count < 2 {
            return Err(Error::argument("prompts", "at least 2 of each kind", self.count));
        }
        if !(2..=3).contains(&self.max_objects) {
            return Err(Error::argument("max_objects", "2 or 3", self.max_objects));
        }
        let mut nouns = self.nouns.clone();
        // A scene draws its nouns by their numbers.
        nouns.sort();
        let (size, seed, max_objects) = (CANVAS, self.scene_seed, self.max_objects);
        let data = EmojiScenes::new(EmojiScenesConfig {
            size,
            seed,
            max_objects,
            nouns,
            ..EmojiScenesConfig::default()
        })?;
        Ok((0..self.count as u64).map(|i| data.scene(pairs.split(), i)).collect())
    }

    /// All prompts as JSON lines, those about unseen pairs first: `index` among its kind, `pairs` (`unseen`, `seen`),
    /// `prompt`, `file` (where its picture belongs), `spec` (what the caption promises).
    ///
    /// # Errors
    /// As [`PromptSet::scenes`].
    pub fn lines(&self) -> Result<String> {
        let mut lines = String::new();
        for pairs in Pairs::ALL {
            for (index, scene) in self.scenes(pairs)?.iter().enumerate() {
                let mut spec = json!(scene.spec);
                // What no word promises.
                spec["background"] = json!(scene.named_background());
                let line = json!({
                    "index": index, "pairs": pairs.name(), "prompt": scene.caption,
                    "file": pairs.file(index), "spec": spec,
                });
                lines += &format!("{line}\n");
            }
        }
        Ok(lines)
    }

    /// SHA-256 of [`PromptSet::lines`]: whoever has the same has asked the same.
    ///
    /// # Errors
    /// As [`PromptSet::lines`].
    pub fn sha256(&self) -> Result<String> {
        Ok(hex(&Sha256::digest(self.lines()?)))
    }

    /// Writes [`PromptSet::lines`].
    ///
    /// # Errors
    /// As [`PromptSet::lines`]; `Error::Io`.
    pub fn write(&self, path: &Path) -> Result<()> {
        atomic::write(path, self.lines()?.as_bytes())
    }

    /// Where a folder of pictures may say which prompts they were made for.
    pub fn file_in(folder: &Path) -> PathBuf {
        folder.join("prompts.jsonl")
    }
}
