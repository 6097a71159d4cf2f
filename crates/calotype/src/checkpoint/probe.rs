//! One network on tensors from a file, as PyTorch's forward takes and gives them.

use std::collections::HashMap;
use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};

use super::{StoredComponent, component_folder};
use crate::autoencoder::Vae;
use crate::checkpoint;
use crate::denoiser::flux::{Position, Positions};
use crate::denoiser::{Condition, Denoiser};
use crate::error::{Error, Result};
use crate::files::{NamedTensor, atomic, safetensors};
use crate::model::ComponentKind;
use crate::named::named_enum;
use crate::text_encoder::T5Tokenizer;
use crate::text_encoder::tokenizer::ClipTokenizer;

named_enum! {
    /// What can be probed.
    pub enum Probe: "component" {
        VaeEncode = "vae-encode": "`sample` to `mean`, `logvar`; to `output` where there is no posterior",
        VaeDecode = "vae-decode": "`sample`, unscaled latents, to `output`",
        Unet = "unet":
            "`sample`, `timestep`, `encoder_hidden_states` (XL: `text_embeds`, `time_ids`) to `output`",
        Transformer = "transformer":
            "Flux: `hidden_states`, `encoder_hidden_states`, `pooled_projections`, `timestep` in [0, 1], `img_ids`, \
             `txt_ids` (dev: `guidance`) to `output`",
        TextEncoder = "text-encoder": "`input_ids` to `output`, `pooled_output`",
        TextEncoder2 = "text-encoder-2": "The second one of Stable Diffusion XL, likewise; T5: `input_ids` to `output`",
        Clip = "clip": "`input_ids`, `pixel_values` to `logits_per_image`",
        Tokenizer = "tokenizer": "A text file, one prompt a line, to a JSON list of token lists",
        Tokenizer2 = "tokenizer-2": "The second tokenizer, of Stable Diffusion XL or T5's, likewise",
    }
}

impl Probe {
    /// Reads `inputs`, runs the network of `model` (a model folder, the folder of the one component, or a single file),
    /// and writes `output`: safetensors both, but for a tokenizer's text and JSON.
    ///
    /// # Errors
    /// `Error::Format` for a tensor that is missing, `Error::Shape` for one that does not fit; those of reading the
    /// component; `Error::Io`.
    pub fn run(self, model: &Path, inputs: &Path, output: &Path, device: &Device) -> Result<()> {
        match self {
            Self::Tokenizer => return tokenize(&component_folder(model, "tokenizer"), inputs, output),
            Self::Tokenizer2 => return tokenize(&component_folder(model, "tokenizer_2"), inputs, output),
            _ => {}
        }
        let inputs = Inputs { path: inputs, tensors: safetensors::read(inputs)?, device };
        safetensors::write(output, &self.outputs(model, &inputs)?)
    }

    fn outputs(self, model: &Path, inputs: &Inputs) -> Result<Vec<NamedTensor>> {
        let device = inputs.device;
        let stored = |kind: ComponentKind| StoredComponent::find(model, kind);
        match self {
            Self::VaeEncode => encode(&checkpoint::vae(stored(ComponentKind::Vae)?, device)?, inputs),
            Self::VaeDecode => decode(&checkpoint::vae(stored(ComponentKind::Vae)?, device)?, inputs),
            Self::Unet => {
                let network = checkpoint::denoiser(stored(ComponentKind::Unet)?, device)?.network;
                let sample = inputs.tensor::<4>("sample")?;
                let timesteps = inputs.timesteps(sample.dims()[0])?;
                let output = network.forward(sample, &timesteps, &inputs.condition()?, None)?;
                Ok(vec![named("output", output)])
            }
            Self::Transformer => {
                let component = checkpoint::denoiser(stored(ComponentKind::Transformer)?, device)?;
                Ok(vec![named("output", predict(&component.network, inputs)?)])
            }
            Self::TextEncoder => read_ids(stored(ComponentKind::TextEncoder)?, inputs),
            Self::TextEncoder2 => {
                let stored = stored(ComponentKind::TextEncoder2)?;
                if !checkpoint::is_t5(&stored) {
                    return read_ids(stored, inputs);
                }
                let network = checkpoint::t5_encoder(stored, device)?.network;
                Ok(vec![named("output", network.forward(&inputs.ids()?)?)])
            }
            Self::Clip => {
                let clip = checkpoint::clip(&component_folder(model, "clip"), device)?.network;
                let images = clip.embed_images(inputs.tensor("pixel_values")?)?;
                let logits = clip.logits_per_image(images, clip.embed_text(&inputs.ids()?)?);
                Ok(vec![named("logits_per_image", logits)])
            }
            Self::Tokenizer | Self::Tokenizer2 => Ok(vec![]),
        }
    }
}

fn encode(vae: &Vae, inputs: &Inputs) -> Result<Vec<NamedTensor>> {
    let sample = inputs.tensor("sample")?;
    Ok(match vae {
        Vae::Kl { network, .. } => {
            let posterior = network.encode(sample)?;
            vec![named("mean", posterior.mean), named("logvar", posterior.logvar)]
        }
        Vae::Tiny { network, .. } => vec![named("output", network.encode(sample)?)],
    })
}

fn decode(vae: &Vae, inputs: &Inputs) -> Result<Vec<NamedTensor>> {
    let sample = inputs.tensor::<4>("sample")?;
    let (dims, expected) = (sample.dims(), vae.latent_channels());
    if dims[1] != expected {
        return Err(Error::shape("`sample`", format!("[B, {expected}, h, w]"), format!("{dims:?}")));
    }
    Ok(vec![named("output", vae.decode(sample))])
}

/// A pass of Flux over tokens and their positions.
fn predict(network: &Denoiser, inputs: &Inputs) -> Result<Tensor<3>> {
    let Denoiser::Flux(network) = network else {
        let expected = "FluxTransformer2DModel";
        return Err(Error::argument("component", expected, "another denoiser"));
    };
    let tokens = inputs.tensor::<3>("hidden_states")?;
    let batch = tokens.dims()[0];
    let timesteps: Vec<f64> = inputs.timesteps(batch)?.iter().map(|t| 1000.0 * t).collect();
    let guidance = inputs.tensors.contains_key("guidance");
    let condition = Condition {
        pooled: Some(inputs.tensor("pooled_projections")?),
        guidance: guidance.then(|| inputs.for_each_sample("guidance", batch)).transpose()?,
        ..Condition::of_context(inputs.tensor("encoder_hidden_states")?)
    };
    let positions = Positions { text: inputs.positions("txt_ids")?, picture: inputs.positions("img_ids")? };
    network.predict(tokens, &timesteps, &condition, &positions, None)
}

fn read_ids(stored: StoredComponent, inputs: &Inputs) -> Result<Vec<NamedTensor>> {
    let network = checkpoint::text_encoder(stored, inputs.device)?.network;
    let features = network.forward_skipping(&inputs.ids()?, 1)?;
    Ok(vec![
        named("output", features.last_hidden_state),
        named("pooled_output", features.pooled),
        named("penultimate", features.hidden_state),
    ])
}

/// The tokens of every line, by the tokenizer of `folder`.
fn tokenize(folder: &Path, inputs: &Path, output: &Path) -> Result<()> {
    let text = std::fs::read_to_string(inputs).map_err(Error::io("read", inputs))?;
    let lines = text.split_terminator('\n');
    let ids: Vec<Vec<u32>> = if T5Tokenizer::is_in(folder) {
        let tokenizer = T5Tokenizer::load(folder)?;
        lines.map(|line| tokenizer.encode(line)).collect::<Result<_>>()?
    } else {
        let tokenizer = ClipTokenizer::load(folder)?;
        lines.map(|line| tokenizer.encode(line)).collect()
    };
    atomic::write_json(output, &ids)
}

fn named<const D: usize>(name: &str, tensor: Tensor<D>) -> NamedTensor {
    let shape = tensor.dims().to_vec();
    NamedTensor { name: name.into(), shape, values: tensor.into_data().iter::<f32>().collect() }
}

/// The tensors of the file by name.
struct Inputs<'a> {
    path: &'a Path,
    tensors: HashMap<String, NamedTensor>,
    device: &'a Device,
}

impl Inputs<'_> {
    fn named(&self, name: &str, rank: Option<usize>) -> Result<&NamedTensor> {
        let tensor = self
            .tensors
            .get(name)
            .ok_or_else(|| Error::format(self.path, "probe inputs", format!("it has no tensor `{name}`")))?;
        match rank {
            Some(rank) if tensor.shape.len() != rank => Err(Error::shape(
                format!("`{name}`"),
                format!("{rank} dimensions"),
                format!("{:?}", tensor.shape),
            )),
            _ => Ok(tensor),
        }
    }

    fn tensor<const D: usize>(&self, name: &str) -> Result<Tensor<D>> {
        let NamedTensor { shape, values, .. } = self.named(name, Some(D))?;
        Ok(Tensor::from_data(TensorData::new(values.clone(), shape.clone()), self.device))
    }

    fn ids(&self) -> Result<Vec<Vec<u32>>> {
        let tensor = self.named("input_ids", Some(2))?;
        Ok(tensor
            .values
            .chunks(tensor.shape[1].max(1))
            .map(|row| row.iter().map(|&id| id as u32).collect())
            .collect())
    }

    /// The text, and what SDXL takes beside it, if it is there.
    fn condition(&self) -> Result<Condition> {
        let text = Condition::of_context(self.tensor("encoder_hidden_states")?);
        if !self.tensors.contains_key("text_embeds") {
            return Ok(text);
        }
        let NamedTensor { shape, values, .. } = self.named("time_ids", Some(2))?;
        let rows = values.chunks(shape[1].max(1)).map(|row| row.iter().map(|&x| f64::from(x)).collect());
        Ok(Condition { pooled: Some(self.tensor("text_embeds")?), sizes: Some(rows.collect()), ..text })
    }

    /// One timestep for each sample; a single one is for all.
    fn timesteps(&self, batch: usize) -> Result<Vec<f64>> {
        self.for_each_sample("timestep", batch)
    }

    /// One number for each sample; a single one is for all.
    fn for_each_sample(&self, name: &str, batch: usize) -> Result<Vec<f64>> {
        let values: Vec<f64> = self.named(name, None)?.values.iter().map(|&x| f64::from(x)).collect();
        Ok(if values.len() == 1 { vec![values[0]; batch] } else { values })
    }

    /// Three numbers for each token.
    fn positions(&self, name: &str) -> Result<Vec<Position>> {
        let NamedTensor { shape, values, .. } = self.named(name, Some(2))?;
        if shape[1] != 3 {
            return Err(Error::shape(format!("`{name}`"), "[tokens, 3]", format!("{shape:?}")));
        }
        Ok(values.as_chunks::<3>().0.iter().map(|position| position.map(f64::from)).collect())
    }
}
