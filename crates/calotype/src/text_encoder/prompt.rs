//! Emphasis in prompts, as stable-diffusion-webui (AUTOMATIC1111) has it, and prompts longer than one window
//! of the text encoder.
//!
//! | written | means |
//! |---|---|
//! | `(word)` | weight × 1.1; `((word))` × 1.21 |
//! | `[word]` | weight ÷ 1.1 |
//! | `(word:1.3)` | weight × 1.3 |
//! | `\(` `\)` `\[` `\]` `\\` | the character itself; any other backslash is dropped |
//! | `BREAK` | what follows begins a new chunk |
//!
//! A bracket that is never closed reaches to the end; one that was never opened is text.

use std::ops::Range;

use crate::error::{Error, Result};

/// The factor of a round bracket without a number; a square bracket divides by it.
const BRACKET: f64 = 1.1;

/// How far back, in tokens, the last comma of a full chunk may lie for the chunk to end there
/// (`comma_padding_backtrack` of stable-diffusion-webui).
pub const COMMA_BACKTRACK: usize = 20;

/// Text of one weight.
#[derive(Debug, Clone, PartialEq)]
pub struct WeightedText {
    /// The text without brackets and backslashes.
    pub text: String,
    /// Its factor; 1 is plain. The user wrote it: 0, negative and infinite ones occur.
    pub weight: f64,
}

/// A part of a prompt.
#[derive(Debug, Clone, PartialEq)]
pub enum Piece {
    /// Text, never empty.
    Text(WeightedText),
    /// The word `BREAK`.
    Break,
}

/// What the grammar sees; `&str` is how it was written.
enum Symbol<'a> {
    OpenRound,
    OpenSquare,
    /// `)` or `:1.3)`, and its factor.
    CloseRound(&'a str, f64),
    CloseSquare(&'a str),
    Escaped(&'a str),
    Text(&'a str),
}

/// Splits a prompt into texts of one weight and breaks; neighbours of equal weight are merged. Nothing is
/// refused: what is no emphasis is text. An empty prompt has no pieces.
///
/// In stable-diffusion-webui `BREAK` inside brackets is encoded as the word "BREAK" with a negative weight;
/// here it breaks wherever it stands.
pub fn parse(prompt: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let (mut round, mut square) = (Vec::new(), Vec::new()); // where the open brackets begin
    let mut rest = prompt;
    while let Some((symbol, after)) = next_symbol(rest) {
        rest = after;
        match symbol {
            Symbol::OpenRound => round.push(pieces.len()),
            Symbol::OpenSquare => square.push(pieces.len()),
            Symbol::CloseRound(written, factor) => match round.pop() {
                Some(begin) => scale(&mut pieces[begin..], factor),
                None => push_text(&mut pieces, written),
            },
            Symbol::CloseSquare(written) => match square.pop() {
                Some(begin) => scale(&mut pieces[begin..], 1.0 / BRACKET),
                None => push_text(&mut pieces, written),
            },
            Symbol::Escaped(character) => push_text(&mut pieces, character),
            Symbol::Text(text) => push_broken(&mut pieces, text),
        }
    }
    round.into_iter().for_each(|begin| scale(&mut pieces[begin..], BRACKET));
    square.into_iter().for_each(|begin| scale(&mut pieces[begin..], 1.0 / BRACKET));
    merged(pieces)
}

/// The symbol that `text` begins with, and the rest; `None` at the end.
fn next_symbol(text: &str) -> Option<(Symbol<'_>, &str)> {
    let (one, after_one) = text.split_at(text.chars().next()?.len_utf8());
    Some(match one {
        "(" => (Symbol::OpenRound, after_one),
        "[" => (Symbol::OpenSquare, after_one),
        ")" => (Symbol::CloseRound(one, BRACKET), after_one),
        "]" => (Symbol::CloseSquare(one), after_one),
        "\\" => {
            let escaped = after_one.starts_with(['(', ')', '[', ']', '\\']).into();
            let (character, rest) = after_one.split_at(escaped);
            (Symbol::Escaped(character), rest)
        }
        ":" => match closing_weight(after_one) {
            Some((factor, rest)) => (Symbol::CloseRound(&text[..text.len() - rest.len()], factor), rest),
            None => (Symbol::Text(one), after_one),
        },
        _ => {
            let (run, rest) = text.split_at(text.find(['(', ')', '[', ']', '\\', ':']).unwrap_or(text.len()));
            (Symbol::Text(run), rest)
        }
    })
}

/// The number in ` 1.3 )` and what follows the bracket; `None` if `text` does not begin so.
fn closing_weight(text: &str) -> Option<(f64, &str)> {
    let text = text.trim_start();
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let rest = unsigned.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let factor = text[..text.len() - rest.len()].parse().ok()?;
    Some((factor, rest.trim_start().strip_prefix(')')?))
}

fn push_text(pieces: &mut Vec<Piece>, text: &str) {
    if !text.is_empty() {
        pieces.push(Piece::Text(WeightedText { text: text.into(), weight: 1.0 }));
    }
}

/// Text with the word `BREAK` taken out of it, and the space around that word.
fn push_broken(pieces: &mut Vec<Piece>, text: &str) {
    let mut begin = 0;
    for place in by_itself(text, "BREAK") {
        push_text(pieces, text[begin..place.start].trim_end());
        pieces.push(Piece::Break);
        begin = text.len() - text[place.end..].trim_start().len();
    }
    push_text(pieces, &text[begin..]);
}

/// Where `word` stands by itself, not as a part of a longer word.
pub(super) fn by_itself<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = Range<usize>> + 'a {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let places = text.match_indices(word).map(|(at, word)| at..at + word.len());
    places.filter(move |place| {
        !text[..place.start].ends_with(is_word) && !text[place.end..].starts_with(is_word)
    })
}

fn scale(pieces: &mut [Piece], factor: f64) {
    for piece in pieces {
        if let Piece::Text(text) = piece {
            text.weight *= factor;
        }
    }
}

fn merged(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut merged: Vec<Piece> = Vec::new();
    for piece in pieces {
        match (merged.last_mut(), piece) {
            (Some(Piece::Text(last)), Piece::Text(next)) if last.weight == next.weight => {
                last.text += &next.text;
            }
            (_, piece) => merged.push(piece),
        }
    }
    merged
}

/// A [`Piece`] after the tokenizer.
#[derive(Debug, Clone, PartialEq)]
pub enum TokenPiece {
    /// Token ids without start and end, and their weight.
    Text(Vec<u32>, f64),
    /// The tokens of a learned word, and their weight: no chunk cuts it in two.
    Word(Vec<u32>, f64),
    /// The next token begins a new chunk.
    Break,
}

/// What surrounds the tokens of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Framing {
    /// Tokens of a chunk with start and end: 77 for CLIP.
    pub length: usize,
    /// The id before the text.
    pub start: u32,
    /// The id after the text.
    pub end: u32,
    /// The id that fills the chunk after `end`.
    pub pad: u32,
    /// The id of the word `,`; a chunk that is full ends after its last comma if that is among its last
    /// [`COMMA_BACKTRACK`] tokens. `None`: chunks are always filled.
    pub comma: Option<u32>,
}

/// What the text encoder reads at once.
#[derive(Debug, Clone, PartialEq)]
pub struct Chunk {
    /// [`Framing::length`] token ids.
    pub ids: Vec<u32>,
    /// The weight of each; 1 for start, end and padding.
    pub weights: Vec<f64>,
    /// Which of the prompt's tokens each is, counted over all pieces; `None` for start, end and padding.
    pub tokens: Vec<Option<usize>>,
}

/// Cuts a prompt into chunks, at least one. A break at the beginning and one after another leave an empty
/// chunk, one at the end does not; a learned word that has no room moves as a whole to the next chunk. So does
/// stable-diffusion-webui.
///
/// # Errors
/// `Error::Argument` if [`Framing::length`] leaves no room for a token, or a learned word has more tokens than a
/// chunk.
pub fn chunks(pieces: &[TokenPiece], framing: &Framing) -> Result<Vec<Chunk>> {
    if framing.length < 3 {
        return Err(Error::argument("tokens of a chunk", "at least 3", framing.length));
    }
    let mut filling = Filling { framing, chunks: vec![], open: vec![], count: 0, last_comma: None };
    for piece in pieces {
        match piece {
            TokenPiece::Break => filling.end_chunk(),
            TokenPiece::Text(ids, weight) => ids.iter().for_each(|&id| filling.push(id, *weight)),
            TokenPiece::Word(ids, weight) => filling.push_word(ids, *weight)?,
        }
    }
    if !filling.open.is_empty() || filling.chunks.is_empty() {
        filling.end_chunk();
    }
    Ok(filling.chunks)
}

/// Chunks while tokens come.
struct Filling<'a> {
    framing: &'a Framing,
    chunks: Vec<Chunk>,
    open: Vec<Placed>,
    /// Tokens of the prompt so far.
    count: usize,
    /// Where in the open chunk its last comma stands.
    last_comma: Option<usize>,
}

impl Filling<'_> {
    /// Tokens of text in a chunk.
    fn room(&self) -> usize {
        self.framing.length - 2
    }

    fn end_chunk(&mut self) {
        self.chunks.push(framed(&std::mem::take(&mut self.open), self.framing));
        self.last_comma = None;
    }

    /// Ends a full chunk before a token: after its last comma if that is near, at its end otherwise.
    fn make_room(&mut self, before_comma: bool) {
        let room = self.room();
        let near = |&comma: &usize| !before_comma && room - comma <= COMMA_BACKTRACK;
        let next = self.open.split_off(self.last_comma.filter(near).map_or(room, |comma| comma + 1));
        self.end_chunk();
        self.open = next;
    }

    fn push(&mut self, id: u32, weight: f64) {
        let is_comma = Some(id) == self.framing.comma;
        if self.open.len() == self.room() {
            self.make_room(is_comma);
        } else if is_comma {
            self.last_comma = Some(self.open.len());
        }
        self.open.push(Placed { id, weight, token: self.count });
        self.count += 1;
    }

    fn push_word(&mut self, ids: &[u32], weight: f64) -> Result<()> {
        if ids.len() > self.room() {
            let expected = format!("at most {}, those of a chunk", self.room());
            return Err(Error::argument("tokens of a learned word", expected, ids.len()));
        }
        if self.open.len() == self.room() {
            self.make_room(false);
        }
        if self.open.len() + ids.len() > self.room() {
            self.end_chunk();
        }
        ids.iter().for_each(|&id| self.push(id, weight));
        Ok(())
    }
}

/// A token of the prompt on its way into a chunk.
#[derive(Clone, Copy)]
struct Placed {
    id: u32,
    weight: f64,
    /// Its number among all tokens of the prompt.
    token: usize,
}

fn framed(placed: &[Placed], framing: &Framing) -> Chunk {
    let mut chunk = Chunk { ids: vec![framing.start], weights: vec![1.0], tokens: vec![None] };
    for &Placed { id, weight, token } in placed {
        chunk.ids.push(id);
        chunk.weights.push(weight);
        chunk.tokens.push(Some(token));
    }
    chunk.ids.push(framing.end);
    chunk.ids.resize(framing.length, framing.pad);
    chunk.weights.resize(framing.length, 1.0);
    chunk.tokens.resize(framing.length, None);
    chunk
}

#[cfg(test)]
mod tests;
