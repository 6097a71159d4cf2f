//! Word heat maps: which pixels each word of the prompt influenced.
//!
//! DAAM, Tang et al. 2022, "What the DAAM: Interpreting Stable Diffusion Using Cross Attention",
//! arXiv:2210.04885, Eqs. 5 and 6: the cross-attention probabilities of a token, brought to one size
//! and added up over timesteps, layers and heads. Here they are averaged, which differs by a factor
//! that normalisation removes, and upsampled bilinearly (theirs: bicubic), so that they stay positive.

use super::accumulator::AttentionAccumulator;
use super::bilinear::resize;
use crate::error::{Error, Result};
use crate::text_encoder::reading::PromptWord;

/// What a word's map is measured against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Baseline {
    /// Nothing: the word's attention as it is, as in DAAM.
    #[default]
    Zero,
    /// The mean over the words: what a word has *more* than the others at a pixel, max(0, m_w − m̄)
    /// with every m_w summing to 1.
    ///
    /// In small models all words share one spatial pattern (the centre, or whatever is not
    /// background), and absolute maps look alike; this takes the pattern away. It needs two words or
    /// more; words whose maps are equal get a uniform map, for nothing tells them apart.
    WordMean,
}

impl Baseline {
    /// What this is among so many words: one word cannot be compared with others.
    pub(super) fn among(self, words: usize) -> Self {
        if words < 2 { Self::Zero } else { self }
    }
}

/// Where in a picture a word's attention went.
#[derive(Debug, Clone, PartialEq)]
pub struct WordHeatMap {
    /// The word.
    pub word: String,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// `[height, width]`, row by row: ≥ 0, sum 1.
    pub values: Vec<f32>,
}

/// One heat map per word: its tokens' attention, upsampled bilinearly to the picture's size, measured
/// against `baseline` and normalised to sum 1.
///
/// # Errors
/// `Error::Argument` if a word has no rows or one beyond the tokens; as [`heat_maps`].
pub fn word_heat_maps(
    accumulator: &AttentionAccumulator,
    words: &[PromptWord],
    image_height: usize,
    image_width: usize,
    baseline: Baseline,
) -> Result<Vec<WordHeatMap>> {
    let attention = (words.iter())
        .map(|word| Ok((word.word.as_str(), accumulator.attention_to(word)?)))
        .collect::<Result<Vec<_>>>()?;
    heat_maps(&attention, accumulator.grid(), [image_height, image_width], baseline)
}

/// [`word_heat_maps`] of the attention to each word on a grid: all words of a text, each with `[height, width]` numbers
/// of at least 0, whatever their scale.
///
/// - `grid`, `picture`: height and width.
///
/// # Errors
/// `Error::Argument` if a word has no attention at all (nothing was recorded), if the picture has no pixels, or if fewer
/// than two words are compared with [`Baseline::WordMean`].
pub fn heat_maps(
    words: &[(&str, Vec<f64>)],
    grid: [usize; 2],
    picture: [usize; 2],
    baseline: Baseline,
) -> Result<Vec<WordHeatMap>> {
    let [height, width] = picture;
    if height * width == 0 {
        return Err(Error::argument("picture size", "at least 1 × 1", format!("{height} × {width}")));
    }
    if baseline == Baseline::WordMean && words.len() < 2 {
        return Err(Error::argument("words", "two or more to compare with each other", words.len()));
    }
    let mean = (baseline == Baseline::WordMean).then(|| mean_map(words, grid, picture)).transpose()?;
    let map =
        |(word, attention): &(&str, Vec<f64>)| heat_map(word, attention, grid, picture, mean.as_deref());
    words.iter().map(map).collect()
}

/// One of [`heat_maps`], against a [`mean_map`].
pub(super) fn heat_map(
    word: &str,
    attention: &[f64],
    grid: [usize; 2],
    picture: [usize; 2],
    mean: Option<&[f64]>,
) -> Result<WordHeatMap> {
    let mut map = absolute_map(word, attention, grid, picture)?;
    if let Some(mean) = mean {
        subtract_mean(&mut map, mean);
    }
    let values = map.into_iter().map(|value| value as f32).collect();
    Ok(WordHeatMap { word: word.to_owned(), height: picture[0], width: picture[1], values })
}

/// The mean of the words' absolute maps.
pub(super) fn mean_map(
    words: &[(&str, Vec<f64>)],
    grid: [usize; 2],
    picture: [usize; 2],
) -> Result<Vec<f64>> {
    let mut mean = vec![0.0; picture[0] * picture[1]];
    for (word, attention) in words {
        let map = absolute_map(word, attention, grid, picture)?;
        mean.iter_mut().zip(map).for_each(|(sum, value)| *sum += value);
    }
    mean.iter_mut().for_each(|sum| *sum /= words.len() as f64);
    Ok(mean)
}

/// The absolute map of one word, `[height, width]` of the picture, sum 1.
fn absolute_map(word: &str, attention: &[f64], grid: [usize; 2], picture: [usize; 2]) -> Result<Vec<f64>> {
    let mut map = if attention.is_empty() { Vec::new() } else { resize(attention, grid, picture) };
    let total: f64 = map.iter().sum();
    if total <= 0.0 {
        return Err(Error::argument(format!("attention to `{word}`"), "some recorded attention", "none"));
    }
    map.iter_mut().for_each(|value| *value /= total);
    Ok(map)
}

/// max(0, m_w − m̄) at each pixel, normalised; `map` sums to 1.
fn subtract_mean(map: &mut [f64], mean: &[f64]) {
    map.iter_mut().zip(mean).for_each(|(value, mean)| *value = (*value - mean).max(0.0));
    // Differences of maps of sum 1 add up to 0: a positive part is missing only if there is none,
    // and below this it is rounding of the f32 probabilities.
    let excess: f64 = map.iter().sum();
    if excess > 1e-6 {
        map.iter_mut().for_each(|value| *value /= excess);
    } else {
        map.fill(1.0 / map.len() as f64);
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;
    use crate::testing::assert_refuses;

    fn span(word: &str, rows: Range<usize>) -> PromptWord {
        PromptWord { word: word.into(), rows: rows.collect() }
    }

    /// One head on a grid of `pixels`, two tokens: token 0 looks at `hot` only, token 1 everywhere else.
    fn one_hot(pixels: usize, hot: usize) -> Vec<f32> {
        (0..pixels).flat_map(|p| if p == hot { [1.0, 0.0] } else { [0.0, 1.0] }).collect()
    }

    fn sum(values: &[f32]) -> f64 {
        values.iter().map(|&v| f64::from(v)).sum()
    }

    #[test]
    fn one_hot_attention_lands_in_its_cell() {
        let mut accumulator = AttentionAccumulator::new(4, 4, 2);
        accumulator.add(4, 4, &one_hot(16, 4 + 2)).unwrap(); // row 1, column 2
        let maps = word_heat_maps(&accumulator, &[span("cat", 0..1)], 32, 32, Baseline::Zero).unwrap();
        let map = &maps[0];
        assert!((sum(&map.values) - 1.0).abs() < 1e-5);
        let (mut row, mut column) = (0.0, 0.0);
        for (index, &value) in map.values.iter().enumerate() {
            row += f64::from(value) * ((index / 32) as f64 + 0.5);
            column += f64::from(value) * ((index % 32) as f64 + 0.5);
        }
        // The centre of the cell, (1.5, 2.5) cells of 8 pixels.
        assert!((row - 12.0).abs() < 1e-4 && (column - 20.0).abs() < 1e-4, "{row}, {column}");
        // A tent of half-width 8 around the centre: the cell holds (3/4)² of it.
        let inside: f64 = (0..32 * 32)
            .filter(|i| (8..16).contains(&(i / 32)) && (16..24).contains(&(i % 32)))
            .map(|i| f64::from(map.values[i]))
            .sum();
        assert!((inside - 0.5625).abs() < 1e-5, "{inside}");
    }

    #[test]
    fn tokens_of_a_word_are_joined() {
        let mut accumulator = AttentionAccumulator::new(1, 2, 3);
        accumulator.add(1, 2, &[0.3, 0.6, 0.1, 0.3, 0.0, 0.7]).unwrap();
        let maps = word_heat_maps(&accumulator, &[span("giraffe", 0..2)], 1, 2, Baseline::Zero).unwrap();
        assert!((maps[0].values[0] - 0.75).abs() < 1e-6 && (maps[0].values[1] - 0.25).abs() < 1e-6);
    }

    #[test]
    fn word_mean_takes_the_common_pattern_away() {
        // Both words prefer pixel 1; beyond that, one leans to pixel 0 and the other to pixel 2.
        let mut accumulator = AttentionAccumulator::new(1, 3, 2);
        accumulator.add(1, 3, &[0.2, 0.1, 0.7, 0.7, 0.1, 0.2]).unwrap();
        let words = [span("left", 0..1), span("right", 1..2)];
        let maps = word_heat_maps(&accumulator, &words, 1, 3, Baseline::WordMean).unwrap();
        assert_eq!(maps[0].values, [1.0, 0.0, 0.0]);
        assert_eq!(maps[1].values, [0.0, 0.0, 1.0]);
        let alike = [span("a", 0..1), span("b", 0..1)];
        let maps = word_heat_maps(&accumulator, &alike, 1, 3, Baseline::WordMean).unwrap();
        assert!(maps.iter().all(|map| map.values.iter().all(|v| (v - 1.0 / 3.0).abs() < 1e-7)));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut accumulator = AttentionAccumulator::new(2, 2, 2);
        let maps = |accumulator: &AttentionAccumulator, tokens, baseline| {
            word_heat_maps(accumulator, &[span("cat", tokens)], 4, 4, baseline)
        };
        assert_refuses(
            maps(&accumulator, 0..1, Baseline::Zero),
            "attention to `cat`: expected some recorded",
        );
        accumulator.add(2, 2, &[0.5; 8]).unwrap();
        assert!(maps(&accumulator, 0..1, Baseline::Zero).is_ok());
        assert_refuses(maps(&accumulator, 1..3, Baseline::Zero), "tokens of `cat`: expected one or more of");
        assert_refuses(maps(&accumulator, 1..1, Baseline::Zero), "tokens of `cat`: expected one or more of");
        assert_refuses(maps(&accumulator, 0..1, Baseline::WordMean), "words: expected two or more");
        let of_no_pixels = word_heat_maps(&accumulator, &[span("cat", 0..1)], 0, 4, Baseline::Zero);
        assert_refuses(of_no_pixels, "picture size: expected at least 1 × 1");
    }
}
