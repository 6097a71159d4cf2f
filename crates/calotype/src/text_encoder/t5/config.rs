//! `config.json` of `T5EncoderModel`.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::files::config_keys::{Extra, require};

/// What messages call the file.
const FILE: &str = "config.json of T5";
/// Blocks: more is a damaged config, not a network.
const MOST_LAYERS: usize = 1024;
/// Widths, vocabulary, buckets: as [`MOST_LAYERS`].
const WIDEST: usize = 1 << 24;

/// transformers' keys of T5, as far as the encoder has a use for them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct T5Config {
    /// `["T5EncoderModel"]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub architectures: Option<Vec<String>>,
    /// `t5`.
    pub model_type: String,
    /// Rows of the embedding; the tokenizer may have fewer tokens.
    pub vocab_size: usize,
    /// Width of the features.
    pub d_model: usize,
    /// Width of a head; that of all heads together need not be `d_model`.
    pub d_kv: usize,
    /// Width inside the feed-forward layer.
    pub d_ff: usize,
    /// Blocks.
    pub num_layers: usize,
    /// Heads of the self-attention.
    pub num_heads: usize,
    /// Buckets of distances, for both directions together.
    pub relative_attention_num_buckets: usize,
    /// From this distance on all are in one bucket.
    pub relative_attention_max_distance: usize,
    /// ε of the norms.
    pub layer_norm_epsilon: f64,
    /// `gated-gelu`. The configs of Flux lack it; the next two keys say the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feed_forward_proj: Option<String>,
    /// Activation of the gate: GELU's tanh form under either of its names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dense_act_fn: Option<String>,
    /// Whether the feed-forward layer has a gate; T5 1.1 has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_gated_act: Option<bool>,
    /// Keys that this version has no use for.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Default for T5Config {
    /// transformers' values; of T5 1.1 where the two differ.
    fn default() -> Self {
        Self {
            architectures: None,
            model_type: "t5".into(),
            vocab_size: 32128,
            d_model: 512,
            d_kv: 64,
            d_ff: 2048,
            num_layers: 6,
            num_heads: 8,
            relative_attention_num_buckets: 32,
            relative_attention_max_distance: 128,
            layer_norm_epsilon: 1e-6,
            feed_forward_proj: None,
            dense_act_fn: None,
            is_gated_act: None,
            extra: Extra::default(),
        }
    }
}

impl T5Config {
    /// Refuses what no encoder can be built of, before anything is allocated.
    ///
    /// # Errors
    /// `Error::Config`.
    pub fn validate(&self) -> Result<()> {
        let projection = self.feed_forward_proj.as_deref().unwrap_or("gated-gelu");
        require(FILE, "feed_forward_proj", projection, &["gated-gelu"])?;
        let activation = self.dense_act_fn.as_deref().unwrap_or("gelu_new");
        require(FILE, "dense_act_fn", activation, &["gelu_new", "gelu_pytorch_tanh"])?;
        let gated = self.is_gated_act.unwrap_or(true);
        check("is_gated_act", gated, || "true, as in T5 1.1".into(), gated)?;
        let most = || format!("at most {MOST_LAYERS}");
        check("num_layers", self.num_layers <= MOST_LAYERS, most, self.num_layers)?;
        for (key, size) in [
            ("vocab_size", self.vocab_size),
            ("d_model", self.d_model),
            ("d_kv", self.d_kv),
            ("d_ff", self.d_ff),
            ("num_heads", self.num_heads),
            ("relative_attention_max_distance", self.relative_attention_max_distance),
        ] {
            check(key, (1..=WIDEST).contains(&size), || format!("1 to {WIDEST}"), size)?;
        }
        let (heads, width) = (self.num_heads, self.d_kv);
        check(
            "d_kv",
            heads * width <= WIDEST,
            || format!("at most {} for {heads} heads", WIDEST / heads),
            width,
        )?;
        let (buckets, distance) = (self.relative_attention_num_buckets, self.relative_attention_max_distance);
        let fits = buckets.is_multiple_of(4) && (4..4 * distance).contains(&buckets);
        let expected =
            || format!("a multiple of 4 below 4 × {distance}, the relative_attention_max_distance");
        check("relative_attention_num_buckets", fits && buckets <= WIDEST, expected, buckets)
    }
}

fn check(key: &str, holds: bool, expected: impl FnOnce() -> String, got: impl ToString) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::config(FILE, key, expected(), got)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_networks_of_this_name_are_refused() {
        let refused = |json: &str| {
            let config: T5Config = serde_json::from_str(json).unwrap();
            config.validate().unwrap_err().to_string()
        };
        for (json, said) in [
            (r#"{"feed_forward_proj": "relu"}"#, "`feed_forward_proj`: expected gated-gelu, got `relu`"),
            (r#"{"dense_act_fn": "silu"}"#, "`dense_act_fn`"),
            (r#"{"is_gated_act": false}"#, "`is_gated_act`"),
            (r#"{"num_layers": 4000000000}"#, "`num_layers`"),
            (r#"{"d_model": 0}"#, "`d_model`"),
            (r#"{"d_ff": 900000000000}"#, "`d_ff`"),
            (r#"{"d_kv": 10000000, "num_heads": 10000000}"#, "`d_kv`"),
            (r#"{"num_heads": 0}"#, "`num_heads`"),
            (r#"{"relative_attention_num_buckets": 6}"#, "`relative_attention_num_buckets`"),
            (r#"{"relative_attention_num_buckets": 0}"#, "`relative_attention_num_buckets`"),
            (r#"{"relative_attention_max_distance": 8}"#, "`relative_attention_num_buckets`"),
        ] {
            assert!(refused(json).contains(said), "{json}: {}", refused(json));
        }
        assert!(T5Config::default().validate().is_ok());
    }
}
