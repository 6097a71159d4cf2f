//! `unet/config.json` from the shapes of the original tensors.

use serde_json::{Value, json};

use super::architecture::Architecture;
use super::names::{Shapes, heads_of_64, largest_divisor, norm_groups};
use crate::denoiser::unet::block_types::{DownBlockType, MidBlockType, UpBlockType};

/// Channels and transformer depth of a block, and the blocks of a level.
#[derive(Debug, Clone, PartialEq)]
struct Level {
    channels: usize,
    /// Blocks in each transformer; `None` without.
    depth: Option<usize>,
    layers: usize,
}

/// What the shapes of a U-Net tell.
pub(super) struct UnetShapes {
    levels: Vec<Level>,
    mid_depth: usize,
    /// Channels of `conv_in`: the latent's, or with the mask and the masked picture's latent.
    pub(super) in_channels: usize,
    /// Channels of the latent.
    pub(super) out_channels: usize,
    context: usize,
    linear: bool,
    /// Width of what the addition embedding takes, in SDXL.
    addition: Option<usize>,
}

impl UnetShapes {
    /// Walks the blocks down, through the middle, and up.
    ///
    /// # Errors
    /// Text naming the key that is missing, or the block that is unlike its neighbours.
    pub(super) fn read(shapes: Shapes) -> Result<Self, String> {
        let levels = down(shapes)?;
        check_up(shapes, &levels)?;
        let mid_depth = depth(shapes, "middle_block.1.").ok_or("the middle of the U-Net has no attention")?;
        match levels.last().and_then(|level| level.depth) {
            Some(last) if last != mid_depth => {
                let what = "transformer blocks as in the last level";
                return Err(format!("`middle_block.1`: expected {last} {what}, got {mid_depth}"));
            }
            _ => (),
        }
        let label = "label_emb.0.0.weight";
        Ok(Self {
            in_channels: shapes.side("input_blocks.0.0.weight", 1)?,
            out_channels: shapes.side("out.2.weight", 0)?,
            context: shapes.side("middle_block.1.transformer_blocks.0.attn2.to_k.weight", 1)?,
            linear: shapes.get("middle_block.1.proj_in.weight").is_some_and(|shape| shape.len() == 2),
            addition: shapes.has(label).then(|| shapes.side(label, 1)).transpose()?,
            levels,
            mid_depth,
        })
    }

    /// `config.json`; `pooled` is the width of SDXL's pooled text, `sample_size` the latent's side.
    ///
    /// # Errors
    /// Text if the addition embedding is there and should not be, or the other way round.
    pub(super) fn config(
        &self,
        architecture: Architecture,
        sample_size: usize,
        pooled: Option<usize>,
    ) -> Result<Value, String> {
        let channels: Vec<usize> = self.levels.iter().map(|level| level.channels).collect();
        let attends = self.levels.iter().map(|level| level.depth.is_some());
        let up: Vec<UpBlockType> = attends.clone().rev().map(UpBlockType::new).collect();
        let down: Vec<DownBlockType> = attends.map(DownBlockType::new).collect();
        let heads = match architecture {
            Architecture::StableDiffusion1 => json!(largest_divisor(&channels, 8)),
            _ => json!(channels.iter().map(|&c| heads_of_64(c)).collect::<Vec<_>>()),
        };
        let mut config = json!({
            "_class_name": "UNet2DConditionModel",
            "_diffusers_version": crate::files::config_keys::DIFFUSERS_VERSION,
            "act_fn": "silu",
            "attention_head_dim": heads,
            "block_out_channels": channels,
            "center_input_sample": false,
            "cross_attention_dim": self.context,
            "down_block_types": down,
            "downsample_padding": 1,
            "flip_sin_to_cos": true,
            "freq_shift": 0,
            "in_channels": self.in_channels,
            "layers_per_block": self.levels[0].layers,
            "mid_block_scale_factor": 1,
            "mid_block_type": MidBlockType::CrossAttention,
            "norm_eps": 1e-5,
            "norm_num_groups": norm_groups(&channels),
            "out_channels": self.out_channels,
            "sample_size": sample_size,
            "transformer_layers_per_block": self.depths(),
            "up_block_types": up,
            "use_linear_projection": self.linear,
        });
        if let Some((width, sinusoids)) = self.addition(pooled)? {
            config["addition_embed_type"] = json!("text_time");
            config["addition_time_embed_dim"] = json!(sinusoids);
            config["projection_class_embeddings_input_dim"] = json!(width);
        }
        Ok(config)
    }

    /// SDXL's addition embedding takes the pooled text, and six numbers (size, crop, target size) as
    /// sinusoids: the width of all that, and of one number's sinusoids.
    fn addition(&self, pooled: Option<usize>) -> Result<Option<(usize, usize)>, String> {
        match (self.addition, pooled) {
            (None, None) => Ok(None),
            (Some(_), None) => Err("the U-Net has class conditioning (`label_emb`), as unCLIP models and \
                upscalers have: expected none"
                .into()),
            (None, Some(_)) => {
                Err("`label_emb.0.0.weight`: expected in the U-Net of SDXL, got nothing".into())
            }
            (Some(width), Some(pooled)) => {
                let rest = width.checked_sub(pooled).filter(|rest| *rest > 0 && rest % 6 == 0);
                let rest = rest.ok_or_else(|| {
                    format!("`label_emb.0.0.weight`: expected {pooled} + 6 n inputs, got {width}")
                })?;
                Ok(Some((width, rest / 6)))
            }
        }
    }

    /// One number if all levels agree. The middle has the depth of the last level in diffusers, also where
    /// that level has no transformer itself.
    fn depths(&self) -> Value {
        let last = self.levels.len() - 1;
        let depth_of = |(i, level): (usize, &Level)| match level.depth {
            None if i < last => 1,
            None => self.mid_depth,
            Some(depth) => depth,
        };
        let depths: Vec<usize> = self.levels.iter().enumerate().map(depth_of).collect();
        if depths.iter().all(|depth| *depth == depths[0]) { json!(depths[0]) } else { json!(depths) }
    }

    /// Original key, without the prefix, of the last transformer's first norm, if the finest level has any.
    pub(super) fn last_norm(&self) -> String {
        let last = self.levels.len() * (self.levels[0].layers + 1) - 1;
        format!("output_blocks.{last}.1.transformer_blocks.0.norm1.bias")
    }
}

/// Blocks in the transformer under `stem`.
fn depth(shapes: Shapes, stem: &str) -> Option<usize> {
    let has = shapes.has(&format!("{stem}norm.weight"));
    has.then(|| shapes.count(&format!("{stem}transformer_blocks."), ".norm1.weight"))
}

/// Channels and transformer depth of block `i` on the way down or up.
fn block(shapes: Shapes, way: &str, i: usize) -> Result<(usize, Option<usize>), String> {
    let channels = shapes.side(&format!("{way}.{i}.0.out_layers.3.weight"), 0)?;
    match depth(shapes, &format!("{way}.{i}.1.")) {
        Some(0) => Err(format!("`{way}.{i}.1`: expected transformer blocks, got none")),
        depth => Ok((channels, depth)),
    }
}

/// The levels on the way down, which have equally many layers, alike within a level.
fn down(shapes: Shapes) -> Result<Vec<Level>, String> {
    let mut levels: Vec<Level> = Vec::new();
    let mut new_level = true;
    for i in (1..).take_while(|i| shapes.any_under(&format!("input_blocks.{i}."))) {
        if shapes.has(&format!("input_blocks.{i}.0.op.weight")) {
            new_level = true;
            continue;
        }
        let (channels, depth) = block(shapes, "input_blocks", i)?;
        match levels.last_mut() {
            Some(level) if !new_level => {
                if (level.channels, level.depth) != (channels, depth) {
                    return Err(format!(
                        "`input_blocks.{i}`: expected the shape of the block before, got another"
                    ));
                }
                level.layers += 1;
            }
            _ => levels.push(Level { channels, depth, layers: 1 }),
        }
        new_level = false;
    }
    let first = levels.first().ok_or("`input_blocks.1`: expected residual blocks in the U-Net, got none")?;
    match levels.iter().position(|level| level.layers != first.layers) {
        None if !new_level => Ok(levels),
        None => Err("the U-Net's last level: expected residual blocks, got only a downsampling".into()),
        Some(i) => {
            let (expected, got) = (first.layers, levels[i].layers);
            Err(format!(
                "level {i} of the U-Net: expected {expected} residual blocks as in level 0, got {got}"
            ))
        }
    }
}

/// The way up mirrors the way down, with one more block for each level.
fn check_up(shapes: Shapes, levels: &[Level]) -> Result<(), String> {
    let mirrored = levels.iter().rev().flat_map(|level| std::iter::repeat_n(level, level.layers + 1));
    for (i, level) in mirrored.enumerate() {
        if block(shapes, "output_blocks", i)? != (level.channels, level.depth) {
            let expected = format!("{} channels, transformer depth {:?}", level.channels, level.depth);
            return Err(format!(
                "`output_blocks.{i}`: expected the mirrored level's {expected}, got another"
            ));
        }
    }
    Ok(())
}
