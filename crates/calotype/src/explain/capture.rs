//! The hook that collects cross-attention probabilities while a network is asked about a picture.

use std::cell::{Cell, RefCell};

use burn::tensor::Tensor;

use super::accumulator::AttentionAccumulator;
use super::selection::Selection;
use super::steps::{StepAttention, StepRecorder};
use crate::error::{Error, Result};
use crate::nn::AttentionHook;
use crate::text_encoder::reading::PromptWord;

/// One accumulator for each text of a batch's pictures.
#[derive(Debug)]
pub struct CrossAttentionCapture {
    state: RefCell<State>,
    /// Which accumulator each sample of a batch belongs to at each step; the last step's holds from there on.
    rows: Vec<Vec<usize>>,
    selection: Selection,
    step: Cell<usize>,
}

#[derive(Debug)]
struct State {
    accumulators: Vec<AttentionAccumulator>,
    recorder: Option<StepRecorder>,
    /// The first.
    error: Option<Error>,
}

/// What was seen.
#[derive(Debug)]
pub struct Captured {
    /// Over all chosen steps, text by text.
    pub accumulators: Vec<AttentionAccumulator>,
    /// Of each text and its words, step by step; of no text unless that was asked for.
    pub steps: Vec<Vec<Vec<StepAttention>>>,
}

impl CrossAttentionCapture {
    /// For latents of `height` × `width` and texts of `tokens` tokens.
    ///
    /// - `rows`: which text, counted over the batch, each sample has at each step; from the last on it is the same.
    pub fn new(rows: Vec<Vec<usize>>, height: usize, width: usize, tokens: usize) -> Self {
        let texts = rows.iter().flatten().max().map_or(0, |last| last + 1);
        let accumulators = (0..texts).map(|_| AttentionAccumulator::new(height, width, tokens)).collect();
        let state = RefCell::new(State { accumulators, recorder: None, error: None });
        Self { state, rows, selection: Selection::default(), step: Cell::new(0) }
    }

    /// The same for some of the layers, heads and steps.
    pub fn of(self, selection: &Selection) -> Self {
        Self { selection: selection.clone(), ..self }
    }

    /// The same, which also keeps each step's attention to `words`, those of each text.
    pub fn step_by_step(mut self, words: Vec<Vec<PromptWord>>) -> Self {
        self.state.get_mut().recorder = Some(StepRecorder::new(words));
        self
    }

    /// What is seen from now on belongs to this step, counted from 0.
    pub fn begin_step(&self, step: usize) {
        self.end_step();
        self.step.set(step);
    }

    fn end_step(&self) {
        let State { accumulators, recorder, error } = &mut *self.state.borrow_mut();
        if let Some(recorder) = recorder
            && let Err(first) = recorder.record(self.step.get(), accumulators)
        {
            error.get_or_insert(first);
        }
    }

    /// The attention to a word of a text so far, `[height, width]` of the latent: a sum over layers and steps.
    ///
    /// # Errors
    /// `Error::Argument` for a word that has no rows, or one beyond the tokens; what [`CrossAttentionCapture::finish`]
    /// would refuse.
    pub(super) fn so_far(&self, text: usize, word: &PromptWord) -> Result<Vec<f64>> {
        let State { accumulators, error, .. } = &mut *self.state.borrow_mut();
        match error.take() {
            None => accumulators[text].attention_to(word),
            Some(error) => Err(error),
        }
    }

    /// What was collected.
    ///
    /// # Errors
    /// `Error::Shape` or `Error::Argument` if a layer's probabilities did not fit or were not
    /// probabilities.
    pub fn finish(self) -> Result<Captured> {
        self.end_step();
        let State { accumulators, recorder, error } = self.state.into_inner();
        match error {
            None => Ok(Captured { accumulators, steps: recorder.map_or(vec![], StepRecorder::finish) }),
            Some(error) => Err(error),
        }
    }
}

impl AttentionHook for CrossAttentionCapture {
    fn heads(&self, heads: usize) -> usize {
        self.selection.heads.first(heads)
    }

    fn cross_attention(&self, height: usize, width: usize, probabilities: &Tensor<4>) {
        if !self.selection.has(height, width, self.step.get()) {
            return;
        }
        let State { accumulators, error, .. } = &mut *self.state.borrow_mut();
        let [samples, heads, positions, tokens] = probabilities.dims();
        let data = probabilities.to_data().convert::<f32>();
        let values = data.as_slice::<f32>().expect("just converted to f32");
        let rows = self.rows.get(self.step.get()).or(self.rows.last()).map_or(&[][..], Vec::as_slice);
        if samples != rows.len() {
            let expected = format!("{} samples", rows.len());
            error.get_or_insert(Error::shape("captured attention", expected, samples));
            return;
        }
        for (text, values) in rows.iter().zip(values.chunks(heads * positions * tokens)) {
            let chosen = self.selection.heads.of(values, heads);
            if chosen.is_empty() {
                continue; // The layer has none of the heads.
            }
            if let Err(first) = accumulators[*text].add(height, width, &chosen) {
                error.get_or_insert(first);
            }
        }
    }
}
