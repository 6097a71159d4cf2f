//! How a heat map comes about: a frame for each step.

use image::{Rgb, RgbImage, imageops};

use super::heat_map::{Baseline, WordHeatMap, heat_map, mean_map};
use super::overlay::{extremes, overlay_between};
use super::{ExplainedText, Explanation};
use crate::error::{Error, Result};

/// Longest side of a frame, at least: small pictures are enlarged by a whole factor.
const SIDE: u32 = 256;
/// Rows below a frame that tell how many of the steps are done.
const BAR: u32 = 6;
/// Their colours: done, and to come.
const BAR_COLOURS: [Rgb<u8>; 2] = [Rgb([255; 3]), Rgb([60; 3])];

impl Explanation {
    /// A frame for each step at which the text of map `i` was shown: the word's map at this step alone, over the picture.
    /// All are drawn on one scale, so that brightness compares between steps; the bar below tells the step.
    ///
    /// # Errors
    /// `Error::Argument` unless its steps were kept.
    pub fn frames(&self, i: usize, baseline: Baseline) -> Result<Vec<RgbImage>> {
        self.frames_against(i, &self.step_means(self.text_of(i)?, baseline)?)
    }

    /// [`Explanation::frames`] against the means of the text.
    pub(super) fn frames_against(&self, i: usize, means: &[Option<Vec<f64>>]) -> Result<Vec<RgbImage>> {
        let maps = self.step_maps(i, means)?;
        let scale = extremes(&maps);
        let frame = |(step, map): (usize, &WordHeatMap)| {
            Ok(framed(&overlay_between(&self.image, map, scale)?, (step + 1, maps.len())))
        };
        maps.iter().enumerate().map(frame).collect()
    }

    /// The text of map `i`, if its steps were kept.
    pub(super) fn text_of(&self, i: usize) -> Result<&ExplainedText> {
        let text = self.texts.iter().find(|text| text.maps.contains(&i) && i < self.steps.len());
        text.ok_or_else(|| Error::argument("map", format!("0 to {} with its steps", self.steps.len()), i))
    }

    /// What the maps of a text are measured against at each step; nothing where that is 0.
    pub(super) fn step_means(
        &self,
        text: &ExplainedText,
        baseline: Baseline,
    ) -> Result<Vec<Option<Vec<f64>>>> {
        let words = text.maps.clone();
        let steps = self.steps.get(words.start).map_or(0, Vec::len);
        if baseline.among(words.len()) == Baseline::Zero {
            return Ok(vec![None; steps]);
        }
        let at = |step| {
            let all: Vec<_> = words.clone().map(|word| self.attention(word, step)).collect();
            mean_map(&all, self.grid, self.size()).map(Some)
        };
        (0..steps).map(at).collect()
    }

    /// The maps of word `i`, each of one step.
    fn step_maps(&self, i: usize, means: &[Option<Vec<f64>>]) -> Result<Vec<WordHeatMap>> {
        let at = |(step, mean): (usize, &Option<Vec<f64>>)| {
            let (word, values) = self.attention(i, step);
            heat_map(word, &values, self.grid, self.size(), mean.as_deref())
        };
        means.iter().enumerate().map(at).collect()
    }

    fn attention(&self, word: usize, step: usize) -> (&str, Vec<f64>) {
        let values = self.steps[word][step].values.iter().copied().map(f64::from);
        (&self.maps[word].word, values.collect())
    }

    fn size(&self) -> [usize; 2] {
        [self.image.height() as usize, self.image.width() as usize]
    }
}

/// The picture enlarged, and below it how far (step, of how many) the steps are.
fn framed(picture: &RgbImage, (step, steps): (usize, usize)) -> RgbImage {
    let factor = SIDE.div_ceil(picture.width().max(picture.height()).max(1));
    let (width, height) = (picture.width() * factor, picture.height() * factor);
    let enlarged = imageops::resize(picture, width, height, imageops::FilterType::Nearest);
    let done = (width as usize * step / steps.max(1)) as u32;
    RgbImage::from_fn(width, height + BAR, |x, y| match enlarged.get_pixel_checked(x, y) {
        Some(pixel) => *pixel,
        None => BAR_COLOURS[usize::from(x >= done)],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::steps::StepAttention;

    fn explanation() -> Explanation {
        let map = |word: &str| WordHeatMap { word: word.into(), height: 2, width: 4, values: vec![0.125; 8] };
        let step = |step, values: [f32; 2]| StepAttention { step, values: values.to_vec() };
        Explanation {
            image: RgbImage::new(4, 2),
            maps: vec![map("cat"), map("dog")],
            texts: vec![ExplainedText { text: "cat dog".into(), steps: vec![3, 4], maps: 0..2 }],
            steps: vec![
                vec![step(3, [0.75, 0.25]), step(4, [0.5, 0.5])],
                vec![step(3, [0.25, 0.75]), step(4, [0.5, 0.5])],
            ],
            grid: [1, 2],
        }
    }

    #[test]
    fn a_frame_shows_the_map_of_its_step() {
        let explanation = explanation();
        let means = explanation.step_means(&explanation.texts[0], Baseline::WordMean).unwrap();
        let maps = explanation.step_maps(0, &means).unwrap();
        // More than the mean of both words on the left; nothing to tell them apart at the second step.
        assert_eq!(maps[0].values[3], 0.0);
        assert!(maps[0].values[0] > maps[0].values[1] && maps[1].values == [0.125; 8]);
        let frames = explanation.frames(0, Baseline::WordMean).unwrap();
        assert_eq!((frames.len(), frames[0].dimensions()), (2, (256, 128 + BAR)));
        let light = |frame: usize, x: u32| frames[frame].get_pixel(x, 0)[1];
        assert!(light(0, 0) > light(0, 255) && light(1, 0) == light(1, 255));
        let bar = |frame: usize, x: u32| *frames[frame].get_pixel(x, 128);
        assert_eq!([bar(0, 127), bar(0, 128), bar(1, 255)], [BAR_COLOURS[0], BAR_COLOURS[1], BAR_COLOURS[0]]);
    }

    #[test]
    fn without_steps_there_are_no_frames() {
        let explanation = Explanation { steps: vec![], ..explanation() };
        assert!(matches!(explanation.frames(0, Baseline::Zero), Err(Error::Argument { .. })));
    }
}
