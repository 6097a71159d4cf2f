//! A prompt as a text tower reads it: weighted tokens in chunks, and where each word stands among them.
//!
//! The text is parsed and cut into tokens here and nowhere else, so that the encoder, learned words and heat maps
//! mean the same rows.

use super::prompt::{self, Chunk, Framing, Piece, TokenPiece, WeightedText};
use super::tokenizer::{ClipTokenizer, WordSpan};
use crate::error::{Error, Result};

/// Bytes of a prompt: brackets in brackets take time that grows with its square.
const LONGEST: usize = 1 << 16;

/// How prompts are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PromptOptions {
    /// Layers left out at the end of the text encoder for the prompt (not for the negative one), diffusers'
    /// `clip_skip`: 1 is the last but one. SDXL's own features are from the last but one already, and skip as
    /// many more.
    pub clip_skip: usize,
    /// Read a prompt of more tokens than the encoder takes in chunks, instead of cutting it off.
    pub chunks: bool,
    /// Take brackets for what they are, not for weights.
    pub plain: bool,
}

/// A learned word (textual inversion): the text that stands for it, and its tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LearnedWord {
    /// As prompts spell it.
    pub word: String,
    /// Rows of the token table.
    pub ids: Vec<u32>,
}

/// Where a word of the prompt stands in the text features.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromptWord {
    /// The word, in lower case as the tokenizer has it.
    pub word: String,
    /// Its rows of the context `[B, L, width]`, in order; those of the start token and of padding belong to no word.
    pub rows: Vec<usize>,
}

/// A prompt as a tower reads it.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// What is encoded at once, at least one.
    pub chunks: Vec<Chunk>,
    /// The words that are read, in the prompt's order; one that is cut off, in whole or in part, is left out.
    pub words: Vec<PromptWord>,
    /// Whether the end of the prompt is cut off.
    pub cut_off: bool,
}

/// Reads a prompt: one chunk unless it is long and `options` ask for more, or it has breaks.
///
/// # Errors
/// `Error::Argument` for a prompt that is too long to be looked into, or a weight that is not a number.
pub fn read(
    tokenizer: &ClipTokenizer,
    learned: &[LearnedWord],
    text: &str,
    options: PromptOptions,
) -> Result<Reading> {
    if text.len() > LONGEST {
        return Err(Error::argument("prompt", format!("at most {LONGEST} bytes"), text.len()));
    }
    let pieces = pieces(text, options.plain);
    let (mut tokens, mut words, mut count) = (Vec::new(), Vec::new(), 0);
    for piece in &pieces {
        tokens.push(match piece {
            Piece::Break => TokenPiece::Break,
            Piece::Text(text) if !text.weight.is_finite() => {
                return Err(Error::argument("prompt", "weights that are numbers", text.weight));
            }
            Piece::Text(text) => {
                let spelled = Spelled::of(tokenizer, learned, &text.text)?;
                words.extend(spelled.words.into_iter().map(|word| word.after(count)));
                count += spelled.ids.len();
                TokenPiece::Text(spelled.ids, text.weight)
            }
        });
    }
    let most = tokenizer.max_length() - 2;
    let one_chunk = !options.chunks && !pieces.contains(&Piece::Break);
    let cut_off = one_chunk && count > most;
    if cut_off {
        keep_first(&mut tokens, most);
        words.retain(|word| word.tokens.end <= most);
    }
    let chunks = prompt::chunks(&tokens, &framing(tokenizer))?;
    let words = in_rows(words, &chunks);
    Ok(Reading { chunks, words, cut_off })
}

impl Reading {
    /// The same with empty chunks up to `count`.
    ///
    /// # Errors
    /// As [`prompt::chunks`].
    pub fn filled_up(mut self, tokenizer: &ClipTokenizer, count: usize) -> Result<Self> {
        while self.chunks.len() < count {
            self.chunks.extend(prompt::chunks(&[], &framing(tokenizer))?);
        }
        Ok(self)
    }

    /// Rows of the context.
    pub fn rows(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.ids.len()).sum()
    }
}

/// A text of one weight as tokens, without start and end.
struct Spelled {
    ids: Vec<u32>,
    words: Vec<WordSpan>,
}

impl Spelled {
    fn of(tokenizer: &ClipTokenizer, learned: &[LearnedWord], text: &str) -> Result<Self> {
        // The learned word that comes first; of several at one place the longest.
        let found = learned.iter().filter_map(|learned| Some((find_word(text, &learned.word)?, learned)));
        let Some((at, learned_word)) =
            found.min_by_key(|(at, learned)| (*at, usize::MAX - learned.word.len()))
        else {
            let (ids, words) = tokenizer.spell(text)?;
            return Ok(Self { ids, words });
        };
        let LearnedWord { word, ids } = learned_word;
        let mut all = Self::of(tokenizer, &[], &text[..at])?;
        let own = WordSpan { word: word.clone(), tokens: 0..ids.len() };
        all.push(Self { ids: ids.clone(), words: vec![own] });
        all.push(Self::of(tokenizer, learned, &text[at + word.len()..])?);
        Ok(all)
    }

    fn push(&mut self, next: Self) {
        let before = self.ids.len();
        self.ids.extend(next.ids);
        self.words.extend(next.words.into_iter().map(|word| word.after(before)));
    }
}

impl WordSpan {
    /// The same word with `count` more tokens before it.
    fn after(self, count: usize) -> Self {
        Self { tokens: self.tokens.start + count..self.tokens.end + count, ..self }
    }
}

/// The rows of each word's tokens.
fn in_rows(words: Vec<WordSpan>, chunks: &[Chunk]) -> Vec<PromptWord> {
    let places = chunks.iter().flat_map(|chunk| &chunk.tokens).enumerate();
    // Tokens stand in the prompt's order, so this is sorted by token.
    let rows: Vec<usize> = places.filter_map(|(row, token)| token.map(|_| row)).collect();
    let of = |span: WordSpan| PromptWord { rows: rows[span.tokens].to_vec(), word: span.word };
    words.into_iter().map(of).collect()
}

fn pieces(text: &str, plain: bool) -> Vec<Piece> {
    if plain {
        return vec![Piece::Text(WeightedText { text: text.to_owned(), weight: 1.0 })];
    }
    prompt::parse(text)
}

fn framing(tokenizer: &ClipTokenizer) -> Framing {
    let comma = tokenizer.encode(",");
    Framing {
        length: tokenizer.max_length(),
        start: tokenizer.start_id(),
        end: tokenizer.end_id(),
        pad: tokenizer.pad_id(),
        comma: (comma.len() == 3).then(|| comma[1]),
    }
}

/// Keeps the first `most` tokens.
fn keep_first(tokens: &mut [TokenPiece], most: usize) {
    let mut left = most;
    for piece in tokens {
        if let TokenPiece::Text(ids, _) = piece {
            ids.truncate(left);
            left -= ids.len();
        }
    }
}

/// Where `word` stands in `text` by itself, not as a part of a longer word.
fn find_word(text: &str, word: &str) -> Option<usize> {
    let inside = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    let places = text.match_indices(word).map(|(at, _)| at);
    places.into_iter().find(|&at| {
        let (before, after) = (text[..at].chars().next_back(), text[at + word.len()..].chars().next());
        let joined_before = inside(before) && inside(word.chars().next());
        let joined_after = inside(after) && inside(word.chars().next_back());
        !joined_before && !joined_after
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn learned_words_stand_alone() {
        assert_eq!(find_word("a sks dog", "sks"), Some(2));
        assert_eq!(find_word("desks and sks", "sks"), Some(10));
        assert_eq!(find_word("a <cat-toy>!", "<cat-toy>"), Some(2));
        assert_eq!(find_word("asks", "sks"), None);
    }

    /// Of 24 tokens, start and end included.
    fn tokenizer() -> ClipTokenizer {
        ClipTokenizer::train(["a red cat, a green tree and a lamp"; 8].into_iter(), 560, 24).unwrap()
    }

    fn rows(text: &str, learned: &[LearnedWord], options: PromptOptions) -> Vec<(String, Vec<usize>)> {
        let reading = read(&tokenizer(), learned, text, options).unwrap();
        reading.words.into_iter().map(|word| (word.word, word.rows)).collect()
    }

    fn word(word: &str, rows: &[usize]) -> (String, Vec<usize>) {
        (word.to_owned(), rows.to_vec())
    }

    #[test]
    fn words_stand_at_the_rows_of_their_tokens() {
        let tokenizer = tokenizer();
        for text in ["a red cat", "a (red:1.4) cat", r"a \(red\) cat", "[a] red ((cat))"] {
            let reading = read(&tokenizer, &[], text, PromptOptions::default()).unwrap();
            let ids = &reading.chunks[0].ids;
            for PromptWord { word, rows } in &reading.words {
                let alone = tokenizer.encode(word);
                let there: Vec<u32> = rows.iter().map(|&row| ids[row]).collect();
                assert_eq!(there, alone[1..alone.len() - 1], "`{word}` of `{text}`");
            }
            assert!(
                reading
                    .words
                    .iter()
                    .map(|w| w.word.as_str())
                    .filter(|w| *w != "(" && *w != ")")
                    .eq(["a", "red", "cat"])
            );
        }
    }

    #[test]
    fn words_of_every_chunk_have_rows() {
        let found = rows("a BREAK cat", &[], PromptOptions::default());
        assert_eq!(found, [word("a", &[1]), word("cat", &[24 + 1])]);
        let long = "cat ".repeat(30);
        let found = rows(&long, &[], PromptOptions { chunks: true, ..Default::default() });
        assert_eq!(found.len(), 30);
        assert_eq!((&found[21], &found[22]), (&word("cat", &[22]), &word("cat", &[24 + 1])));
    }

    #[test]
    fn words_that_are_cut_off_are_left_out() {
        let found = rows(&"a cat ".repeat(20), &[], PromptOptions::default());
        assert_eq!(found.len(), 22); // 24 tokens, less start and end
        assert_eq!(found[21], word("cat", &[22]));
        assert!(rows("", &[], PromptOptions::default()).is_empty());
        assert!(rows(&"x".repeat(100), &[], PromptOptions::default()).is_empty());
        assert!(read(&tokenizer(), &[], &"cat ".repeat(23), PromptOptions::default()).unwrap().cut_off);
        assert!(!read(&tokenizer(), &[], &"cat ".repeat(22), PromptOptions::default()).unwrap().cut_off);
    }

    #[test]
    fn a_learned_word_is_one_word_of_all_its_rows() {
        let learned = [LearnedWord { word: "<toy>".into(), ids: vec![700, 701, 702] }];
        let found = rows("a (<toy>:1.2) cat", &learned, PromptOptions::default());
        assert_eq!(found, [word("a", &[1]), word("<toy>", &[2, 3, 4]), word("cat", &[5])]);
    }
}
