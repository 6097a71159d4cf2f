//! What is asked of an edit, and what it means for the tokens of two prompts.

use std::slice;
use std::str::FromStr;

use super::alignment::Alignment;
use super::token_map::TokenMap;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::pipeline::script::Script;
use crate::pipeline::text_to_image::{PictureRequest, Sampling};
use crate::text_encoder::reading::{PromptWord, Reading};

/// How a picture is edited.
#[derive(Debug, Clone, PartialEq)]
pub struct Edit {
    /// Share of the steps, from the first, in which cross-attention is the source's, 0 to 1: what keeps the layout.
    pub cross: f64,
    /// The same of self-attention: what keeps shapes.
    pub self_attention: f64,
    /// What attention to words of the edited prompt is multiplied by, in all steps.
    pub weights: Vec<WordWeight>,
    /// Outside of which words nothing changes.
    pub blend: Blend,
}

/// As the paper's examples, with the words that differ blended.
impl Default for Edit {
    fn default() -> Self {
        Self { cross: 0.8, self_attention: 0.4, weights: vec![], blend: Blend::Differing }
    }
}

/// Outside of which words the edited picture is kept to its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blend {
    /// Those in which the prompts differ; where they differ in none, nothing is kept.
    Differing,
    /// These; each is in one of the prompts.
    Words(Vec<String>),
    /// None: everything may change.
    Off,
}

/// A word and a factor; as text `WORD=FACTOR`.
#[derive(Debug, Clone, PartialEq)]
pub struct WordWeight {
    /// Wherever it stands in the edited prompt.
    pub word: String,
    /// 1 changes nothing, 0 silences it; may be negative.
    pub factor: f64,
}

impl FromStr for WordWeight {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let pair = text.rsplit_once('=').and_then(|(word, factor)| Some((word, factor.parse::<f64>().ok()?)));
        match pair {
            Some((word, factor)) if !word.is_empty() && factor.is_finite() => {
                Ok(Self { word: word.to_owned(), factor })
            }
            _ => Err(Error::argument("weight", "a word and a number, such as snow=2", text)),
        }
    }
}

/// A word of the edited prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EditedWord {
    /// The word.
    pub word: String,
    /// The word of the source whose attention it takes, itself where it stays; none for a new one.
    pub from: Option<String>,
}

/// An edit read against its prompts.
#[derive(Debug)]
pub(super) struct Plan {
    pub map: TokenMap,
    /// Of the edited prompt's tokens.
    pub factors: Vec<f32>,
    /// Outside of which words of each prompt nothing changes; none where everything may.
    pub blended: [Vec<PromptWord>; 2],
    pub words: Vec<EditedWord>,
    /// Words of the source that have no part in the edited prompt.
    pub left_out: Vec<String>,
    /// With injected cross-attention, with injected self-attention.
    pub steps: [usize; 2],
}

impl Plan {
    /// Refuses what cannot be edited.
    pub fn new(
        model: &Model,
        requests: &[PictureRequest; 2],
        sampling: &Sampling,
        edit: &Edit,
    ) -> Result<Self> {
        for (name, share) in [("cross", edit.cross), ("self", edit.self_attention)] {
            if !(0.0..=1.0).contains(&share) {
                return Err(Error::argument(name, "a share of the steps, 0 to 1", share));
            }
        }
        if requests[0].prompt.trim() == requests[1].prompt.trim() && edit.weights.is_empty() {
            let got = format!("`{}` twice: nothing to edit", requests[1].prompt);
            return Err(Error::argument("to", "another prompt, or the same with `weight`", got));
        }
        let [source, edited] = readings(model, requests, sampling)?;
        let alignment = Alignment::of(&source.words, &edited.words)?;
        let map = TokenMap::new(&source, &edited, &alignment);
        let factors = factors(&edited, map.tokens, &edit.weights)?;
        let from = |i: &Option<usize>| i.map(|i| source.words[i].word.clone());
        let words = edited.words.iter().zip(&alignment.counterparts);
        let words = words.map(|(word, i)| EditedWord { word: word.word.clone(), from: from(i) }).collect();
        let left_out = alignment.differing[0].iter().filter(|&&i| !alignment.counterparts.contains(&Some(i)));
        let left_out = left_out.map(|&i| source.words[i].word.clone()).collect();
        let blended = blended(&edit.blend, [&source.words, &edited.words], &alignment)?;
        let steps = [edit.cross, edit.self_attention]
            .map(|share| (sampling.sampler.steps as f64 * share).round() as usize);
        Ok(Self { map, factors, blended, words, left_out, steps })
    }
}

/// Both prompts in as many chunks.
fn readings(model: &Model, requests: &[PictureRequest; 2], sampling: &Sampling) -> Result<[Reading; 2]> {
    let source = reading(model, "prompt", &requests[0], sampling)?;
    let edited = reading(model, "to", &requests[1], sampling)?;
    let chunks = source.chunks.len().max(edited.chunks.len());
    let filled = |reading: Reading| reading.filled_up(&model.text.first().tokenizer, chunks);
    Ok([filled(source)?, filled(edited)?])
}

fn reading(model: &Model, name: &str, request: &PictureRequest, sampling: &Sampling) -> Result<Reading> {
    let script = Script::of_prompts(slice::from_ref(request), sampling)?;
    if script.has_sums() || script.steps() > 1 {
        let expected = "a text that stays the same: no AND, [from:to:when] or [a|b]";
        return Err(Error::argument(name, expected, format!("`{}`", request.prompt)));
    }
    model.text.read(script.texts[0].of_encoders(), sampling.prompts)
}

/// What attention to each token of the edited prompt is multiplied by.
fn factors(edited: &Reading, tokens: usize, weights: &[WordWeight]) -> Result<Vec<f32>> {
    let mut factors = vec![1.0; tokens];
    for (n, WordWeight { word, factor }) in weights.iter().enumerate() {
        if weights[..n].iter().any(|other| other.word.to_lowercase() == word.to_lowercase()) {
            return Err(Error::argument("weight", "each word once", format!("`{word}` twice")));
        }
        let there = named(word, &edited.words);
        if there.is_empty() {
            return Err(unknown("weight", word, &[&edited.words]));
        }
        for row in there.iter().flat_map(|word| &word.rows) {
            factors[*row] = *factor as f32;
        }
    }
    Ok(factors)
}

/// Words of source and edited prompt that are blended.
fn blended(
    blend: &Blend,
    words: [&Vec<PromptWord>; 2],
    alignment: &Alignment,
) -> Result<[Vec<PromptWord>; 2]> {
    match blend {
        Blend::Off => Ok([vec![], vec![]]),
        Blend::Differing => Ok([0, 1].map(|prompt| {
            alignment.differing[prompt].iter().map(|&word| words[prompt][word].clone()).collect()
        })),
        Blend::Words(names) => {
            let mut found = [vec![], vec![]];
            for name in names {
                let there = words.map(|words| named(name, words));
                if there.iter().all(Vec::is_empty) {
                    return Err(unknown("blend", name, &words));
                }
                found.iter_mut().zip(there).for_each(|(found, there)| found.extend(there));
            }
            Ok(found)
        }
    }
}

fn named(name: &str, words: &[PromptWord]) -> Vec<PromptWord> {
    words.iter().filter(|word| word.word == name.to_lowercase()).cloned().collect()
}

fn unknown(option: &str, word: &str, prompts: &[&Vec<PromptWord>]) -> Error {
    let mut known: Vec<&str> = Vec::new();
    for word in prompts.iter().flat_map(|words| words.iter()).map(|word| word.word.as_str()) {
        if !known.contains(&word) {
            known.push(word);
        }
    }
    let of = if prompts.len() == 1 { "the edited prompt" } else { "the prompts" };
    Error::argument(option, format!("words of {of}: {}", known.join(", ")), format!("`{word}`"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_refuses;

    #[test]
    fn a_weight_is_a_word_and_a_number() {
        let weight: WordWeight = "snow=-2.5".parse().unwrap();
        assert_eq!(weight, WordWeight { word: "snow".into(), factor: -2.5 });
        assert_eq!("==2".parse::<WordWeight>().unwrap().word, "=");
        for text in ["snow", "=2", "snow=", "snow=x", "snow=inf", "snow=nan"] {
            let beginning = format!("weight: expected a word and a number, such as snow=2, got {text}");
            assert_refuses(text.parse::<WordWeight>(), &beginning);
        }
    }
}
