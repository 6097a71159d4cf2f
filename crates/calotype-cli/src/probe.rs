//! `calotype probe`: one network on tensors from a file, as PyTorch's forward takes and gives them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use burn::tensor::{Tensor, TensorData};
use calotype::formats::diffusers_folder::{
    component_folder, load_autoencoder, load_clip, load_text_encoder, load_unet,
};
use calotype::formats::{atomic, safetensors_io};
use calotype::nn::parameters::NamedTensor;
use calotype::text_encoder::tokenizer::ClipTokenizer;
use calotype::{Error, Result};
use clap::ValueEnum;

use crate::options::Context;

/// What can be probed.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Component {
    /// `sample` to `mean`, `logvar`
    VaeEncode,
    /// `sample`, unscaled latents, to `output`
    VaeDecode,
    /// `sample`, `timestep`, `encoder_hidden_states` to `output`
    Unet,
    /// `input_ids` to `output`, `pooled_output`
    TextEncoder,
    /// `input_ids`, `pixel_values` to `logits_per_image`
    Clip,
    /// A text file, one prompt a line, to a JSON list of token lists
    Tokenizer,
}

#[derive(clap::Args)]
pub struct Args {
    /// Model folder, or the folder of the one component
    #[arg(long, value_name = "DIR")]
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
    let inputs = Inputs { path: &args.inputs, tensors: safetensors_io::read(&args.inputs)?, device };
    let folder = |name: &str| component_folder(&args.model, name);
    let outputs = match args.component {
        Component::VaeEncode => {
            let posterior =
                load_autoencoder(&folder("vae"), device)?.network.encode(inputs.tensor("sample")?)?;
            vec![named("mean", posterior.mean), named("logvar", posterior.logvar)]
        }
        Component::VaeDecode => {
            vec![named(
                "output",
                load_autoencoder(&folder("vae"), device)?.network.decode(inputs.tensor("sample")?),
            )]
        }
        Component::Unet => {
            let sample = inputs.tensor::<4>("sample")?;
            let timesteps = inputs.timesteps(sample.dims()[0])?;
            let context = inputs.tensor::<3>("encoder_hidden_states")?;
            vec![named(
                "output",
                load_unet(&folder("unet"), device)?.network.forward(sample, &timesteps, &context, None)?,
            )]
        }
        Component::TextEncoder => {
            let features =
                load_text_encoder(&folder("text_encoder"), device)?.network.forward(&inputs.ids()?)?;
            vec![named("output", features.last_hidden_state), named("pooled_output", features.pooled)]
        }
        Component::Clip => {
            let clip = load_clip(&folder("clip"), device)?.network;
            let images = clip.embed_images(inputs.tensor("pixel_values")?)?;
            let logits = clip.logits_per_image(images, clip.embed_text(&inputs.ids()?)?);
            vec![named("logits_per_image", logits)]
        }
        Component::Tokenizer => vec![],
    };
    safetensors_io::write(&args.output, &outputs)
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
