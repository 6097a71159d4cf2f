//! What each word read at each step: how a heat map comes about.

use super::accumulator::AttentionAccumulator;
use crate::error::Result;
use crate::text_encoder::reading::PromptWord;

/// The attention to a word at one step.
#[derive(Debug, Clone, PartialEq)]
pub struct StepAttention {
    /// The step, counted from 0.
    pub step: usize,
    /// `[height, width]` of the latent: the probability with which a cell reads the word, a mean over the chosen
    /// layers and heads.
    pub values: Vec<f32>,
}

/// Keeps the attention to every word of some texts, step by step: a few maps, not the tokens of all layers.
#[derive(Debug)]
pub(super) struct StepRecorder {
    /// Of each text.
    words: Vec<Vec<PromptWord>>,
    /// Calls and sums, of each text and its words, up to the last recorded step.
    before: Vec<(usize, Vec<Vec<f64>>)>,
    /// Of each text and its words.
    recorded: Vec<Vec<Vec<StepAttention>>>,
}

impl StepRecorder {
    /// For these words of each text.
    pub fn new(words: Vec<Vec<PromptWord>>) -> Self {
        let before = words.iter().map(|of_text| (0, vec![Vec::new(); of_text.len()])).collect();
        let recorded = words.iter().map(|of_text| vec![Vec::new(); of_text.len()]).collect();
        Self { words, before, recorded }
    }

    /// What the accumulators, one for each text, have had added since the last call belongs to `step`.
    ///
    /// # Errors
    /// As [`AttentionAccumulator::attention_to`].
    pub fn record(&mut self, step: usize, accumulators: &[AttentionAccumulator]) -> Result<()> {
        for (text, accumulator) in accumulators.iter().enumerate() {
            let (calls, sums) = &mut self.before[text];
            let new = accumulator.calls() - *calls;
            if new == 0 {
                continue; // Not shown at this step, or not among those that are averaged.
            }
            *calls = accumulator.calls();
            for (word, of_word) in self.words[text].iter().enumerate() {
                let now = accumulator.attention_to(of_word)?;
                let before = sums[word].iter().copied().chain(std::iter::repeat(0.0));
                // A difference of sums may be less than nothing by rounding.
                let mean = |(now, before): (&f64, f64)| ((now - before).max(0.0) / new as f64) as f32;
                let values = now.iter().zip(before).map(mean).collect();
                self.recorded[text][word].push(StepAttention { step, values });
                sums[word] = now;
            }
        }
        Ok(())
    }

    /// Of each text and its words.
    pub fn finish(self) -> Vec<Vec<Vec<StepAttention>>> {
        self.recorded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_has_its_own_mean() {
        let words = vec![PromptWord { word: "cat".into(), rows: vec![0] }];
        let mut accumulators = [AttentionAccumulator::new(1, 2, 2)];
        let mut recorder = StepRecorder::new(vec![words]);
        for (step, layers) in [
            (0, vec![[0.25, 0.75, 0.5, 0.5], [0.75, 0.25, 1.0, 0.0]]),
            (1, vec![]),
            (2, vec![[1.0, 0.0, 0.125, 0.875]]),
        ] {
            for layer in &layers {
                accumulators[0].add(1, 2, layer).unwrap();
            }
            recorder.record(step, &accumulators).unwrap();
        }
        let expected = [
            StepAttention { step: 0, values: vec![0.5, 0.75] },
            StepAttention { step: 2, values: vec![1.0, 0.125] },
        ];
        assert_eq!(recorder.finish(), [[expected]]);
    }
}
