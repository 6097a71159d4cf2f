//! An explanation on disk: the picture, one overlay for each word, and the numbers of the maps.

use std::path::Path;
use std::slice;

use serde_json::{Value, json};

use super::overlay::overlay;
use super::{ExplainedText, Explanation};
use crate::error::{Error, Result};
use crate::files::png;
use crate::model::Model;
use crate::pipeline::script::Script;
use crate::pipeline::text_to_image::{PictureRequest, Sampling};

/// Refuses a prompt without words, and `words` that are not among the prompt's, at whichever step.
///
/// # Errors
/// `Error::Argument` with the words of the prompt.
pub fn require_words(
    model: &Model,
    request: &PictureRequest,
    sampling: &Sampling,
    words: &[String],
) -> Result<()> {
    let script = Script::of_prompts(slice::from_ref(request), sampling)?;
    let mut known: Vec<String> = Vec::new();
    for texts in &script.texts {
        let reading = model.text.read(&texts.first, sampling.prompts)?;
        let new = reading.words.into_iter().map(|word| word.word).filter(|word| !known.contains(word));
        known.extend(new.collect::<Vec<_>>());
    }
    if known.is_empty() {
        return Err(Error::argument("prompt", "at least one word", format!("`{}`", request.prompt)));
    }
    match words.iter().find(|word| !known.contains(&word.to_lowercase())) {
        Some(word) => {
            Err(Error::argument("words", format!("words of the prompt: {}", known.join(", ")), word))
        }
        None => Ok(()),
    }
}

impl Explanation {
    /// Writes `picture.png` and an overlay for each of `words` (of all, where none is named) into `folder`. Returns each
    /// word with its overlay's file name and the map's size and values; where there are several texts, also with its own
    /// and the steps at which that was shown.
    ///
    /// # Errors
    /// `Error::Io`.
    pub fn write(&self, folder: &Path, words: &[String]) -> Result<Vec<Value>> {
        png::write(&folder.join("picture.png"), &self.image)?;
        let wanted = |word: &str| words.is_empty() || words.iter().any(|w| w.to_lowercase() == word);
        let mut maps = Vec::new();
        for (i, map) in self.maps.iter().enumerate().filter(|(_, map)| wanted(&map.word)) {
            let file = format!("{i:02}-{}.png", file_name(&map.word));
            png::write(&folder.join(&file), &overlay(&self.image, map)?)?;
            let mut row = json!({
                "word": map.word, "overlay": file, "width": map.width, "height": map.height, "values": map.values,
            });
            // Of a prompt that stays the same there is nothing to tell.
            let text = self.texts.iter().find(|text| text.maps.contains(&i)).filter(|_| self.texts.len() > 1);
            if let Some(ExplainedText { text, steps, .. }) = text {
                row["prompt"] = json!(text);
                row["steps"] = json!(steps);
            }
            maps.push(row);
        }
        Ok(maps)
    }
}

/// The word's letters and digits; a prompt may hold what a file name may not.
fn file_name(word: &str) -> String {
    word.chars().map(|c| if c.is_alphanumeric() { c } else { '_' }).collect()
}
