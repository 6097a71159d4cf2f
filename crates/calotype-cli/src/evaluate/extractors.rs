//! `--extractor`: what turns pictures into features.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use calotype::checkpoint::diffusers_folder::load_clip;
use calotype::evaluate::extractor::{ClipExtractor, Extractor, InceptionExtractor};
use calotype::evaluate::inception_v3::weights;
use calotype::files::sha256;
use calotype::text_encoder::tokenizer::ClipTokenizer;
use calotype::{Error, Result};

use super::{Args, noun_classes};
use crate::options::Context;

/// The extractor that the options name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExtractorName {
    /// The network of FID, with the user's weight file.
    Inception,
    /// The CLIP model in the folder --weights.
    Clip,
    /// A model of the user's own.
    Onnx(PathBuf),
}

impl FromStr for ExtractorName {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "inception" => Ok(Self::Inception),
            "clip" => Ok(Self::Clip),
            path if path.ends_with(".onnx") => Ok(Self::Onnx(path.into())),
            _ => Err("expected inception, clip or the path of an .onnx file".into()),
        }
    }
}

impl ExtractorName {
    /// The one given, or the one that --weights are for.
    pub fn of(args: &Args) -> Self {
        match &args.extractor {
            Some(name) => name.clone(),
            None if args.weights.as_ref().is_some_and(|weights| weights.is_dir()) => Self::Clip,
            None => Self::Inception,
        }
    }

    /// What names of metrics end in: only Inception's are FID, IS and KID.
    pub fn suffix(&self) -> &'static str {
        match self {
            Self::Inception => "",
            Self::Clip => "-clip",
            Self::Onnx(_) => "-onnx",
        }
    }

    /// Reads its weights.
    pub fn make(&self, args: &Args, context: &Context) -> Result<Box<dyn Extractor>> {
        let weights = || {
            args.weights.as_deref().ok_or_else(|| {
                let expected = "Inception's weights, pt_inception-2015-12-05-6726825d.pth of pytorch-fid or \
                                weights-inception-2015-12-05-6726825d.pth of torch-fidelity";
                Error::argument("--weights", expected, "none")
            })
        };
        match self {
            Self::Inception => Ok(Box::new(inception_extractor(weights()?, args, context)?)),
            Self::Clip => {
                let classes = if args.classes.is_empty() { noun_classes() } else { args.classes.clone() };
                Ok(Box::new(clip_extractor(weights()?, &classes, context)?))
            }
            Self::Onnx(path) => match &args.weights {
                Some(weights) => {
                    Err(Error::argument("--weights", "none: the file has them", weights.display()))
                }
                None => onnx_extractor(path),
            },
        }
    }
}

fn inception_extractor(weight_file: &Path, args: &Args, context: &Context) -> Result<InceptionExtractor> {
    let (network, sha256) = weights::load(weight_file, &context.device)?;
    let tap = args.features;
    if tap.is_logits() && !network.has_classifier() {
        let expected = format!("a file with the classifier `fc`, for --features {tap}");
        return Err(Error::argument("--weights", expected, "features only").of_data());
    }
    Ok(InceptionExtractor { network, sha256, protocol: args.protocol, tap, device: context.device.clone() })
}

#[cfg(feature = "onnx")]
fn onnx_extractor(path: &Path) -> Result<Box<dyn Extractor>> {
    let extractor = calotype::evaluate::onnx_extractor::OnnxExtractor::load(path);
    Ok(Box::new(extractor.map_err(Error::of_data)?))
}

#[cfg(not(feature = "onnx"))]
fn onnx_extractor(path: &Path) -> Result<Box<dyn Extractor>> {
    Err(Error::argument(
        "--extractor",
        "inception or clip: this calotype was built without the feature `onnx`",
        path.display(),
    ))
}

/// CLIP of a model folder.
pub fn clip_extractor(folder: &Path, classes: &[String], context: &Context) -> Result<ClipExtractor> {
    let clip = load_clip(&folder.join("clip"), &context.device)?;
    Ok(ClipExtractor {
        dimension: clip.config.projection_dim,
        clip: clip.network,
        tokenizer: ClipTokenizer::load(&folder.join("tokenizer"))?,
        sha256: sha256::of_file(&folder.join("clip/model.safetensors"))?,
        classes: classes.to_vec(),
        device: context.device.clone(),
    })
}
