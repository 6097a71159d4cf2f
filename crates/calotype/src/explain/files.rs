//! An explanation on disk: the picture, overlays and animations of each word, and the numbers of the maps.

use std::collections::BTreeSet;
use std::path::Path;
use std::{iter, slice};

use serde_json::{Value, json};

use super::heat_map::{Baseline, WordHeatMap};
use super::overlay::overlay;
use super::{ExplainedText, Explanation};
use crate::error::{Error, Result};
use crate::files::npz::{Array, Npz};
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
        let reading = model.text.read(texts.of_encoders(), sampling.prompts)?;
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
        let mut maps = Vec::new();
        for (i, map) in self.wanted(words) {
            let file = format!("{}.png", self.file_name(i));
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

    /// Writes an animation over the steps for each of `words` (of all, where none is named) into `folder`, beside its
    /// overlay. Returns the files' names, in the order of [`Explanation::write`].
    ///
    /// # Errors
    /// `Error::Argument` unless the steps were kept; `Error::Io`.
    pub fn write_animations(
        &self,
        folder: &Path,
        words: &[String],
        baseline: Baseline,
    ) -> Result<Vec<String>> {
        let wanted: Vec<usize> = self.wanted(words).map(|(i, _)| i).collect();
        if let Some(&first) = wanted.first() {
            self.text_of(first)?;
        }
        let mut files = Vec::new();
        for text in &self.texts {
            let means = self.step_means(text, baseline)?;
            for &i in wanted.iter().filter(|i| text.maps.contains(i)) {
                let file = format!("{}-steps.png", self.file_name(i));
                png::write_animation(&folder.join(&file), &self.frames_against(i, &means)?)?;
                files.push(file);
            }
        }
        Ok(files)
    }

    /// The numbers of `words` (of all, where none is named) as arrays:
    ///
    /// - `maps` `[words, H, W]`: the maps, of the picture's size, each of sum 1;
    /// - `attention` `[words, steps, h, w]`: each step's attention on the latent's grid, in [0, 1]; NaN at steps at which
    ///   the word's text was not shown. Only where the steps were kept;
    /// - `steps` `[steps]`: their numbers, counted from 0;
    /// - `words.json`: the words.
    pub fn arrays(&self, words: &[String]) -> Npz {
        let wanted: Vec<(usize, &WordHeatMap)> = self.wanted(words).collect();
        let [height, width] = wanted.first().map_or([0, 0], |(_, map)| [map.height, map.width]);
        let maps = wanted.iter().flat_map(|(_, map)| &map.values).copied().map(f64::from).collect();
        let mut npz = Npz::default();
        npz.arrays.insert("maps".into(), Array::new(&[wanted.len(), height, width], maps));
        let names: Vec<&str> = wanted.iter().map(|(_, map)| map.word.as_str()).collect();
        npz.texts.insert("words.json".into(), json!(names).to_string());
        if self.steps.is_empty() {
            return npz;
        }
        let shown = self.steps.iter().flatten().map(|at| at.step);
        let steps: Vec<usize> = shown.collect::<BTreeSet<usize>>().into_iter().collect();
        let [h, w] = self.grid;
        let mut attention = Vec::with_capacity(wanted.len() * steps.len() * h * w);
        for (i, _) in &wanted {
            for step in &steps {
                match self.steps[*i].iter().find(|at| at.step == *step) {
                    Some(at) => attention.extend(at.values.iter().copied().map(f64::from)),
                    None => attention.extend(iter::repeat_n(f64::NAN, h * w)),
                }
            }
        }
        npz.arrays.insert("attention".into(), Array::new(&[wanted.len(), steps.len(), h, w], attention));
        let numbers = steps.iter().map(|&step| step as f64).collect();
        npz.arrays.insert("steps".into(), Array::new(&[steps.len()], numbers));
        npz
    }

    /// The maps of `words`, of all where none is named, with their numbers.
    fn wanted<'a>(&'a self, words: &'a [String]) -> impl Iterator<Item = (usize, &'a WordHeatMap)> {
        let wanted = |word: &str| words.is_empty() || words.iter().any(|w| w.to_lowercase() == word);
        self.maps.iter().enumerate().filter(move |(_, map)| wanted(&map.word))
    }

    /// Of a word's files, without what tells them apart: its number, and the letters and digits of the word, since a
    /// prompt may hold what a file name may not.
    fn file_name(&self, i: usize) -> String {
        let letters = self.maps[i].word.chars().map(|c| if c.is_alphanumeric() { c } else { '_' });
        format!("{i:02}-{}", letters.collect::<String>())
    }
}

#[cfg(test)]
mod tests {
    use image::RgbImage;

    use super::*;
    use crate::explain::steps::StepAttention;

    #[test]
    fn arrays_have_every_step_of_every_text() {
        let map =
            |word: &str| WordHeatMap { word: word.into(), height: 1, width: 2, values: vec![0.25, 0.75] };
        let text =
            |text: &str, step, i| ExplainedText { text: text.into(), steps: vec![step], maps: i..i + 1 };
        let step = |step, values: [f32; 2]| vec![StepAttention { step, values: values.to_vec() }];
        let explanation = Explanation {
            image: RgbImage::new(2, 1),
            maps: vec![map("cat"), map("dog")],
            texts: vec![text("cat", 4, 0), text("dog", 5, 1)],
            steps: vec![step(4, [0.5, 0.0]), step(5, [1.0, 0.25])],
            grid: [1, 2],
        };
        let all = explanation.arrays(&[]);
        assert_eq!(all.arrays["maps"], Array::new(&[2, 1, 2], vec![0.25, 0.75, 0.25, 0.75]));
        assert_eq!(all.arrays["steps"], Array::new(&[2], vec![4.0, 5.0]));
        assert_eq!(all.texts["words.json"], r#"["cat","dog"]"#);
        let Array { shape, values } = &all.arrays["attention"];
        assert_eq!(shape, &[2, 2, 1, 2]);
        assert_eq!((&values[..2], &values[6..]), (&[0.5, 0.0][..], &[1.0, 0.25][..]));
        assert!(values[2..6].iter().all(|value| value.is_nan()));
        let dog = explanation.arrays(&["Dog".into()]);
        assert_eq!(dog.arrays["attention"].shape, [1, 2, 1, 2]);
        let averaged = Explanation { steps: vec![], ..explanation };
        assert_eq!(averaged.arrays(&[]).arrays.len(), 1);
    }
}
