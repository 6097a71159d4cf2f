//! Local blending: what lies outside of some words' attention stays as it is.

use std::cell::RefCell;

use burn::tensor::{Tensor, TensorData};

use crate::error::Result;
use crate::explain::capture::CrossAttentionCapture;
use crate::explain::mask::Mask;
use crate::explain::selection::{LayerSize, Layers, Selection};
use crate::nn::AttentionHook;
use crate::text_encoder::reading::PromptWord;

/// What counts as a word's place: its mean attention above this part of its largest. Hertz et al. 2022, section 3.3 (k).
const THRESHOLD: f64 = 0.3;
/// Steps at the beginning that are left alone, as a part of all: the authors' code begins after a fifth.
const LEFT_ALONE: f64 = 0.2;
/// Cells of the layers whose attention is averaged, at most: the authors' 16 × 16.
const MOST_CELLS: usize = 16 * 16;

/// Keeps the second latent of a batch to the first outside of the words' places. Hertz et al. 2022, arXiv:2208.01626,
/// section 3.3 and Algorithm 1: z* ← (1 − α) ⊙ z + α ⊙ z*, with α the union of both pictures' masks.
#[derive(Debug)]
pub struct Blending {
    capture: CrossAttentionCapture,
    /// Of the source and of the edited prompt.
    words: [Vec<PromptWord>; 2],
    /// Height and width of the latent.
    grid: [usize; 2],
    /// Steps after which it begins.
    from: usize,
    mask: RefCell<Option<Mask>>,
}

impl Blending {
    /// - `words`: of the source and of the edited prompt; at least one.
    /// - `sizes`: (height, width) of the layers with cross-attention, finest first. Averaged are the finest of at most
    ///   16 × 16 cells, or the coarsest.
    /// - `grid`: height and width of the latent. `tokens`: of the prompts. `steps`: of the sampler.
    pub fn new(
        words: [Vec<PromptWord>; 2],
        sizes: &[(usize, usize)],
        grid: [usize; 2],
        tokens: usize,
        steps: usize,
    ) -> Self {
        let size = sizes.iter().find(|(height, width)| height * width <= MOST_CELLS).or(sizes.last());
        let layers =
            size.map_or(Layers::All, |&(height, width)| Layers::Of(vec![LayerSize { width, height }]));
        let selection = Selection { layers, ..Selection::default() };
        let capture = CrossAttentionCapture::new(vec![vec![0, 1]], grid[0], grid[1], tokens).of(&selection);
        let from = (steps as f64 * LEFT_ALONE) as usize;
        Self { capture, words, grid, from, mask: RefCell::new(None) }
    }

    /// `probabilities` of a layer with cross-attention, of both samples.
    pub fn see(&self, height: usize, width: usize, probabilities: &Tensor<4>) {
        self.capture.cross_attention(height, width, probabilities);
    }

    /// Latents of source and edited `[2, C, h, w]` after `done` steps, the second with what it must keep of the first.
    ///
    /// # Errors
    /// What the attention cannot be read for.
    pub fn blended(&self, x: Tensor<4>, done: usize) -> Result<Tensor<4>> {
        if done <= self.from {
            return Ok(x);
        }
        let mask = self.mask_so_far()?;
        let [height, width] = self.grid;
        let alpha: Vec<f32> = mask.pixels().map(|cell| f32::from(u8::from(cell))).collect();
        let alpha = Tensor::<4>::from_data(TensorData::new(alpha, [1, 1, height, width]), &x.device());
        *self.mask.borrow_mut() = Some(mask);
        let [source, edited] = [0, 1].map(|i| x.clone().narrow(0, i, 1));
        let edited = source.clone() * (alpha.clone().neg() + 1.0) + edited * alpha;
        Ok(Tensor::cat(vec![source, edited], 0))
    }

    /// The mask of the last step that was blended.
    pub fn into_mask(self) -> Option<Mask> {
        self.mask.into_inner()
    }

    fn mask_so_far(&self) -> Result<Mask> {
        let [height, width] = self.grid;
        let mut mask = Mask::new(width, height, |_, _| false);
        for (sample, words) in self.words.iter().enumerate() {
            for word in words {
                let attention = self.capture.so_far(sample, word)?;
                let largest = attention.iter().copied().fold(0.0, f64::max);
                mask =
                    mask.or(&Mask::new(width, height, |x, y| attention[y * width + x] > THRESHOLD * largest));
            }
        }
        Ok(mask)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    fn word(row: usize) -> Vec<PromptWord> {
        vec![PromptWord { word: "cat".into(), rows: vec![row] }]
    }

    /// Two samples, one head, four cells, two tokens; what the second token has.
    fn probabilities(source: [f32; 4], edited: [f32; 4]) -> Tensor<4> {
        let values: Vec<f32> = source.into_iter().chain(edited).flat_map(|p| [1.0 - p, p]).collect();
        Tensor::from_data(TensorData::new(values, [2, 1, 4, 2]), &Device::flex())
    }

    fn values(x: Tensor<4>) -> Vec<f32> {
        x.into_data().iter::<f32>().collect()
    }

    #[test]
    fn the_places_of_both_words_are_edited_and_nothing_else() {
        let blending = Blending::new([word(1), word(1)], &[(32, 32), (2, 2), (1, 1)], [2, 2], 2, 10);
        // Above 0.3 of the largest: the source's first cell, the edited one's second.
        blending.see(2, 2, &probabilities([0.4, 0.11, 0.1, 0.0], [0.1, 0.9, 0.26, 0.2]));
        blending.see(1, 1, &probabilities([9.0; 4], [9.0; 4]).narrow(2, 0, 1)); // not of its layers
        let x = Tensor::<4>::from_data(
            TensorData::new(vec![1.0_f32, 2.0, 3.0, 4.0, -1.0, -2.0, -3.0, -4.0], [2, 1, 2, 2]),
            &Device::flex(),
        );
        let blended = blending.blended(x.clone(), 3).unwrap();
        assert_eq!(values(blended), [1.0, 2.0, 3.0, 4.0, -1.0, -2.0, 3.0, 4.0]);
        // Means over all that was seen: now the third cell too.
        blending.see(2, 2, &probabilities([0.4, 0.11, 0.2, 0.0], [0.1, 0.9, 0.2, 0.2]));
        assert_eq!(values(blending.blended(x.clone(), 4).unwrap())[6], -3.0);
        assert_eq!(blending.into_mask(), Some(Mask::new(2, 2, |x, y| x == 0 || y == 0)));

        let early = Blending::new([word(1), vec![]], &[(2, 2)], [2, 2], 2, 10);
        assert_eq!(values(early.blended(x.clone(), 2).unwrap()), values(x));
        assert_eq!(early.into_mask(), None);
    }
}
