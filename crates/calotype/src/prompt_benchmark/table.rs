//! The result for readers: a table of shares with their intervals.

use super::{Outcome, Source};
use crate::evaluate::prompt_accuracy::Proportion;

/// Headings of [`Outcome::rows`].
pub const COLUMNS: [&str; 5] =
    ["what is right", "unseen pairs", "seen pairs", "other prompt", "rendered scenes"];

impl Outcome {
    /// A row for each thing that is measured, under [`COLUMNS`]: the model on unseen and on seen pairs, with intervals; on
    /// unseen pairs the control and the calibration.
    pub fn rows(&self) -> Vec<[String; 5]> {
        let [unseen, seen] = &self.pairs;
        let columns = [&unseen.accuracy, &seen.accuracy, &unseen.other_prompt, &unseen.rendered];
        let [own, seen, other, rendered] = columns.map(|accuracy| accuracy.rows());
        let row = |i: usize| {
            let name = own[i].0.clone();
            [
                name,
                with_interval(own[i].1),
                with_interval(seen[i].1),
                with_trials(other[i].1),
                rate(rendered[i].1),
            ]
        };
        (0..own.len()).map(row).collect()
    }

    /// One line: which prompts, and whose pictures.
    pub fn headline(&self) -> String {
        format!("{}; {}", self.asked(), self.made())
    }

    /// Which prompts were asked.
    pub(super) fn asked(&self) -> String {
        let (name, nouns) = (self.prompts.name(), self.prompts.nouns.len());
        let (objects, count) = (self.prompts.max_objects, self.prompts.count);
        format!("{name}, {nouns} nouns, up to {objects} objects, {count} prompts of each kind")
    }

    /// Who made the pictures, and how.
    pub(super) fn made(&self) -> String {
        let size = self.size;
        match &self.source {
            Source::Model { model, sampler, steps, guidance, seed } => format!(
                "{}, {size} pixels, {sampler} {steps} steps, guidance {guidance}, seed {seed}",
                model.display()
            ),
            Source::Pictures { pictures } => format!("pictures in {}, {size} pixels", pictures.display()),
        }
    }
}

fn with_interval(share: Option<Proportion>) -> String {
    let text = |share: Proportion| {
        let (low, high) = share.interval();
        format!("{} ({:.1} to {:.1}, n {})", rate(Some(share)), 100.0 * low, 100.0 * high, share.n())
    };
    share.map_or("not measured".into(), text)
}

/// Chance may have few trials: both nouns of another prompt are seldom there.
fn with_trials(share: Option<Proportion>) -> String {
    share.map_or("–".into(), |share| format!("{} (n {})", rate(Some(share)), share.n()))
}

/// A percentage.
pub(super) fn rate(share: Option<Proportion>) -> String {
    share.map_or("–".into(), |share| format!("{:.1} %", 100.0 * share.rate()))
}
