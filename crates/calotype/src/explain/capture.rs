//! The hook that collects cross-attention probabilities while a picture is sampled.

use std::cell::RefCell;

use burn::tensor::Tensor;

use super::heat_map::AttentionAccumulator;
use crate::error::{Error, Result};
use crate::nn::AttentionHook;

/// One accumulator for each picture of a batch.
#[derive(Debug)]
pub struct CrossAttentionCapture {
    state: RefCell<(Vec<AttentionAccumulator>, Option<Error>)>,
}

impl CrossAttentionCapture {
    /// For `pictures` pictures with latents of `height` × `width` and texts of `tokens` tokens.
    pub fn new(pictures: usize, height: usize, width: usize, tokens: usize) -> Self {
        let accumulators = (0..pictures).map(|_| AttentionAccumulator::new(height, width, tokens)).collect();
        Self { state: RefCell::new((accumulators, None)) }
    }

    /// What was collected, picture by picture.
    ///
    /// # Errors
    /// `Error::Shape` or `Error::Argument` if a layer's probabilities did not fit or were not
    /// probabilities.
    pub fn finish(self) -> Result<Vec<AttentionAccumulator>> {
        match self.state.into_inner() {
            (accumulators, None) => Ok(accumulators),
            (_, Some(error)) => Err(error),
        }
    }
}

impl AttentionHook for CrossAttentionCapture {
    fn cross_attention(&self, height: usize, width: usize, probabilities: &Tensor<4>) {
        let mut state = self.state.borrow_mut();
        let (accumulators, error) = &mut *state;
        let [pictures, heads, positions, tokens] = probabilities.dims();
        let values: Vec<f32> = probabilities.to_data().iter::<f32>().collect();
        if pictures != accumulators.len() {
            let expected = format!("{} pictures", accumulators.len());
            error.get_or_insert(Error::shape("captured attention", expected, pictures));
            return;
        }
        for (accumulator, values) in accumulators.iter_mut().zip(values.chunks(heads * positions * tokens)) {
            if let Err(first) = accumulator.add(height, width, values) {
                error.get_or_insert(first);
            }
        }
    }
}
