//! What a CLIP tokenizer is made of, checked, and as `tokenizer.json` describes it.

use super::{BASE_SYMBOLS, END, END_OF_WORD, START, base_symbols};
use crate::{Error, Result};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use tokenizers::AddedToken;

/// CLIP's words: special tokens, English contractions, letters, single digits, runs of anything else.
const WORD_PATTERN: &str =
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

/// All that a tokenizer folder says.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Definition {
    /// Token of each id: byte symbols, merged tokens, usually start and end.
    pub tokens: BTreeMap<u32, String>,
    /// Pairs in the order in which they are merged.
    pub merges: Vec<(String, String)>,
    /// Tokens that are found in a text as they stand, before it is cut into words.
    pub added: BTreeMap<u32, AddedToken>,
    /// Which tokens do what.
    pub roles: Roles,
    /// Tokens per text.
    pub max_length: usize,
}

/// The special tokens by what they do.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Roles {
    pub start: String,
    pub end: String,
    pub unknown: String,
    pub pad: String,
}

impl Default for Roles {
    fn default() -> Self {
        Roles { start: START.into(), end: END.into(), unknown: END.into(), pad: END.into() }
    }
}

impl Definition {
    /// A new tokenizer; `tokens` without the special ones, which get the last two ids.
    pub fn trained(mut tokens: Vec<String>, merges: Vec<(String, String)>, max_length: usize) -> Self {
        let start_id = tokens.len() as u32;
        tokens.extend([START.to_owned(), END.to_owned()]);
        let special = |content: &str| AddedToken::from(content, true);
        Self {
            tokens: (0..).zip(tokens).collect(),
            merges,
            added: [(start_id, special(START)), (start_id + 1, special(END))].into(),
            roles: Roles::default(),
            max_length,
        }
    }

    /// Refuses what could not encode every text, or would encode it wrongly. `source` is what errors name.
    pub fn check(&self, source: &Path) -> Result<()> {
        let refuse = |reason: String| Err(Error::format(source, "CLIP tokenizer", reason));
        let known: HashSet<&str> = self.tokens.values().map(String::as_str).collect();
        if !known.contains(self.roles.unknown.as_str()) {
            return refuse(format!("unknown token `{}` is not in the vocabulary", self.roles.unknown));
        }
        let mut made: HashSet<String> = HashSet::with_capacity(self.merges.len());
        for (rank, (left, right)) in self.merges.iter().enumerate() {
            let merged = format!("{left}{right}");
            if let Some(missing) = [left, right, &merged].into_iter().find(|t| !known.contains(t.as_str())) {
                return refuse(format!("merge {} needs token `{missing}`, not in the vocabulary", rank + 1));
            }
            made.insert(merged);
        }
        self.check_complete(source, &made)
    }

    /// A list of merges that was cut off at a line's end is still valid by itself: it shows in tokens that
    /// nothing makes. Vocabularies without the byte symbols are toys of other programs' tests; they pass.
    fn check_complete(&self, source: &Path, made: &HashSet<String>) -> Result<()> {
        let symbols: HashSet<String> = base_symbols().into_iter().collect();
        let present = self.tokens.values().filter(|token| symbols.contains(*token)).count();
        let orphan = self.tokens.iter().find(|(id, token)| {
            !symbols.contains(*token) && !made.contains(*token) && !self.added.contains_key(id)
        });
        match orphan {
            Some((id, token)) if present == BASE_SYMBOLS => {
                let reason =
                    format!("no merge makes token `{token}` (id {id}): the merges are cut off or another's");
                Err(Error::format(source, "CLIP tokenizer", reason))
            }
            _ => Ok(()),
        }
    }

    /// One more than the largest id.
    pub fn vocab_size(&self) -> usize {
        let largest = self.tokens.keys().next_back().max(self.added.keys().next_back());
        largest.map_or(0, |&id| id as usize + 1)
    }

    /// The id of a special or added token.
    pub fn id_of(&self, content: &str) -> Option<u32> {
        self.added.iter().find(|(_, token)| token.content == content).map(|(&id, _)| id)
    }

    /// `tokenizer.json`: the whole tokenizer, in the form of the `tokenizers` crate. The same steps as
    /// transformers' `CLIPTokenizer` sets up.
    pub fn tokenizer_json(&self) -> Value {
        let numbered = |(id, token): (&u32, &AddedToken)| {
            let AddedToken { content, single_word, lstrip, rstrip, normalized, special } = token;
            json!({ "id": id, "content": content, "single_word": single_word, "lstrip": lstrip,
                    "rstrip": rstrip, "normalized": normalized, "special": special })
        };
        let Roles { start, end, unknown, .. } = &self.roles;
        json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": self.added.iter().map(numbered).collect::<Vec<_>>(),
            "normalizer": { "type": "Sequence", "normalizers": [
                { "type": "NFC" },
                { "type": "Replace", "pattern": { "Regex": r"\s+" }, "content": " " },
                { "type": "Lowercase" },
            ] },
            "pre_tokenizer": { "type": "Sequence", "pretokenizers": [
                { "type": "Split", "pattern": { "Regex": WORD_PATTERN }, "behavior": "Removed", "invert": true },
                { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true },
            ] },
            "post_processor": { "type": "RobertaProcessing",
                "sep": [end, self.id_of(end)], "cls": [start, self.id_of(start)],
                "trim_offsets": false, "add_prefix_space": false },
            "decoder": { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true,
                "use_regex": true },
            "model": { "type": "BPE", "dropout": null, "unk_token": unknown,
                "continuing_subword_prefix": "", "end_of_word_suffix": END_OF_WORD, "fuse_unk": false,
                "byte_fallback": false, "ignore_merges": false,
                "vocab": self.vocab_json(), "merges": self.merges },
        })
    }

    /// `vocab.json`: tokens by id.
    pub fn vocab_json(&self) -> Value {
        self.tokens.iter().map(|(&id, token)| (token.clone(), Value::from(id))).collect()
    }

    /// `tokenizer_config.json`.
    pub fn config_json(&self) -> Value {
        let described = |(id, token): (&u32, &AddedToken)| {
            let AddedToken { content, single_word, lstrip, rstrip, normalized, special } = token;
            let object = json!({ "content": content, "lstrip": lstrip, "normalized": normalized,
                                 "rstrip": rstrip, "single_word": single_word, "special": special });
            (id.to_string(), object)
        };
        let Roles { start, end, unknown, pad } = &self.roles;
        json!({
            "add_prefix_space": false,
            "added_tokens_decoder": self.added.iter().map(described).collect::<Value>(),
            "bos_token": start, "eos_token": end, "unk_token": unknown, "pad_token": pad,
            "clean_up_tokenization_spaces": true,
            "do_lower_case": true,
            "errors": "replace",
            "model_max_length": self.max_length,
            "tokenizer_class": "CLIPTokenizer",
        })
    }
}
