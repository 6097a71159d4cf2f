//! How well an autoencoder in training reconstructs.

use burn::tensor::Device;
use image::RgbImage;

use super::first_pictures;
use super::grid::grid;
use crate::autoencoder::AutoencoderKl;
use crate::data::source::TrainingSet;
use crate::data::tensors::{to_images, to_tensor};
use crate::error::Result;
use crate::evaluate::extractor::{Extractor, InceptionExtractor};
use crate::evaluate::frechet::frechet_distance;
use crate::evaluate::gaussian::Gaussian;
use crate::evaluate::pixel::psnr_rgb;
use crate::evaluate::ssim::ssim_rgb;
use crate::trainer::autoencoder::AutoencoderInTraining;
use crate::trainer::objective::{Observation, Watch};

/// Pictures that are reconstructed at most.
const PICTURES: usize = 256;
/// Pictures that are shown.
const SHOWN: usize = 8;
/// Pictures encoded at a time.
const BATCH: usize = 16;
/// The smallest side that SSIM's window fits into.
const SSIM_SIDE: u32 = 11;

/// Reconstructions of validation pictures: PSNR, SSIM, rFID where Inception's weights are given, and the pictures.
pub struct AutoencoderWatch {
    pictures: Vec<RgbImage>,
    device: Device,
    inception: Option<(InceptionExtractor, Gaussian)>,
}

impl AutoencoderWatch {
    /// Reads the first validation pictures.
    ///
    /// # Errors
    /// Those of `data` and of the extractor.
    pub fn new(data: &TrainingSet, device: &Device, inception: Option<InceptionExtractor>) -> Result<Self> {
        let (pictures, _) = first_pictures(data, PICTURES)?;
        let with_reference = |extractor: InceptionExtractor| {
            let reference = gaussian(&extractor, &pictures)?;
            Ok::<_, crate::Error>((extractor, reference))
        };
        let inception = inception.map(with_reference).transpose()?;
        Ok(Self { pictures, device: device.clone(), inception })
    }

    /// Decoded means of the posteriors.
    fn reconstruct(&self, autoencoder: &AutoencoderKl) -> Result<Vec<RgbImage>> {
        let mut reconstructed = Vec::with_capacity(self.pictures.len());
        // Pictures of one size at a time.
        for pictures in self.pictures.chunk_by(|a, b| a.dimensions() == b.dimensions()) {
            for batch in pictures.chunks(BATCH) {
                let posterior = autoencoder.encode(to_tensor(batch, &self.device)?)?;
                reconstructed.extend(to_images(autoencoder.decode(posterior.mean))?);
            }
        }
        Ok(reconstructed)
    }
}

fn gaussian(extractor: &InceptionExtractor, pictures: &[RgbImage]) -> Result<Gaussian> {
    let mut rows = Vec::new();
    for batch in pictures.chunks(BATCH) {
        rows.extend(extractor.extract(batch)?.features);
    }
    Gaussian::from_rows(&rows, extractor.dimension())
}

fn mean(values: impl Iterator<Item = Result<f64>>) -> Result<f64> {
    let values = values.collect::<Result<Vec<f64>>>()?;
    Ok(values.iter().sum::<f64>() / values.len().max(1) as f64)
}

impl Watch<AutoencoderInTraining> for AutoencoderWatch {
    fn look(&self, network: &AutoencoderInTraining, _: usize) -> Result<Observation> {
        let reconstructed = self.reconstruct(&network.autoencoder)?;
        let pairs = || self.pictures.iter().zip(&reconstructed);
        let psnr = mean(pairs().map(|(reference, picture)| psnr_rgb(reference, picture)))?;
        let mut numbers = vec![("validation_psnr".to_owned(), psnr)];
        if self.pictures.iter().all(|picture| picture.width().min(picture.height()) >= SSIM_SIDE) {
            let ssim = mean(pairs().map(|(reference, picture)| ssim_rgb(reference, picture)))?;
            numbers.push(("validation_ssim".into(), ssim));
        }
        if let Some((extractor, reference)) = &self.inception {
            let fid = frechet_distance(&gaussian(extractor, &reconstructed)?, reference)?.frechet;
            numbers.push(("validation_rfid".into(), fid));
        }
        let shown = |pictures: &[RgbImage]| pictures.iter().take(SHOWN).cloned().collect::<Vec<_>>();
        let rows = [shown(&self.pictures), shown(&reconstructed)];
        Ok(Observation { numbers, pictures: vec![("reconstructions".into(), grid(&rows))] })
    }
}
