//! `transformer/config.json` from the sizes of a file's tensors.

use crate::denoiser::flux::FluxConfig;
use crate::files::weights::Tensors;

/// Channels of a head in all of Black Forest Labs' models.
const HEAD: usize = 128;

/// The config of tensors under diffusers' names.
///
/// # Errors
/// Text naming the tensor that is missing or does not fit.
pub fn derive(weights: &Tensors) -> Result<FluxConfig, String> {
    let side = |name: &str, axis: usize| {
        let tensor = weights.get(name).ok_or_else(|| format!("it has no tensor `{name}`"))?;
        let shape = tensor.shape();
        let side = shape.get(axis).copied().filter(|&side| side > 0);
        side.ok_or_else(|| format!("tensor `{name}`: expected a size in dimension {axis}, got {shape:?}"))
    };
    let (width, in_channels) = (side("x_embedder.weight", 0)?, side("x_embedder.weight", 1)?);
    let out_channels = side("proj_out.weight", 0)?;
    let norm = "transformer_blocks.0.attn.norm_q.weight";
    let head = side(norm, 0)?;
    if head != HEAD {
        return Err(format!(
            "tensor `{norm}`: expected heads of {HEAD} channels, of which positions turn 16, 56 and 56, got {head}; \
             only a folder with a config.json says which axes others have"
        ));
    }
    if !width.is_multiple_of(head) {
        return Err(format!("tensor `x_embedder.weight`: expected a multiple of {head} rows, got {width}"));
    }
    let count = |stem: &str| {
        let has = |i: &usize| weights.contains_key(&format!("{stem}.{i}.attn.norm_q.weight"));
        (0_usize..).take_while(has).count()
    };
    Ok(FluxConfig {
        in_channels,
        out_channels: Some(out_channels).filter(|&channels| channels != in_channels),
        num_layers: count("transformer_blocks"),
        num_single_layers: count("single_transformer_blocks"),
        attention_head_dim: head,
        num_attention_heads: width / head,
        joint_attention_dim: side("context_embedder.weight", 1)?,
        pooled_projection_dim: side("time_text_embed.text_embedder.linear_1.weight", 1)?,
        guidance_embeds: weights.contains_key("time_text_embed.guidance_embedder.linear_1.weight"),
        ..FluxConfig::default()
    })
}
