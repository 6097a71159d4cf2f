//! What a picture is made from beside noise: another picture (image to image), of which a part may be kept
//! (inpainting).

use burn::tensor::{Device, Tensor, TensorData};
use image::{GrayImage, RgbImage};

use super::text_to_image::Sampling;
use crate::data::resize::{Filter, resize_u8};
use crate::data::tensors::to_tensor;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::sampler::{Level, PictureNoise, Start, skipped_steps};

/// What a picture is made from. Nothing but noise by default.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    /// The picture to begin with, `[1, 3, H, W]` in [−1, 1], at the size that is sampled.
    pub picture: Option<Tensor<4>>,
    /// Share of the steps that are taken from it, in (0, 1].
    pub strength: f64,
    /// The part to paint anew, `[1, 1, H, W]` in [0, 1]: ½ and more is painted. Needs a picture.
    pub mask: Option<Tensor<4>>,
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
        let fitted = |values: &[u8], channels: usize, (w, h): (u32, u32)| -> Result<Vec<u8>> {
            let from = (h as usize, w as usize);
            if from == (height, width) {
                Ok(values.to_vec())
            } else {
                resize_u8(values, channels, from, (height, width), Filter::PilLanczos)
            }
        };
        let values = fitted(picture.as_raw(), 3, picture.dimensions())?;
        let picture = RgbImage::from_raw(width as u32, height as u32, values)
            .ok_or_else(|| Error::shape("resized picture", format!("{width}x{height}"), "another size"))?;
        let mask = mask.map(|mask| -> Result<Tensor<4>> {
            let values = fitted(mask.as_raw(), 1, mask.dimensions())?;
            let values: Vec<f32> = values.into_iter().map(|value| f32::from(value) / 255.0).collect();
            Ok(Tensor::from_data(TensorData::new(values, [1, 1, height, width]), device))
        });
        Ok(Self { picture: Some(to_tensor(&[picture], device)?), strength, mask: mask.transpose()? })
    }
}

/// A batch before its first step.
pub(super) struct Prepared {
    /// Where the sampler begins.
    pub start: Start,
    /// What an inpainting U-Net takes beside the latent: mask and masked picture, `[B, 1 + C, h, w]`.
    pub masked: Option<Tensor<4>>,
    /// What is put back after every step, with a U-Net that knows no masks.
    pub kept: Option<Kept>,
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
    /// Random numbers are drawn in the order of diffusers' pipelines.
    pub(super) fn prepare(
        &self,
        batch: usize,
        sampling: &Sampling,
        origin: &Origin,
        noise: &mut dyn PictureNoise,
    ) -> Result<Prepared> {
        let shape = self.latent_shape(sampling.width, sampling.height)?;
        if self.is_inpainting() && origin.mask.is_none() {
            return Err(Error::argument("mask", "a mask: this model's U-Net only inpaints", "none"));
        }
        let Some(picture) = &origin.picture else {
            let start = Start::Noise(noise.initial(shape, &self.device)?);
            return Ok(Prepared { start, masked: None, kept: None });
        };
        check_size("picture", picture, [1, 3, sampling.height, sampling.width])?;
        let skipped = skipped_steps(sampling.sampler.steps, origin.strength)?;
        let encode = |picture: &Tensor<4>, noise: &mut dyn PictureNoise| -> Result<Tensor<4>> {
            let posterior = noise.posterior(shape, &self.device)?;
            self.vae.encode_scaled(picture.clone().repeat_dim(0, batch), posterior)
        };
        let Some(mask) = &origin.mask else {
            let x_0 = encode(picture, noise)?;
            let start = Start::Picture { x_0, noise: noise.initial(shape, &self.device)?, skipped };
            return Ok(Prepared { start, masked: None, kept: None });
        };
        check_size("mask", mask, [1, 1, sampling.height, sampling.width])?;
        let knows_masks = self.is_inpainting();
        // A U-Net that knows masks and starts from noise alone never sees the whole picture.
        let x_0 = if knows_masks && skipped == 0 { None } else { Some(encode(picture, noise)?) };
        let unit = noise.initial(shape, &self.device)?;
        let painted = mask.clone().greater_equal_elem(0.5).float(); // [1, 1, H, W]
        // What is to be painted is grey, 0 in [−1, 1].
        let hollow = picture.clone() * (painted.clone().neg() + 1.0);
        let masked = encode(&hollow, noise)?;
        let mask = self.reduced(painted);
        let start = match &x_0 {
            Some(x_0) if skipped > 0 => Start::Picture { x_0: x_0.clone(), noise: unit.clone(), skipped },
            _ => Start::Noise(unit.clone()),
        };
        Ok(match x_0 {
            Some(x_0) if !knows_masks => {
                Prepared { start, masked: None, kept: Some(Kept { x_0, noise: unit, mask }) }
            }
            _ => {
                let masked = Tensor::cat(vec![mask.repeat_dim(0, batch), masked], 1);
                Prepared { start, masked: Some(masked), kept: None }
            }
        })
    }

    /// Whether the mask has something painted, and everything, at the size of the latents; `None` without a mask.
    pub(super) fn painted(&self, origin: &Origin) -> Option<(bool, bool)> {
        let mask = origin.mask.as_ref()?;
        let reduced = self.reduced(mask.clone().greater_equal_elem(0.5).float());
        let (least, most): (f32, f32) = (reduced.clone().min().into_scalar(), reduced.max().into_scalar());
        Some((most > 0.5, least > 0.5))
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
