//! `vae/config.json` from the shapes of the original tensors.

use serde_json::{Value, json};

use super::names::{Shapes, norm_groups};

/// The config of the autoencoder; `image_size` is the side of its training pictures.
///
/// # Errors
/// Text naming the key that is missing, or what diffusers' `AutoencoderKL` cannot be.
pub(super) fn config(shapes: Shapes, image_size: usize, scaling_factor: f64) -> Result<Value, String> {
    let levels = shapes.count("encoder.down.", ".block.0.conv2.weight");
    if levels == 0 {
        return Err("`encoder.down.0`: expected residual blocks in the autoencoder, got none".into());
    }
    let layers = shapes.count("encoder.down.0.block.", ".conv2.weight");
    let mut channels = Vec::new();
    for level in 0..levels {
        channels.push(shapes.side(&format!("encoder.down.{level}.block.0.conv2.weight"), 0)?);
        check_level(shapes, level, layers)?;
    }
    // Mean and log-variance come out of the encoder.
    let latent_channels = shapes.side("decoder.conv_in.weight", 1)?;
    let encoded = shapes.side("encoder.conv_out.weight", 0)?;
    if encoded != 2 * latent_channels {
        let expected = 2 * latent_channels;
        return Err(format!("`encoder.conv_out.weight`: expected {expected} channels out, got {encoded}"));
    }
    Ok(json!({
        "_class_name": "AutoencoderKL",
        "_diffusers_version": crate::files::config_keys::DIFFUSERS_VERSION,
        "act_fn": "silu",
        "block_out_channels": channels,
        "down_block_types": vec!["DownEncoderBlock2D"; levels],
        "in_channels": shapes.side("encoder.conv_in.weight", 1)?,
        "latent_channels": latent_channels,
        "layers_per_block": layers,
        "mid_block_add_attention": shapes.has("encoder.mid.attn_1.q.weight"),
        "norm_num_groups": norm_groups(&channels),
        "out_channels": shapes.side("decoder.conv_out.weight", 0)?,
        "sample_size": image_size,
        "scaling_factor": scaling_factor,
        "up_block_types": vec!["UpDecoderBlock2D"; levels],
        "use_post_quant_conv": shapes.has("post_quant_conv.weight"),
        "use_quant_conv": shapes.has("quant_conv.weight"),
    }))
}

/// Every level has the first one's layers, one more in the decoder, and attention is in the middle only.
fn check_level(shapes: Shapes, level: usize, layers: usize) -> Result<(), String> {
    for (stem, expected) in [("encoder.down", layers), ("decoder.up", layers + 1)] {
        let got = shapes.count(&format!("{stem}.{level}.block."), ".conv2.weight");
        if got != expected {
            return Err(format!(
                "`{stem}.{level}` of the autoencoder: expected {expected} blocks, got {got}"
            ));
        }
        if shapes.any_under(&format!("{stem}.{level}.attn.")) {
            return Err(format!(
                "`{stem}.{level}.attn` of the autoencoder: expected attention in the middle only"
            ));
        }
    }
    Ok(())
}
