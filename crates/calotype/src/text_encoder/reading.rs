//! A prompt as a text tower reads it: weighted tokens in chunks, and where each word stands among them.
//!
//! The text is parsed and cut into tokens here and nowhere else, so that the encoder, learned words and heat maps
//! mean the same rows.

use std::ops::Range;

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
    /// Take all of it for text: no weights, no `BREAK`; in a pipeline no changes, turns or `AND` either.
    pub plain: bool,
}

/// A learned word (textual inversion): the text that stands for it, and its tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LearnedWord {
    /// As its file spells it; prompts may spell it in any case.
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
    /// The learned words that the prompt has, as their files spell them, each as often as it stands there; what is
    /// cut off counts.
    pub learned: Vec<String>,
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
    require_length(text)?;
    let pieces = pieces(text, options.plain);
    let (mut tokens, mut words, mut count) = (Vec::new(), Vec::new(), 0);
    let mut learned_here = Vec::new();
    for piece in &pieces {
        match piece {
            Piece::Break => tokens.push(TokenPiece::Break),
            Piece::Text(text) if !text.weight.is_finite() => {
                return Err(Error::argument("prompt", "weights that are numbers", text.weight));
            }
            Piece::Text(text) => {
                for part in spelled(tokenizer, learned, &text.text)? {
                    words.extend(part.words.into_iter().map(|word| word.after(count)));
                    count += part.ids.len();
                    learned_here.extend(part.learned.cloned());
                    tokens.push(if part.learned.is_some() {
                        TokenPiece::Word(part.ids, text.weight)
                    } else {
                        TokenPiece::Text(part.ids, text.weight)
                    });
                }
            }
        }
    }
    let most = tokenizer.max_length() - 2;
    let one_chunk = !options.chunks && !pieces.contains(&Piece::Break);
    let cut_off = one_chunk && count > most;
    if cut_off {
        let kept = keep_first(&mut tokens, most);
        words.retain(|word| word.tokens.end <= kept);
    }
    let chunks = prompt::chunks(&tokens, &framing(tokenizer))?;
    let words = in_rows(words, &chunks);
    Ok(Reading { chunks, words, cut_off, learned: learned_here })
}

/// Refuses a prompt that is too long to be looked into.
///
/// # Errors
/// `Error::Argument`.
pub(super) fn require_length(text: &str) -> Result<()> {
    if text.len() > LONGEST {
        return Err(Error::argument("prompt", format!("at most {LONGEST} bytes"), text.len()));
    }
    Ok(())
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

/// A part of a text of one weight as tokens, without start and end.
struct Part<'a> {
    ids: Vec<u32>,
    words: Vec<WordSpan>,
    /// The learned word that this is, and nothing else.
    learned: Option<&'a String>,
}

/// A text of one weight: its learned words, and what stands between them.
fn spelled<'a>(tokenizer: &ClipTokenizer, learned: &'a [LearnedWord], text: &str) -> Result<Vec<Part<'a>>> {
    let plain = |text: &str| -> Result<Part<'a>> {
        let (ids, words) = tokenizer.spell(text)?;
        Ok(Part { ids, words, learned: None })
    };
    let mut parts = Vec::new();
    let mut begin = 0;
    for (place, LearnedWord { word, ids }) in learned_places(learned, text) {
        parts.push(plain(&text[begin..place.start])?);
        let own = WordSpan { word: word.to_lowercase(), tokens: 0..ids.len() };
        parts.push(Part { ids: ids.clone(), words: vec![own], learned: Some(word) });
        begin = place.end;
    }
    parts.push(plain(&text[begin..])?);
    Ok(parts)
}

/// Where learned words stand in `text`, in order and apart; of several at one place the longest.
fn learned_places<'a>(learned: &'a [LearnedWord], text: &str) -> Vec<(Range<usize>, &'a LearnedWord)> {
    let all = learned.iter().flat_map(|word| places(text, &word.word).map(move |place| (place, word)));
    let mut all: Vec<_> = all.collect();
    all.sort_by_key(|(place, _)| (place.start, usize::MAX - place.end));
    let mut end = 0;
    all.retain(|(place, _)| {
        let apart = place.start >= end;
        if apart {
            end = place.end;
        }
        apart
    });
    all
}

impl WordSpan {
    /// The same word with `count` more tokens before it.
    fn after(self, count: usize) -> Self {
        Self { tokens: self.tokens.start + count..self.tokens.end + count, ..self }
    }
}

/// The rows of each word's tokens.
pub(super) fn in_rows(words: Vec<WordSpan>, chunks: &[Chunk]) -> Vec<PromptWord> {
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

/// Keeps the first `most` tokens, and of the learned word that does not fit none: then nothing after it is kept.
/// Returns how many are left.
fn keep_first(tokens: &mut [TokenPiece], most: usize) -> usize {
    let mut left = most;
    let mut ended = false;
    for piece in tokens {
        match piece {
            TokenPiece::Text(ids, _) => ids.truncate(if ended { 0 } else { left }),
            TokenPiece::Word(ids, _) if ended || ids.len() > left => {
                ids.clear();
                ended = true;
            }
            TokenPiece::Word(..) | TokenPiece::Break => {}
        }
        if let TokenPiece::Text(ids, _) | TokenPiece::Word(ids, _) = piece {
            left -= ids.len();
        }
    }
    most - left
}

/// Where `word` stands in `text` by itself, in any case, not as a part of a longer word.
fn places<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = Range<usize>> + 'a {
    let inside = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    let (first, last) = (word.chars().next(), word.chars().next_back());
    let starts = text.char_indices().map(|(at, _)| at);
    starts.filter_map(move |at| {
        let end = at + length_of(&text[at..], word).filter(|length| *length > 0)?;
        let (before, after) = (text[..at].chars().next_back(), text[end..].chars().next());
        let joined = inside(before) && inside(first) || inside(last) && inside(after);
        (!joined).then_some(at..end)
    })
}

/// Bytes of the beginning of `text` that are `word` in any case.
fn length_of(text: &str, word: &str) -> Option<usize> {
    let mut rest = text.chars();
    for c in word.chars() {
        let there = rest.next()?;
        if there != c && !there.to_lowercase().eq(c.to_lowercase()) {
            return None;
        }
    }
    Some(text.len() - rest.as_str().len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn learned_words_stand_alone_in_any_case() {
        let first = |text: &str, word: &str| places(text, word).next().map(|place| place.start);
        assert_eq!(first("a sks dog", "sks"), Some(2));
        assert_eq!(first("desks and sks", "sks"), Some(10));
        assert_eq!(first("a <cat-toy>!", "<cat-toy>"), Some(2));
        assert_eq!(first("asks", "sks"), None);
        assert_eq!(first("a easyneg", "EasyNeg"), Some(2));
        assert_eq!(first("an ÉLAN", "élan"), Some(3));
        assert_eq!(first("a cat", ""), None);
        let learned = ["a", "a b"].map(|word| LearnedWord { word: word.into(), ids: vec![] });
        let found =
            learned_places(&learned, "A b a").into_iter().map(|(place, word)| (place, &word.word[..]));
        assert_eq!(found.collect::<Vec<_>>(), [(0..3, "a b"), (4..5, "a")]);
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
    #[test]
    fn a_learned_word_is_read_whole_or_not_at_all() {
        let learned = [LearnedWord { word: "<Toy>".into(), ids: vec![700, 701, 702] }];
        let text = format!("{}<toy> cat", "cat ".repeat(20));
        let chunked = rows(&text, &learned, PromptOptions { chunks: true, ..Default::default() });
        assert_eq!(chunked[20..], [word("<toy>", &[25, 26, 27]), word("cat", &[28])]);
        let cut = read(&tokenizer(), &learned, &text, PromptOptions::default()).unwrap();
        assert!(cut.cut_off && cut.words.len() == 20 && cut.learned == ["<Toy>"]);
        assert!(cut.chunks[0].ids.iter().all(|id| !(700..=702).contains(id)));
    }

    #[test]
    fn a_word_stands_where_the_spelling_without_syntax_puts_it() {
        let learned = [LearnedWord { word: "<toy>".into(), ids: vec![700, 701] }];
        let options = PromptOptions::default();
        let expected = rows("a red <toy> and tree", &learned, options);
        let same =
            ["a (red:1.0) <toy> and tree", "a [red] ((<toy>)) and (tree:0.3)", "(a red <TOY> and tree"];
        for text in same {
            assert_eq!(rows(text, &learned, options), expected, "{text}");
        }
        // An escaped bracket is text, and a word of its own.
        let escaped = rows(r"a \(red\) tree", &learned, options);
        let words: Vec<&str> = escaped.iter().map(|(word, _)| word.as_str()).collect();
        assert_eq!(words, ["a", "(", "red", ")", "tree"]);
        assert_eq!(escaped[4].1, [5]);
        // What a break or a long prompt puts into the second chunk stands there.
        let broken = rows("a (red:1.2) BREAK <toy> and tree", &learned, options);
        assert_eq!(broken[2..], [word("<toy>", &[25, 26]), word("and", &[27]), word("tree", &[28])]);
    }
}
