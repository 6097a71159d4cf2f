//! Which word lit which pixel, as a browser draws it: bytes on the latent's grid, of all steps and of each.

use calotype::explain::Explanation;
use serde::{Deserialize, Serialize};

/// What the bytes mean.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Maps {
    /// Of the maps.
    pub grid: Size,
    /// Of the picture.
    pub picture: Size,
    /// Steps that have maps.
    pub steps: usize,
    /// One, unless the prompt changes or is a sum.
    pub texts: Vec<MappedText>,
    /// In the order of the maps.
    pub words: Vec<MappedWord>,
}

/// Columns and rows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Size {
    width: usize,
    height: usize,
}

/// A text, and when it was shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MappedText {
    text: String,
    steps: Vec<usize>,
    words: Vec<usize>,
}

/// A word, and how much it lit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MappedWord {
    index: usize,
    word: String,
    /// Its part of all words' heat above the mean.
    share: f64,
    /// The largest value of its map before it is scaled; in one unit for all words.
    peak: f64,
}

/// Maps of words on the grid, each row by row.
type Grids = Vec<Vec<f64>>;

/// The maps and their bytes: of each word over all steps, above the mean of the words, its largest 255; then for each step
/// those of that step, the largest of all words 255. `None` for a prompt without words.
pub fn of(explanation: &Explanation) -> Option<(Maps, Vec<u8>)> {
    let [height, width] = explanation.grid;
    let count = explanation.maps.len();
    let last = explanation.steps.iter().flatten().map(|attention| attention.step).max()?;
    let mut whole: Grids = vec![vec![0.0; height * width]; count];
    let mut by_step: Vec<Grids> = vec![whole.clone(); last + 1];
    for text in &explanation.texts {
        let at = |step| text.maps.clone().map(|word| sum(explanation, word, step)).collect();
        let place = |grids: &mut Grids, above: Grids| {
            text.maps.clone().zip(above).for_each(|(word, grid)| grids[word] = grid);
        };
        place(&mut whole, above_mean(at(None)));
        by_step.iter_mut().enumerate().for_each(|(step, grids)| place(grids, above_mean(at(Some(step)))));
    }
    let mut bytes = Vec::with_capacity((last + 2) * count * height * width);
    whole.iter().for_each(|grid| bytes.extend(scaled(std::slice::from_ref(grid))));
    by_step.iter().for_each(|grids| bytes.extend(scaled(grids)));
    let heat: f64 = whole.iter().flatten().sum();
    let word = |(index, grid): (usize, &Vec<f64>)| MappedWord {
        index,
        word: explanation.maps[index].word.clone(),
        share: if heat > 0.0 { grid.iter().sum::<f64>() / heat } else { 0.0 },
        peak: largest(grid),
    };
    let recorded = |words: &std::ops::Range<usize>| {
        let steps = explanation.steps.get(words.start).into_iter().flatten();
        steps.map(|attention| attention.step).collect()
    };
    let texts = explanation.texts.iter().map(|text| MappedText {
        text: text.text.clone(),
        steps: recorded(&text.maps),
        words: text.maps.clone().collect(),
    });
    let (w, h) = explanation.image.dimensions();
    let maps = Maps {
        grid: Size { width, height },
        picture: Size { width: w as usize, height: h as usize },
        steps: last + 1,
        texts: texts.collect(),
        words: whole.iter().enumerate().map(word).collect(),
    };
    Some((maps, bytes))
}

/// The attention to a word over all steps, or at one.
fn sum(explanation: &Explanation, word: usize, step: Option<usize>) -> Vec<f64> {
    let [height, width] = explanation.grid;
    let mut sum = vec![0.0; height * width];
    for attention in explanation.steps[word].iter().filter(|at| step.is_none_or(|step| at.step == step)) {
        sum.iter_mut().zip(&attention.values).for_each(|(sum, value)| *sum += f64::from(*value));
    }
    sum
}

/// max(0, m_w − m̄) of each word, m_w being its attention with sum 1; of a word alone, m_w. What all words have in common
/// is nobody's ([`Baseline::WordMean`](calotype::explain::heat_map::Baseline::WordMean)).
fn above_mean(mut maps: Grids) -> Grids {
    for map in &mut maps {
        let total: f64 = map.iter().sum();
        map.iter_mut().for_each(|value| *value /= if total > 0.0 { total } else { 1.0 });
    }
    if maps.len() < 2 {
        return maps;
    }
    for cell in 0..maps[0].len() {
        let mean = maps.iter().map(|map| map[cell]).sum::<f64>() / maps.len() as f64;
        maps.iter_mut().for_each(|map| map[cell] = (map[cell] - mean).max(0.0));
    }
    maps
}

fn largest(grid: &[f64]) -> f64 {
    grid.iter().copied().fold(0.0, f64::max)
}

/// Bytes, the largest of all 255. Differences that are rounding of the f32 attention are none.
fn scaled(grids: &[Vec<f64>]) -> Vec<u8> {
    let largest = grids.iter().map(|grid| largest(grid)).fold(0.0, f64::max);
    let scale = if largest > 1e-9 { 255.0 / largest } else { 0.0 };
    grids.iter().flatten().map(|value| (value * scale).round() as u8).collect()
}

#[cfg(test)]
mod tests {
    use calotype::explain::ExplainedText;
    use calotype::explain::heat_map::WordHeatMap;
    use calotype::explain::steps::StepAttention;
    use image::RgbImage;

    use super::*;

    #[test]
    fn bytes_are_of_all_steps_then_of_each() {
        let map = |word: &str| WordHeatMap { word: word.into(), height: 2, width: 4, values: vec![0.125; 8] };
        let at = |step, values: [f32; 2]| StepAttention { step, values: values.to_vec() };
        let explanation = Explanation {
            image: RgbImage::new(4, 2),
            maps: vec![map("cat"), map("dog")],
            texts: vec![ExplainedText { text: "cat dog".into(), steps: vec![0, 1], maps: 0..2 }],
            steps: vec![
                vec![at(0, [0.75, 0.25]), at(1, [0.5, 0.5])],
                vec![at(0, [0.25, 0.75]), at(1, [0.5, 0.5])],
            ],
            grid: [1, 2],
        };
        let (maps, bytes) = of(&explanation).unwrap();
        assert_eq!((maps.steps, maps.words.len(), bytes.len()), (2, 2, (1 + 2) * 2 * 2));
        assert_eq!(bytes[..8], [255, 0, 0, 255, 255, 0, 0, 255]);
        // Nothing tells them apart at the second step.
        assert_eq!(bytes[8..], [0; 4]);
        assert!(maps.words.iter().all(|word| (word.share - 0.5).abs() < 1e-9));
        assert_eq!(maps.texts[0].steps, [0, 1]);
        let nothing = Explanation { maps: vec![], texts: vec![], steps: vec![], ..explanation };
        assert!(of(&nothing).is_none());
    }
}
