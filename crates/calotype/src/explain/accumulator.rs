//! Attention probabilities of many layers and steps, added up on one grid.

use super::bilinear::{Size, add_resized};
use crate::error::{Error, Result};
use crate::text_encoder::reading::PromptWord;

/// Attention probabilities of one picture, averaged over layers, heads and steps on one grid.
#[derive(Debug, Clone)]
pub struct AttentionAccumulator {
    height: usize,
    width: usize,
    tokens: usize,
    sum: Vec<f64>, // [height, width, tokens], as the probabilities lie
    calls: usize,
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
        // All are looked at, without a branch for each, which is several times as fast as a search.
        if !probabilities.iter().fold(true, |all, p| all & is_magnitude(p)) {
            let bad = probabilities.iter().find(|p| !is_magnitude(p)).map(f32::to_string);
            let expected = "numbers of at least 0";
            return Err(Error::argument("attention probabilities", expected, bad.unwrap_or_default()));
        }
        let heads = (probabilities.len() / head) as f64;
        let mut mean = vec![0.0; head]; // [layer_height, layer_width, tokens]
        for of_head in probabilities.chunks_exact(head) {
            mean.iter_mut().zip(of_head).for_each(|(mean, &p)| *mean += f64::from(p) / heads);
        }
        let grid = self.grid();
        add_resized(&mean, [layer_height, layer_width], &mut self.sum, grid);
        self.calls += 1;
        Ok(())
    }

    /// The mean over all calls, `[tokens, height, width]`; zeros before the first.
    pub fn mean(&self) -> Vec<f32> {
        let calls = self.calls.max(1) as f64;
        let of_token = |token| self.sum.iter().skip(token).step_by(self.tokens);
        (0..self.tokens).flat_map(of_token).map(|sum| (sum / calls) as f32).collect()
    }

    /// Height and width of the grid.
    pub(super) fn grid(&self) -> Size {
        [self.height, self.width]
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
        let cells = self.sum.chunks_exact(self.tokens);
        cells.map(|cell| tokens.iter().fold(0.0, |sum, &token| sum + cell[token])).collect()
    }
}

/// Finite and at least 0.
fn is_magnitude(p: &f32) -> bool {
    (0.0..=f32::MAX).contains(p)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_refuses;

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
    fn layers_that_do_not_fit_add_nothing() {
        let mut accumulator = AttentionAccumulator::new(2, 2, 2);
        for (probabilities, height, says) in [
            (&[0.5; 7][..], 2, "attention probabilities: expected [heads, 2 · 2, 2]"),
            (&[], 2, "attention probabilities: expected [heads, 2 · 2, 2]"),
            (&[0.5], 0, "attention probabilities: expected [heads, 0 · 2, 2]"),
            (&[f32::NAN; 8], 2, "attention probabilities: expected numbers of at least 0, got NaN"),
            (
                &[0.5, 0.5, 0.5, -0.5, 1.0, 1.0, 1.0, 1.0],
                2,
                "attention probabilities: expected numbers of at least 0, got -0.5",
            ),
            (&[f32::INFINITY; 8], 2, "attention probabilities: expected numbers of at least 0, got inf"),
        ] {
            assert_refuses(accumulator.add(height, 2, probabilities), says);
        }
        assert_eq!((accumulator.mean(), accumulator.calls()), (vec![0.0; 8], 0));
    }
}
