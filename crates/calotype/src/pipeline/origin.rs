//! What a picture is made from beside noise: another picture (image to image), of which a part may be kept
//! (inpainting).

use burn::tensor::{Device, Tensor, TensorData};
use image::{GrayImage, RgbImage};

use super::text_to_image::Sampling;
use crate::data::resize::{Filter, resize_u8};
use crate::data::tensors::to_tensor;
use crate::denoiser::DenoiserConfig;
use crate::error::{Error, Result};
use crate::model::{Beside, Model};
use crate::sampler::{Level, PictureNoise, Sampler, Start, skipped_flux_steps, skipped_steps};

/// What a picture is made from. Nothing but noise by default.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    /// The picture to begin with, `[1, 3, H, W]` in [−1, 1], at the size that is sampled.
    pub picture: Option<Tensor<4>>,
    /// Share of the steps that are taken from it, in (0, 1].
    pub strength: f64,
    /// The part to paint anew, `[1, 1, H, W]` in [0, 1]: ½ and more is painted. Needs a picture.
    pub mask: Option<Tensor<4>>,
    /// Another picture that the network is shown, `[1, 3, H, W]` in [−1, 1]: of the size that is sampled where the network
    /// takes it beside the latent (Depth, Canny), else of any that the network can read (Kontext).
    pub reference: Option<Tensor<4>>,
}

impl Origin {
    /// From pictures of any size, which are resized as diffusers does (Lanczos).
    ///
    /// # Errors
    /// `Error::Shape` for a picture without pixels.
    pub fn new(
        picture: &RgbImage,
        strength: f64,
        mask: Option<&GrayImage>,
        size: (usize, usize),
        device: &Device,
    ) -> Result<Self> {
        let (width, height) = size;
        let mask = mask.map(|mask| -> Result<Tensor<4>> {
            let values = fitted(mask.as_raw(), 1, mask.dimensions(), size)?;
            let values: Vec<f32> = values.into_iter().map(|value| f32::from(value) / 255.0).collect();
            Ok(Tensor::from_data(TensorData::new(values, [1, 1, height, width]), device))
        });
        let picture = Some(resized(picture, size, device)?);
        Ok(Self { picture, strength, mask: mask.transpose()?, reference: None })
    }

    /// The same with another picture beside it, resized likewise.
    ///
    /// # Errors
    /// As [`Origin::new`].
    pub fn with_reference(self, picture: &RgbImage, size: (usize, usize), device: &Device) -> Result<Self> {
        Ok(Self { reference: Some(resized(picture, size, device)?), ..self })
    }
}

/// A picture at another size (width, height), `[1, 3, height, width]` in [−1, 1].
fn resized(picture: &RgbImage, size: (usize, usize), device: &Device) -> Result<Tensor<4>> {
    let (width, height) = size;
    let values = fitted(picture.as_raw(), 3, picture.dimensions(), size)?;
    let picture = RgbImage::from_raw(width as u32, height as u32, values)
        .ok_or_else(|| Error::shape("resized picture", format!("{width}x{height}"), "another size"))?;
    to_tensor(&[picture], device)
}

/// Bytes of a picture of `(w, h)` pixels at another size.
fn fitted(
    values: &[u8],
    channels: usize,
    (w, h): (u32, u32),
    (width, height): (usize, usize),
) -> Result<Vec<u8>> {
    let from = (h as usize, w as usize);
    if from == (height, width) {
        return Ok(values.to_vec());
    }
    resize_u8(values, channels, from, (height, width), Filter::PilLanczos)
}

/// A batch before its first step.
pub(super) struct Prepared {
    /// Where the sampler begins.
    pub start: Start,
    /// What the network is given beside the latent.
    pub companions: Companions,
    /// What is put back after every step, with a network that knows no masks.
    pub kept: Option<Kept>,
}

/// What a network is given beside the noisy latent; the same at every step.
#[derive(Debug, Clone, Default)]
pub(super) struct Companions {
    /// Channels behind those of the latent, `[B, _, h, w]`: [`Beside`].
    pub channels: Option<Tensor<4>>,
    /// A picture's latent, `[1, C, h, w]`, that it reads as tokens of its own.
    pub reference: Option<Tensor<4>>,
}

/// The part of a picture that is not painted.
pub(super) struct Kept {
    x_0: Tensor<4>,
    noise: Tensor<4>,
    /// 1 is painted: `[1, 1, h, w]`.
    mask: Tensor<4>,
}

impl Kept {
    /// x where it is painted, the picture under as much noise elsewhere. Lugmayr et al. 2022 (RePaint),
    /// arXiv:2201.09865, Eq. 8.
    pub fn put_back(&self, x: Tensor<4>, level: Level) -> Tensor<4> {
        let painted = self.mask.clone();
        level.mix(&self.x_0, &self.noise) * (painted.clone().neg() + 1.0) + x * painted
    }
}

impl Model {
    /// Refuses a size, a sampler or pictures that do not fit the model.
    ///
    /// # Errors
    /// `Error::Argument` and `Error::Config` that name them.
    pub(super) fn require(&self, sampling: &Sampling, origin: &Origin) -> Result<()> {
        let sampling = self.as_sampled(sampling)?;
        let scheduler = self.scheduler.sampled_by(sampling.sampler.kind.class());
        Sampler::new(&scheduler, &sampling.sampler)?;
        self.require_companions(origin)
    }

    /// Random numbers are drawn in the order of diffusers' pipelines.
    pub(super) fn prepare(
        &self,
        batch: usize,
        sampling: &Sampling,
        origin: &Origin,
        noise: &mut dyn PictureNoise,
    ) -> Result<Prepared> {
        let shape = self.latent_shape(sampling.width, sampling.height)?;
        self.require_companions(origin)?;
        let mut companions = self.reference_of(origin, batch, sampling, noise)?;
        let Some(picture) = &origin.picture else {
            let start = Start::Noise(noise.initial(shape, &self.device)?);
            return Ok(Prepared { start, companions, kept: None });
        };
        check_size("picture", picture, [1, 3, sampling.height, sampling.width])?;
        let skipped = self.skipped_steps(sampling.sampler.steps, origin.strength)?;
        let Some(mask) = &origin.mask else {
            let x_0 = self.encoded(picture, batch, shape, noise)?;
            let start = Start::Picture { x_0, noise: noise.initial(shape, &self.device)?, skipped };
            return Ok(Prepared { start, companions, kept: None });
        };
        check_size("mask", mask, [1, 1, sampling.height, sampling.width])?;
        // Stable Diffusion's inpainting, where it starts from noise alone, never sees the whole picture.
        let unseen = self.input_beside() == Beside::Masked && skipped == 0;
        let x_0 = if unseen { None } else { Some(self.encoded(picture, batch, shape, noise)?) };
        let unit = noise.initial(shape, &self.device)?;
        let painted = mask.clone().greater_equal_elem(0.5).float(); // [1, 1, H, W]
        let start = match &x_0 {
            Some(x_0) if skipped > 0 => Start::Picture { x_0: x_0.clone(), noise: unit.clone(), skipped },
            _ => Start::Noise(unit.clone()),
        };
        if let Some(x_0) = x_0.filter(|_| !self.is_inpainting()) {
            // Drawn by diffusers' pipelines, which encode the picture without what is painted for every network.
            noise.posterior(shape, &self.device)?;
            let kept = Some(Kept { x_0, noise: unit, mask: self.reduced(painted) });
            return Ok(Prepared { start, companions, kept });
        }
        // What is to be painted is grey, 0 in [−1, 1].
        let hollow = picture.clone() * (painted.clone().neg() + 1.0);
        let hollow = self.encoded(&hollow, batch, shape, noise)?;
        let channels = match self.input_beside() {
            Beside::MaskedWithPixels => vec![hollow, self.as_channels(painted).repeat_dim(0, batch)],
            _ => vec![self.reduced(painted).repeat_dim(0, batch), hollow],
        };
        companions.channels = Some(Tensor::cat(channels, 1));
        Ok(Prepared { start, companions, kept: None })
    }

    /// Scaled latents of a picture for each of a batch, `[batch, C, h, w]` of the shape `[C, h, w]`.
    fn encoded(
        &self,
        picture: &Tensor<4>,
        batch: usize,
        shape: [usize; 3],
        noise: &mut dyn PictureNoise,
    ) -> Result<Tensor<4>> {
        let posterior = noise.posterior(shape, &self.device)?;
        self.vae.encode_scaled(picture.clone().repeat_dim(0, batch), posterior)
    }

    /// The other picture that the network is shown, if there is one: beside the latent or as tokens.
    fn reference_of(
        &self,
        origin: &Origin,
        batch: usize,
        sampling: &Sampling,
        noise: &mut dyn PictureNoise,
    ) -> Result<Companions> {
        let Some(reference) = &origin.reference else { return Ok(Companions::default()) };
        if self.input_beside() != Beside::Reference {
            let reference = Some(self.vae.encode_scaled(reference.clone(), None)?);
            return Ok(Companions { channels: None, reference });
        }
        check_size("reference", reference, [1, 3, sampling.height, sampling.width])?;
        let shape = self.latent_shape(sampling.width, sampling.height)?;
        Ok(Companions { channels: Some(self.encoded(reference, batch, shape, noise)?), reference: None })
    }

    /// Refuses pictures beside the latent that the network needs and does not get, or the reverse.
    fn require_companions(&self, origin: &Origin) -> Result<()> {
        let (beside, name) = (self.input_beside(), self.denoiser.config.name());
        if self.is_inpainting() && origin.mask.is_none() {
            let expected = format!("a mask: this model's {name} only inpaints");
            return Err(Error::argument("mask", expected, "none"));
        }
        if beside == Beside::Reference && origin.reference.is_none() {
            let expected = format!("a picture that this model's {name} follows: a depth map, edges");
            return Err(Error::argument("reference", expected, "none"));
        }
        let reads_tokens = matches!(self.denoiser.config, DenoiserConfig::Flux(_)) && !self.is_inpainting();
        if origin.reference.is_some() && !reads_tokens {
            let expected = format!("a Flux model such as Kontext, not one with a {name} like this");
            return Err(Error::argument("reference", expected, "a picture"));
        }
        Ok(())
    }

    /// Steps that image to image leaves out, as diffusers' pipelines for the model.
    pub(super) fn skipped_steps(&self, steps: usize, strength: f64) -> Result<usize> {
        match self.denoiser.config {
            DenoiserConfig::Unet(_) => skipped_steps(steps, strength),
            DenoiserConfig::Flux(_) => skipped_flux_steps(steps, strength),
        }
    }

    /// Whether the mask has something painted, and everything, at the size of the latents; `None` without a mask.
    pub(super) fn painted(&self, origin: &Origin) -> Option<(bool, bool)> {
        let mask = origin.mask.as_ref()?;
        let reduced = self.reduced(mask.clone().greater_equal_elem(0.5).float());
        let (least, most): (f32, f32) = (reduced.clone().min().into_scalar(), reduced.max().into_scalar());
        Some((most > 0.5, least > 0.5))
    }

    /// A mask in pixels, `[1, 1, H, W]`, with the f×f pixels of each pixel of the latent as channels: `[1, f², h, w]`.
    fn as_channels(&self, mask: Tensor<4>) -> Tensor<4> {
        let f = self.vae.downsampling();
        let [_, _, h, w] = mask.dims();
        let split = mask.reshape([1, h / f, f, w / f, f]);
        split.permute([0, 2, 4, 1, 3]).reshape([1, f * f, h / f, w / f])
    }

    /// A mask in pixels at the size of the latents: the pixel in each latent's upper left corner decides, as in
    /// diffusers.
    fn reduced(&self, mask: Tensor<4>) -> Tensor<4> {
        let f = self.vae.downsampling() as isize;
        let every = |n: usize| burn::tensor::Slice::new(0, Some(n as isize), f);
        let [_, _, h, w] = mask.dims();
        mask.slice([burn::tensor::s![..], burn::tensor::s![..], every(h), every(w)])
    }
}

/// Refuses pictures of another shape.
pub(super) fn check_size(what: &str, tensor: &Tensor<4>, expected: [usize; 4]) -> Result<()> {
    if tensor.dims() == expected {
        Ok(())
    } else {
        Err(Error::shape(what, format!("{expected:?}"), format!("{:?}", tensor.dims())))
    }
}
