//! T5's tokenizer: SentencePiece's unigram model. Kudo 2018, arXiv:1804.10959; Kudo & Richardson 2018,
//! arXiv:1808.06226.
//!
//! Characters are normalised by a table (NFKC and some more), text is cut at white space, and each word, with ▁ before
//! it, into the pieces whose scores have the largest sum. Case is kept. What no piece has is `<unk>`; `</s>` ends the
//! text, `<pad>` fills it up.
//!
//! A folder has `tokenizer.json`, in one of several dialects, or `spiece.model`. Both become the JSON that the
//! `tokenizers` crate reads.

mod charsmap;
mod pipeline;
mod spiece;

use std::ops::Range;
use std::path::Path;

use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::files::atomic;
use crate::text_encoder::tokenizer::{Encoded, WordSpan};

const FORMAT: &str = "T5 tokenizer";
const PAD: &str = "<pad>";
const END: &str = "</s>";
const UNKNOWN: &str = "<unk>";

/// Text to token ids, as T5 reads them.
#[derive(Clone)]
pub struct T5Tokenizer {
    engine: tokenizers::Tokenizer,
    end_id: u32,
    pad_id: u32,
    vocab_size: usize,
}

impl T5Tokenizer {
    /// Reads a folder: `tokenizer.json` if it has one, as transformers does, else `spiece.model`.
    ///
    /// # Errors
    /// `Error::Io` for a missing file; `Error::Format` for one that is truncated, damaged, or of another tokenizer.
    pub fn load(folder: &Path) -> Result<Self> {
        let path = folder.join("tokenizer.json");
        if path.is_file() {
            return Self::of_json(atomic::read_json(&path)?, &path);
        }
        let path = folder.join("spiece.model");
        let sentinels = spiece::sentinels(folder)?;
        let json = spiece::tokenizer_json(&atomic::read(&path)?, sentinels);
        Self::of_json(json.map_err(|reason| Error::format(&path, FORMAT, reason))?, &path)
    }

    /// Whether a folder's tokenizer is one of this kind, and not CLIP's, as far as its files' names and the type of the
    /// model in `tokenizer.json` tell.
    pub fn is_in(folder: &Path) -> bool {
        let json = atomic::read_json::<Value>(&folder.join("tokenizer.json"));
        json.map_or_else(|_| folder.join("spiece.model").is_file(), |json| json["model"]["type"] == "Unigram")
    }

    /// The tokens of `text` and `</s>`; as long as the text needs.
    ///
    /// # Errors
    /// `Error::Format` if the text cannot be encoded.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encoding =
            self.engine.encode_fast(text, false).map_err(|e| Error::format("prompt", "T5 tokens", e))?;
        let mut ids = encoding.get_ids().to_vec();
        ids.push(self.end_id);
        Ok(ids)
    }

    /// The tokens of `text` without `</s>`, and its words, each with its tokens: runs of letters and digits in lower case
    /// (`cat's` is `cat` and `'s`, as in CLIP), and other characters one by one. A word with no token of its own is left
    /// out.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn spell(&self, text: &str) -> Result<(Vec<u32>, Vec<WordSpan>)> {
        let encoding =
            self.engine.encode(text, false).map_err(|e| Error::format("prompt", "T5 tokens", e))?;
        let offsets = encoding.get_offsets();
        let tokens_of = |word: &Range<usize>| {
            let inside = |&(start, end): &(usize, usize)| start < word.end && word.start < end;
            let first = offsets.iter().position(inside)?;
            Some(first..first + offsets[first..].iter().take_while(|&offsets| inside(offsets)).count())
        };
        let words = words(text).filter_map(|place| {
            Some(WordSpan { tokens: tokens_of(&place)?, word: text[place].to_lowercase() })
        });
        Ok((encoding.get_ids().to_vec(), words.collect()))
    }

    /// [`Self::encode`] at exactly `length`, at least 1: what is too long loses its last tokens before `</s>`, what is
    /// too short is followed by `<pad>`.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn encode_padded(&self, text: &str, length: usize) -> Result<Encoded> {
        let mut ids = self.encode(text)?;
        ids.pop();
        Ok(self.padded(ids, length))
    }

    /// Tokens without `</s>` at exactly `length`, as [`Self::encode_padded`].
    pub fn padded(&self, mut ids: Vec<u32>, length: usize) -> Encoded {
        let truncated = ids.len() >= length;
        ids.truncate(length.saturating_sub(1));
        ids.push(self.end_id);
        ids.resize(length.max(1), self.pad_id);
        Encoded { ids, truncated }
    }

    /// Writes `tokenizer.json` and `tokenizer_config.json`, as transformers reads them.
    ///
    /// # Errors
    /// `Error::Io`.
    pub fn save(&self, folder: &Path) -> Result<()> {
        let path = folder.join("tokenizer.json");
        let json = self.engine.to_string(false).map_err(|e| Error::format(&path, FORMAT, e))?;
        atomic::write(&path, json.as_bytes())?;
        let config = json!({
            "tokenizer_class": "T5TokenizerFast", "eos_token": END, "pad_token": PAD, "unk_token": UNKNOWN,
            "extra_ids": 0, "model_max_length": 512,
        });
        atomic::write_json(&folder.join("tokenizer_config.json"), &config)
    }

    /// One more than the largest id; T5's embedding may have more rows.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Id of `</s>`.
    pub fn end_id(&self) -> u32 {
        self.end_id
    }

    /// Id of `<pad>`.
    pub fn pad_id(&self) -> u32 {
        self.pad_id
    }

    /// `path` is what errors name.
    fn of_json(json: Value, path: &Path) -> Result<Self> {
        let wrong = |reason: String| Error::format(path, FORMAT, reason);
        let json = pipeline::checked(json).map_err(wrong)?;
        let engine = tokenizers::Tokenizer::from_bytes(json.to_string()).map_err(|e| wrong(e.to_string()))?;
        let id = |token: &str| {
            engine.token_to_id(token).ok_or_else(|| wrong(format!("it has no token `{token}`")))
        };
        let (end_id, pad_id) = (id(END)?, id(PAD)?);
        id(UNKNOWN)?;
        let vocab_size = engine.get_vocab(true).values().max().map_or(0, |&id| id as usize + 1);
        Ok(Self { engine, end_id, pad_id, vocab_size })
    }
}

/// Where the words of a text stand.
fn words(text: &str) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        at += text[at..].len() - text[at..].trim_start().len();
        let first = text[at..].chars().next()?;
        let in_word = |c: char| c.is_alphanumeric();
        let rest = at + first.len_utf8();
        let goes_on = in_word(first) || (first == '\'' && text[rest..].starts_with(char::is_alphabetic));
        let end = if goes_on {
            rest + text[rest..].find(|c| !in_word(c)).unwrap_or(text.len() - rest)
        } else {
            rest
        };
        let place = at..end;
        at = end;
        Some(place)
    })
}

#[cfg(test)]
mod tests;
