//! T5's encoder: of a folder, and of the bare files that it is published in.

use std::path::Path;

use serde_json::{Value, json};

use super::single_file::open::written_configs;
use super::{Checkpoint, StoredComponent, Taken, folder};
use crate::error::{Error, Result};
use crate::files::gguf::Value as GgufValue;
use crate::files::weights::{self, Tensors};
use crate::files::{Stack, StoredTensor, atomic};
use crate::model::ComponentKind;
use crate::nn::{Component, Compute, Init};
use crate::text_encoder::t5::{T5Config, T5Encoder};

/// llama.cpp's name of the encoder without a decoder.
pub const ARCHITECTURE: &str = "t5encoder";
/// Tokens that T5 was trained with at a time.
const CONTEXT: u32 = 512;

/// The token table, and what it is called a second time.
const TABLE: &str = "shared.weight";
const ALIAS: &str = "encoder.embed_tokens.weight";
/// (llama.cpp's name, transformers') outside of the blocks.
const OUTSIDE: [(&str, &str); 2] =
    [("token_embd.weight", TABLE), ("enc.output_norm.weight", "encoder.final_layer_norm.weight")];
/// What a whole T5 has beside its encoder, by transformers' names and by llama.cpp's.
const REST: [&str; 5] = ["decoder.", "lm_head.", "dec.", "output.", "logit_scale"];

/// (llama.cpp's name in `enc.blk.N`, transformers' in `encoder.block.N`).
const OF_BLOCK: [(&str, &str); 10] = [
    ("attn_q", "layer.0.SelfAttention.q"),
    ("attn_k", "layer.0.SelfAttention.k"),
    ("attn_v", "layer.0.SelfAttention.v"),
    ("attn_o", "layer.0.SelfAttention.o"),
    ("attn_rel_b", "layer.0.SelfAttention.relative_attention_bias"),
    ("attn_norm", "layer.0.layer_norm"),
    ("ffn_gate", "layer.1.DenseReluDense.wi_0"),
    ("ffn_up", "layer.1.DenseReluDense.wi_1"),
    ("ffn_down", "layer.1.DenseReluDense.wo"),
    ("ffn_norm", "layer.1.layer_norm"),
];

/// Whether a component's `config.json` is that of a T5.
pub fn is_t5(component: &StoredComponent) -> bool {
    component.config["model_type"] == "t5"
}

/// The encoder.
///
/// # Errors
/// `Error::Config`, `Error::Weights`; `Error::Format` if the config is not readable.
pub fn t5_encoder(
    mut component: StoredComponent,
    compute: impl Into<Compute>,
) -> Result<Component<T5Encoder, T5Config>> {
    let config: T5Config = component.typed_config()?;
    component.left_out.extend(leave_out(&mut component.weights));
    let network = T5Encoder::new(&config, &mut Init::zeros(compute))?;
    let network = component.load(network, "text encoder")?;
    Ok(Component { network, config })
}

/// Takes out what the encoder has no use for, and returns its names; its token table has one name then.
fn leave_out(weights: &mut Tensors) -> Vec<String> {
    if let Some(table) = weights.remove(ALIAS) {
        weights.entry(TABLE.into()).or_insert(table);
    }
    let is_rest = |name: &str| REST.iter().any(|start| name.starts_with(start));
    let mut names: Vec<String> = weights.extract_if(|name, _| is_rest(name)).map(|(name, _)| name).collect();
    names.sort();
    names
}

/// transformers' name of one of llama.cpp's, or the same name again.
fn transformers_name(name: String) -> String {
    let of_block = || {
        let (block, layer) = name.strip_prefix("enc.blk.")?.split_once('.')?;
        let layer = layer.strip_suffix(".weight")?;
        let (_, ours) = OF_BLOCK.iter().find(|(theirs, _)| *theirs == layer)?;
        Some(format!("encoder.block.{block}.{ours}.weight"))
    };
    match OUTSIDE.iter().find(|(theirs, _)| *theirs == name) {
        Some((_, ours)) => (*ours).to_owned(),
        None => of_block().unwrap_or(name),
    }
}

/// llama.cpp's name of one of transformers'; `None` for what is no tensor of the encoder.
fn llama_cpp_name(name: &str) -> Option<String> {
    if let Some((theirs, _)) = OUTSIDE.iter().find(|(_, ours)| *ours == name) {
        return Some((*theirs).to_owned());
    }
    let (block, layer) = name.strip_prefix("encoder.block.")?.split_once('.')?;
    let layer = layer.strip_suffix(".weight")?;
    let (theirs, _) = OF_BLOCK.iter().find(|(_, ours)| *ours == layer)?;
    Some(format!("enc.blk.{block}.{theirs}.weight"))
}

/// The tensors under llama.cpp's names.
///
/// # Errors
/// `Error::Weights` for a tensor that is none of the encoder's.
pub fn stacks(stored: &StoredComponent) -> Result<Vec<Stack<'_>>> {
    let mut weights: Vec<_> = stored.weights.iter().collect();
    weights.sort_by_key(|(name, _)| *name);
    let stack = |(name, tensor)| {
        let no_place = || {
            let (name, got): (&String, _) = (name, format!("{:?}", StoredTensor::shape(tensor)));
            Error::weights("GGUF", &stored.path, name, "a tensor of T5's encoder", got)
        };
        Ok(Stack::whole(llama_cpp_name(name).ok_or_else(no_place)?, tensor))
    };
    weights.into_iter().map(stack).collect()
}

/// What llama.cpp's files say of the network, and transformers reads.
///
/// # Errors
/// `Error::Config`; `Error::Format` if the config is not readable.
pub fn metadata(stored: &StoredComponent) -> Result<Vec<(String, GgufValue)>> {
    let config: T5Config = stored.typed_config()?;
    config.validate()?;
    let sizes = [
        ("embedding_length", config.d_model),
        ("feed_forward_length", config.d_ff),
        ("block_count", config.num_layers),
        ("attention.head_count", config.num_heads),
        ("attention.key_length", config.d_kv),
        ("attention.value_length", config.d_kv),
        ("attention.relative_buckets_count", config.relative_attention_num_buckets),
        ("vocab_size", config.vocab_size),
    ];
    let sizes = sizes.map(|(key, size)| (key, GgufValue::U32(size as u32)));
    let epsilon = GgufValue::F32(config.layer_norm_epsilon as f32);
    let others = [
        ("context_length", GgufValue::U32(CONTEXT)),
        ("attention.layer_norm_epsilon", epsilon.clone()),
        ("attention.layer_norm_rms_epsilon", epsilon),
    ];
    let all = sizes.into_iter().chain(others);
    Ok(all.map(|(key, value)| (format!("{ARCHITECTURE}.{key}"), value)).collect())
}

/// The encoder alone, as bare file or as its own folder; `None` for anything else.
///
/// # Errors
/// As [`open_file`] and [`StoredComponent::open`].
pub fn alone(path: &Path) -> Result<Option<Checkpoint>> {
    let kind = ComponentKind::TextEncoder2;
    let stored = if path.is_file() {
        open_file(path)?
    } else {
        let config = atomic::read_json::<Value>(&path.join("config.json"));
        let is_t5 = config.is_ok_and(|config| config["model_type"] == "t5");
        let mut stored = is_t5.then(|| folder::open_component(path, kind)).transpose()?;
        if let Some(stored) = &mut stored {
            stored.left_out.extend(leave_out(&mut stored.weights));
        }
        stored
    };
    Ok(stored.map(|mut stored| Checkpoint {
        path: path.to_owned(),
        left_out: std::mem::take(&mut stored.left_out),
        components: [(kind, stored)].into(),
        tokenizers: vec![],
        t5_tokenizer: None,
        scheduler: String::new(),
        force_zeros_for_empty_prompt: false,
        taken: Taken::default(),
    }))
}

/// The encoder of a bare weight file, under transformers' names or llama.cpp's, with a config that follows from its
/// shapes; `None` for a file of something else.
///
/// # Errors
/// As [`weights::open`]; `Error::Format` if the file lacks what the sizes are read from.
pub fn open_file(path: &Path) -> Result<Option<StoredComponent>> {
    of_tensors(path, weights::open(path)?)
}

/// [`open_file`] of tensors that are read.
///
/// # Errors
/// As there.
pub fn of_tensors(path: &Path, mut weights: Tensors) -> Result<Option<StoredComponent>> {
    if weights.contains_key("enc.blk.0.attn_q.weight") {
        weights = weights.into_iter().map(|(name, tensor)| (transformers_name(name), tensor)).collect();
    }
    if !weights.contains_key("encoder.block.0.layer.0.SelfAttention.q.weight") {
        return Ok(None);
    }
    let left_out = leave_out(&mut weights);
    let written = written_configs(path)?.configs.remove(ComponentKind::TextEncoder2.folder());
    let config = written.map_or_else(|| config(&weights), Ok);
    let config = config.map_err(|reason| Error::format(path, "T5's encoder in one file", reason))?;
    Ok(Some(StoredComponent { path: path.to_owned(), config_path: None, config, weights, left_out }))
}

/// What the shapes say. Text: the tensor that is missing.
fn config(weights: &Tensors) -> std::result::Result<Value, String> {
    let shape = |name: &str| match weights.get(name).map(|tensor| tensor.shape()) {
        Some(&[rows, columns]) => Ok([rows, columns]),
        Some(other) => Err(format!("`{name}`: expected two dimensions, got {other:?}")),
        None => Err(format!("`{name}`: expected the tensor, got nothing")),
    };
    let attention = "encoder.block.0.layer.0.SelfAttention";
    let [vocabulary, width] = shape(TABLE)?;
    let [inner, _] = shape(&format!("{attention}.q.weight"))?;
    let [buckets, heads] = shape(&format!("{attention}.relative_attention_bias.weight"))?;
    let [feed_forward, _] = shape("encoder.block.0.layer.1.DenseReluDense.wi_0.weight")?;
    let number =
        |name: &String| name.strip_prefix("encoder.block.")?.split('.').next()?.parse::<usize>().ok();
    let layers = weights.keys().filter_map(number).max().map_or(0, |last| last.saturating_add(1));
    if heads == 0 || inner % heads != 0 {
        return Err(format!(
            "`{attention}.q.weight`: expected a multiple of {heads} heads, got {inner} rows"
        ));
    }
    Ok(json!({
        "architectures": ["T5EncoderModel"], "model_type": "t5", "vocab_size": vocabulary, "d_model": width,
        "d_kv": inner / heads, "d_ff": feed_forward, "num_layers": layers, "num_heads": heads,
        "relative_attention_num_buckets": buckets, "feed_forward_proj": "gated-gelu",
    }))
}
