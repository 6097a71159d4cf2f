//! emoji-scenes, the embedded data: endless captioned pictures of one to three emoji, with a mask of each.
//!
//! Each has a coloured background, an English caption, and the exact mask of every named object.
//!
//! Scene i of a split is a pure function of (seed, split, i). A tenth of all pairs of nouns is never together in a
//! training scene ([`split::is_held_out`]), so held-out scenes ask whether a model combines what it knows. The graphics
//! are Twemoji's, CC-BY 4.0.
//!
//! ```
//! use calotype::data::emoji_scenes::{EmojiScenes, EmojiScenesConfig, Split};
//! let scenes = EmojiScenes::new(EmojiScenesConfig { size: 32, ..EmojiScenesConfig::default() })?;
//! let scene = scenes.scene(Split::Train, 0);
//! assert_eq!(scene.image.dimensions(), (32, 32));
//! # Ok::<(), calotype::Error>(())
//! ```

mod caption;
mod export;
mod layout;
mod scene;
pub mod split;
mod sprites;

use serde::{Deserialize, Serialize};

pub use caption::{Relation, noun_phrases};
pub use export::render_folder;
pub use scene::{Colour, Rect, Scene, SceneObject, SceneSpec, Size};
pub use split::Split;
pub use sprites::Noun;
pub(crate) use sprites::{Sprite, Sprites};

use crate::rng::{Philox, Purpose};
use crate::{Error, Result};
use layout::SceneLayout;

/// What decides the scenes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EmojiScenesConfig {
    /// Side of the square picture in pixels: 32, 64 or 128.
    pub size: u32,
    /// Another seed, other scenes; the held-out pairs stay.
    pub seed: u64,
    /// At most this many objects: 1, 2 or 3. Scenes to measure with have two even where this is 1.
    pub max_objects: usize,
    /// Share of the training scenes that show a single object, in [0, 1]: the fewer, the more relations are shown.
    pub single_objects: f64,
    /// What the scenes are of.
    pub nouns: Vec<Noun>,
}

/// Scenes of 32 pixels with all nouns, up to three in each.
impl Default for EmojiScenesConfig {
    fn default() -> Self {
        Self { size: 32, seed: 0, max_objects: 3, single_objects: SINGLE_OBJECTS, nouns: Noun::ALL.to_vec() }
    }
}

/// A source of scenes; holds the resized sprites.
#[derive(Debug, Clone)]
pub struct EmojiScenes {
    config: EmojiScenesConfig,
    sprites: Sprites,
}

/// Share of training scenes with a single object, where nothing else is said.
pub const SINGLE_OBJECTS: f64 = 0.35;
/// Part of the small and big objects whose size the caption says.
const SAYS_SIZE: f64 = 0.4;

impl EmojiScenes {
    /// Decodes and resizes the sprites (some milliseconds).
    ///
    /// # Errors
    /// `Error::Argument` unless `size` is 32, 64 or 128, `max_objects` 1 to 3 and `single_objects` a share; for nouns that no scene of some split
    /// can be drawn with, or that are named twice.
    pub fn new(config: EmojiScenesConfig) -> Result<Self> {
        if ![32, 64, 128].contains(&config.size) {
            return Err(Error::argument("size of emoji-scenes", "32, 64 or 128 pixels", config.size));
        }
        if !(1..=3).contains(&config.max_objects) {
            return Err(Error::argument("max_objects", "1, 2 or 3", config.max_objects));
        }
        if !(0.0..=1.0).contains(&config.single_objects) {
            return Err(Error::argument("single_objects", "0 to 1", config.single_objects));
        }
        let sprites = Sprites::new(config.size)?;
        let twice = config.nouns.iter().enumerate().find(|(i, noun)| config.nouns[..*i].contains(noun));
        if let Some((_, noun)) = twice {
            return Err(Error::argument("nouns of emoji-scenes", "each once", format!("`{noun}` twice")));
        }
        let count = |split: Split| split.least_objects().max(config.max_objects);
        let enough = [Split::Train, Split::HeldOut]
            .into_iter()
            .all(|split| layout::can_draw(&sprites, &config.nouns, split, count(split)));
        if !enough {
            let expected = "nouns of which some are never shown together in training, and others are";
            let got = config.nouns.iter().map(|noun| noun.name()).collect::<Vec<_>>().join(", ");
            return Err(Error::argument("nouns of emoji-scenes", expected, got));
        }
        Ok(Self { sprites, config })
    }

    /// What decides the scenes.
    pub fn config(&self) -> &EmojiScenesConfig {
        &self.config
    }

    /// Scene `index` of `split`. `index` must be below 2⁴⁶.
    pub fn scene(&self, split: Split, index: u64) -> Scene {
        let mut rng = Philox::new(self.config.seed, Purpose::Scene, split.stream(index));
        let size = self.config.size;
        let layout = SceneLayout::draw(&self.sprites, &self.config, split, &mut rng);
        let (image, objects) = layout.render(&self.sprites, size);
        // Three nouns fill a caption; their sizes stay unsaid.
        let says_size = if objects.len() < 3 { SAYS_SIZE } else { 0.0 };
        let named = objects
            .iter()
            .map(|o| (o.noun, (o.size != Size::Medium && rng.uniform() < says_size).then_some(o.size)))
            .collect();
        let spec = SceneSpec { background: layout.background, objects: named, relation: layout.relation };
        let caption = caption::caption(&spec, &mut rng);
        Scene { image, caption, spec, objects }
    }
}

#[cfg(test)]
mod tests;
