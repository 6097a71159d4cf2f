//! Which texts the network is told at each step: prompts that change, and sums of prompts.

use super::text_to_image::{PictureRequest, Sampling};
use crate::error::{Error, Result};
use crate::model::Model;
use crate::text_encoder::composition::{Summand, summands};
use crate::text_encoder::schedule::{Schedule, place};

/// A text for each encoder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Texts {
    /// The first encoder's.
    pub first: String,
    /// The second encoder's, of SDXL and Flux.
    pub second: String,
    /// There is none: it is empty, or zeros.
    pub is_none: bool,
}

impl Texts {
    /// The first encoder's, then the second's.
    pub fn of_encoders(&self) -> [&str; 2] {
        [&self.first, &self.second]
    }
}

/// One prediction of a picture: a prompt of a sum, or the only one.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// Which picture of the batch.
    pub picture: usize,
    /// Its factor in the sum.
    pub weight: f64,
    /// Which of [`Script::texts`] each step has; the last one's holds from there on.
    of_step: Vec<usize>,
}

/// What the second encoder reads for these requests.
///
/// # Errors
/// As [`Script::of_prompts`].
pub(crate) fn all_texts(
    requests: &[PictureRequest],
    sampling: &Sampling,
    model: &Model,
) -> Result<Vec<String>> {
    let mut scripts = vec![Script::of_prompts(requests, sampling)?];
    if scripts[0].asks_without_prompt(requests, model) {
        scripts.push(Script::of_negative_prompts(requests, sampling)?);
    }
    Ok(scripts.into_iter().flat_map(|script| script.texts).map(|texts| texts.second).collect())
}

/// The texts of a batch, step by step.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    /// Each different one once.
    pub texts: Vec<Texts>,
    /// Picture by picture.
    pub rows: Vec<Row>,
}

impl Script {
    /// Of the prompts.
    ///
    /// # Errors
    /// As [`Schedule::of`] and [`summands`]; `Error::Argument` for a second encoder's prompt that is no sum of as many.
    pub fn of_prompts(requests: &[PictureRequest], sampling: &Sampling) -> Result<Self> {
        let plain = sampling.prompts.plain;
        let of = |text: &str| -> Result<Vec<Summand>> {
            if plain { Ok(vec![Summand { text: text.to_owned(), weight: 1.0 }]) } else { summands(text) }
        };
        let mut script = Self { texts: vec![], rows: vec![] };
        for (picture, request) in requests.iter().enumerate() {
            let first = of(&request.prompt)?;
            let second = request.second_prompts[0].as_deref().map_or_else(|| Ok(first.clone()), of)?;
            if second.len() != first.len() {
                let expected = format!("as many prompts as the first encoder's, {}", first.len());
                return Err(Error::argument("second prompt", expected, second.len()));
            }
            for (Summand { text, weight }, second) in first.iter().zip(&second) {
                script.add(picture, *weight, [text, &second.text], false, sampling)?;
            }
        }
        Ok(script)
    }

    /// Of the negative prompts, which are no sums.
    ///
    /// # Errors
    /// As [`Schedule::of`].
    pub fn of_negative_prompts(requests: &[PictureRequest], sampling: &Sampling) -> Result<Self> {
        let mut script = Self { texts: vec![], rows: vec![] };
        for (picture, request) in requests.iter().enumerate() {
            let text = |text: Option<&String>| text.map_or("", String::as_str).to_owned();
            let first = request.negative_prompt.as_ref();
            let second = text(request.second_prompts[1].as_ref().or(first));
            script.add(picture, 1.0, [&text(first), &second], first.is_none(), sampling)?;
        }
        Ok(script)
    }

    /// Which of [`Script::texts`] each row has at a step, counted from 0; past the last one, those of the last.
    pub fn at(&self, step: usize) -> Vec<usize> {
        self.rows.iter().map(|row| row.of_step[step.min(row.of_step.len() - 1)]).collect()
    }

    /// Steps after which nothing changes.
    pub fn steps(&self) -> usize {
        self.rows.iter().map(|row| row.of_step.len()).max().unwrap_or(1)
    }

    /// Whether a picture has more predictions than one.
    pub fn has_sums(&self) -> bool {
        self.rows.windows(2).any(|pair| pair[0].picture == pair[1].picture)
    }

    /// Whether the network is asked without the prompt too: for guidance, or for a sum.
    pub fn asks_without_prompt(&self, requests: &[PictureRequest], model: &Model) -> bool {
        let is_guided = |request| model.classifier_free_guidance(request).scale > 1.0;
        requests.iter().any(is_guided) || self.has_sums()
    }

    fn add(
        &mut self,
        picture: usize,
        weight: f64,
        [first, second]: [&str; 2],
        is_none: bool,
        sampling: &Sampling,
    ) -> Result<()> {
        let of = |text| {
            let steps = sampling.sampler.steps;
            if sampling.prompts.plain { Ok(Schedule::constant(text)) } else { Schedule::of(text, steps) }
        };
        let schedules = [of(first)?, of(second)?];
        let texts = |step: usize| {
            let [first, second] = schedules.each_ref().map(|schedule| schedule.text(step).to_owned());
            Texts { first, second, is_none }
        };
        let steps = schedules.iter().map(Schedule::steps).max().unwrap_or(1);
        let of_step = (0..steps).map(|step| place(&mut self.texts, texts(step))).collect();
        self.rows.push(Row { picture, weight, of_step });
        Ok(())
    }
}
