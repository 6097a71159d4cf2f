//! The ways of bringing a picture into Inception with which published numbers were made.
//!
//! They move a FID by more than models differ (Parmar et al. 2022, arXiv:2104.11222), so each has a name and
//! none is mixed with another.

use image::RgbImage;

use super::inception_v3::SIDE;
use crate::data::resize::{Filter, resize};
use crate::error::Result;
use crate::named::named_enum;

named_enum! {
    /// A named protocol.
    pub enum Protocol: "protocol" {
        /// As the original TensorFlow code and torch-fidelity.
        TfFid = "tf-fid",
        /// As pytorch-fid.
        PytorchFid = "pytorch-fid",
        /// As clean-fid.
        Clean = "clean",
    }
}

impl Protocol {
    /// How pictures get their size, for reports.
    pub fn resize(self) -> &'static str {
        match self {
            Self::TfFid => "TensorFlow 1 bilinear, 299 x 299, in floating point",
            Self::PytorchFid => "PyTorch bilinear without antialias, 299 x 299, in floating point",
            Self::Clean => "Pillow bicubic with antialias, 299 x 299, in floating point, clipped to 0..255",
        }
    }

    /// `[299, 299, 3]`, about −1 to 1, from a picture of any size.
    ///
    /// # Errors
    /// As [`resize`].
    pub fn prepare(self, picture: &RgbImage) -> Result<Vec<f32>> {
        let (filter, scale): (Filter, fn(f64) -> f64) = match self {
            Self::TfFid => (Filter::Tf1Bilinear, |v| (v - 128.0) / 128.0),
            Self::PytorchFid => (Filter::TorchBilinear, |v| 2.0 * (v / 255.0) - 1.0),
            Self::Clean => (Filter::PilBicubic, |v| (v.clamp(0.0, 255.0) - 128.0) / 128.0),
        };
        let from = (picture.height() as usize, picture.width() as usize);
        let values: Vec<f64> = picture.as_raw().iter().map(|&v| f64::from(v)).collect();
        let resized = resize(&values, 3, from, (SIDE, SIDE), filter)?;
        Ok(resized.into_iter().map(|v| scale(v) as f32).collect())
    }
}
