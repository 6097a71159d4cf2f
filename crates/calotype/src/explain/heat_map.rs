//! Word heat maps: which pixels each word of the prompt influenced.
//!
//! DAAM, Tang et al. 2022, "What the DAAM: Interpreting Stable Diffusion Using Cross Attention",
//! arXiv:2210.04885, Eqs. 5 and 6: the cross-attention probabilities of a token, brought to one size
//! and added up over timesteps, layers and heads. Here they are averaged, which differs by a factor
//! that normalisation removes, and upsampled bilinearly (theirs: bicubic), so that they stay positive.

use crate::error::{Error, Result};
use crate::text_encoder::reading::PromptWord;

/// Attention probabilities of one picture, averaged over layers, heads and steps on one grid.
#[derive(Debug, Clone)]
pub struct AttentionAccumulator {
    height: usize,
    width: usize,
    tokens: usize,
    sum: Vec<f64>, // [tokens, height, width]
    calls: usize,
}

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

impl AttentionAccumulator {
    /// Nothing yet, for `tokens` tokens on a grid of `height` × `width`: usually that of the latent.
    pub fn new(height: usize, width: usize, tokens: usize) -> Self {
        Self { height, width, tokens, sum: vec![0.0; tokens * height * width], calls: 0 }
    }

    /// Adds one layer's attention at one step: the mean over its heads, resized to the grid. Every
    /// call weighs the same, whatever the layer's size and number of heads.
    ///
    /// - `probabilities`: `[heads, layer_height · layer_width, tokens]`, softmax over the tokens.
    ///
    /// # Errors
    /// `Error::Shape` unless they are a whole number of heads, at least one; `Error::Argument` if one
    /// is negative or not finite. Nothing is added then.
    pub fn add(&mut self, layer_height: usize, layer_width: usize, probabilities: &[f32]) -> Result<()> {
        let pixels = layer_height * layer_width;
        let head = pixels * self.tokens;
        if head == 0 || probabilities.is_empty() || !probabilities.len().is_multiple_of(head) {
            let expected = format!("[heads, {layer_height} · {layer_width}, {}]", self.tokens);
            return Err(Error::shape("attention probabilities", expected, probabilities.len()));
        }
        if let Some(bad) = probabilities.iter().find(|p| !(p.is_finite() && **p >= 0.0)) {
            return Err(Error::argument("attention probabilities", "numbers of at least 0", bad));
        }
        let heads = probabilities.len() / head;
        let mut mean = vec![0.0; head]; // [tokens, layer_height, layer_width]
        for row in probabilities.chunks_exact(head) {
            for (pixel, of_tokens) in row.chunks_exact(self.tokens).enumerate() {
                for (token, &p) in of_tokens.iter().enumerate() {
                    mean[token * pixels + pixel] += f64::from(p) / heads as f64;
                }
            }
        }
        for (sum, map) in self.sum.chunks_exact_mut(self.height * self.width).zip(mean.chunks_exact(pixels)) {
            let resized = resize(map, (layer_height, layer_width), (self.height, self.width));
            sum.iter_mut().zip(resized).for_each(|(sum, value)| *sum += value);
        }
        self.calls += 1;
        Ok(())
    }

    /// The mean over all calls, `[tokens, height, width]`; zeros before the first.
    pub fn mean(&self) -> Vec<f32> {
        let calls = self.calls.max(1) as f64;
        self.sum.iter().map(|sum| (sum / calls) as f32).collect()
    }

    /// Layers and steps that were added.
    pub(super) fn calls(&self) -> usize {
        self.calls
    }

    /// Sum over the calls and over the rows of a word, `[height, width]`.
    ///
    /// # Errors
    /// `Error::Argument` if the word has no rows or one beyond the tokens.
    pub(super) fn attention_to(&self, word: &PromptWord) -> Result<Vec<f64>> {
        let PromptWord { word, rows } = word;
        if rows.is_empty() || rows.iter().any(|&row| row >= self.tokens) {
            let expected = format!("one or more of the tokens 0..{}", self.tokens);
            return Err(Error::argument(format!("tokens of `{word}`"), expected, format!("{rows:?}")));
        }
        Ok(self.sum_of(rows))
    }

    /// Sum over the calls and over `tokens`, `[height, width]`.
    fn sum_of(&self, tokens: &[usize]) -> Vec<f64> {
        let pixels = self.height * self.width;
        let mut total = vec![0.0; pixels];
        for &token in tokens {
            let map = &self.sum[token * pixels..(token + 1) * pixels];
            total.iter_mut().zip(map).for_each(|(total, value)| *total += value);
        }
        total
    }
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
    let grid = [accumulator.height, accumulator.width];
    heat_maps(&attention, grid, [image_height, image_width], baseline)
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
    let mut map = if attention.is_empty() {
        Vec::new()
    } else {
        resize(attention, (grid[0], grid[1]), (picture[0], picture[1]))
    };
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

/// Bilinear resize of `[from.0, from.1]` to `[to.0, to.1]`, half-pixel centres, edges repeated.
fn resize(map: &[f64], from: (usize, usize), to: (usize, usize)) -> Vec<f64> {
    let rows = taps(from.0, to.0);
    let columns = taps(from.1, to.1);
    let mut resized = Vec::with_capacity(to.0 * to.1);
    for &(above, below, v) in &rows {
        let (above, below) = (&map[above * from.1..][..from.1], &map[below * from.1..][..from.1]);
        resized.extend(columns.iter().map(|&(left, right, u)| {
            let upper = above[left] * (1.0 - u) + above[right] * u;
            let lower = below[left] * (1.0 - u) + below[right] * u;
            upper * (1.0 - v) + lower * v
        }));
    }
    resized
}

/// For each of `to` samples: its two neighbours among `from`, and the weight of the second.
fn taps(from: usize, to: usize) -> Vec<(usize, usize, f64)> {
    let tap = |index: usize| {
        let centre = (index as f64 + 0.5) * from as f64 / to as f64 - 0.5;
        let centre = centre.clamp(0.0, (from - 1) as f64);
        let first = centre.floor() as usize;
        (first, (first + 1).min(from - 1), centre - first as f64)
    };
    (0..to).map(tap).collect()
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
    fn upsampling_by_two_has_the_weights_of_half_pixel_centres() {
        assert_eq!(resize(&[0.0, 4.0], (1, 2), (1, 4)), [0.0, 1.0, 3.0, 4.0]);
        assert_eq!(resize(&[1.0, 2.0, 3.0, 4.0], (2, 2), (2, 2)), [1.0, 2.0, 3.0, 4.0]);
        // A whole factor keeps the mean, edges included.
        let doubled = resize(&[7.0, 0.0, 0.0, 1.0, 0.0, 0.0], (2, 3), (4, 6));
        assert!((doubled.iter().sum::<f64>() - 4.0 * 8.0).abs() < 1e-12);
    }

    #[test]
    fn heads_are_averaged_and_calls_weigh_the_same() {
        let mut accumulator = AttentionAccumulator::new(2, 2, 1);
        accumulator.add(1, 1, &[0.2, 0.4]).unwrap(); // two heads, 1 × 1 layer: mean 0.3 everywhere
        accumulator.add(2, 2, &[0.1, 0.1, 0.1, 0.5]).unwrap();
        let expected = [0.2, 0.2, 0.2, 0.4];
        for (got, expected) in accumulator.mean().iter().zip(expected) {
            assert!((got - expected).abs() < 1e-6, "{got} {expected}");
        }
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
        assert_refuses(
            accumulator.add(2, 2, &[0.5; 7]),
            "attention probabilities: expected [heads, 2 · 2, 2]",
        );
        assert_refuses(accumulator.add(2, 2, &[]), "attention probabilities: expected [heads, 2 · 2, 2]");
        assert_refuses(accumulator.add(0, 2, &[0.5]), "attention probabilities: expected [heads, 0 · 2, 2]");
        assert_refuses(accumulator.add(2, 2, &[f32::NAN; 8]), "attention probabilities: expected numbers of");
        assert_eq!(accumulator.mean(), [0.0; 8], "a refused layer adds nothing");
        accumulator.add(2, 2, &[0.5; 8]).unwrap();
        assert!(maps(&accumulator, 0..1, Baseline::Zero).is_ok());
        assert_refuses(maps(&accumulator, 1..3, Baseline::Zero), "tokens of `cat`: expected one or more of");
        assert_refuses(maps(&accumulator, 1..1, Baseline::Zero), "tokens of `cat`: expected one or more of");
        assert_refuses(maps(&accumulator, 0..1, Baseline::WordMean), "words: expected two or more");
        let of_no_pixels = word_heat_maps(&accumulator, &[span("cat", 0..1)], 0, 4, Baseline::Zero);
        assert_refuses(of_no_pixels, "picture size: expected at least 1 × 1");
    }
}
