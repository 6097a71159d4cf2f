//! The hook that collects cross-attention probabilities while a picture is sampled.

use std::cell::{Cell, RefCell};

use burn::tensor::Tensor;

use super::heat_map::AttentionAccumulator;
use super::selection::Selection;
use crate::error::{Error, Result};
use crate::nn::AttentionHook;

/// One accumulator for each picture of a batch.
#[derive(Debug)]
pub struct CrossAttentionCapture {
    state: RefCell<(Vec<AttentionAccumulator>, Option<Error>)>,
    selection: Selection,
    step: Cell<usize>,
}

impl CrossAttentionCapture {
    /// For `pictures` pictures with latents of `height` × `width` and texts of `tokens` tokens.
    pub fn new(pictures: usize, height: usize, width: usize, tokens: usize) -> Self {
        let accumulators = (0..pictures).map(|_| AttentionAccumulator::new(height, width, tokens)).collect();
        let selection = Selection::default();
        Self { state: RefCell::new((accumulators, None)), selection, step: Cell::new(0) }
    }

    /// The same for some of the layers and steps.
    pub fn of(self, selection: &Selection) -> Self {
        Self { selection: selection.clone(), ..self }
    }

    /// What is seen from now on belongs to this step, counted from 0.
    pub fn begin_step(&self, step: usize) {
        self.step.set(step);
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
        if !self.selection.has(height, width, self.step.get()) {
            return;
        }
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
