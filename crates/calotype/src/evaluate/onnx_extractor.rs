//! Any feature extractor as an ONNX file, so that distances on DINOv2's or CLIP's features need no code.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::RgbImage;
use rayon::prelude::*;
use serde_json::{Value, json};
use tract_onnx::prelude::{
    DatumType, Framework, InferenceFact, InferenceModelExt, IntoRunnable, Tensor, TractError,
    TypedRunnableModel, tvec,
};

use super::extractor::{Extracted, Extractor};
use super::preprocessing::{Preprocessing, Token};
use crate::error::{Error, Result};
use crate::files::{atomic, sha256};

const FORMAT: &str = "ONNX model";

/// An ONNX model from pictures `[1, 3, size, size]` to features `[1, d]` or tokens `[1, n, d]`, and its
/// preprocessing.
pub struct OnnxExtractor {
    path: PathBuf,
    sha256: String,
    preprocessing: Preprocessing,
    model: Arc<TypedRunnableModel>,
    dimension: usize,
}

impl OnnxExtractor {
    /// Reads `model.onnx` and, beside it, `model.toml` ([`Preprocessing`]).
    ///
    /// # Errors
    /// `Error::Io`; `Error::Format` for a model or a preprocessing file that cannot be used, and for a
    /// model that gives something else than features.
    pub fn load(path: &Path) -> Result<Self> {
        let preprocessing = Preprocessing::read(&path.with_extension("toml"))?;
        let model = load_model(path, &preprocessing)?;
        let sha256 = sha256::of_file(path)?;
        let mut extractor = Self { path: path.to_owned(), sha256, preprocessing, model, dimension: 0 };
        let side = extractor.preprocessing.size as u32;
        extractor.dimension = extractor.features(&RgbImage::new(side, side))?.len();
        Ok(extractor)
    }

    /// `[dimension]` of one picture. One at a time: a feature does not depend on the rest of a batch.
    fn features(&self, picture: &RgbImage) -> Result<Vec<f32>> {
        let Preprocessing { size, output, token, .. } = self.preprocessing;
        let input = self.preprocessing.prepare(picture)?;
        let input = Tensor::from_shape(&[1, 3, size, size], &input).map_err(self.failed())?;
        let outputs = self.model.run(tvec!(input.into())).map_err(self.failed())?;
        let found = &outputs[output];
        let shape = found.shape();
        let plain = found.try_as_plain_ram().map_err(self.failed())?;
        let values = plain.as_slice::<f32>().map_err(self.failed())?;
        match *shape {
            [1, d] | [1, d, 1, 1] if d > 0 => Ok(values.to_vec()),
            [1, tokens, d] if tokens > 0 && d > 0 => Ok(token.of(values, d)),
            _ => {
                let reason = format!("output {output} has shape {shape:?}, not [1, d] or [1, tokens, d]");
                Err(Error::format(&self.path, FORMAT, reason))
            }
        }
    }

    fn failed(&self) -> impl Fn(TractError) -> Error {
        failed(&self.path)
    }
}

/// The model in the form that runs, for one picture at a time.
fn load_model(path: &Path, preprocessing: &Preprocessing) -> Result<Arc<TypedRunnableModel>> {
    let bytes = atomic::read(path)?;
    let model = tract_onnx::onnx().model_for_read(&mut &bytes[..]).map_err(failed(path))?;
    let (inputs, outputs) = (model.inputs.len(), model.outputs.len());
    if inputs != 1 {
        return Err(Error::format(path, FORMAT, format!("{inputs} inputs; expected one, the picture")));
    }
    if preprocessing.output >= outputs {
        let reason = format!("no output {}: {outputs} outputs, counted from 0", preprocessing.output);
        return Err(Error::format(path, FORMAT, reason));
    }
    let size = preprocessing.size;
    let input = InferenceFact::dt_shape(DatumType::F32, [1, 3, size, size]);
    let optimized = model.with_input_fact(0, input).and_then(|model| model.into_optimized());
    optimized.and_then(|model| model.into_runnable()).map_err(failed(path))
}

fn failed(path: &Path) -> impl Fn(TractError) -> Error {
    move |error| Error::format(path, FORMAT, format!("{error:#}"))
}

impl Extractor for OnnxExtractor {
    fn dimension(&self) -> usize {
        self.dimension
    }

    fn classes(&self) -> Option<usize> {
        None
    }

    fn protocol(&self) -> Value {
        let Preprocessing { output, token, mean, std, .. } = &self.preprocessing;
        let token = match token {
            Token::First => "first",
            Token::Mean => "mean",
        };
        json!({
            "extractor": "onnx", "weights_sha256": self.sha256, "features": self.dimension,
            "resize": self.preprocessing.describe(), "mean": mean, "std": std, "output": output,
            "token": token, "quantiser": "none: 8-bit files", "note": "not comparable with published FID",
        })
    }

    fn extract(&self, pictures: &[RgbImage]) -> Result<Extracted> {
        let rows = pictures.par_iter().map(|picture| self.features(picture)).collect::<Result<Vec<_>>>()?;
        Ok(Extracted { features: rows.concat(), logits: None })
    }
}
