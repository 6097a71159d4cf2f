//! `unet/config.json`.

use serde::{Deserialize, Deserializer, Serialize};

use super::block_types::{DownBlockType, MidBlockType, UpBlockType};
pub use super::levels::{Depth, Depths, PerLevel};
use crate::error::{Error, Result};
use crate::files::config_keys::{Extra, first_number, one_number, refuse_unknown, require};

const FILE: &str = "unet/config.json";

/// diffusers' keys of `UNet2DConditionModel`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UnetConfig {
    /// `UNet2DConditionModel`.
    #[serde(rename = "_class_name")]
    pub class_name: String,
    /// Version of diffusers whose format this is.
    #[serde(rename = "_diffusers_version")]
    pub diffusers_version: String,
    /// Side of the latent the network was trained on.
    #[serde(deserialize_with = "first_number")]
    pub sample_size: Option<usize>,
    /// Latent channels in.
    pub in_channels: usize,
    /// Latent channels out.
    pub out_channels: usize,
    /// The levels on the way down, finest first.
    pub down_block_types: Vec<DownBlockType>,
    /// The middle, or null for none.
    pub mid_block_type: Option<MidBlockType>,
    /// The levels on the way up, coarsest first.
    pub up_block_types: Vec<UpBlockType>,
    /// Channels at each level, finest first.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks at each level on the way down; one more on the way up.
    pub layers_per_block: PerLevel,
    /// Transformer blocks in each transformer.
    pub transformer_layers_per_block: Depths,
    /// The same on the way up, coarsest level first; those on the way down where it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reverse_transformer_layers_per_block: Option<Depths>,
    /// diffusers' misnomer: the **number of attention heads** at each level.
    pub attention_head_dim: PerLevel,
    /// The number of attention heads under its right name; where it is given, it counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_attention_heads: Option<PerLevel>,
    /// Width of the text features.
    #[serde(deserialize_with = "width")]
    pub cross_attention_dim: usize,
    /// `text_time` in SDXL: the pooled text and the picture's sizes are added to the timestep.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub addition_embed_type: Option<String>,
    /// Sinusoids of each of the picture's six sizes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub addition_time_embed_dim: Option<usize>,
    /// Width of the pooled text and all sinusoids together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub projection_class_embeddings_input_dim: Option<usize>,
    /// Width of the embedded guidance scale, of latent consistency models.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_cond_proj_dim: Option<usize>,
    /// Linear layers instead of 1×1 convolutions around the transformers.
    pub use_linear_projection: bool,
    /// Only `silu`.
    pub act_fn: String,
    /// Groups of the group norms.
    pub norm_num_groups: usize,
    /// ε of the residual blocks' group norms.
    pub norm_eps: f64,
    /// Cosines before sines in the timestep embedding.
    pub flip_sin_to_cos: bool,
    /// Shift of the timestep embedding's frequencies.
    pub freq_shift: f64,
    /// Keys that this version has no use for.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Default for UnetConfig {
    fn default() -> Self {
        Self {
            class_name: "UNet2DConditionModel".into(),
            diffusers_version: crate::files::config_keys::DIFFUSERS_VERSION.into(),
            sample_size: None,
            in_channels: 4,
            out_channels: 4,
            down_block_types: [true, true, true, false].map(DownBlockType::new).to_vec(),
            mid_block_type: Some(MidBlockType::CrossAttention),
            up_block_types: [false, true, true, true].map(UpBlockType::new).to_vec(),
            block_out_channels: vec![320, 640, 1280, 1280],
            layers_per_block: PerLevel::All(2),
            transformer_layers_per_block: Depths::All(1),
            reverse_transformer_layers_per_block: None,
            attention_head_dim: PerLevel::All(8),
            num_attention_heads: None,
            cross_attention_dim: 1280,
            addition_embed_type: None,
            addition_time_embed_dim: None,
            projection_class_embeddings_input_dim: None,
            time_cond_proj_dim: None,
            use_linear_projection: false,
            act_fn: "silu".into(),
            norm_num_groups: 32,
            norm_eps: 1e-5,
            flip_sin_to_cos: true,
            freq_shift: 0.0,
            extra: Extra::default(),
        }
    }
}

/// Layers of a level, and blocks of a transformer: more is a damaged config, not a network (SDXL has 2 and 10).
const MOST_LAYERS: usize = 64;
/// Channels and widths: as [`MOST_LAYERS`].
const WIDEST: usize = 1 << 20;

impl UnetConfig {
    /// Number of attention heads at `level`.
    pub fn heads(&self, level: usize) -> usize {
        self.num_attention_heads.as_ref().unwrap_or(&self.attention_head_dim).at(level)
    }

    /// Transformer blocks of transformer `i` at `level` on the way down.
    pub fn depth_down(&self, level: usize, i: usize) -> usize {
        self.transformer_layers_per_block.at(level, i)
    }

    /// The same on the way up.
    pub fn depth_up(&self, level: usize, i: usize) -> usize {
        match &self.reverse_transformer_layers_per_block {
            Some(depths) => depths.at(self.block_out_channels.len() - 1 - level, i),
            None => self.transformer_layers_per_block.at(level, i),
        }
    }

    /// Whether `level` has cross-attention, on the way down, up or in the middle.
    fn attends(&self, level: usize) -> bool {
        let levels = self.block_out_channels.len();
        let middle = self.mid_block_type == Some(MidBlockType::CrossAttention);
        let down = self.down_block_types[level].attends();
        down || self.up_block_types[levels - 1 - level].attends() || middle && level + 1 == levels
    }

    /// Sizes (height, width) of the levels with cross-attention for latents of `height` × `width`, finest first.
    pub fn cross_attention_sizes(&self, height: usize, width: usize) -> Vec<(usize, usize)> {
        let mut size = (height, width);
        let mut sizes = Vec::new();
        for level in 0..self.block_out_channels.len() {
            if self.attends(level) {
                sizes.push(size);
            }
            size = (size.0.div_ceil(2), size.1.div_ceil(2));
        }
        sizes
    }

    /// Numbers of heads at the levels with cross-attention, finest first.
    pub fn cross_attention_heads(&self) -> Vec<usize> {
        let levels = 0..self.block_out_channels.len();
        levels.filter(|&level| self.attends(level)).map(|level| self.heads(level)).collect()
    }

    /// Sizes of SDXL's added condition: sinusoids of each size, and width of all that is embedded.
    pub fn added_widths(&self) -> Option<[usize; 2]> {
        self.addition_embed_type.as_ref()?;
        Some([self.addition_time_embed_dim?, self.projection_class_embeddings_input_dim?])
    }

    /// Refuses what no U-Net can be made of.
    ///
    /// # Errors
    /// `Error::Config` naming the first key that this network cannot honour.
    pub fn validate(&self) -> Result<()> {
        let bad = |key: &str, expected: String, got: String| Err(Error::config(FILE, key, expected, got));
        require(FILE, "act_fn", &self.act_fn, &["silu", "swish"])?;
        // diffusers' defaults of keys that no supported model changes.
        let one = serde_json::json!(1);
        let harmless = [
            ("downsample_padding", one.clone()),
            ("mid_block_scale_factor", one),
            ("resnet_time_scale_shift", serde_json::json!("default")),
            ("time_embedding_type", serde_json::json!("positional")),
            ("conv_in_kernel", serde_json::json!(3)),
            ("conv_out_kernel", serde_json::json!(3)),
            ("attention_type", serde_json::json!("default")),
            ("resnet_skip_time_act", serde_json::json!(false)),
            ("resnet_out_scale_factor", serde_json::json!(1.0)),
            ("dropout", serde_json::Value::Null),
            ("upcast_attention", serde_json::Value::Null),
            ("addition_embed_type_num_heads", serde_json::Value::Null),
        ];
        let addition = self.addition_embed_type.as_deref().unwrap_or("text_time");
        require(FILE, "addition_embed_type", addition, &["text_time"])?;
        self.validate_added()?;
        refuse_unknown(FILE, &self.extra, &harmless)?;

        let levels = self.block_out_channels.len();
        if levels == 0 || self.down_block_types.len() != levels || self.up_block_types.len() != levels {
            let got = format!("{} down, {} up", self.down_block_types.len(), self.up_block_types.len());
            return bad("down_block_types", format!("one block for each of {levels} levels"), got);
        }
        for (key, values) in [
            ("layers_per_block", Some(&self.layers_per_block)),
            ("attention_head_dim", Some(&self.attention_head_dim)),
            ("num_attention_heads", self.num_attention_heads.as_ref()),
        ] {
            match values {
                Some(PerLevel::Each(list)) if list.len() != levels => {
                    return bad(key, format!("{levels} numbers"), format!("{list:?}"));
                }
                _ => (),
            }
        }
        for level in 0..levels {
            let layers = self.layers_per_block.at(level);
            if !(1..=MOST_LAYERS).contains(&layers) {
                return bad(
                    "layers_per_block",
                    format!("numbers from 1 to {MOST_LAYERS}"),
                    layers.to_string(),
                );
            }
            self.validate_attention(level, layers)?;
        }
        for (key, width) in [
            ("in_channels", self.in_channels),
            ("out_channels", self.out_channels),
            ("cross_attention_dim", self.cross_attention_dim),
        ] {
            if !(1..=WIDEST).contains(&width) {
                return bad(key, format!("1 to {WIDEST}"), width.to_string());
            }
        }
        for (level, &channels) in self.block_out_channels.iter().enumerate() {
            if self.norm_num_groups == 0
                || !(1..=WIDEST).contains(&channels)
                || channels % self.norm_num_groups != 0
            {
                let expected = format!("multiples of norm_num_groups = {}", self.norm_num_groups);
                return bad("block_out_channels", expected, format!("{channels} at level {level}"));
            }
        }
        Ok(())
    }

    /// Heads and depths of a level, where it has transformers at all.
    fn validate_attention(&self, level: usize, layers: usize) -> Result<()> {
        let levels = self.block_out_channels.len();
        let (down, up) =
            (self.down_block_types[level].attends(), self.up_block_types[levels - 1 - level].attends());
        let middle = level + 1 == levels && self.mid_block_type == Some(MidBlockType::CrossAttention);
        let bad = |key: &str, expected: String, got: String| Err(Error::config(FILE, key, expected, got));
        let depths_down = (0..if down { layers } else { 0 }).map(|i| self.depth_down(level, i));
        let depths_up = (0..if up { layers + 1 } else { 0 }).map(|i| self.depth_up(level, i));
        let of_middle = middle.then(|| self.depth_down(level, 0));
        if let Some(depth) =
            depths_down.chain(depths_up).chain(of_middle).find(|n| !(1..=MOST_LAYERS).contains(n))
        {
            let expected = format!("numbers from 1 to {MOST_LAYERS} for every transformer");
            return bad("transformer_layers_per_block", expected, format!("{depth} at level {level}"));
        }
        let (channels, heads) = (self.block_out_channels[level], self.heads(level));
        if (down || up || middle) && (heads == 0 || channels % heads != 0) {
            let expected = format!("a number of heads that divides {channels} channels");
            return bad("attention_head_dim", expected, heads.to_string());
        }
        Ok(())
    }

    /// SDXL's three keys are there together, and their widths fit.
    fn validate_added(&self) -> Result<()> {
        let keys = [self.addition_time_embed_dim, self.projection_class_embeddings_input_dim];
        let bad = |key: &str, expected: &str, got: String| Err(Error::config(FILE, key, expected, got));
        match (&self.addition_embed_type, keys) {
            (None, _) => Ok(()),
            (Some(_), [Some(sinusoids), Some(all)]) if sinusoids > 0 && all <= WIDEST => {
                match all.checked_sub(sinusoids.saturating_mul(6)) {
                    Some(text) if text > 0 => Ok(()),
                    _ => bad(
                        "projection_class_embeddings_input_dim",
                        "more than six times addition_time_embed_dim",
                        all.to_string(),
                    ),
                }
            }
            (Some(_), got) => bad(
                "addition_embed_type",
                "addition_time_embed_dim and projection_class_embeddings_input_dim beside it",
                format!("{got:?}"),
            ),
        }
    }
}

fn width<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<usize, D::Error> {
    one_number(deserializer)?.ok_or_else(|| serde::de::Error::custom("expected a number, got null"))
}
