//! Stability's names of the layers of a U-Net (`input_blocks.4.1.…`), from diffusers' names.

use std::collections::BTreeMap;

use super::Shapes;

/// Layers outside the blocks.
const OUTSIDE: [(&str, &str); 7] = [
    ("conv_in", "input_blocks.0.0"),
    ("conv_norm_out", "out.0"),
    ("conv_out", "out.2"),
    ("time_embedding.linear_1", "time_embed.0"),
    ("time_embedding.linear_2", "time_embed.2"),
    ("add_embedding.linear_1", "label_emb.0.0"),
    ("add_embedding.linear_2", "label_emb.0.2"),
];

/// Layers inside a residual block.
const RESNET: [(&str, &str); 6] = [
    ("norm1", "in_layers.0"),
    ("conv1", "in_layers.2"),
    ("norm2", "out_layers.0"),
    ("time_emb_proj", "emb_layers.1"),
    ("conv2", "out_layers.3"),
    ("conv_shortcut", "skip_connection"),
];

/// Where the blocks of one U-Net stand in Stability's two lists.
///
/// Stability counts every residual block and every downsampling as one block of the input side, every
/// residual block (with its attention and upsampling) as one of the output side; diffusers groups them
/// by resolution.
pub(super) struct StabilityNames {
    /// First number of each of diffusers' down blocks; the convolution of the input is number 0.
    down: Vec<usize>,
    /// First number of each of diffusers' up blocks.
    up: Vec<usize>,
    /// Residual blocks of each up block, and whether they have attention.
    up_blocks: Vec<(usize, bool)>,
}

impl StabilityNames {
    /// Counts the blocks of a U-Net.
    pub(super) fn new(unet: &Shapes) -> Self {
        let down_sizes = sizes(unet, "down_blocks");
        let up_sizes = sizes(unet, "up_blocks");
        let with_downsampler =
            down_sizes.iter().map(|size| size.resnets.saturating_add(size.downsampler.into()));
        Self {
            down: starts(1, with_downsampler),
            up: starts(0, up_sizes.iter().map(|size| size.resnets)),
            up_blocks: up_sizes.iter().map(|size| (size.resnets, size.attention)).collect(),
        }
    }

    /// Stability's name of a layer (a weight's name without `.weight`).
    pub(super) fn of(&self, layer: &str) -> Option<String> {
        if let Some((_, name)) = OUTSIDE.iter().find(|(own, _)| *own == layer) {
            return Some((*name).to_owned());
        }
        let (block, rest) = layer.split_once('.')?;
        if block == "mid_block" {
            let (kind, n, inner) = kind_number_rest(rest)?;
            return match (kind, n) {
                ("resnets", n) => Some(format!("middle_block.{}.{}", n.saturating_mul(2), in_resnet(inner)?)),
                ("attentions", 0) => Some(format!("middle_block.1.{inner}")),
                _ => None,
            };
        }
        let (_, i, rest) = kind_number_rest(layer)?;
        let (kind, n, inner) = kind_number_rest(rest)?;
        let (side, first) = match block {
            "down_blocks" => ("input_blocks", *self.down.get(i)?),
            "up_blocks" => ("output_blocks", *self.up.get(i)?),
            _ => return None,
        };
        match kind {
            "resnets" => Some(format!("{side}.{}.0.{}", first.saturating_add(n), in_resnet(inner)?)),
            "attentions" => Some(format!("{side}.{}.1.{inner}", first.saturating_add(n))),
            "downsamplers" => {
                Some(format!("{side}.{}.0.op", self.down.get(i.checked_add(1)?)?.checked_sub(1)?))
            }
            "upsamplers" => {
                let (resnets, attention) = *self.up_blocks.get(i)?;
                let place = 1 + usize::from(attention);
                Some(format!("{side}.{}.{place}.{inner}", first.saturating_add(resnets).checked_sub(1)?))
            }
            _ => None,
        }
    }
}

#[derive(Default)]
struct BlockSize {
    resnets: usize,
    attention: bool,
    downsampler: bool,
}

fn sizes(unet: &Shapes, side: &str) -> Vec<BlockSize> {
    let mut sizes: BTreeMap<usize, BlockSize> = BTreeMap::new();
    for name in unet.keys() {
        let Some((found, i, rest)) = kind_number_rest(name) else { continue };
        let Some((kind, n, _)) = kind_number_rest(rest).filter(|_| found == side) else { continue };
        let size = sizes.entry(i).or_default();
        match kind {
            "resnets" => size.resnets = size.resnets.max(n.saturating_add(1)),
            "attentions" => size.attention = true,
            "downsamplers" => size.downsampler = true,
            _ => {}
        }
    }
    sizes.into_values().collect()
}

/// `first`, and the sums after it: where each block starts, and where one after the last would.
fn starts(first: usize, lengths: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut starts = vec![first];
    let mut next = first;
    for length in lengths {
        next = next.saturating_add(length);
        starts.push(next);
    }
    starts
}

fn in_resnet(inner: &str) -> Option<&'static str> {
    RESNET.iter().find(|(own, _)| *own == inner).map(|(_, name)| *name)
}

/// `attentions.3.proj_in` as (`attentions`, 3, `proj_in`).
fn kind_number_rest(path: &str) -> Option<(&str, usize, &str)> {
    let mut pieces = path.splitn(3, '.');
    Some((pieces.next()?, pieces.next()?.parse().ok()?, pieces.next()?))
}
