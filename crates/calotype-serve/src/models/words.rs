//! How a model's text encoder cuts a prompt into words, and which of them it does not know.

use std::collections::BTreeSet;

use calotype::model::Model;
use calotype::text_encoder::reading::PromptOptions;
use serde::Serialize;

use crate::problem::Answer;

/// Tokens of OpenAI's CLIP: every English word has some.
const OPENAI_VOCABULARY: usize = 49_408;

/// A prompt in words.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Words {
    /// In the prompt's order; what is cut off is left out.
    pub words: Vec<Word>,
    /// Tokens that are read.
    pub tokens: usize,
    /// Tokens that fit.
    pub most_tokens: usize,
    /// Words that a small model has never seen: it spells them in pieces.
    pub unknown: Vec<String>,
}

/// A word and its place.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Word {
    /// In lower case, as the tokenizer has it.
    pub word: String,
    /// Its first character in the prompt; `None` where it cannot be told.
    pub start: Option<usize>,
    /// Behind its last.
    pub end: Option<usize>,
}

/// Cuts a prompt into words.
///
/// # Errors
/// 422 for a prompt that cannot be read.
pub fn words(model: &Model, prompt: &str) -> Answer<Words> {
    let reading = model.text.read([prompt, prompt], PromptOptions::default())?;
    let knows_all = model.text.t5.is_some() || model.tokenizer().vocab_size() >= OPENAI_VOCABULARY;
    let is_unknown =
        |rows: usize, word: &str| !knows_all && rows > 1 && word.chars().any(char::is_alphabetic);
    let unknown: BTreeSet<&str> = (reading.words.iter())
        .filter(|word| is_unknown(word.rows.len(), &word.word))
        .map(|word| word.word.as_str())
        .collect();
    let lower: Vec<char> = prompt.chars().map(|c| c.to_lowercase().next().unwrap_or(c)).collect();
    let mut from = 0;
    let words = reading.words.iter().map(|word| {
        let place = place(&lower, &word.word, from);
        from = place.map_or(from, |(_, end)| end);
        Word { word: word.word.clone(), start: place.map(|(start, _)| start), end: place.map(|(_, end)| end) }
    });
    Ok(Words {
        words: words.collect(),
        tokens: reading.words.iter().map(|word| word.rows.len()).sum(),
        most_tokens: model.text.longest(),
        unknown: unknown.into_iter().map(str::to_owned).collect(),
    })
}

/// Where a word stands in the prompt from a character on.
fn place(prompt: &[char], word: &str, from: usize) -> Option<(usize, usize)> {
    let word: Vec<char> = word.chars().collect();
    if word.is_empty() {
        return None;
    }
    let at = prompt.get(from..)?.windows(word.len()).position(|window| window == word)?;
    Some((from + at, from + at + word.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_in_order() {
        let prompt: Vec<char> = "ein bär, ein Bär".to_lowercase().chars().collect();
        assert_eq!(place(&prompt, "ein", 0), Some((0, 3)));
        assert_eq!(place(&prompt, "bär", 3), Some((4, 7)));
        assert_eq!(place(&prompt, "ein", 7), Some((9, 12)));
        assert_eq!(place(&prompt, "cat", 0), None);
        assert_eq!(place(&prompt, "", 0), None);
    }
}
