//! `calotype probe`: one network on tensors from a file, as PyTorch's forward takes and gives them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use burn::tensor::{Tensor, TensorData};
use calotype::autoencoder::Vae;
use calotype::checkpoint::{self, StoredComponent, component_folder};
use calotype::denoiser::Condition;
use calotype::files::{NamedTensor, atomic, safetensors};
use calotype::model::ComponentKind;
use calotype::text_encoder::tokenizer::ClipTokenizer;
use calotype::{Error, Result};
use clap::ValueEnum;

use crate::options::Context;

/// What can be probed.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Component {
    /// `sample` to `mean`, `logvar`; to `output` where there is no posterior
    VaeEncode,
    /// `sample`, unscaled latents, to `output`
    VaeDecode,
    /// `sample`, `timestep`, `encoder_hidden_states` (XL: `text_embeds`, `time_ids`) to `output`
    Unet,
    /// `input_ids` to `output`, `pooled_output`
    TextEncoder,
    /// The second one of Stable Diffusion XL, likewise
    #[value(name = "text-encoder-2")]
    TextEncoder2,
    /// `input_ids`, `pixel_values` to `logits_per_image`
    Clip,
    /// A text file, one prompt a line, to a JSON list of token lists
    Tokenizer,
}

#[derive(clap::Args)]
pub struct Args {
    /// Model folder, the folder of the one component, or a single file
    #[arg(long, value_name = "DIR|FILE")]
    model: PathBuf,
    /// What to run
    #[arg(long, value_enum)]
    component: Component,
    /// Input tensors (safetensors)
    #[arg(long, value_name = "FILE")]
    inputs: PathBuf,
    /// Output tensors (safetensors)
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
}

struct Inputs<'a> {
    path: &'a Path,
    tensors: HashMap<String, NamedTensor>,
    device: &'a burn::tensor::Device,
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
        let values: Vec<f64> = self.named("timestep", None)?.values.iter().map(|&t| f64::from(t)).collect();
        Ok(if values.len() == 1 { vec![values[0]; batch] } else { values })
    }
}

pub fn run(args: &Args, context: &Context) -> Result<()> {
    if args.component == Component::Tokenizer {
        return tokenize(args);
    }
    let device = &context.device;
    let inputs = Inputs { path: &args.inputs, tensors: safetensors::read(&args.inputs)?, device };
    let stored = |part: ComponentKind| StoredComponent::find(&args.model, part);
    let outputs = match args.component {
        Component::VaeEncode => match checkpoint::vae(stored(ComponentKind::Vae)?, device)? {
            Vae::Kl { network, .. } => {
                let posterior = network.encode(inputs.tensor("sample")?)?;
                vec![named("mean", posterior.mean), named("logvar", posterior.logvar)]
            }
            Vae::Tiny { network, .. } => vec![named("output", network.encode(inputs.tensor("sample")?)?)],
        },
        Component::VaeDecode => {
            let vae = checkpoint::vae(stored(ComponentKind::Vae)?, device)?;
            let sample = inputs.tensor::<4>("sample")?;
            let expected = vae.latent_channels();
            if sample.dims()[1] != expected {
                return Err(Error::shape(
                    "`sample`",
                    format!("[B, {expected}, h, w]"),
                    format!("{:?}", sample.dims()),
                ));
            }
            vec![named("output", vae.decode(sample))]
        }
        Component::Unet => {
            let network = checkpoint::denoiser(stored(ComponentKind::Unet)?, device)?.network;
            let sample = inputs.tensor::<4>("sample")?;
            let timesteps = inputs.timesteps(sample.dims()[0])?;
            vec![named("output", network.forward(sample, &timesteps, &inputs.condition()?, None)?)]
        }
        Component::TextEncoder | Component::TextEncoder2 => {
            let part = match args.component {
                Component::TextEncoder2 => ComponentKind::TextEncoder2,
                _ => ComponentKind::TextEncoder,
            };
            let network = checkpoint::text_encoder(stored(part)?, device)?.network;
            let features = network.forward_skipping(&inputs.ids()?, 1)?;
            vec![
                named("output", features.last_hidden_state),
                named("pooled_output", features.pooled),
                named("penultimate", features.hidden_state),
            ]
        }
        Component::Clip => {
            let clip = checkpoint::clip(&component_folder(&args.model, "clip"), device)?.network;
            let images = clip.embed_images(inputs.tensor("pixel_values")?)?;
            let logits = clip.logits_per_image(images, clip.embed_text(&inputs.ids()?)?);
            vec![named("logits_per_image", logits)]
        }
        Component::Tokenizer => vec![],
    };
    safetensors::write(&args.output, &outputs)
}

fn named<const D: usize>(name: &str, tensor: Tensor<D>) -> NamedTensor {
    let shape = tensor.dims().to_vec();
    NamedTensor { name: name.into(), shape, values: tensor.into_data().iter::<f32>().collect() }
}

fn tokenize(args: &Args) -> Result<()> {
    let tokenizer = ClipTokenizer::load(&component_folder(&args.model, "tokenizer"))?;
    let text = std::fs::read_to_string(&args.inputs).map_err(Error::io("read", &args.inputs))?;
    let ids: Vec<Vec<u32>> = text.split_terminator('\n').map(|line| tokenizer.encode(line)).collect();
    atomic::write_json(&args.output, &ids)
}
