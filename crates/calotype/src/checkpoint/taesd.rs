//! The TAESD family as its author publishes it: encoder and decoder in a file each, as lists of layers.
//!
//! The files are `taesd_encoder.pth`, `taef2_decoder.safetensors`, …

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::StoredComponent;
use crate::error::{Error, Result};
use crate::files::weights::{self, Tensors};

const FORMAT: &str = "TAESD weights";

/// Opens the two files of a folder, under diffusers' names for `AutoencoderTiny`; `None` if it has no such files.
///
/// # Errors
/// Those of [`weights::open`]; `Error::Format` for layers that no network of this family has.
pub fn open(folder: &Path) -> Result<Option<StoredComponent>> {
    let (Some(encoder), Some(decoder)) = (find(folder, "encoder"), find(folder, "decoder")) else {
        return Ok(None);
    };
    let mut tensors = Tensors::new();
    let mut levels = Vec::new();
    // The author's decoder begins with the clamp, which diffusers does not count as a layer.
    for (path, side, ahead) in [(&encoder, "encoder", 0), (&decoder, "decoder", 1)] {
        let file = weights::open(path)?;
        levels.push(Levels::of(path, &file)?);
        for (name, tensor) in file {
            let (layer, rest) = layer_of(path, &name)?;
            let Some(layer) = layer.checked_sub(ahead) else {
                return Err(Error::format(path, FORMAT, format!("`{name}` stands before the first layer")));
            };
            tensors.insert(format!("{side}.layers.{layer}.{rest}"), tensor);
        }
    }
    let [encoder_levels, decoder_levels] = [&levels[0], &levels[1]];
    let config = json!({
        "_class_name": "AutoencoderTiny",
        "latent_channels": encoder_levels.last_channels,
        "encoder_block_out_channels": vec![encoder_levels.channels; encoder_levels.blocks.len()],
        "num_encoder_blocks": encoder_levels.blocks,
        "decoder_block_out_channels": vec![decoder_levels.channels; decoder_levels.blocks.len()],
        "num_decoder_blocks": decoder_levels.blocks,
        "use_midblock_gn": encoder_levels.has_norms,
        "scaling_factor": 1.0,
    });
    let left_out = vec![];
    Ok(Some(StoredComponent { path: encoder, config_path: None, config, weights: tensors, left_out }))
}

fn find(folder: &Path, side: &str) -> Option<PathBuf> {
    let mut found: Vec<PathBuf> =
        std::fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    found.sort();
    found.into_iter().find(|path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.ends_with(&format!("_{side}.pth")) || name.ends_with(&format!("_{side}.safetensors"))
    })
}

/// `3.conv.0.weight` is of layer 3.
fn layer_of<'a>(path: &Path, name: &'a str) -> Result<(usize, &'a str)> {
    let split = name.split_once('.').and_then(|(layer, rest)| Some((layer.parse().ok()?, rest)));
    split.ok_or_else(|| {
        Error::format(path, FORMAT, format!("`{name}` does not begin with the number of a layer"))
    })
}

/// What the layers of one side say about its shape.
struct Levels {
    channels: usize,
    last_channels: usize,
    /// Residual blocks between two convolutions.
    blocks: Vec<usize>,
    has_norms: bool,
}

impl Levels {
    fn of(path: &Path, tensors: &Tensors) -> Result<Self> {
        let mut convolutions = BTreeMap::new();
        let mut blocks = BTreeMap::new();
        for (name, tensor) in tensors {
            match layer_of(path, name)? {
                (layer, "weight") => convolutions.insert(layer, tensor.shape().first().copied().unwrap_or(0)),
                (layer, "conv.0.weight") => blocks.insert(layer, 0),
                _ => None,
            };
        }
        let places: Vec<usize> = convolutions.keys().copied().collect();
        let (Some(&channels), Some(&last_channels)) =
            (convolutions.values().next(), convolutions.values().last())
        else {
            return Err(Error::format(path, FORMAT, "it has no convolutions"));
        };
        let between = |pair: &[usize]| blocks.range(pair[0]..pair[1]).count();
        let has_norms = tensors.keys().any(|name| name.contains(".pool."));
        Ok(Self { channels, last_channels, blocks: places.windows(2).map(between).collect(), has_norms })
    }
}
