//! The hook that collects cross-attention probabilities while a picture is sampled.

use std::cell::{Cell, RefCell};

use burn::tensor::Tensor;

use super::heat_map::AttentionAccumulator;
use super::selection::Selection;
use crate::error::{Error, Result};
use crate::nn::AttentionHook;

/// One accumulator for each text of a batch's pictures.
#[derive(Debug)]
pub struct CrossAttentionCapture {
    state: RefCell<(Vec<AttentionAccumulator>, Option<Error>)>,
    /// Which accumulator each sample of a batch belongs to at each step; the last step's holds from there on.
    rows: Vec<Vec<usize>>,
    selection: Selection,
    step: Cell<usize>,
}

impl CrossAttentionCapture {
    /// For latents of `height` × `width` and texts of `tokens` tokens.
    ///
    /// - `rows`: which text, counted over the batch, each sample has at each step; from the last on it is the same.
    pub fn new(rows: Vec<Vec<usize>>, height: usize, width: usize, tokens: usize) -> Self {
        let texts = rows.iter().flatten().max().map_or(0, |last| last + 1);
        let accumulators = (0..texts).map(|_| AttentionAccumulator::new(height, width, tokens)).collect();
        let state = RefCell::new((accumulators, None));
        Self { state, rows, selection: Selection::default(), step: Cell::new(0) }
    }

    /// The same for some of the layers and steps.
    pub fn of(self, selection: &Selection) -> Self {
        Self { selection: selection.clone(), ..self }
    }

    /// What is seen from now on belongs to this step, counted from 0.
    pub fn begin_step(&self, step: usize) {
        self.step.set(step);
    }

    /// What was collected, text by text.
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
        let [samples, heads, positions, tokens] = probabilities.dims();
        let values: Vec<f32> = probabilities.to_data().iter::<f32>().collect();
        let rows = self.rows.get(self.step.get()).or(self.rows.last()).map_or(&[][..], Vec::as_slice);
        if samples != rows.len() {
            let expected = format!("{} samples", rows.len());
            error.get_or_insert(Error::shape("captured attention", expected, samples));
            return;
        }
        for (text, values) in rows.iter().zip(values.chunks(heads * positions * tokens)) {
            if let Err(first) = accumulators[*text].add(height, width, values) {
                error.get_or_insert(first);
            }
        }
    }
}
