//! `spiece.model`: SentencePiece's `ModelProto`, as the JSON that the `tokenizers` crate reads.
//!
//! <https://github.com/google/sentencepiece/blob/master/src/sentencepiece_model.proto>

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{END, PAD, UNKNOWN};
use crate::error::{Error, Result};
use crate::files::atomic;
use crate::files::protobuf::{Field, Fields};

/// Sentinels of every published T5, `<extra_id_0>` and on; a larger number than [`MOST_SENTINELS`] is a damaged file.
const SENTINELS: usize = 100;
const MOST_SENTINELS: usize = 10_000;
/// `TrainerSpec.ModelType.UNIGRAM`.
const UNIGRAM: u64 = 1;
/// `SentencePiece.Type.BYTE`.
const BYTE: u64 = 6;

/// How many sentinels `tokenizer_config.json` says there are; the model's file does not have them.
pub fn sentinels(folder: &Path) -> Result<usize> {
    #[derive(Deserialize, Default)]
    struct Config {
        extra_ids: Option<usize>,
    }
    let path = folder.join("tokenizer_config.json");
    let config: Config = if path.is_file() { atomic::read_json(&path)? } else { Config::default() };
    match config.extra_ids.unwrap_or(SENTINELS) {
        count if count <= MOST_SENTINELS => Ok(count),
        count => Err(Error::config(path, "extra_ids", format!("at most {MOST_SENTINELS}"), count)),
    }
}

/// Texts of pieces with their scores, and what else of the file counts.
#[derive(Default)]
struct Model {
    pieces: Vec<(String, f64)>,
    unknown: u64,
    charsmap: Vec<u8>,
}

/// The same steps as transformers sets up: pieces, then sentinels from the last to the first. Text: what is wrong.
pub fn tokenizer_json(file: &[u8], sentinels: usize) -> std::result::Result<Value, String> {
    let Model { mut pieces, unknown, charsmap } = model(file)?;
    let own = pieces.len();
    pieces.extend((0..sentinels).rev().map(|i| (format!("<extra_id_{i}>"), 0.0)));
    let of_role = |(_, (piece, _)): &(usize, &(String, f64))| [PAD, END, UNKNOWN].contains(&piece.as_str());
    let special = pieces.iter().enumerate().filter(|entry| entry.0 >= own || of_role(entry));
    let added = special.map(|(id, (piece, _))| {
        json!({ "id": id, "content": piece, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true })
    });
    let table = (!charsmap.is_empty()).then(|| STANDARD.encode(charsmap));
    let normalizer = table.map(|table| json!({ "type": "Precompiled", "precompiled_charsmap": table }));
    Ok(json!({
        "version": "1.0",
        "added_tokens": added.collect::<Vec<_>>(),
        "normalizer": normalizer,
        "pre_tokenizer": { "type": "Sequence", "pretokenizers": [
            { "type": "WhitespaceSplit" },
            { "type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true },
        ] },
        "model": { "type": "Unigram", "unk_id": unknown, "vocab": pieces, "byte_fallback": false },
    }))
}

fn model(file: &[u8]) -> std::result::Result<Model, String> {
    let mut model = Model::default();
    let mut kind = UNIGRAM;
    for field in Fields::of(file) {
        match field? {
            (1, Field::Bytes(message)) => model.pieces.push(piece(message)?),
            (2, Field::Bytes(message)) => {
                for field in Fields::of(message) {
                    match field? {
                        (3, Field::Varint(value)) => kind = value,
                        (40, Field::Varint(id)) => model.unknown = id,
                        _ => {}
                    }
                }
            }
            (3, Field::Bytes(message)) => {
                for field in Fields::of(message) {
                    if let (2, Field::Bytes(table)) = field? {
                        model.charsmap = table.to_vec();
                    }
                }
            }
            _ => {}
        }
    }
    if kind != UNIGRAM {
        return Err(format!("it is of SentencePiece's kind {kind}, T5's is {UNIGRAM} (unigram)"));
    }
    Ok(model)
}

fn piece(message: &[u8]) -> std::result::Result<(String, f64), String> {
    let (mut text, mut score) = (String::new(), 0.0_f64);
    for field in Fields::of(message) {
        match field? {
            (1, Field::Bytes(bytes)) => {
                text = String::from_utf8(bytes.to_vec()).map_err(|e| format!("a piece is no UTF-8: {e}"))?;
            }
            (2, Field::Fixed32(bytes)) => score = f32::from_le_bytes(bytes).into(),
            (3, Field::Varint(BYTE)) => return Err("it falls back to bytes, T5's does not".into()),
            _ => {}
        }
    }
    if !score.is_finite() {
        return Err(format!("piece `{text}` has the score {score}"));
    }
    Ok((text, score))
}
