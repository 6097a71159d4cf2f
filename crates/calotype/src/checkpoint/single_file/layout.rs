//! What the names of tensors depend on.

use std::str::FromStr;

use serde_json::Value;

use super::architecture::Architecture;
use crate::Error;
use crate::denoiser::unet::block_types::{DownBlockType, UpBlockType};

/// The numbers that map names to names, all from the components' `config.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyLayout {
    /// Which family's names.
    pub architecture: Architecture,
    /// Residual blocks at each level of the U-Net on the way down.
    pub layers_per_block: usize,
    /// Whether each level of the U-Net has transformers, finest first.
    pub attends: Vec<bool>,
    /// Levels of the autoencoder.
    pub vae_levels: usize,
    /// Layers of the text tower that are used.
    pub text_layers: usize,
    /// Layers of SDXL's second tower, 0 elsewhere.
    pub text_layers_2: usize,
}

impl KeyLayout {
    /// What the names of an autoencoder or of CLIP's text tower in a file of its own depend on.
    pub(super) fn of_parts(vae_levels: usize, text_layers: usize) -> Self {
        Self {
            architecture: Architecture::StableDiffusion1,
            layers_per_block: 0,
            attends: vec![],
            vae_levels,
            text_layers,
            text_layers_2: 0,
        }
    }

    /// From the `config.json` of a model folder's components; `text_encoder_2` where there is one. This is
    /// the way into [`super::to_single_file`] for a folder.
    ///
    /// # Errors
    /// Text naming the key that is missing or that a single file cannot express.
    pub fn from_configs(
        unet: &Value,
        vae: &Value,
        text_encoder: &Value,
        text_encoder_2: Option<&Value>,
    ) -> Result<Self, String> {
        let down = block_types::<DownBlockType>(unet, "down_block_types")?;
        let up = block_types::<UpBlockType>(unet, "up_block_types")?;
        let attends: Vec<bool> = down.into_iter().map(DownBlockType::attends).collect();
        if !up.into_iter().rev().map(UpBlockType::attends).eq(attends.iter().copied()) {
            return Err("`up_block_types`: expected down_block_types mirrored, got another order".into());
        }
        let levels = vae["block_out_channels"].as_array().map_or(0, Vec::len);
        if levels == 0 {
            let got = &vae["block_out_channels"];
            return Err(format!("`block_out_channels` of the autoencoder: expected a list, got {got}"));
        }
        Ok(Self {
            architecture: Architecture::of_folder(text_encoder, text_encoder_2.is_some()),
            layers_per_block: same_everywhere(unet, "layers_per_block")?,
            attends,
            vae_levels: levels,
            text_layers: same_everywhere(text_encoder, "num_hidden_layers")?,
            text_layers_2: text_encoder_2.map_or(Ok(0), |two| same_everywhere(two, "num_hidden_layers"))?,
        })
    }

    /// Levels of the U-Net.
    pub fn unet_levels(&self) -> usize {
        self.attends.len()
    }

    /// Whether the U-Net is told the picture's size and the pooled text.
    pub(super) fn has_addition_embedding(&self) -> bool {
        self.architecture == Architecture::StableDiffusionXl
    }

    /// Original name of the upsampling layer at `place` of `block` on the way up, if there is one: it follows
    /// the residual block and the transformer, and the finest level has none.
    pub(super) fn upsampler(&self, block: usize, place: usize) -> Option<&'static str> {
        let level = self.unet_levels().checked_sub(1 + block)?;
        match (level, place == self.layers_per_block, self.attends[level]) {
            (0, _, _) | (_, false, _) => None,
            (_, true, true) => Some("2.conv"),
            (_, true, false) => Some("1.conv"),
        }
    }
}

/// The kinds of blocks under `key`, at least one.
fn block_types<T: FromStr<Err = Error>>(unet: &Value, key: &str) -> Result<Vec<T>, String> {
    let blocks = unet[key].as_array().filter(|blocks| !blocks.is_empty());
    let blocks = blocks.ok_or_else(|| format!("`{key}`: expected a list, got {}", unet[key]))?;
    let text = |block: &Value| block.as_str().map_or_else(|| block.to_string(), str::to_owned);
    blocks.iter().map(|block| text(block).parse().map_err(|e: Error| e.to_string())).collect()
}

/// A number, or a list of the same number.
fn same_everywhere(config: &Value, key: &str) -> Result<usize, String> {
    let value = match &config[key] {
        Value::Array(list) if list.iter().all(|one| *one == list[0]) => list.first(),
        other => Some(other),
    };
    let number = value.and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
    // A real model has at most a few dozen; the bound keeps arithmetic on names from overflowing.
    let number = number.filter(|n| (1..=10_000).contains(n));
    number.ok_or_else(|| format!("`{key}`: expected one number of at least 1, got {}", config[key]))
}
