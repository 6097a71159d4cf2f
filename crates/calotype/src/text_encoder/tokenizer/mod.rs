//! CLIP's tokenizer: byte-level byte-pair encoding (BPE) of lower-cased text.
//!
//! Text goes through five steps: Unicode NFC, each run of white space to one space, lower case, CLIP's
//! word pattern (contractions, letters, single digits, everything else), and BPE on the bytes of each
//! word, whose last symbol carries `</w>`. Radford et al. 2021, arXiv:2103.00020, Sec. 2.4; BPE is
//! Sennrich et al. 2016, arXiv:1508.07909.
//!
//! These are the steps of transformers' `CLIPTokenizer`. OpenAI's own code also repairs broken Unicode
//! (`ftfy`) and unescapes HTML; transformers 5 does neither, and nor do we.

mod definition;
mod files;
mod openai;
mod train;

use crate::{Error, Result};
use definition::Definition;
pub use openai::Padding;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

const START: &str = "<|startoftext|>";
const END: &str = "<|endoftext|>";
/// What the last symbol of a word carries.
const END_OF_WORD: &str = "</w>";
/// Symbols before the first merge: 256 bytes, and the same at the end of a word.
const BASE_SYMBOLS: usize = 512;
/// Start, one token of text, end.
const SHORTEST: usize = 3;

/// Text to token ids, as CLIP and Stable Diffusion's text encoders read them.
///
/// ```
/// use calotype::text_encoder::tokenizer::ClipTokenizer;
///
/// let captions = ["a red cat", "a red house"];
/// let tokenizer = ClipTokenizer::train(captions.into_iter(), 600, 16)?;
/// let encoded = tokenizer.encode_padded("A red cat");
/// assert_eq!(encoded.ids.len(), 16);
/// assert_eq!(encoded.ids[0], tokenizer.start_id());
/// # Ok::<(), calotype::Error>(())
/// ```
#[derive(Clone)]
pub struct ClipTokenizer {
    definition: Definition,
    engine: tokenizers::Tokenizer,
    start_id: u32,
    end_id: u32,
    pad_id: u32,
}

/// A text at the length that the text encoder takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// Start, tokens, end, padding: [`ClipTokenizer::max_length`] ids.
    pub ids: Vec<u32>,
    /// Whether tokens were cut off to fit.
    pub truncated: bool,
}

/// A word and its tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WordSpan {
    /// The word in lower case; as CLIP's pattern cuts it, `cat's` is `cat` and `'s`, and `2024` is four words.
    pub word: String,
    /// Its tokens among those of the text.
    pub tokens: Range<usize>,
}

impl ClipTokenizer {
    /// Learns merges from captions.
    ///
    /// The vocabulary has OpenAI's order: 256 byte symbols, the same with `</w>`, one token per merge in
    /// the order learned, start, end. Each step merges the most frequent pair; among equals, the pair
    /// with the smallest ids. So the result depends on how often words occur, never on their order.
    /// Learning stops early when no pair occurs twice: [`Self::vocab_size`] tells the size reached.
    ///
    /// - `vocab_size`: at least 514, the vocabulary without merges.
    /// - `max_length`: what [`Self::encode_padded`] pads to, at least 3; CLIP has 77.
    ///
    /// # Errors
    /// `Error::Argument` for sizes below these, or when the captions hold no word.
    pub fn train<'a>(
        captions: impl Iterator<Item = &'a str>,
        vocab_size: usize,
        max_length: usize,
    ) -> Result<Self> {
        let smallest = BASE_SYMBOLS + 2;
        if vocab_size < smallest {
            return Err(Error::argument("vocab_size", format!("at least {smallest}"), vocab_size));
        }
        if max_length < SHORTEST {
            return Err(Error::argument("max_length", format!("at least {SHORTEST}"), max_length));
        }
        let without_merges =
            Self::new(Definition::trained(base_symbols(), Vec::new(), max_length), Path::new("captions"))?;
        let mut word_counts = BTreeMap::new();
        for caption in captions {
            for word in symbols_by_word(&without_merges.encode(caption)) {
                *word_counts.entry(word).or_insert(0) += 1;
            }
        }
        if word_counts.is_empty() {
            return Err(Error::argument("captions", "at least one word", "none"));
        }
        let learned = train::learn_merges(word_counts, base_symbols(), vocab_size - 2);
        Self::new(Definition::trained(learned.tokens, learned.merges, max_length), Path::new("captions"))
    }

    /// Reads a tokenizer folder as transformers 4 and 5 write it: `tokenizer_config.json` with either
    /// `tokenizer.json` (taken first, as transformers does) or `vocab.json` and `merges.txt`.
    ///
    /// The special tokens are found as transformers 5 finds them: in `added_tokens_decoder` of the config,
    /// else in `special_tokens_map.json`, `added_tokens.json` and `tokenizer.json`. In particular the
    /// padding token of Stable Diffusion 2, `!`, is then special wherever it stands: a prompt's `!` gets
    /// the padding's id. Without `model_max_length` texts have CLIP's 77 tokens.
    ///
    /// # Errors
    /// `Error::Io` for a missing file; `Error::Format` for one that is truncated, damaged, not CLIP's, or
    /// does not fit the others; `Error::Config` for a `model_max_length` out of range.
    pub fn load(dir: &Path) -> Result<Self> {
        Self::new(Definition::read(dir)?, dir)
    }

    /// Writes `vocab.json`, `merges.txt`, `special_tokens_map.json`, `tokenizer.json` and
    /// `tokenizer_config.json` into `dir`, which is created. Python's `CLIPTokenizer.from_pretrained(dir)`
    /// gives the same ids. A file is complete or as it was before, even if the machine stops.
    ///
    /// # Errors
    /// `Error::Io` when the system refuses.
    pub fn save(&self, dir: &Path) -> Result<()> {
        self.definition.write(dir)
    }

    /// Start, the tokens of `text`, end; as long as the text needs.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        // The byte symbols and the unknown token are in the vocabulary (`Definition::check`), which
        // leaves BPE nothing to fail on.
        let encoding = self.engine.encode_fast(text, true).expect("every byte has a token");
        encoding.get_ids().to_vec()
    }

    /// [`Self::encode`] at exactly [`Self::max_length`]: what is too long loses its last tokens before the
    /// end token, what is too short is followed by padding tokens.
    pub fn encode_padded(&self, text: &str) -> Encoded {
        let mut ids = self.encode(text);
        let truncated = ids.len() > self.max_length();
        if truncated {
            ids.truncate(self.max_length() - 1);
            ids.push(self.end_id);
        }
        ids.resize(self.max_length(), self.pad_id);
        Encoded { ids, truncated }
    }

    /// The tokens of `text` without start and end, and its words, each with its tokens. Special tokens that the text
    /// spells out belong to no word.
    ///
    /// # Errors
    /// `Error::Format` if the text cannot be encoded.
    pub fn spell(&self, text: &str) -> Result<(Vec<u32>, Vec<WordSpan>)> {
        let encoding =
            self.engine.encode(text, true).map_err(|e| Error::format("prompt", "CLIP tokens", e))?;
        let inside = 1..encoding.get_ids().len() - 1;
        let ids = &encoding.get_ids()[inside.clone()];
        let (word_ids, tokens) = (&encoding.get_word_ids()[inside.clone()], &encoding.get_tokens()[inside]);
        let mut spans = Vec::new();
        let mut first = 0;
        while first < ids.len() {
            let same = word_ids[first..].iter().take_while(|&&id| id == word_ids[first]).count();
            let span = first..first + same;
            first = span.end;
            let special = ids[span.start] == self.start_id || ids[span.start] == self.end_id;
            if !special {
                spans.push(WordSpan { word: text_of(&tokens[span.clone()]), tokens: span });
            }
        }
        Ok((ids.to_vec(), spans))
    }

    /// Rows that an embedding table needs: one more than the largest id.
    pub fn vocab_size(&self) -> usize {
        self.definition.vocab_size()
    }

    /// Tokens per text for the text encoder, start and end included; CLIP has 77.
    pub fn max_length(&self) -> usize {
        self.definition.max_length
    }

    /// Id of `<|startoftext|>`.
    pub fn start_id(&self) -> u32 {
        self.start_id
    }

    /// Id of `<|endoftext|>`; CLIP's pooled output is read at its first position.
    pub fn end_id(&self) -> u32 {
        self.end_id
    }

    /// Id of the padding token: the end token in CLIP and Stable Diffusion 1, `!` (0) in Stable Diffusion 2.
    pub fn pad_id(&self) -> u32 {
        self.pad_id
    }

    /// Builds the engine from the same JSON that [`Self::save`] writes. `source` is what errors name.
    fn new(definition: Definition, source: &Path) -> Result<Self> {
        definition.check(source)?;
        let engine = tokenizers::Tokenizer::from_bytes(definition.tokenizer_json().to_string())
            .map_err(|e| Error::format(source, "CLIP tokenizer", e))?;
        // The engine numbers added tokens itself.
        for (&id, token) in &definition.added {
            if engine.token_to_id(&token.content) != Some(id) {
                let reason = format!("added token `{}` cannot have id {id}", token.content);
                return Err(Error::format(source, "CLIP tokenizer", reason));
            }
        }
        let id = |token: &str| {
            let reason = || format!("special token `{token}` has no id of its own");
            definition.id_of(token).ok_or_else(|| Error::format(source, "CLIP tokenizer", reason()))
        };
        let roles = &definition.roles;
        let (start_id, end_id, pad_id) = (id(&roles.start)?, id(&roles.end)?, id(&roles.pad)?);
        Ok(Self { definition, engine, start_id, end_id, pad_id })
    }
}

/// Printable stand-ins for the bytes, in OpenAI's order: the printable Latin-1 bytes stand for
/// themselves, the others for U+0100 and up.
fn byte_alphabet() -> Vec<(u8, char)> {
    let printable = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..);
    let themselves = (0..=255).filter(printable).map(|byte| (byte, char::from(byte)));
    let others = (0..=255).filter(|byte| !printable(byte)).zip('\u{100}'..);
    themselves.chain(others).collect()
}

/// Ids 0 to 511: the bytes, then the bytes that end a word.
fn base_symbols() -> Vec<String> {
    let alphabet = byte_alphabet();
    let inside = alphabet.iter().map(|(_, symbol)| symbol.to_string());
    let at_end = alphabet.iter().map(|(_, symbol)| format!("{symbol}{END_OF_WORD}"));
    inside.chain(at_end).collect()
}

/// Cuts ids of a vocabulary without merges into words, without start and end.
fn symbols_by_word(ids: &[u32]) -> impl Iterator<Item = Vec<u32>> {
    let base = 0..BASE_SYMBOLS as u32;
    ids.split(move |id| !base.contains(id))
        .flat_map(|text| text.split_inclusive(|&id| id >= BASE_SYMBOLS as u32 / 2))
        .map(<[u32]>::to_vec)
}

/// The text that the tokens of one word stand for.
fn text_of(tokens: &[String]) -> String {
    let symbols = tokens.concat();
    let symbols = symbols.strip_suffix(END_OF_WORD).unwrap_or(&symbols);
    let alphabet: BTreeMap<char, u8> =
        byte_alphabet().into_iter().map(|(byte, symbol)| (symbol, byte)).collect();
    let bytes: Option<Vec<u8>> = symbols.chars().map(|symbol| alphabet.get(&symbol).copied()).collect();
    // A token that a user added is written as it is, not in the byte alphabet.
    bytes.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_else(|| symbols.to_owned())
}

#[cfg(test)]
mod tests;
