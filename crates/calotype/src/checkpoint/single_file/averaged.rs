//! Averaged weights alone: `model_ema.…`, whose names the original code has flattened.
//!
//! latent-diffusion's `LitEma` keeps each weight of the U-Net under its name without dots, since PyTorch's buffers may
//! have none: `model_ema.diffusion_modelinput_blocks00weight`.

/// The words of the U-Net's names; a longer one stands before those that it begins with.
const WORDS: [&str; 31] = [
    "transformer_blocks",
    "skip_connection",
    "output_blocks",
    "middle_block",
    "input_blocks",
    "emb_layers",
    "out_layers",
    "time_embed",
    "in_layers",
    "label_emb",
    "proj_out",
    "proj_in",
    "weight",
    "to_out",
    "attn1",
    "attn2",
    "norm1",
    "norm2",
    "norm3",
    "bias",
    "conv",
    "norm",
    "proj",
    "to_k",
    "to_q",
    "to_v",
    "net",
    "out",
    "ff",
    "in",
    "op",
];

/// The key of a U-Net's weight (`model.diffusion_model.input_blocks.0.0.weight`) by that of its average; `None` for
/// other keys.
pub(super) fn key(averaged: &str) -> Option<String> {
    let mut rest = averaged.strip_prefix("model_ema.diffusion_model")?;
    let mut key = "model.diffusion_model".to_owned();
    while !rest.is_empty() {
        let word = WORDS.iter().find(|word| rest.starts_with(**word))?;
        let digits = rest[word.len()..].bytes().take_while(u8::is_ascii_digit).count();
        let numbers = &rest[word.len()..][..digits];
        key = key + "." + word;
        // Of two numbers, a block's and a layer's in it, the second has one digit.
        match *word {
            "input_blocks" | "output_blocks" | "label_emb" if digits > 1 => {
                let (block, layer) = numbers.split_at(digits - 1);
                key = key + "." + block + "." + layer;
            }
            _ if digits > 0 => key = key + "." + numbers,
            _ => {}
        }
        rest = &rest[word.len() + digits..];
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::key;

    #[test]
    fn flattened_names_have_one_reading() {
        for name in [
            "input_blocks.0.0.weight",
            "input_blocks.11.0.emb_layers.1.bias",
            "input_blocks.3.0.op.weight",
            "input_blocks.4.1.transformer_blocks.10.attn1.to_out.0.bias",
            "middle_block.1.transformer_blocks.0.ff.net.0.proj.weight",
            "middle_block.1.transformer_blocks.9.ff.net.2.weight",
            "output_blocks.10.1.norm.weight",
            "output_blocks.5.2.conv.weight",
            "output_blocks.2.0.skip_connection.bias",
            "label_emb.0.2.bias",
            "time_embed.2.weight",
            "out.0.weight",
            "output_blocks.8.1.proj_in.weight",
        ] {
            let averaged = format!("model_ema.diffusion_model{}", name.replace('.', ""));
            assert_eq!(key(&averaged), Some(format!("model.diffusion_model.{name}")));
        }
        for other in ["model_ema.decay", "model_ema.num_updates", "model_ema.diffusion_modelnowhere0weight"] {
            assert_eq!(key(other), None);
        }
    }
}
