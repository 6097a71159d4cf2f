//! Prompt accuracy as a benchmark of any text-to-image model: frozen prompts, and how much of each its picture shows.
//!
//! ```
//! use calotype::evaluate::benchmark::{Pairs, PromptSet};
//! let prompts = PromptSet { count: 3, ..PromptSet::default() };
//! assert_eq!(prompts.name(), "emoji-scenes-1");
//! assert_eq!(prompts.scenes(Pairs::Unseen)?.len(), 3);
//! # Ok::<(), calotype::Error>(())
//! ```

mod accuracy;
mod judgement;
mod pairs;
mod prompts;
mod readings;
#[cfg(test)]
mod tests;

pub use accuracy::Accuracy;
pub use judgement::Judgement;
pub use pairs::{JudgedPairs, Pairs};
pub use prompts::{CANVAS, PromptSet, SCENE_SEED, VERSION};
pub use readings::PictureFolder;
pub(crate) use readings::SIZE;

use crate::named::named_enum;

named_enum! {
    /// A benchmark of models.
    pub enum Benchmark: "benchmark" {
        EmojiScenes = "emoji-scenes":
            "How much of a prompt its picture shows: nouns, relation, sizes, colour, count; pairs of nouns unseen and seen in training",
    }
}
