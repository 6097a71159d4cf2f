//! `--extractor`: what turns pictures into features.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use calotype::data::emoji_scenes::noun_phrases;
use calotype::evaluate::extractor::{ClipExtractor, Extractor, InceptionExtractor};
use calotype::{Error, Result};

use super::Args;
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
            Self::Inception => {
                let (protocol, tap) = (args.protocol, args.features);
                Ok(Box::new(InceptionExtractor::load(weights()?, protocol, tap, &context.device)?))
            }
            Self::Clip => {
                let classes = if args.classes.is_empty() { noun_phrases() } else { args.classes.clone() };
                Ok(Box::new(ClipExtractor::load(weights()?, classes, &context.device)?))
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
