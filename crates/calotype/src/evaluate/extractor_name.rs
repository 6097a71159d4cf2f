//! Which extractor: by its name, or by the weights that it is given.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use burn::tensor::Device;

use super::comparison::Comparison;
use super::extractor::{ClipExtractor, Extractor, InceptionExtractor};
use crate::data::emoji_scenes::{Noun, noun_phrases};
use crate::error::{Error, Result};

/// What turns pictures into features.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExtractorName {
    /// The network of FID, with the user's weight file.
    Inception,
    /// The CLIP model of a model folder.
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
    /// The one asked for, or the one that the weights are for.
    pub(super) fn of(asked: &Comparison) -> Self {
        match &asked.extractor {
            Some(name) => name.clone(),
            None if asked.weights.as_ref().is_some_and(|weights| weights.is_dir()) => Self::Clip,
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
    pub(super) fn load(&self, asked: &Comparison, device: &Device) -> Result<Box<dyn Extractor>> {
        let weights = || {
            asked.weights.as_deref().ok_or_else(|| {
                let expected = "Inception's weights, pt_inception-2015-12-05-6726825d.pth of pytorch-fid or \
                                weights-inception-2015-12-05-6726825d.pth of torch-fidelity";
                Error::argument("weights", expected, "none")
            })
        };
        match self {
            Self::Inception => {
                let (protocol, tap) = (asked.protocol, asked.features);
                Ok(Box::new(InceptionExtractor::load(weights()?, protocol, tap, device)?))
            }
            Self::Clip => {
                let classes =
                    if asked.classes.is_empty() { noun_phrases(&Noun::ALL) } else { asked.classes.clone() };
                Ok(Box::new(ClipExtractor::load(weights()?, classes, device)?))
            }
            Self::Onnx(path) => match &asked.weights {
                Some(weights) => {
                    Err(Error::argument("weights", "none: the file has them", weights.display()))
                }
                None => onnx_extractor(path),
            },
        }
    }
}

#[cfg(feature = "onnx")]
fn onnx_extractor(path: &Path) -> Result<Box<dyn Extractor>> {
    Ok(Box::new(super::onnx_extractor::OnnxExtractor::load(path)?))
}

#[cfg(not(feature = "onnx"))]
fn onnx_extractor(path: &Path) -> Result<Box<dyn Extractor>> {
    let expected = "inception or clip: ONNX files need a calotype that was built with `cargo build --release --features onnx`";
    Err(Error::argument("extractor", expected, path.display()))
}
